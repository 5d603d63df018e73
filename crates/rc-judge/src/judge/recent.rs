//! The last minute of both arms: whether the split is what it should be, and whether something else is wrong.

use std::collections::VecDeque;

use crate::rules::Rules;
use crate::sample::{PPM, Second, Tally};
use crate::verdict::Reason;

/// How far back it goes, and for how long a split has to be wrong.
const SECONDS: u64 = 60;
/// How far back an outage or a dark arm is looked for.
const SHORT_SECONDS: u64 = 30;
/// Fewest requests that an arm should have had before it is called dark.
const DARK_MIN: f64 = 10.0;
/// Fewest errors of stable that are called an outage.
const OUTAGE_ERRORS_MIN: u64 = 5;
/// How many times its usual rate an outage is.
const OUTAGE_TIMES: f64 = 4.0;

#[derive(Debug, Clone, Default)]
pub(super) struct Recent {
    seconds: VecDeque<Entry>,
    first: Option<u64>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    at: u64,
    /// What the canary's requests should be, and their variance.
    expected: f64,
    variance: f64,
    stable: Tally,
    canary: Tally,
}

/// Sums over some seconds.
#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    expected: f64,
    variance: f64,
    stable: Tally,
    canary: Tally,
}

impl Recent {
    pub(super) fn observe(&mut self, second: &Second) {
        let weight = f64::from(second.weight_ppm) / f64::from(PPM);
        let (stable, canary) = (second.stable.failures(), second.canary.failures());
        let requests = stable.requests as f64 + canary.requests as f64;
        let expected = requests * weight;
        self.first.get_or_insert(second.at);
        self.seconds.push_back(Entry {
            at: second.at,
            expected,
            variance: expected * (1.0 - weight),
            stable,
            canary,
        });
        let oldest = second.at.saturating_sub(SECONDS - 1);
        while self.seconds.front().is_some_and(|entry| entry.at < oldest) {
            self.seconds.pop_front();
        }
    }

    fn sums(&self, seconds: u64) -> Sums {
        let mut sums = Sums::default();
        let Some(last) = self.seconds.back() else {
            return sums;
        };
        let oldest = last.at.saturating_sub(seconds - 1);
        for entry in self.seconds.iter().filter(|entry| entry.at >= oldest) {
            sums.expected += entry.expected;
            sums.variance += entry.variance;
            sums.stable.add(entry.stable);
            sums.canary.add(entry.canary);
        }
        sums
    }

    /// Whether it knows so many seconds.
    fn covers(&self, seconds: u64) -> bool {
        match (self.first, self.seconds.back()) {
            (Some(first), Some(last)) => last.at - first >= seconds - 1,
            _ => false,
        }
    }

    /// Requests of the canary in a second.
    pub(super) fn canary_rate(&self) -> f64 {
        let covered = match (self.first, self.seconds.back()) {
            (Some(first), Some(last)) => (last.at - first + 1).min(SECONDS),
            _ => return 0.0,
        };
        self.sums(SECONDS).canary.requests as f64 / covered as f64
    }

    /// Why nothing should be decided now, if there is a reason.
    pub(super) fn hold(&self, rules: &Rules, usual_error_rate: f64) -> Option<Reason> {
        if self.covers(SHORT_SECONDS) {
            let sums = self.sums(SHORT_SECONDS);
            let expected_stable = sums.stable.requests as f64 + sums.canary.requests as f64 - sums.expected;
            if sums.expected >= DARK_MIN && sums.canary.requests == 0 {
                return Some(Reason::CanaryDark);
            }
            if expected_stable >= DARK_MIN && sums.stable.requests == 0 {
                return Some(Reason::StableDark);
            }
        }
        if !rules.sticky && self.covers(SECONDS) && self.split_is_wrong() {
            return Some(Reason::SplitMismatch);
        }
        let sums = self.sums(SHORT_SECONDS);
        let outage = rules.outage_rate.max(OUTAGE_TIMES * usual_error_rate).min(0.5);
        let both = sums.stable.rate() >= outage && sums.canary.rate() >= outage;
        (both && sums.stable.bad >= OUTAGE_ERRORS_MIN).then_some(Reason::SharedOutage)
    }

    /// Five standard deviations off, and by an amount that matters: a gateway that deals requests out in turns is closer
    /// than chance, pinned testers are a few.
    fn split_is_wrong(&self) -> bool {
        let Sums {
            expected,
            variance,
            stable,
            canary,
        } = self.sums(SECONDS);
        let all = stable.requests as f64 + canary.requests as f64;
        let off = (canary.requests as f64 - expected).abs();
        off > 5.0 * variance.sqrt() + 1.0 && off > (0.2 * expected).max(0.01 * all)
    }
}
