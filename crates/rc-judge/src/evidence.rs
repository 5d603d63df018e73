//! Evidence that may be looked at any time: e-values against three kinds of claim.
//!
//! An e-value starts at one and, while the claim is true, is one or less on the average, whatever rule decides when to
//! stop looking. So it reaches `1 / alpha` with a probability of at most `alpha` (Ville's inequality). Everything here
//! is the natural logarithm of one. Each is a weighted mean over alternatives, so that none has to be guessed.
//!
//! Dividing by the *dispersion* is what makes clumps harmless: bad events that come `m` at a time are one piece of news.
//! With clumps of at most `m` the division by `m` is exact (Jensen's inequality); with a measured one it is a heuristic
//! that the simulation holds to its promise.

/// Alternatives of every test.
const ALTERNATIVES: usize = 8;

/// How many times worse than the claim the canary may be, with what weight. Most of it on what takes longest to find.
const WORSE: [(f64, f64); ALTERNATIVES] = [
    (1.25, 0.03),
    (1.5, 0.09),
    (2.0, 0.26),
    (3.0, 0.14),
    (5.0, 0.14),
    (10.0, 0.19),
    (20.0, 0.09),
    (50.0, 0.06),
];

/// How many times better than the margin it may be.
const BETTER: [(f64, f64); ALTERNATIVES] = [
    (0.05, 0.05),
    (0.1, 0.05),
    (0.25, 0.10),
    (0.4, 0.15),
    (0.5, 0.20),
    (0.6, 0.20),
    (0.7, 0.15),
    (0.85, 0.10),
];

/// The same for a level: a service without errors is the usual case and gets the most.
const BELOW: [(f64, f64); ALTERNATIVES] = [
    (0.001, 0.40),
    (0.05, 0.10),
    (0.1, 0.10),
    (0.2, 0.10),
    (0.3, 0.10),
    (0.5, 0.10),
    (0.65, 0.05),
    (0.8, 0.05),
];

/// The logarithm of `sum(weight * exp(log))`, of logarithms that may be far outside what `exp` can say.
#[must_use]
pub fn log_mean(terms: impl Iterator<Item = (f64, f64)> + Clone) -> f64 {
    // What has no weight has no say, however large.
    let terms = terms.filter(|(weight, _)| *weight > 0.0);
    let largest = terms
        .clone()
        .fold(f64::NEG_INFINITY, |largest, (_, log)| largest.max(log));
    if !largest.is_finite() {
        return largest;
    }
    let sum: f64 = terms.map(|(weight, log)| weight * (log - largest).exp()).sum();
    largest + sum.ln()
}

/// Evidence about the ratio of two rates, from which arm the bad events of each second belong to.
///
/// Under the claim "at most `null` times worse" (or at least, for [`SplitTest::no_worse`]) a bad event of a second whose
/// share of the canary is `q` is the canary's with probability `null q / (null q + 1 - q)` or less. Whatever raises both
/// arms' rates in one second, an outage or a wave of traffic, cancels out, and so do changing weights.
#[derive(Debug, Clone, PartialEq)]
pub struct SplitTest {
    null: f64,
    alternatives: &'static [(f64, f64); ALTERNATIVES],
    /// Log likelihood ratios of the alternatives, undivided.
    sums: [f64; ALTERNATIVES],
}

impl SplitTest {
    /// Against "the canary's rate is at most `null` times the stable arm's".
    #[must_use]
    pub fn worse(null: f64) -> Self {
        Self {
            null,
            alternatives: &WORSE,
            sums: [0.0; ALTERNATIVES],
        }
    }

    /// Against "the canary's rate is at least `null` times the stable arm's".
    #[must_use]
    pub fn no_worse(null: f64) -> Self {
        Self {
            null,
            alternatives: &BETTER,
            sums: [0.0; ALTERNATIVES],
        }
    }

    /// Takes the bad events of one second, of which the canary had `share` of what was routed.
    ///
    /// `share` has to be known before the outcomes: the routed share, not that of what completed.
    pub fn observe(&mut self, share: f64, canary_bad: u64, stable_bad: u64) {
        if canary_bad == 0 && stable_bad == 0 {
            return;
        }
        let (canary, stable) = (canary_bad as f64, stable_bad as f64);
        for (sum, (factor, _)) in self.sums.iter_mut().zip(self.alternatives) {
            let (of_canary, of_stable) = step(self.null, self.null * factor, share);
            // A zero count has no say, also not where the other side is certain and its logarithm infinite.
            *sum += product(canary, of_canary) + product(stable, of_stable);
        }
    }

