//! How long a service takes to begin its answers, by route and tier, as a streaming quantile.
//!
//! A log-linear histogram (an eighth of an octave a bucket, so a value is at most 12.5 % too high) whose weights halve
//! in a minute. Workers count into shards of their own, without locks and without shared cache lines, and once a second
//! each brings its shard. A request reads one number.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rc_model::resilience::AdaptiveTimeout;

use crate::metrics::SeriesKey;
use crate::snapshot::Snapshot;

/// Buckets of an octave, as a power of two.
const FINE: u32 = 3;
/// The first buckets are so many nanoseconds wide, as a power of two: 16 us.
const UNIT: u32 = 14;
/// Up to about two minutes; the last one holds all that is longer.
const BUCKETS: usize = 168;
/// Weights halve in so many seconds.
const HALF_LIFE_SECONDS: f32 = 60.0;
/// Samples before the quantile of one in a thousand is told, and that of one in twenty.
const P999_SAMPLES_MIN: f32 = 1_000.0;
const P95_SAMPLES_MIN: f32 = 100.0;

/// Shared by all workers.
#[derive(Debug)]
pub(crate) struct Latency {
    shards: Box<[Shard]>,
    merged: Mutex<Merged>,
    /// 0 as long as too little is known.
    p999_ns: AtomicU64,
    p95_ns: AtomicU64,
}

/// Owned by one worker for writing.
#[derive(Debug)]
#[repr(align(128))]
struct Shard([AtomicU32; BUCKETS]);

#[derive(Debug)]
struct Merged {
    weights: [f32; BUCKETS],
    second: u32,
}

/// Taken over from one snapshot to the next.
pub(crate) type KeptLatency = BTreeMap<SeriesKey, Arc<Latency>>;

impl Latency {
    pub(crate) fn new(workers: usize) -> Self {
        let shard = |_| Shard(std::array::from_fn(|_| AtomicU32::new(0)));
        Self {
            shards: (0..workers).map(shard).collect(),
            merged: Mutex::new(Merged {
                weights: [0.0; BUCKETS],
                second: 0,
            }),
            p999_ns: AtomicU64::new(0),
            p95_ns: AtomicU64::new(0),
        }
    }

    /// Counts one answer. Called by `worker` only.
    pub(crate) fn record(&self, worker: usize, ns: u64) {
        let cell = &self.shards[worker].0[bucket(ns)];
        cell.store(cell.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }

    /// Takes over what `worker` has counted. Called by that worker, once a second.
    pub(crate) fn absorb(&self, worker: usize, now_ns: u64) {
        let merged = &mut *self.merged.lock().unwrap_or_else(PoisonError::into_inner);
        let second = u32::try_from(now_ns / 1_000_000_000).unwrap_or(u32::MAX);
        let gone = second.saturating_sub(merged.second);
        let left = (-(gone as f32) / HALF_LIFE_SECONDS).exp2();
        merged.second = merged.second.max(second);
        let mut total = 0.0;
        for (weight, cell) in merged.weights.iter_mut().zip(&self.shards[worker].0) {
            let count = cell.load(Ordering::Relaxed);
            if count > 0 {
                cell.store(0, Ordering::Relaxed);
            }
            *weight = *weight * left + count as f32;
            total += *weight;
        }
        let told = |least: f32, part: f32| match total >= least {
            true => quantile_ns(&merged.weights, total * part),
            false => 0,
        };
        self.p999_ns
            .store(told(P999_SAMPLES_MIN, 0.001), Ordering::Relaxed);
        self.p95_ns.store(told(P95_SAMPLES_MIN, 0.05), Ordering::Relaxed);
    }

    /// How long a request may take until its answer begins. `None` while too little is known.
    pub(crate) fn limit(&self, rule: &AdaptiveTimeout) -> Option<Duration> {
        let usual = Duration::from_nanos(known(&self.p999_ns)?);
        Some(usual.mul_f64(rule.factor).max(rule.min.duration()))
    }

    /// The time that one in a thousand passes.
    pub(crate) fn p999(&self) -> Option<Duration> {
        known(&self.p999_ns).map(Duration::from_nanos)
    }

    /// The time that one in twenty passes.
    pub(crate) fn p95(&self) -> Option<Duration> {
        known(&self.p95_ns).map(Duration::from_nanos)
    }
}

/// One for each route and tier of `snapshot` that needs one, by route, then tier.
pub(crate) fn join(snapshot: &Snapshot, kept: &mut KeptLatency, workers: usize) -> Vec<Option<Arc<Latency>>> {
    let mut adaptive = vec![false; snapshot.tiers.len()];
    for tenant in &snapshot.tenants {
        adaptive[tenant.tier] |= tenant.adaptive.is_some();
    }
    let mut all = Vec::with_capacity(snapshot.routes.len() * adaptive.len());
    let mut known = KeptLatency::new();
    for route in &snapshot.routes {
        for (tier, adaptive) in snapshot.tiers.iter().zip(&adaptive) {
            if !adaptive && route.hedge.is_none() {
                all.push(None);
                continue;
            }
            let key = SeriesKey {
                service: snapshot.upstreams[route.upstream].service.to_string(),
                route: route.path.clone(),
                tier: tier.clone(),
            };
            let latency = match known.get(&key).or_else(|| kept.get(&key)) {
                Some(latency) => Arc::clone(latency),
                None => Arc::new(Latency::new(workers)),
            };
            known.insert(key, Arc::clone(&latency));
            all.push(Some(latency));
        }
    }
    *kept = known;
    all
}

fn known(cell: &AtomicU64) -> Option<u64> {
    Some(cell.load(Ordering::Relaxed)).filter(|ns| *ns > 0)
}

fn bucket(ns: u64) -> usize {
    let units = ns >> UNIT;
    let at = match units.checked_ilog2() {
        Some(octave) if octave >= FINE => {
            let within = (units >> (octave - FINE)) & ((1 << FINE) - 1);
            (u64::from(octave - FINE + 1) << FINE) + within
        }
        _ => units,
    };
    usize::try_from(at).unwrap_or(usize::MAX).min(BUCKETS - 1)
}

/// The first time that is too long for bucket `at`.
fn bound_ns(at: usize) -> u64 {
    let at = at as u64;
    let (octave, within) = (at >> FINE, at & ((1 << FINE) - 1));
    let units = match octave {
        0 => within + 1,
        _ => (within + 1 + (1 << FINE)) << (octave - 1),
    };
    units << UNIT
}

/// The least bound above which lies a weight of at most `above`.
fn quantile_ns(weights: &[f32; BUCKETS], above: f32) -> u64 {
    let mut beyond = 0.0;
    for (at, weight) in weights.iter().enumerate().rev() {
        beyond += weight;
        if beyond > above {
            return bound_ns(at);
        }
    }
    0
}

#[cfg(test)]
mod tests;
