//! The relay moves committed outbox rows to the bus, in order per key, without loss or repetition.
//!
//! It never reads payloads and never decides what the outbox means. It keeps no state of its own: where
//! it is stands on the bus, written in the transaction that published the batch, so it can die anywhere.

pub mod parked;

use std::sync::Arc;
use std::time::Duration;

use rc_model::telemetry::TelemetrySink;
use rc_model::{Clock, Timestamp};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::bus::{Bus, Cursor, Publish, ReadLimit, Record, Retention};
use crate::error::Refused;
use crate::event::Seq;
use crate::lease::Epoch;
use crate::letters::{LetterCounts, LetterFilter, Letters as _};
use crate::outbox::OUTBOX_KEEP;
use crate::spans::Publishing;
use crate::{BoxFuture, Error, faults};

pub use parked::{Parked, ParkedLetters};

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

/// How long giving up the leadership may take at the end.
const STEP_DOWN_TIME_MAX: Duration = Duration::from_secs(1);

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

/// The last answer of a source that reads a stream, which it cannot read twice: a relay that could not publish it
/// asks again.
#[derive(Debug, Default)]
pub(crate) struct LastFetched(Option<(Cursor, Fetched)>);

impl LastFetched {
    /// That answer, if it was to the same question. If not, it was published, and is forgotten.
    pub(crate) fn again(&mut self, cursor: &Cursor, limit: ReadLimit) -> Option<Fetched> {
        match &self.0 {
            Some((from, fetched)) if from == cursor && fetched.records.len() <= limit.rows => {
                Some(fetched.clone())
            }
            _ => {
                self.0 = None;
                None
            }
        }
    }

    /// Keeps an answer that has events.
    pub(crate) fn keep(&mut self, cursor: &Cursor, fetched: &Fetched) {
        if !fetched.records.is_empty() {
            self.0 = Some((cursor.clone(), fetched.clone()));
        }
    }
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

    /// The epoch of this process's leadership, `None` while another process relays. A matter of saving
    /// work, not of safety: the bus refuses a second relay's batches. Asked often; a source that asks its
    /// store does so once a heartbeat ([`crate::lease`]).
    fn lead(&self) -> BoxFuture<'_, Result<Option<Epoch>, Error>> {
        Box::pin(async { Ok(Some(0)) })
    }

    /// Gives the leadership up, so that another process need not wait until it runs out.
    fn step_down(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async { Ok(()) })
    }

    /// The events after `cursor`, whole commits in commit order per key.
    fn fetch<'a>(&'a self, cursor: &'a Cursor, limit: ReadLimit) -> BoxFuture<'a, Result<Fetched, Error>>;

    /// Returns when there may be something new: at once when that is announced, else after `idle`.
    fn wait(&self, idle: Duration) -> BoxFuture<'_, ()>;

    /// How much waits after `cursor`.
    fn backlog<'a>(&'a self, cursor: &'a Cursor) -> BoxFuture<'a, Result<Backlog, Error>>;

    /// Where events are set aside that the bus refuses; `None`: the relay stops at the first of them.
    fn parked(&self) -> Option<Arc<dyn Parked>> {
        None
    }

    /// Makes room for what services append next. Called by the process that leads, every
    /// [`HOUSEKEEPING_PAUSE`], also while the bus cannot be reached.
    fn upkeep(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async { Ok(()) })
    }

    /// One bounded step of retention: rows up to `cursor` go when they were kept for `keep`.
    fn prune<'a>(
        &'a self,
        cursor: &'a Cursor,
        now: Timestamp,
        keep: Duration,
    ) -> BoxFuture<'a, Result<Pruned, Error>>;
}

