//! What the judge is told: counts of closed seconds.
//!
//! All of it is whole numbers, so that a record reads back as exactly what was judged.

use rc_model::TenantId;
use serde::{Deserialize, Serialize};

use crate::latency::{self, BUCKETS};

/// Parts per million: the whole.
pub const PPM: u32 = 1_000_000;

/// Most tenants of one second.
pub const TENANTS_MAX: usize = 10_000;

/// One second of both arms, counted by when requests *began*, and closed: every one of them has ended or timed out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Second {
    /// Its number, rising; seconds that are left out had no traffic.
    pub at: u64,
    /// The weight that the canary had at the gateway, in parts per million.
    pub weight_ppm: u32,
    /// The part of all bad events that would be the canary's if it were as good as stable, where it is known to differ
    /// from the routed share: with a sticky split ([`expected_share`]). Absent, it is the share of requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share_ppm: Option<u32>,
    pub stable: Arm,
    pub canary: Arm,
    /// The same by tenant, where the gateway counts them apart. Sums over tenants are not checked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tenants: Vec<OfTenant>,
}

/// What one version answered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Arm {
    /// Requests that were sent to it, once for each request of a user: retries are not counted again.
    pub requests: u64,
    /// Those that failed.
    #[serde(default, skip_serializing_if = "Errors::is_none")]
    pub errors: Errors,
    /// How long they took: numbers of buckets ([`crate::latency::bucket`]) and counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub latency: Vec<(u16, u64)>,
}

/// Failures by class. A version that was chosen and could not be reached has failed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Errors {
    /// Answers that say that the service failed.
    #[serde(default)]
    pub server: u64,
    /// No answer in time.
    #[serde(default)]
    pub timeout: u64,
    /// No connection, or one that broke.
    #[serde(default)]
    pub connect: u64,
}

/// One tenant's part of a second.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OfTenant {
    pub tenant: TenantId,
    pub stable: Arm,
    pub canary: Arm,
}

/// Requests and how many of them were bad.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tally {
    pub requests: u64,
    pub bad: u64,
}

/// Requests that ended since the last time, whenever they began: the fast path for a canary that fails them all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Finished {
    pub stable: Tally,
    pub canary: Tally,
}

/// Why counts are refused. Nothing of them was taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SampleError {
    #[error("second {at} comes after second {last}: seconds must rise")]
    OutOfOrder { at: u64, last: u64 },
    #[error("{what} is {ppm} parts per million, more than the whole")]
    MoreThanAll { what: &'static str, ppm: u32 },
    #[error("the {arm} arm has {count} {what} of {requests} requests")]
    MoreThanRequests {
        arm: &'static str,
        what: &'static str,
        count: u64,
        requests: u64,
    },
    #[error("latency bucket {bucket} does not exist: the last one is {}", BUCKETS - 1)]
    NoSuchBucket { bucket: u16 },
    #[error("{count} tenants in one second: at most {TENANTS_MAX} are taken")]
    TooManyTenants { count: usize },
}

impl Errors {
    /// All of them.
    #[must_use]
    pub fn total(self) -> u64 {
        self.server
            .saturating_add(self.timeout)
            .saturating_add(self.connect)
    }

    /// Takes the counts of `other` in.
    pub(crate) fn add(&mut self, other: Self) {
        self.server = self.server.saturating_add(other.server);
        self.timeout = self.timeout.saturating_add(other.timeout);
        self.connect = self.connect.saturating_add(other.connect);
    }

    fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

impl Tally {
    #[must_use]
    pub fn new(requests: u64, bad: u64) -> Self {
        Self { requests, bad }
    }

    /// Takes the counts of `other` in.
    pub fn add(&mut self, other: Self) {
        self.requests = self.requests.saturating_add(other.requests);
        self.bad = self.bad.saturating_add(other.bad);
    }

    /// The part that was bad; 0 of nothing.
    #[must_use]
    pub fn rate(self) -> f64 {
        if self.requests == 0 {
            return 0.0;
        }
        self.bad as f64 / self.requests as f64
    }

