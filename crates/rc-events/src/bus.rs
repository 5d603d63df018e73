//! The bus: a durable log of events with a gapless sequence, read by any number of consumers.
//!
//! A publish states where the publisher thinks the bus is, and is refused whole when that is wrong. The
//! origin's cursor is stored in the same transaction as the events, so a relay that died resumes from the
//! bus itself and publishes nothing twice.

pub mod postgres;
pub mod sqlite;

use std::fmt;
use std::time::Duration;

use crate::event::{Event, NewEvent, Seq};
use crate::{BoxFuture, Error};

pub use postgres::PostgresBus;
pub use sqlite::SqliteBus;

/// Events in one publish or one read.
pub const BATCH_ROWS_MAX: usize = 1_000;

/// Bytes in one publish or one read; one event may be larger alone.
pub const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How long events are kept.
pub const BUS_KEEP: Duration = Duration::from_secs(7 * 24 * 3_600);

/// How many bytes of events are kept.
pub const BUS_BYTES_MAX: u64 = 1024 * 1024 * 1024;

/// How far a consumer may fall behind before it no longer holds events back.
pub const CONSUMER_LAG_MAX: u64 = 1_000_000;

/// Rows that one step of retention deletes: a few milliseconds of the writer's time.
pub const RETAIN_ROWS_MAX: usize = 1_000;

/// When to try again after a bus that is full said so: what makes room takes its time.
pub const FULL_RETRY: Duration = Duration::from_secs(2);

/// Which bus it is: made once with the bus, never again. Positions of one bus say nothing about another,
/// also when it has the same name: a deleted and recreated stream, a file restored from a backup of last week.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BusId(String);

impl BusId {
    /// An id with this text.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BusId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A place in a source, in the source's own words; the bus only compares it. Empty: before the first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cursor(String);

impl Cursor {
    /// A cursor with this text.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An event on its way from an outbox to the bus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its place in the outbox.
    pub origin_pos: i64,
    /// The event.
    pub event: NewEvent,
}

/// A batch that goes onto the bus whole or not at all.
#[derive(Debug, Clone)]
pub struct Publish {
    /// Whose outbox.
    pub origin: String,
    /// Where the publisher thinks the bus is for this origin.
    pub expected: Cursor,
    /// Where it is after this batch.
    pub cursor: Cursor,
    /// The events, all of one key in order of `kseq`.
    pub records: Vec<Record>,
}

/// How much one read takes.
#[derive(Debug, Clone, Copy)]
pub struct ReadLimit {
    /// Rows at most.
    pub rows: usize,
    /// Bytes at most; the first event comes whatever its size.
    pub bytes: usize,
}

impl Default for ReadLimit {
    fn default() -> Self {
        Self {
            rows: BATCH_ROWS_MAX,
            bytes: BATCH_BYTES_MAX,
        }
    }
}

impl ReadLimit {
    pub(crate) fn rows_i64(self) -> i64 {
        i64::try_from(self.rows).unwrap_or(i64::MAX)
    }
}

/// What is kept.
#[derive(Debug, Clone)]
pub struct Retention {
    /// Events younger than this stay.
    pub keep: Duration,
    /// The oldest events go when there are more bytes than this, whatever their age.
    pub bytes_max: u64,
    /// A consumer that is further behind than this many events is marked lost and no longer waited for.
    pub consumer_lag_max: u64,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            keep: BUS_KEEP,
            bytes_max: BUS_BYTES_MAX,
            consumer_lag_max: CONSUMER_LAG_MAX,
        }
    }
}

/// What one step of retention did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Retained {
    /// Events deleted.
    pub deleted: usize,
    /// Whether there is more to delete.
    pub more: bool,
    /// Consumers that were marked lost by this step.
    pub lost: Vec<String>,
}

/// A consumer as the bus knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BusConsumer {
    /// Its name.
    pub name: String,
    /// The last event it applied.
    pub seq: Seq,
    /// Whether retention stopped waiting for it.
    pub lost: bool,
}

