//! Changes of the files while requests run.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

use crate::world::{World, eventually};

/// Ends the load when the test ends, however it ends.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

const TENANTS: &str = "tenants:\n  acme: {tier: gold, demo: true}\n";

#[test]
fn a_valid_change_applies_without_a_dropped_request_and_an_invalid_one_is_refused() {
    let world = World::new();
    world.write("tenants.yaml", TENANTS);
    world.up();
    let key = world.key("acme");
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let stop = Stop(&done);
        let load = scope.spawn(|| {
            let mut count = 0_u32;
            while !done.load(Ordering::Relaxed) {
                let answer = world.get("/search?q=a", &key);
                assert_eq!(answer.status, 200, "{answer:?}");
                count += 1;
            }
            count
        });

        world.write("tenants.yaml", &format!("{TENANTS}  initech: {{tier: silver}}\n"));
        eventually("the new tenant is known", || {
            world
                .rc(&["tenant", "key", "create", "initech"])
                .status
                .success()
                .then_some(())
        });

        world.write("tenants.yaml", &format!("{TENANTS}  hooli: {{tier: nonsense}}\n"));
        eventually("the refusal is logged", || {
            let logs = fs_err::read_to_string(world.path().join(".royalcrown/logs/gateway.log")).ok()?;
            (logs.contains("refused") && logs.contains("tenants.yaml:3:")).then_some(())
        });
        assert_eq!(
            world.http("GET /ready HTTP/1.1", b"").status,
            200,
            "/ready is untouched"
        );
        let refused = world.rc(&["tenant", "key", "create", "hooli"]);
        assert!(!refused.status.success(), "the invalid file is not in force");
        let still = world.rc(&["tenant", "key", "create", "initech"]);
        assert!(still.status.success(), "the one before it is");

        drop(stop);
        assert!(load.join().unwrap() > 10, "requests ran meanwhile");
    });
}

#[test]
fn a_service_that_dies_while_the_files_are_broken_comes_back_with_what_is_in_force() {
    let world = World::new();
    world.write("tenants.yaml", TENANTS);
    world.up();
    let key = world.key("acme");
    world.write("tenants.yaml", "tenants: [nonsense\n");
    for service in ["gateway", "ingest", "docs-api", "prov-ledger"] {
        let before = pid(&world, service);
        rustix::process::kill_process(
            rustix::process::Pid::from_raw(before.unwrap().cast_signed()).unwrap(),
            rustix::process::Signal::KILL,
        )
        .unwrap();
        eventually("it is ready again", || {
            let now = pid(&world, service);
            (now.is_some() && now != before).then_some(())
        });
    }
    eventually("the platform answers as before", || {
        let answer = world.get("/search?q=a", &key);
        (answer.status == 200).then_some(())
    });
    eventually("the gateway tells what is wrong", || {
        let logs = fs_err::read_to_string(world.path().join(".royalcrown/logs/gateway.log")).ok()?;
        (logs.contains("refused") && logs.contains("tenants.yaml:1:")).then_some(())
    });
    world.write("tenants.yaml", &format!("{TENANTS}  initech: {{tier: silver}}\n"));
    eventually("mended files apply", || {
        let made = world.rc(&["tenant", "key", "create", "initech"]);
        made.status.success().then_some(())
    });
}

/// The process of a service that is ready.
fn pid(world: &World, service: &str) -> Option<u32> {
    let output = world.rc(&["status", "--output", "json"]);
    let status: Value = serde_json::from_slice(&output.stdout).ok()?;
    let services = status["services"].as_array()?;
    let found = services.iter().find(|found| found["service"] == service)?;
    if found["state"] != "ready" {
        return None;
    }
    u32::try_from(found["pid"].as_u64()?).ok()
}

#[test]
fn a_service_is_added_and_removed_while_the_platform_runs() {
    let world = World::new();
    let base = "services:\n  gateway: {tier: gold, owner: platform}\n  ingest: {tier: gold, owner: platform}\n  docs-api: {tier: gold, owner: platform}\n";
    world.write("service-catalog.yaml", base);
    world.write("site/hello/index.html", "hello\n");
    world.up();
    assert_eq!(world.http("GET /hello/index.html HTTP/1.1", b"").status, 404);
    world.write(
        "service-catalog.yaml",
        &format!("{base}  site:\n    tier: bronze\n    owner: web\n    command: [sh, -c, 'cd site && exec python3 -m http.server \"$PORT\" --bind 127.0.0.1']\n    routes: [{{path: /hello, public: true}}]\n"),
    );
    eventually("the new service answers", || {
        (world.http("GET /hello/index.html HTTP/1.1", b"").status == 200).then_some(())
    });
    world.write("service-catalog.yaml", base);
    eventually("the removed service is gone", || {
        // While services change, the platform says `degraded` and the exit code is 1.
        let output = world.rc(&["status", "--output", "json"]);
        let status: Value = serde_json::from_slice(&output.stdout).ok()?;
        let gone = status["services"].as_array().unwrap().len() == 4;
        (gone && world.http("GET /hello/index.html HTTP/1.1", b"").status == 404).then_some(())
    });
}
