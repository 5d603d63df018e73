//! The embedded bus: a SQLite file of its own. The process that runs the relay writes it; consumers open
//! it read-only.

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rc_model::{Clock, TenantId, Timestamp, TraceContext};
use rc_store::{Conn, Database, ErrorKind, Migration, Migrations, Sqlite, SqliteOptions};
use rusqlite::types::Type;
use rusqlite::{OptionalExtension as _, Row};
use uuid::Uuid;

use super::{
    Bus, BusConsumer, BusId, Cursor, Publish, RETAIN_ROWS_MAX, ReadLimit, Retained, Retention, check_batch,
};
use crate::error::Fenced;
use crate::event::{Event, NewEvent, Numbering, Seq};
use crate::{BoxFuture, Error, faults};

/// The bus's tables.
pub const MIGRATIONS: Migrations = Migrations::new(
    "bus",
    &[
        Migration {
            number: 1,
            name: "create_bus",
            up: "CREATE TABLE bus (
    seq INTEGER PRIMARY KEY,
    origin TEXT NOT NULL,
    origin_pos INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    tenant TEXT NOT NULL,
    topic TEXT NOT NULL,
    key TEXT NOT NULL,
    kseq INTEGER NOT NULL,
    id BLOB NOT NULL,
    fingerprint BLOB NOT NULL,
    type TEXT NOT NULL,
    schema INTEGER NOT NULL,
    time_ms INTEGER NOT NULL,
    traceparent TEXT,
    payload BLOB NOT NULL
) STRICT;
-- One row. `first` is the oldest event that is kept; `tail + 1` when none is.
CREATE TABLE bus_state (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    tail INTEGER NOT NULL,
    first INTEGER NOT NULL,
    bytes INTEGER NOT NULL
) STRICT;
INSERT INTO bus_state (one, tail, first, bytes) VALUES (1, 0, 1, 0);
CREATE TABLE bus_origins (origin TEXT PRIMARY KEY, cursor TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE bus_consumers (
    name TEXT PRIMARY KEY,
    seq INTEGER NOT NULL,
    lost INTEGER NOT NULL DEFAULT 0,
    seen_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID",
            down: "DROP TABLE bus; DROP TABLE bus_state; DROP TABLE bus_origins; DROP TABLE bus_consumers",
        },
        Migration {
            number: 2,
            name: "add_bus_id_and_numbering",
            up: "ALTER TABLE bus ADD COLUMN numbering INTEGER NOT NULL DEFAULT 0;
ALTER TABLE bus_state ADD COLUMN id TEXT NOT NULL DEFAULT '';
UPDATE bus_state SET id = lower(hex(randomblob(16)))",
            down: "ALTER TABLE bus DROP COLUMN numbering; ALTER TABLE bus_state DROP COLUMN id",
        },
    ],
);

/// Shortest and longest pause between two looks at a file that another process writes.
const POLL_MIN: Duration = Duration::from_millis(5);
const POLL_MAX: Duration = Duration::from_millis(100);

const STATE: &str = "SELECT tail, first, bytes FROM bus_state WHERE one = 1";
const ID: &str = "SELECT id FROM bus_state WHERE one = 1";
const SET_STATE: &str = "UPDATE bus_state SET tail = ?1, first = ?2, bytes = ?3 WHERE one = 1";
const CURSOR: &str = "SELECT cursor FROM bus_origins WHERE origin = ?1";
const SET_CURSOR: &str = "INSERT INTO bus_origins (origin, cursor) VALUES (?1, ?2)
     ON CONFLICT (origin) DO UPDATE SET cursor = excluded.cursor";
const INSERT: &str = "INSERT INTO bus
        (seq, origin, origin_pos, at_ms,
         tenant, topic, key, kseq, id, fingerprint, type, schema, time_ms, traceparent, payload, numbering)
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)";
const READ: &str =
    "SELECT seq, tenant, topic, key, kseq, id, fingerprint, type, schema, time_ms, traceparent, payload, numbering
     FROM bus WHERE seq > ?1 ORDER BY seq LIMIT ?2";