/// What one step of an outbox's retention did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Rows that are gone; for a partition that was dropped, about.
    pub rows: u64,
    /// Whether there is more to do at once.
    pub more: bool,
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
    /// Which leadership it is, one higher with every change of hands; 0 where only one process can relay.
    pub epoch: Epoch,
    /// Events that this process published.
    pub published: u64,
    /// When it last did.
    pub published_at: Option<Timestamp>,
    /// The bus's tail after the last publish.
    pub tail: Seq,
    /// Where the bus is in the outbox: a position (SQLite) or a snapshot (PostgreSQL).
    pub cursor: Cursor,
    /// What waited when it was last measured; unknown before that.
    pub backlog: Option<Backlog>,
    /// What is set aside because the bus refuses it, when that was last measured.
    pub parked: LetterCounts,
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
    parked: Option<(Arc<dyn Parked>, ParkedLetters)>,
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
    /// Whether anything was ever set aside that may come again.
    parks: bool,
}

/// When the relay last did what it does from time to time. Owned by the task that runs it.
#[derive(Default)]
struct Chores {
    upkeep: Option<Instant>,
    measured: Option<Instant>,
    cleaned: Option<Instant>,
    /// Retention has more to do than one step takes; events and it take turns then.
    cleaning: bool,
}

fn due(last: Option<Instant>, pause: Duration) -> bool {
    last.is_none_or(|at| at.elapsed() >= pause)
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
        let parked = source.parked().map(|parked| {
            let letters = ParkedLetters::new(
                source.origin(),
                Arc::clone(&parked),
                Arc::clone(&bus),
                Arc::clone(&clock),
            );
            (parked, letters)
        });
        Self {
            source,
            bus,
            clock,
            options,
            parked,
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
        if let Ok(Err(error)) = tokio::time::timeout(STEP_DOWN_TIME_MAX, self.source.step_down()).await {
            tracing::debug!(origin = self.source.origin(), %error, "the next relay waits for the lease to run out");
        }
    }

    async fn forever(&self) {
        let mut failures = 0_u32;
        let mut chores = Chores::default();
        loop {
            // Leadership was lost: try again from the start.
            let Err(error) = self.lead(&mut failures, &mut chores).await else {
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
    async fn lead(&self, failures: &mut u32, chores: &mut Chores) -> Result<(), Error> {
        let epoch = loop {
            if let Some(epoch) = self.source.lead().await? {
                break epoch;
            }
            self.status.send_modify(|status| {
                status.leading = false;
                status.error = None;
            });
            tokio::time::sleep(FOLLOWER_PAUSE).await;
        };
        // Before the bus is asked: services append while it is away.
        self.make_room(chores).await?;
        let mut place = self.resume(epoch).await?;
        let mut idle = IDLE_MIN;
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
            if settled || due(chores.measured, MEASURE_PAUSE) {
                let backlog = self.source.backlog(&place.scanned).await?;
                let parked = match &self.parked {
                    Some((_, letters)) if place.parks => letters.count(&LetterFilter::default()).await?,
                    Some(_) | None => LetterCounts::default(),
                };
                self.status.send_if_modified(|status| {
                    let changed = (status.backlog, &status.parked) != (Some(backlog), &parked);
                    status.backlog = Some(backlog);
                    status.parked = parked;
                    changed
                });
                chores.measured = Some(Instant::now());
            }
            self.make_room(chores).await?;
            if place.parks
                && due(chores.cleaned, self.options.housekeeping_pause)
                && let Some((parked, letters)) = &self.parked
            {
                letters.go_on().await?;
                place.parks = parked.any().await?;
            }
            if chores.cleaning || due(chores.cleaned, self.options.housekeeping_pause) {
                chores.cleaning = self.clean(&place).await?;
                chores.cleaned = Some(Instant::now());
            }
            if self.source.lead().await? != Some(epoch) {
                return Ok(());
            }
            match step {
                Step::Moved(_) => idle = IDLE_MIN,
                Step::Idle if chores.cleaning => idle = IDLE_MIN,
                Step::Idle => {
                    self.source.wait(idle).await;
                    idle = (idle * 2).min(IDLE_MAX);
                }
                // There is work, but two relays at once must not fight hot.
                Step::Fenced => tokio::time::sleep(IDLE_MIN).await,
            }
        }
    }

    async fn make_room(&self, chores: &mut Chores) -> Result<(), Error> {
        if due(chores.upkeep, self.options.housekeeping_pause) {
            self.source.upkeep().await?;
            chores.upkeep = Some(Instant::now());
        }
        Ok(())
    }

    /// Asks the bus where it is: the only place where that is written.
    async fn resume(&self, epoch: Epoch) -> Result<Place, Error> {
        let cursor = self.bus.cursor(self.source.origin()).await?;
        let tail = self.bus.tail().await?;
        let parks = match &self.parked {
            Some((parked, letters)) if parked.any().await? => {
                letters.go_on().await?;
                true
            }
            Some(_) | None => false,
        };
        self.status.send_modify(|status| {
            status.leading = true;
            status.epoch = epoch;
            status.tail = tail;
            status.cursor = cursor.clone();
        });
        Ok(Place {
            scanned: cursor.clone(),
            published: cursor,
            parks,
        })
    }

    /// Moves one batch.
    async fn step(&self, place: &mut Place) -> Result<Step, Error> {
        let fetched = self.source.fetch(&place.scanned, self.options.batch).await?;
        faults::point("relay.after_fetch");
        if fetched.records.is_empty() {
            place.scanned = fetched.cursor;
            return Ok(Step::Idle);
        }
        let mut records = fetched.records;
        if place.parks {
            records = self.hold_back(records, None).await?;
        }
        // Each round sets at least one event aside.
        while !records.is_empty() {
            match self.publish(place, &fetched.cursor, records.clone()).await {
                Ok(step) => return Ok(step),
                Err(Error::Refused(refused)) if self.parked.is_some() => {
                    tracing::warn!(
                        origin = self.source.origin(),
                        event = refused.place,
                        why = refused.why,
                        "the bus refuses an event: it is set aside, and its key waits"
                    );
                    place.parks = true;
                    records = self.hold_back(records, Some(*refused)).await?;
                }
                Err(error) => return Err(error),
            }
        }
        // All of it is set aside. The bus moves with the next event; until then this is read again after a
        // crash, and found set aside.
        place.scanned = fetched.cursor;
        Ok(Step::Moved(0))
    }

    /// Sets aside what was refused and what has to wait behind that; the rest.
    async fn hold_back(&self, records: Vec<Record>, refused: Option<Refused>) -> Result<Vec<Record>, Error> {
        match &self.parked {
            Some((parked, _)) => parked.hold_back(records, refused, self.clock.now()).await,
            None => Ok(records),
        }
    }

    async fn publish(&self, place: &mut Place, cursor: &Cursor, records: Vec<Record>) -> Result<Step, Error> {
        let count = records.len();
        let publishing = self.options.telemetry.as_ref().and_then(|sink| {
            let events = records.iter().map(|record| &record.event);
            Publishing::begin(sink, events)
        });
        let expected = if faults::mutated("relay.skip_expected") {
            self.bus.cursor(self.source.origin()).await?
        } else {
            place.published.clone()
        };
        let publish = Publish {
            origin: self.source.origin().to_owned(),
            expected,
            cursor: cursor.clone(),
            records,
        };
        faults::point("relay.before_publish");
        match self.bus.publish(publish).await {
            Ok(tail) => {
                faults::point("relay.after_publish");
                if let Some(publishing) = publishing {
                    publishing.published();
                }
                place.published = cursor.clone();
                place.scanned = cursor.clone();
                self.status.send_modify(|status| {
                    status.published += u64::try_from(count).unwrap_or(u64::MAX);
                    status.published_at = Some(self.clock.now());
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

    /// One bounded step of retention, of the outbox and of the bus; whether there is more to do.
    async fn clean(&self, place: &Place) -> Result<bool, Error> {
        faults::point("retain.before_drop");
        let pruned = self
            .source
            .prune(&place.published, self.clock.now(), self.options.outbox_keep)
            .await?;
        let retained = self.bus.retain(&self.options.retention).await?;
        for consumer in &retained.lost {
            tracing::error!(
                consumer,
                code = "RC-EVT-004",
                "the consumer lags too far and no longer holds events back"
            );
        }
        Ok(pruned.more || retained.more)
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
pub(crate) mod tests;
