//! Exact counts and durations by service, route, method, tier and status class.
//!
//! Each worker writes only its own shard, with plain loads and stores, so that the data path takes no
//! lock and no contended cache line; a scrape adds the shards up.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use rc_serve::metrics::DURATION_BUCKETS;

use crate::exemplar::{self, Exemplar, Exemplars};
use crate::path::{METHOD_COUNT, method_name};

pub(crate) use cache::NamedCache;
pub(crate) use rates::RateCounts;
pub(crate) use resilience::{Trial, TrialCounts, Watched};
pub(crate) use seats::{NamedPool, SeatCounts, Waits};

mod cache;
mod rates;
mod resilience;
mod seats;

/// Status classes: `1xx` to `5xx`, and requests whose client left before the answer.
const CLASSES: [&str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", "gone"];
/// The last row counts methods that the gateway does not carry.
const METHOD_ROWS: usize = METHOD_COUNT + 1;
pub(crate) const BUCKETS: usize = DURATION_BUCKETS.len();

/// Stands for "the client left" where a status is expected (the number nginx uses).
pub(crate) const STATUS_CLIENT_GONE: u16 = 499;

/// What a series counts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SeriesKey {
    pub(crate) service: String,
    pub(crate) route: String,
    pub(crate) tier: String,
}

impl SeriesKey {
    fn labels(&self) -> [(&'static str, &str); 3] {
        [
            ("service", self.service.as_str()),
            ("route", self.route.as_str()),
            ("tier", self.tier.as_str()),
        ]
    }
}

/// One series, a shard for each worker.
#[derive(Debug)]
pub(crate) struct Series {
    shards: Box<[Shard]>,
}

/// Owned by one worker for writing. Two cache lines apart from its neighbours (adjacent-line prefetch).
#[derive(Debug)]
#[repr(align(128))]
struct Shard {
    requests: [[AtomicU64; CLASSES.len()]; METHOD_ROWS],
    buckets: [AtomicU64; BUCKETS + 1],
    sum_ns: AtomicU64,
    seats: SeatCounts,
    trials: TrialCounts,
    rates: RateCounts,
    /// Made by the first traced request: most series of a large catalogue never have one.
    exemplars: OnceLock<Box<Exemplars>>,
}

/// Events of one worker. Owned by that worker for writing.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct WorkerCounters {
    pub(crate) connections: AtomicU64,
    pub(crate) connections_open: AtomicU64,
    pub(crate) connections_refused: AtomicU64,
    pub(crate) handshake_failures: AtomicU64,
    pub(crate) handshakes_refused: AtomicU64,
    pub(crate) floods: AtomicU64,
    pub(crate) malformed: AtomicU64,
    pub(crate) rate_limited: AtomicU64,
    pub(crate) upstream_connects: AtomicU64,
    pub(crate) upstream_reuses: AtomicU64,
    pub(crate) upstream_failures: AtomicU64,
    pub(crate) upstream_retries: AtomicU64,
    pub(crate) panics: AtomicU64,
}

/// All metrics of a gateway.
#[derive(Debug)]
pub(crate) struct TrafficMetrics {
    /// Touched when a snapshot is installed and by scrapes, never by requests.
    series: Mutex<BTreeMap<SeriesKey, Arc<Series>>>,
    pub(crate) workers: Box<[WorkerCounters]>,
    /// The pools of the snapshot in use.
    pub(crate) pools: Mutex<Vec<NamedPool>>,
    /// The caches of the snapshot in use.
    pub(crate) caches: Mutex<Vec<NamedCache>>,
    /// The services of the snapshot in use.
    pub(crate) watched: Mutex<Watched>,
    pub(crate) snapshot_version: AtomicU64,
    pub(crate) snapshot_installs: AtomicU64,
}

/// Adds to a cell that only the calling thread writes.
pub(crate) fn bump(cell: &AtomicU64) {
    add(cell, 1);
}

/// Adds `count` to a cell that only the calling thread writes.
pub(crate) fn add(cell: &AtomicU64, count: u64) {
    cell.store(
        cell.load(Ordering::Relaxed).wrapping_add(count),
        Ordering::Relaxed,
    );
}

impl TrafficMetrics {
    pub(crate) fn new(workers: usize) -> Self {
        Self {
            series: Mutex::default(),
            workers: (0..workers).map(|_| WorkerCounters::default()).collect(),
            pools: Mutex::default(),
            caches: Mutex::default(),
            watched: Mutex::default(),
            snapshot_version: AtomicU64::new(0),
            snapshot_installs: AtomicU64::new(0),
        }
    }

    /// The series of `key`; the same one for the same key for as long as the gateway lives, so that a
    /// counter never goes back when routes change.
    pub(crate) fn series(&self, key: SeriesKey) -> Arc<Series> {
        let mut series = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(
            series
                .entry(key)
                .or_insert_with(|| Arc::new(Series::new(self.workers.len()))),
        )
    }

