//! How far a rebuild is, for whoever asks.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use rc_events::Seq;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::record::{Building, Ended, Slot};

/// How far a rebuild is. Written by its task, read by whoever asks.
#[derive(Debug)]
pub(super) struct Gauge {
    began: Instant,
    /// Where this process found it; -1 before it has looked.
    from: AtomicI64,
    position: AtomicI64,
    tail: AtomicI64,
    pub(super) taken_over: AtomicU64,
}

impl Gauge {
    pub(super) fn new() -> Self {
        Self {
            began: Instant::now(),
            from: AtomicI64::new(-1),
            position: AtomicI64::new(0),
            tail: AtomicI64::new(0),
            taken_over: AtomicU64::new(0),
        }
    }

    pub(super) fn at(&self, position: Seq, tail: Seq) {
        // Neither is known before the first: whoever comes second changes nothing.
        let _ = self
            .from
            .compare_exchange(-1, position, Ordering::Relaxed, Ordering::Relaxed);
        self.position.store(position, Ordering::Relaxed);
        self.tail.store(tail, Ordering::Relaxed);
    }
}

/// Which generation serves, and how far the next one is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StatusLine {
    pub consumer: String,
    /// Where what serves is: `a` or `b`.
    pub serving: Slot,
    pub building: Option<BuildingLine>,
    pub last: Option<Ended>,
}

/// A rebuild that goes on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BuildingLine {
    #[serde(flatten)]
    pub building: Building,
    /// Events that it has read, of those that there are.
    pub done: u64,
    pub total: u64,
    /// Events a second since it began, or since the service started; absent before that is known.
    pub rate: Option<f64>,
    /// Seconds that the rest takes at this rate.
    pub left_s: Option<u64>,
}

/// A rebuild as its gauge has it; without one nobody works on it in this process.
pub(super) fn line(building: Building, gauge: Option<&Gauge>) -> BuildingLine {
    let events = |from: Seq, to: Seq| to.saturating_sub(from).max(0).cast_unsigned();
    let (mut done, mut total, mut rate) = (0, 0, None);
    if let Some(gauge) = gauge {
        let (position, tail) = (
            gauge.position.load(Ordering::Relaxed),
            gauge.tail.load(Ordering::Relaxed),
        );
        let from = gauge.from.load(Ordering::Relaxed);
        (done, total) = (events(building.first, position), events(building.first, tail));
        let seconds = gauge.began.elapsed().as_secs_f64();
        let here = events(from, position);
        rate = (from >= 0 && here > 0 && seconds > 0.0).then(|| here as f64 / seconds);
    }
    BuildingLine {
        building,
        done,
        total,
        rate,
        left_s: rate.map(|rate| (total.saturating_sub(done) as f64 / rate).ceil() as u64),
    }
}
