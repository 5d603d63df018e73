//! The judge: a state machine over seconds.

mod recent;
mod signal;
mod tenants;

use crate::evidence::log_mean;
use crate::guard::Guard;
use crate::history::Baseline;
use crate::latency::Running;
use crate::rules::{Ratios, Rules, RulesError, STICKY_DISPERSION, STICKY_TOLERANCE};
use crate::sample::{Errors, Finished, SampleError, Second};
use crate::verdict::{self, ByArm, Decision, Needed, Reason, Verdict};
use recent::Recent;
use signal::Signal;
use tenants::Tenants;

/// The quantile beyond which a tenant's request is slow.
const TENANT_QUANTILE: f64 = 0.95;

/// Compares one canary with the stable version beside it, from its first second to its last.
///
/// It has no clock and no memory but its counts: the same seconds in the same order give the same verdicts, bit for bit,
/// on machines with the same mathematical library.
#[derive(Debug, Clone)]
pub struct Judge {
    rules: Rules,
    usual_error_rate: f64,
    dispersions: Dispersions,
    last: Option<u64>,
    /// The weight, and the second in which it was set.
    weight_ppm: u32,
    step_began: u64,
    canary_began: Option<u64>,
    /// Whether latencies are told at all: then nothing passes without evidence about them.
    timed: bool,
    errors: Signal,
    latency: Vec<Slow>,
    tenants: Tenants,
    stable_latency: Running,
    recent: Recent,
    guard: Guard,
    classes: ByArm<Errors>,
    log_e: f64,
    /// A canary that was called bad stays so.
    failed: Option<Reason>,
}

/// The signal of one quantile.
#[derive(Debug, Clone)]
struct Slow {
    quantile: f64,
    signal: Signal,
}

/// What evidence is divided by.
#[derive(Debug, Clone, Copy)]
struct Dispersions {
    errors: f64,
    slow: f64,
}

impl Judge {
    /// A judge that has seen nothing of the canary.
    ///
    /// # Errors
    /// Rules that cannot be held.
    pub fn new(rules: &Rules, baseline: &Baseline) -> Result<Self, RulesError> {
        rules.check()?;
        let (times, tolerance) = match rules.sticky {
            true => (STICKY_DISPERSION, STICKY_TOLERANCE),
            false => (1.0, 1.0),
        };
        let dispersion = |milli: u64| (milli as f64 / 1000.0).max(1.0) * times;
        let dispersions = Dispersions {
            errors: dispersion(baseline.error_dispersion_milli),
            slow: dispersion(baseline.slow_dispersion_milli),
        };
        let mut rules = rules.clone();
        for Ratios {
            tolerance: null,
            margin,
        } in [&mut rules.errors, &mut rules.latency]
        {
            *null *= tolerance;
            *margin *= tolerance;
        }
        let latency = rules.quantiles.iter().map(|quantile| Slow {
            quantile: *quantile,
            signal: Signal::new(rules.latency, dispersions.slow, 1.0 - quantile),
        });
        Ok(Self {
            usual_error_rate: baseline.error_ppm as f64 / 1e6,
            dispersions,
            last: None,
            weight_ppm: 0,
            step_began: 0,
            canary_began: None,
            timed: false,
            errors: Signal::new(rules.errors, dispersions.errors, rules.error_budget),
            latency: latency.collect(),
            tenants: Tenants::new(&rules),
            stable_latency: Running::new(&baseline.latency),
            recent: Recent::default(),
            guard: Guard::default(),
            classes: ByArm::default(),
            log_e: 0.0,
            failed: None,
            rules,
        })
    }

    /// Takes one closed second.
    ///
    /// # Errors
    /// Counts that cannot be. Nothing of them is taken then.
    pub fn observe(&mut self, second: &Second) -> Result<(), SampleError> {
        second.check()?;
        if let Some(last) = self.last.filter(|last| second.at <= *last) {
            return Err(SampleError::OutOfOrder { at: second.at, last });
        }
        self.enter(second);
        if let Some(share) = second.share() {
            self.weigh(second, share);
        }
        self.stable_latency.observe(&second.stable.latency);
        self.recent.observe(second);
        self.classes.stable.add(second.stable.errors);
        self.classes.canary.add(second.canary.errors);
        self.log_e = self.mean();
        if self.failed.is_none() && self.is_shown_worse() && self.budget_agrees() {
            self.failed = Some(Reason::WorseThanStable);
        }
        Ok(())
    }

