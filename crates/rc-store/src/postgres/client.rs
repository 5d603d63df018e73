//! A pooled connection and its two kinds of transactions.

mod explain;
mod flight;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Waker};
use std::time::Duration;

use deadpool_postgres::{ClientWrapper, Object};
use postgres_types::ToSql;
use rc_model::TenantId;
use tokio_postgres::Row;

use super::no_answer;
use super::span::Call;
use crate::tenant::TENANT_PLACEHOLDER;
use crate::trace::Shapes;
use crate::{Error, TenantSql};

/// A parameter of a statement.
pub type Param<'p> = &'p (dyn ToSql + Sync);

/// Whose rows a transaction may touch.
#[derive(Debug, Clone, Copy)]
pub enum PgScope<'t> {
    /// One tenant's.
    Tenant(&'t TenantId),
    /// Everybody's: relay, projector, retention, migrations.
    System,
}

/// A connection taken from the pool; it goes back when dropped.
pub struct PgClient {
    /// `None` only while dropping.
    object: Option<Object>,
    answer_time_max: Duration,
    shapes: Arc<Shapes>,
    /// How long the pool let us wait for it.
    waited: Duration,
    /// Set when a call was given up (what the connection does is unknown) or the session must not be
    /// reused: it is closed then.
    broken: AtomicBool,
}

impl std::fmt::Debug for PgClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PgClient")
            .field("broken", &self.broken)
            .finish_non_exhaustive()
    }
}

impl Drop for PgClient {
    fn drop(&mut self) {
        if self.broken.load(Ordering::Relaxed)
            && let Some(object) = self.object.take()
        {
            // Out of the pool and closed.
            drop(Object::take(object));
        }
    }
}

impl PgClient {
    pub(super) fn new(
        object: Object,
        answer_time_max: Duration,
        shapes: Arc<Shapes>,
        waited: Duration,
    ) -> Self {
        Self {
            object: Some(object),
            answer_time_max,
            shapes,
            waited,
            broken: AtomicBool::new(false),
        }
    }

    /// The same connection, closed when dropped instead of going back to the pool: for what lives in the
    /// session, such as an advisory lock.
    #[must_use]
    pub fn unpooled(self) -> Self {
        self.broken.store(true, Ordering::Relaxed);
        self
    }

    /// The same connection, waiting this long for each answer.
    pub(crate) fn with_answer_time_max(mut self, limit: Duration) -> Self {
        self.answer_time_max = limit;
        self
    }

    /// Starts a transaction that sees and writes the rows of `tenant` only.
    ///
    /// # Errors
    /// As the server says.
    pub async fn tenant<'c>(&'c mut self, tenant: &'c TenantId) -> Result<TenantTx<'c>, Error> {
        let tx = self.begin(PgScope::Tenant(tenant)).await?;
        Ok(TenantTx { tx, tenant })
    }

    /// Starts a transaction without a tenant: for the platform's own work, never for a request.
    ///
    /// # Errors
    /// As the server says.
    pub async fn system(&mut self) -> Result<SystemTx<'_>, Error> {
        self.begin(PgScope::System).await
    }

    /// Runs statements outside a transaction.
    ///
    /// # Errors
    /// As the server says.
    pub async fn simple(&self, sql: &str) -> Result<(), Error> {
        let object = self.object.as_ref().expect("the object is there until the drop");
        let call = Call::here(&self.shapes, sql);
        let done = answer(&self.broken, self.answer_time_max, object.batch_execute(sql)).await;
        call.ended(done, |()| None)
    }

    /// Begins a transaction and says whose it is, in one round trip.
    async fn begin(&mut self, scope: PgScope<'_>) -> Result<SystemTx<'_>, Error> {
        let call = Call::beginning(&self.shapes, std::mem::take(&mut self.waited));
        // A tenant's id is a DNS label: it cannot end a string.
        let begin = match scope {
            PgScope::Tenant(tenant) => format!(
                "START TRANSACTION; SELECT set_config('rc.tenant', '{tenant}', true), \
                 set_config('rc.scope', 'tenant', true)"
            ),
            PgScope::System => "START TRANSACTION; SELECT set_config('rc.scope', 'system', true)".to_owned(),
        };
        let tx = SystemTx {
            client: self.object.as_ref().expect("the object is there until the drop"),
            open: AtomicBool::new(true),
            broken: &self.broken,
            limit: self.answer_time_max,
            shapes: &self.shapes,
        };
        let begun = answer(tx.broken, tx.limit, tx.client.batch_execute(&begin)).await;
        call.ended(begun.map(|()| tx), |_| None)
    }
}

