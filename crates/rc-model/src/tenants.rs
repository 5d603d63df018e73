//! `tenants.yaml`: tiers with their limits, and the tenants in them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::{RegionId, RolloutId, TenantId, TierId};
use crate::resilience::{Retry, Timeout};
use crate::split::Rollout;
use crate::units::{ByteSize, Rate, Span};

/// The whole of `tenants.yaml`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(title = "tenants.yaml")]
pub struct TenantsFile {
    /// Classes of service. `gold`, `silver` and `bronze` exist without being written down.
    pub tiers: BTreeMap<TierId, Tier>,
    /// The tenants. Absent: the two demo tenants `acme` (gold) and `globex` (silver).
    pub tenants: BTreeMap<TenantId, Tenant>,
    /// Rollouts: which part of a service's requests goes to another version of it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub rollouts: BTreeMap<RolloutId, Rollout>,
}

/// What every tenant of one class gets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tier {
    /// Share of a contended resource relative to other tiers, 1 to 100.
    #[serde(default = "Tier::default_weight")]
    #[schemars(range(min = 1, max = 100))]
    pub weight: u32,
    /// How many requests a tenant may send.
    pub rps: RateLimit,
    /// Longest time a request may take in the whole platform.
    #[serde(default = "Tier::default_timeout")]
    pub timeout: Timeout,
    /// Largest request body.
    #[serde(default = "Tier::default_body_max")]
    pub body_max: ByteSize,
    /// How many requests of a tenant a service may have at once.
    #[serde(default)]
    pub concurrency: Concurrency,
    /// How a tenant's requests wait when a service has as many as it can serve.
    #[serde(default)]
    pub queue: QueueLimit,
    /// Second tries of requests that a service failed to answer.
    #[serde(default)]
    pub retry: Retry,
    /// How much a tenant may store. Absent: as much as there is room for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<StorageLimit>,
}

/// Seats: how many requests of a tenant one route of a service may have at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Concurrency {
    /// Seats that the tenant gets before all others take turns by weight. Free seats are lent to whoever asks.
    #[schemars(range(min = 0, max = 100_000))]
    pub share: u32,
    /// Seats that the tenant never passes; what is over waits. Absent: as many as are free.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000))]
    pub max: Option<u32>,
    /// `enforce`, or `shadow` to count what would have waited and let it pass, or `off`.
    pub mode: LimitMode,
}

/// Whether a limit is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LimitMode {
    #[default]
    Enforce,
    Shadow,
    Off,
}

/// How many bytes of documents a tenant may have: of their current versions, as JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StorageLimit {
    /// What would take more is refused. Reads, deletes and documents that become smaller go on.
    pub limit: ByteSize,
    /// `enforce`, or `shadow` to count what would have been refused and let it pass, or `off`.
    #[serde(default)]
    pub mode: LimitMode,
}

/// How a tenant's requests wait for a seat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct QueueLimit {
    /// Requests that may wait for one route; more are refused.
    #[schemars(range(min = 0, max = 4_096))]
    pub max: u32,
    /// How long they may wait as a rule. A queue that stays above it for ten times as long lets go of what is older
    /// than that, and serves the newest first.
    pub target: Span,
}

impl Default for QueueLimit {
    fn default() -> Self {
        Self {
            max: 256,
            target: Span::from_millis(100),
        }
    }
}

/// A rate with a burst allowance, enforced by GCRA.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RateLimit {
    /// Sustained rate; a bare number is per second.
    pub rate: Rate,
    /// Requests that may come at once on top of an even spacing. Default: one second's worth, at least 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000_000))]
    pub burst: Option<u64>,
    /// Requests that a tenant saves up while it stays below its rate, and spends above its burst. They pass only while
    /// their service has room for them. Default: none are saved.
    #[serde(default)]
    #[schemars(range(min = 0, max = 10_000_000))]
    pub credits: u64,
    /// `enforce`, or `shadow` to count what would have been refused and let it pass, or `off`.
    #[serde(default)]
    pub mode: LimitMode,
}

impl RateLimit {
    /// `rate` with `burst` at once, without credits.
    #[must_use]
    pub const fn of(rate: Rate, burst: u64) -> Self {
        Self {
            rate,
            burst: Some(burst),
            credits: 0,
            mode: LimitMode::Enforce,
        }
    }

    /// The burst that applies.
    #[must_use]
    pub fn burst(&self) -> u64 {
        self.burst
            .unwrap_or_else(|| (self.rate.count() / self.rate.period().as_secs().max(1)).max(1))
    }
}

/// A customer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tenant {
    /// The tenant's class of service.
    pub tier: TierId,
    /// A tenant for trying things: `rc up` makes a key for it, and `rc ingest` and `rc search` act as the
    /// first one when told nothing else.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub demo: bool,
    /// A rate of its own, instead of its tier's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rps: Option<RateLimit>,
    /// A time limit of its own, instead of its tier's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Timeout>,
    /// A body limit of its own, instead of its tier's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_max: Option<ByteSize>,
    /// Seats of its own, instead of its tier's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<Concurrency>,
    /// A queue of its own, instead of its tier's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<QueueLimit>,
    /// Second tries of its own, instead of its tier's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// A storage limit of its own, instead of its tier's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<StorageLimit>,
    /// Regions in which the tenant's data may live. Absent: any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub residency: Vec<RegionId>,
}

