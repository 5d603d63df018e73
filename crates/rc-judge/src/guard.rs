//! The absolute guard: a canary that fails every request is out at once, before any second is closed.

use crate::sample::{Finished, Tally};

/// A run of failures of the canary without one success.
///
/// It is no e-value, and needs none: where a part `p` of the requests fails, a run of `k` comes once in more than
/// `(1 / p)^k` requests. With the default of 20 and one failure in ten that is 10^20.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Guard {
    failures: u64,
    /// What the stable arm did in the same time.
    stable: Tally,
}

impl Guard {
    /// Takes what ended since the last time; whether the canary has failed `failures_min` requests in a row or more,
    /// while the stable arm served most of its own.
    pub fn observe(&mut self, finished: &Finished, failures_min: u64) -> bool {
        let Finished { stable, canary } = finished;
        if canary.bad < canary.requests {
            *self = Self::default();
            return false;
        }
        self.failures = self.failures.saturating_add(canary.bad);
        if self.failures > 0 {
            self.stable.add(*stable);
        }
        // An arm that fails half of its requests is no measure for the other one.
        let measured = self.stable.bad.saturating_mul(2) <= self.stable.requests;
        self.failures >= failures_min && measured
    }
}

#[cfg(test)]
mod tests;
