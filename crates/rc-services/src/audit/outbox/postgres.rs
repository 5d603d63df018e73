//! The outbox in a PostgreSQL schema, for several processes at once: the source's row is the lock.

use rc_model::Timestamp;
use rc_store::{Error, Migration, Migrations, Postgres, SystemTx};

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
                 id          int PRIMARY KEY CHECK (id = 1),
                 source      text NOT NULL,
                 seq         bigint NOT NULL,
                 last_action text
             );
             INSERT INTO audit_source (id, source, seq)
             VALUES (1, replace(gen_random_uuid()::text, '-', ''), 0);
             CREATE TABLE audit_outbox (
                 seq   bigint PRIMARY KEY,
                 at_ms bigint NOT NULL,
                 entry bytea NOT NULL,
                 texts text NOT NULL
             );",
        down: "DROP TABLE audit_outbox; DROP TABLE audit_source;",
    }],
);

/// By the primary key.
const OLDEST: &str = "SELECT seq, at_ms FROM audit_outbox ORDER BY seq LIMIT 1";

/// Adds entries to `tx`, which holds the source's row until it ends.
///
/// # Errors
/// [`super::Full`] inside the store's error, and what the server says; `tx` must be rolled back.
pub async fn append(tx: &SystemTx<'_>, service: &str, drafts: &[Draft], room: Room) -> Result<(), Error> {
    const ADVANCE: &str = "UPDATE audit_source SET seq = seq + $1, last_action = $2 WHERE id = 1
         RETURNING source, seq";
    let Some(last) = drafts.last() else {
        return Ok(());
    };
    let count = i64::try_from(drafts.len()).unwrap_or(i64::MAX);
    let advanced = tx.query_one(ADVANCE, &[&count, &last.action().as_str()]).await?;
    let (source, newest): (&str, i64) = (advanced.try_get(0)?, advanced.try_get(1)?);
    let source = Source::new(service, source);
    let mut seq = newest - count;
    for draft in drafts {
        seq += 1;
        let row = draft.seal(&source, number(seq))?;
        insert(tx, &row).await?;
    }
    let oldest: i64 = tx.query_one(OLDEST, &[]).await?.try_get(0)?;
    room.check(distance(Some(oldest), newest))
}

pub(super) async fn next(db: &Postgres, service: &'static str, limit: Limit) -> Result<Batch, Error> {
    const SOURCE: &str = "SELECT source FROM audit_source WHERE id = 1";
    let mut client = db.client().await?;
    let tx = client.system().await?;
    let source = tx.query_one(SOURCE, &[]).await?;
    let source = Source::new(service, source.try_get(0)?);
    Ok(Batch {
        source: source.id().to_owned(),
        rows: rows(&tx, limit).await?,
    })
}

async fn insert(tx: &SystemTx<'_>, row: &Row) -> Result<(), Error> {
    const INSERT: &str = "INSERT INTO audit_outbox (seq, at_ms, entry, texts) VALUES ($1, $2, $3, $4)";
    let seq = i64::try_from(row.seq).unwrap_or(i64::MAX);
    tx.execute(INSERT, &[&seq, &row.at.unix_ms(), &row.entry, &row.texts_json()])
        .await?;
    Ok(())
}

/// Puts what waits behind the log; the source's row, locked, holds every later entry off.
pub(super) async fn follow(
    db: &Postgres,
    service: &'static str,
    behind: &Behind,
    told: &Draft,
) -> Result<(), Error> {
    const LOCK: &str = "SELECT source FROM audit_source WHERE id = 1 FOR UPDATE";
    const ADVANCE: &str = "UPDATE audit_source SET seq = $1 WHERE id = 1";
    const CLEAR: &str = "DELETE FROM audit_outbox";
    let mut client = db.client().await?;
    let tx = client.system().await?;
    let source = tx.query_one(LOCK, &[]).await?;
    let source = Source::new(service, source.try_get(0)?);
    let after = behind.rows_after(&source, rows(&tx, ALL).await?, told)?;
    tx.execute(CLEAR, &[]).await?;
    for row in &after {
        insert(&tx, row).await?;
    }
    let newest = after.last().map_or(0, |row| row.seq);
    tx.execute(ADVANCE, &[&i64::try_from(newest).unwrap_or(i64::MAX)])
        .await?;
    tx.commit().await
}

/// The rows that wait, oldest first.
async fn rows(tx: &SystemTx<'_>, limit: Limit) -> Result<Vec<Row>, Error> {
    // By the primary key. Rows of a running transaction are not seen, and no later number can be committed
    // before it: what is seen has no gap.
    const NEXT: &str = "SELECT seq, at_ms, entry, texts FROM audit_outbox ORDER BY seq LIMIT $1";
    let mut filling = Filling::new(limit);
    let rows_max = i64::try_from(limit.rows).unwrap_or(i64::MAX);
    for row in tx.query(NEXT, &[&rows_max]).await? {
        let row = Row {
            seq: number(row.try_get(0)?),
            at: Timestamp::from_unix_ms(row.try_get(1)?),
            entry: row.try_get(2)?,
            texts: Row::texts_of(row.try_get(3)?).map_err(|error| damaged(&error))?,
        };
        if !filling.take(row) {
            break;
        }
    }
    Ok(filling.rows)
}

pub(super) async fn delivered(db: &Postgres, seq: u64) -> Result<(), Error> {
    const DELETE: &str = "DELETE FROM audit_outbox WHERE seq <= $1";
    let mut client = db.client().await?;
    let tx = client.system().await?;
    tx.execute(DELETE, &[&i64::try_from(seq).unwrap_or(i64::MAX)])
        .await?;
    tx.commit().await
}

pub(super) async fn waiting(db: &Postgres, service: &'static str) -> Result<Waiting, Error> {
    const NEWEST: &str = "SELECT source, seq FROM audit_source WHERE id = 1";
    let mut client = db.client().await?;
    let tx = client.system().await?;
    // In this order: a row that is added in between is not missed in the distance.
    let oldest = tx.query_opt(OLDEST, &[]).await?;
    let source = tx.query_one(NEWEST, &[]).await?;
    let newest: i64 = source.try_get(1)?;
    let oldest = match &oldest {
        Some(row) => Some((row.try_get(0)?, row.try_get(1)?)),
        None => None,
    };
    Ok(Waiting {
        source: Source::new(service, source.try_get(0)?).id().to_owned(),
        newest: number(newest),
        rows: distance(oldest.map(|(seq, _)| seq), newest),
        oldest: oldest.map(|(_, at)| Timestamp::from_unix_ms(at)),
    })
}

pub(super) async fn last_action(db: &Postgres) -> Result<Option<String>, Error> {
    const LAST: &str = "SELECT last_action FROM audit_source WHERE id = 1";
    let mut client = db.client().await?;
    let tx = client.system().await?;
    Ok(tx.query_one(LAST, &[]).await?.try_get(0)?)
}
