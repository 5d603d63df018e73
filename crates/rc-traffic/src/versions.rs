//! Which version of a service gets a request.
//!
//! Everything that does not depend on the single request is decided when a snapshot is compiled: with a rollout by
//! tenant a request costs one load. A route of a service without other versions has no [`Split`] and pays a branch.
//!
//! The choice is made once, at admission: whatever is tried again goes to the same version.

pub(crate) mod counts;

use std::collections::{HashMap, HashSet};

use rc_model::resilience::Health;
use rc_model::split::{Rollout, STABLE, SplitBy, Weight, bucket_of, seed, user_bucket};
use rc_model::{RolloutId, ServiceId, TenantId, VersionId};

use crate::snapshot::{Endpoint, RoutePolicy, TenantPolicy, Upstream};

pub use counts::{Caller, Count, CountedSecond, CountsReport, OUTCOMES};

/// Versions of services, and who gets which.
#[derive(Debug, Clone, Default)]
pub struct VersionsSpec {
    pub versions: Vec<VersionSpec>,
    pub rollouts: Vec<RolloutSpec>,
}

/// One more version of a service that is an upstream already.
#[derive(Debug, Clone)]
pub struct VersionSpec {
    pub service: ServiceId,
    pub version: VersionId,
    pub endpoints: Vec<Endpoint>,
    /// When an endpoint is left alone, and when the whole version.
    pub health: Health,
}

/// A rollout with the weight that it has at this moment. Without the version that it is for, all stay where they are: a
/// version that does not run yet gets nothing.
#[derive(Debug, Clone)]
pub struct RolloutSpec {
    pub name: RolloutId,
    pub rollout: Rollout,
    pub weight: Weight,
}

/// How a route leads to one version of its service. Each has seats of its own: a slow version does not take those of
/// another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lane {
    pub(crate) route: usize,
    pub(crate) upstream: usize,
}

/// A place in [`crate::snapshot::Snapshot::lanes`].
pub(crate) type LaneIndex = usize;

/// How the requests of one route are divided.
#[derive(Debug)]
pub(crate) struct Split {
    stable: LaneIndex,
    /// The rollout, while its version can be reached.
    canary: Option<Canary>,
    /// One for each tenant of the snapshot.
    tenants: Vec<Side>,
    anonymous: Side,
}

#[derive(Debug)]
struct Canary {
    lane: LaneIndex,
    by_request: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    /// All of its requests.
    To(LaneIndex),
    /// The part of its requests, or of its users, whose bucket is below `buckets`.
    Draw { buckets: u16, seed: u64 },
}

impl Split {
    /// The lane of one request. `user` is the key that was shown; `random` is drawn where each request is dealt anew.
    pub(crate) fn choose(
        &self,
        tenant: Option<usize>,
        user: Option<&str>,
        random: impl FnOnce() -> u64,
    ) -> LaneIndex {
        let side = tenant.map_or(self.anonymous, |tenant| self.tenants[tenant]);
        let (buckets, seed) = match side {
            Side::To(lane) => return lane,
            Side::Draw { buckets, seed } => (buckets, seed),
        };
        let Some(canary) = &self.canary else {
            return self.stable;
        };
        let bucket = match user {
            _ if canary.by_request => bucket_of(random()),
            Some(user) => user_bucket(seed, user),
            None => bucket_of(seed),
        };
        match bucket < buckets {
            true => canary.lane,
            false => self.stable,
        }
    }
}

