//! Rollouts: which part of a service's requests goes to another version of it.
//!
//! The users' files give pins and the value at the start ([`Rollout`]). What holds at a moment is a [`Weight`], which
//! has a generation and an owner and lives in the gateway's store from its first change on.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::{RolloutId, ServiceId, TenantId, VersionId};

/// The name of the version that a service is without anything else being said.
pub const STABLE: &str = "stable";

/// Buckets that callers are dealt into; a share is a number of them.
pub const BUCKETS: u16 = 10_000;

/// Sends a part of a service's requests to another version of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rollout {
    /// The service whose requests are divided.
    pub service: ServiceId,
    /// Only requests of the route with this path. Absent: of all its routes for which no other rollout is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^/"), extend("format" = "url-path"))]
    pub route: Option<String>,
    /// The version that gets the part: a key of the service's `versions` in the catalog.
    pub to: VersionId,
    /// The part in percent at the start. From the first `rc ramp set` on the part is what was set, and a change here
    /// moves nothing.
    #[serde(default)]
    pub percent: Share,
    /// Who stays together on one version.
    #[serde(default)]
    pub by: SplitBy,
    /// Tenants that have a version of their own choice, whatever the part is.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub pin: BTreeMap<TenantId, VersionId>,
    /// Tenants with a part of their own, instead of everybody's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub percent_of: BTreeMap<TenantId, Share>,
}

/// Who stays together on one version while the part grows: whoever is moved to the new version stays there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SplitBy {
    /// Nobody: each request is drawn anew.
    Request,
    /// Each user of a tenant, by the key that is shown. Requests without a key go with their tenant.
    User,
    /// Each tenant. The part is one of tenants, not of requests.
    #[default]
    Tenant,
    /// Each tenant, chosen so that the part is one of requests, by what was counted when the part was set.
    Traffic,
}

/// A part of the whole, in steps of 0.01 %.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Share(u16);

/// A number that is no percentage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a percentage is a number from 0 to 100")]
pub struct NoPercentage;

impl Share {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// Everything.
    pub const ALL: Self = Self(BUCKETS);

    /// `percent` of the whole, to the nearest 0.01.
    ///
    /// # Errors
    /// When it is not between 0 and 100.
    pub fn from_percent(percent: f64) -> Result<Self, NoPercentage> {
        if !(0.0..=100.0).contains(&percent) {
            return Err(NoPercentage);
        }
        Ok(Self((percent * 100.0).round() as u16))
    }

    /// In percent.
    #[must_use]
    pub fn percent(self) -> f64 {
        f64::from(self.0) / 100.0
    }

    /// The number of buckets, at most [`BUCKETS`].
    #[must_use]
    pub fn buckets(self) -> u16 {
        self.0
    }

    /// Whether nothing is left out.
    #[must_use]
    pub fn is_all(self) -> bool {
        self.0 == BUCKETS
    }
}

impl TryFrom<f64> for Share {
    type Error = NoPercentage;
    fn try_from(percent: f64) -> Result<Self, NoPercentage> {
        Self::from_percent(percent)
    }
}

impl From<Share> for f64 {
    fn from(share: Share) -> Self {
        share.percent()
    }
}

impl std::str::FromStr for Share {
    type Err = NoPercentage;
    fn from_str(text: &str) -> Result<Self, NoPercentage> {
        let number = text.strip_suffix('%').unwrap_or(text);
        Self::from_percent(number.parse().map_err(|_no_number| NoPercentage)?)
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.percent())
    }
}

impl JsonSchema for Share {
    fn schema_name() -> Cow<'static, str> {
        Cow::Borrowed("Share")
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "number", "minimum": 0.0, "maximum": 100.0 })
    }
}

/// Who moves a weight.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Owner {
    /// The users' files: nobody has set it yet.
    Start,
    /// People, by `rc ramp`.
    Ramp,
    /// A rollout that runs by itself, by its name. Nobody else moves the weight without saying so.
    Rollout(String),
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start => f.write_str("start value"),
            Self::Ramp => f.write_str("ramp"),
            Self::Rollout(name) => write!(f, "rollout {name}"),
        }
    }
}

/// How much of a service goes to the other version: what is changed while everything runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Weight {
    /// Counts up with every change; 0 for the value of the files.
    pub generation: u64,
    /// The part.
    pub percent: Share,
    pub owner: Owner,
    /// With [`SplitBy::Traffic`], the tenants that are on the other version, in the order in which they came. Absent:
    /// those in the part's buckets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub members: Option<Vec<TenantId>>,
}

impl Weight {
    /// The value of the files, which holds until somebody sets another.
    #[must_use]
    pub fn start(rollout: &Rollout) -> Self {
        Self {
            generation: 0,
            percent: rollout.percent,
            owner: Owner::Start,
            members: None,
        }
    }
}

/// The bucket of a tenant, or of one of its users, in the rollout `salt`: the same at every gateway and for as long as the
/// rollout has its name. A share owns the first buckets, so that a growing one takes nobody back.
#[must_use]
pub fn bucket(salt: &RolloutId, tenant: &TenantId, user: Option<&str>) -> u16 {
    let seed = seed(salt, tenant);
    match user {
        Some(user) => user_bucket(seed, user),
        None => bucket_of(seed),
    }
}

/// What [`bucket`] makes of a rollout and a tenant, to be made once and used for many users.
#[must_use]
pub fn seed(salt: &RolloutId, tenant: &TenantId) -> u64 {
    hash(hash(FNV_OFFSET, salt.as_str()), tenant.as_str())
}

/// The bucket of a tenant's user, from the tenant's [`seed`].
#[must_use]
pub fn user_bucket(seed: u64, user: &str) -> u16 {
    bucket_of(hash(seed, user))
}

/// The bucket of a tenant, from its [`seed`].
#[must_use]
pub fn bucket_of(seed: u64) -> u16 {
    (seed % u64::from(BUCKETS)) as u16
}

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

/// FNV-1a from `seed`, and the finisher of MurmurHash3, without which names that differ in their last letter are
/// neighbours. It spreads names and resists nobody: who can choose a tenant's name may choose its bucket.
fn hash(seed: u64, text: &str) -> u64 {
    let mut hash = seed;
    for byte in text.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(FNV_PRIME);
    }
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ hash >> 33
}

#[cfg(test)]
mod tests;
