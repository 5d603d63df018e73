//! From the users' files and the endpoint table to what the data path reads.

use rc_model::ServiceId;
use rc_model::catalog::{Method, Route};
use rc_model::endpoints::{Endpoint, Endpoints};
use rc_model::resilience::Health;
use rc_model::tenants::TenantsFile;
use rc_model::{catalog::CatalogFile, layout::Layout};
use rc_traffic::Snapshot;
use rc_traffic::snapshot::{
    AnonymousPolicy, Endpoint as UpstreamEndpoint, RouteSpec, SnapshotSpec, TenantSpec, UpstreamSpec,
};

/// What a snapshot is built from. `version` counts up with every change.
///
/// A built-in service answers on its own socket even before the supervisor has written it down; a
/// service of the user's own has no route until the table names its port.
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
        anonymous: AnonymousPolicy::default(),
    };
    for (id, service) in &catalog.services {
        let builtin = service
            .builtin(id)
            .map(|_| UpstreamEndpoint::Unix(layout.socket(id)));
        let written = endpoints.services.get(id).map(|endpoint| match endpoint {
            Endpoint::Unix(path) => UpstreamEndpoint::Unix(path.clone()),
            Endpoint::Tcp(address) => UpstreamEndpoint::Tcp(*address),
        });
        let routes = service.effective_routes(id);
        let Some(endpoint) = written.or(builtin).filter(|_| !routes.is_empty()) else {
            continue;
        };
        spec.upstreams.push(UpstreamSpec {
            service: id.clone(),
            endpoints: vec![endpoint],
            health: service.health,
        });
        spec.routes.extend(routes.into_iter().map(|route| RouteSpec {
            route,
            service: id.clone(),
        }));
    }
    spec
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
