//! The PostgreSQL store: requests of one tenant that wait at the same time share one transaction.
//!
//! A committer task keeps one queue a tenant and runs a few transactions at once, one a tenant. Each
//! transaction takes the tenant's advisory lock first, so a tenant's writes are serial over all processes:
//! what is read in it stays true until its commit, versions have no gaps, and nothing can deadlock. The
//! number of statements does not depend on the number of requests.

mod committer;
mod group;

use std::sync::Arc;

use futures_util::future::BoxFuture;
use rc_model::{Clock, TenantId, Timestamp};
use rc_serve::Tree;
use rc_store::{Error, Migration, Migrations, Param, Postgres, TenantSql, row_security};
use uuid::Uuid;

use super::{IngestStore, Outcome, Stored, place_of, tenant_of_row};
use crate::ingest::decide::Write;
use crate::ingest::limits;
use crate::ingest::storage::{Recount, Unmeasured, Usage};
use committer::Committer;

pub(super) const MIGRATIONS: Migrations = Migrations::new(
    "ingest",
    &[
        Migration {
            number: 1,
            name: "create_documents_and_requests",
            up: concat!(
                "
CREATE TABLE documents (
    tenant text NOT NULL,
    id text NOT NULL,
    version bigint NOT NULL CHECK (version > 0),
    fingerprint bytea NOT NULL CHECK (length(fingerprint) = 16),
    deleted boolean NOT NULL,
    PRIMARY KEY (tenant, id)
);
CREATE TABLE requests (
    tenant text NOT NULL,
    batch uuid NOT NULL,
    route text NOT NULL,
    key text,
    request_hash bytea NOT NULL CHECK (length(request_hash) = 32),
    answer bytea NOT NULL,
    docs text NOT NULL,
    received_ms bigint NOT NULL,
    PRIMARY KEY (tenant, batch)
);
CREATE UNIQUE INDEX requests_key ON requests (tenant, route, key) WHERE key IS NOT NULL;
CREATE INDEX requests_received ON requests (received_ms);
",
                row_security!("documents"),
                row_security!("requests")
            ),
            down: "DROP TABLE requests; DROP TABLE documents;",
        },
        Migration {
            number: 2,
            name: "create_storage",
            // Documents that are there get their sizes later: only the read model has their contents.
            up: concat!(
                "
ALTER TABLE documents ADD COLUMN bytes bigint CHECK (bytes >= 0);
UPDATE documents SET bytes = 0 WHERE deleted;
CREATE INDEX documents_unmeasured ON documents (tenant, id) WHERE bytes IS NULL;
CREATE TABLE storage (
    tenant text PRIMARY KEY,
    used bigint NOT NULL CHECK (used >= 0)
);
",
                row_security!("storage")
            ),
            down: "
DROP TABLE storage;
ALTER TABLE documents DROP COLUMN bytes;
",
        },
    ],
);

/// By the primary key.
const FIND_BATCH: TenantSql =
    TenantSql::new("SELECT batch, answer, docs, received_ms FROM requests WHERE tenant = $1 AND batch = $2");

/// By `documents_unmeasured`.
const USAGE: TenantSql = TenantSql::new(
    "SELECT coalesce((SELECT used FROM storage WHERE tenant = $1), 0),
            (SELECT count(*) FROM documents WHERE tenant = $1 AND bytes IS NULL)",
);

/// By the primary key, all of the tenant's documents.
const COUNT: TenantSql =
    TenantSql::new("SELECT coalesce(sum(bytes), 0)::bigint FROM documents WHERE tenant = $1");

const SET_USED: TenantSql = TenantSql::new(
    "INSERT INTO storage (tenant, used) VALUES ($1, $2) ON CONFLICT (tenant) DO UPDATE SET used = excluded.used",
);

/// By `documents_unmeasured`.
const UNMEASURED: &str = "SELECT tenant, id, version FROM documents
     WHERE bytes IS NULL AND (tenant, id) > ($1, $2) ORDER BY tenant, id LIMIT $3";

/// By the primary key.
const MEASURE: TenantSql = TenantSql::new(
    "WITH measured AS (
         UPDATE documents SET bytes = found.bytes
         FROM unnest($2::text[], $3::bigint[], $4::bigint[]) AS found (id, version, bytes)
         WHERE tenant = $1 AND documents.id = found.id AND documents.version = found.version
           AND documents.bytes IS NULL
         RETURNING documents.bytes
     )
     SELECT coalesce(sum(bytes), 0)::bigint FROM measured",
);

/// By `requests_received`.
const PRUNE: &str = "DELETE FROM requests WHERE (tenant, batch) IN (
    SELECT tenant, batch FROM requests WHERE received_ms < $1 ORDER BY received_ms LIMIT $2
)";

/// Requests in PostgreSQL. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct PostgresIngestStore {
    pg: Postgres,
    committer: Committer,
}

