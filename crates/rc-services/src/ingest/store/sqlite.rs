//! The embedded store: one file, one writer. Each request is a job; the writer puts jobs that wait at the
//! same time into one commit, each in its own savepoint.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use rc_model::{TenantId, Timestamp};
use rc_store::{Error, Migration, Migrations, Sqlite, TenantConn, TenantDb, TenantSql};
use rusqlite::Row;
use uuid::Uuid;

use super::{Counts, IngestStore, Kept, Outcome, Stored, event, kept_since, stored};
use crate::document::Fingerprint;
use crate::ingest::decide::{Current, Decision, Write, decide};
use crate::ingest::limits;

pub(super) const MIGRATIONS: Migrations = Migrations::new(
    "ingest",
    &[Migration {
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
    }],
);

/// By the primary key.
const KNOWN: TenantSql =
    TenantSql::new("SELECT version, fingerprint, deleted FROM documents WHERE tenant = ?1 AND id = ?2");

const UPSERT: TenantSql = TenantSql::new(
    "INSERT INTO documents (tenant, id, version, fingerprint, deleted) VALUES (?1, ?2, ?3, ?4, ?5)
     ON CONFLICT (tenant, id) DO UPDATE SET
         version = excluded.version, fingerprint = excluded.fingerprint, deleted = excluded.deleted",
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
    let Some(mut decision) = decide(write, &mut known) else {
        return Ok(Outcome::NoDocument);
    };
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

fn read_current(row: &Row<'_>) -> rusqlite::Result<Current> {
    let fingerprint: Fingerprint = row.get(1)?;
    Ok(Current {
        version: version_of_sql(row.get(0)?),
        fingerprint,
        deleted: row.get(2)?,
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
