//! From the users' files and the endpoint table to what the data path reads.

use rc_model::ServiceId;
use rc_model::catalog::{Method, Route};
use rc_model::endpoints::{Endpoint, Endpoints};
use rc_model::resilience::Health;
use rc_model::split::Weight;
use rc_model::tenants::TenantsFile;
use rc_model::{catalog::CatalogFile, layout::Layout};
use rc_traffic::Snapshot;
use rc_traffic::snapshot::{
    AnonymousPolicy, Endpoint as UpstreamEndpoint, RouteSpec, SnapshotSpec, TenantSpec, UpstreamSpec,
};
use rc_traffic::{RolloutSpec, VersionSpec, VersionsSpec};

use super::ramps::Ramps;

/// What a snapshot is built from. `version` counts up with every change.
///
/// A built-in service answers on its own socket even before the supervisor has written it down; a
/// service of the user's own has no route until the table names its port. Rollouts have their start values, see
/// [`set_weights`].
pub(super) fn snapshot_spec(
    layout: &Layout,
    catalog: &CatalogFile,
    tenants: &TenantsFile,
    endpoints: &Endpoints,
    version: u64,
) -> SnapshotSpec {
    let mut spec = SnapshotSpec {
        version,
        tenants: tenant_specs(tenants),
        routes: Vec::new(),
        upstreams: Vec::new(),
        versions: VersionsSpec::default(),
        anonymous: AnonymousPolicy::default(),
    };
    let reached = |id: &ServiceId| {
        let builtin = catalog.services.get(id).and_then(|service| service.builtin(id));
        let written = endpoints.services.get(id).map(|endpoint| match endpoint {
            Endpoint::Unix(path) => UpstreamEndpoint::Unix(path.clone()),
            Endpoint::Tcp(address) => UpstreamEndpoint::Tcp(*address),
        });
        written.or_else(|| builtin.map(|_| UpstreamEndpoint::Unix(layout.socket(id))))
    };
    for (id, service) in &catalog.services {
        let routes = service.effective_routes(id);
        let Some(endpoint) = reached(id).filter(|_| !routes.is_empty()) else {
            continue;
        };
        spec.upstreams.push(UpstreamSpec {
            service: id.clone(),
            endpoints: vec![endpoint],
            health: service.health,
        });
        spec.versions
            .versions
            .extend(service.versions.iter().filter_map(|(version, runs)| {
                Some(VersionSpec {
                    service: id.clone(),
                    version: version.clone(),
                    endpoints: vec![reached(runs)?],
                    health: catalog.services.get(runs)?.health,
                })
            }));
        spec.routes.extend(routes.into_iter().map(|route| RouteSpec {
            route,
            service: id.clone(),
        }));
    }
    spec.versions.rollouts = tenants
        .rollouts
        .iter()
        .map(|(name, rollout)| RolloutSpec {
            name: name.clone(),
            weight: Weight::start(rollout),
            rollout: rollout.clone(),
        })
        .collect();
    spec
}

/// Puts the weights that were set in the place of the files' start values.
pub(super) fn set_weights(spec: &mut SnapshotSpec, ramps: &Ramps) {
    for rollout in &mut spec.versions.rollouts {
        if let Some(ramp) = ramps.get(&rollout.name) {
            rollout.weight = ramp.weight.clone();
        }
    }
}

/// Which of `routes` a request takes, or why none.
///
/// # Errors
/// Why none, in words.
pub fn route_of(routes: &[(ServiceId, Route)], path: &str, method: Method) -> Result<usize, String> {
    // Where services are does not matter here.
    let endpoint = UpstreamEndpoint::Unix(std::path::PathBuf::new());
    let services: std::collections::BTreeSet<_> = routes.iter().map(|(service, _)| service).collect();
    let upstreams = services.into_iter().map(|service| UpstreamSpec {
        service: service.clone(),
        endpoints: vec![endpoint.clone()],
        health: Health::default(),
    });
    let routes = routes.iter().map(|(service, route)| RouteSpec {
        route: route.clone(),
        service: service.clone(),
    });
    let snapshot = Snapshot::build(SnapshotSpec {
        version: 0,
        tenants: Vec::new(),
        routes: routes.collect(),
        upstreams: upstreams.collect(),
        versions: VersionsSpec::default(),
        anonymous: AnonymousPolicy::default(),
    });
    snapshot.map_err(|error| error.to_string())?.leads(path, method)
}

/// Every tenant with the limits that apply to it. The model was checked: every tenant's tier exists.
pub(super) fn tenant_specs(tenants: &TenantsFile) -> Vec<TenantSpec> {
    let every = tenants.effective_of_all();
    every
        .map(|(id, limits)| TenantSpec {
            id: id.clone(),
            limits,
        })
        .collect()
}

#[cfg(test)]
mod tests;
