//! A consumer applies events in order, and its effects happen once: effects and position stand in one
//! transaction of its own store, and each key's numbers must be consecutive.

pub mod postgres;
pub mod sqlite;

use std::sync::Arc;
use std::time::Duration;

use rc_model::telemetry::TelemetrySink;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::bus::{Bus, ReadLimit};
use crate::error::Gap;
use crate::event::{Event, Numbering, Seq};
use crate::relay::retry_pause;
use crate::spans::Applying;
use crate::{BoxFuture, Error};

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

/// What to do with the next event of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is the next one.
    Apply,
    /// It was applied before.
    Duplicate,
    /// At least one is missing before it.
    Gap,
}

/// The rule of a key's numbers: `last` is 0 for a key that was never seen.
#[must_use]
pub fn judge(last: u64, kseq: u64, numbering: Numbering) -> Verdict {
    if kseq <= last {
        Verdict::Duplicate
    } else if kseq == last + 1 || numbering == Numbering::Increasing {
        Verdict::Apply
    } else {
        Verdict::Gap
    }
}

/// What applying a batch came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Applied {
    /// Events that took effect.
    pub applied: u64,
    /// Events that had taken effect before.
    pub duplicates: u64,
}

/// A consumer's own side: its store and what events do there.
pub trait Projection: Send + Sync {
    /// The consumer's name; unique on the bus, never reused.
    fn name(&self) -> &str;

    /// The last event that was applied, from the consumer's own store; 0 for none.
    fn position(&self) -> BoxFuture<'_, Result<Seq, Error>>;

    /// Applies the events after `from` up to `upto`: effects, the last number of each key, and the
    /// position `upto`, in ONE transaction. [`sqlite::admit`] and [`postgres::admit`] do all of it but
    /// the effects.
    fn apply(&self, from: Seq, events: Arc<Vec<Event>>, upto: Seq) -> BoxFuture<'_, Result<Applied, Error>>;
}

/// How a consumer learns that there may be something new.
pub trait Wake: Send + Sync {
    /// Returns the bus's tail as soon as it is beyond `after`, at the latest after `timeout`.
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
    bus: Arc<dyn Bus>,
    wake: Arc<dyn Wake>,
    projection: Arc<dyn Projection>,
    limit: ReadLimit,
    telemetry: Option<Arc<dyn TelemetrySink>>,
    status: watch::Sender<ConsumerStatus>,
}

impl std::fmt::Debug for Consumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Consumer")
            .field("name", &self.projection.name())
            .finish_non_exhaustive()
    }
}

impl Consumer {
    /// A consumer of `bus`. Run it on the task tree.
    #[must_use]
    pub fn new(bus: Arc<dyn Bus>, wake: Arc<dyn Wake>, projection: Arc<dyn Projection>) -> Self {
        Self {
            bus,
            wake,
            projection,
            limit: ReadLimit {
                rows: APPLY_ROWS_MAX,
                bytes: APPLY_BYTES_MAX,
            },
            telemetry: None,
            status: watch::Sender::new(ConsumerStatus::default()),
        }
    }

    /// The same consumer, which tells `sink` what it applied; `None`: nobody.
    #[must_use]
    pub fn with_telemetry(mut self, sink: Option<Arc<dyn TelemetrySink>>) -> Self {
        self.telemetry = sink;
        self
    }