impl PostgresIngestStore {
    /// Over `pg`, whose migrations are applied. The committer runs on `tree` and ends with it, after what
    /// is queued; it calls `committed` after each transaction.
    pub(crate) fn new(
        pg: Postgres,
        clock: Arc<dyn Clock>,
        committed: Arc<dyn Fn() + Send + Sync>,
        tree: &Tree,
    ) -> Self {
        let committer = Committer::start(pg.clone(), clock, committed, tree);
        Self { pg, committer }
    }
}

impl IngestStore for PostgresIngestStore {
    fn write(&self, write: Write) -> BoxFuture<'_, Result<Outcome, Error>> {
        Box::pin(self.committer.submit(write))
    }

    fn batch<'s>(
        &'s self,
        tenant: &'s TenantId,
        batch: Uuid,
    ) -> BoxFuture<'s, Result<Option<Stored>, Error>> {
        Box::pin(async move {
            let mut client = self.pg.client().await?;
            let tx = client.tenant(tenant).await?;
            let row = tx.query_opt(FIND_BATCH, &[&batch]).await?;
            let found = row.as_ref().map(group::read_stored).transpose()?;
            tx.commit().await?;
            Ok(found)
        })
    }

    fn usage<'s>(&'s self, tenant: &'s TenantId) -> BoxFuture<'s, Result<Usage, Error>> {
        Box::pin(async move {
            let mut client = self.pg.client().await?;
            let tx = client.tenant(tenant).await?;
            let row = tx.query_opt(USAGE, &[]).await?;
            tx.commit().await?;
            let Some(row) = row else {
                return Ok(Usage::default());
            };
            Ok(Usage {
                used: group::bytes_of_sql(row.try_get(0)?),
                unmeasured: group::bytes_of_sql(row.try_get(1)?),
            })
        })
    }

    fn recount<'s>(&'s self, tenant: &'s TenantId) -> BoxFuture<'s, Result<Recount, Error>> {
        Box::pin(async move {
            let mut client = self.pg.client().await?;
            let tx = client.tenant(tenant).await?;
            // Nobody writes documents of the tenant meanwhile.
            let [_, used, counted] = tx
                .flight(&[(group::LOCK, &[]), (group::USED, &[]), (COUNT, &[])])
                .await?;
            let before = group::used(&used)?;
            let counted = group::used(&counted)?;
            tx.commit_after(&[(SET_USED, &[&group::bytes_to_sql(counted)])])
                .await?;
            Ok(Recount { before, counted })
        })
    }

    fn unmeasured(&self, after: Option<Unmeasured>) -> BoxFuture<'_, Result<Vec<Unmeasured>, Error>> {
        Box::pin(async move {
            let (tenant, id) = place_of(after);
            let mut client = self.pg.client().await?;
            let tx = client.system().await?;
            let limit = limits::MEASURE_ROWS_MAX;
            let rows = tx.query(UNMEASURED, &[&tenant, &id, &limit]).await?;
            tx.commit().await?;
            rows.iter()
                .map(|row| {
                    Ok(Unmeasured {
                        tenant: tenant_of_row(row.try_get(0)?)?,
                        id: row.try_get(1)?,
                        version: group::bytes_of_sql(row.try_get(2)?),
                    })
                })
                .collect()
        })
    }

    fn measure<'s>(
        &'s self,
        tenant: &'s TenantId,
        sizes: Vec<(String, u64, u64)>,
    ) -> BoxFuture<'s, Result<(), Error>> {
        Box::pin(async move {
            let ids: Vec<&str> = sizes.iter().map(|(id, _, _)| id.as_str()).collect();
            let versions: Vec<i64> = sizes
                .iter()
                .map(|(_, version, _)| group::bytes_to_sql(*version))
                .collect();
            let bytes: Vec<i64> = sizes
                .iter()
                .map(|(_, _, bytes)| group::bytes_to_sql(*bytes))
                .collect();
            let mut client = self.pg.client().await?;
            let tx = client.tenant(tenant).await?;
            // As a writer, so that sizes and their sum change together for everybody.
            let measure: [Param<'_>; 3] = [&ids, &versions, &bytes];
            let [_, found] = tx.flight(&[(group::LOCK, &[]), (MEASURE, &measure)]).await?;
            let found = group::bytes_to_sql(group::used(&found)?);
            tx.commit_after(&[(group::SETTLE, &[&found])]).await
        })
    }

    fn prune(&self, before: Timestamp) -> BoxFuture<'_, Result<usize, Error>> {
        Box::pin(async move {
            let mut client = self.pg.client().await?;
            let tx = client.system().await?;
            let limit = i64::try_from(limits::PRUNE_ROWS_MAX).unwrap_or(i64::MAX);
            let pruned = tx.execute(PRUNE, &[&before.unix_ms(), &limit]).await?;
            tx.commit().await?;
            Ok(usize::try_from(pruned).unwrap_or(usize::MAX))
        })
    }

    fn ping(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(self.pg.ping())
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            self.committer.close().await;
            self.pg.close();
        })
    }
}
