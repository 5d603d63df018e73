//! The evidence of one kind of bad request.

use crate::evidence::{LevelTest, SplitTest, log_mean};
use crate::rules::Ratios;
use crate::sample::Tally;
use crate::verdict::ByArm;

/// The part of the evidence that looks at the whole rollout. The rest looks from each change of the weight on, so that
/// what breaks at 60 % does not have to outweigh ten good minutes at 10 %.
const WHOLE: f64 = 0.75;

/// Most looks. Each takes half of what the former ones left.
const LOOKS_MAX: usize = 8;

/// After so many seconds what is older counts half in what the canary did lately.
const LATELY_SECONDS: u64 = 60;

/// Evidence that the canary is worse, and that it is not, of one kind of bad request.
#[derive(Debug, Clone)]
pub(super) struct Signal {
    ratios: Ratios,
    pub(super) dispersion: f64,
    /// The part of requests that may be bad.
    pub(super) budget: f64,
    pub(super) counts: ByArm<Tally>,
    /// The canary's of the last minutes.
    lately: Tally,
    seconds: u64,
    /// Tests with their parts, from the beginning and from each change of the weight on.
    looks: Vec<(f64, SplitTest)>,
    no_worse: SplitTest,
    /// Of all looks together; kept because most seconds change nothing.
    pub(super) log_e: f64,
}

impl Signal {
    pub(super) fn new(ratios: Ratios, dispersion: f64, budget: f64) -> Self {
        Self {
            ratios,
            dispersion,
            budget,
            counts: ByArm::default(),
            lately: Tally::default(),
            seconds: 0,
            looks: vec![(WHOLE, SplitTest::worse(ratios.tolerance))],
            no_worse: SplitTest::no_worse(ratios.margin),
            log_e: 0.0,
        }
    }

    /// The weight has changed: looks anew, too.
    pub(super) fn look_anew(&mut self) {
        if self.looks.len() < LOOKS_MAX {
            let part = self.unused() / 2.0;
            self.looks.push((part, SplitTest::worse(self.ratios.tolerance)));
        }
    }

    /// What no look has; it is kept as the e-value 1.
    fn unused(&self) -> f64 {
        1.0 - self.looks.iter().map(|(part, _)| part).sum::<f64>()
    }

    pub(super) fn observe(&mut self, share: f64, stable: Tally, canary: Tally) {
        self.counts.stable.add(stable);
        self.counts.canary.add(canary);
        self.seconds += 1;
        if self.seconds.is_multiple_of(LATELY_SECONDS) {
            self.lately = Tally::new(self.lately.requests / 2, self.lately.bad / 2);
        }
        self.lately.add(canary);
        if stable.bad == 0 && canary.bad == 0 {
            return;
        }
        for (_, test) in &mut self.looks {
            test.observe(share, canary.bad, stable.bad);
        }
        self.no_worse.observe(share, canary.bad, stable.bad);
        let unused = std::iter::once((self.unused(), 0.0));
        let looks = self
            .looks
            .iter()
            .map(|(part, test)| (*part, test.log_e(self.dispersion)));
        self.log_e = log_mean(looks.chain(unused));
    }

    /// How many times as fast as allowed the canary spends its budget: in all, or lately where that is faster, because
    /// what broke now was good for long.
    pub(super) fn burn(&self) -> f64 {
        self.counts.canary.rate().max(self.lately.rate()) / self.budget
    }

    /// The canary's own counts against levels.
    pub(super) fn level(&self) -> LevelTest {
        LevelTest {
            requests: self.counts.canary.requests,
            bad: self.counts.canary.bad,
            dispersion: self.dispersion,
        }
    }

    /// Evidence that the canary is within its limits: below its budget, or less than the margin above stable. The mean
    /// of both, so that there is one chance to be wrong.
    pub(super) fn log_e_within(&self) -> f64 {
        let both = [
            (0.5, self.level().log_e(self.budget)),
            (0.5, self.no_worse.log_e(self.dispersion)),
        ];
        log_mean(both.into_iter())
    }

    /// Requests of the canary until [`Self::log_e_within`] reaches `threshold`, if both arms go on as both did so far.
    pub(super) fn requests_until(&self, threshold: f64, share: f64) -> Option<f64> {
        if self.log_e_within() >= threshold {
            return Some(0.0);
        }
        let mut all = self.counts.stable;
        all.add(self.counts.canary);
        // Before anything is known: half of what is allowed.
        let rate = (all.bad as f64 + self.budget / 2.0) / (all.requests as f64 + 1.0);
        // One of the two by itself.
        let threshold = threshold + 2.0_f64.ln();
        let level = self.level().requests_until(threshold, self.budget, rate);
        let ratio = self
            .no_worse
            .requests_until(threshold, self.dispersion, share, rate);
        [level, ratio].into_iter().flatten().min_by(f64::total_cmp)
    }
}
