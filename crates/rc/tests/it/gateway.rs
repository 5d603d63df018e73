//! `rc gateway`: the gateway on its own, and questions about what it does.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, ExitStatus};
use std::time::Duration;

use rc_model::Digest;
use serde_json::Value;

use crate::world::{World, eventually, told};

/// Longest wait for an answer or an end on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// A gateway that runs until it is dropped.
struct Running(Child);

impl Running {
    /// Starts it in the folder of `world`, and waits until it answers.
    fn start(world: &World) -> Self {
        let mut command = world.command(&["gateway", "run"]);
        let log = fs_err::File::create(world.path().join("gateway.log")).unwrap();
        let running = Self(command.stderr(log.into_parts().0).spawn().unwrap());
        eventually("the gateway listens", || {
            TcpStream::connect(world.address).is_ok().then_some(())
        });
        running
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(self.0.id().cast_signed()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    fn ended(mut self) -> ExitStatus {
        eventually("it ends", || self.0.try_wait().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A service that tells the head that it got. It serves until the test's process ends.
fn service() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || echo(stream));
        }
    });
    address
}

fn echo(mut stream: TcpStream) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    loop {
        let mut head = String::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            if line == "\r\n" {
                break;
            }
            head.push_str(&line);
        }
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{head}", head.len());
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

/// A file with one service behind `/`, and `more`.
fn file(world: &World, service: SocketAddr, more: &str) -> String {
    format!(
        "listeners: [{{address: \"{}\"}}]\nworkers: 1\nservices:\n  web: {{endpoints: [http://{service}], routes: [{{path: /}}]}}\n{more}",
        world.address
    )
}