/// A durable log with a gapless sequence.
pub trait Bus: Send + Sync {
    /// Which bus it is.
    fn id(&self) -> BoxFuture<'_, Result<BusId, Error>>;

    /// Appends a batch and moves the origin's cursor, in one durable transaction. Returns the new tail.
    ///
    /// # Errors
    /// [`Error::Fenced`] when the origin's cursor is not `expected`, [`Error::Refused`] when the bus will
    /// never take one of the events; nothing was written then.
    fn publish(&self, publish: Publish) -> BoxFuture<'_, Result<Seq, Error>>;

    /// Where the bus is for an origin.
    fn cursor<'a>(&'a self, origin: &'a str) -> BoxFuture<'a, Result<Cursor, Error>>;

    /// The events after `after`, in order.
    ///
    /// # Errors
    /// [`Error::Pruned`] when the next event is no longer kept.
    fn read(&self, after: Seq, limit: ReadLimit) -> BoxFuture<'_, Result<Vec<Event>, Error>>;

    /// The newest event's place; 0 when there was none yet.
    fn tail(&self) -> BoxFuture<'_, Result<Seq, Error>>;

    /// Waits until there is an event after `after`, at most `timeout`; returns the tail.
    fn wait(&self, after: Seq, timeout: Duration) -> BoxFuture<'_, Result<Seq, Error>>;

    /// Notes that a consumer has applied everything up to `seq`; the first call registers it. Retention
    /// waits for registered consumers. A handle that cannot write ignores the call: the consumer then
    /// reports by the wake-up of the process that can.
    fn progress<'a>(&'a self, consumer: &'a str, seq: Seq) -> BoxFuture<'a, Result<(), Error>>;

    /// All registered consumers.
    fn consumers(&self) -> BoxFuture<'_, Result<Vec<BusConsumer>, Error>>;

    /// Makes a bus anew that was there and is gone, as an empty one with an id of its own: for
    /// [`crate::verify::repair`], at a person's word. Relays then publish what their outboxes still have.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the bus is there; what the server says.
    fn make_anew(&self) -> BoxFuture<'_, Result<BusId, Error>> {
        Box::pin(async { Err(Error::invalid("the bus is there: there is nothing to make anew")) })
    }

    /// One bounded step of retention.
    fn retain<'a>(&'a self, retention: &'a Retention) -> BoxFuture<'a, Result<Retained, Error>>;
}

/// For buses: a publish that is too large, or that has nothing to say, is a mistake of the relay.
///
/// # Errors
/// [`Error::Invalid`].
pub fn check_batch(publish: &Publish) -> Result<(), Error> {
    if publish.records.is_empty() || publish.records.len() > BATCH_ROWS_MAX {
        return Err(Error::invalid(format!(
            "a publish has 1 to {BATCH_ROWS_MAX} events, not {}",
            publish.records.len()
        )));
    }
    Ok(())
}

/// For buses: a consumer that asks for events that were deleted must be told, not given the next ones.
///
/// # Errors
/// [`Error::Pruned`], or [`Error::Damaged`] for a consumer ahead of the bus.
pub fn check_kept(after: Seq, first: Seq, tail: Seq) -> Result<(), Error> {
    if after + 1 < first {
        return Err(Error::Pruned { after, first });
    }
    // A consumer ahead of the bus has read a bus that is gone: a restored or deleted file.
    if after > tail {
        return Err(Error::damaged(format!(
            "the consumer is at {after}, and the bus ends at {tail}"
        )));
    }
    Ok(())
}

/// For buses: the sequence has no holes by construction; a hole that is met is damage.
///
/// # Errors
/// [`Error::Damaged`].
pub fn check_gapless(after: Seq, events: &[Event]) -> Result<(), Error> {
    let mut last = after;
    for event in events {
        if event.pos != last + 1 {
            return Err(Error::damaged(format!(
                "the bus goes from {last} to {}",
                event.pos
            )));
        }
        last = event.pos;
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests;
