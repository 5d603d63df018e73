//! `rc up`, `status`, `logs`, `down` and `doctor`.

use std::io::Read as _;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;
use std::time::Duration;

use rc_runtime::procfs;
use rustix::process::Signal;
use serde_json::Value;

use crate::world::{World, eventually, told};

const OURS: &str = "services:
  gateway: {tier: gold, owner: platform}
  ingest: {tier: silver, owner: platform}
  docs-api: {tier: gold, owner: platform}
";

/// Our services and one of the user's own.
fn catalog(entry: &str) -> String {
    format!("{OURS}{entry}\n")
}

fn status(world: &World) -> Value {
    let output = world.rc(&["status", "--output", "json"]);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", told(&output)))
}

fn service<'a>(status: &'a Value, name: &str) -> &'a Value {
    let services = status["services"].as_array().unwrap();
    services
        .iter()
        .find(|service| service["service"] == name)
        .unwrap_or(&Value::Null)
}

fn pid(value: &Value) -> u32 {
    u32::try_from(value["pid"].as_u64().unwrap()).unwrap()
}

fn signal(pid: u32, signal: Signal) {
    procfs::signal(&procfs::process(pid).unwrap(), signal);
}

/// Processes that some supervisor of this project started and that still run.
fn left(world: &World) -> Vec<procfs::Process> {
    let state = world.path().canonicalize().unwrap().join(".royalcrown");
    procfs::marked(rc_runtime::MARK, &format!("{}#", state.display()))
}

#[test]
fn up_status_and_down_tell_the_same_story() {
    let world = World::new();
    let output = world.rc(&["up", "--detach", "--output", "json"]);
    assert!(output.status.success(), "{}", told(&output));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["state"], "ready");
    assert_eq!(report["url"], format!("http://{}", world.address));
    let tenants: Vec<&str> = report["keys"]
        .as_array()
        .unwrap()
        .iter()
        .map(|key| key["tenant"].as_str().unwrap())
        .collect();
    assert_eq!(tenants, ["acme", "globex"]);
    let key = report["keys"][0]["key"].as_str().unwrap();
    assert_eq!(world.get("/search?q=hello", key).status, 200);

    let now = status(&world);
    assert_eq!(now["state"], "ready");
    for name in ["gateway", "ingest", "docs-api"] {
        assert_eq!(service(&now, name)["state"], "ready");
        assert!(service(&now, name)["memory_bytes"].as_u64().unwrap() > 1 << 20);
    }
    assert_eq!(now["config"]["state"], "applied");

    let second = world.rc(&["up"]);
    assert_eq!(second.status.code(), Some(1), "{}", told(&second));
    let text = String::from_utf8_lossy(&second.stderr).replace("\n  | ", " ");
    for part in [
        "RC-UP-001",
        "the platform already runs",
        &format!("pid {}", pid(&now)),
        "rc down",
    ] {
        assert!(text.contains(part), "{part} is missing in {text}");
    }

    let run = world.path().join(".royalcrown/run");
    let mode = |path: &std::path::Path| fs_err::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&run), mode(&run.join("rc-up.sock"))), (0o700, 0o600));

    assert!(world.ok(&["down"]).contains("nothing is left running"));
    assert!(left(&world).is_empty());
    assert!(world.ok(&["down"]).starts_with("nothing runs in "));
    let output = world.rc(&["status"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).contains("`rc up` starts it"));
    assert_eq!(status(&world)["state"], "stopped");
    assert!(
        world.ok(&["logs", "ingest"]).contains("rc up: started, pid "),
        "logs outlive the platform"
    );
    for line in world.ok(&["logs", "--output", "json", "-n", "20"]).lines() {
        assert!(
            serde_json::from_str::<Value>(line).unwrap()["service"].is_string(),
            "{line}"
        );
    }
}

