//! A service whose store is a SQLite file.

use std::path::Path;
use std::sync::Arc;

use rc_events::outbox::sqlite::{MIGRATIONS, SqliteSource, append};
use rc_events::{BoxFuture, Source};
use rc_store::{Migration, Migrations, Sqlite, SqliteOptions, TenantSql};

use super::{Attempt, ORIGIN, facts, tenant};
use crate::failure::Result;
use crate::history::{Fact, content};
use crate::journal::Journal;

/// The aggregates, whose rows give out numbers.
const NUMBERS: Migrations = Migrations::new(
    "numbers",
    &[Migration {
        number: 1,
        name: "create_numbers",
        up: "CREATE TABLE numbers (tenant TEXT NOT NULL, key TEXT NOT NULL, last INTEGER NOT NULL,
             PRIMARY KEY (tenant, key)) STRICT, WITHOUT ROWID",
        down: "DROP TABLE numbers",
    }],
);

const NEXT: TenantSql = TenantSql::new(
    "INSERT INTO numbers (tenant, key, last) VALUES (?1, ?2, ?3)
     ON CONFLICT (tenant, key) DO UPDATE SET last = last + excluded.last RETURNING last",
);

const LOG: &str = "SELECT tenant, topic, key, kseq, id, type, payload FROM outbox ORDER BY pos";

/// The writer's side.
#[derive(Debug)]
pub(crate) struct Desk(Sqlite);

impl Desk {
    pub(crate) async fn open(path: &Path) -> Result<Self> {
        let db = Sqlite::open(path, SqliteOptions::default())?;
        db.migrate(&MIGRATIONS).await?;
        db.migrate(&NUMBERS).await?;
        Ok(Self(db))
    }
}

impl super::Desk for Desk {
    fn write<'a>(
        &'a self,
        attempt: Attempt,
        journal: &'a Arc<Journal>,
    ) -> BoxFuture<'a, std::result::Result<bool, rc_store::Error>> {
        let (journal, rollback) = (Arc::clone(journal), attempt.rollback);
        Box::pin(async move {
            let written = self
                .0
                .tenants()
                .write(&tenant(), "chaos.write", move |conn| {
                    let mut events = Vec::new();
                    for (index, (key, count)) in attempt.keys.iter().enumerate() {
                        let last: Option<i64> =
                            conn.query_row(NEXT, &[key, &count.cast_signed()], |row| row.get(0))?;
                        let last = last.expect("RETURNING gives a row");
                        events.extend(attempt.events(index, last.cast_unsigned()));
                    }
                    journal.begin(&attempt.tx, facts(&events));
                    append(conn, &events)?;
                    if attempt.rollback {
                        // The job's error takes back its savepoint.
                        let kind = rc_store::ErrorKind::Bug;
                        return Err(rc_store::Error::new(kind, "rolled back on purpose"));
                    }
                    Ok(())
                })
                .await;
            match written {
                Ok(()) => Ok(true),
                Err(_on_purpose) if rollback => Ok(false),
                Err(error) => Err(error),
            }
        })
    }
}

/// The relay reads the file of another process, or prunes it, too.
pub(crate) fn source(path: &Path, prunes: bool) -> Result<Arc<dyn Source>> {
    let db = match prunes {
        true => Sqlite::open(path, SqliteOptions::default())?,
        false => Sqlite::open_readonly(path, SqliteOptions::default())?,
    };
    Ok(Arc::new(SqliteSource::new(db, ORIGIN)))
}

/// How many events the outbox has.
pub(crate) async fn count(path: &Path) -> Result<i64> {
    let db = Sqlite::open_readonly(path, SqliteOptions::default())?;
    let count = "SELECT count(*) FROM outbox";
    Ok(db
        .read("chaos.count", |conn| {
            Ok(conn.query_row(count, [], |row| row.get(0))?)
        })
        .await?)
}

/// What the outbox has.
pub(crate) async fn log(path: &Path) -> Result<Vec<Fact>> {
    let options = SqliteOptions {
        read_time_max: super::READ_BACK_TIME_MAX,
        ..SqliteOptions::default()
    };
    let db = Sqlite::open_readonly(path, options)?;
    let facts = db
        .read("chaos.log", |conn| {
            let mut select = conn.prepare_cached(LOG)?;
            let rows = select.query_map([], fact)?;
            Ok(rows.collect::<std::result::Result<Vec<_>, _>>()?)
        })
        .await?;
    Ok(facts)
}

/// A row of tenant, topic, key, number, id, type, payload.
fn fact(row: &rc_store::rusqlite::Row<'_>) -> rc_store::rusqlite::Result<Fact> {
    let (tenant, topic, key): (String, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
    let (kseq, id, event_type): (i64, [u8; 16], String) = (row.get(3)?, row.get(4)?, row.get(5)?);
    let payload: Vec<u8> = row.get(6)?;
    Ok(Fact {
        place: format!("{tenant}/{topic}/{key}"),
        kseq: kseq.cast_unsigned(),
        id: u128::from_be_bytes(id),
        content: content(&event_type, &payload),
    })
}
