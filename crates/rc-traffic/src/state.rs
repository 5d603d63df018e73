//! What outlives a snapshot: the state of limits, the metrics, and the cell that holds the snapshot in use.
//!
//! Limits are keyed by tenant. A new snapshot takes over each tenant's state, fitted to the new rule; a
//! tenant that is gone keeps its state until it has rested, so that being removed and added again is no
//! way to a fresh allowance.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use rc_model::project::RateLimitHeaders;
use rc_model::{Clock, TenantId};

use crate::answer::LimitFields;
use crate::config::GatewayConfig;
use crate::key::KeyTable;
use crate::limit::{SourceTable, Tat};
use crate::metrics::{Series, SeriesKey, TrafficMetrics};
use crate::snapshot::Snapshot;

/// Shared by all workers and by the gateway's handle.
pub(crate) struct Shared {
    pub(crate) config: GatewayConfig,
    pub(crate) active: ArcSwap<Active>,
    pub(crate) keys: ArcSwap<Arc<dyn KeyTable>>,
    pub(crate) metrics: Arc<TrafficMetrics>,
    /// Where limits read the time.
    pub(crate) clock: Arc<dyn Clock>,
    /// Touched only when a snapshot is installed.
    tats: Mutex<HashMap<TenantId, Arc<Tat>>>,
}

/// A snapshot joined with the state of its limits and its metric series.
pub(crate) struct Active {
    pub(crate) snapshot: Snapshot,
    /// One for each tenant of the snapshot.
    pub(crate) limits: Vec<TenantState>,
    /// By route, then tier. The row behind the last route is for requests that match none.
    pub(crate) series: Vec<Vec<Arc<Series>>>,
    pub(crate) anonymous: Arc<AnonymousState>,
}

pub(crate) struct TenantState {
    pub(crate) tat: Arc<Tat>,
    pub(crate) fields: LimitFields,
}

/// Limits of requests without a tenant.
pub(crate) struct AnonymousState {
    /// Requests on public routes.
    pub(crate) shared: Tat,
    /// Requests whose key is missing or wrong. Apart from `shared`, so that guessing keys does not shut
    /// public routes.
    pub(crate) unproved: Tat,
    pub(crate) sources: SourceTable,
}

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
        });
        let mut tats = HashMap::new();
        let now_ns = clock.monotonic_ns();
        let active = join(
            snapshot,
            &mut tats,
            &metrics,
            anonymous,
            config.ratelimit_headers,
            now_ns,
        );
        Self {
            config,
            active: ArcSwap::from_pointee(active),
            keys: ArcSwap::from_pointee(keys),
            metrics,
            clock,
            tats: Mutex::new(tats),
        }
    }

    /// Puts `snapshot` in use. Requests under way finish with the one they began with.
    pub(crate) fn install(&self, snapshot: Snapshot) {
        let mut tats = self.tats.lock().unwrap_or_else(PoisonError::into_inner);
        let anonymous = Arc::clone(&self.active.load().anonymous);
        let headers = self.config.ratelimit_headers;
        let now_ns = self.clock.monotonic_ns();
        let active = join(snapshot, &mut tats, &self.metrics, anonymous, headers, now_ns);
        self.active.store(Arc::new(active));
    }
}

fn join(
    snapshot: Snapshot,
    tats: &mut HashMap<TenantId, Arc<Tat>>,
    metrics: &TrafficMetrics,
    anonymous: Arc<AnonymousState>,
    headers: RateLimitHeaders,
    now_ns: u64,
) -> Active {
    let limits = snapshot
        .tenants
        .iter()
        .map(|tenant| {
            let tat = tats.entry(tenant.id.clone()).or_default();
            tat.clamp(&tenant.rps, now_ns);
            TenantState {
                tat: Arc::clone(tat),
                fields: LimitFields::new(&tenant.rps, headers),
            }
        })
        .collect();
    tats.retain(|tenant, tat| snapshot.by_tenant.contains_key(tenant) || !tat.is_rested(now_ns));
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
        anonymous,
    }
}

#[cfg(test)]
mod tests;
