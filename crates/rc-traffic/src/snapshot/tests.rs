use super::*;
use rc_model::catalog::Method;
use rc_model::tenants::TenantsFile;

fn route(path: &str, methods: &[Method], service: &str) -> RouteSpec {
    RouteSpec {
        route: Route {
            path: path.to_owned(),
            methods: methods.to_vec(),
            timeout: None,
            public: false,
            concurrency: None,
            cache: None,
            hedge: None,
        },
        service: ServiceId::new(service).unwrap(),
    }
}

fn upstream(service: &str, endpoints: usize) -> UpstreamSpec {
    UpstreamSpec {
        service: ServiceId::new(service).unwrap(),
        endpoints: (0..endpoints)
            .map(|n| Endpoint::Unix(format!("/run/{service}-{n}.sock").into()))
            .collect(),
        health: rc_model::resilience::Health::default(),
    }
}

fn demo_tenants() -> Vec<TenantSpec> {
    let file = TenantsFile::default();
    file.tenants
        .keys()
        .map(|id| TenantSpec {
            id: id.clone(),
            limits: file.effective(id).unwrap(),
        })
        .collect()
}

fn spec() -> SnapshotSpec {
    SnapshotSpec {
        version: 7,
        versions: Default::default(),
        tenants: demo_tenants(),
        routes: vec![
            route("/docs", &[Method::Get], "docs-api"),
            route("/docs", &[Method::Delete], "ingest"),
        ],
        upstreams: vec![upstream("docs-api", 1), upstream("ingest", 2)],
        anonymous: AnonymousPolicy::default(),
    }
}

#[test]
fn the_demo_tenants_compile() {
    let snapshot = Snapshot::build(spec()).unwrap();
    assert_eq!(snapshot.version(), 7);
    let names: Vec<_> = snapshot.tenants().map(ToString::to_string).collect();
    assert_eq!(names, ["acme", "globex"]);
    assert_eq!(snapshot.tiers, ["none", "gold", "silver"]);
    assert_eq!(
        &*snapshot.tenants[0].hop_headers,
        b"x-rc-tenant: acme\r\nx-rc-tier: gold\r\n"
    );
}

#[test]
fn all_faults_are_reported_at_once() {
    let mut spec = spec();
    spec.tenants.push(spec.tenants[0].clone());
    spec.routes.push(route("/docs/", &[Method::Get], "docs-api"));
    spec.routes.push(route("/x", &[], "nobody"));
    spec.routes.push(route("/a//b", &[], "ingest"));
    let mut written = route("/written", &[Method::Post], "ingest");
    written.route.cache = Some(rc_model::catalog::CachePolicy {
        ttl: rc_model::units::Span::from_millis(1),
        stale_while_revalidate: None,
        stale_if_error: None,
        vary: Vec::new(),
        max: rc_model::catalog::CachePolicy::default_max(),
    });
    spec.routes.push(written);
    spec.upstreams.push(upstream("empty", 0));
    spec.upstreams.push(upstream("ingest", 1));
    let error = Snapshot::build(spec).unwrap_err();
    assert_eq!(error.faults.len(), 7, "{error}");
    for part in [
        "tenant `acme` is listed twice",
        "two routes claim GET `/docs/`",
        "route `/x` leads to `nobody`, which has no upstream",
        "`/a//b` is not a plain path",
        "route `/written` keeps answers and does not carry GET",
        "upstream `empty` has no endpoint",
        "upstream `ingest` is listed twice",
    ] {
        assert!(error.to_string().contains(part), "{part}: {error}");
    }
}