impl Tenant {
    /// Its own limits over its tier's.
    fn limits(&self, tier: &Tier) -> EffectiveLimits {
        EffectiveLimits {
            tier: self.tier.clone(),
            weight: tier.weight,
            rps: self.rps.unwrap_or(tier.rps),
            timeout: self.timeout.unwrap_or(tier.timeout),
            body_max: self.body_max.unwrap_or(tier.body_max),
            concurrency: self.concurrency.unwrap_or(tier.concurrency),
            queue: self.queue.unwrap_or(tier.queue),
            retry: self.retry.unwrap_or(tier.retry),
            storage: self.storage.or(tier.storage),
        }
    }
}

impl Tier {
    fn default_weight() -> u32 {
        1
    }

    fn default_timeout() -> Timeout {
        Timeout::fixed(Span::from_millis(30_000))
    }

    fn default_body_max() -> ByteSize {
        ByteSize::new(8 << 20)
    }
}

impl TenantsFile {
    /// The tiers that exist without being written down.
    #[must_use]
    pub fn builtin_tiers() -> BTreeMap<TierId, Tier> {
        [
            ("gold", 8, 2_000, 2),
            ("silver", 4, 500, 1),
            ("bronze", 1, 100, 0),
        ]
        .into_iter()
        .map(|(name, weight, rate, share)| {
            let id = TierId::new(name).expect("the built-in names follow the grammar");
            let rps = RateLimit::of(Rate::per_second(rate), rate * 2);
            let (timeout, body_max) = (Tier::default_timeout(), Tier::default_body_max());
            (
                id,
                Tier {
                    weight,
                    rps,
                    timeout,
                    body_max,
                    concurrency: Concurrency {
                        share,
                        ..Concurrency::default()
                    },
                    queue: QueueLimit::default(),
                    retry: Retry::default(),
                    storage: None,
                },
            )
        })
        .collect()
    }

    fn demo_tenants() -> BTreeMap<TenantId, Tenant> {
        [("acme", "gold"), ("globex", "silver")]
            .into_iter()
            .map(|(tenant, tier)| {
                let tier = TierId::new(tier).expect("the built-in names follow the grammar");
                let tenant = TenantId::new(tenant).expect("the built-in names follow the grammar");
                (
                    tenant,
                    Tenant {
                        tier,
                        demo: true,
                        rps: None,
                        timeout: None,
                        body_max: None,
                        concurrency: None,
                        queue: None,
                        retry: None,
                        storage: None,
                        residency: Vec::new(),
                    },
                )
            })
            .collect()
    }

    /// The tier `id`: the file's own, else the built-in one.
    #[must_use]
    pub fn tier(&self, id: &TierId) -> Option<Tier> {
        self.tiers
            .get(id)
            .cloned()
            .or_else(|| Self::builtin_tiers().remove(id))
    }

    /// The limits that apply to `tenant`, its own over its tier's. `None` for an unknown tenant or tier.
    #[must_use]
    pub fn effective(&self, tenant: &TenantId) -> Option<EffectiveLimits> {
        let tenant = self.tenants.get(tenant)?;
        Some(tenant.limits(&self.tier(&tenant.tier)?))
    }

    /// The limits of all tenants whose tier is known. Tiers are looked up once and not for each tenant.
    pub fn effective_of_all(&self) -> impl Iterator<Item = (&TenantId, EffectiveLimits)> {
        let mut tiers = Self::builtin_tiers();
        tiers.extend(self.tiers.iter().map(|(id, tier)| (id.clone(), tier.clone())));
        self.tenants
            .iter()
            .filter_map(move |(id, tenant)| Some((id, tenant.limits(tiers.get(&tenant.tier)?))))
    }

    /// The demo tenants in the order of their names.
    pub fn demo(&self) -> impl Iterator<Item = &TenantId> {
        self.tenants
            .iter()
            .filter(|(_, tenant)| tenant.demo)
            .map(|(id, _)| id)
    }
}

impl Default for TenantsFile {
    fn default() -> Self {
        Self {
            tiers: BTreeMap::new(),
            tenants: Self::demo_tenants(),
            rollouts: BTreeMap::new(),
        }
    }
}

/// The limits of one tenant after its own values have replaced its tier's.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EffectiveLimits {
    pub tier: TierId,
    pub weight: u32,
    pub rps: RateLimit,
    pub timeout: Timeout,
    pub body_max: ByteSize,
    pub concurrency: Concurrency,
    pub queue: QueueLimit,
    pub retry: Retry,
    pub storage: Option<StorageLimit>,
}