const PROGRESS: &str = "INSERT INTO bus_consumers (name, seq, seen_ms) VALUES (?1, ?2, ?3)
     ON CONFLICT (name) DO UPDATE SET seq = excluded.seq, seen_ms = excluded.seen_ms, lost = 0
     WHERE excluded.seq <> bus_consumers.seq";
const CONSUMERS: &str = "SELECT name, seq, lost FROM bus_consumers ORDER BY name";
const LOSE: &str = "UPDATE bus_consumers SET lost = 1 WHERE lost = 0 AND seq < ?1 RETURNING name";
const SLOWEST: &str = "SELECT min(seq) FROM bus_consumers WHERE lost = 0";
const OLDEST: &str = "SELECT seq, at_ms, tenant, topic, key, type, length(payload) FROM bus
     WHERE seq >= ?1 AND seq <= ?2 ORDER BY seq LIMIT ?3";
const DELETE: &str = "DELETE FROM bus WHERE seq <= ?1";

/// The bus in a SQLite file.
#[derive(Clone)]
pub struct SqliteBus {
    db: Sqlite,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for SqliteBus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqliteBus")
            .field("db", &self.db)
            .finish_non_exhaustive()
    }
}

impl SqliteBus {
    /// The file itself, to be looked at.
    #[must_use]
    pub fn database(&self) -> Database {
        Database::Sqlite(self.db.clone())
    }

    /// Opens or creates the bus as its writer.
    ///
    /// # Errors
    /// What the store says; its code names a second writer, a foreign file, a newer schema.
    pub async fn open(path: &Path, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        let tried = Error::from_store;
        let db = Sqlite::open(path, options()).map_err(tried("failed to open the bus"))?;
        db.migrate(&MIGRATIONS)
            .await
            .map_err(tried("failed to prepare the bus"))?;
        Ok(Self { db, clock })
    }

    /// Opens the bus of another process to consume from it.
    ///
    /// # Errors
    /// As [`Self::open`]; unavailable while the file is not there yet.
    pub fn open_readonly(path: &Path, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        let db =
            Sqlite::open_readonly(path, options()).map_err(Error::from_store("failed to open the bus"))?;
        Ok(Self { db, clock })
    }

    /// Finishes what is queued and closes the file.
    pub async fn close(&self) {
        self.db.close().await;
    }

    /// A consumer may open the file in the moment between its creation and its tables: that passes.
    fn read_failed(&self, error: rc_store::Error) -> Error {
        let unready = self.db.is_readonly()
            && error.kind() == ErrorKind::Bug
            && format!("{error:?}").contains("no such table: bus");
        let error = if unready {
            let kind = ErrorKind::Unavailable {
                retry_after: POLL_MAX,
            };
            rc_store::Error::caused(kind, "the bus is not ready yet", error)
        } else {
            error
        };
        Error::from_store("failed to read the bus")(error)
    }

    /// The store under the bus.
    #[must_use]
    pub fn store(&self) -> &Sqlite {
        &self.db
    }
}

fn options() -> SqliteOptions {
    SqliteOptions {
        // One consumer and one long poll at a time are the usual load.
        readers: 2,
        cache_kib: 2_048,
        ..SqliteOptions::default()
    }
}

/// The one row of `bus_state`.
struct State {
    tail: Seq,
    first: Seq,
    bytes: i64,
}

fn state(conn: &Conn) -> Result<State, rc_store::Error> {
    Ok(conn.prepare_cached(STATE)?.query_row([], |row| {
        Ok(State {
            tail: row.get(0)?,
            first: row.get(1)?,
            bytes: row.get(2)?,
        })
    })?)
}

