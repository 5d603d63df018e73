//! What outlives a snapshot: the state of limits, the metrics, and the cell that holds the snapshot in use.
//!
//! Limits are keyed by tenant, seats by service and route. A new snapshot takes over each tenant's state, fitted to
//! the new rule; a tenant that is gone keeps its state until it has rested, so that being removed and added again is
//! no way to a fresh allowance. Of those only so many are kept; when there are more, whoever comes next starts with
//! nothing until all that were forgotten would have rested.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use rc_model::project::RateLimitHeaders;
use rc_model::{Clock, TenantId};

use crate::answer::LimitFields;
use crate::cache::{Caches, Epoch, KeptCaches};
use crate::config::GatewayConfig;
use crate::crowd::Sources;
use crate::health::{self, KeptHealth, ServiceHealth};
use crate::key::KeyTable;
use crate::latency::{self, KeptLatency, Latency};
use crate::limit::{MeterState, SourceTable, Tat};
use crate::metrics::{NamedPool, Series, SeriesKey, TrafficMetrics, Watched};
use crate::seats::{Claim, SeatPool};
use crate::snapshot::Snapshot;
use crate::versions::Lane;
use crate::versions::counts::{Counts, Line, LineIndex};

/// Shared by all workers and by the gateway's handle.
pub(crate) struct Shared {
    pub(crate) config: GatewayConfig,
    pub(crate) active: ArcSwap<Active>,
    pub(crate) keys: ArcSwap<Arc<dyn KeyTable>>,
    pub(crate) sources: Arc<Sources>,
    pub(crate) metrics: Arc<TrafficMetrics>,
    /// Requests of services with several versions.
    pub(crate) counts: Counts,
    /// Where limits read the time.
    pub(crate) clock: Arc<dyn Clock>,
    /// Touched only when a snapshot is installed.
    kept: Mutex<Kept>,
}

/// What is taken over from one snapshot to the next.
#[derive(Default)]
struct Kept {
    tenants: HashMap<TenantId, Arc<TenantKept>>,
    pools: HashMap<PoolKey, Arc<SeatPool>>,
    caches: KeptCaches,
    slots: Arc<Slots>,
    health: KeptHealth,
    latency: KeptLatency,
    /// When the last of the tenants would have rested whose state was given up before that.
    forgotten_ns: u64,
}

/// Tenants that are gone and have not rested, of which the state is kept: some 200 bytes each.
const GONE_MAX: usize = 4_096;

/// A service with its version, and a route. Routes of one path that differ in their methods share a pool.
type PoolKey = (String, String);

/// One tenant's part of what is kept.
struct TenantKept {
    meter: MeterState,
    slot: Slot,
    parked: Arc<AtomicU32>,
    epoch: Arc<Epoch>,
    connections: Arc<AtomicU32>,
}

/// Places for tenants in every pool's table.
#[derive(Default)]
struct Slots(Mutex<FreeSlots>);

#[derive(Default)]
struct FreeSlots {
    free: Vec<u32>,
    /// Slots that were ever given; the first is for requests without a tenant.
    given: u32,
}

/// A place for one tenant; free again when the last request that knows the tenant has ended.
struct Slot {
    at: u32,
    slots: Arc<Slots>,
}

impl Kept {
    /// What is kept of `id`, or what a tenant begins with.
    fn tenant(&mut self, id: &TenantId) -> Arc<TenantKept> {
        if let Some(kept) = self.tenants.get(id) {
            return Arc::clone(kept);
        }
        let kept = Arc::new(TenantKept {
            meter: MeterState::default(),
            slot: self.slots.take(),
            parked: Arc::default(),
            epoch: Arc::default(),
            connections: Arc::default(),
        });
        // It may be one of those whose state was given up. Later than that moment this changes nothing.
        kept.meter.exhaust(self.forgotten_ns);
        self.tenants.insert(id.clone(), Arc::clone(&kept));
        kept
    }

    /// Forgets tenants that are not in `snapshot`: those that have rested, and of the others those that are nearest to
    /// it when there are more than [`GONE_MAX`].
    fn forget(&mut self, snapshot: &Snapshot, now_ns: u64) {
        let there = |tenant: &TenantId| snapshot.by_tenant.contains_key(tenant);
        self.tenants
            .retain(|tenant, kept| there(tenant) || kept.meter.full_ns() > now_ns);
        let excess = self
            .tenants
            .len()
            .saturating_sub(snapshot.tenants.len() + GONE_MAX);
        if excess == 0 {
            return;
        }
        let gone = self.tenants.iter().filter(|(tenant, _)| !there(tenant));
        let mut gone: Vec<(u64, TenantId)> = gone
            .map(|(tenant, kept)| (kept.meter.full_ns(), tenant.clone()))
            .collect();
        gone.sort_unstable();
        for (full_ns, tenant) in gone.into_iter().take(excess) {
            self.forgotten_ns = self.forgotten_ns.max(full_ns);
            self.tenants.remove(&tenant);
        }
    }
}

