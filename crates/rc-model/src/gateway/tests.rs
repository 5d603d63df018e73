use super::*;

const PATH: &str = "gateway.yaml";

fn read(text: &str) -> Result<GatewayModel, Vec<Diagnostic>> {
    GatewayModel::from_text(Path::new(PATH), text)
}

fn told(problems: &[Diagnostic]) -> Vec<String> {
    problems
        .iter()
        .map(|problem| {
            let hint = problem.hint.as_deref().unwrap_or("-");
            format!(
                "{} {}:{} {} ({hint})",
                problem.code, problem.line, problem.column, problem.message
            )
        })
        .collect()
}

#[test]
fn the_smallest_file_is_one_service_and_its_route() {
    let model =
        read("services: {site: {endpoints: [http://127.0.0.1:9000], routes: [{path: /}]}}\n").unwrap();
    assert_eq!(told(&model.warnings), [""; 0]);
    assert!(model.file.identity.is_none());
    assert!(model.tenants.tenants.is_empty(), "no demo tenants here");
    assert_eq!(model.admin_socket(), Path::new("gateway.sock"));
    let site = model.file.services.values().next().unwrap();
    let host = "127.0.0.1".to_owned();
    assert_eq!(site.endpoints, [Origin::Http { host, port: 9000 }]);
}

#[test]
fn faults_are_those_of_the_platforms_files_and_all_are_told() {
    let faults = read(
        "services:\n  a: {endpoints: [9000, https://x, 'http://x/y'], routes: [{path: /x}]}\n  b: {endpoints: [], routes: [{path: /x}]}\ntenants:\n  acme: {teir: gold}\n  hooli: {tier: golden}\nlistenrs: []\n",
    )
    .unwrap_err();
    let told = told(&faults).join("\n");
    for expected in [
        "RC-CFG-009 2:19",
        "services are spoken to in plain HTTP",
        "an endpoint has no path",
        "RC-CFG-008 3:7 the service `b` has no endpoint",
        "RC-CFG-013 3:38 `a` and `b` both claim `/x` for all methods",
        "did you mean `tier`?",
        "did you mean `gold`?",
        "RC-CFG-005 7:1 unknown key `listenrs` (did you mean `listeners`?)",
    ] {
        assert!(told.contains(expected), "{expected} in\n{told}");
    }
}

#[test]
fn tenants_whom_nobody_can_be_are_told() {
    let model = read(
        "services: {a: {endpoints: [unix:/a.sock], routes: [{path: /}]}}\ntenants: {acme: {tier: gold}}\n",
    );
    let warnings = model.unwrap().warnings;
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].message.contains("no way to know whose a request is"));
}

#[test]
fn origins_are_read_and_written_alike() {
    for (text, shown) in [
        ("http://127.0.0.1:9000", "http://127.0.0.1:9000"),
        ("http://app.internal", "http://app.internal:80"),
        ("http://[::1]:9000/", "http://[::1]:9000"),
        ("unix:///run/app.sock", "unix:/run/app.sock"),
        ("unix:app.sock", "unix:app.sock"),
    ] {
        let origin = Origin::parse(text).unwrap();
        assert_eq!(origin.to_string(), shown);
        assert_eq!(Origin::parse(shown), Ok(origin));
    }
    for text in [
        "",
        "http://",
        "http://:80",
        "http://a:0",
        "http://a:99999",
        "http://a b",
        "http://u@h",
        "http://[::1",
        "http://::1",
        "unix:",
        "tcp://a:1",
        "http://a?b",
    ] {
        assert!(Origin::parse(text).is_err(), "{text}");
    }
}

#[test]
fn what_is_bound_once_needs_a_new_start_and_limits_do_not() {
    let base = "services: {a: {endpoints: [unix:/a.sock], routes: [{path: /}]}}\n";
    let model = read(base).unwrap();
    let limits = read(&format!("{base}anonymous: {{rps: {{rate: 5/s}}}}\n")).unwrap();
    assert!(!model.needs_restart(&limits));
    let address = read(&format!("{base}listeners: [{{address: \"127.0.0.1:1\"}}]\n")).unwrap();
    assert!(model.needs_restart(&address));
}

#[test]
fn keys_are_read_beside_the_file_and_change_its_digest() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gateway.yaml");
    let text = "identity: {keys: gateway.keys}\nservices: {a: {endpoints: [unix:/a.sock], routes: [{path: /}]}}\ntenants: {acme: {tier: gold}}\n";
    fs_err::write(&path, text).unwrap();
    let missing = GatewayModel::from_file(&path).unwrap_err();
    assert_eq!(
        (missing[0].code, &*missing[0].file),
        ("RC-CFG-001", "gateway.keys")
    );
    fs_err::write(folder.path().join("gateway.keys"), "# none yet\n").unwrap();
    let before = GatewayModel::from_file(&path).unwrap();
    let (id, tenant) = ("kg0w2cm1hwvy", TenantId::new("acme").unwrap());
    let line = keys::line(
        &crate::KeyId::new(id).unwrap(),
        &tenant,
        Digest::of(b"secret"),
        "ci",
    );
    fs_err::write(folder.path().join("gateway.keys"), line).unwrap();
    let after = GatewayModel::from_file(&path).unwrap();
    assert_eq!(after.keys.len(), 1);
    assert_eq!(
        (after.keys[0].id.as_str(), after.keys[0].hash),
        (id, Digest::of(b"secret"))
    );
    assert_ne!(before.digest, after.digest);
}
