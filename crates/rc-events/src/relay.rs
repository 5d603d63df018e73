//! The relay moves committed outbox rows to the bus, in order per key, without loss or repetition.
//!
//! It never reads payloads and never decides what the outbox means. It keeps no state of its own: where
//! it is stands on the bus, written in the transaction that published the batch, so it can die anywhere.

use std::sync::Arc;
use std::time::Duration;

use rc_model::telemetry::TelemetrySink;
use rc_model::{Clock, Timestamp};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::bus::{Bus, Cursor, Publish, ReadLimit, Record, Retention};
use crate::event::Seq;
use crate::outbox::{OUTBOX_KEEP, PRUNE_ROWS_MAX};
use crate::spans::Publishing;
use crate::{BoxFuture, Error};

/// Shortest pause between two looks at an outbox that announces nothing.
pub const IDLE_MIN: Duration = Duration::from_millis(5);

/// Longest such pause, and so the most that an idle poll adds to the lag.
pub const IDLE_MAX: Duration = Duration::from_millis(100);

/// Pause after the first failure; doubles, with jitter.
pub const RETRY_MIN: Duration = Duration::from_millis(50);

/// Longest pause between attempts.
pub const RETRY_MAX: Duration = Duration::from_secs(5);

/// How often one that does not lead looks whether it could.
pub const FOLLOWER_PAUSE: Duration = Duration::from_secs(2);

/// How often outbox and bus are cleaned.
pub const HOUSEKEEPING_PAUSE: Duration = Duration::from_secs(30);

/// Steps of cleaning in a row before events have their turn again.
const HOUSEKEEPING_STEPS_MAX: usize = 10;

/// How often the backlog is measured while there is work.
const MEASURE_PAUSE: Duration = Duration::from_secs(1);

/// What a source had after a cursor.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// The events; all of one key in order of `kseq`.
    pub records: Vec<Record>,
    /// Where the source is after them. It may move without events.
    pub cursor: Cursor,
}

/// How much waits in an outbox.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Rows that were not relayed.
    pub rows: u64,
    /// When the oldest of them happened.
    pub oldest: Option<Timestamp>,
}

/// Where events come from.
pub trait Source: Send + Sync {
    /// The name under which the bus keeps this source's cursor: the service.
    fn origin(&self) -> &str;

    /// Whether this process is the one that should relay now. A matter of saving work, not of safety:
    /// the bus refuses a second relay's batches.
    fn lead(&self) -> BoxFuture<'_, Result<bool, Error>> {
        Box::pin(async { Ok(true) })
    }

    /// The events after `cursor`, whole commits in commit order per key.
    fn fetch<'a>(&'a self, cursor: &'a Cursor, limit: ReadLimit) -> BoxFuture<'a, Result<Fetched, Error>>;

    /// Returns when there may be something new: at once when that is announced, else after `idle`.
    fn wait(&self, idle: Duration) -> BoxFuture<'_, ()>;

    /// How much waits after `cursor`.
    fn backlog<'a>(&'a self, cursor: &'a Cursor) -> BoxFuture<'a, Result<Backlog, Error>>;

    /// Deletes at most `rows_max` rows up to `cursor` that happened before `before`; returns how many.
    fn prune<'a>(
        &'a self,
        cursor: &'a Cursor,
        before: Timestamp,
        rows_max: usize,
    ) -> BoxFuture<'a, Result<usize, Error>>;
}

/// How a relay behaves.
#[derive(Debug, Clone)]
pub struct RelayOptions {
    /// Size of a publish.
    pub batch: ReadLimit,
    /// How long relayed rows stay in the outbox.
    pub outbox_keep: Duration,
    /// What stays on the bus.
    pub retention: Retention,
    /// How often outbox and bus are cleaned.
    pub housekeeping_pause: Duration,
    /// Where the spans of published events go; `None`: nowhere.
    pub telemetry: Option<Arc<dyn TelemetrySink>>,
}

impl Default for RelayOptions {
    fn default() -> Self {
        Self {
            batch: ReadLimit::default(),
            outbox_keep: OUTBOX_KEEP,
            retention: Retention::default(),
            housekeeping_pause: HOUSEKEEPING_PAUSE,
            telemetry: None,
        }
    }
}

