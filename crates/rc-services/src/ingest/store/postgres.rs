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
use rc_store::{Error, Migration, Migrations, Postgres, TenantSql, row_security};
use uuid::Uuid;

use super::{IngestStore, Outcome, Stored};
use crate::ingest::decide::Write;
use crate::ingest::limits;
use committer::Committer;

pub(super) const MIGRATIONS: Migrations = Migrations::new(
    "ingest",
    &[Migration {
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
    }],
);

/// By the primary key.
const FIND_BATCH: TenantSql =
    TenantSql::new("SELECT batch, answer, docs, received_ms FROM requests WHERE tenant = $1 AND batch = $2");

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
