//! How many calls to keep under way: additive increase, multiplicative decrease.
//!
//! Pure: time comes in as an argument.

use std::time::Duration;

/// A refusal or a slow answer takes this share of the limit away.
const DECREASE: f64 = 0.7;

/// An answer this many times slower than the best of late counts as a queue growing on the other side.
const SLOW_FACTOR: f64 = 3.0;

/// Below this, latency is noise of the scheduler and not a queue.
const SLOW_FLOOR: Duration = Duration::from_millis(250);

/// The best latency ages by this share with every answer, so that one lucky answer does not rule for good.
const BEST_AGES: f64 = 1.01;

/// The AIMD limit on calls under way, from latency and refusals.
#[derive(Debug, Clone)]
pub struct Aimd {
    limit: f64,
    max: f64,
    best: Option<Duration>,
    calm_until_ns: u64,
}

impl Aimd {
    /// Starts at 2 calls (or `max`, when that is less) and goes up to `max`.
    #[must_use]
    pub fn new(max: usize) -> Self {
        #[expect(
            clippy::cast_precision_loss,
            reason = "a count of connections is far below 2^52"
        )]
        let max = max.max(1) as f64;
        Self {
            limit: max.min(2.0),
            max,
            best: None,
            calm_until_ns: 0,
        }
    }

    /// Calls that may be under way now, at least 1.
    #[must_use]
    pub fn limit(&self) -> usize {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the limit is in 1..=max"
        )]
        let whole = self.limit as usize;
        whole.max(1)
    }

    /// Learns from an answer that took `latency`, with `in_flight` calls under way when it came.
    pub fn answered(&mut self, now_ns: u64, latency: Duration, in_flight: usize) {
        let best = self
            .best
            .map_or(latency, |best| best.mul_f64(BEST_AGES).min(latency));
        self.best = Some(best);
        if latency > SLOW_FLOOR && latency > best.mul_f64(SLOW_FACTOR) {
            self.decrease(now_ns, latency);
        } else if in_flight >= self.limit() {
            // Only a limit that is used can be too low.
            self.limit = (self.limit + 1.0 / self.limit).min(self.max);
        }
    }

    /// Learns that the platform refused (429, 503) or the connection broke.
    pub fn refused(&mut self, now_ns: u64) {
        self.decrease(now_ns, self.best.unwrap_or(SLOW_FLOOR));
    }

    /// One decrease a round trip: answers already under way tell of the same trouble.
    fn decrease(&mut self, now_ns: u64, round_trip: Duration) {
        if now_ns < self.calm_until_ns {
            return;
        }
        self.limit = (self.limit * DECREASE).max(1.0);
        self.calm_until_ns = now_ns.saturating_add(u64::try_from(round_trip.as_nanos()).unwrap_or(u64::MAX));
    }
}

#[cfg(test)]
mod tests;