/// What a relay is doing, for readiness, metrics and people.
#[derive(Debug, Clone, Default)]
pub struct RelayStatus {
    /// Whether this process relays (another one may).
    pub leading: bool,
    /// Events that this process published.
    pub published: u64,
    /// The bus's tail after the last publish.
    pub tail: Seq,
    /// Where the bus is in the outbox: a position (SQLite) or a snapshot (PostgreSQL).
    pub cursor: Cursor,
    /// What waited when it was last measured.
    pub backlog: Backlog,
    /// Why it does not move, if it does not: code and text.
    pub error: Option<(&'static str, String)>,
    /// Attempts in a row that failed.
    pub failures: u32,
}

/// Moves one outbox to one bus.
pub struct Relay {
    source: Arc<dyn Source>,
    bus: Arc<dyn Bus>,
    clock: Arc<dyn Clock>,
    options: RelayOptions,
    status: watch::Sender<RelayStatus>,
}

impl std::fmt::Debug for Relay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Relay")
            .field("origin", &self.source.origin())
            .finish_non_exhaustive()
    }
}

/// What one step did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// It published this many events; there may be more.
    Moved(usize),
    /// The source had nothing.
    Idle,
    /// The bus was elsewhere; the next step starts from there.
    Fenced,
}

/// Where a running relay is. Owned by the task that runs it.
struct Place {
    /// The cursor that the bus has.
    published: Cursor,
    /// How far the source was read; ahead of `published` where it had nothing.
    scanned: Cursor,
}

impl Relay {
    /// A relay from `source` to `bus`. Run it on the task tree.
    #[must_use]
    pub fn new(
        source: Arc<dyn Source>,
        bus: Arc<dyn Bus>,
        clock: Arc<dyn Clock>,
        options: RelayOptions,
    ) -> Self {
        Self {
            source,
            bus,
            clock,
            options,
            status: watch::Sender::new(RelayStatus::default()),
        }
    }

