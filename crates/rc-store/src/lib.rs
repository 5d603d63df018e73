//! SQL on SQLite and PostgreSQL behind one set of rules: durable before acknowledged, a tenant in every
//! tenant statement, bounded queues, deadlines, migrations with checksums, errors that say whether a
//! retry helps.
//!
//! It refuses to know what the tables mean. Services bring their statements and their migrations.
//!
//! Read first: [`Sqlite`] (one writer with group commit, reader threads), [`Postgres`] (pool and scoped
//! transactions), [`TenantSql`] (a statement that provably binds its tenant). Both stores say in the trace
//! of the request which statements they ran ([`trace`]), and count
//! what those cost ([`profile`]).

pub mod advise;
pub mod error;
pub mod migrate;
pub mod postgres;
pub mod profile;
pub mod sqlite;
pub mod tenant;
pub mod trace;
pub mod url;

pub use advise::{Advice, AdviceKind, Advised};
pub use error::{Error, ErrorKind};
pub use migrate::{Migration, MigrationReport, MigrationStatus, Migrations};
pub use postgres::{
    ByteStream, Param, PgAddress, PgClient, PgScope, Postgres, PostgresOptions, SystemTx, TenantTx,
};
pub use profile::{Database, StatementProfile};
pub use sqlite::{Conn, Sqlite, SqliteOptions, TenantDb};
pub use tenant::{TenantConn, TenantSql};
pub use url::StoreUrl;

pub use {rusqlite, tokio_postgres};
