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
        concurrency: None,
        cache: None,
        hedge: None,
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