#[test]
fn keys_of_the_last_start_stop_working() {
    let world = World::new();
    let key = |world: &World| {
        let output = world.rc(&["up", "--detach", "--output", "json"]);
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        report["keys"][0]["key"].as_str().unwrap().to_owned()
    };
    let first = key(&world);
    world.ok(&["down"]);
    let second = key(&world);
    assert_eq!(world.get("/search?q=x", &second).status, 200);
    assert_eq!(world.get("/search?q=x", &first).status, 401);
    let hidden = |text: &str| !text.contains(&first) && !text.contains(&second);
    assert!(hidden(&world.ok(&["logs", "-n", "1000"])));
    assert!(hidden(&world.ok(&["logs", "rc-up", "-n", "1000"])));
}

#[test]
fn a_service_that_crashes_at_start_is_shown_with_its_last_words() {
    let world = World::new();
    let entry =
        "  hello: {tier: bronze, owner: web, command: [sh, -c, 'echo cannot open the attic; exit 3']}";
    world.write("service-catalog.yaml", &catalog(entry));
    let output = world.rc(&["up", "--detach"]);
    assert_eq!(output.status.code(), Some(3), "{}", told(&output));
    let text = String::from_utf8_lossy(&output.stderr).replace("\n  | ", " ");
    for part in [
        "crash loop:",
        "ended with exit status 3",
        "cannot open the attic",
        "RC-UP-004",
        "rc logs hello",
    ] {
        assert!(text.contains(part), "{part} is missing in {text}");
    }
    assert_eq!(status(&world)["state"], "stopped");
    assert!(left(&world).is_empty());
}

#[test]
fn files_with_problems_start_nothing_and_all_problems_are_told() {
    let world = World::new();
    let entry = "  hello: {tier: platinum, owner: web, commnd: [x]}";
    world.write("service-catalog.yaml", &catalog(entry));
    let output = world.rc(&["up", "--detach"]);
    assert_eq!(output.status.code(), Some(2), "{}", told(&output));
    let text = String::from_utf8_lossy(&output.stderr);
    for part in [
        "service-catalog.yaml:5:",
        "platinum",
        "commnd",
        "nothing was started",
    ] {
        assert!(text.contains(part), "{part} is missing in {text}");
    }
    assert!(!world.path().join(".royalcrown").exists());
}

#[test]
fn a_taken_address_is_named_with_who_has_it() {
    let world = World::new();
    let _taken = TcpListener::bind(world.address).unwrap();
    let output = world.rc(&["up", "--detach"]);
    assert_eq!(output.status.code(), Some(3), "{}", told(&output));
    let text = String::from_utf8_lossy(&output.stderr).replace("\n  | ", " ");
    for part in [
        "RC-UP-002",
        &world.address.to_string(),
        &format!("pid {}", std::process::id()),
    ] {
        assert!(text.contains(part), "{part} is missing in {text}");
    }
}

#[test]
fn kill_minus_nine_of_the_supervisor_leaves_nothing_and_the_next_start_works() {
    let world = World::new();
    world.write("service-catalog.yaml", OURS);
    world.up();
    let before = status(&world);
    assert!(left(&world).len() >= 3);
    signal(pid(&before), Signal::KILL);
    eventually("the end of everything", || left(&world).is_empty().then_some(()));
    assert_eq!(status(&world)["state"], "stopped");
    world.up();
    assert_eq!(status(&world)["state"], "ready");
}

#[test]
fn a_killed_service_comes_back() {
    let world = World::new();
    world.up();
    signal(pid(service(&status(&world), "ingest")), Signal::KILL);
    eventually("ingest is back", || {
        let now = status(&world);
        let ingest = service(&now, "ingest");
        (ingest["state"] == "ready" && ingest["restarts"] == 1).then_some(())
    });
    let now = status(&world);
    assert_eq!(service(&now, "ingest")["last_exit"]["text"], "ended by SIGKILL");
    assert_eq!(service(&now, "gateway")["restarts"], 0);
}

