use super::*;
use rc_model::workspace::Sources;

fn ground(dir: &Path) -> Ground {
    Ground {
        layout: Layout::new(dir),
        program: "/bin/rc".into(),
        store_url: Some("postgres://u:secret@h/d".to_owned()),
        bus_url: Some("nats://u:secret@h:4222".to_owned()),
        build_env: BTreeMap::from([("CARGO_HOME".to_owned(), "/c".to_owned())]),
        otel: OtelEnv {
            headers: Some("api-key=secret".to_owned()),
            ..OtelEnv::default()
        },
    }
}

fn model(project: &str, catalog: Option<&str>) -> Model {
    Model::read(&Sources::from_texts(Some(project), catalog, None)).unwrap()
}

fn spec<'a>(plan: &'a Plan, id: &str) -> &'a ServiceSpec {
    plan.specs.iter().find(|spec| spec.id.as_str() == id).unwrap()
}

const CATALOG: &str = "services:
  gateway: {tier: gold, owner: platform}
  hello: {tier: bronze, owner: web, command: [./hello, --fast], ready: /ok, routes: [{path: /hello}]}
  tick: {tier: bronze, owner: web, command: [tick], needs: [hello]}
";

#[test]
fn the_default_platform_is_our_four_services() {
    let plan = ground(Path::new("/p"))
        .plan(&model("", None), &mut Ports::default())
        .unwrap();
    let ids: Vec<&str> = plan.specs.iter().map(|spec| spec.id.as_str()).collect();
    assert_eq!(ids, ["docs-api", "gateway", "ingest", "prov-ledger"]);
    assert!(
        plan.specs
            .iter()
            .all(|spec| spec.kind == Kind::Ours && spec.needs.is_empty())
    );
    assert_eq!(
        plan.endpoints.services.len(),
        2,
        "gateway and ledger are nobody's upstream"
    );
    assert!(plan.url.as_ref().unwrap().starts_with("http://127.0.0.1:"));
    let ingest = spec(&plan, "ingest");
    assert_eq!(
        ingest.args,
        ["serve", "ingest", "--supervised", "--project", "/p"]
    );
    assert_eq!(ingest.env["RC_STORE_URL"], "postgres://u:secret@h/d");
    assert_eq!(ingest.env["RC_BUS_URL"], "nats://u:secret@h:4222");
    assert!(
        !spec(&plan, "gateway").env.contains_key("RC_BUS_URL"),
        "the gateway reads no events"
    );
    assert!(!format!("{ingest:?}").contains("secret"));
    assert!(
        !spec(&plan, "prov-ledger").env.contains_key("RC_STORE_URL"),
        "the ledger has no use for the store's password"
    );
}

#[test]
fn a_users_command_gets_a_port_and_nothing_of_ours() {
    let mut ports = Ports::default();
    let model = model("", Some(CATALOG));
    let plan = ground(Path::new("/p")).plan(&model, &mut ports).unwrap();
    let hello = spec(&plan, "hello");
    assert_eq!(
        (hello.program.as_path(), hello.kind),
        (Path::new("/p/./hello"), Kind::Guarded)
    );
    let port: u16 = hello.env["PORT"].parse().unwrap();
    assert_eq!(
        hello.ready,
        Probe::TcpHttp {
            port,
            path: "/ok".to_owned()
        }
    );
    assert_eq!(hello.env.len(), 1, "a receiver's key is not for others");
    let ours = &spec(&plan, "gateway").env;
    assert_eq!(ours["OTEL_EXPORTER_OTLP_HEADERS"], "api-key=secret");
    assert_eq!(
        spec(&plan, "tick").program,
        Path::new("tick"),
        "a bare name is looked up in PATH"
    );
    assert_ne!(spec(&plan, "tick").env["PORT"], hello.env["PORT"]);
    let gateway: Vec<&str> = spec(&plan, "gateway")
        .outlived_by
        .iter()
        .map(ServiceId::as_str)
        .collect();
    assert_eq!(gateway, ["hello", "prov-ledger", "tick"]);
    for id in ["hello", "tick"] {
        let after: Vec<&str> = spec(&plan, id)
            .outlived_by
            .iter()
            .map(ServiceId::as_str)
            .collect();
        assert_eq!(after, ["prov-ledger"], "the ledger hears of the end of {id}");
    }
    assert!(spec(&plan, "prov-ledger").outlived_by.is_empty());
    let again = ground(Path::new("/p")).plan(&model, &mut ports).unwrap();
    assert_eq!(again.specs, plan.specs, "ports are kept, so nothing is restarted");
}

