//! How full the limits of one tenant are at this moment, for people: `GET /-/levels` and `rc gateway explain`.
//!
//! Looking takes nothing and stops nobody; numbers of different limits are not of the very same moment.

use std::sync::Arc;

use rc_model::TenantId;
use serde::{Deserialize, Serialize};

use crate::gateway::Gateway;
use crate::limit::{Gcra, Tat, Verdict};
use crate::seats::SeatPool;

/// The limits of one tenant, or of requests without one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Levels {
    /// The version of the policy in use.
    pub version: u64,
    /// Absent: requests without a tenant.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub tenant: Option<TenantId>,
    /// Its rate; of requests without a tenant, the one of all public routes together.
    pub rate: RateLevel,
    /// The rate of requests whose key is missing or wrong, all together.
    pub unproved: RateLevel,
    /// Each route with its seats.
    pub routes: Vec<RouteLevel>,
}

/// How much of a rate is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RateLevel {
    /// Requests that may come at once.
    pub left: u64,
    /// How many there are after a rest.
    pub burst: u64,
    /// Time until all are there again.
    pub full_in_ms: u64,
    /// Requests that are saved up on top.
    #[serde(default)]
    pub credits: u64,
}

/// The seats of one route.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RouteLevel {
    pub service: String,
    /// The route's path prefix.
    pub path: String,
    /// The tenant's requests at the service.
    pub in_flight: u32,
    /// The tenant's requests that wait.
    pub waiting: u32,
    /// Everybody's requests at the service.
    pub seats_in_use: u32,
    /// How many there may be, as the gateway found out.
    pub seats_limit: u32,
    /// Everybody's requests that wait.
    pub seats_waiting: u32,
    /// Time to the first byte without a queue, and in the latest window, in milliseconds.
    pub least_ms: f64,
    pub latest_ms: f64,
}

impl RateLevel {
    fn of(rule: &Gcra, state: &Tat, now_ns: u64) -> Self {
        let (left, full_in_ns) = match rule.peek(state, now_ns) {
            Verdict::Admit { remaining, reset_ns } => (remaining, reset_ns),
            Verdict::Refuse { wait_ns } => {
                let window_ns = u64::try_from(rule.window().as_nanos()).unwrap_or(u64::MAX);
                (0, window_ns.saturating_add(wait_ns))
            }
        };
        Self {
            left,
            burst: rule.burst(),
            full_in_ms: full_in_ns.div_ceil(1_000_000),
            credits: 0,
        }
    }
}

impl Gateway {
    /// The levels of `tenant`, or of requests without one. `None` for a tenant that is not there.
    #[must_use]
    pub fn levels(&self, tenant: Option<&TenantId>) -> Option<Levels> {
        let active = self.shared().active.load();
        let snapshot = &active.snapshot;
        let now_ns = self.shared().clock.monotonic_ns();
        let anonymous = &active.anonymous;
        let (rate, slot) = match tenant {
            Some(tenant) => {
                let index = *snapshot.by_tenant.get(tenant)? as usize;
                let state = &active.limits[index];
                let rule = &snapshot.tenants[index].rps;
                let rate = RateLevel {
                    credits: rule.credits(state.meter(), now_ns),
                    ..RateLevel::of(rule.committed(), state.meter().committed(), now_ns)
                };
                (rate, state.claim.slot)
            }
            None => {
                let rate = RateLevel::of(&snapshot.anonymous.shared, &anonymous.shared, now_ns);
                (rate, anonymous.claim.slot)
            }
        };
        let routes = snapshot.routes.iter().zip(&active.pools);
        let routes = routes.map(|(route, pool)| {
            let service = &snapshot.upstreams[route.upstream].service;
            RouteLevel::of(service.as_str(), &route.path, pool, slot)
        });
        Some(Levels {
            version: snapshot.version,
            tenant: tenant.cloned(),
            rate,
            unproved: RateLevel::of(&snapshot.anonymous.shared, &anonymous.unproved, now_ns),
            routes: routes.collect(),
        })
    }
}

impl RouteLevel {
    fn of(service: &str, path: &str, pool: &Arc<SeatPool>, slot: u32) -> Self {
        let (in_flight, waiting) = pool.of_tenant(slot);
        let level = pool.level();
        let ms = |us: f64| if us.is_finite() { us / 1_000.0 } else { 0.0 };
        Self {
            service: service.to_owned(),
            path: path.to_owned(),
            in_flight,
            waiting,
            seats_in_use: level.in_use,
            seats_limit: level.limit,
            seats_waiting: pool.waiting(),
            least_ms: ms(level.inputs.least_us),
            latest_ms: ms(level.inputs.latest_us),
        }
    }
}
