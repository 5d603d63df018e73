//! The outbox in SQLite. The file has one writer, so the order of `pos` is the order of commits, and
//! `pos > cursor` misses nothing.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use rc_model::Timestamp;
use rc_store::{Migration, Migrations, Sqlite, TenantConn, TenantSql};
use tokio::sync::{Mutex, watch};

use crate::bus::{Cursor, ReadLimit, Record};
use crate::event::{NewEvent, Place};
use crate::log::Log;
use crate::outbox::PRUNE_ROWS_MAX;
use crate::relay::parked::sqlite::SqliteParked;
use crate::relay::{Backlog, Fetched, Parked, Pruned, Source};
use crate::{BoxFuture, Error, faults};

/// The outbox's tables.
pub const MIGRATIONS: Migrations = Migrations::new(
    "outbox",
    &[
        Migration {
            number: 1,
            name: "create_outbox",
            // AUTOINCREMENT: a position must never be given again after its row was pruned.
            up: "CREATE TABLE outbox (
    pos INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant TEXT NOT NULL,
    topic TEXT NOT NULL,
    key TEXT NOT NULL,
    kseq INTEGER NOT NULL CHECK (kseq > 0),
    id BLOB NOT NULL CHECK (length(id) = 16),
    fingerprint BLOB NOT NULL CHECK (length(fingerprint) = 16),
    type TEXT NOT NULL,
    schema INTEGER NOT NULL,
    time_ms INTEGER NOT NULL,
    traceparent TEXT,
    payload BLOB NOT NULL
) STRICT",
            down: "DROP TABLE outbox",
        },
        Migration {
            number: 2,
            name: "create_outbox_parked",
            up: crate::relay::parked::sqlite::TABLE,
            down: "DROP TABLE outbox_parked",
        },
    ],
);

/// How long a relay waits for a commit that nobody announced: the file of another process, at most.
const WAIT_MAX: Duration = Duration::from_millis(100);

/// How long it waits when commits are announced; only a missed announcement would be found by this.
const ANNOUNCED_WAIT_MAX: Duration = Duration::from_secs(5);

const INSERT: TenantSql = TenantSql::new(
    "INSERT INTO outbox
        (tenant, topic, key, kseq, id, fingerprint, type, schema, time_ms, traceparent, payload)
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
);

/// Appends events of the connection's tenant, in the caller's transaction.
///
/// # Errors
/// [`Error::Invalid`] (travelling inside the store's error) for an event that breaks a limit or belongs
/// to another tenant; what the store says.
pub fn append(conn: &TenantConn<'_>, events: &[NewEvent]) -> Result<(), rc_store::Error> {
    let mut insert = conn.prepare(INSERT)?;
    for event in events {
        event.check()?;
        if event.tenant != *conn.tenant() {
            return Err(Error::invalid("the event belongs to another tenant than its transaction").into());
        }
        let trace = event.trace.map(|trace| trace.encode());
        let trace = trace
            .as_ref()
            .map(|text| std::str::from_utf8(text).expect("a traceparent is ASCII"));
        insert.execute(&[
            &&*event.topic,
            &event.key,
            &event.kseq.cast_signed(),
            &&event.id.as_bytes()[..],
            &&event.fingerprint[..],
            &&*event.event_type,
            &event.schema,
            &event.time.unix_ms(),
            &trace,
            &&event.payload[..],
        ])?;
    }
    faults::point("outbox.after_append");
    Ok(())
}

const FETCH: &str =
    "SELECT pos, tenant, topic, key, kseq, id, fingerprint, type, schema, time_ms, traceparent, payload
     FROM outbox WHERE pos > ?1 ORDER BY pos LIMIT ?2";

const NEWEST: &str = "SELECT coalesce(max(pos), 0) FROM outbox";

const OLDEST: &str = "SELECT time_ms FROM outbox WHERE pos > ?1 ORDER BY pos LIMIT 1";

/// Looks at the oldest rows only: an outbox that keeps everything costs no scan.
const PRUNE: &str = "DELETE FROM outbox WHERE pos IN (
        SELECT pos FROM (SELECT pos, time_ms FROM outbox ORDER BY pos LIMIT ?3)
         WHERE pos <= ?1 AND time_ms < ?2
     )";

/// No index serves this: a gap is rare, an index costs every append, and what is kept is bounded by retention.
/// The scan ends with the last row that is asked for.
const RANGE: &str =
    "SELECT pos, tenant, topic, key, kseq, id, fingerprint, type, schema, time_ms, traceparent, payload
     FROM outbox WHERE key = ?3 AND topic = ?2 AND tenant = ?1 AND kseq BETWEEN ?4 AND ?5
     ORDER BY pos LIMIT ?6";

/// Reads the outbox for a relay. A cursor is a `pos`.
#[derive(Debug)]
pub struct SqliteSource {
    db: Sqlite,
    origin: String,
    /// Locked by the one relay that waits.
    committed: Mutex<watch::Receiver<u64>>,
    announced: bool,
}

impl SqliteSource {
    /// The outbox of the service `origin` in `db`. A `db` opened read-only works; it is then polled, and
    /// never pruned.
    #[must_use]
    pub fn new(db: Sqlite, origin: &str) -> Self {
        Self {
            committed: Mutex::new(db.committed()),
            announced: !db.is_readonly(),
            db,
            origin: origin.to_owned(),
        }
    }
}

impl Source for SqliteSource {
    fn origin(&self) -> &str {
        &self.origin
    }