/// Waits for the server, but not for ever.
async fn answer<T, E: Into<Error>>(
    broken: &AtomicBool,
    limit: Duration,
    call: impl Future<Output = Result<T, E>>,
) -> Result<T, Error> {
    match tokio::time::timeout(limit, call).await {
        Ok(outcome) => outcome.map_err(Into::into),
        Err(_) => {
            broken.store(true, Ordering::Relaxed);
            Err(no_answer())
        }
    }
}

/// A transaction that sees every tenant's rows. Dropping it rolls back.
pub struct SystemTx<'c> {
    client: &'c ClientWrapper,
    /// Until its end was sent.
    open: AtomicBool,
    broken: &'c AtomicBool,
    limit: Duration,
    shapes: &'c Shapes,
}

impl std::fmt::Debug for SystemTx<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SystemTx").finish_non_exhaustive()
    }
}

impl Drop for SystemTx<'_> {
    fn drop(&mut self) {
        if *self.open.get_mut() {
            // The first poll sends it, before whatever the connection is used for next.
            let rollback = pin!(self.client.batch_execute("ROLLBACK"));
            let _ = rollback.poll(&mut Context::from_waker(Waker::noop()));
        }
    }
}

impl SystemTx<'_> {
    /// Runs a statement, prepared once a connection; the number of changed rows.
    ///
    /// # Errors
    /// As the server says.
    pub async fn execute(&self, sql: &str, params: &[Param<'_>]) -> Result<u64, Error> {
        let ask = async {
            let statement = self.client.prepare_cached(sql).await?;
            self.client.execute(&statement, params).await
        };
        self.traced(sql, ask, |_| None).await
    }

    /// All rows of a query; the statement itself must bound their number.
    ///
    /// # Errors
    /// As the server says.
    pub async fn query(&self, sql: &str, params: &[Param<'_>]) -> Result<Vec<Row>, Error> {
        let ask = async {
            let statement = self.client.prepare_cached(sql).await?;
            self.client.query(&statement, params).await
        };
        self.traced(sql, ask, |rows| Some(rows.len())).await
    }

    /// The only row of a query, or none.
    ///
    /// # Errors
    /// As the server says, and when there are more rows.
    pub async fn query_opt(&self, sql: &str, params: &[Param<'_>]) -> Result<Option<Row>, Error> {
        let ask = async {
            let statement = self.client.prepare_cached(sql).await?;
            self.client.query_opt(&statement, params).await
        };
        self.traced(sql, ask, |row| Some(usize::from(row.is_some())))
            .await
    }

    /// The only row of a query.
    ///
    /// # Errors
    /// As the server says, and when there is none or more than one.
    pub async fn query_one(&self, sql: &str, params: &[Param<'_>]) -> Result<Row, Error> {
        let ask = async {
            let statement = self.client.prepare_cached(sql).await?;
            self.client.query_one(&statement, params).await
        };
        self.traced(sql, ask, |_| Some(1)).await
    }

    /// Runs several statements without parameters.
    ///
    /// # Errors
    /// As the server says.
    pub async fn batch(&self, sql: &str) -> Result<(), Error> {
        self.traced(sql, self.client.batch_execute(sql), |()| None).await
    }

    /// Makes it durable.
    ///
    /// # Errors
    /// As the server says. After [`crate::ErrorKind::Unavailable`] it is unknown whether it happened.
    pub async fn commit(self) -> Result<(), Error> {
        self.end("COMMIT").await
    }

    /// Takes everything back and waits for the server to say so.
    ///
    /// # Errors
    /// As the server says.
    pub async fn rollback(self) -> Result<(), Error> {
        self.end("ROLLBACK").await
    }

    async fn end(&self, sql: &str) -> Result<(), Error> {
        let end = async {
            self.open.store(false, Ordering::Relaxed);
            self.client.batch_execute(sql).await
        };
        self.traced(sql, end, |()| None).await
    }

    /// Waits for the server, with a span for who traces it. `rows`: how many came.
    async fn traced<T>(
        &self,
        sql: &str,
        ask: impl Future<Output = Result<T, tokio_postgres::Error>>,
        rows: impl FnOnce(&T) -> Option<usize>,
    ) -> Result<T, Error> {
        let call = Call::here(self.shapes, sql);
        call.ended(answer(self.broken, self.limit, ask).await, rows)
    }
}

/// A transaction of one tenant: it takes [`TenantSql`] only, binds the tenant as `$1`, and row-level
/// security hides all other rows. Dropping it rolls back.
pub struct TenantTx<'c> {
    tx: SystemTx<'c>,
    tenant: &'c TenantId,
}

impl std::fmt::Debug for TenantTx<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TenantTx")
            .field("tenant", self.tenant)
            .finish_non_exhaustive()
    }
}