    /// `text` with an example on each line of a bucket that has one.
    pub(crate) fn with_exemplars(&self, text: &str) -> String {
        let mut known = HashMap::new();
        for (key, series) in &*self.series.lock().unwrap_or_else(PoisonError::into_inner) {
            let buckets: Vec<Option<Exemplar>> = (0..=BUCKETS).map(|at| series.exemplar(at)).collect();
            if buckets.iter().any(Option::is_some) {
                known.insert(exemplar::labels(&key.service, &key.route, &key.tier), buckets);
            }
        }
        exemplar::annotate(text, &known)
    }
}

impl Series {
    fn new(workers: usize) -> Self {
        Self {
            shards: (0..workers).map(|_| Shard::new()).collect(),
        }
    }

    /// Counts one finished request. `method` is its place in the method table, if it has one.
    pub(crate) fn record(&self, worker: usize, method: Option<usize>, status: u16, took_ns: u64) {
        let shard = &self.shards[worker];
        let class = match status {
            STATUS_CLIENT_GONE => CLASSES.len() - 1,
            _ => usize::from(status / 100).clamp(1, 5) - 1,
        };
        bump(&shard.requests[method.unwrap_or(METHOD_COUNT)][class]);
        bump(&shard.buckets[bucket(took_ns)]);
        add(&shard.sum_ns, took_ns);
    }

    /// Remembers a traced request as the example of its bucket.
    pub(crate) fn exemplify(&self, worker: usize, exemplar: Exemplar) {
        let exemplars = self.shards[worker].exemplars.get_or_init(Box::default);
        exemplars.set(bucket(exemplar.took_ns), exemplar);
    }

    /// What `worker` counts about seats.
    pub(crate) fn seats(&self, worker: usize) -> &SeatCounts {
        &self.shards[worker].seats
    }

    /// What `worker` counts about rates.
    pub(crate) fn rates(&self, worker: usize) -> &RateCounts {
        &self.shards[worker].rates
    }

    /// What `worker` counts about services that fail.
    pub(crate) fn trials(&self, worker: usize) -> &TrialCounts {
        &self.shards[worker].trials
    }

    fn all_seats(&self) -> impl Iterator<Item = &SeatCounts> {
        self.shards.iter().map(|shard| &shard.seats)
    }

    /// The newest example of a bucket, whichever worker had it.
    fn exemplar(&self, bucket: usize) -> Option<Exemplar> {
        let all = self
            .shards
            .iter()
            .filter_map(|shard| shard.exemplars.get()?.get(bucket));
        all.max_by_key(|exemplar| exemplar.at_ms)
    }

    fn requests(&self, method: usize, class: usize) -> u64 {
        self.total(|shard| &shard.requests[method][class])
    }

    fn total(&self, cell: impl Fn(&Shard) -> &AtomicU64) -> u64 {
        self.shards
            .iter()
            .map(|shard| cell(shard).load(Ordering::Relaxed))
            .sum()
    }
}

impl Shard {
    fn new() -> Self {
        Self {
            requests: std::array::from_fn(|_| std::array::from_fn(|_| AtomicU64::new(0))),
            buckets: std::array::from_fn(|_| AtomicU64::new(0)),
            sum_ns: AtomicU64::new(0),
            seats: SeatCounts::default(),
            trials: TrialCounts::default(),
            rates: RateCounts::default(),
            exemplars: OnceLock::new(),
        }
    }
}

fn bucket(took_ns: u64) -> usize {
    let seconds = Duration::from_nanos(took_ns).as_secs_f64();
    DURATION_BUCKETS
        .iter()
        .position(|bound| seconds <= *bound)
        .unwrap_or(BUCKETS)
}

/// Gives the gateway's metrics to a [`prometheus_client::registry::Registry`].
pub(crate) struct TrafficCollector(pub(crate) Arc<TrafficMetrics>);

impl fmt::Debug for TrafficCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TrafficCollector")
    }
}

impl Collector for TrafficCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let series: Vec<(SeriesKey, Arc<Series>)> = {
            let series = self.0.series.lock().unwrap_or_else(PoisonError::into_inner);
            series
                .iter()
                .map(|(key, series)| (key.clone(), Arc::clone(series)))
                .collect()
        };
        self.encode_requests(&series, &mut encoder)?;
        encode_durations(&series, &mut encoder)?;
        let pools = self
            .0
            .pools
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        seats::encode(&series, &pools, &mut encoder)?;
        let caches = self
            .0
            .caches
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        cache::encode(&caches, &mut encoder)?;
        let watched = self
            .0
            .watched
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        resilience::encode(&series, &watched, &mut encoder)?;
        rates::encode(&series, &mut encoder)?;
        self.encode_workers(&mut encoder)?;
        let version = ConstGauge::new(
            i64::try_from(self.0.snapshot_version.load(Ordering::Relaxed)).unwrap_or(i64::MAX),
        );
        let help = "Version of the policy snapshot in use";
        version.encode(encoder.encode_descriptor(
            "rc_traffic_snapshot_version",
            help,
            None,
            MetricType::Gauge,
        )?)?;
        let installs = ConstCounter::new(self.0.snapshot_installs.load(Ordering::Relaxed));
        let help = "Policy snapshots installed";
        installs.encode(encoder.encode_descriptor(
            "rc_traffic_snapshot_installs",
            help,
            None,
            MetricType::Counter,
        )?)
    }
}