    fn check(self, arm: &'static str, what: &'static str) -> Result<(), SampleError> {
        if self.bad <= self.requests {
            return Ok(());
        }
        Err(SampleError::MoreThanRequests {
            arm,
            what,
            count: self.bad,
            requests: self.requests,
        })
    }
}

impl Arm {
    /// Requests and errors.
    #[must_use]
    pub fn failures(&self) -> Tally {
        Tally::new(self.requests, self.errors.total())
    }

    /// Requests, and those in buckets above `bucket`.
    #[must_use]
    pub fn slower_than(&self, bucket: usize) -> Tally {
        Tally::new(self.requests, latency::above(&self.latency, bucket))
    }

    fn check(&self, arm: &'static str) -> Result<(), SampleError> {
        self.failures().check(arm, "errors")?;
        if let Some((bucket, _)) = self
            .latency
            .iter()
            .find(|(bucket, _)| usize::from(*bucket) >= BUCKETS)
        {
            return Err(SampleError::NoSuchBucket { bucket: *bucket });
        }
        let timed = self
            .latency
            .iter()
            .fold(0_u64, |sum, (_, count)| sum.saturating_add(*count));
        Tally::new(self.requests, timed).check(arm, "latencies")
    }
}

impl Second {
    /// The canary's part of bad events if it were as good as stable; `None` without traffic.
    #[must_use]
    pub fn share(&self) -> Option<f64> {
        match self.share_ppm {
            Some(ppm) => Some(f64::from(ppm) / f64::from(PPM)),
            None => share(self.stable.requests, self.canary.requests),
        }
    }

    /// Whether these counts can be: what the judge asks before it takes anything.
    ///
    /// # Errors
    /// The first count that cannot be.
    pub fn check(&self) -> Result<(), SampleError> {
        for (what, ppm) in [
            ("the weight", Some(self.weight_ppm)),
            ("the expected share", self.share_ppm),
        ] {
            if let Some(ppm) = ppm.filter(|ppm| *ppm > PPM) {
                return Err(SampleError::MoreThanAll { what, ppm });
            }
        }
        if self.tenants.len() > TENANTS_MAX {
            return Err(SampleError::TooManyTenants {
                count: self.tenants.len(),
            });
        }
        self.stable.check("stable")?;
        self.canary.check("canary")?;
        for tenant in &self.tenants {
            tenant.stable.check("stable")?;
            tenant.canary.check("canary")?;
        }
        Ok(())
    }
}

impl OfTenant {
    /// The canary's part of this tenant's requests.
    #[must_use]
    pub fn share(&self) -> Option<f64> {
        share(self.stable.requests, self.canary.requests)
    }
}

impl Finished {
    /// As [`Second::check`].
    ///
    /// # Errors
    /// More failures than requests.
    pub fn check(&self) -> Result<(), SampleError> {
        self.stable.check("stable", "errors")?;
        self.canary.check("canary", "errors")
    }
}

fn share(stable: u64, canary: u64) -> Option<f64> {
    let all = stable as f64 + canary as f64;
    (all > 0.0).then(|| canary as f64 / all)
}

/// One tenant of a sticky split: what it did in the hour before, and where it was put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    pub before: Tally,
    pub in_canary: bool,
}

/// The share of bad events to expect at a canary that was given whole tenants, in parts per million.
///
/// Tenants fail at rates of their own, so their shares of the traffic are not their shares of the errors. Each tenant's
/// rate is drawn towards that of all, the more the less it sent. `None` without traffic.
#[must_use]
pub fn expected_share(tenants: &[Placed]) -> Option<u32> {
    /// Errors at the common rate that every tenant is credited with, and the requests for them.
    const PRIOR_ERRORS: f64 = 5.0;
    let mut all = Tally::default();
    for tenant in tenants {
        all.add(tenant.before);
    }
    if all.requests == 0 {
        return None;
    }
    // Half an error: without any, the share is that of the traffic.
    let common = (all.bad as f64 + 0.5) / (all.requests as f64 + 1.0);
    let (mut total, mut canary) = (0.0, 0.0);
    for Placed { before, in_canary } in tenants {
        let requests = before.requests as f64;
        let rate = (before.bad as f64 + PRIOR_ERRORS) / (requests + PRIOR_ERRORS / common);
        total += requests * rate;
        if *in_canary {
            canary += requests * rate;
        }
    }
    Some((canary / total * f64::from(PPM)).round() as u32)
}

#[cfg(test)]
mod tests;
