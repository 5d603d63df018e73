//! What `/ready` and `/metrics` say of a bus, of a relay, of dead letters and of replication slots.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use rc_events::consumer::ConsumerHandle;
use rc_events::letters::{LetterFilter, Letters};
use rc_events::replay::{JobState, first_kept};
use rc_events::replication::SlotHealth;
use rc_events::{Bus, RelayStatus};
use rc_model::{Clock, Timestamp};
use rc_serve::readiness::Component;
use rc_serve::{Metrics, Tree};

/// How often the bus is asked whether it is there.
const PROBE_EVERY: Duration = Duration::from_secs(1);

/// How long one such question may take.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// How often dead letters are counted.
const COUNT_EVERY: Duration = Duration::from_secs(5);

/// Failures of the relay in a row after which it counts as not whole.
const RELAY_FAILURES: u32 = 3;

/// Keeps `ready` true about `bus` until the tree stops. For a bus of its own: that of a store comes and goes
/// with the store.
pub fn bus(service: &'static str, bus: Arc<dyn Bus>, ready: Component, tree: &Tree) {
    let stopping = tree.stopping();
    tree.spawn(format!("{service}/bus-watch"), async move {
        let mut up = None;
        loop {
            let found = match tokio::time::timeout(PROBE_TIMEOUT, bus.tail()).await {
                Ok(Ok(_tail)) => Ok(()),
                Ok(Err(error)) => Err(format!("{}: {error}", error.code())),
                Err(_elapsed) => Err("no answer in time".to_owned()),
            };
            match (up, &found) {
                (Some(false), Ok(())) => tracing::info!("the bus is there"),
                (Some(true) | None, Err(why)) => tracing::error!(why, "the bus is not there; events wait"),
                _ => {}
            }
            up = Some(found.is_ok());
            match found {
                Ok(()) => ready.set_ready(),
                Err(why) => ready.set_down(why),
            }
            let pause = tokio::time::sleep(PROBE_EVERY);
            if stopping.run_until_cancelled(pause).await.is_none() {
                return;
            }
        }
    });
}

/// What a relay shows in `/metrics`. The same names in every process that has one.
#[derive(Debug, Clone, Default)]
pub struct RelayMeters {
    /// NaN, as the lag, before it is known.
    waiting: Gauge<f64, AtomicU64>,
    lag_s: Gauge<f64, AtomicU64>,
    published: Counter,
    failures: Gauge,
    leading: Gauge,
    tail: Gauge,
    parked: Gauge,
}

impl RelayMeters {
    /// Registers the metrics.
    #[must_use]
    pub fn register(metrics: &Metrics) -> Self {
        let meters = Self::default();
        meters.waiting.set(f64::NAN);
        meters.lag_s.set(f64::NAN);
        let of = meters.clone();
        metrics.with_registry(|registry| {
            registry.register(
                "rc_relay_waiting_events",
                "Events that are not on the bus yet",
                of.waiting,
            );
            let help = "Age of the oldest event that is not on the bus";
            registry.register("rc_relay_lag_seconds", help, of.lag_s);
            let help = "Events that this process put on the bus";
            registry.register("rc_relay_published_events", help, of.published);
            let help = "Attempts in a row that failed; 0 while events move";
            registry.register("rc_relay_failures", help, of.failures);
            let help = "1 in the process that relays, 0 in one that stands by";
            registry.register("rc_relay_leading", help, of.leading);
            let help = "Events that the bus refuses, with those that wait behind them";
            registry.register("rc_relay_parked_events", help, of.parked);
            registry.register("rc_bus_tail", "The place of the newest event on the bus", of.tail);
        });
        meters
    }

    /// Shows `status` as of `now`.
    pub fn show(&self, status: &RelayStatus, now: Timestamp) {
        let int = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        if let Some(backlog) = &status.backlog {
            let age = backlog.oldest.map(|oldest| now.since(oldest).as_secs_f64());
            self.waiting.set(backlog.rows as f64);
            self.lag_s.set(age.unwrap_or(0.0));
        }
        self.published
            .inc_by(status.published.saturating_sub(self.published.get()));
        self.failures.set(i64::from(status.failures));
        self.leading.set(i64::from(status.leading));
        self.tail.set(status.tail);
        self.parked.set(int(status.parked.letters));
    }
}

/// Says in `ready` whether a relay moves.
pub fn report(ready: &Component, status: &RelayStatus) {
    match &status.error {
        Some((code, text)) if status.failures >= RELAY_FAILURES => {
            ready.set_down(format!("{code}: {text}"));
        }
        _ => ready.set_ready(),
    }
}

/// Shows a relay's status in `/ready` and `/metrics` until the tree stops. `status` gives none while there is no
/// relay.
pub fn relay(
    service: &'static str,
    status: impl Fn() -> Option<RelayStatus> + Send + 'static,
    ready: Component,
    metrics: &Metrics,
    clock: Arc<dyn Clock>,
    tree: &Tree,
) {
    let (meters, stopping) = (RelayMeters::register(metrics), tree.stopping());
    tree.spawn(format!("{service}/relay-watch"), async move {
        loop {
            match status() {
                Some(status) => {
                    meters.show(&status, clock.now());
                    report(&ready, &status);
                }
                None => ready.set_down("no store"),
            }
            let pause = tokio::time::sleep(PROBE_EVERY);
            if stopping.run_until_cancelled(pause).await.is_none() {
                return;
            }
        }
    });
}

/// Labels of the gauge of dead letters; classes are words of the engine and its projections.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LetterLabels {
    state: &'static str,
    class: String,
}