impl TrafficCollector {
    fn encode_requests(
        &self,
        series: &[(SeriesKey, Arc<Series>)],
        encoder: &mut DescriptorEncoder<'_>,
    ) -> Result<(), fmt::Error> {
        let mut family = encoder.encode_descriptor(
            "rc_traffic_requests",
            "Finished requests; status `gone` where the client left before its answer",
            None,
            MetricType::Counter,
        )?;
        for (key, series) in series {
            for method in 0..METHOD_ROWS {
                for (class, status) in CLASSES.iter().enumerate() {
                    let count = series.requests(method, class);
                    if count == 0 {
                        continue;
                    }
                    let name = if method == METHOD_COUNT {
                        "other"
                    } else {
                        method_name(method)
                    };
                    let labels = [
                        ("service", key.service.as_str()),
                        ("route", key.route.as_str()),
                        ("method", name),
                        ("tier", key.tier.as_str()),
                        ("status", status),
                    ];
                    ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
                }
            }
        }
        Ok(())
    }

    fn encode_workers(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        type Cell = fn(&WorkerCounters) -> &AtomicU64;
        let counters: [(&str, &str, Cell); 12] = [
            ("rc_traffic_connections", "Client connections accepted", |w| {
                &w.connections
            }),
            (
                "rc_traffic_connections_refused",
                "Client connections refused because a worker was full or their source had too many",
                |w| &w.connections_refused,
            ),
            (
                "rc_traffic_handshake_failures",
                "TLS handshakes that failed",
                |w| &w.handshake_failures,
            ),
            (
                "rc_traffic_handshakes_refused",
                "TLS handshakes refused because their source began too many",
                |w| &w.handshakes_refused,
            ),
            (
                "rc_traffic_floods",
                "HTTP/2 connections ended because of too many frames that carry nothing",
                |w| &w.floods,
            ),
            (
                "rc_traffic_malformed_requests",
                "Requests refused as malformed or ambiguous",
                |w| &w.malformed,
            ),
            (
                "rc_traffic_rate_limited",
                "Requests refused by a rate limit",
                |w| &w.rate_limited,
            ),
            (
                "rc_traffic_upstream_connects",
                "Connections opened to upstreams",
                |w| &w.upstream_connects,
            ),
            (
                "rc_traffic_upstream_reuses",
                "Requests sent on a kept upstream connection",
                |w| &w.upstream_reuses,
            ),
            (
                "rc_traffic_upstream_failures",
                "Exchanges that an upstream broke",
                |w| &w.upstream_failures,
            ),
            (
                "rc_traffic_upstream_retries",
                "Requests sent again after a kept connection was found closed",
                |w| &w.upstream_retries,
            ),
            (
                "rc_traffic_panics",
                "Connections and streams ended by a bug",
                |w| &w.panics,
            ),
        ];
        for (name, help, cell) in counters {
            let total = self
                .0
                .workers
                .iter()
                .map(|worker| cell(worker).load(Ordering::Relaxed))
                .sum::<u64>();
            ConstCounter::new(total).encode(encoder.encode_descriptor(
                name,
                help,
                None,
                MetricType::Counter,
            )?)?;
        }
        let open = self
            .0
            .workers
            .iter()
            .map(|worker| worker.connections_open.load(Ordering::Relaxed))
            .sum::<u64>();
        let gauge = ConstGauge::new(i64::try_from(open).unwrap_or(i64::MAX));
        let help = "Client connections that are open";
        gauge.encode(encoder.encode_descriptor(
            "rc_traffic_connections_open",
            help,
            None,
            MetricType::Gauge,
        )?)
    }
}

fn encode_durations(
    series: &[(SeriesKey, Arc<Series>)],
    encoder: &mut DescriptorEncoder<'_>,
) -> Result<(), fmt::Error> {
    let mut family = encoder.encode_descriptor(
        "rc_traffic_request_duration_seconds",
        "Time from a request's head to the end of its answer",
        None,
        MetricType::Histogram,
    )?;
    for (key, series) in series {
        let bounds = DURATION_BUCKETS.iter().copied().chain([f64::MAX]);
        let buckets: Vec<(f64, u64)> = bounds
            .enumerate()
            .map(|(at, bound)| (bound, series.total(|shard| &shard.buckets[at])))
            .collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        if count == 0 {
            continue;
        }
        let sum = Duration::from_nanos(series.total(|shard| &shard.sum_ns)).as_secs_f64();
        let labels = key.labels();
        let mut metric = family.encode_family(&labels)?;
        metric.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
