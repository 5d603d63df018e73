use std::fmt::Write as _;

use super::*;

/// One line a problem: severity, code, place, message, and after a bar the hint.
fn told(sources: &Sources) -> String {
    let problems = match Model::read(sources) {
        Ok(model) => model.warnings,
        Err(problems) => problems,
    };
    let mut out = String::new();
    for Diagnostic {
        code,
        severity,
        file,
        line,
        column,
        message,
        hint,
        ..
    } in problems
    {
        let hint = hint.unwrap_or_default().replace('\n', " / ");
        let severity = severity.as_str();
        writeln!(out, "{severity} {code} {file}:{line}:{column} {message} | {hint}").unwrap();
    }
    out
}

/// `cases.txt`: a title after `===`, files after `>>>`, and after `<<<` what is told about them.
#[test]
fn faults_are_told_as_written_in_the_cases() {
    let cases = include_str!("cases.txt");
    let mut actual = String::new();
    for case in cases.split("=== ").filter(|case| !case.is_empty()) {
        let (title, rest) = case.split_once('\n').unwrap();
        let (files, _) = rest
            .split_once("<<<\n")
            .unwrap_or_else(|| panic!("{title}: no <<<"));
        let text = |name: &str| {
            let file = files
                .split(">>> ")
                .find_map(|file| file.strip_prefix(name)?.strip_prefix('\n'));
            file.map(str::to_owned)
        };
        let texts = FILES.map(text);
        let [project, catalog, tenants] = &texts;
        let sources = Sources::from_texts(project.as_deref(), catalog.as_deref(), tenants.as_deref());
        write!(actual, "=== {title}\n{files}<<<\n{}", told(&sources)).unwrap();
    }
    assert!(
        actual == cases,
        "write this into cases.txt if it is right:\n{actual}"
    );
}

#[test]
fn the_largest_case_gives_the_values_that_were_written() {
    let cases = include_str!("cases.txt");
    let case = cases
        .split("=== ")
        .find(|case| case.starts_with("everything"))
        .unwrap();
    let text = |name: &str| {
        let file = case
            .split(">>> ")
            .find_map(|file| file.strip_prefix(name))
            .unwrap();
        file.split("<<<").next().unwrap().to_owned()
    };
    let [project, catalog, tenants] = FILES.map(text);
    let sources = Sources::from_texts(Some(&project), Some(&catalog), Some(&tenants));
    let model = Model::read(&sources).unwrap();
    assert_eq!(model.project.name.as_deref(), Some("shop"));
    assert_eq!(
        model.project.region.as_ref().map(crate::RegionId::as_str),
        Some("no")
    );
    let orders = &model.catalog.services["orders"];
    assert_eq!(
        (orders.port, orders.routes.len(), orders.command.len()),
        (Some(9001), 3, 3)
    );
    assert!(orders.routes[2].public);
    let limits = model
        .tenants
        .effective(&crate::TenantId::new("acme").unwrap())
        .unwrap();
    assert_eq!(
        (
            limits.rps.burst(),
            limits.body_max.bytes(),
            limits.timeout.max.to_string()
        ),
        (500, 1 << 20, "1min".to_owned())
    );
    assert_eq!(
        (limits.concurrency.max, limits.concurrency.mode),
        (Some(16), crate::tenants::LimitMode::Shadow)
    );
    assert_eq!(limits.queue, crate::tenants::QueueLimit::default());
    let basic = model.tenants.tiers["basic"].clone();
    assert_eq!((basic.concurrency.share, basic.queue.max), (1, 32));
    let bounds = orders.routes[0].concurrency.unwrap();
    assert_eq!((bounds.min, bounds.initial(), bounds.max), (2, 64, 64));
    assert_eq!(model.tenants.tiers["other"], basic);
    assert_eq!(model.digest, sources.digest());
}

#[test]
fn absent_files_give_a_running_platform() {
    let model = Model::read(&Sources::default()).unwrap();
    assert_eq!(model.catalog.services.len(), 4);
    assert_eq!(
        model
            .tenants
            .demo()
            .map(crate::TenantId::as_str)
            .collect::<Vec<_>>(),
        ["acme", "globex"]
    );
    assert!(model.warnings.is_empty());
}

#[test]
fn the_digest_tells_every_change() {
    let digest = |project, catalog, tenants| Sources::from_texts(project, catalog, tenants).digest();
    let all = [
        digest(None, None, None),
        digest(Some(""), None, None),
        digest(Some("a"), None, None),
        digest(None, Some("a"), None),
        digest(None, None, Some("a")),
        digest(Some("a"), Some("a"), None),
        digest(Some("aa"), None, None),
    ];
    let different: std::collections::HashSet<_> = all.into_iter().collect();
    assert_eq!(different.len(), all.len());
    assert_eq!(digest(Some("a"), None, None), digest(Some("a"), None, None));
}

