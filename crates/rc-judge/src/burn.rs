//! Burn rates over two windows at once: 5 minutes and 1 hour, twice and ten times as fast as the budget allows.
//!
//! A pair fires when both of its windows are over its factor: the long one says that it matters, the short one that it
//! still goes on. After a rollout they are the net below the judge; per version, because a canary of 10 % that fails
//! every request is only a tenth of the service's errors and never reaches ten times the budget of 1 %.

use std::collections::BTreeMap;

use rc_model::{ServiceId, TenantId};

use crate::sample::Tally;

/// Both windows, in seconds.
pub const SHORT_SECONDS: u64 = 300;
pub const LONG_SECONDS: u64 = 3_600;

/// The factors whose pairs are looked at.
pub const FACTORS: [f64; 2] = [2.0, 10.0];

/// Seconds of one slot of the long window.
const LONG_SLOT: u64 = 10;

/// What a service promises, and what is needed before anybody is woken.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Objective {
    /// The part of requests that may be bad: 1 - SLO.
    pub budget: f64,
    /// Fewest requests in the long window.
    pub requests_min: u64,
    /// Fewest bad ones in the short window.
    pub bad_min: u64,
}

impl Objective {
    /// With a budget, and three bad ones of a hundred requests at least.
    #[must_use]
    pub fn of_budget(budget: f64) -> Self {
        Self {
            budget,
            requests_min: 100,
            bad_min: 3,
        }
    }
}

/// One pair of windows at one time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Burn {
    pub factor: f64,
    /// How many times as fast as allowed the budget is spent.
    pub short: f64,
    pub long: f64,
    pub fires: bool,
}

/// An alert that cannot do its work.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum Lint {
    #[error(
        "the alert at {factor} times the budget can never fire: if everything fails, a budget of {budget} burns {most:.1} times as fast as allowed"
    )]
    Impossible { factor: f64, budget: f64, most: f64 },
    #[error(
        "at {factor} times the budget 5 minutes have {expected:.1} bad requests, and {bad_min} are needed: too little traffic for this alert"
    )]
    TooFew {
        factor: f64,
        expected: f64,
        bad_min: u64,
    },
}

/// What is wrong with the pairs of an objective for a service with so many requests a second.
#[must_use]
pub fn lint(objective: &Objective, requests_per_second: f64) -> Vec<Lint> {
    let Objective { budget, bad_min, .. } = *objective;
    let look = |factor: f64| {
        let most = 1.0 / budget;
        let expected = requests_per_second * SHORT_SECONDS as f64 * budget * factor;
        if factor >= most {
            Some(Lint::Impossible { factor, budget, most })
        } else if expected < bad_min as f64 {
            Some(Lint::TooFew {
                factor,
                expected,
                bad_min,
            })
        } else {
            None
        }
    };
    FACTORS.into_iter().filter_map(look).collect()
}

/// The windows of one series of requests.
#[derive(Debug, Clone)]
pub struct Windows {
    short: Ring,
    long: Ring,
    first: u64,
    last: u64,
}

impl Windows {
    /// Windows of a series whose first second is `at`.
    #[must_use]
    pub fn new(at: u64) -> Self {
        Self {
            short: Ring::new(SHORT_SECONDS as usize, 1),
            long: Ring::new((LONG_SECONDS / LONG_SLOT) as usize, LONG_SLOT),
            first: at,
            last: at,
        }
    }

    /// Takes counts of the second `at`. Counts that come late are taken while their window lasts.
    pub fn observe(&mut self, at: u64, tally: Tally) {
        self.last = self.last.max(at);
        self.short.add(at, tally);
        self.long.add(at, tally);
    }

    /// All pairs at the second `now`.
    #[must_use]
    pub fn burns(&self, now: u64, objective: &Objective) -> [Burn; 2] {
        let (short, long) = (self.short.sum(now), self.long.sum(now));
        // Two windows that begin together are one window.
        let old = now.saturating_sub(self.first) >= LONG_SECONDS / 2;
        let enough = long.requests >= objective.requests_min && short.bad >= objective.bad_min;
        FACTORS.map(|factor| {
            let (short, long) = (short.rate() / objective.budget, long.rate() / objective.budget);
            Burn {
                factor,
                short,
                long,
                fires: old && enough && short > factor && long > factor,
            }
        })
    }
}

