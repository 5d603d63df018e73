//! Platforms beside each other, commands of the user's own, and stubborn ones (more of `rc up` is in `up`).

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

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

#[test]
fn a_write_that_had_begun_is_finished_when_the_supervisor_is_killed() {
    let world = World::new();
    world.up();
    let key = world.key("acme");
    let body = r#"{"id":"half","text":"sent in two halves"}"#;
    let mut stream = TcpStream::connect(world.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let head = format!(
        "POST /ingest HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer {key}\r\nIdempotency-Key: half\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&body.as_bytes()[..10]).unwrap();
    // The request has to be under way before its world ends.
    std::thread::sleep(Duration::from_millis(300));
    let status = world.json(&["status"]);
    kill(u32::try_from(status["pid"].as_u64().unwrap()).unwrap());
    std::thread::sleep(Duration::from_millis(500));
    stream.write_all(&body.as_bytes()[10..]).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer:?}");
    eventually("every process ends", || {
        processes_of(&world).is_empty().then_some(())
    });
}

#[test]
fn a_store_url_that_is_none_is_wrong_use() {
    let world = World::new();
    for url in ["mysql://localhost/x", "postgres://u:secret@localhost:bad/x"] {
        let output = world
            .command(&["up", "--detach"])
            .env("RC_STORE_URL", url)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{}", told(&output));
        assert!(!told(&output).contains("secret"), "{}", told(&output));
    }
    assert_eq!(processes_of(&world), Vec::<u32>::new());
}

#[test]
fn idle_connections_lock_nobody_out() {
    let world = World::new();
    // As on a machine whose limit of open files was set for a desktop.
    let script = format!("ulimit -n 256; exec {} up --detach", env!("CARGO_BIN_EXE_rc"));
    let output = std::process::Command::new("sh")
        .args(["-c", &script])
        .current_dir(world.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", told(&output));
    let mut idle = Vec::new();
    for _ in 0..300 {
        let Ok(mut stream) = TcpStream::connect(world.address) else {
            break;
        };
        let _ = stream.write_all(b"GET /health HTTP/1.1\r\nHost: test\r\n\r\n");
        idle.push(stream);
    }
    assert!(idle.len() > 200, "{}", idle.len());
    // The owner's door stays open, and the platform stays ready.
    world.ok(&["search", "anything"]);
    assert_eq!(world.json(&["status"])["state"], "ready");
    drop(idle);
    let key = world.key("acme");
    eventually("the public door is open again", || {
        let address = world.address;
        TcpStream::connect(address).ok()?;
        (world.get("/search?q=a", &key).status == 200).then_some(())
    });
}
