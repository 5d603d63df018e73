//! Platforms beside each other, commands of the user's own, and stubborn ones (more of `rc up` is in `up`).

use std::net::TcpListener;

use crate::world::{World, eventually, told};

/// Processes whose command line names the project's folder.
fn processes_of(world: &World) -> Vec<u32> {
    let needle = world.path().to_str().unwrap();
    let mut found = Vec::new();
    for entry in fs_err::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else {
            continue;
        };
        let line = fs_err::read(entry.path().join("cmdline")).unwrap_or_default();
        if String::from_utf8_lossy(&line).contains(needle) {
            found.push(pid);
        }
    }
    found
}

fn kill(pid: u32) {
    let done = std::process::Command::new("kill")
        .args(["-9", &pid.to_string()])
        .status()
        .unwrap();
    assert!(done.success());
}

#[test]
fn a_second_up_says_who_runs_already() {
    let world = World::new();
    world.up();
    let output = world.rc(&["up", "--detach"]);
    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        text.contains("already runs") && text.contains("rc status"),
        "{text}"
    );
    assert_eq!(world.json(&["status"])["state"], "ready");
}

#[test]
fn a_taken_port_is_named_and_the_default_gives_way() {
    let world = World::new();
    let holder = TcpListener::bind(world.address).unwrap();
    let output = world.rc(&["up", "--detach"]);
    assert_eq!(output.status.code(), Some(3), "{}", told(&output));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains(&world.address.to_string()), "{text}");
    assert_eq!(processes_of(&world), Vec::<u32>::new());
    drop(holder);

    // Held by this test or by somebody else on this machine: taken either way.
    let _default = TcpListener::bind("127.0.0.1:8080");
    world.write("royalcrown.yaml", "{}\n");
    world.up();
    assert!(!world.json(&["status"]).to_string().contains("127.0.0.1:8080\""));
}

#[test]
fn a_users_own_service_is_reached_through_its_route() {
    let world = World::new();
    world.write(
        "site/hello/index.html",
        "hello from a command of the user's own\n",
    );
    world.write(
        "service-catalog.yaml",
        "services:\n  gateway: {tier: gold, owner: platform}\n  site:\n    tier: bronze\n    owner: web\n    command: [sh, -c, 'cd site && exec python3 -m http.server \"$PORT\" --bind 127.0.0.1']\n    routes: [{path: /hello, methods: [GET], public: true}]\n",
    );
    world.up();
    let answer = world.http("GET /hello/index.html HTTP/1.1", b"");
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(String::from_utf8_lossy(&answer.body).contains("user's own"));
    let key = world.key("acme");
    let refused = world.http(
        &format!("DELETE /hello/index.html HTTP/1.1\nAuthorization: Bearer {key}"),
        b"",
    );
    assert_eq!(refused.status, 405);
    assert!(refused.header("allow").unwrap().contains("GET"));
    world.ok(&["down"]);
    assert_eq!(processes_of(&world), Vec::<u32>::new());
}

#[test]
fn killing_the_supervisor_leaves_no_process_behind() {
    let world = World::new();
    world.write(
        "service-catalog.yaml",
        "services:\n  gateway: {tier: gold, owner: platform}\n  ingest: {tier: gold, owner: platform}\n  docs-api: {tier: gold, owner: platform}\n  stubborn:\n    tier: bronze\n    owner: web\n    command: [sh, -c, \"trap '' TERM; (setsid sh -c 'trap : TERM; while :; do sleep 1; done' &) ; exec python3 -m http.server $PORT --bind 127.0.0.1\"]\n    drain: 1s\n",
    );
    world.up();
    let status = world.json(&["status"]);
    assert!(processes_of(&world).len() >= 4);
    kill(u32::try_from(status["pid"].as_u64().unwrap()).unwrap());
    eventually("every process ends", || {
        processes_of(&world).is_empty().then_some(())
    });
    // The state is not in the way of the next start.
    world.up();
    assert_eq!(world.json(&["status"])["state"], "ready");
}
