//! Singles into a SQLite file: a connection a thread, a transaction a document.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rc_model::clock::monotonic_ns;
use rusqlite::{Connection, TransactionBehavior};

use super::{Done, EVENT, Rows, TENANT, TOPIC, until};
use crate::failure::{Failure, Result};
use crate::text::Texts;

/// How long a connection waits for its turn to write.
const BUSY_MAX: Duration = Duration::from_secs(60);

const DOCUMENT: &str =
    "INSERT INTO documents (tenant, id, version, fingerprint, deleted) VALUES (?1, ?2, 1, ?3, 0)";

const EVENT_ROW: &str = "INSERT INTO outbox
        (tenant, topic, key, kseq, id, fingerprint, type, schema, time_ms, traceparent, payload)
     VALUES (?1, ?2, ?3, 1, ?4, ?5, ?6, 1, ?7, NULL, ?8)";

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::new(format!("SQLite: {error}"))
    }
}

/// Writes into the file for `span`; write-ahead log and a wait for the disk at every commit, as ours.
pub(crate) fn singles(file: &Path, connections: usize, span: Duration, texts: &Arc<Texts>) -> Result<Done> {
    let start = monotonic_ns();
    let end = until(span);
    let counts = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..connections)
            .map(|number| scope.spawn(move || one(file, Rows::new(texts, number), end)))
            .collect();
        let joined = threads.into_iter().map(|thread| {
            thread
                .join()
                .unwrap_or_else(|_| Err(Failure::new("a writer panicked")))
        });
        joined.collect::<Result<Vec<u64>>>()
    })?;
    Ok(Done {
        documents: counts.iter().sum(),
        nanoseconds: monotonic_ns() - start,
    })
}

fn one(file: &Path, mut rows: Rows, end: u64) -> Result<u64> {
    let mut conn = Connection::open(file)?;
    conn.busy_timeout(BUSY_MAX)?;
    conn.pragma_update(None, "journal_mode", "wal")?;
    conn.pragma_update(None, "synchronous", "full")?;
    let mut count = 0;
    while monotonic_ns() < end {
        let row = rows.next();
        let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        tx.prepare_cached(DOCUMENT)?
            .execute((TENANT, &row.id, row.fingerprint))?;
        tx.prepare_cached(EVENT_ROW)?.execute((
            TENANT,
            TOPIC,
            &row.id,
            row.event,
            row.fingerprint,
            EVENT,
            row.time_ms,
            row.payload.as_bytes(),
        ))?;
        tx.commit()?;
        count += 1;
    }
    Ok(count)
}