#[test]
fn a_taken_address_is_named_with_its_holder() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let project = format!("gateway: {{listen: \"{address}\"}}");
    let fault = ground(Path::new("/p"))
        .plan(&model(&project, None), &mut Ports::default())
        .unwrap_err();
    let text = fault.to_string();
    let own = std::process::id();
    assert!(
        text.starts_with(&format!(
            "the gateway's address {address} is taken by pid {own} ("
        )),
        "{text}"
    );
    let catalog = format!(
        "services:\n  hello: {{tier: gold, owner: web, command: [x], port: {}}}\n",
        address.port()
    );
    let fault = ground(Path::new("/p"))
        .plan(&model("", Some(&catalog)), &mut Ports::default())
        .unwrap_err();
    assert!(
        fault
            .to_string()
            .starts_with(&format!("the address of service `hello` {address} is taken"))
    );
}

#[test]
fn what_a_service_reads_once_restarts_it_and_nothing_else_does() {
    let plan = |project: &str| {
        let address = SocketAddr::from(([127, 0, 0, 1], 4000));
        let mut ports = Ports {
            gateway: Some(Listen {
                wanted: None,
                address,
            }),
            services: BTreeMap::new(),
        };
        ground(Path::new("/p"))
            .plan(&model(project, None), &mut ports)
            .unwrap()
            .specs
    };
    let changed = |project: &str| -> Vec<String> {
        let (before, after) = (plan(""), plan(project));
        let pairs = before.iter().zip(&after).filter(|(a, b)| a != b);
        pairs.map(|(spec, _)| spec.id.to_string()).collect()
    };
    for all in ["logs: {level: debug}", "telemetry: {sample: 0.5}"] {
        assert_eq!(changed(all), ["docs-api", "gateway", "ingest", "prov-ledger"]);
    }
    assert_eq!(changed("gateway: {workers: 2}"), ["gateway"]);
    assert!(changed("name: other").is_empty());
}

#[test]
fn the_state_folder_is_for_its_owner_only() {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::new(dir.path());
    prepare_state(&layout).unwrap();
    prepare_state(&layout).unwrap();
    for dir in [layout.state(), layout.run()] {
        assert_eq!(fs_err::metadata(dir).unwrap().permissions().mode() & 0o777, 0o700);
    }
    let endpoints = Endpoints {
        services: [(Builtin::Ingest.id(), Endpoint::Unix("/x".into()))].into(),
    };
    write_endpoints(&layout, &endpoints).unwrap();
    let text = fs_err::read_to_string(layout.endpoints_file()).unwrap();
    assert_eq!(serde_json::from_str::<Endpoints>(&text).unwrap(), endpoints);
    fs_err::write(dir.path().join("file"), "").unwrap();
    let fault = prepare_state(&Layout::new(&dir.path().join("file"))).unwrap_err();
    assert!(fault.to_string().contains("cannot be used"));
}

#[test]
fn a_build_is_run_as_its_service_but_without_a_port() {
    let catalog = "services:
  made: {tier: gold, owner: x, command: [./made], build: [make, all], env: {MODE: fast}}
  bought: {tier: gold, owner: x, command: [bought]}
";
    let plan = ground(Path::new("/p"))
        .plan(&model("", Some(catalog)), &mut Ports::default())
        .unwrap();
    let [build] = plan.builds.as_slice() else {
        panic!("{:?}", plan.builds);
    };
    assert_eq!(
        (build.id.as_str(), build.program.as_path()),
        ("made", Path::new("make"))
    );
    assert_eq!(
        (build.args.as_slice(), build.kind),
        (&["all".into()][..], Kind::Guarded)
    );
    let env: Vec<(&str, &str)> = build
        .env
        .iter()
        .map(|(name, value)| (&**name, &**value))
        .collect();
    assert_eq!(env, [("CARGO_HOME", "/c"), ("MODE", "fast")]);
    assert!(!spec(&plan, "made").env.contains_key("CARGO_HOME"));
    assert_eq!(build.log_file, spec(&plan, "made").log_file);
}