    /// What it is doing.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<RelayStatus> {
        self.status.subscribe()
    }

    /// Runs until `stop`. Failures are retried for ever, with growing pauses, and stand in the status.
    pub async fn run(self, stop: CancellationToken) {
        stop.run_until_cancelled(self.forever()).await;
    }

    async fn forever(&self) {
        let mut failures = 0_u32;
        loop {
            // Leadership was lost: try again from the start.
            let Err(error) = self.lead(&mut failures).await else {
                continue;
            };
            failures = failures.saturating_add(1);
            let wait = retry_pause(failures, &error);
            tracing::warn!(
                origin = self.source.origin(),
                code = error.code(),
                %error,
                wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
                "the relay failed and tries again"
            );
            self.status.send_modify(|status| {
                status.leading = false;
                status.failures = failures;
                status.error = Some((error.code(), error.to_string()));
            });
            tokio::time::sleep(wait).await;
        }
    }

    /// Relays until something fails or somebody else leads.
    async fn lead(&self, failures: &mut u32) -> Result<(), Error> {
        while !self.source.lead().await? {
            self.status.send_modify(|status| {
                status.leading = false;
                status.error = None;
            });
            tokio::time::sleep(FOLLOWER_PAUSE).await;
        }
        let mut place = self.resume().await?;
        let mut idle = IDLE_MIN;
        let mut lead_checked = tokio::time::Instant::now();
        let mut cleaned = tokio::time::Instant::now();
        let mut measured: Option<tokio::time::Instant> = None;
        loop {
            let step = self.step(&mut place).await?;
            if *failures > 0 {
                *failures = 0;
                self.status.send_modify(|status| {
                    status.error = None;
                    status.failures = 0;
                });
            }
            let settled = step == Step::Idle && idle == IDLE_MIN;
            if settled || measured.is_none_or(|at| at.elapsed() >= MEASURE_PAUSE) {
                let backlog = self.source.backlog(&place.scanned).await?;
                self.status
                    .send_if_modified(|status| std::mem::replace(&mut status.backlog, backlog) != backlog);
                measured = Some(tokio::time::Instant::now());
            }
            if cleaned.elapsed() >= self.options.housekeeping_pause {
                self.clean(&place).await?;
                cleaned = tokio::time::Instant::now();
            }
            if lead_checked.elapsed() >= FOLLOWER_PAUSE {
                if !self.source.lead().await? {
                    return Ok(());
                }
                lead_checked = tokio::time::Instant::now();
            }
            match step {
                Step::Moved(_) => idle = IDLE_MIN,
                Step::Idle => {
                    self.source.wait(idle).await;
                    idle = (idle * 2).min(IDLE_MAX);
                }
                // There is work, but two relays at once must not fight hot.
                Step::Fenced => tokio::time::sleep(IDLE_MIN).await,
            }
        }
    }

    /// Asks the bus where it is: the only place where that is written.
    async fn resume(&self) -> Result<Place, Error> {
        let cursor = self.bus.cursor(self.source.origin()).await?;
        let tail = self.bus.tail().await?;
        self.status.send_modify(|status| {
            status.leading = true;
            status.tail = tail;
            status.cursor = cursor.clone();
        });
        Ok(Place {
            scanned: cursor.clone(),
            published: cursor,
        })
    }

    /// Moves one batch.
    async fn step(&self, place: &mut Place) -> Result<Step, Error> {
        let fetched = self.source.fetch(&place.scanned, self.options.batch).await?;
        if fetched.records.is_empty() {
            place.scanned = fetched.cursor;
            return Ok(Step::Idle);
        }
        let count = fetched.records.len();
        let publishing = self.options.telemetry.as_ref().and_then(|sink| {
            let events = fetched.records.iter().map(|record| &record.event);
            Publishing::begin(sink, events)
        });
        let publish = Publish {
            origin: self.source.origin().to_owned(),
            expected: place.published.clone(),
            cursor: fetched.cursor.clone(),
            records: fetched.records,
        };
        match self.bus.publish(publish).await {
            Ok(tail) => {
                if let Some(publishing) = publishing {
                    publishing.published();
                }
                place.published = fetched.cursor.clone();
                place.scanned = fetched.cursor;
                self.status.send_modify(|status| {
                    status.published += u64::try_from(count).unwrap_or(u64::MAX);
                    status.tail = tail;
                    status.cursor = place.published.clone();
                });
                Ok(Step::Moved(count))
            }
            Err(Error::Fenced(fenced)) => {
                // A lost answer of our own, or another relay: in both cases the bus is right.
                tracing::info!(
                    origin = fenced.origin,
                    actual = %fenced.actual,
                    "the bus is elsewhere; the relay goes on from there"
                );
                place.published = fenced.actual.clone();
                place.scanned = fenced.actual;
                Ok(Step::Fenced)
            }
            Err(error) => Err(error),
        }
    }

    /// Deletes what was relayed and has aged, a bounded number of rows at a time.
    async fn clean(&self, place: &Place) -> Result<(), Error> {
        let keep_ms = i64::try_from(self.options.outbox_keep.as_millis()).unwrap_or(i64::MAX);
        let before = Timestamp::from_unix_ms(self.clock.now().unix_ms().saturating_sub(keep_ms));
        for _ in 0..HOUSEKEEPING_STEPS_MAX {
            let pruned = self
                .source
                .prune(&place.published, before, PRUNE_ROWS_MAX)
                .await?;
            if pruned < PRUNE_ROWS_MAX {
                break;
            }
        }
        for _ in 0..HOUSEKEEPING_STEPS_MAX {
            let retained = self.bus.retain(&self.options.retention).await?;
            for consumer in &retained.lost {
                tracing::error!(
                    consumer,
                    code = "RC-EVT-004",
                    "the consumer lags too far and no longer holds events back"
                );
            }
            if !retained.more {
                break;
            }
        }
        Ok(())
    }
}

/// Full jitter over an exponential pause; what the error itself asks for is the least.
pub(crate) fn retry_pause(failures: u32, error: &Error) -> Duration {
    let ceiling = RETRY_MIN
        .saturating_mul(1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX))
        .min(RETRY_MAX);
    let jittered = ceiling.mul_f64(0.5 + fastrand::f64() / 2.0);
    let asked = error.retry_after().unwrap_or(Duration::ZERO).min(RETRY_MAX);
    jittered.max(asked)
}

#[cfg(test)]
mod tests;
