//! The embedded store: one file, one writer. Each request is a job; the writer puts jobs that wait at the
//! same time into one commit, each in its own savepoint.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use rc_model::{TenantId, Timestamp};
use rc_store::{Error, Migration, Migrations, Sqlite, TenantConn, TenantDb, TenantSql};
use rusqlite::Row;
use uuid::Uuid;

use super::{Counts, IngestStore, Kept, Outcome, Stored, event, kept_since, place_of, stored, tenant_of_row};
use crate::document::Fingerprint;
use crate::ingest::decide::{Current, Decision, Write};
use crate::ingest::limits;
use crate::ingest::storage::{Ledger, Recount, Unmeasured, Usage, decide_within};

pub(super) const MIGRATIONS: Migrations = Migrations::new(
    "ingest",
    &[
        Migration {
            number: 1,
            name: "create_documents_and_requests",
            up: "
CREATE TABLE documents (
    tenant TEXT NOT NULL,
    id TEXT NOT NULL,
    version INTEGER NOT NULL CHECK (version > 0),
    fingerprint BLOB NOT NULL CHECK (length(fingerprint) = 16),
    deleted INTEGER NOT NULL CHECK (deleted IN (0, 1)),
    PRIMARY KEY (tenant, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE requests (
    seq INTEGER PRIMARY KEY,
    tenant TEXT NOT NULL,
    batch BLOB NOT NULL CHECK (length(batch) = 16),
    route TEXT NOT NULL,
    key TEXT,
    request_hash BLOB NOT NULL CHECK (length(request_hash) = 32),
    answer BLOB NOT NULL,
    docs TEXT NOT NULL,
    received_ms INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX requests_key ON requests (tenant, route, key) WHERE key IS NOT NULL;
CREATE UNIQUE INDEX requests_batch ON requests (tenant, batch);
",
            down: "DROP TABLE requests; DROP TABLE documents;",
        },
        Migration {
            number: 2,
            name: "create_storage",
            // Documents that are there get their sizes later: only the read model has their contents.
            up: "
ALTER TABLE documents ADD COLUMN bytes INTEGER;
UPDATE documents SET bytes = 0 WHERE deleted = 1;
CREATE INDEX documents_unmeasured ON documents (tenant, id) WHERE bytes IS NULL;

CREATE TABLE storage (
    tenant TEXT PRIMARY KEY,
    used INTEGER NOT NULL CHECK (used >= 0)
) STRICT, WITHOUT ROWID;
",
            down: "
DROP TABLE storage;
DROP INDEX documents_unmeasured;
ALTER TABLE documents DROP COLUMN bytes;
",
        },
    ],
);

/// By the primary key.
const KNOWN: TenantSql = TenantSql::new(
    "SELECT version, fingerprint, deleted, bytes FROM documents WHERE tenant = ?1 AND id = ?2",
);

const UPSERT: TenantSql = TenantSql::new(
    "INSERT INTO documents (tenant, id, version, fingerprint, deleted, bytes) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
     ON CONFLICT (tenant, id) DO UPDATE SET
         version = excluded.version, fingerprint = excluded.fingerprint, deleted = excluded.deleted,
         bytes = excluded.bytes",
);

const USED: TenantSql = TenantSql::new("SELECT used FROM storage WHERE tenant = ?1");

/// What is given back was counted once; the bound is for a ledger that somebody changed by hand.
const SETTLE: TenantSql = TenantSql::new(
    "INSERT INTO storage (tenant, used) VALUES (?1, max(0, ?2))
     ON CONFLICT (tenant) DO UPDATE SET used = max(0, used + ?2)",
);

/// By `documents_unmeasured`.
const UNMEASURED_OF: TenantSql =
    TenantSql::new("SELECT count(*) FROM documents WHERE tenant = ?1 AND bytes IS NULL");

/// By the primary key, all of the tenant's documents.
const COUNT: TenantSql = TenantSql::new("SELECT coalesce(sum(bytes), 0) FROM documents WHERE tenant = ?1");

const SET_USED: TenantSql = TenantSql::new(
    "INSERT INTO storage (tenant, used) VALUES (?1, ?2) ON CONFLICT (tenant) DO UPDATE SET used = excluded.used",
);

/// By `documents_unmeasured`.
const UNMEASURED: &str = "SELECT tenant, id, version FROM documents
     WHERE bytes IS NULL AND (tenant, id) > (?1, ?2) ORDER BY tenant, id LIMIT ?3";

const MEASURE: TenantSql = TenantSql::new(
    "UPDATE documents SET bytes = ?4 WHERE tenant = ?1 AND id = ?2 AND version = ?3 AND bytes IS NULL",
);

/// By `requests_key`.
const FIND_KEY: TenantSql = TenantSql::new(
    "SELECT batch, answer, docs, received_ms, request_hash FROM requests
     WHERE tenant = ?1 AND route = ?2 AND key = ?3",
);

/// By `requests_batch`.
const FORGET: TenantSql = TenantSql::new("DELETE FROM requests WHERE tenant = ?1 AND batch = ?2");

/// By `requests_batch`.
const FIND_BATCH: TenantSql =
    TenantSql::new("SELECT batch, answer, docs, received_ms FROM requests WHERE tenant = ?1 AND batch = ?2");

const KEEP: TenantSql = TenantSql::new(
    "INSERT INTO requests (tenant, batch, route, key, request_hash, answer, docs, received_ms)
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
);

/// Oldest rows first: rows come in about the order of their time.
const PRUNE: &str = "DELETE FROM requests WHERE seq IN (
    SELECT seq FROM requests ORDER BY seq LIMIT ?2
) AND received_ms < ?1";

/// Requests in a SQLite file. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct SqliteIngestStore {
    db: Sqlite,
    tenants: TenantDb,
}

impl SqliteIngestStore {
    /// Over `db`, whose migrations are applied.
    pub(crate) fn new(db: Sqlite) -> Self {
        let tenants = db.tenants();
        Self { db, tenants }
    }
}

impl IngestStore for SqliteIngestStore {
    fn write(&self, write: Write) -> BoxFuture<'_, Result<Outcome, Error>> {
        Box::pin(async move {
            let tenant = write.tenant.clone();
            self.tenants
                .write(&tenant, "ingest.store", move |conn| apply(conn, &write))
                .await
        })
    }

    fn batch<'s>(
        &'s self,
        tenant: &'s TenantId,
        batch: Uuid,
    ) -> BoxFuture<'s, Result<Option<Stored>, Error>> {
        Box::pin(self.tenants.read(tenant, "ingest.batch", move |conn| {
            conn.query_row(FIND_BATCH, &[&batch.as_bytes()], read_stored)
        }))
    }

    fn usage<'s>(&'s self, tenant: &'s TenantId) -> BoxFuture<'s, Result<Usage, Error>> {
        Box::pin(self.tenants.read(tenant, "ingest.usage", |conn| {
            let unmeasured = conn.query_row(UNMEASURED_OF, &[], |row| row.get(0).map(bytes_of_sql))?;
            Ok(Usage {
                used: used(conn)?,
                unmeasured: unmeasured.unwrap_or_default(),
            })
        }))
    }

    fn recount<'s>(&'s self, tenant: &'s TenantId) -> BoxFuture<'s, Result<Recount, Error>> {
        Box::pin(self.tenants.write(tenant, "ingest.recount", |conn| {
            let before = used(conn)?;
            let counted = conn.query_row(COUNT, &[], |row| row.get(0).map(bytes_of_sql))?;
            let counted = counted.unwrap_or_default();
            conn.execute(SET_USED, &[&bytes_to_sql(counted)])?;
            Ok(Recount { before, counted })
        }))
    }

    fn unmeasured(&self, after: Option<Unmeasured>) -> BoxFuture<'_, Result<Vec<Unmeasured>, Error>> {
        let (tenant, id) = place_of(after);
        Box::pin(self.db.read("ingest.unmeasured", move |conn| {
            let mut select = conn.prepare_cached(UNMEASURED)?;
            let mut rows = select.query((tenant, id, limits::MEASURE_ROWS_MAX))?;
            let mut found = Vec::new();
            while let Some(row) = rows.next()? {
                found.push(Unmeasured {
                    tenant: tenant_of_row(&row.get::<_, String>(0)?)?,
                    id: row.get(1)?,
                    version: version_of_sql(row.get(2)?),
                });
            }
            Ok(found)
        }))
    }

    fn measure<'s>(
        &'s self,
        tenant: &'s TenantId,
        sizes: Vec<(String, u64, u64)>,
    ) -> BoxFuture<'s, Result<(), Error>> {
        Box::pin(self.tenants.write(tenant, "ingest.measure", move |conn| {
            let mut measure = conn.prepare(MEASURE)?;
            let mut found = 0;
            for (id, version, bytes) in &sizes {
                let bytes = bytes_to_sql(*bytes);
                if measure.execute(&[id, &version_to_sql(*version)?, &bytes])? > 0 {
                    found += bytes;
                }
            }
            conn.execute(SETTLE, &[&found])?;
            Ok(())
        }))
    }

    fn prune(&self, before: Timestamp) -> BoxFuture<'_, Result<usize, Error>> {
        Box::pin(self.db.write("ingest.prune", move |conn| {
            let mut prune = conn.prepare_cached(PRUNE)?;
            let rows_max = i64::try_from(limits::PRUNE_ROWS_MAX).unwrap_or(i64::MAX);
            Ok(prune.execute((before.unix_ms(), rows_max))?)
        }))
    }

    fn ping(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async {
            let read = |conn: &rc_store::Conn| {
                Ok(conn.query_row("SELECT 1 FROM sqlite_schema LIMIT 1", [], |_| Ok(()))?)
            };
            self.db.read("ingest.ping", read).await?;
            // A disk that is full or failed still reads.
            self.db.writable().await
        })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.db.close())
    }
}