    /// Takes what ended since the last time: the fast path beside the closed seconds, as often as one likes.
    ///
    /// # Errors
    /// More failures than requests. Nothing of them is taken then.
    pub fn observe_finished(&mut self, finished: &Finished) -> Result<(), SampleError> {
        finished.check()?;
        if self.guard.observe(finished, self.rules.guard_failures) {
            self.failed.get_or_insert(Reason::EveryRequestFails);
        }
        Ok(())
    }

    /// The last second that was taken.
    #[must_use]
    pub fn last_second(&self) -> Option<u64> {
        self.last
    }

    /// Whether the canary is to be taken back, and why: the decision that is cheap to ask for.
    #[must_use]
    pub fn failed(&self) -> Option<Reason> {
        self.failed
    }

    /// What to do now, and why. A reason to fail comes before a reason to hold, and that before a pass.
    #[must_use]
    pub fn decide(&self) -> (Decision, Reason) {
        if let Some(reason) = self.failed {
            return (Decision::Fail, reason);
        }
        if self.is_shown_worse() {
            return (Decision::Hold, Reason::WorseWithinBudget);
        }
        if let Some(reason) = self.recent.hold(&self.rules, self.usual_error_rate) {
            return (Decision::Hold, reason);
        }
        if self.errors.counts.stable.requests == 0 && self.errors.counts.canary.requests == 0 {
            return (Decision::Wait, Reason::NoTraffic);
        }
        let long = self
            .last
            .is_some_and(|last| last - self.step_began + 1 >= self.rules.step_seconds_min);
        let within = self.guarded().all(|signal| self.is_within(signal));
        match (within, long) {
            (true, true) => (Decision::Pass, Reason::WithinLimits),
            (true, false) => (Decision::Wait, Reason::TooEarly),
            (false, _) => (Decision::Wait, Reason::NotEnoughData),
        }
    }

