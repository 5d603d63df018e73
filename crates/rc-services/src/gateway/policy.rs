//! From the users' files and the endpoint table to what the data path reads.

use rc_model::endpoints::{Endpoint, Endpoints};
use rc_model::tenants::TenantsFile;
use rc_model::{catalog::CatalogFile, layout::Layout};
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
        tenants: Vec::new(),
        routes: Vec::new(),
        upstreams: Vec::new(),
        anonymous: AnonymousPolicy::default(),
    };
    for id in tenants.tenants.keys() {
        // The model was checked: every tenant's tier exists.
        if let Some(limits) = tenants.effective(id) {
            spec.tenants.push(TenantSpec {
                id: id.clone(),
                limits,
            });
        }
    }
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

#[cfg(test)]
mod tests;
