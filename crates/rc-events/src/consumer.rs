//! A consumer applies events in order, and its effects happen once: effects and position stand in one
//! transaction of its own store, and each key's numbers must be consecutive.
//!
//! It refuses to let one event stop the others: what cannot be applied is set aside with its reason, and only
//! its key waits (see [`crate::letters`]). What is an outage, and not an event's fault, it waits out.

pub mod postgres;
pub mod sqlite;

mod batch;
mod books;
mod breaker;
mod core;
mod decide;
mod engine;
mod handle;
mod handover;
mod history;
mod lane;
mod lanes;
mod options;
mod redeliver;
mod rules;

use std::sync::Arc;
use std::time::Duration;

use rc_model::telemetry::TelemetrySink;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

pub use batch::{Admitted, Applied, Batch, Condemned, Lane, Mode};
pub use books::{Books, Entered, Head};
pub use core::GAP_EVENTS_MAX;
pub use decide::{VOID, Verdict, judge};
pub use handle::{COMMANDS_MAX, ConsumerHandle, REPLAY_TIME_MAX};
pub use handover::KeyAt;
pub use options::{ATTEMPTS_MAX, ConsumerOptions, LANES_MAX, Policy, Upcast};
pub use postgres::PostgresBooks;
pub use sqlite::SqliteBooks;

use crate::bus::Bus;
use crate::error::Gap;
use crate::event::{Event, Seq};
use crate::{BoxFuture, Error};

use self::core::Core;
use self::engine::Engine;
use self::handle::Command;

/// Events applied in one transaction. A consumer that keeps up takes what is there, which is fewer; one
/// that is behind takes more at once, so that it costs less and catches up.
pub const APPLY_ROWS_MAX: usize = 2_048;

/// Bytes of events applied in one transaction.
pub const APPLY_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How long one wait for the wake-up lasts; a wake-up that died silently costs no more than this.
pub const WAKE_TIME_MAX: Duration = Duration::from_secs(5);

/// Shortest and longest pause between looks at the bus while the wake-up fails.
pub const POLL_MIN: Duration = Duration::from_millis(100);
/// See [`POLL_MIN`].
pub const POLL_MAX: Duration = Duration::from_secs(1);

/// Pause between attempts that only a person can make succeed: a gap, a pruned bus.
pub const STUCK_PAUSE: Duration = Duration::from_secs(5);

/// Pause after a wake-up that was not followed by an event: never spin hot.
const SPURIOUS_PAUSE: Duration = Duration::from_millis(5);

/// How often progress is told to the bus.
const PROGRESS_PAUSE: Duration = Duration::from_secs(1);

/// How long telling it to the wake-up may hold up a consumer that has work.
const TELL_TIME_MAX: Duration = Duration::from_millis(100);

/// Chunks of the bus that wait for a lane: one is read while another is applied.
const CHUNKS_MAX: usize = 1;

/// A consumer's own side: its store and what events do there.
pub trait Projection: Send + Sync {
    /// The consumer's name; unique on the bus, never reused.
    fn name(&self) -> &str;

    /// What the consumer keeps beside its effects, in the same store: [`SqliteBooks`] or [`PostgresBooks`].
    fn books(&self) -> Arc<dyn Books>;

    /// Applies a batch in ONE transaction: [`sqlite::admit`] or [`postgres::admit`] does everything but the
    /// effects of what it returns.
    ///
    /// # Errors
    /// [`Error::Poison`] names events that can never be applied: the engine repeats the batch without them.
    /// Any other error that is not the store's outage makes the engine look for the event by itself.
    fn apply(&self, batch: Batch) -> BoxFuture<'_, Result<Applied, Error>>;
}

/// How a consumer learns that there may be something new.
pub trait Wake: Send + Sync {
    /// Returns the bus's tail as soon as it is beyond `after`, at the latest after `timeout`. `after` is how
    /// far the consumer has applied; with several lanes it may be a second ahead of what it has stored.
    fn wait(&self, after: Seq, timeout: Duration) -> BoxFuture<'_, Result<Seq, Error>>;
}

/// The bus itself wakes a consumer in the same process, or by a cheap poll of its file or table.
pub struct BusWake(pub Arc<dyn Bus>);

impl std::fmt::Debug for BusWake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("BusWake").finish_non_exhaustive()
    }
}

impl Wake for BusWake {
    fn wait(&self, after: Seq, timeout: Duration) -> BoxFuture<'_, Result<Seq, Error>> {
        self.0.wait(after, timeout)
    }
}

