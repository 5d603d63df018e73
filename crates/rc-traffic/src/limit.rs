//! Rates, enforced exactly: GCRA (the virtual scheduling form of ITU-T I.371) on one 64-bit word.
//!
//! A [`Gcra`] is the rule and has no state. A [`Tat`] is the state: the theoretical arrival time of the
//! next request, in monotonic nanoseconds, changed by compare-and-swap so that all workers share it
//! without a lock. In any window of `t` seconds at most `rate * t + burst` requests are admitted.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rc_model::tenants::RateLimit;

pub(crate) use colour::{Colour, Meter, MeterState};

mod colour;

/// The rule: one request every `interval`, `burst` at once after a rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gcra {
    interval_ns: u64,
    /// How far ahead of now the arrival time may be before a request is refused: `(burst - 1) * interval`.
    tolerance_ns: u64,
    burst: u64,
    limit: RateLimit,
}

/// The state of one limit. Zero is a full allowance.
#[derive(Debug, Default)]
pub struct Tat(AtomicU64);

/// The answer to one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Go. `remaining` more may follow at once; the allowance is full again after `reset_ns`.
    Admit { remaining: u64, reset_ns: u64 },
    /// Not now; the next one is admitted after `wait_ns`.
    Refuse { wait_ns: u64 },
}

impl Gcra {
    /// The rule for `limit`.
    #[must_use]
    pub fn new(limit: RateLimit) -> Self {
        let burst = limit.burst().max(1);
        // Rounded up, so that a period that the count does not divide never admits one too many.
        let interval = limit
            .rate
            .period()
            .as_nanos()
            .div_ceil(u128::from(limit.rate.count().max(1)));
        let interval_ns = u64::try_from(interval).unwrap_or(u64::MAX).max(1);
        Self {
            interval_ns,
            tolerance_ns: interval_ns.saturating_mul(burst - 1),
            burst,
            limit,
        }
    }

    /// The limit it was made from.
    #[must_use]
    pub fn limit(&self) -> RateLimit {
        self.limit
    }

    /// Requests that are admitted at once after a rest.
    #[must_use]
    pub fn burst(&self) -> u64 {
        self.burst
    }

    /// Time in which an empty allowance fills up.
    #[must_use]
    pub fn window(&self) -> Duration {
        Duration::from_nanos(self.window_ns())
    }

    fn window_ns(&self) -> u64 {
        self.tolerance_ns.saturating_add(self.interval_ns)
    }

    /// How long a request at `now_ns` would have to wait when the next one is due at `arrival_ns`.
    fn wait_ns(&self, arrival_ns: u64, now_ns: u64) -> u64 {
        arrival_ns
            .saturating_sub(now_ns)
            .saturating_sub(self.tolerance_ns)
    }

    /// What [`Self::check`] would say at `now_ns`, taking nothing.
    #[must_use]
    pub(crate) fn peek(&self, state: &Tat, now_ns: u64) -> Verdict {
        let ahead_ns = state.0.load(Ordering::Relaxed).saturating_sub(now_ns);
        match ahead_ns.checked_sub(self.tolerance_ns) {
            Some(wait_ns) if wait_ns > 0 => Verdict::Refuse { wait_ns },
            _ => Verdict::Admit {
                remaining: (self.tolerance_ns - ahead_ns.min(self.tolerance_ns)) / self.interval_ns + 1,
                reset_ns: ahead_ns,
            },
        }
    }

    /// Decides one request at `now_ns` and takes its share when it is admitted.
    #[must_use]
    pub fn check(&self, state: &Tat, now_ns: u64) -> Verdict {
        let mut seen = state.0.load(Ordering::Relaxed);
        loop {
            let wait_ns = self.wait_ns(seen, now_ns);
            if wait_ns > 0 {
                return Verdict::Refuse { wait_ns };
            }
            let ahead_ns = seen.saturating_sub(now_ns);
            let next = now_ns.saturating_add(ahead_ns).saturating_add(self.interval_ns);
            match state
                .0
                .compare_exchange_weak(seen, next, Ordering::Relaxed, Ordering::Relaxed)
            {
                Ok(_) => {
                    return Verdict::Admit {
                        remaining: (self.tolerance_ns - ahead_ns) / self.interval_ns,
                        reset_ns: ahead_ns + self.interval_ns,
                    };
                }
                Err(changed) => seen = changed,
            }
        }
    }
}

impl Tat {
    /// Fits the state to a changed rule: what was used stays used, but nobody waits longer than the new
    /// rule's whole window.
    pub(crate) fn clamp(&self, rule: &Gcra, now_ns: u64) {
        self.0
            .fetch_min(now_ns.saturating_add(rule.window_ns()), Ordering::Relaxed);
    }

    /// When the allowance is full again.
    fn arrival_ns(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// States of many sources in a table of fixed size. Sources are told apart by a keyed hash; two that
/// collide share one allowance. Nothing is ever evicted, so nobody gets a full allowance by being
/// forgotten.
#[derive(Debug)]
pub(crate) struct SourceTable {
    cells: Box<[Tat]>,
    key: std::collections::hash_map::RandomState,
}

/// Cells of a [`SourceTable`]: 32 KiB.
pub(crate) const SOURCE_CELLS: usize = 4_096;

impl SourceTable {
    pub(crate) fn new() -> Self {
        Self {
            cells: (0..SOURCE_CELLS).map(|_| Tat::default()).collect(),
            key: std::collections::hash_map::RandomState::new(),
        }
    }

    /// The state of `source`.
    pub(crate) fn cell(&self, source: std::net::IpAddr) -> &Tat {
        &self.cells[self.place(source)]
    }

    /// Where `source` is among [`SOURCE_CELLS`]. IPv6 addresses count by their /64, which one host has to itself.
    pub(crate) fn place(&self, source: std::net::IpAddr) -> usize {
        use std::hash::BuildHasher as _;
        let hash = match source.to_canonical() {
            std::net::IpAddr::V4(address) => self.key.hash_one(address.octets()),
            std::net::IpAddr::V6(address) => self.key.hash_one(&address.octets()[..8]),
        };
        usize::try_from(hash % SOURCE_CELLS as u64).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