impl Slots {
    fn take(self: &Arc<Self>) -> Slot {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = slots.free.pop().unwrap_or_else(|| {
            slots.given += 1;
            slots.given
        });
        Slot {
            at,
            slots: Arc::clone(self),
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut slots = self.slots.0.lock().unwrap_or_else(PoisonError::into_inner);
        slots.free.push(self.at);
    }
}

/// A snapshot joined with the state of its limits and its metric series.
pub(crate) struct Active {
    pub(crate) snapshot: Snapshot,
    /// One for each tenant of the snapshot.
    pub(crate) limits: Vec<TenantState>,
    /// By route, then tier. The row behind the last route is for requests that match none.
    pub(crate) series: Vec<Vec<Arc<Series>>>,
    /// The seats of each lane of the snapshot.
    pub(crate) pools: Vec<Arc<SeatPool>>,
    /// What routes keep of their answers.
    pub(crate) caches: Caches,
    /// What is known of each upstream.
    pub(crate) health: Vec<Arc<ServiceHealth>>,
    /// By route, then tier; only where somebody needs to know.
    latency: Vec<Option<Arc<Latency>>>,
    /// Where requests of each lane are counted: 0 and not looked at where the service has one version.
    pub(crate) lines: Vec<LineIndex>,
    pub(crate) anonymous: Arc<AnonymousState>,
}

pub(crate) struct TenantState {
    kept: Arc<TenantKept>,
    pub(crate) fields: LimitFields,
    pub(crate) claim: Claim,
}

impl Active {
    /// The series of a request, as far as its route and tenant are known.
    pub(crate) fn series(&self, route: Option<usize>, tenant: Option<usize>) -> &Series {
        let row = route.unwrap_or(self.snapshot.routes.len());
        let tier = tenant.map_or(0, |tenant| self.snapshot.tenants[tenant].tier);
        &self.series[row][tier]
    }

    /// The epoch of what is kept for a tenant, or for all requests without one.
    pub(crate) fn epoch(&self, tenant: Option<usize>) -> &Arc<Epoch> {
        match tenant {
            Some(tenant) => &self.limits[tenant].kept.epoch,
            None => &self.anonymous.epoch,
        }
    }

    /// How long such requests take until their answers begin, where that is watched.
    pub(crate) fn latency(&self, route: usize, tenant: Option<usize>) -> Option<&Latency> {
        let tier = tenant.map_or(0, |tenant| self.snapshot.tenants[tenant].tier);
        self.latency[route * self.snapshot.tiers.len() + tier].as_deref()
    }

    /// Everything that is watched, for each worker to bring what it has counted.
    pub(crate) fn latencies(&self) -> impl Iterator<Item = &Latency> {
        self.latency.iter().filter_map(Option::as_deref)
    }
}

impl TenantState {
    pub(crate) fn meter(&self) -> &MeterState {
        &self.kept.meter
    }

    /// Its connections whose refusal is held back.
    pub(crate) fn parked(&self) -> &Arc<AtomicU32> {
        &self.kept.parked
    }

    /// The connections on which it made the latest request.
    pub(crate) fn connections(&self) -> &Arc<AtomicU32> {
        &self.kept.connections
    }
}

/// Limits of requests without a tenant.
pub(crate) struct AnonymousState {
    /// Requests on public routes.
    pub(crate) shared: Tat,
    /// Requests whose key is missing or wrong, and those of a trusted hop for a tenant that there is not. Apart from
    /// `shared`, so that guessing keys does not shut public routes.
    pub(crate) unproved: Tat,
    pub(crate) sources: SourceTable,
    /// All requests without a tenant are one tenant of the least weight.
    pub(crate) claim: Claim,
    pub(crate) parked: Arc<AtomicU32>,
    epoch: Arc<Epoch>,
}

/// How many anonymous requests may wait for a seat of one route, and for how long as a rule.
const ANONYMOUS_WAITING_MAX: u32 = 256;
const ANONYMOUS_TARGET_NS: u64 = 100_000_000;

impl Shared {
    pub(crate) fn new(
        config: GatewayConfig,
        snapshot: Snapshot,
        keys: Arc<dyn KeyTable>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let metrics = Arc::new(TrafficMetrics::new(config.workers.get()));
        let anonymous = Arc::new(AnonymousState {
            shared: Tat::default(),
            unproved: Tat::default(),
            sources: SourceTable::new(),
            claim: Claim {
                slot: 0,
                weight: 1,
                share: 0,
                max: u32::MAX,
                waiting_max: ANONYMOUS_WAITING_MAX,
                target_ns: ANONYMOUS_TARGET_NS,
            },
            parked: Arc::default(),
            epoch: Arc::default(),
        });
        let counts = Counts::new(config.workers.get());
        let mut kept = Kept::default();
        let now_ns = clock.monotonic_ns();
        let active = join(
            snapshot,
            &mut kept,
            &metrics,
            &counts,
            anonymous,
            config.ratelimit_headers,
            now_ns,
        );
        Self {
            sources: Arc::new(Sources::new(&config.limits)),
            config,
            active: ArcSwap::from_pointee(active),
            keys: ArcSwap::from_pointee(keys),
            metrics,
            counts,
            clock,
            kept: Mutex::new(kept),
        }
    }