/// Whether a consumer moves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ConsumerState {
    /// It has not read its position yet.
    #[default]
    Starting,
    /// It applies events as they come.
    Following,
    /// The last attempt failed; the next comes by itself.
    Retrying {
        /// The error's stable code.
        code: &'static str,
        /// The error's text.
        error: String,
        /// Attempts in a row.
        failures: u32,
    },
    /// It needs a person: events are missing, contradict each other, or are gone.
    Stuck {
        /// The error's stable code.
        code: &'static str,
        /// The error's text.
        error: String,
    },
}

/// Where a consumer is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConsumerStatus {
    /// The last event that was applied.
    pub position: Seq,
    /// The bus's tail when it was last seen.
    pub tail: Seq,
    /// Events that took effect since the start of this process.
    pub applied: u64,
    /// Events that were seen before, since the start of this process.
    pub duplicates: u64,
    /// Events that were set aside since the start of this process, with those that wait behind them.
    pub parked: u64,
    /// Events that were set aside while their key went on, since the start of this process.
    pub skipped: u64,
    /// Missing events that were fetched from the log since the start of this process.
    pub fetched: u64,
    /// Whether it moves.
    pub state: ConsumerState,
}

impl ConsumerStatus {
    /// Events that wait.
    #[must_use]
    pub fn lag(&self) -> u64 {
        self.tail.saturating_sub(self.position).max(0).cast_unsigned()
    }
}

/// Reads the bus and feeds a projection.
pub struct Consumer {
    core: Arc<Core>,
    commands: mpsc::Receiver<Command>,
    handle: ConsumerHandle,
}

impl std::fmt::Debug for Consumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Consumer")
            .field("name", &self.core.name)
            .finish_non_exhaustive()
    }
}

impl Consumer {
    /// A consumer of `bus` with the default options. Run it on the task tree.
    #[must_use]
    pub fn new(bus: Arc<dyn Bus>, wake: Arc<dyn Wake>, projection: Arc<dyn Projection>) -> Self {
        Self::with_options(bus, wake, projection, ConsumerOptions::default())
    }

    /// As [`Consumer::new`], with options.
    #[must_use]
    pub fn with_options(
        bus: Arc<dyn Bus>,
        wake: Arc<dyn Wake>,
        projection: Arc<dyn Projection>,
        options: ConsumerOptions,
    ) -> Self {
        let (status, seen) = watch::channel(ConsumerStatus::default());
        let (sender, commands) = mpsc::channel(COMMANDS_MAX);
        let core = Core::new(bus, wake, projection, status, options);
        let handle = ConsumerHandle {
            bus: Arc::clone(&core.bus),
            books: Arc::clone(&core.books),
            clock: Arc::clone(&core.options.clock),
            commands: sender,
            status: seen,
        };
        Self {
            core: Arc::new(core),
            commands,
            handle,
        }
    }

    /// The same consumer, which tells `sink` what it applied; `None`: nobody.
    #[must_use]
    pub fn with_telemetry(mut self, sink: Option<Arc<dyn TelemetrySink>>) -> Self {
        if let Some(core) = Arc::get_mut(&mut self.core) {
            core.options.telemetry = sink;
        }
        self
    }

    /// Where it is.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<ConsumerStatus> {
        self.core.status.subscribe()
    }

    /// What people and other tasks talk to.
    #[must_use]
    pub fn handle(&self) -> ConsumerHandle {
        self.handle.clone()
    }

    /// Runs until `stop`. Failures are retried for ever, with growing pauses, and stand in the status.
    /// A batch that is being applied when `stop` comes is finished first.
    pub async fn run(self, stop: CancellationToken) {
        let Self {
            core,
            commands,
            handle,
        } = self;
        // The channel closes with the last handle outside; then nobody asks for anything any more.
        drop(handle);
        Engine::new(core, commands).run(&stop).await;
    }
}

/// The error of an event that does not fit behind `last`.
fn gap(event: &Event, last: u64) -> Error {
    Error::Gap(Box::new([between(event, last)]))
}

/// The error of an event with the last one's number and another id.
fn mismatch(event: &Event) -> Error {
    Error::Mismatch(Box::new(between(event, event.kseq)))
}

fn between(event: &Event, last: u64) -> Gap {
    Gap {
        place: event.place(),
        id: event.id,
        last,
        found: event.kseq,
    }
}

#[cfg(test)]
mod tests;