    fn parked(&self) -> Option<Arc<dyn Parked>> {
        // Who only reads the file cannot set anything aside in it: the relay stops at what the bus refuses.
        (!self.db.is_readonly())
            .then(|| Arc::new(SqliteParked::new(self.db.clone(), &self.origin)) as Arc<dyn Parked>)
    }

    fn fetch<'a>(&'a self, cursor: &'a Cursor, limit: ReadLimit) -> BoxFuture<'a, Result<Fetched, Error>> {
        Box::pin(async move {
            let after = position(cursor)?;
            // Before the read: a commit that comes during it must wake the next wait.
            self.committed.lock().await.mark_unchanged();
            let records = self
                .db
                .read("outbox.fetch", move |conn| {
                    let mut select = conn.prepare_cached(FETCH)?;
                    let mut rows = select.query((after, limit.rows_i64()))?;
                    let mut records: Vec<Record> = Vec::new();
                    let mut bytes = 0;
                    while let Some(row) = rows.next()? {
                        let event = crate::bus::sqlite::event_of(row, 1)?;
                        bytes += event.bytes();
                        if bytes > limit.bytes && !records.is_empty() {
                            break;
                        }
                        records.push(Record {
                            origin_pos: row.get(0)?,
                            event,
                        });
                    }
                    Ok(records)
                })
                .await
                .map_err(Error::from_store("failed to read the outbox"))?;
            let last = records.last().map_or(after, |record| record.origin_pos);
            Ok(Fetched {
                cursor: Cursor::new(last.to_string()),
                records,
            })
        })
    }

    fn wait(&self, idle: Duration) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let mut committed = self.committed.lock().await;
            let longest = if self.announced {
                ANNOUNCED_WAIT_MAX
            } else {
                idle.min(WAIT_MAX)
            };
            // A closed channel means a closed store: the next fetch says so, after a pause.
            if let Ok(Err(_)) = tokio::time::timeout(longest, committed.changed()).await {
                tokio::time::sleep(WAIT_MAX).await;
            }
        })
    }

    fn backlog<'a>(&'a self, cursor: &'a Cursor) -> BoxFuture<'a, Result<Backlog, Error>> {
        Box::pin(async move {
            let after = position(cursor)?;
            self.db
                .read("outbox.backlog", move |conn| {
                    let newest: i64 = conn.prepare_cached(NEWEST)?.query_row([], |row| row.get(0))?;
                    let mut oldest = conn.prepare_cached(OLDEST)?;
                    let mut oldest = oldest.query([after])?;
                    let oldest = match oldest.next()? {
                        Some(row) => Some(Timestamp::from_unix_ms(row.get(0)?)),
                        None => None,
                    };
                    Ok(Backlog {
                        // Positions have no holes: there is one writer, and it rolls positions back too.
                        rows: newest.saturating_sub(after).max(0).cast_unsigned(),
                        oldest,
                    })
                })
                .await
                .map_err(Error::from_store("failed to measure the outbox"))
        })
    }

    fn prune<'a>(
        &'a self,
        cursor: &'a Cursor,
        now: Timestamp,
        keep: Duration,
    ) -> BoxFuture<'a, Result<Pruned, Error>> {
        Box::pin(async move {
            if self.db.is_readonly() {
                return Ok(Pruned::default());
            }
            let upto = position(cursor)?;
            let keep_ms = i64::try_from(keep.as_millis()).unwrap_or(i64::MAX);
            let before_ms = now.unix_ms().saturating_sub(keep_ms);
            let rows_max = i64::try_from(PRUNE_ROWS_MAX).unwrap_or(i64::MAX);
            let deleted = self
                .db
                .write("outbox.prune", move |conn| {
                    Ok(conn.prepare_cached(PRUNE)?.execute((upto, before_ms, rows_max))?)
                })
                .await
                .map_err(Error::from_store("failed to prune the outbox"))?;
            Ok(Pruned {
                rows: u64::try_from(deleted).unwrap_or(u64::MAX),
                more: deleted == PRUNE_ROWS_MAX,
            })
        })
    }
}

impl Log for SqliteSource {
    fn range<'a>(
        &'a self,
        place: &'a Place,
        numbers: RangeInclusive<u64>,
        limit: ReadLimit,
    ) -> BoxFuture<'a, Result<Vec<NewEvent>, Error>> {
        let place = place.clone();
        Box::pin(async move {
            let (first, last) = (number(*numbers.start()), number(*numbers.end()));
            self.db
                .read("outbox.range", move |conn| {
                    let mut select = conn.prepare_cached(RANGE)?;
                    let mut rows = select.query((
                        place.tenant.as_str(),
                        &*place.topic,
                        &place.key,
                        first,
                        last,
                        limit.rows_i64(),
                    ))?;
                    let mut events: Vec<NewEvent> = Vec::new();
                    let mut bytes = 0;
                    while let Some(row) = rows.next()? {
                        let event = crate::bus::sqlite::event_of(row, 1)?;
                        bytes += event.bytes();
                        if bytes > limit.bytes && !events.is_empty() {
                            break;
                        }
                        events.push(event);
                    }
                    Ok(events)
                })
                .await
                .map_err(Error::from_store("failed to look events up in the outbox"))
        })
    }
}

fn number(kseq: u64) -> i64 {
    i64::try_from(kseq).unwrap_or(i64::MAX)
}

fn position(cursor: &Cursor) -> Result<i64, Error> {
    match cursor.as_str() {
        "" => Ok(0),
        text => text
            .parse()
            .map_err(|error| Error::damaged(format!("position `{cursor}` in a SQLite outbox: {error}"))),
    }
}

#[cfg(test)]
mod tests;
