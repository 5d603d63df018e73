//! Examples of how long requests took: the newest trace of each bucket, for the OpenMetrics text.
//!
//! Each worker writes only its own cells, with plain stores between two stores of a version; whoever reads
//! while it writes sees that, and leaves the example out.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use crate::metrics::BUCKETS;

/// The series whose buckets have examples.
const FAMILY: &str = "rc_traffic_request_duration_seconds_bucket{le=\"";

/// One request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exemplar {
    pub(crate) trace_id: u128,
    pub(crate) took_ns: u64,
    /// When it ended, in milliseconds since the Unix epoch.
    pub(crate) at_ms: u64,
}

/// One for each bucket, the last bucket without a bound included. Owned by one worker for writing.
#[derive(Debug, Default)]
pub(crate) struct Exemplars([Cell; BUCKETS + 1]);

#[derive(Debug, Default)]
struct Cell {
    /// Odd while the worker writes; 0 before the first time.
    version: AtomicU64,
    trace_high: AtomicU64,
    trace_low: AtomicU64,
    took_ns: AtomicU64,
    at_ms: AtomicU64,
}

impl Exemplars {
    /// Puts an example in its place. Called by the owner only.
    pub(crate) fn set(&self, bucket: usize, exemplar: Exemplar) {
        let cell = &self.0[bucket];
        let version = cell.version.load(Ordering::Relaxed);
        cell.version.store(version.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release);
        let (high, low) = halves(exemplar.trace_id);
        cell.trace_high.store(high, Ordering::Relaxed);
        cell.trace_low.store(low, Ordering::Relaxed);
        cell.took_ns.store(exemplar.took_ns, Ordering::Relaxed);
        cell.at_ms.store(exemplar.at_ms, Ordering::Relaxed);
        cell.version.store(version.wrapping_add(2), Ordering::Release);
    }

    /// The example of a bucket; `None` also when it is just being written.
    pub(crate) fn get(&self, bucket: usize) -> Option<Exemplar> {
        let cell = &self.0[bucket];
        let version = cell.version.load(Ordering::Acquire);
        if version == 0 || !version.is_multiple_of(2) {
            return None;
        }
        let high = cell.trace_high.load(Ordering::Relaxed);
        let low = cell.trace_low.load(Ordering::Relaxed);
        let exemplar = Exemplar {
            trace_id: (u128::from(high) << 64) | u128::from(low),
            took_ns: cell.took_ns.load(Ordering::Relaxed),
            at_ms: cell.at_ms.load(Ordering::Relaxed),
        };
        fence(Ordering::Acquire);
        (cell.version.load(Ordering::Relaxed) == version).then_some(exemplar)
    }
}

fn halves(trace_id: u128) -> (u64, u64) {
    let low = u64::try_from(trace_id & u128::from(u64::MAX)).unwrap_or(u64::MAX);
    let high = u64::try_from(trace_id >> 64).unwrap_or(u64::MAX);
    (high, low)
}

/// The labels of a series as they stand behind `le`.
pub(crate) fn labels(service: &str, route: &str, tier: &str) -> String {
    format!("service=\"{service}\",route=\"{route}\",tier=\"{tier}\"")
}

/// Adds examples to the bucket lines of OpenMetrics text. The library that writes the text has them only
/// with a histogram of its own, behind a lock. `known` gives for the labels of a series its buckets.
pub(crate) fn annotate(text: &str, known: &HashMap<String, Vec<Option<Exemplar>>>) -> String {
    let mut out = String::with_capacity(text.len() + known.len() * 128);
    // The buckets of a series stand together, in order.
    let (mut series, mut bucket) = ("", 0);
    for line in text.split_inclusive('\n') {
        let labels = line
            .strip_prefix(FAMILY)
            .and_then(|rest| rest.split_once("\","))
            .and_then(|(_, rest)| rest.split_once("} "));
        let Some((labels, _)) = labels else {
            out.push_str(line);
            continue;
        };
        if labels != series {
            (series, bucket) = (labels, 0);
        }
        let exemplar = known.get(labels).and_then(|buckets| *buckets.get(bucket)?);
        bucket += 1;
        let Some(Exemplar {
            trace_id,
            took_ns,
            at_ms,
        }) = exemplar
        else {
            out.push_str(line);
            continue;
        };
        out.push_str(line.trim_end_matches('\n'));
        let (took, at) = (took_ns as f64 / 1e9, at_ms as f64 / 1e3);
        let _infallible = writeln!(out, " # {{trace_id=\"{trace_id:032x}\"}} {took} {at:.3}");
    }
    out
}

#[cfg(test)]
mod tests;