impl TenantTx<'_> {
    /// Whose transaction this is.
    #[must_use]
    pub fn tenant(&self) -> &TenantId {
        self.tenant
    }

    /// Runs a statement; parameters start at `$2`.
    ///
    /// # Errors
    /// As the server says.
    pub async fn execute(&self, sql: TenantSql, params: &[Param<'_>]) -> Result<u64, Error> {
        let tenant = self.tenant.as_str();
        self.tx.execute(plain(sql)?, &with_tenant(&tenant, params)).await
    }

    /// All rows of a query; the statement itself must bound their number.
    ///
    /// # Errors
    /// As the server says.
    pub async fn query(&self, sql: TenantSql, params: &[Param<'_>]) -> Result<Vec<Row>, Error> {
        let tenant = self.tenant.as_str();
        self.tx.query(plain(sql)?, &with_tenant(&tenant, params)).await
    }

    /// The only row of a query, or none.
    ///
    /// # Errors
    /// As the server says, and when there are more rows.
    pub async fn query_opt(&self, sql: TenantSql, params: &[Param<'_>]) -> Result<Option<Row>, Error> {
        let tenant = self.tenant.as_str();
        self.tx
            .query_opt(plain(sql)?, &with_tenant(&tenant, params))
            .await
    }

    /// Makes it durable.
    ///
    /// # Errors
    /// As the server says. After [`crate::ErrorKind::Unavailable`] it is unknown whether it happened.
    pub async fn commit(self) -> Result<(), Error> {
        self.tx.commit().await
    }

    /// Takes everything back and waits for the server to say so.
    ///
    /// # Errors
    /// As the server says.
    pub async fn rollback(self) -> Result<(), Error> {
        self.tx.rollback().await
    }
}

fn with_tenant<'p>(tenant: &'p &'p str, params: &[Param<'p>]) -> Vec<Param<'p>> {
    let mut all: Vec<Param<'p>> = Vec::with_capacity(params.len() + 1);
    all.push(tenant);
    all.extend_from_slice(params);
    all
}

/// Tables of a tenant's own exist in SQLite only: PostgreSQL has the tenant in its indexes.
fn plain(sql: TenantSql) -> Result<&'static str, Error> {
    if sql.text().contains(TENANT_PLACEHOLDER) {
        return Err(Error::bug("a table of the tenant's own was named on PostgreSQL"));
    }
    Ok(sql.text())
}
