//! What the judge says, with every number that it rests on.

use serde::{Deserialize, Serialize};

use crate::sample::{Errors, Tally};

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decision {
    /// Take the canary back.
    Fail,
    /// Keep the weights as they are, and call a person: something is wrong, and it is not shown to be the canary.
    Hold,
    /// There is evidence that the canary is within its limits: go on.
    Pass,
    /// Not enough data for either. How much is missing stands in [`Verdict::needed`].
    Wait,
}

/// Why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The absolute guard: failures in a row without a success.
    EveryRequestFails,
    /// The evidence reached `1 / alpha`, and the budget agrees.
    WorseThanStable,
    /// The evidence reached `1 / alpha`, but the canary is within its budget.
    WorseWithinBudget,
    /// The measured split is not the weight that was set, for a minute.
    SplitMismatch,
    /// Both arms fail.
    SharedOutage,
    /// The canary has a weight and gets no requests.
    CanaryDark,
    /// The stable arm should have requests and gets none: nothing to compare with.
    StableDark,
    /// Every limit is shown to be held.
    WithinLimits,
    /// Every limit is held so far, and the weight is younger than it has to be.
    TooEarly,
    /// Some limit is neither shown to be held nor to be passed.
    NotEnoughData,
    /// Nobody sends anything.
    NoTraffic,
}

/// A decision at one second, and what it rests on. Logarithms are natural.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    pub decision: Decision,
    pub reason: Reason,
    /// The last second that was taken; absent before the first.
    pub at: Option<u64>,
    /// The logarithm of the mean e-value against "the canary is not worse".
    pub log_e: f64,
    /// Where it fails: `ln(1 / alpha)`.
    pub log_e_fails: f64,
    /// The signal with the most evidence against the canary.
    pub worst: String,
    pub signals: Vec<Signal>,
    /// The tenants' own signals that have more evidence against the canary than none, the strongest first.
    pub tenants: Vec<TenantSignal>,
    pub errors: ByArm<Errors>,
    /// What is missing until every limit is shown to be held, if the canary is as good as stable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub needed: Option<Needed>,
    /// Digest of the rules.
    pub rules: String,
    /// Digest of everything that was judged, in its order; empty when nobody recorded it.
    pub inputs: String,
}

/// A value for each arm.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ByArm<T> {
    pub stable: T,
    pub canary: T,
}

/// One kind of bad request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Signal {
    /// `errors`, or `latency p95`.
    pub name: String,
    /// Its part of the mean.
    pub weight: f64,
    pub counts: ByArm<Tally>,
    /// What evidence is divided by.
    pub dispersion: f64,
    /// Evidence that the canary is worse than it may be beside stable.
    pub log_e: f64,
    /// The part of requests that may be bad.
    pub budget: f64,
    /// How many times as fast as allowed the canary spends it.
    pub burn: f64,
    /// The canary's rate lies below, with confidence `1 - pass_alpha`.
    pub upper_bound: f64,
    /// Evidence that it is within its limits.
    pub log_e_within: f64,
    /// Whether that is enough.
    pub within: bool,
}

/// One tenant's own evidence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TenantSignal {
    /// `errors of acme`, or `latency of acme`.
    pub name: String,
    pub counts: ByArm<Tally>,
    pub log_e: f64,
}

/// What is missing.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Needed {
    /// Requests of the canary; absent when no number of them is enough at these rates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<u64>,
    /// The time they take at the rate of the last minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minutes: Option<u64>,
}

impl Decision {
    /// As it is written in records.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Fail => "fail",
            Self::Hold => "hold",
            Self::Pass => "pass",
            Self::Wait => "wait",
        }
    }
}

impl Reason {
    /// What it means, for people.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::EveryRequestFails => "the canary fails every request, and stable does not",
            Self::WorseThanStable => "the canary is worse than stable",
            Self::WorseWithinBudget => {
                "the canary is worse than stable, and within its budget: a person decides"
            }
            Self::SplitMismatch => "the gateway does not split as it was told to",
            Self::SharedOutage => "both versions fail: something they share is down",
            Self::CanaryDark => "the canary has a weight and gets no requests",
            Self::StableDark => "stable gets no requests, so there is nothing to compare with",
            Self::WithinLimits => "the canary is within its limits",
            Self::TooEarly => {
                "the canary is within its limits, but has not been at this weight for long enough"
            }
            Self::NotEnoughData => "not enough data",
            Self::NoTraffic => "no traffic",
        }
    }
}

impl Verdict {
    /// The verdict in one line.
    #[must_use]
    pub fn sentence(&self) -> String {
        let detail = match self.reason {
            Reason::WorseThanStable | Reason::WorseWithinBudget => {
                format!(", by its {} (e-value {:.3e})", self.worst, self.log_e.exp())
            }
            Reason::NotEnoughData => match self.needed {
                Some(Needed {
                    requests: Some(requests),
                    minutes: Some(minutes),
                }) => format!(": {requests} more requests of the canary, about {minutes} min"),
                Some(Needed {
                    requests: Some(requests),
                    minutes: None,
                }) => format!(": {requests} more requests of the canary"),
                Some(Needed { requests: None, .. }) | None => {
                    ": at these rates no number of requests is enough".to_owned()
                }
            },
            Reason::EveryRequestFails
            | Reason::SplitMismatch
            | Reason::SharedOutage
            | Reason::CanaryDark
            | Reason::StableDark
            | Reason::WithinLimits
            | Reason::TooEarly
            | Reason::NoTraffic => String::new(),
        };
        format!("{}: {}{detail}", self.decision.name(), self.reason.text())
    }
}
