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

#[test]
fn a_version_is_reached_where_the_service_that_runs_it_is_and_set_weights_replace_start_values() {
    use crate::gateway::ramps::{Before, Ramp};
    use rc_model::split::{Owner, Share};
    use rc_model::{RolloutId, Timestamp, VersionId};

    let layout = Layout::new(Path::new("/p"));
    let mut catalog = CatalogFile::default();
    let next = ServiceId::new("docs-next").unwrap();
    let docs = catalog.services.get_mut("docs-api").unwrap();
    docs.versions.insert(VersionId::new("v2").unwrap(), next.clone());
    let mut service = docs.clone();
    service.command = vec!["true".to_owned()];
    service.versions.clear();
    catalog.services.insert(next.clone(), service);
    let name = RolloutId::new("docs-v2").unwrap();
    let rollout = serde_json::json!({"service": "docs-api", "to": "v2", "percent": 10});
    let mut tenants = TenantsFile::default();
    tenants
        .rollouts
        .insert(name.clone(), serde_json::from_value(rollout).unwrap());

    let mut endpoints = Endpoints::default();
    let spec = snapshot_spec(&layout, &catalog, &tenants, &endpoints, 1);
    assert!(spec.versions.versions.is_empty(), "its port is not known yet");
    let address = "127.0.0.1:4000".parse().unwrap();
    endpoints.services.insert(next, Endpoint::Tcp(address));
    let mut spec = snapshot_spec(&layout, &catalog, &tenants, &endpoints, 1);
    let version = &spec.versions.versions[0];
    assert_eq!(
        (
            version.service.as_str(),
            version.version.as_str(),
            &version.endpoints[..]
        ),
        ("docs-api", "v2", &[UpstreamEndpoint::Tcp(address)][..])
    );

    let weight = |spec: &SnapshotSpec| spec.versions.rollouts[0].weight.clone();
    assert_eq!(
        (weight(&spec).owner, weight(&spec).percent.percent()),
        (Owner::Start, 10.0)
    );
    let set = Weight {
        generation: 3,
        percent: Share::ALL,
        owner: Owner::Ramp,
        members: None,
    };
    let ramp = Ramp {
        weight: set.clone(),
        before: Before {
            percent: Share::NONE,
            members: None,
        },
        changed_at: Timestamp::from_unix_ms(0),
        reason: None,
    };
    set_weights(&mut spec, &Ramps::from([(name, ramp)]));
    assert_eq!(weight(&spec), set);
}