fn apply(conn: &TenantConn<'_>, write: &Write) -> Result<Outcome, Error> {
    if let Some(key) = &write.key {
        let params: [&dyn rusqlite::ToSql; 2] = [&write.route.as_str(), key];
        let kept = conn.query_row(FIND_KEY, &params, |row| {
            Ok(Kept {
                request_hash: row.get(4)?,
                stored: read_stored(row)?,
            })
        })?;
        if let Some(kept) = kept {
            if kept.stored.received_at >= kept_since(write.at) {
                return Ok(kept.outcome(write));
            }
            conn.execute(FORGET, &[&kept.stored.batch.as_bytes()])?;
        }
    }
    let mut known = HashMap::new();
    let mut select = conn.prepare(KNOWN)?;
    for id in write.ids() {
        if let Some(current) = select.query_row(&[&id], read_current)? {
            known.insert(Arc::from(id), current);
        }
    }
    let mut ledger = match write.quota {
        Some(_) => Ledger::new(used(conn)?),
        None => Ledger::default(),
    };
    let mut decision = match decide_within(write, &mut known, &mut ledger) {
        Ok(Some(decision)) => decision,
        Ok(None) => return Ok(Outcome::NoDocument),
        Err(over) => return Ok(Outcome::OverQuota(over)),
    };
    if ledger.reserved() != 0 {
        conn.execute(SETTLE, &[&ledger.reserved()])?;
    }
    let (stored, counts) = save(conn, write, &mut decision)?;
    Ok(Outcome::Fresh(stored, counts))
}

