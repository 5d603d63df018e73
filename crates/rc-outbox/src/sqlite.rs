//! The outbox in a SQLite file of the service's own. The relay opens the file and only reads; the service, which
//! is its only writer, prunes.

use rc_model::clock::SystemClock;
use rc_model::{Clock as _, TenantId};
use rusqlite::{Connection, params};
use uuid::Uuid;

use crate::{Error, Event, check};

/// The tables. Idempotent.
///
/// `AUTOINCREMENT`: a position must never be given again after its row was pruned.
const TABLES: &str = "CREATE TABLE IF NOT EXISTS outbox (
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
) STRICT;
CREATE TABLE IF NOT EXISTS event_keys (
    tenant TEXT NOT NULL,
    topic TEXT NOT NULL,
    key TEXT NOT NULL,
    last INTEGER NOT NULL,
    PRIMARY KEY (tenant, topic, key)
) STRICT, WITHOUT ROWID;";

const NEXT: &str = "INSERT INTO event_keys (tenant, topic, key, last) VALUES (?1, ?2, ?3, 1)
     ON CONFLICT (tenant, topic, key) DO UPDATE SET last = last + 1 RETURNING last";

const INSERT: &str = "INSERT INTO outbox
        (tenant, topic, key, kseq, id, fingerprint, type, schema, time_ms, traceparent, payload)
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";

const PRUNE: &str = "DELETE FROM outbox WHERE pos IN (
        SELECT pos FROM (SELECT pos, time_ms FROM outbox ORDER BY pos LIMIT ?3)
         WHERE pos <= ?1 AND time_ms < ?2
     )";

/// Makes the tables, if they are not there.
///
/// The file must be durable at each commit (`journal_mode=WAL` and `synchronous=FULL`, or the defaults without
/// WAL): an event that was relayed and is then taken back by a power loss would be a phantom.
///
/// # Errors
/// What SQLite says.
pub fn install(conn: &Connection) -> Result<(), Error> {
    Ok(conn.execute_batch(TABLES)?)
}

/// Appends events of `tenant` in the caller's transaction; their numbers, in the same order. Begin it with
/// `BEGIN IMMEDIATE`: a transaction that reads first and writes later can be refused as busy.
///
/// # Errors
/// [`Error::Invalid`] for an event that breaks a limit; what SQLite says. Roll back then.
pub fn append(tx: &Connection, tenant: &TenantId, events: &[Event<'_>]) -> Result<Vec<u64>, Error> {
    let payloads = events.iter().map(check).collect::<Result<Vec<String>, Error>>()?;
    let time_ms = SystemClock.now().unix_ms();
    let (mut next, mut insert) = (tx.prepare_cached(NEXT)?, tx.prepare_cached(INSERT)?);
    let mut numbers = Vec::with_capacity(events.len());
    for (event, payload) in events.iter().zip(&payloads) {
        let kseq: i64 = next.query_row((tenant.as_str(), event.topic, event.key), |row| row.get(0))?;
        let hash = blake3::hash(payload.as_bytes());
        insert.execute(params![
            tenant.as_str(),
            event.topic,
            event.key,
            kseq,
            &Uuid::now_v7().as_bytes()[..],
            &hash.as_bytes()[..16],
            event.event_type,
            event.schema,
            time_ms,
            event.trace.map(|trace| trace.to_string()),
            payload.as_bytes(),
        ])?;
        numbers.push(kseq.cast_unsigned());
    }
    Ok(numbers)
}

/// Deletes at most `rows` rows up to the position `relayed` (the relay's cursor, which `rc events status` shows)
/// that were written before `before_ms`; how many went. Freed pages are used again: the file stays as large as it
/// was at its largest.
///
/// # Errors
/// What SQLite says.
pub fn prune(conn: &Connection, relayed: i64, before_ms: i64, rows: u32) -> Result<usize, Error> {
    Ok(conn.prepare_cached(PRUNE)?.execute((relayed, before_ms, rows))?)
}
