//! PostgreSQL: a pool that heals by itself, statements prepared once a connection, and transactions that
//! carry their tenant into row-level security, the second wall behind [`crate::TenantSql`].
//!
//! Every call has a deadline on both sides: the server stops long statements, and a connection that does
//! not answer is given up.

mod client;
mod config;
mod dial;
mod span;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod, Runtime, Timeouts};

use crate::error::UNAVAILABLE_RETRY;
use crate::trace::Shapes;
use crate::{Error, ErrorKind};

pub(crate) use config::config_of;

pub use client::{Param, PgClient, PgScope, SystemTx, TenantTx};
pub use dial::{ByteStream, PgAddress};

/// Connections a service holds at most; PostgreSQL's default allows 100 for everybody.
pub const POOL_CONNECTIONS_MAX: usize = 8;

/// How long to wait for a free connection.
pub const POOL_WAIT_MAX: Duration = Duration::from_secs(2);

/// How long a connection attempt may take.
pub const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);

/// How long the server lets one statement run.
pub const STATEMENT_TIME_MAX: Duration = Duration::from_secs(10);

/// How long the server lets a transaction stand idle: it holds locks.
pub const IDLE_IN_TRANSACTION_MAX: Duration = Duration::from_secs(10);

/// How long a statement waits for a lock.
pub const LOCK_WAIT_MAX: Duration = Duration::from_secs(5);

/// How much longer than the server's own limit a call waits before it gives the connection up.
pub const ANSWER_GRACE: Duration = Duration::from_secs(2);

/// The statements that put row-level security on a table with a `tenant` column, for migrations:
/// `concat!("CREATE TABLE docs (...);", rc_store::row_security!("docs"))`.
///
/// `FORCE` binds the owner too. A transaction without a scope sees no row and can write none.
#[macro_export]
macro_rules! row_security {
    ($table:literal) => {
        concat!(
            "ALTER TABLE ",
            $table,
            " ENABLE ROW LEVEL SECURITY;\nALTER TABLE ",
            $table,
            " FORCE ROW LEVEL SECURITY;\nCREATE POLICY tenant_wall ON ",
            $table,
            " USING (tenant = current_setting('rc.tenant', true)",
            " OR current_setting('rc.scope', true) = 'system');\n"
        )
    };
}

/// How a pool behaves.
#[derive(Debug, Clone)]
pub struct PostgresOptions {
    /// Shown in `pg_stat_activity`.
    pub application: &'static str,
    /// The schema that unqualified names mean (`search_path`): one a component.
    pub schema: &'static str,
    /// Connections at most.
    pub pool_max: usize,
    /// How long to wait for a free connection.
    pub pool_wait_max: Duration,
    /// How long a connection attempt may take.
    pub connect_time_max: Duration,
    /// How long the server lets one statement run.
    pub statement_time_max: Duration,
}

impl PostgresOptions {
    /// The defaults for the component that owns `schema`.
    #[must_use]
    pub const fn new(application: &'static str, schema: &'static str) -> Self {
        Self {
            application,
            schema,
            pool_max: POOL_CONNECTIONS_MAX,
            pool_wait_max: POOL_WAIT_MAX,
            connect_time_max: CONNECT_TIME_MAX,
            statement_time_max: STATEMENT_TIME_MAX,
        }
    }
}

/// A pool of connections to one database; cheap to clone.
#[derive(Clone)]
pub struct Postgres(Arc<Shared>);

struct Shared {
    pool: Pool,
    schema: &'static str,
    shapes: Arc<Shapes>,
    /// How long a call waits for the server's answer.
    answer_time_max: Duration,
}

impl std::fmt::Debug for Postgres {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Postgres")
            .field("schema", &self.0.schema)
            .finish_non_exhaustive()
    }
}

impl Postgres {
    /// A pool for `url`. Opens no connection yet: use [`Self::ping`] to learn whether the server is there.
    ///
    /// # Errors
    /// [`ErrorKind::Url`] when the URL is not one, or the certificates it names cannot be read.
    pub fn connect(url: &str, options: &PostgresOptions) -> Result<Self, Error> {
        let target = config_of(url)?;
        let config = config::with_limits(&target, options)?;
        let manager_config = ManagerConfig {
            recycling_method: RecyclingMethod::Fast,
        };
        let manager = match &target.trusted {
            None => Manager::from_config(config, tokio_postgres::NoTls, manager_config),
            Some(root) => Manager::from_config(config, tls::Tls::trusting(root)?, manager_config),
        };
        let pool = Pool::builder(manager)
            .max_size(options.pool_max.max(1))
            .runtime(Runtime::Tokio1)
            .timeouts(Timeouts {
                wait: Some(options.pool_wait_max),
                create: Some(options.connect_time_max),
                recycle: Some(options.connect_time_max),
            })
            .build()
            .map_err(|error| Error::bug(format!("the pool cannot be built: {error}")))?;
        Ok(Self(Arc::new(Shared {
            pool,
            schema: options.schema,
            shapes: Arc::default(),
            answer_time_max: options.statement_time_max + ANSWER_GRACE,
        })))
    }

    /// A connection of the pool.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`] when all are in use for too long, [`ErrorKind::Unavailable`] when the server
    /// cannot be reached.
    pub async fn client(&self) -> Result<PgClient, Error> {
        let began = tokio::time::Instant::now();
        let object = self.0.pool.get().await?;
        let shapes = Arc::clone(&self.0.shapes);
        Ok(PgClient::new(
            object,
            self.0.answer_time_max,
            shapes,
            began.elapsed(),
        ))
    }

    /// Whether the server answers.
    ///
    /// # Errors
    /// As [`Self::client`].
    pub async fn ping(&self) -> Result<(), Error> {
        self.client().await?.simple("SELECT 1").await
    }

    /// Whether row-level security binds the role: a superuser, or a role with `BYPASSRLS`, walks through
    /// the second wall.
    ///
    /// # Errors
    /// As [`Self::client`].
    pub async fn row_security_binds(&self) -> Result<bool, Error> {
        const SQL: &str = "SELECT NOT (rolsuper OR rolbypassrls) FROM pg_roles WHERE rolname = current_user";
        let mut client = self.client().await?;
        let tx = client.system().await?;
        let row = tx.query_one(SQL, &[]).await?;
        Ok(row.try_get(0)?)
    }

    /// The schema that unqualified names mean.
    #[must_use]
    pub fn schema(&self) -> &'static str {
        self.0.schema
    }

    /// Connections in use, and callers that wait for one.
    #[must_use]
    pub fn load(&self) -> (usize, usize) {
        let status = self.0.pool.status();
        (status.size.saturating_sub(status.available), status.waiting)
    }

    /// The statements that ran.
    pub(crate) fn shapes(&self) -> &Shapes {
        &self.0.shapes
    }

    /// Closes the pool: idle connections at once, others when they come back.
    pub fn close(&self) {
        self.0.pool.close();
    }
}

/// The error of a server that did not answer in time; the work may have been done all the same.
fn no_answer() -> Error {
    Error::new(
        ErrorKind::Unavailable {
            retry_after: UNAVAILABLE_RETRY,
        },
        "PostgreSQL did not answer in time",
    )
}

#[cfg(test)]
mod tests;