fn set_state(conn: &Conn, state: &State) -> Result<(), rc_store::Error> {
    conn.prepare_cached(SET_STATE)?
        .execute((state.tail, state.first, state.bytes))?;
    Ok(())
}

fn cursor(conn: &Conn, origin: &str) -> Result<Cursor, rc_store::Error> {
    let text: Option<String> = conn
        .prepare_cached(CURSOR)?
        .query_row([origin], |row| row.get(0))
        .optional()?;
    Ok(Cursor::new(text.unwrap_or_default()))
}

impl Bus for SqliteBus {
    fn id(&self) -> BoxFuture<'_, Result<BusId, Error>> {
        Box::pin(async move {
            self.db
                .read("bus.id", |conn| {
                    let id: String = conn.prepare_cached(ID)?.query_row([], |row| row.get(0))?;
                    Ok(BusId::new(id))
                })
                .await
                .map_err(|error| self.read_failed(error))
        })
    }

    fn publish(&self, mut publish: Publish) -> BoxFuture<'_, Result<Seq, Error>> {
        let at_ms = self.clock.now().unix_ms();
        Box::pin(async move {
            check_batch(&publish)?;
            if faults::mutated("bus.ack_before_commit") {
                // A mistake that tests make on purpose: the place moves before the events are there.
                let (origin, cursor) = (publish.origin.clone(), publish.cursor.clone());
                self.db
                    .write_alone("bus.publish", move |conn| {
                        conn.prepare_cached(SET_CURSOR)?
                            .execute((origin, cursor.as_str()))?;
                        Ok(())
                    })
                    .await?;
                faults::point("bus.mid_publish");
                publish.expected = publish.cursor.clone();
            }
            self.db
                .write_alone("bus.publish", move |conn| append(conn, &publish, at_ms))
                .await
                .map_err(Error::from_store("failed to publish"))
        })
    }

    fn cursor<'a>(&'a self, origin: &'a str) -> BoxFuture<'a, Result<Cursor, Error>> {
        let origin = origin.to_owned();
        Box::pin(async move {
            self.db
                .read("bus.cursor", move |conn| cursor(conn, &origin))
                .await
                .map_err(|error| self.read_failed(error))
        })
    }

    fn read(&self, after: Seq, limit: ReadLimit) -> BoxFuture<'_, Result<Vec<Event>, Error>> {
        Box::pin(async move {
            self.db
                .read("bus.read", move |conn| read(conn, after, limit))
                .await
                .map_err(|error| self.read_failed(error))
        })
    }

    fn tail(&self) -> BoxFuture<'_, Result<Seq, Error>> {
        Box::pin(async move {
            self.db
                .read("bus.tail", |conn| Ok(state(conn)?.tail))
                .await
                .map_err(|error| self.read_failed(error))
        })
    }

    fn wait(&self, after: Seq, timeout: Duration) -> BoxFuture<'_, Result<Seq, Error>> {
        Box::pin(async move {
            let until = tokio::time::Instant::now() + timeout;
            let mut committed = self.db.committed();
            let mut pause = POLL_MIN;
            loop {
                // Before the read: a commit that comes during it must wake the wait below.
                committed.mark_unchanged();
                let tail = self.tail().await?;
                let now = tokio::time::Instant::now();
                if tail > after || now >= until {
                    return Ok(tail);
                }
                let next = if self.db.is_readonly() {
                    until.min(now + pause)
                } else {
                    until
                };
                // A closed channel never changes again; the tail's read then reports the closed store.
                if let Ok(Err(_)) = tokio::time::timeout_at(next, committed.changed()).await {
                    tokio::time::sleep_until(until.min(now + POLL_MAX)).await;
                }
                pause = (pause * 2).min(POLL_MAX);
            }
        })
    }

    fn progress<'a>(&'a self, consumer: &'a str, seq: Seq) -> BoxFuture<'a, Result<(), Error>> {
        let (name, now_ms) = (consumer.to_owned(), self.clock.now().unix_ms());
        Box::pin(async move {
            if self.db.is_readonly() {
                return Ok(());
            }
            self.db
                .write("bus.progress", move |conn| {
                    conn.prepare_cached(PROGRESS)?.execute((name, seq, now_ms))?;
                    Ok(())
                })
                .await
                .map_err(Error::from_store("failed to note a consumer's progress"))
        })
    }

    fn consumers(&self) -> BoxFuture<'_, Result<Vec<BusConsumer>, Error>> {
        Box::pin(async move {
            self.db
                .read("bus.consumers", |conn| {
                    let mut select = conn.prepare_cached(CONSUMERS)?;
                    let rows = select.query_map([], |row| {
                        Ok(BusConsumer {
                            name: row.get(0)?,
                            seq: row.get(1)?,
                            lost: row.get(2)?,
                        })
                    })?;
                    Ok(rows.collect::<Result<_, _>>()?)
                })
                .await
                .map_err(|error| self.read_failed(error))
        })
    }

    fn retain<'a>(&'a self, retention: &'a Retention) -> BoxFuture<'a, Result<Retained, Error>> {
        let (retention, now) = (retention.clone(), self.clock.now());
        Box::pin(async move {
            if self.db.is_readonly() {
                return Ok(Retained::default());
            }
            self.db
                .write("bus.retain", move |conn| retain(conn, &retention, now))
                .await
                .map_err(Error::from_store("failed to clean the bus"))
        })
    }
}

