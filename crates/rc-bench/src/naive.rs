//! What people write before they know better, and what they write when they do: the peers of ingest.
//!
//! They write into the very tables that the platform's own migrations made, with the same indexes: a row of
//! the document and a row of the outbox for each document. They check nothing, know no keys and publish no
//! event, so every comparison is in their favour.

pub(crate) mod postgres;
pub(crate) mod sqlite;

use std::sync::Arc;
use std::time::Duration;

use rc_model::clock::{monotonic_ns, unix_ns};

use crate::platform::TENANT;
use crate::requests::Documents;
use crate::text::{Random, Texts};

/// The topic and type of the events.
const TOPIC: &str = "docs";
const EVENT: &str = "document.stored";

/// One document as its rows need it.
#[derive(Debug, Default)]
struct Row {
    id: String,
    payload: String,
    fingerprint: [u8; 16],
    event: [u8; 16],
    time_ms: i64,
}

/// The documents of one connection.
#[derive(Debug)]
struct Rows {
    documents: Documents,
    random: Random,
}

impl Rows {
    fn new(texts: &Arc<Texts>, connection: usize) -> Self {
        Self {
            documents: Documents::new(texts, &format!("n{connection}")),
            random: Random::new(connection as u64),
        }
    }

    fn next(&mut self) -> Row {
        let mut row = Row {
            time_ms: (unix_ns() / 1_000_000).cast_signed(),
            ..Row::default()
        };
        row.id = self.documents.write(&mut row.payload);
        for half in [&mut row.fingerprint, &mut row.event] {
            half[..8].copy_from_slice(&self.random.next().to_le_bytes());
            half[8..].copy_from_slice(&self.random.next().to_le_bytes());
        }
        row
    }
}

/// What one peer did.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Done {
    documents: u64,
    nanoseconds: u64,
}

impl Done {
    /// Committed documents a second.
    pub(crate) fn rate(self) -> f64 {
        self.documents as f64 * 1e9 / self.nanoseconds as f64
    }
}

/// The end of a run that begins now.
fn until(span: Duration) -> u64 {
    monotonic_ns() + u64::try_from(span.as_nanos()).expect("a run is shorter than centuries")
}
