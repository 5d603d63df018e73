//! What the runs of one statement took, all of them since the store was opened.
//!
//! Times go into buckets that grow by a sixteenth, so that a profile of any length has one size, and a quantile
//! is at most 6 % too high.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::Ended;

/// Buckets in each doubling of time: 2^4.
const STEP_BITS: u32 = 4;

/// Times below 2^10 ns are one bucket: the clock's own cost is in there.
const FLOOR_BITS: u32 = 10;

/// Doublings above that; what is longer than a minute is in the last bucket.
const DOUBLINGS: u32 = 26;

const BUCKETS: usize = 1 + ((DOUBLINGS as usize) << STEP_BITS);

/// Sums over all runs of a statement, on whatever thread they were.
#[derive(Debug)]
pub(crate) struct Tally {
    calls: AtomicU64,
    rows: AtomicU64,
    errors: AtomicU64,
    busy_ns: AtomicU64,
    max_ns: AtomicU64,
    /// How many runs took how long.
    times: [AtomicU64; BUCKETS],
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            calls: AtomicU64::new(0),
            rows: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            busy_ns: AtomicU64::new(0),
            max_ns: AtomicU64::new(0),
            times: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }
}

impl Tally {
    /// A run has ended.
    pub(crate) fn add(&self, ended: &Ended) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.rows.fetch_add(ended.rows, Ordering::Relaxed);
        if ended.error.is_some() {
            self.errors.fetch_add(1, Ordering::Relaxed);
        }
        if let Some((runs, took_ns)) = ended.timed {
            self.busy_ns.fetch_add(took_ns * runs, Ordering::Relaxed);
            self.max_ns.fetch_max(took_ns, Ordering::Relaxed);
            self.times[bucket(took_ns)].fetch_add(runs, Ordering::Relaxed);
        }
    }
}

/// Tallies of one shape together.
pub(crate) struct Sum {
    pub(crate) calls: u64,
    pub(crate) rows: u64,
    pub(crate) errors: u64,
    pub(crate) busy: Duration,
    pub(crate) max: Duration,
    times: [u64; BUCKETS],
}

impl Sum {
    pub(crate) const fn new() -> Self {
        Self {
            calls: 0,
            rows: 0,
            errors: 0,
            busy: Duration::ZERO,
            max: Duration::ZERO,
            times: [0; BUCKETS],
        }
    }

    pub(crate) fn add(&mut self, tally: &Tally) {
        let read = |number: &AtomicU64| number.load(Ordering::Relaxed);
        self.calls += read(&tally.calls);
        self.rows += read(&tally.rows);
        self.errors += read(&tally.errors);
        self.busy += Duration::from_nanos(read(&tally.busy_ns));
        self.max = self.max.max(Duration::from_nanos(read(&tally.max_ns)));
        for (sum, time) in self.times.iter_mut().zip(&tally.times) {
            *sum += read(time);
        }
    }

    /// The time that `per_mille` of a thousand runs did not exceed.
    pub(crate) fn quantile(&self, per_mille: u64) -> Duration {
        let timed: u64 = self.times.iter().sum();
        let wanted = timed.saturating_mul(per_mille).div_ceil(1_000).max(1);
        let mut seen = 0;
        for (bucket, runs) in self.times.iter().enumerate() {
            seen += runs;
            if seen >= wanted {
                return Duration::from_nanos(end_of(bucket)).min(self.max);
            }
        }
        self.max
    }
}

fn bucket(ns: u64) -> usize {
    let doubling = ns.max(1).ilog2();
    if doubling < FLOOR_BITS {
        return 0;
    }
    let step = (ns >> (doubling - STEP_BITS)) & ((1 << STEP_BITS) - 1);
    let step = usize::try_from(step).unwrap_or(0);
    let doublings = (doubling - FLOOR_BITS) as usize;
    (1 + (doublings << STEP_BITS) + step).min(BUCKETS - 1)
}

/// The first time that is behind a bucket.
fn end_of(bucket: usize) -> u64 {
    let Some(index) = bucket.checked_sub(1) else {
        return 1 << FLOOR_BITS;
    };
    let (doublings, step) = (index >> STEP_BITS, index & ((1 << STEP_BITS) - 1));
    ((1 << STEP_BITS) + step as u64 + 1) << (FLOOR_BITS as usize - STEP_BITS as usize + doublings)
}

#[cfg(test)]
mod tests;
