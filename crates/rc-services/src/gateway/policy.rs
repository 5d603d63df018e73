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
        });
        spec.routes.extend(routes.into_iter().map(|route| RouteSpec {
            route,
            service: id.clone(),
        }));
    }
    spec
}

#[cfg(test)]
mod tests {
    use super::*;
    use rc_model::ServiceId;
    use std::path::Path;

    #[test]
    fn built_in_services_are_reached_on_their_own_sockets() {
        let layout = Layout::new(Path::new("/p"));
        let spec = snapshot_spec(
            &layout,
            &CatalogFile::default(),
            &TenantsFile::default(),
            &Endpoints::default(),
            7,
        );
        assert_eq!(spec.version, 7);
        assert_eq!(spec.tenants.len(), 2);
        let ingest = spec
            .upstreams
            .iter()
            .find(|upstream| upstream.service.as_str() == "ingest")
            .unwrap();
        assert_eq!(
            ingest.endpoints,
            [UpstreamEndpoint::Unix("/p/.royalcrown/run/ingest.sock".into())]
        );
        assert!(spec.routes.iter().any(|route| route.route.path == "/search"));
        assert!(
            spec.upstreams
                .iter()
                .all(|upstream| upstream.service.as_str() != "gateway")
        );
    }

    #[test]
    fn a_users_own_service_has_no_route_until_its_port_is_known() {
        let layout = Layout::new(Path::new("/p"));
        let mut catalog = CatalogFile::default();
        let hello = ServiceId::new("hello").unwrap();
        let mut service = catalog.services.values().next().unwrap().clone();
        service.command = vec!["true".to_owned()];
        service.routes = vec![rc_model::catalog::Route {
            path: "/hello".to_owned(),
            methods: Vec::new(),
            timeout: None,
            public: true,
        }];
        catalog.services.insert(hello.clone(), service);
        let has_route = |endpoints: &Endpoints| {
            let spec = snapshot_spec(&layout, &catalog, &TenantsFile::default(), endpoints, 1);
            spec.routes.iter().any(|route| route.service == hello)
        };
        assert!(!has_route(&Endpoints::default()));
        let mut endpoints = Endpoints::default();
        endpoints
            .services
            .insert(hello.clone(), Endpoint::Tcp("127.0.0.1:4000".parse().unwrap()));
        assert!(has_route(&endpoints));
    }
}
