//! The outbox in a SQLite file. Its one writer is the lock.

use rc_model::Timestamp;
use rc_store::rusqlite::OptionalExtension as _;
use rc_store::{Conn, Error, Migration, Migrations, Sqlite};

use super::{ALL, Batch, Filling, Limit, Room, Waiting, damaged, distance, number};
use crate::audit::rejoin::Behind;
use crate::audit::seal::{Draft, Row, Source};

/// The outbox's tables.
pub const MIGRATIONS: Migrations = Migrations::new(
    "audit",
    &[Migration {
        number: 1,
        name: "create_audit_outbox",
        up: "CREATE TABLE audit_source (
                 id          INTEGER PRIMARY KEY CHECK (id = 1),
                 source      TEXT NOT NULL,
                 seq         INTEGER NOT NULL,
                 last_action TEXT
             ) STRICT;
             INSERT INTO audit_source (id, source, seq) VALUES (1, lower(hex(randomblob(16))), 0);
             CREATE TABLE audit_outbox (
                 seq   INTEGER PRIMARY KEY,
                 at_ms INTEGER NOT NULL,
                 entry BLOB NOT NULL,
                 texts TEXT NOT NULL
             ) STRICT;",
        down: "DROP TABLE audit_outbox; DROP TABLE audit_source;",
    }],
);

const SOURCE: &str = "SELECT source, seq FROM audit_source WHERE id = 1";
/// By the primary key.
const OLDEST: &str = "SELECT seq, at_ms FROM audit_outbox ORDER BY seq LIMIT 1";

/// Adds entries to the running transaction of `conn`.
///
/// # Errors
/// [`super::Full`] inside the store's error, and what the store says; the transaction must be rolled back.
pub fn append(conn: &Conn, service: &str, drafts: &[Draft], room: Room) -> Result<(), Error> {
    const ADVANCE: &str = "UPDATE audit_source SET seq = ?1, last_action = ?2 WHERE id = 1";
    let Some(last) = drafts.last() else {
        return Ok(());
    };
    let (source, mut seq) = source(conn, service)?;
    for draft in drafts {
        seq += 1;
        let row = draft.seal(&source, number(seq))?;
        insert(conn, &row)?;
    }
    conn.prepare_cached(ADVANCE)?
        .execute((seq, last.action().as_str()))?;
    let oldest: i64 = conn.prepare_cached(OLDEST)?.query_row([], |row| row.get(0))?;
    room.check(distance(Some(oldest), seq))
}

fn source(conn: &Conn, service: &str) -> Result<(Source, i64), Error> {
    let (id, seq): (String, i64) = conn
        .prepare_cached(SOURCE)?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok((Source::new(service, &id), seq))
}

fn insert(conn: &Conn, row: &Row) -> Result<(), Error> {
    const INSERT: &str = "INSERT INTO audit_outbox (seq, at_ms, entry, texts) VALUES (?1, ?2, ?3, ?4)";
    let seq = i64::try_from(row.seq).unwrap_or(i64::MAX);
    conn.prepare_cached(INSERT)?
        .execute((seq, row.at.unix_ms(), &row.entry, row.texts_json()))?;
    Ok(())
}

/// Puts what waits behind the log; the transaction holds every later entry off.
pub(super) fn follow(conn: &Conn, service: &str, behind: &Behind, told: &Draft) -> Result<(), Error> {
    const ADVANCE: &str = "UPDATE audit_source SET seq = ?1 WHERE id = 1";
    const CLEAR: &str = "DELETE FROM audit_outbox";
    let (source, _) = source(conn, service)?;
    let after = behind.rows_after(&source, rows(conn, ALL)?, told)?;
    conn.prepare_cached(CLEAR)?.execute([])?;
    for row in &after {
        insert(conn, row)?;
    }
    let newest = after.last().map_or(0, |row| row.seq);
    conn.prepare_cached(ADVANCE)?
        .execute([i64::try_from(newest).unwrap_or(i64::MAX)])?;
    Ok(())
}

pub(super) async fn next(db: &Sqlite, service: &'static str, limit: Limit) -> Result<Batch, Error> {
    db.read("audit.next", move |conn| {
        let (source, _) = source(conn, service)?;
        Ok(Batch {
            source: source.id().to_owned(),
            rows: rows(conn, limit)?,
        })
    })
    .await
}

/// The rows that wait, oldest first.
fn rows(conn: &Conn, limit: Limit) -> Result<Vec<Row>, Error> {
    // By the primary key.
    const NEXT: &str = "SELECT seq, at_ms, entry, texts FROM audit_outbox ORDER BY seq LIMIT ?1";
    let mut filling = Filling::new(limit);
    let mut select = conn.prepare_cached(NEXT)?;
    let mut rows = select.query([i64::try_from(limit.rows).unwrap_or(i64::MAX)])?;
    while let Some(row) = rows.next()? {
        let texts: String = row.get(3)?;
        let row = Row {
            seq: number(row.get(0)?),
            at: Timestamp::from_unix_ms(row.get(1)?),
            entry: row.get(2)?,
            texts: Row::texts_of(&texts).map_err(|error| damaged(&error))?,
        };
        if !filling.take(row) {
            break;
        }
    }
    Ok(filling.rows)
}

pub(super) async fn delivered(db: &Sqlite, seq: u64) -> Result<(), Error> {
    const DELETE: &str = "DELETE FROM audit_outbox WHERE seq <= ?1";
    db.write("audit.delivered", move |conn| {
        conn.prepare_cached(DELETE)?
            .execute([i64::try_from(seq).unwrap_or(i64::MAX)])?;
        Ok(())
    })
    .await
}

pub(super) async fn waiting(db: &Sqlite, service: &'static str) -> Result<Waiting, Error> {
    db.read("audit.waiting", move |conn| {
        let (source, newest) = source(conn, service)?;
        let oldest: Option<(i64, i64)> = conn
            .prepare_cached(OLDEST)?
            .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        Ok(Waiting {
            source: source.id().to_owned(),
            newest: number(newest),
            rows: distance(oldest.map(|(seq, _)| seq), newest),
            oldest: oldest.map(|(_, at)| Timestamp::from_unix_ms(at)),
        })
    })
    .await
}

pub(super) async fn last_action(db: &Sqlite) -> Result<Option<String>, Error> {
    const LAST: &str = "SELECT last_action FROM audit_source WHERE id = 1";
    db.read("audit.last-action", |conn| {
        Ok(conn.prepare_cached(LAST)?.query_row([], |row| row.get(0))?)
    })
    .await
}