#[test]
fn a_changed_catalog_is_applied_and_a_broken_one_refused() {
    let world = World::new();
    world.write("service-catalog.yaml", OURS);
    world.up();
    let before = status(&world);
    world.write(
        "service-catalog.yaml",
        &catalog("  hello: {tier: bronze, owner: web"),
    );
    let refused = eventually("refused", || {
        Some(status(&world)).filter(|now| now["config"]["state"] == "refused")
    });
    assert_eq!(refused["state"], "ready", "what was in force stays");
    assert!(
        refused["config"]["problem"]
            .as_str()
            .unwrap()
            .starts_with("service-catalog.yaml:")
    );

    let entry = "  hello: {tier: bronze, owner: web, command: [sh, -c, 'exec sleep 1000']}";
    world.write("service-catalog.yaml", &catalog(entry));
    let added = eventually("added", || {
        Some(status(&world)).filter(|now| service(now, "hello")["pid"].is_u64())
    });
    assert_eq!(added["config"]["state"], "applied");
    for name in ["gateway", "ingest", "docs-api"] {
        assert_eq!(
            pid(service(&added, name)),
            pid(service(&before, name)),
            "{name} is not touched"
        );
    }
    let endpoints = fs_err::read_to_string(world.path().join(".royalcrown/run/endpoints.json")).unwrap();
    assert!(endpoints.contains("hello"), "{endpoints}");

    world.write("service-catalog.yaml", OURS);
    eventually("removed", || {
        service(&status(&world), "hello").is_null().then_some(())
    });
}

#[test]
fn in_the_foreground_sigterm_drains_and_ends_with_a_summary() {
    let world = World::new();
    let mut child = world
        .command(&["up"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    eventually("ready", || (status(&world)["state"] == "ready").then_some(()));
    signal(child.id(), Signal::TERM);
    let ended = eventually("the end", || child.try_wait().unwrap());
    let (mut out, mut err) = (String::new(), String::new());
    child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    assert_eq!(ended.code(), Some(0), "{out}\n{err}");
    assert!(out.contains("Royalcrown is ready"), "{out}");
    for command in [
        "curl ",
        "rc ingest",
        "rc search",
        "rc status",
        "rc logs -f",
        "rc down",
    ] {
        assert!(out.contains(command), "{command} is missing in {out}");
    }
    assert!(
        err.contains("4 services stopped, nothing is left running"),
        "{err}"
    );
    assert!(left(&world).is_empty());
}

#[test]
fn doctor_finds_what_is_wrong() {
    let world = World::new();
    let report = world.json(&["doctor"]);
    assert_eq!(report["ok"], true, "{report:#}");
    world.up();
    let report = world.json(&["doctor"]);
    assert_eq!(report["ok"], true, "{report:#}");

    let ingest = service(&status(&world), "ingest").clone();
    signal(pid(&ingest), Signal::STOP);
    let output = world.rc(&["doctor"]);
    signal(pid(&ingest), Signal::CONT);
    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        text.lines()
            .any(|line| line.trim_start().starts_with("fail ingest")),
        "{text}"
    );

    world.ok(&["down"]);
    world.write(
        "royalcrown.yaml",
        "store: {url: \"postgres://rc@127.0.0.1:1/rc\"}\n",
    );
    let begin = rc_model::clock::monotonic_ns();
    let output = world.rc(&["doctor"]);
    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
    assert!(
        String::from_utf8_lossy(&output.stdout).contains("fail server"),
        "{}",
        told(&output)
    );
    assert!(Duration::from_nanos(rc_model::clock::monotonic_ns() - begin) < Duration::from_secs(15));
}

#[test]
fn logs_of_nobody_are_refused_with_a_list() {
    let world = World::new();
    assert_eq!(world.rc(&["logs"]).status.code(), Some(1));
    let output = world.rc(&["logs", "nope"]);
    assert_eq!(output.status.code(), Some(2), "{}", told(&output));
    assert!(String::from_utf8_lossy(&output.stderr).contains("RC-UP-008"));
}

#[test]
fn an_error_that_nobody_reads_keeps_its_exit_code() {
    let world = World::new();
    for output in ["text", "json"] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = world.command(&["audit", "verify", "--output", output]);
        let status = command.stderr(writer).status().unwrap();
        assert_eq!(status.code(), Some(3), "{output}");
    }
}
