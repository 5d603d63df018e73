//! Migrations of a SQLite file, by its writer.

use rusqlite::OptionalExtension as _;

use super::{Applied, MigrationReport, MigrationStatus, Migrations, Step};
use crate::{Conn, Error, Sqlite};

const TABLE_EXISTS: &str = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'schema_migrations'";

const CREATE_TABLE: &str = "CREATE TABLE IF NOT EXISTS schema_migrations (
    component TEXT NOT NULL,
    number INTEGER NOT NULL,
    name TEXT NOT NULL,
    checksum TEXT NOT NULL,
    applied_at TEXT NOT NULL,
    PRIMARY KEY (component, number)
) STRICT, WITHOUT ROWID";

const SELECT: &str =
    "SELECT number, name, checksum FROM schema_migrations WHERE component = ?1 ORDER BY number";

const INSERT: &str = "INSERT INTO schema_migrations (component, number, name, checksum, applied_at)
    VALUES (?1, ?2, ?3, ?4, strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))";

const DELETE: &str = "DELETE FROM schema_migrations WHERE component = ?1 AND number = ?2";

impl Sqlite {
    /// Applies what is missing, each step in a transaction of its own.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Migration`] for drift, a gap or a newer database; what a step's SQL says.
    pub async fn migrate(&self, migrations: &Migrations) -> Result<MigrationReport, Error> {
        let migrations = *migrations;
        let mut steps = Vec::new();
        loop {
            let step = self
                .write_unlimited("migrate", move |conn| up_one(conn, &migrations))
                .await?;
            match step {
                Some(step) => steps.push(step),
                None => break,
            }
        }
        let status = self.migration_status(&migrations).await?;
        Ok(MigrationReport {
            component: migrations.component,
            steps,
            current: status.current,
        })
    }

    /// Takes steps back until `target` is the last one (0: none is left).
    ///
    /// # Errors
    /// As [`Self::migrate`], and when the database is below `target` already.
    pub async fn migrate_down(&self, migrations: &Migrations, target: u32) -> Result<MigrationReport, Error> {
        let migrations = *migrations;
        let steps = self
            .write_unlimited("migrate-down", move |conn| {
                let back = migrations.taken_back(&applied(conn, &migrations)?, target)?;
                for step in &back {
                    conn.execute_batch(step.down)
                        .map_err(|error| Error::from(error).context(tried("take back", &migrations, step)))?;
                    conn.execute(DELETE, (migrations.component, step.number))?;
                }
                Ok(back.into_iter().map(Step::of).collect())
            })
            .await?;
        Ok(MigrationReport {
            component: migrations.component,
            steps,
            current: target,
        })
    }

    /// Where the database stands; changes nothing.
    ///
    /// # Errors
    /// As [`Self::migrate`].
    pub async fn migration_status(&self, migrations: &Migrations) -> Result<MigrationStatus, Error> {
        let migrations = *migrations;
        self.read("migration-status", move |conn| {
            migrations.status(&applied(conn, &migrations)?)
        })
        .await
    }
}

fn up_one(conn: &Conn, migrations: &Migrations) -> Result<Option<Step>, Error> {
    conn.execute_batch(CREATE_TABLE)?;
    let Some(step) = migrations.pending(&applied(conn, migrations)?)?.first() else {
        return Ok(None);
    };
    conn.execute_batch(step.up)
        .map_err(|error| Error::from(error).context(tried("apply", migrations, step)))?;
    conn.execute(
        INSERT,
        (migrations.component, step.number, step.name, step.checksum()),
    )?;
    Ok(Some(Step::of(step)))
}

fn applied(conn: &Conn, migrations: &Migrations) -> Result<Vec<Applied>, Error> {
    let exists = conn.query_row(TABLE_EXISTS, [], |_| Ok(())).optional()?;
    if exists.is_none() {
        return Ok(Vec::new());
    }
    let mut select = conn.prepare_cached(SELECT)?;
    let rows = select.query_map([migrations.component], |row| {
        Ok(Applied {
            number: row.get(0)?,
            name: row.get(1)?,
            checksum: row.get(2)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn tried(verb: &str, migrations: &Migrations, step: &super::Migration) -> String {
    format!(
        "failed to {verb} migration {} `{}` of `{}`",
        step.number, step.name, migrations.component
    )
}