    /// The logarithm of the e-value.
    #[must_use]
    pub fn log_e(&self, dispersion: f64) -> f64 {
        log_mean(
            self.alternatives
                .iter()
                .zip(self.sums)
                .map(|((_, weight), sum)| (*weight, sum / dispersion)),
        )
    }

    /// How many more requests of the canary until [`Self::log_e`] reaches `threshold`, if both arms fail `rate` of
    /// their requests from now on; `None` when it never does.
    #[must_use]
    pub fn requests_until(&self, threshold: f64, dispersion: f64, share: f64, rate: f64) -> Option<f64> {
        if self.log_e(dispersion) >= threshold {
            return Some(0.0);
        }
        if share <= 0.0 || share >= 1.0 {
            return None;
        }
        // For each request of the canary there are so many of the stable arm.
        let stable = rate * (1.0 - share) / share;
        let ways = self
            .alternatives
            .iter()
            .zip(self.sums)
            .map(|((factor, weight), sum)| {
                let (of_canary, of_stable) = step(self.null, self.null * factor, share);
                (*weight, sum, rate * of_canary + stable * of_stable)
            });
        soonest(ways, threshold, dispersion)
    }
}

/// What one bad event of the canary, and one of the stable arm, adds to the log likelihood ratio of `theta` over `null`.
fn step(null: f64, theta: f64, share: f64) -> (f64, f64) {
    let of_null = null * share + (1.0 - share);
    let of_theta = theta * share + (1.0 - share);
    let stable = (of_null / of_theta).ln();
    ((theta / null).ln() + stable, stable)
}

fn product(count: f64, log: f64) -> f64 {
    if count == 0.0 { 0.0 } else { count * log }
}

/// The least that one of the alternatives needs by itself: `(weight, sum, growth a request)`.
fn soonest(ways: impl Iterator<Item = (f64, f64, f64)>, threshold: f64, dispersion: f64) -> Option<f64> {
    ways.filter(|(_, _, growth)| *growth > 0.0)
        .map(|(weight, sum, growth)| ((threshold - weight.ln()) * dispersion - sum).max(0.0) / growth)
        .min_by(f64::total_cmp)
        .map(f64::ceil)
}

/// Evidence that the rate of bad requests lies below a level, from `bad` of `requests`.
///
/// It needs no history: at any time the counts say all.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LevelTest {
    pub requests: u64,
    pub bad: u64,
    pub dispersion: f64,
}

impl LevelTest {
    /// The logarithm of the e-value against "at least `level` of the requests are bad".
    ///
    /// `level` lies between 0 and 1, both excluded.
    #[must_use]
    pub fn log_e(self, level: f64) -> f64 {
        log_mean(
            self.sums(level)
                .into_iter()
                .map(|(weight, sum)| (weight, sum / self.dispersion)),
        )
    }

    /// The level that the rate is below, with confidence `1 - alpha`, at whatever time one looks.
    #[must_use]
    pub fn upper_bound(self, alpha: f64) -> f64 {
        let threshold = -alpha.ln();
        let (mut refuted, mut open) = (1.0, self.bad as f64 / (self.requests as f64).max(1.0));
        // The evidence grows with the level above the observed rate; 60 halvings are more than a float has digits.
        for _ in 0..60 {
            let middle = f64::midpoint(refuted, open);
            if middle <= 0.0 || middle >= 1.0 {
                break;
            }
            if self.log_e(middle) >= threshold {
                refuted = middle;
            } else {
                open = middle;
            }
        }
        refuted
    }

    /// How many more requests until the rate is shown to lie below `level`, if `rate` of them are bad; `None` when it
    /// never is.
    #[must_use]
    pub fn requests_until(self, threshold: f64, level: f64, rate: f64) -> Option<f64> {
        if self.log_e(level) >= threshold {
            return Some(0.0);
        }
        let ways = self
            .sums(level)
            .into_iter()
            .zip(BELOW)
            .map(|((weight, sum), (part, _))| {
                let (bad, good) = level_step(level, level * part);
                (weight, sum, rate * bad + (1.0 - rate) * good)
            });
        soonest(ways, threshold, self.dispersion)
    }

    fn sums(self, level: f64) -> [(f64, f64); ALTERNATIVES] {
        let good_count = self.requests.saturating_sub(self.bad) as f64;
        BELOW.map(|(part, weight)| {
            let (bad, good) = level_step(level, level * part);
            (weight, product(self.bad as f64, bad) + product(good_count, good))
        })
    }
}

/// What one bad and one good request add to the log likelihood ratio of `lower` over `level`.
fn level_step(level: f64, lower: f64) -> (f64, f64) {
    ((lower / level).ln(), ((1.0 - lower) / (1.0 - level)).ln())
}

#[cfg(test)]
mod tests;
