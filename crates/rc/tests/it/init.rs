//! `rc init`, and what becomes of its templates: each is tested, built, run, asked, and ended.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::world::{World, eventually, told};

/// What a machine must have for a template, and how to get it.
fn needed(program: &str, hint: &str) {
    let found = Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .output();
    assert!(
        found.is_ok_and(|output| output.status.success()),
        "`{program}` is missing: {hint}"
    );
}

/// Runs a program in the project as a person would, with this `rc` first in PATH, and gives what it printed.
fn run(world: &World, program: &str, args: &[&str]) -> String {
    let rc = Path::new(env!("CARGO_BIN_EXE_rc")).parent().unwrap();
    let output = Command::new("sh")
        .args(["-c", r#"export PATH="$0:$PATH"; exec "$@""#])
        .arg(rc)
        .arg(program)
        .args(args)
        .current_dir(world.path())
        .stdin(Stdio::null())
        .env_remove("CARGO_TARGET_DIR")
        .output()
        .unwrap();
    assert!(output.status.success(), "{program} {args:?}: {}", told(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// Cargo's intermediate files of every test's Rust service lie here: dependencies are built once.
fn share_builds(world: &World) {
    let shared = Path::new(env!("CARGO_TARGET_TMPDIR")).join("scaffolds");
    world.write(
        ".cargo/config.toml",
        &format!("[build]\nbuild-dir = {shared:?}\n"),
    );
}

/// A GET of the service itself, as its probes do it.
fn own(address: SocketAddr, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

/// From the command to a service that answers a tenant and ends well.
fn lives(template: &str) {
    let world = World::scaffold(template);
    share_builds(&world);
    assert_eq!(world.json(&["catalog", "check"])["ok"], true);
    assert_eq!(world.json(&["doctor"])["ok"], true);
    run(&world, "make", &["test"]);

    let report = world.json(&["up", "--detach", "--wait", "5min"]);
    let url = format!("http://{}/orders/hello", world.address);
    assert_eq!(report["try_urls"], serde_json::json!([url]));
    let key = report["keys"][0]["key"].as_str().unwrap();
    let answer = world.get("/orders/hello", key);
    assert_eq!(answer.status, 200, "{answer:?}");
    let hello = answer.json();
    assert_eq!(
        (&hello["message"], &hello["tenant"]),
        (&"hello from orders".into(), &"acme".into())
    );
    assert!(hello["deadline_ms"].as_u64().unwrap() > 0, "{hello}");

    // The gateway and the service speak of the same trace.
    let trace = hello["trace_id"].as_str().unwrap();
    assert_ne!(trace.trim_matches('0'), "", "{hello}");
    for service in ["gateway", "orders"] {
        eventually("the trace is in the log", || {
            let logs = world.ok(&["logs", service, "-n", "200", "--output", "json"]);
            logs.contains(trace).then_some(())
        });
    }
    assert_eq!(
        world.get("/orders/secret", key).status,
        404,
        "only what the catalog names is reachable"
    );
    assert_eq!(world.http("GET /orders/hello HTTP/1.1", b"").status, 401);

    let services = report["services"].as_array().unwrap();
    let orders = services
        .iter()
        .find(|service| service["service"] == "orders")
        .unwrap();
    let address: SocketAddr = orders["address"]
        .as_str()
        .unwrap()
        .trim_start_matches("http://")
        .parse()
        .unwrap_or_else(|error| panic!("{error}: {orders}"));
    for (path, part) in [
        ("/health", "ok"),
        ("/ready", "ready"),
        (
            "/metrics",
            "http_requests_total{route=\"/orders/hello\",method=\"GET\",status=\"200\"} 1",
        ),
    ] {
        let (head, body) = own(address, path);
        assert!(
            head.contains(" 200 ") && body.contains(part),
            "{path}: {head}\n{body}"
        );
    }
    assert!(run(&world, "make", &["smoke"]).contains("hello from orders"));

    ends_under_load(&world, key);
    let log = world.ok(&["logs", "orders", "-n", "200", "--output", "json"]);
    for text in ["it finishes what is under way", "it ends"] {
        assert!(log.contains(text), "{text} is missing in {log}");
    }
    assert!(!log.contains("still under way"), "{log}");
}

/// Clients ask without a pause while everything is stopped: what was answered was answered well.
fn ends_under_load(world: &World, key: &str) {
    let (ending, good) = (AtomicBool::new(false), AtomicUsize::new(0));
    let request = format!(
        "GET /orders/hello HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nConnection: close\r\n\r\n"
    );
    let client = || loop {
        // Nobody listens any more, or the connection was still in the gateway's queue.
        let over = || assert!(ending.load(Ordering::SeqCst), "refused before the end");
        let Ok(mut stream) = TcpStream::connect(world.address) else {
            return over();
        };
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut answer = String::new();
        let read = stream
            .write_all(request.as_bytes())
            .and_then(|()| stream.read_to_string(&mut answer));
        if answer.is_empty() {
            return over();
        }
        read.unwrap_or_else(|error| panic!("cut off ({error}): {answer}"));
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert!(answer.ends_with('}'), "{answer}");
        good.fetch_add(1, Ordering::SeqCst);
    };
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(client);
        }
        eventually("answers", || (good.load(Ordering::SeqCst) > 20).then_some(()));
        ending.store(true, Ordering::SeqCst);
        assert!(world.ok(&["down"]).contains("nothing is left running"));
    });
}

#[test]
fn slow_live_a_rust_service_lives() {
    needed("cargo", "https://rustup.rs");
    lives("rust");
}

#[test]
fn slow_live_a_node_service_lives() {
    needed("node", "`cargo xtask setup` installs it");
    lives("node");
}

#[test]
fn slow_live_a_python_service_lives() {
    needed("python3", "`cargo xtask setup` installs it");
    lives("python");
}

/// The page's commands, from its first to its last.
#[test]
fn slow_live_the_paved_road_can_be_walked() {
    needed("python3", "`cargo xtask setup` installs it");
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/guide/paved-road.md");
    let page = fs_err::read_to_string(page).unwrap();
    let blocks: Vec<&str> = page
        .split("```sh\n")
        .skip(1)
        .map(|block| block.split_once("```").unwrap().0)
        .collect();
    assert!(blocks.len() > 5, "{blocks:?}");
    let world = World::new();
    fs_err::remove_file(world.path().join("royalcrown.yaml")).unwrap();
    // Whatever fails, nothing is left running; and tests beside this one have addresses of their own.
    let listen = format!(
        "cd orders\necho 'gateway: {{listen: \"{}\"}}' > royalcrown.yaml\n",
        world.address
    );
    let script = blocks.concat().replacen("cd orders\n", &listen, 1);
    assert!(script.contains(&listen), "{script}");
    let script = format!("trap 'rc down' EXIT; set -eux\n{script}");
    let told = run(&world, "sh", &["-c", &script]);
    for part in [
        "a warm hello from orders",
        "\"tenant\":\"acme\"",
        "nothing is left running",
    ] {
        assert!(told.contains(part), "{part} is missing in {told}");
    }
}

#[test]
fn live_a_build_that_fails_starts_nothing_and_shows_where() {
    let world = World::scaffold("python");
    let catalog = fs_err::read_to_string(world.path().join("service-catalog.yaml")).unwrap();
    let broken = catalog.replace(
        "    command:",
        "    build: [sh, -c, 'echo the roof leaks >&2; exit 7']\n    command:",
    );
    world.write("service-catalog.yaml", &broken);
    let output = world.rc(&["up", "--detach"]);
    assert_eq!(output.status.code(), Some(3), "{}", told(&output));
    let text = String::from_utf8_lossy(&output.stderr).replace("\n  | ", " ");
    for part in [
        "RC-UP-011",
        "the build of `orders` ended with exit status 7",
        "the roof leaks",
        "rc logs orders",
    ] {
        assert!(text.contains(part), "{part} is missing in {text}");
    }
    assert_eq!(world.json_of(&["status"])["state"], "stopped");
    assert!(world.ok(&["logs", "orders"]).contains("the roof leaks"));

    let missing = broken.replace(
        "[sh, -c, 'echo the roof leaks >&2; exit 7']",
        "[no-such-compiler]",
    );
    world.write("service-catalog.yaml", &missing);
    let output = world.rc(&["up", "--detach"]);
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("rc doctor"),
        "{}",
        told(&output)
    );
    let doctor = world.rc(&["doctor"]);
    assert_eq!(doctor.status.code(), Some(1), "{}", told(&doctor));
    assert!(
        String::from_utf8_lossy(&doctor.stdout).contains("fail no-such-compiler"),
        "{}",
        told(&doctor)
    );
}

#[test]
fn live_a_build_can_be_interrupted_and_leaves_nothing() {
    let world = World::scaffold("python");
    let catalog = fs_err::read_to_string(world.path().join("service-catalog.yaml")).unwrap();
    let endless = catalog.replace(
        "    command:",
        "    build: [sh, -c, 'sleep 1000 & sleep 1000']\n    command:",
    );
    world.write("service-catalog.yaml", &endless);
    let mut up = world
        .command(&["up"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    eventually("the build runs", || {
        let logs = world.rc(&["logs", "orders"]);
        String::from_utf8_lossy(&logs.stdout)
            .contains("building: sh")
            .then_some(())
    });
    assert_eq!(world.json_of(&["status"])["state"], "starting");
    world.ok(&["down"]);
    assert_eq!(eventually("the end", || up.try_wait().unwrap()).code(), Some(1));
    let state = world.path().canonicalize().unwrap().join(".royalcrown");
    let left = rc_runtime::procfs::marked(rc_runtime::MARK, &format!("{}#", state.display()));
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn init_tells_what_it_wrote_and_what_is_next() {
    let world = World::new();
    let text = world.ok(&["init", "orders", "--template", "node", "--owner", "shop", "--yes"]);
    insta::assert_snapshot!("init", text);
    let made = world.path().join("orders");
    assert!(made.join("src/main.js").is_file());

    let again = world.rc(&["init", "orders", "--template", "node"]);
    assert_eq!(again.status.code(), Some(2), "{}", told(&again));
    let told = String::from_utf8_lossy(&again.stderr).replace("\n  | ", " ");
    for part in ["RC-INI-002", "src/main.js", ".github/workflows/ci.yml", "--dir"] {
        assert!(told.contains(part), "{part} is missing in {told}");
    }
}

#[test]
fn a_dry_run_writes_nothing_and_json_says_the_same() {
    let world = World::new();
    let report = world.json(&["init", "orders", "--template", "python", "--dry-run"]);
    assert_eq!(report["written"], false);
    assert!(!world.path().join("orders").exists());
    let wrote = world.json(&["init", "orders", "--template", "python"]);
    assert_eq!(wrote["written"], true);
    assert_eq!(
        (&wrote["files"], &wrote["tier"]),
        (&report["files"], &Value::from("silver"))
    );
    for file in report["files"].as_array().unwrap() {
        assert!(
            world.path().join("orders").join(file.as_str().unwrap()).is_file(),
            "{file}"
        );
    }
}

#[test]
fn a_script_without_a_name_and_hostile_names_are_refused() {
    let world = World::new();
    let before = fs_err::read_dir(world.path()).unwrap().count();
    let output = world.rc(&["init"]);
    assert_eq!(output.status.code(), Some(2), "{}", told(&output));
    assert!(String::from_utf8_lossy(&output.stderr).contains("RC-INI-003"));
    let long = "x".repeat(300);
    for name in ["../x", "a b", "", "gateway", "or\u{442}ers", &long] {
        let output = world.rc(&["init", name]);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{name}: {text}");
        assert!(
            text.contains("RC-INI-001") && text.contains("orders"),
            "{name}: {text}"
        );
    }
    let output = world.rc(&["init", "--", "-rf"]);
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("RC-INI-001"),
        "{}",
        told(&output)
    );
    assert_eq!(fs_err::read_dir(world.path()).unwrap().count(), before);
}

#[test]
fn a_disk_that_fails_half_way_leaves_nothing() {
    let world = World::new();
    let before = fs_err::read_dir(world.path()).unwrap().count();
    // No file can grow beyond 1 KiB: the first small ones are written, the first larger one is not.
    let output = Command::new("sh")
        .args([
            "-c",
            "trap '' XFSZ; ulimit -f 2; exec \"$0\" init orders --template node",
        ])
        .arg(env!("CARGO_BIN_EXE_rc"))
        .current_dir(world.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", told(&output));
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("RC-INI-004"),
        "{}",
        told(&output)
    );
    assert_eq!(fs_err::read_dir(world.path()).unwrap().count(), before);
}

#[test]
fn kill_minus_nine_at_any_moment_leaves_all_or_nothing() {
    const ROUNDS: u64 = 40;
    let world = World::new();
    let whole = world.json(&["init", "whole", "--dry-run"])["files"]
        .as_array()
        .unwrap()
        .len();
    let mut seen = [0; 2];
    for round in 0..ROUNDS {
        let name = format!("s{round}");
        let mut init = world
            .command(&["init", &name])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_micros(700 * round));
        // It may have ended by itself.
        let _ = init.kill();
        init.wait().unwrap();
        let dir = world.path().join(&name);
        seen[usize::from(dir.exists())] += 1;
        if dir.exists() {
            let files = walkdir::WalkDir::new(&dir).into_iter().map(Result::unwrap);
            let files: Vec<_> = files.filter(|entry| entry.file_type().is_file()).collect();
            assert_eq!(files.len(), whole, "round {round}");
            assert!(
                files.iter().all(|file| file.metadata().unwrap().len() > 0),
                "round {round}"
            );
        } else {
            world.ok(&["init", &name]);
        }
    }
    assert!(seen[0] > 0, "no run was killed: {seen:?}");
    let left = fs_err::read_dir(world.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains("rc-init"))
        .collect::<Vec<_>>();
    assert!(left.is_empty(), "{left:?}");
}