    /// Where it is.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<ConsumerStatus> {
        self.status.subscribe()
    }

    /// Runs until `stop`. Failures are retried for ever, with growing pauses, and stand in the status.
    /// A batch that is being applied when `stop` comes is finished first.
    pub async fn run(self, stop: CancellationToken) {
        let mut failures = 0_u32;
        while !stop.is_cancelled() {
            let Err(error) = self.follow(&stop, &mut failures).await else {
                return;
            };
            failures = failures.saturating_add(1);
            let wait = self.report(&error, failures);
            if stop.run_until_cancelled(tokio::time::sleep(wait)).await.is_none() {
                return;
            }
        }
    }

    /// Applies batches until something fails or `stop` comes.
    async fn follow(&self, stop: &CancellationToken, failures: &mut u32) -> Result<(), Error> {
        // After a failure it is unknown whether the transaction stands: the store knows.
        let mut position = self.projection.position().await?;
        let mut poll = POLL_MIN;
        let mut told: Option<(Seq, tokio::time::Instant)> = None;
        loop {
            if told.is_none_or(|(seq, at)| seq != position && at.elapsed() >= PROGRESS_PAUSE) {
                // Retention waits a little longer then; that is no reason to stop.
                if let Err(error) = self.bus.progress(self.projection.name(), position).await {
                    tracing::debug!(consumer = self.projection.name(), %error, "progress was not noted");
                }
                if told.is_some() {
                    self.tell(position).await;
                }
                told = Some((position, tokio::time::Instant::now()));
            }
            let events = self.bus.read(position, self.limit).await?;
            let Some(last) = events.last() else {
                self.settled(position, failures);
                let idle = self.idle(position, &mut poll);
                if stop.run_until_cancelled(idle).await.is_none() {
                    return Ok(());
                }
                continue;
            };
            let upto = last.pos;
            let done = self
                .apply(position, Arc::new(events), upto, *failures > 0)
                .await?;
            position = upto;
            poll = POLL_MIN;
            *failures = 0;
            self.status.send_modify(|status| {
                status.position = position;
                status.tail = status.tail.max(position);
                status.applied += done.applied;
                status.duplicates += done.duplicates;
                status.state = ConsumerState::Following;
            });
            if stop.is_cancelled() {
                return Ok(());
            }
        }
    }

    /// Applies a batch in the traces of its events. `again`: the attempt before failed.
    async fn apply(
        &self,
        from: Seq,
        events: Arc<Vec<Event>>,
        upto: Seq,
        again: bool,
    ) -> Result<Applied, Error> {
        let applying = self.telemetry.as_ref().and_then(|sink| {
            let events = events.iter().map(|event| &event.event);
            Applying::begin(sink, self.projection.name(), events)
        });
        let apply = self.projection.apply(from, events, upto);
        match applying {
            Some(applying) => applying.run(again, apply).await,
            None => apply.await,
        }
    }

    /// Asks the wake-up for the tail without waiting for it to grow: a consumer that is never idle has a
    /// true lag all the same, and a wake-up of another process hears where the consumer is.
    async fn tell(&self, position: Seq) {
        let asked = self.wake.wait(position, Duration::ZERO);
        if let Ok(Ok(tail)) = tokio::time::timeout(TELL_TIME_MAX, asked).await {
            self.status
                .send_modify(|status| status.tail = status.tail.max(tail));
        }
    }

    /// Waits for something new. While the wake-up works nothing is polled; while it fails the bus is
    /// looked at from time to time.
    async fn idle(&self, position: Seq, poll: &mut Duration) {
        match self.wake.wait(position, WAKE_TIME_MAX).await {
            Ok(tail) => {
                *poll = POLL_MIN;
                self.status.send_if_modified(|status| {
                    let changed = status.tail < tail;
                    status.tail = status.tail.max(tail);
                    changed
                });
                if tail <= position {
                    tokio::time::sleep(SPURIOUS_PAUSE).await;
                }
            }
            Err(error) => {
                tracing::debug!(consumer = self.projection.name(), %error, "no wake-up; polling");
                tokio::time::sleep(*poll).await;
                *poll = (*poll * 2).min(POLL_MAX);
            }
        }
    }

    fn settled(&self, position: Seq, failures: &mut u32) {
        *failures = 0;
        self.status.send_if_modified(|status| {
            let settled = ConsumerStatus {
                position,
                tail: position,
                state: ConsumerState::Following,
                ..status.clone()
            };
            let changed = *status != settled;
            *status = settled;
            changed
        });
    }

    /// Puts the failure into the status; returns how long to wait.
    fn report(&self, error: &Error, failures: u32) -> Duration {
        let stuck = match error {
            Error::Gap(_)
            | Error::Mismatch(_)
            | Error::Pruned { .. }
            | Error::Restored { .. }
            | Error::Invalid(_)
            | Error::Refused(_)
            | Error::Poison(_)
            | Error::Full(_)
            | Error::Breaker(_)
            | Error::Letter(_)
            | Error::Job(_)
            | Error::Halted(_)
            | Error::Damaged(_) => true,
            Error::Fenced(_)
            | Error::Moved(_)
            | Error::Unreachable { .. }
            | Error::Replication(_)
            | Error::Store { .. } => false,
            Error::Server(fault) => fault.retry_after.is_none(),
        };
        let (code, text) = (error.code(), error.to_string());
        tracing::warn!(
            consumer = self.projection.name(),
            code,
            error = text,
            stuck,
            failures,
            "the consumer failed and tries again"
        );
        self.status.send_modify(|status| {
            status.state = if stuck {
                ConsumerState::Stuck { code, error: text }
            } else {
                ConsumerState::Retrying {
                    code,
                    error: text,
                    failures,
                }
            };
        });
        let pause = retry_pause(failures, error);
        // The first attempts may meet a passing fault; after that, patience.
        if stuck && failures > 3 {
            pause.max(STUCK_PAUSE)
        } else {
            pause
        }
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