/// An exchange with the administration.
fn admin(world: &World, head: &str, body: &str) -> (u16, String, String) {
    let mut stream = UnixStream::connect(world.path().join("gateway.sock")).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let head = head.replace('\n', "\r\n");
    let request = format!(
        "{head}\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_owned(), body.to_owned())
}

fn report(world: &World) -> Value {
    serde_json::from_str(&admin(world, "GET /-/config HTTP/1.1", "").2).unwrap()
}

fn log(world: &World) -> String {
    fs_err::read_to_string(world.path().join("gateway.log")).unwrap()
}

#[test]
fn live_a_bad_file_is_refused_and_the_old_one_serves() {
    let world = World::new();
    let service = service();
    let good = file(&world, service, "");
    world.write("gateway.yaml", &good);
    let running = Running::start(&world);
    let answer = world.http("GET /hello HTTP/1.1\nAuthorization: Bearer the-services-own", b"");
    assert_eq!(answer.status, 200, "{answer:?}");
    let seen = String::from_utf8_lossy(&answer.body).to_lowercase();
    assert!(seen.starts_with("get /hello "), "{seen}");
    assert!(
        seen.contains("authorization: bearer the-services-own"),
        "credentials are the service's: {seen}"
    );

    world.write(
        "gateway.yaml",
        &format!("{good}tenants: {{acme: {{tier: goldd}}}}\n"),
    );
    eventually("the fault is logged with its line", || {
        let log = log(&world);
        (log.contains("gateway.yaml:5:") && log.contains("did you mean `gold`?")).then_some(())
    });
    assert_eq!(
        world.http("GET / HTTP/1.1", b"").status,
        200,
        "the one before it serves"
    );
    assert_eq!(report(&world)["version"], 1);
    assert!(!report(&world)["refused"].is_null());
    let metrics = admin(&world, "GET /metrics HTTP/1.1", "").2;
    assert!(metrics.contains("rc_gateway_config_in_force 0"), "{metrics}");

    world.write(
        "gateway.yaml",
        &format!("{good}tenants: {{acme: {{tier: gold}}}}\n"),
    );
    running.signal(rustix::process::Signal::HUP);
    eventually("the mended file applies", || {
        (report(&world)["tenants"] == 1).then_some(())
    });
    assert!(report(&world)["refused"].is_null());

    running.signal(rustix::process::Signal::TERM);
    assert_eq!(running.ended().code(), Some(0), "{}", log(&world));
}

#[test]
fn live_tenants_are_known_by_keys_or_by_a_proxy_on_this_machine() {
    let world = World::new();
    let service = service();
    let tenants = "tenants: {acme: {tier: gold}}\n";
    let made = world.json(&["gateway", "key", "acme", "--add", "gateway.keys", "--label", "ci"]);
    let key = made["key"].as_str().unwrap();
    world.write(
        "gateway.yaml",
        &file(
            &world,
            service,
            &format!("identity: {{keys: gateway.keys}}\n{tenants}"),
        ),
    );
    let running = Running::start(&world);
    assert_eq!(world.get("/", key).status, 200);
    let seen = String::from_utf8_lossy(&world.get("/", key).body).to_lowercase();
    assert!(
        seen.contains("x-rc-tenant: acme") && !seen.contains("rck_"),
        "{seen}"
    );
    assert_eq!(world.http("GET / HTTP/1.1", b"").status, 401);
    assert_eq!(
        world.http("GET / HTTP/1.1\nx-rc-tenant: acme", b"").status,
        401,
        "nobody is believed"
    );

    // A line that is removed is a key that is revoked.
    world.write("gateway.keys", "# none\n");
    eventually("the key is dead", || {
        (world.get("/", key).status == 401).then_some(())
    });
    running.signal(rustix::process::Signal::TERM);
    assert_eq!(running.ended().code(), Some(0));

    world.write(
        "gateway.yaml",
        &file(
            &world,
            service,
            &format!("identity: {{header: loopback}}\n{tenants}"),
        ),
    );
    let _running = Running::start(&world);
    assert_eq!(world.http("GET / HTTP/1.1\nx-rc-tenant: acme", b"").status, 200);
    assert_eq!(world.http("GET / HTTP/1.1\nx-rc-tenant: nobody", b"").status, 401);
    assert_eq!(world.http("GET / HTTP/1.1", b"").status, 401);
}

#[test]
fn live_the_configuration_is_replaced_only_by_who_saw_it() {
    let world = World::new();
    let service = service();
    let (old, new) = (
        file(&world, service, ""),
        file(&world, service, "anonymous: {rps: {rate: 7/s}}\n"),
    );
    world.write("gateway.yaml", &old);
    let _running = Running::start(&world);
    let tag = |text: &str| format!("\"{}\"", Digest::of(text.as_bytes()));
    let put = |tag: &str, body: &str| {
        let condition = if tag.is_empty() {
            String::new()
        } else {
            format!("\nIf-Match: {tag}")
        };
        admin(&world, &format!("PUT /-/config HTTP/1.1{condition}"), body)
    };
    let on_disk = || fs_err::read_to_string(world.path().join("gateway.yaml")).unwrap();

    let (status, head, body) = admin(&world, "GET /-/config HTTP/1.1\nAccept: application/yaml", "");
    assert_eq!((status, &*body), (200, &*old));
    assert!(
        head.to_lowercase().contains(&format!("etag: {}", tag(&old))),
        "{head}"
    );

    assert_eq!(put("", &new).0, 428);
    assert_eq!(put(&tag(&new), &new).0, 412);
    let (status, _, body) = put(&tag(&old), "services: {web: {endpoint: []}}\nlistenrs: 1\n");
    assert_eq!(status, 422);
    let faults: Value = serde_json::from_str(&body).unwrap();
    assert!(
        faults["errors"].as_array().unwrap().len() >= 2,
        "all of them: {body}"
    );
    assert_eq!(on_disk(), old, "nothing of it happened");

    let (status, head, body) = put(&tag(&old), &new);
    assert_eq!(status, 200, "{body}");
    assert!(
        head.to_lowercase().contains(&format!("etag: {}", tag(&new))),
        "{head}"
    );
    assert_eq!(on_disk(), new, "what is in force is what a restart finds");
    assert_eq!(put(&tag(&old), &old).0, 412, "the second of two who saw the same");

    // Somebody edits the file and makes a mistake: a `PUT` would throw the edit away.
    world.write("gateway.yaml", "nonsense: 1\n");
    assert_eq!(put(&tag(&new), &old).0, 409);
    assert_eq!(on_disk(), "nonsense: 1\n");
}

#[test]
fn live_what_was_used_stays_used_and_explain_tells_it() {
    let world = World::new();
    let service = service();
    let more = |burst: u32| {
        format!(
            "identity: {{header: loopback}}\ntenants: {{acme: {{tier: gold, rps: {{rate: 1/h, burst: {burst}}}}}}}\n"
        )
    };
    world.write("gateway.yaml", &file(&world, service, &more(3)));
    let _running = Running::start(&world);
    let ask = || world.http("GET /x HTTP/1.1\nx-rc-tenant: acme", b"").status;
    assert_eq!([ask(), ask()], [200, 200]);
    let explain = || {
        let found = world.json(&[
            "gateway",
            "explain",
            "--config",
            "gateway.yaml",
            "--tenant",
            "acme",
            "--path",
            "/x",
        ]);
        let rows = found["limits"].as_array().unwrap();
        let burst = rows.iter().find(|row| row["limit"] == "rps.burst").unwrap();
        (
            found["running"].clone(),
            found["same_files"].clone(),
            burst["level"].clone(),
            burst["source"].clone(),
        )
    };
    let level = |text: &str| {
        (
            true.into(),
            true.into(),
            text.into(),
            "gateway.yaml:6 (its own)".into(),
        )
    };
    assert_eq!(explain(), level("1 of 3 left"));
    let version = report(&world)["version"].as_u64().unwrap();
    for round in 0..10 {
        world.write(
            "gateway.yaml",
            &format!("{}# {round}\n", file(&world, service, &more(3))),
        );
        let (status, _, body) = admin(&world, "POST /-/reload HTTP/1.1", "");
        assert_eq!(status, 200, "{body}");
    }
    assert!(report(&world)["version"].as_u64().unwrap() >= version + 10);
    assert_eq!(explain(), level("1 of 3 left"), "a reload fills no bucket");
    assert_eq!([ask(), ask()], [200, 429]);
}

#[test]
fn check_diff_and_explain_need_nothing_that_runs() {
    let world = World::new();
    let service: SocketAddr = "127.0.0.1:9".parse().unwrap();
    let exit = |args: &[&str]| {
        let output = world.rc(args);
        (output.status.code(), told(&output))
    };
    world.write("gateway.yaml", &file(&world, service, ""));
    world.write(
        "slow.yaml",
        &file(&world, service, "anonymous: {rps: {rate: 7/s}}\n"),
    );
    world.write("broken.yaml", "services: {web: {endpoints: [9000]}}\n");
    let (code, text) = exit(&["gateway", "check", "--config", "gateway.yaml"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(
        text.contains("1 service, 1 route, 0 tenants and 0 keys: no problems"),
        "{text}"
    );
    let (code, text) = exit(&["gateway", "check", "--config", "broken.yaml"]);
    assert!(code == Some(2) && text.contains("broken.yaml:1:"), "{text}");
    assert_eq!(exit(&["gateway", "run", "--config", "broken.yaml"]).0, Some(2));
    assert_eq!(exit(&["gateway", "check"]).0, Some(0), "the project's own files");

    assert_eq!(
        exit(&["gateway", "diff", "gateway.yaml", "gateway.yaml"]).0,
        Some(0)
    );
    let (code, text) = exit(&["gateway", "diff", "gateway.yaml", "slow.yaml"]);
    assert!(
        code == Some(1) && text.contains("rps.rate: 200/s -> 7/s"),
        "{text}"
    );
    assert_eq!(
        exit(&["gateway", "diff", "gateway.yaml"]).0,
        Some(3),
        "nothing runs to compare with"
    );

    let (code, text) = exit(&["gateway", "explain", "--tenant", "acme", "--path", "/docs/7"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(
        text.contains("acme (tier gold): GET /docs/7 goes to docs-api by the route /docs"),
        "{text}"
    );
    assert!(text.contains("the gateway is not running"), "{text}");
    assert_eq!(
        exit(&["gateway", "explain", "--tenant", "acme", "--path", "/nowhere"]).0,
        Some(1)
    );
    assert_eq!(
        exit(&["gateway", "explain", "--tenant", "acmee", "--path", "/docs"]).0,
        Some(2)
    );
    assert!(!Path::new(&world.path().join("gateway.sock")).exists());
}