fn append(conn: &Conn, publish: &Publish, at_ms: i64) -> Result<Seq, rc_store::Error> {
    let actual = cursor(conn, &publish.origin)?;
    if actual != publish.expected {
        return Err(Error::Fenced(Box::new(Fenced {
            origin: publish.origin.clone(),
            expected: publish.expected.clone(),
            actual,
        }))
        .into());
    }
    let mut state = state(conn)?;
    let mut insert = conn.prepare_cached(INSERT)?;
    for record in &publish.records {
        let event = &record.event;
        state.tail += 1;
        state.bytes = state
            .bytes
            .saturating_add(i64::try_from(event.bytes()).unwrap_or(i64::MAX));
        let trace = event.trace.map(|trace| trace.encode());
        let trace = trace
            .as_ref()
            .map(|text| std::str::from_utf8(text).expect("a traceparent is ASCII"));
        insert.execute(rusqlite::params![
            state.tail,
            publish.origin,
            record.origin_pos,
            at_ms,
            event.tenant.as_str(),
            &*event.topic,
            event.key,
            event.kseq.cast_signed(),
            &event.id.as_bytes()[..],
            &event.fingerprint[..],
            &*event.event_type,
            event.schema,
            event.time.unix_ms(),
            trace,
            &event.payload[..],
            event.numbering.code(),
        ])?;
    }
    set_state(conn, &state)?;
    conn.prepare_cached(SET_CURSOR)?
        .execute((&publish.origin, publish.cursor.as_str()))?;
    Ok(state.tail)
}

fn read(conn: &Conn, after: Seq, limit: ReadLimit) -> Result<Vec<Event>, rc_store::Error> {
    let state = state(conn)?;
    super::check_kept(after, state.first, state.tail)?;
    let mut select = conn.prepare_cached(READ)?;
    let mut rows = select.query((after, limit.rows_i64()))?;
    let mut events: Vec<Event> = Vec::new();
    let mut bytes = 0;
    while let Some(row) = rows.next()? {
        let mut event = event_of(row, 1)?;
        let numbering: i16 = row.get(12)?;
        event.numbering = Numbering::of_code(numbering)
            .ok_or_else(|| Error::damaged(format!("the bus has an event of numbering {numbering}")))?;
        bytes += event.bytes();
        if bytes > limit.bytes && !events.is_empty() {
            break;
        }
        events.push(Event {
            pos: row.get(0)?,
            event,
        });
    }
    super::check_gapless(after, &events)?;
    Ok(events)
}