/// Says in `/ready` and `/metrics` how many dead letters wait, until the tree stops. They do not make a service
/// unready: everything else goes on.
pub fn letters(
    service: &'static str,
    holder: impl Fn() -> Option<Arc<dyn Letters>> + Send + 'static,
    ready: Component,
    metrics: &Metrics,
    tree: &Tree,
) {
    let gauge = Family::<LetterLabels, Gauge>::default();
    metrics.with_registry(|registry| {
        registry.register("rc_dead_letters", "Events that were set aside", gauge.clone());
    });
    ready.set_ready();
    let stopping = tree.stopping();
    tree.spawn(format!("{service}/letters-watch"), async move {
        loop {
            // A store that is away is told by its own part of `/ready`.
            if let Some(letters) = holder()
                && let Ok(counts) = letters.count(&LetterFilter::default()).await
            {
                gauge.clear();
                for (state, class, letters) in counts.of {
                    let state = state.as_str();
                    gauge
                        .get_or_create(&LetterLabels { state, class })
                        .set(i64::try_from(letters).unwrap_or(i64::MAX));
                }
                match counts.letters {
                    0 => ready.set_ready(),
                    letters => ready.set_noted(format!(
                        "{letters} dead letters of {} keys wait for a person: `rc events dlq list`",
                        counts.keys
                    )),
                }
            }
            let pause = tokio::time::sleep(COUNT_EVERY);
            if stopping.run_until_cancelled(pause).await.is_none() {
                return;
            }
        }
    });
}

/// Shows in `/metrics` how many events a bus keeps, until the tree stops.
pub fn kept(
    service: &'static str,
    bus: impl Fn() -> Option<Arc<dyn Bus>> + Send + 'static,
    metrics: &Metrics,
    tree: &Tree,
) {
    let gauge = Gauge::<i64>::default();
    metrics.with_registry(|registry| {
        registry.register("rc_bus_kept_events", "Events that the bus keeps", gauge.clone());
    });
    let stopping = tree.stopping();
    tree.spawn(format!("{service}/bus-kept"), async move {
        loop {
            // A bus that is away is told by its own part of `/ready`.
            if let Some(bus) = bus()
                && let Ok((first, tail)) = tokio::try_join!(first_kept(&*bus), bus.tail())
            {
                gauge.set(tail.saturating_sub(first));
            }
            let pause = tokio::time::sleep(COUNT_EVERY);
            if stopping.run_until_cancelled(pause).await.is_none() {
                return;
            }
        }
    });
}

/// Shows in `/metrics` the replays of history that go on, until the tree stops.
pub fn replays(
    service: &'static str,
    consumer: impl Fn() -> Option<ConsumerHandle> + Send + 'static,
    metrics: &Metrics,
    tree: &Tree,
) {
    let (running, applied) = (Gauge::<i64>::default(), Gauge::<i64>::default());
    metrics.with_registry(|registry| {
        let help = "Replays of history that go on";
        registry.register("rc_replays_running", help, running.clone());
        let help = "Events that the newest replay of history has applied";
        registry.register("rc_replay_applied_events", help, applied.clone());
    });
    let stopping = tree.stopping();
    tree.spawn(format!("{service}/replays-watch"), async move {
        loop {
            if let Some(consumer) = consumer()
                && let Ok(jobs) = consumer.jobs().await
            {
                let going_on = jobs.iter().filter(|job| job.state == JobState::Running).count();
                running.set(i64::try_from(going_on).unwrap_or(i64::MAX));
                let newest = jobs
                    .iter()
                    .max_by_key(|job| job.number)
                    .map_or(0, |job| job.applied);
                applied.set(i64::try_from(newest).unwrap_or(i64::MAX));
            }
            let pause = tokio::time::sleep(COUNT_EVERY);
            if stopping.run_until_cancelled(pause).await.is_none() {
                return;
            }
        }
    });
}

/// Shows in `/metrics` the replication slots that `look` finds, and says once when nothing bounds what they hold
/// back of the server's log.
pub fn slots<F, L>(look: L, metrics: &Metrics, tree: &Tree)
where
    L: Fn() -> F + Send + 'static,
    F: Future<Output = Result<Vec<SlotHealth>, rc_events::Error>> + Send + 'static,
{
    let (retained, usable) = (Gauge::<i64>::default(), Gauge::<i64>::default());
    metrics.with_registry(|registry| {
        let help = "Bytes of the server's log that the replication slots hold back";
        registry.register("rc_slot_retained_bytes", help, retained.clone());
        let help = "Replication slots that can still be read";
        registry.register("rc_slot_usable", help, usable.clone());
    });
    let stopping = tree.stopping();
    tree.spawn("slots-watch", async move {
        let mut warned = false;
        loop {
            if let Ok(Ok(slots)) = tokio::time::timeout(PROBE_TIMEOUT, look()).await {
                let bytes: u64 = slots.iter().map(|slot| slot.retained_bytes).sum();
                retained.set(i64::try_from(bytes).unwrap_or(i64::MAX));
                let ready = slots.iter().filter(|slot| slot.usable()).count();
                usable.set(i64::try_from(ready).unwrap_or(i64::MAX));
                if let (false, Some(slot)) = (warned, slots.iter().find(|slot| slot.unbounded)) {
                    tracing::warn!(
                        slot = slot.name,
                        "`max_slot_wal_keep_size` is not set: while nobody reads it, the slot fills the server's disk"
                    );
                    warned = true;
                }
            }
            let pause = tokio::time::sleep(COUNT_EVERY);
            if stopping.run_until_cancelled(pause).await.is_none() {
                return;
            }
        }
    });
}
