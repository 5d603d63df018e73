//! Migrations of a PostgreSQL schema. Several processes may start at once: an advisory lock lets one
//! apply and the others find it done.

use std::time::Duration;

use super::{Applied, MigrationReport, MigrationStatus, Migrations, Step};
use crate::postgres::SystemTx;
use crate::{Error, ErrorKind, Postgres};

/// First key of our advisory locks (`RCMI`); the second is a hash of schema and component.
const LOCK_CLASS: i32 = 0x5243_4d49;

/// How long one step may take: building an index over a large table.
const STEP_TIME_MAX: Duration = Duration::from_secs(3_600);

const LOCK: &str = "SELECT pg_advisory_xact_lock($1, hashtext($2))";

/// A big table takes its time, and another process may be busy applying.
const UNLIMITED: &str = "SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0; \
                         SET LOCAL idle_in_transaction_session_timeout = 0";

/// `CREATE SCHEMA IF NOT EXISTS` wants the right to create also for one that is there.
const SCHEMA_MISSING: &str = "SELECT to_regnamespace($1) IS NULL";

const TABLE_EXISTS: &str = "SELECT to_regclass('schema_migrations') IS NOT NULL";

const CREATE_TABLE: &str = "CREATE TABLE IF NOT EXISTS schema_migrations (
    component text NOT NULL,
    number int NOT NULL,
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (component, number)
)";

const SELECT: &str =
    "SELECT number, name, checksum FROM schema_migrations WHERE component = $1 ORDER BY number";

const INSERT: &str =
    "INSERT INTO schema_migrations (component, number, name, checksum) VALUES ($1, $2, $3, $4)";

const DELETE: &str = "DELETE FROM schema_migrations WHERE component = $1 AND number = $2";

impl Postgres {
    /// Creates the schema if need be and applies what is missing, each step in a transaction of its own.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Migration`] for drift, a gap or a newer database; what a step's SQL says.
    pub async fn migrate(&self, migrations: &Migrations) -> Result<MigrationReport, Error> {
        let mut client = self.client().await?.with_answer_time_max(STEP_TIME_MAX);
        let mut steps = Vec::new();
        loop {
            let tx = client.system().await?;
            self.lock(&tx, migrations).await?;
            let missing: bool = tx
                .query_one(SCHEMA_MISSING, &[&self.schema()])
                .await?
                .try_get(0)?;
            if missing {
                tx.batch(&format!("CREATE SCHEMA {}", self.schema())).await?;
            }
            tx.batch(CREATE_TABLE).await?;
            let applied = applied(&tx, migrations).await?;
            let pending = migrations.pending(&applied)?;
            let Some(step) = pending.first() else {
                tx.commit().await?;
                return Ok(MigrationReport {
                    component: migrations.component,
                    steps,
                    current: u32::try_from(applied.len()).unwrap_or(u32::MAX),
                });
            };
            tx.batch(step.up)
                .await
                .map_err(|error| error.context(tried("apply", migrations, step)))?;
            tx.execute(
                INSERT,
                &[
                    &migrations.component,
                    &number(step)?,
                    &step.name,
                    &step.checksum(),
                ],
            )
            .await?;
            tx.commit().await?;
            steps.push(Step::of(step));
        }
    }

    /// Takes steps back until `target` is the last one (0: none is left).
    ///
    /// # Errors
    /// As [`Self::migrate`], and when the database is below `target` already.
    pub async fn migrate_down(&self, migrations: &Migrations, target: u32) -> Result<MigrationReport, Error> {
        let mut client = self.client().await?.with_answer_time_max(STEP_TIME_MAX);
        let tx = client.system().await?;
        self.lock(&tx, migrations).await?;
        let back = migrations.taken_back(&applied(&tx, migrations).await?, target)?;
        for step in &back {
            tx.batch(step.down)
                .await
                .map_err(|error| error.context(tried("take back", migrations, step)))?;
            tx.execute(DELETE, &[&migrations.component, &number(step)?])
                .await?;
        }
        tx.commit().await?;
        Ok(MigrationReport {
            component: migrations.component,
            steps: back.into_iter().map(Step::of).collect(),
            current: target,
        })
    }

    /// Where the schema stands; changes nothing.
    ///
    /// # Errors
    /// As [`Self::migrate`].
    pub async fn migration_status(&self, migrations: &Migrations) -> Result<MigrationStatus, Error> {
        let mut client = self.client().await?;
        let tx = client.system().await?;
        migrations.status(&applied(&tx, migrations).await?)
    }

    async fn lock(&self, tx: &SystemTx<'_>, migrations: &Migrations) -> Result<(), Error> {
        tx.batch(UNLIMITED).await?;
        let name = format!("{}/{}", self.schema(), migrations.component);
        tx.execute(LOCK, &[&LOCK_CLASS, &name]).await?;
        Ok(())
    }
}

async fn applied(tx: &SystemTx<'_>, migrations: &Migrations) -> Result<Vec<Applied>, Error> {
    let exists: bool = tx.query_one(TABLE_EXISTS, &[]).await?.try_get(0)?;
    if !exists {
        return Ok(Vec::new());
    }
    let rows = tx.query(SELECT, &[&migrations.component]).await?;
    rows.iter()
        .map(|row| {
            Ok(Applied {
                number: u32::try_from(row.try_get::<_, i32>(0)?).unwrap_or(0),
                name: row.try_get(1)?,
                checksum: row.try_get(2)?,
            })
        })
        .collect()
}

fn number(step: &super::Migration) -> Result<i32, Error> {
    i32::try_from(step.number)
        .map_err(|error| Error::caused(ErrorKind::Bug, "a migration's number is too large", error))
}

fn tried(verb: &str, migrations: &Migrations, step: &super::Migration) -> String {
    format!(
        "failed to {verb} migration {} `{}` of `{}`",
        step.number, step.name, migrations.component
    )
}