fn retain(conn: &Conn, retention: &Retention, now: Timestamp) -> Result<Retained, rc_store::Error> {
    let mut state = state(conn)?;
    let lag_max = i64::try_from(retention.consumer_lag_max).unwrap_or(i64::MAX);
    let mut lose = conn.prepare_cached(LOSE)?;
    let lost = lose
        .query_map([state.tail.saturating_sub(lag_max)], |row| row.get(0))?
        .collect::<Result<Vec<String>, _>>()?;
    let slowest: Option<Seq> = conn.prepare_cached(SLOWEST)?.query_row([], |row| row.get(0))?;
    let upto = slowest.unwrap_or(state.tail).min(state.tail);
    let keep_ms = i64::try_from(retention.keep.as_millis()).unwrap_or(i64::MAX);
    let young_ms = now.unix_ms().saturating_sub(keep_ms);
    let bytes_max = i64::try_from(retention.bytes_max).unwrap_or(i64::MAX);

    let mut oldest = conn.prepare_cached(OLDEST)?;
    let rows_max = i64::try_from(RETAIN_ROWS_MAX).unwrap_or(i64::MAX);
    let mut rows = oldest.query((state.first, upto, rows_max))?;
    let mut deleted = 0_usize;
    while let Some(row) = rows.next()? {
        let at_ms: i64 = row.get(1)?;
        if at_ms >= young_ms && state.bytes <= bytes_max {
            break;
        }
        let mut names = 0;
        for column in 2..6 {
            names += row.get_ref(column)?.as_bytes().map_or(0, <[u8]>::len);
        }
        let payload: i64 = row.get(6)?;
        let names = i64::try_from(names + crate::event::OVERHEAD_BYTES).unwrap_or(i64::MAX);
        state.bytes = state.bytes.saturating_sub(payload.saturating_add(names)).max(0);
        state.first = row.get::<_, Seq>(0)? + 1;
        deleted += 1;
    }
    drop(rows);
    if deleted > 0 {
        conn.prepare_cached(DELETE)?.execute([state.first - 1])?;
        set_state(conn, &state)?;
    }
    Ok(Retained {
        deleted,
        more: deleted == RETAIN_ROWS_MAX,
        lost,
    })
}

/// Reads an event's columns, `tenant` to `payload`, from column `at` on, as an outbox has them: with
/// consecutive numbers.
pub(crate) fn event_of(row: &Row<'_>, at: usize) -> rusqlite::Result<NewEvent> {
    let text = |column: usize| -> rusqlite::Result<&str> { Ok(row.get_ref(column)?.as_str()?) };
    let tenant = TenantId::new(text(at)?)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(at, Type::Text, Box::new(error)))?;
    let bytes16 = |column: usize| -> rusqlite::Result<[u8; 16]> {
        row.get_ref(column)?
            .as_blob()?
            .try_into()
            .map_err(|error| rusqlite::Error::FromSqlConversionFailure(column, Type::Blob, Box::new(error)))
    };
    Ok(NewEvent {
        tenant,
        topic: Cow::Owned(text(at + 1)?.to_owned()),
        key: text(at + 2)?.to_owned(),
        kseq: row.get::<_, i64>(at + 3)?.cast_unsigned(),
        numbering: Numbering::Consecutive,
        id: Uuid::from_bytes(bytes16(at + 4)?),
        fingerprint: bytes16(at + 5)?,
        event_type: Cow::Owned(text(at + 6)?.to_owned()),
        schema: row.get(at + 7)?,
        time: Timestamp::from_unix_ms(row.get(at + 8)?),
        trace: row
            .get_ref(at + 9)?
            .as_str_or_null()?
            .and_then(|text| TraceContext::parse(text.as_bytes())),
        payload: Bytes::copy_from_slice(row.get_ref(at + 10)?.as_blob()?),
    })
}
