//! A tenant's rate in three colours (the single rate marker of RFC 2697): green is its committed rate with its burst,
//! yellow what it saved up while it stayed below its rate, red the rest.
//!
//! Saved requests are an excess bucket that fills with what the committed one has no room for. Both together are
//! again a GCRA, with the same interval and the burst and the credits as its allowance: every green *and* every yellow
//! request moves its arrival time on by one interval, and time that passes while the committed bucket is full is exactly
//! what is left over. So the state is two arrival times and no lock. How far the second is ahead of the first is what
//! the bank lacks.
//!
//! In any window of `t` seconds at most `rate * t + burst` requests are green, and at most `rate * t + burst + credits`
//! are green or yellow, however many workers share the state: each bound is a compare-and-swap of its own, and the one
//! of all requests comes first.

use std::sync::atomic::{AtomicU64, Ordering};

use rc_model::tenants::RateLimit;

use super::{Gcra, Tat, Verdict};

/// The rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Meter {
    committed: Gcra,
    /// Time in which an empty bank fills up; zero without credits.
    credit_ns: u64,
}

/// The state of one [`Meter`]. Made as a tenant's that has rested: with its whole burst and all its credits.
#[derive(Debug, Default)]
pub(crate) struct MeterState {
    committed: Tat,
    /// Arrival time of green and yellow requests together. Not kept while there are no credits.
    all: AtomicU64,
}

/// How one request stands to its tenant's rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Colour {
    /// Within the committed rate. `remaining` more may follow at once; the burst is full again after `reset_ns`.
    Green { remaining: u64, reset_ns: u64 },
    /// From what was saved, and only as long as its service has room; the next green one is due after `wait_ns`.
    Yellow { wait_ns: u64 },
    /// Over both, or over the first while there is no room; the next green one is due after `wait_ns`.
    Red { wait_ns: u64 },
}

impl Meter {
    pub(crate) fn new(limit: RateLimit) -> Self {
        let committed = Gcra::new(limit);
        Self {
            committed,
            credit_ns: committed.interval_ns.saturating_mul(limit.credits),
        }
    }

    /// What clients are told: the committed rate is all that is promised.
    pub(crate) fn committed(&self) -> &Gcra {
        &self.committed
    }

    /// Decides one request at `now_ns`, and takes its share unless it is red. `slack` says whether the service has
    /// room to lend; it is asked only when the request is not green.
    pub(crate) fn check(&self, state: &MeterState, now_ns: u64, slack: impl FnOnce() -> bool) -> Colour {
        if self.credit_ns == 0 {
            return match self.committed.check(&state.committed, now_ns) {
                Verdict::Admit { remaining, reset_ns } => Colour::Green { remaining, reset_ns },
                Verdict::Refuse { wait_ns } => Colour::Red { wait_ns },
            };
        }
        let committed_ns = state.committed.arrival_ns();
        let wait_ns = self.committed.wait_ns(committed_ns, now_ns);
        if wait_ns > 0 {
            // Only a whole request in the bank: what the committed bucket has of a part is not lent.
            let latest_ns = committed_ns.saturating_add(self.credit_ns);
            return match slack() && self.charge(state, now_ns, latest_ns) {
                true => Colour::Yellow { wait_ns },
                false => Colour::Red { wait_ns },
            };
        }
        if !self.charge(state, now_ns, u64::MAX) {
            // Only where workers met at the very end of the bank; the next moment decides otherwise.
            let wait_ns = self.committed.interval_ns;
            return Colour::Red { wait_ns };
        }
        match self.committed.check(&state.committed, now_ns) {
            Verdict::Admit { remaining, reset_ns } => Colour::Green { remaining, reset_ns },
            // Another worker took the last green one meanwhile. This one is paid for all the same.
            Verdict::Refuse { wait_ns } => Colour::Yellow { wait_ns },
        }
    }

    /// Requests that are saved up at `now_ns`.
    pub(crate) fn credits(&self, state: &MeterState, now_ns: u64) -> u64 {
        let full_ns = state.committed.arrival_ns().max(now_ns);
        let lacking_ns = state.all.load(Ordering::Relaxed).saturating_sub(full_ns);
        self.credit_ns.saturating_sub(lacking_ns) / self.committed.interval_ns
    }

    /// Counts one request of either colour, unless that would be more than burst and credits allow, or the arrival time
    /// of all would be after `latest_ns`.
    fn charge(&self, state: &MeterState, now_ns: u64, latest_ns: u64) -> bool {
        let latest_ns = latest_ns.min(now_ns.saturating_add(self.window_ns()));
        let charged = state
            .all
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |all_ns| {
                let next_ns = all_ns.max(now_ns).saturating_add(self.committed.interval_ns);
                (next_ns <= latest_ns).then_some(next_ns)
            });
        charged.is_ok()
    }

    /// Time in which burst and credits fill up from nothing.
    fn window_ns(&self) -> u64 {
        self.committed.window_ns().saturating_add(self.credit_ns)
    }
}

impl MeterState {
    /// The state of the committed rate.
    pub(crate) fn committed(&self) -> &Tat {
        &self.committed
    }

    /// Fits the state to a changed rule: what was used of burst and credits stays used, but no more than the new rule
    /// has of each.
    pub(crate) fn clamp(&self, rule: &Meter, now_ns: u64) {
        self.committed.clamp(&rule.committed, now_ns);
        if rule.credit_ns > 0 {
            let full_ns = self.committed.arrival_ns().max(now_ns);
            let empty_ns = full_ns.saturating_add(rule.credit_ns);
            self.all.fetch_max(self.committed.arrival_ns(), Ordering::Relaxed);
            self.all.fetch_min(empty_ns, Ordering::Relaxed);
        }
    }

    /// When burst and credits are full again; a moment that has passed when they are. From then on forgetting the state
    /// changes nothing.
    pub(crate) fn full_ns(&self) -> u64 {
        self.committed.arrival_ns().max(self.all.load(Ordering::Relaxed))
    }

    /// Takes everything until `full_ns`: for a tenant of which it is not known what it used.
    pub(crate) fn exhaust(&self, full_ns: u64) {
        self.committed.0.fetch_max(full_ns, Ordering::Relaxed);
        self.all.fetch_max(full_ns, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