#[test]
fn files_that_cannot_be_read_are_told_together() {
    let dir = tempfile::tempdir().unwrap();
    let put = |name: &str, content: &[u8]| fs_err::write(dir.path().join(name), content).unwrap();
    fs_err::create_dir(dir.path().join(PROJECT_FILE)).unwrap();
    put(CATALOG_FILE, b"owners: {\xff}");
    put(TENANTS_FILE, &vec![b'#'; FILE_BYTES_MAX + 10]);
    put("tenants.yml", b"");
    insta::assert_snapshot!(told(&Sources::from_dir(dir.path())), @r"
    error RC-CFG-001 royalcrown.yaml:1:1 `royalcrown.yaml` is not a regular file | put a text file there, or remove it for the defaults
    error RC-CFG-002 service-catalog.yaml:1:10 the byte 0xff is not UTF-8 | save the file as UTF-8
    error RC-CFG-002 tenants.yaml:1:1 the file has 1048586 bytes, the limit is 1048576 | is this the right file? Models are small; data belongs into the store
    warning RC-CFG-018 tenants.yml:1:1 `tenants.yml` is not read | rename it to `tenants.yaml`
    ");
}

#[test]
fn utf_16_pipes_and_dead_links_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    fs_err::write(dir.path().join(PROJECT_FILE), b"\xff\xfen\0a\0").unwrap();
    fs_err::os::unix::fs::symlink("nowhere", dir.path().join(CATALOG_FILE)).unwrap();
    fs_err::os::unix::fs::symlink("/dev/zero", dir.path().join(TENANTS_FILE)).unwrap();
    let sources = Sources::from_dir(dir.path());
    assert_eq!(sources.present(), FILES);
    let told = told(&sources);
    assert!(told.contains("it looks like UTF-16; save it as UTF-8"), "{told}");
    assert!(told.contains("RC-CFG-001 service-catalog.yaml"), "{told}");
    assert!(told.contains("`tenants.yaml` is not a regular file"), "{told}");
}

#[test]
fn a_folder_without_files_is_the_default() {
    let dir = tempfile::tempdir().unwrap();
    let sources = Sources::from_dir(dir.path());
    assert!(sources.present().is_empty());
    assert!(Model::read(&sources).is_ok());
}

#[test]
fn a_thousand_faults_are_cut_short() {
    let tenants: String = (0..1_000)
        .map(|n| format!("  t{n}: {{tier: none, x: 1}}\n"))
        .collect();
    let tenants = format!("tenants:\n{tenants}");
    let problems = Model::read(&Sources::from_texts(None, None, Some(&tenants))).unwrap_err();
    assert_eq!(problems.len(), PROBLEMS_MAX + 1);
    assert_eq!(
        problems[PROBLEMS_MAX].message,
        "1900 more problems in this file are not shown"
    );
}

#[test]
fn secrets_of_the_files_reach_no_message() {
    for (title, case) in include_str!("cases.txt")
        .split("=== ")
        .filter_map(|case| case.split_once('\n'))
    {
        if !case.contains("hunter2") {
            continue;
        }
        let (files, _) = case.split_once("<<<").unwrap();
        let text = |name: &str| {
            files
                .split(">>> ")
                .find_map(|file| file.strip_prefix(name))
                .map(str::to_owned)
        };
        let texts = FILES.map(text);
        let [project, catalog, tenants] = &texts;
        let sources = Sources::from_texts(project.as_deref(), catalog.as_deref(), tenants.as_deref());
        let problems = match Model::read(&sources) {
            Ok(model) => model.warnings,
            Err(problems) => problems,
        };
        for problem in problems {
            assert!(!problem.to_string().contains("hunter2"), "{title}: {problem}");
            assert!(
                !serde_json::to_string(&problem).unwrap().contains("hunter2"),
                "{title}"
            );
        }
    }
}

/// Values of every kind, good and bad, for any key.
fn value() -> impl proptest::strategy::Strategy<Value = String> {
    use proptest::prelude::*;
    let scalar = prop::sample::select(vec![
        "gold",
        "1",
        "0",
        "70000",
        "-1",
        "1.5",
        "true",
        "no",
        "~",
        "",
        "\"\"",
        "'8080'",
        "5s",
        "0s",
        "4MiB",
        "500/s",
        "/a",
        "/",
        "GET",
        "info",
        "draft-11",
        "127.0.0.1:80",
        "sqlite:",
        "postgres://h/d",
        "A B",
        "core",
        "99999999999",
        "[]",
        "{}",
        "[GET]",
        "[core]",
        "[a, b]",
        "{rate: 5}",
        "{rate: 5, burst: 1}",
        "{rate: x}",
        "[{path: /a}]",
        "[{path: /a, methods: [GET], timeout: 1s, public: true}]",
        "{certificate: a, key: b}",
        "{url: 'sqlite:'}",
        "{url: 'nats://h:4222'}",
        "{consumers: {docs-api: {policy: skip}}}",
        "{A: b}",
        "[~]",
        "18446744073709551616",
    ]);
    scalar.prop_map(str::to_owned)
}

proptest::proptest! {
    /// What the check lets through, the types take: `read` ends either way, and never by its last resort.
    #[test]
    fn the_check_and_the_types_agree(
        service in proptest::collection::vec((proptest::sample::select(vec![
            "oncall", "command", "build", "env", "port", "ready", "needs", "routes", "drain",
        ]), value()), 0..4),
        tenant in proptest::collection::vec((proptest::sample::select(vec![
            "demo", "rps", "timeout", "body_max", "residency",
        ]), value()), 0..4),
        project in proptest::collection::vec((proptest::sample::select(vec![
            "name", "region", "store", "bus", "events", "gateway", "logs", "telemetry",
        ]), value()), 0..3),
    ) {
        let keys = |entries: Vec<(&str, String)>, indent: &str| {
            let unique: std::collections::BTreeMap<_, _> = entries.into_iter().collect();
            unique.iter().map(|(key, value)| format!("{indent}{key}: {value}\n")).collect::<String>()
        };
        let catalog = format!("services:\n  ingest:\n    tier: gold\n    owner: core\n{}", keys(service, "    "));
        let tenants = format!("tenants:\n  acme:\n    tier: gold\n{}", keys(tenant, "    "));
        let project = keys(project, "");
        if let Err(problems) = Model::read(&Sources::from_texts(Some(&project), Some(&catalog), Some(&tenants))) {
            for problem in problems {
                let last_resort = problem.message.starts_with("a value is malformed");
                proptest::prop_assert!(!last_resort, "{}\n{}{}{}", problem, project, catalog, tenants);
            }
        }
    }
}
