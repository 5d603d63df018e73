//! What a judge is asked to hold: the numbers that a person may change.

use rc_model::Digest;
use serde::{Deserialize, Serialize};

/// The rules of one judge. Written down with every record; every key has a default.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rules {
    /// At most this part of healthy releases is ever called worse, whenever one looks.
    pub alpha: f64,
    /// At most this part of releases that are over a limit is ever passed.
    pub pass_alpha: f64,
    /// The part of requests that may fail: 1 - SLO.
    pub error_budget: f64,
    /// Automatic rollback needs two signals that agree: evidence that the canary is worse than stable, *and* a canary that
    /// spends its budget faster than it may. With the first alone the verdict is `hold`.
    pub dual_signal: bool,
    /// Ratios of error rates.
    pub errors: Ratios,
    /// Ratios of the shares of slow requests.
    pub latency: Ratios,
    /// The quantiles of the stable arm beyond which a request is slow. Their own budgets are what they leave.
    pub quantiles: Vec<f64>,
    /// How the evidence is shared; the sum is at most 1.
    pub weights: Weights,
    /// Tenants that are looked at by themselves: the first that come.
    pub tenants_max: usize,
    /// Seconds from the canary's first request in which its latency has no say: caches are cold. Its errors always have.
    pub warmup_seconds: u64,
    /// Seconds at one weight before it can pass.
    pub step_seconds_min: u64,
    /// Failures in a row, without a success, at which the canary is out at once.
    pub guard_failures: u64,
    /// Both arms fail this part of their requests or more: a shared outage, and nobody's fault.
    pub outage_rate: f64,
    /// Whole users or tenants are in one arm. Their own habits look like the release's, so evidence is a third and the
    /// canary may be twice as bad before it counts.
    pub sticky: bool,
}

/// What is compared is the canary's rate over the stable arm's.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ratios {
    /// Up to here the canary counts as healthy: 1 or more.
    pub tolerance: f64,
    /// To pass, it has to be shown to be below this.
    pub margin: f64,
}

/// The parts of the evidence, as weights of a mean of e-values.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Weights {
    pub errors: f64,
    /// Of all quantiles together.
    pub latency: f64,
    /// Of all tenants together.
    pub tenants: f64,
}

/// What is wrong with rules, in words for who wrote them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{key}` {wrong}")]
pub struct RulesError {
    pub key: &'static str,
    wrong: &'static str,
}

/// How much less evidence weighs with a sticky split, and what its null is multiplied with. Whole tenants fail at rates
/// of their own that drift: the simulation has both.
pub(crate) const STICKY_DISPERSION: f64 = 3.0;
pub(crate) const STICKY_TOLERANCE: f64 = 2.0;

/// Most quantiles, and most tenants.
const QUANTILES_MAX: usize = 8;
const TENANTS_MAX: usize = 1_000;

impl Default for Rules {
    fn default() -> Self {
        Self {
            alpha: 0.01,
            pass_alpha: 0.05,
            error_budget: 0.005,
            dual_signal: true,
            errors: Ratios {
                tolerance: 1.0,
                margin: 2.0,
            },
            latency: Ratios {
                tolerance: 1.2,
                margin: 1.5,
            },
            quantiles: vec![0.5, 0.95],
            weights: Weights {
                errors: 0.8,
                latency: 0.1,
                tenants: 0.1,
            },
            tenants_max: 64,
            warmup_seconds: 60,
            step_seconds_min: 60,
            guard_failures: 20,
            outage_rate: 0.05,
            sticky: false,
        }
    }
}

impl Rules {
    /// Whether every number can be held.
    ///
    /// # Errors
    /// The first one that cannot.
    pub fn check(&self) -> Result<(), RulesError> {
        const PART: &str = "must lie between 0 and 1, both excluded";
        let part = |value: f64| value > 0.0 && value < 1.0;
        let weights = [self.weights.errors, self.weights.latency, self.weights.tenants];
        let ratios = |ratios: Ratios| {
            ratios.tolerance >= 1.0 && ratios.margin > ratios.tolerance && ratios.margin <= 1_000.0
        };
        const RATIOS: &str = "needs a `tolerance` of 1 or more and a `margin` above it, up to 1000";
        let rules = [
            (part(self.alpha), "alpha", PART),
            (part(self.pass_alpha), "pass_alpha", PART),
            (part(self.error_budget), "error_budget", PART),
            (part(self.outage_rate), "outage_rate", PART),
            (ratios(self.errors), "errors", RATIOS),
            (ratios(self.latency), "latency", RATIOS),
            (
                self.quantiles.iter().copied().all(part) && self.quantiles.len() <= QUANTILES_MAX,
                "quantiles",
                "takes up to 8 numbers between 0 and 1, both excluded",
            ),
            (
                // A sum of decimals may be a hair above 1.
                weights.iter().all(|weight| *weight >= 0.0) && weights.iter().sum::<f64>() <= 1.0 + 1e-9,
                "weights",
                "must be 0 or more each, and 1 or less together",
            ),
            (
                self.tenants_max <= TENANTS_MAX,
                "tenants_max",
                "must be 1000 or less",
            ),
            (self.guard_failures > 0, "guard_failures", "must be 1 or more"),
        ];
        match rules.into_iter().find(|(holds, ..)| !holds) {
            None => Ok(()),
            Some((_, key, wrong)) => Err(RulesError { key, wrong }),
        }
    }

    /// What names these rules in verdicts: the digest of them as JSON.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let text = serde_json::to_vec(self).expect("numbers and lists of numbers are JSON");
        Digest::of(&text)
    }
}

#[cfg(test)]
mod tests;