/// The lanes of all routes, each route's own at its index and those of other versions behind, and the split of each
/// route that has some.
pub(crate) fn compile(
    spec: VersionsSpec,
    routes: &mut [RoutePolicy],
    upstreams: &mut Vec<Upstream>,
    tenants: &[TenantPolicy],
) -> Vec<Lane> {
    let lane = |(route, policy): (usize, &RoutePolicy)| Lane {
        route,
        upstream: policy.upstream,
    };
    let mut lanes: Vec<Lane> = routes.iter().enumerate().map(lane).collect();
    let mut versions: HashMap<ServiceId, Vec<(VersionId, usize)>> = HashMap::new();
    for VersionSpec {
        service,
        version,
        endpoints,
        health,
    } in spec.versions
    {
        let known = versions.entry(service.clone()).or_default();
        known.push((version.clone(), upstreams.len()));
        upstreams.push(Upstream::new(service, Some(version), endpoints, health));
    }
    for (at, route) in routes.iter_mut().enumerate() {
        let Some(versions) = versions.get(&upstreams[route.upstream].service) else {
            continue;
        };
        let mut named: HashMap<&str, LaneIndex> = HashMap::from([(STABLE, at)]);
        for (version, upstream) in versions {
            named.insert(version.as_str(), lanes.len());
            lanes.push(Lane {
                route: at,
                upstream: *upstream,
            });
        }
        let service = &upstreams[route.upstream].service;
        let mine = spec
            .rollouts
            .iter()
            .filter(|found| found.rollout.service == *service);
        // The one for this path, else the one for all.
        let rollout = mine
            .filter(|found| {
                found
                    .rollout
                    .route
                    .as_ref()
                    .is_none_or(|path| *path == route.path)
            })
            .max_by_key(|found| found.rollout.route.is_some());
        route.split = Some(Box::new(split(rollout, at, &named, tenants)));
    }
    lanes
}

fn split(
    rollout: Option<&RolloutSpec>,
    stable: LaneIndex,
    named: &HashMap<&str, LaneIndex>,
    tenants: &[TenantPolicy],
) -> Split {
    let canary = rollout.and_then(|spec| Some((spec, *named.get(spec.rollout.to.as_str())?)));
    let Some((spec, lane)) = canary else {
        return Split {
            stable,
            canary: None,
            tenants: tenants
                .iter()
                .map(|tenant| pinned(rollout, &tenant.id, named, stable))
                .collect(),
            anonymous: Side::To(stable),
        };
    };
    let everybody = spec.weight.percent;
    let by = spec.rollout.by;
    // Who cannot be told from others could not be kept on one version either, and moves when all have.
    let anonymous = match by {
        _ if everybody.is_all() => Side::To(lane),
        SplitBy::Request => Side::Draw {
            buckets: everybody.buckets(),
            seed: 0,
        },
        SplitBy::User | SplitBy::Tenant | SplitBy::Traffic => Side::To(stable),
    };
    let members: Option<HashSet<&TenantId>> =
        spec.weight.members.as_ref().map(|found| found.iter().collect());
    let side = |tenant: &TenantPolicy| {
        if spec.rollout.pin.contains_key(&tenant.id) {
            return pinned(rollout, &tenant.id, named, stable);
        }
        let own = spec.rollout.percent_of.get(&tenant.id);
        let share = *own.unwrap_or(&everybody);
        let seed = seed(&spec.name, &tenant.id);
        let inside = match (by, &members) {
            _ if share.is_all() => true,
            (SplitBy::Request | SplitBy::User, _) => {
                let buckets = share.buckets();
                return Side::Draw { buckets, seed };
            }
            (SplitBy::Traffic, Some(members)) if own.is_none() => members.contains(&tenant.id),
            (SplitBy::Tenant | SplitBy::Traffic, _) => bucket_of(seed) < share.buckets(),
        };
        Side::To(if inside { lane } else { stable })
    };
    Split {
        stable,
        canary: Some(Canary {
            lane,
            by_request: by == SplitBy::Request,
        }),
        tenants: tenants.iter().map(side).collect(),
        anonymous,
    }
}

/// Where a tenant's pin leads; to what is stable without one, and while its version cannot be reached.
fn pinned(
    rollout: Option<&RolloutSpec>,
    tenant: &TenantId,
    named: &HashMap<&str, LaneIndex>,
    stable: LaneIndex,
) -> Side {
    let pin = rollout.and_then(|spec| spec.rollout.pin.get(tenant));
    Side::To(
        pin.and_then(|version| named.get(version.as_str()))
            .copied()
            .unwrap_or(stable),
    )
}

#[cfg(test)]
mod tests;