    /// Puts `snapshot` in use. Requests under way finish with the one they began with.
    pub(crate) fn install(&self, snapshot: Snapshot) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let anonymous = Arc::clone(&self.active.load().anonymous);
        let headers = self.config.ratelimit_headers;
        let now_ns = self.clock.monotonic_ns();
        let active = join(
            snapshot,
            &mut kept,
            &self.metrics,
            &self.counts,
            anonymous,
            headers,
            now_ns,
        );
        self.active.store(Arc::new(active));
    }
}

fn join(
    snapshot: Snapshot,
    kept: &mut Kept,
    metrics: &TrafficMetrics,
    counts: &Counts,
    anonymous: Arc<AnonymousState>,
    headers: RateLimitHeaders,
    now_ns: u64,
) -> Active {
    let limits = snapshot
        .tenants
        .iter()
        .map(|tenant| {
            let kept = kept.tenant(&tenant.id);
            kept.meter.clamp(&tenant.rps, now_ns);
            TenantState {
                fields: LimitFields::new(tenant.rps.committed(), headers),
                claim: Claim {
                    slot: kept.slot.at,
                    ..tenant.claim
                },
                kept,
            }
        })
        .collect();
    kept.forget(&snapshot, now_ns);
    // Their rules may have changed, too.
    anonymous.shared.clamp(&snapshot.anonymous.shared, now_ns);
    anonymous.unproved.clamp(&snapshot.anonymous.shared, now_ns);
    let lines = join_lines(&snapshot, counts);
    let pools = join_pools(&snapshot, &mut kept.pools, metrics, now_ns);
    let caches = Caches::join(&snapshot, &mut kept.caches, metrics);
    let health = health::join(&snapshot, &mut kept.health);
    let latency = latency::join(&snapshot, &mut kept.latency, metrics.workers.len());
    let known = kept.latency.iter();
    *metrics.watched.lock().unwrap_or_else(PoisonError::into_inner) = Watched {
        health: health.clone(),
        latency: known
            .map(|(key, latency)| (key.clone(), Arc::clone(latency)))
            .collect(),
    };
    let row = |service: &str, route: &str| {
        let series = snapshot.tiers.iter().map(|tier| {
            metrics.series(SeriesKey {
                service: service.to_owned(),
                route: route.to_owned(),
                tier: tier.clone(),
            })
        });
        series.collect::<Vec<_>>()
    };
    let mut series: Vec<_> = snapshot
        .routes
        .iter()
        .map(|route| row(snapshot.upstreams[route.upstream].service.as_str(), &route.path))
        .collect();
    series.push(row("none", "none"));
    metrics
        .snapshot_version
        .store(snapshot.version, Ordering::Relaxed);
    metrics.snapshot_installs.fetch_add(1, Ordering::Relaxed);
    Active {
        snapshot,
        limits,
        series,
        pools,
        caches,
        health,
        latency,
        lines,
        anonymous,
    }
}

fn join_lines(snapshot: &Snapshot, counts: &Counts) -> Vec<LineIndex> {
    let line = |lane: &Lane| {
        let (route, upstream) = (&snapshot.routes[lane.route], &snapshot.upstreams[lane.upstream]);
        route.split.as_ref().map_or(0, |_| {
            counts.line(Line {
                service: upstream.service.clone(),
                version: upstream.version().to_owned(),
                route: route.path.clone(),
            })
        })
    };
    snapshot.lanes.iter().map(line).collect()
}

fn join_pools(
    snapshot: &Snapshot,
    kept: &mut HashMap<PoolKey, Arc<SeatPool>>,
    metrics: &TrafficMetrics,
    now_ns: u64,
) -> Vec<Arc<SeatPool>> {
    let mut named: BTreeMap<_, NamedPool> = BTreeMap::new();
    let lanes = snapshot.lanes.iter().map(|lane| {
        let route = &snapshot.routes[lane.route];
        let key = (snapshot.upstreams[lane.upstream].label(), route.path.clone());
        let pool = match named.get(&key) {
            Some(named) => Arc::clone(&named.pool),
            None => match kept.get(&key) {
                Some(pool) => {
                    pool.rebound(route.bounds, now_ns);
                    Arc::clone(pool)
                }
                None => Arc::new(SeatPool::new(route.bounds)),
            },
        };
        named.entry(key.clone()).or_insert_with(|| NamedPool {
            service: key.0,
            route: key.1,
            pool: Arc::clone(&pool),
        });
        pool
    });
    let pools = lanes.collect();
    // Who still has a seat of a route that is gone keeps its pool by itself.
    *kept = named
        .iter()
        .map(|(key, named)| (key.clone(), Arc::clone(&named.pool)))
        .collect();
    *metrics.pools.lock().unwrap_or_else(PoisonError::into_inner) = named.into_values().collect();
    pools
}

#[cfg(test)]
mod tests;