/// Writes everything that `decision` says; the caller's savepoint makes it all or nothing.
fn save(conn: &TenantConn<'_>, write: &Write, decision: &mut Decision) -> Result<(Stored, Counts), Error> {
    let mut upsert = conn.prepare(UPSERT)?;
    for (id, current) in &decision.changed {
        upsert.execute(&[
            id,
            &version_to_sql(current.version)?,
            &current.fingerprint,
            &current.deleted,
            &bytes_to_sql(current.bytes),
        ])?;
    }
    let events: Vec<_> = decision
        .effects
        .drain(..)
        .map(|effect| event(write, effect))
        .collect();
    rc_events::outbox::sqlite::append(conn, &events)?;
    let (stored, counts) = stored(write, decision);
    conn.execute(
        KEEP,
        &[
            &stored.batch.as_bytes(),
            &write.route.as_str(),
            &write.key,
            &write.request_hash,
            &&stored.answer[..],
            &stored.docs,
            &stored.received_at.unix_ms(),
        ],
    )?;
    Ok((stored, counts))
}

/// What the ledger says that the connection's tenant has.
fn used(conn: &TenantConn<'_>) -> Result<u64, Error> {
    let used = conn.query_row(USED, &[], |row| row.get(0).map(bytes_of_sql))?;
    Ok(used.unwrap_or_default())
}

fn read_current(row: &Row<'_>) -> rusqlite::Result<Current> {
    let fingerprint: Fingerprint = row.get(1)?;
    Ok(Current {
        version: version_of_sql(row.get(0)?),
        fingerprint,
        deleted: row.get(2)?,
        bytes: row.get::<_, Option<i64>>(3)?.map_or(0, bytes_of_sql),
    })
}

fn read_stored(row: &Row<'_>) -> rusqlite::Result<Stored> {
    let batch: [u8; 16] = row.get(0)?;
    let answer: Vec<u8> = row.get(1)?;
    Ok(Stored {
        batch: Uuid::from_bytes(batch),
        answer: answer.into(),
        docs: row.get(2)?,
        received_at: Timestamp::from_unix_ms(row.get(3)?),
    })
}

fn version_to_sql(version: u64) -> Result<i64, Error> {
    i64::try_from(version)
        .map_err(|error| Error::caused(rc_store::ErrorKind::Bug, "a version is too large", error))
}

/// Negative versions cannot be stored; the table checks it.
fn version_of_sql(version: i64) -> u64 {
    u64::try_from(version).unwrap_or(0)
}

fn bytes_to_sql(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

fn bytes_of_sql(bytes: i64) -> u64 {
    u64::try_from(bytes).unwrap_or(0)
}