/// Counts of the last slots.
#[derive(Debug, Clone)]
struct Ring {
    slots: Vec<Tally>,
    /// Seconds of a slot.
    width: u64,
    /// The newest slot, counted from the beginning of time.
    newest: u64,
}

impl Ring {
    fn new(slots: usize, width: u64) -> Self {
        Self {
            slots: vec![Tally::default(); slots],
            width,
            newest: 0,
        }
    }

    fn add(&mut self, at: u64, tally: Tally) {
        let slot = at / self.width;
        let slots = self.slots.len() as u64;
        if slot > self.newest {
            // Slots between have seen nothing.
            for passed in 1..=(slot - self.newest).min(slots) {
                let place = (self.newest + passed) % slots;
                self.slots[place as usize] = Tally::default();
            }
            self.newest = slot;
        }
        if self.newest - slot < slots {
            self.slots[(slot % slots) as usize].add(tally);
        }
    }

    /// What the slots up to the second `now` hold.
    fn sum(&self, now: u64) -> Tally {
        let slots = self.slots.len() as u64;
        let end = now / self.width;
        let mut sum = Tally::default();
        let oldest = end.max(self.newest).saturating_sub(slots - 1);
        for slot in oldest..=end.min(self.newest) {
            sum.add(self.slots[(slot % slots) as usize]);
        }
        sum
    }
}

/// What a series counts: a service, or one tenant or one version of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Series {
    pub service: ServiceId,
    pub part: Part,
}

/// Which requests of a service.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    All,
    Tenant(TenantId),
    Version(String),
}

/// The windows of all services, tenants and versions, of which there are at most so many.
#[derive(Debug, Clone)]
pub struct Book {
    series: BTreeMap<Series, Windows>,
    series_max: usize,
    left_out: u64,
}

impl Book {
    /// A book for at most `series_max` series, 11 KiB each.
    #[must_use]
    pub fn new(series_max: usize) -> Self {
        Self {
            series: BTreeMap::new(),
            series_max,
            left_out: 0,
        }
    }

    /// Takes the counts of one tenant and one version in the second `at`, for the service, for both, and for nobody else.
    pub fn observe(
        &mut self,
        at: u64,
        service: &ServiceId,
        tenant: Option<&TenantId>,
        version: Option<&str>,
        tally: Tally,
    ) {
        let parts = [
            Some(Part::All),
            tenant.cloned().map(Part::Tenant),
            version.map(|version| Part::Version(version.to_owned())),
        ];
        for part in parts.into_iter().flatten() {
            let series = Series {
                service: service.clone(),
                part,
            };
            self.add(at, series, tally);
        }
    }

    fn add(&mut self, at: u64, series: Series, tally: Tally) {
        if let Some(windows) = self.series.get_mut(&series) {
            windows.observe(at, tally);
            return;
        }
        if self.series.len() >= self.series_max {
            // Who sent nothing for an hour has empty windows.
            self.series
                .retain(|_, windows| at.saturating_sub(windows.last) < LONG_SECONDS);
        }
        if self.series.len() >= self.series_max {
            self.left_out += 1;
            return;
        }
        let mut windows = Windows::new(at);
        windows.observe(at, tally);
        self.series.insert(series, windows);
    }

    /// All pairs that fire at the second `now`, by the objective of their service.
    pub fn firing(
        &self,
        now: u64,
        objective: impl Fn(&ServiceId) -> Option<Objective>,
    ) -> Vec<(&Series, Burn)> {
        let mut firing = Vec::new();
        for (series, windows) in &self.series {
            let Some(objective) = objective(&series.service) else {
                continue;
            };
            let burns = windows.burns(now, &objective);
            firing.extend(
                burns
                    .into_iter()
                    .filter(|burn| burn.fires)
                    .map(|burn| (series, burn)),
            );
        }
        firing
    }

    /// Counts of seconds for which there was no place: not zero means that somebody is not watched.
    #[must_use]
    pub fn left_out(&self) -> u64 {
        self.left_out
    }
}

#[cfg(test)]
mod tests;