    /// The decision with every number it rests on.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let (decision, reason) = self.decide();
        let tenants = self.tenants.signals();
        let signals: Vec<verdict::Signal> = self
            .weighted()
            .map(|(name, weight, signal)| verdict::Signal {
                name,
                weight,
                counts: signal.counts,
                dispersion: signal.dispersion,
                log_e: signal.log_e,
                budget: signal.budget,
                burn: signal.burn(),
                upper_bound: signal.level().upper_bound(self.rules.pass_alpha),
                log_e_within: signal.log_e_within(),
                within: self.is_within(signal),
            })
            .collect();
        let worst = signals
            .iter()
            .map(|signal| (&signal.name, signal.weight.ln() + signal.log_e))
            .chain(tenants.first().map(|signal| (&signal.name, self.tenants_log_e())))
            .max_by(|(_, a), (_, b)| a.total_cmp(b))
            .map(|(name, _)| name.clone());
        Verdict {
            decision,
            reason,
            at: self.last,
            log_e: self.log_e,
            log_e_fails: -self.rules.alpha.ln(),
            worst: worst.unwrap_or_default(),
            signals,
            tenants,
            errors: self.classes,
            needed: (reason == Reason::NotEnoughData).then(|| self.needed()),
            rules: String::new(),
            inputs: String::new(),
        }
    }

    /// Notes the time and the weight of a second.
    fn enter(&mut self, second: &Second) {
        let first = self.last.is_none();
        self.last = Some(second.at);
        if first || second.weight_ppm != self.weight_ppm {
            self.weight_ppm = second.weight_ppm;
            self.step_began = second.at;
            if !first {
                self.errors.look_anew();
                for slow in &mut self.latency {
                    slow.signal.look_anew();
                }
            }
        }
        if second.canary.requests > 0 {
            self.canary_began.get_or_insert(second.at);
        }
    }

    fn weigh(&mut self, second: &Second, share: f64) {
        let Second { stable, canary, .. } = second;
        self.errors.observe(share, stable.failures(), canary.failures());
        let warm = self
            .canary_began
            .is_some_and(|began| second.at - began >= self.rules.warmup_seconds);
        let timed = !(stable.latency.is_empty() && canary.latency.is_empty());
        self.timed |= timed;
        if warm && timed {
            for Slow { quantile, signal } in &mut self.latency {
                // The quantile is that of earlier seconds: a limit known before the outcomes.
                if let Some(limit) = self.stable_latency.quantile(*quantile) {
                    signal.observe(share, stable.slower_than(limit), canary.slower_than(limit));
                }
            }
        }
        if !second.tenants.is_empty() {
            let slow = warm
                .then(|| self.stable_latency.quantile(TENANT_QUANTILE))
                .flatten();
            let nulls = (self.rules.errors.tolerance, self.rules.latency.tolerance);
            self.tenants
                .observe(&second.tenants, slow, self.dispersions, nulls);
        }
    }

    /// All signals with their names and parts of the mean.
    fn weighted(&self) -> impl Iterator<Item = (String, f64, &Signal)> {
        let each = self.quantile_weight();
        let latency = self
            .latency
            .iter()
            .map(move |slow| (format!("latency p{}", slow.quantile * 100.0), each, &slow.signal));
        std::iter::once(("errors".to_owned(), self.rules.weights.errors, &self.errors)).chain(latency)
    }

    fn quantile_weight(&self) -> f64 {
        self.rules.weights.latency / self.latency.len().max(1) as f64
    }

    /// The tenants' part of the mean.
    fn tenants_log_e(&self) -> f64 {
        self.rules.weights.tenants.ln() + self.tenants.log_e
    }

    /// The logarithm of the mean of all e-values; what the weights leave is kept as 1.
    fn mean(&self) -> f64 {
        let weights = self.rules.weights;
        let each = self.quantile_weight();
        let left = (1.0 - weights.errors - weights.latency - weights.tenants).max(0.0);
        let latency = self.latency.iter().map(|slow| (each, slow.signal.log_e));
        let rest = [
            (weights.errors, self.errors.log_e),
            (weights.tenants, self.tenants.log_e),
            (left, 0.0),
        ];
        log_mean(latency.chain(rest))
    }

    fn is_shown_worse(&self) -> bool {
        self.log_e >= -self.rules.alpha.ln()
    }

    /// The second signal: the one with the most evidence spends its budget too fast.
    fn budget_agrees(&self) -> bool {
        if !self.rules.dual_signal {
            return true;
        }
        let each = self.quantile_weight();
        let mut worst = (
            self.rules.weights.errors.ln() + self.errors.log_e,
            self.errors.burn(),
        );
        for slow in &self.latency {
            let evidence = each.ln() + slow.signal.log_e;
            if evidence >= worst.0 {
                worst = (evidence, slow.signal.burn());
            }
        }
        if self.tenants_log_e() > worst.0 {
            worst.1 = self
                .tenants
                .worst_burn((self.rules.error_budget, 1.0 - TENANT_QUANTILE));
        }
        worst.1 >= 1.0
    }

    /// The signals that have to be within their limits.
    fn guarded(&self) -> impl Iterator<Item = &Signal> {
        let latency = self.latency.iter().filter(|_| self.timed);
        std::iter::once(&self.errors).chain(latency.map(|slow| &slow.signal))
    }

    fn is_within(&self, signal: &Signal) -> bool {
        signal.log_e_within() >= -self.rules.pass_alpha.ln()
    }

    /// What is missing until every signal is within its limits.
    fn needed(&self) -> Needed {
        let threshold = -self.rules.pass_alpha.ln();
        let share = f64::from(self.weight_ppm) / 1e6;
        let mut most = 0.0_f64;
        for signal in self.guarded() {
            match signal.requests_until(threshold, share) {
                Some(requests) => most = most.max(requests),
                None => {
                    return Needed {
                        requests: None,
                        minutes: None,
                    };
                }
            }
        }
        let rate = self.recent.canary_rate();
        Needed {
            requests: Some(most as u64),
            minutes: (rate > 0.0).then(|| (most / rate / 60.0).ceil() as u64),
        }
    }
}

#[cfg(test)]
mod tests;
