//! Every queue that a client can fill, filled: a refusal with a time to come back, nothing lost, memory bounded,
//! and another tenant still served. The queues that only we can fill have unit tests; `docs/reliability.md`
//! lists all of them.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rc_model::clock::monotonic_ns;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::Value;

use super::documents::Set;
use super::processes::{memory_mib, ready, running};
use crate::world::{World, eventually};

/// Writes at once: more than ingest's writer queue takes (`rc_store::sqlite::WRITE_QUEUE_JOBS_MAX`, 1,024).
const WRITES: usize = 1_400;

/// Descriptors that [`WRITES`] connections need here and, twice, in the gateway.
const DESCRIPTORS: u64 = 8_192;

/// How long one answer may take.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// Another process that holds a database's write lock, as a person with `sqlite3` or a backup may. Over when
/// dropped.
struct Holder(Child);

impl Holder {
    fn of(world: &World, file: &str) -> Self {
        let script = "import sqlite3, sys
conn = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)
conn.execute('BEGIN IMMEDIATE')
print('held', flush=True)
sys.stdin.read()";
        let mut child = Command::new("python3")
            .args(["-c", script])
            .arg(world.path().join(".royalcrown/data").join(file))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut said)
            .unwrap();
        assert_eq!(said, "held\n");
        Self(child)
    }

    fn release(mut self) {
        self.end();
    }

    fn end(&mut self) {
        drop(self.0.stdin.take());
        let _ended = self.0.wait();
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        self.end();
    }
}

/// One answer of many.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) retry_after: Option<u64>,
    /// The problem's code; empty without one.
    pub(super) code: String,
    pub(super) body: String,
}

/// Reads the one answer that a connection brings until its end.
fn reply(stream: &mut impl std::io::Read) -> Reply {
    let mut raw = Vec::new();
    let _reset_after_the_answer = stream.read_to_end(&mut raw);
    let text = String::from_utf8_lossy(&raw).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let header = |name: &str| {
        head.lines().find_map(|line| {
            line.to_ascii_lowercase()
                .strip_prefix(name)
                .map(|value| value.trim().to_owned())
        })
    };
    let json: Value = serde_json::from_str(body).unwrap_or_default();
    Reply {
        status: head
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok())
            .unwrap_or_default(),
        retry_after: header("retry-after:").and_then(|value| value.parse().ok()),
        code: json["code"].as_str().unwrap_or_default().to_owned(),
        body: body.to_owned(),
    }
}

/// A refusal that a client can act on: this status, this code, and when to come back.
pub(super) fn expect_refusal(reply: &Reply, status: u16, code: &str) {
    assert_eq!((reply.status, reply.code.as_str()), (status, code), "{reply:?}");
    assert!(reply.retry_after.is_some_and(|seconds| seconds >= 1), "{reply:?}");
}

fn connect(world: &World) -> TcpStream {
    let stream = TcpStream::connect(world.address).unwrap();
    stream.set_read_timeout(Some(ANSWER_MAX)).unwrap();
    stream
}

fn request(line: &str, key: &str, more: &str, body: &str) -> String {
    format!(
        "{line} HTTP/1.1\r\nHost: test\r\nConnection: close\r\nAuthorization: Bearer {key}\r\n{more}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Sends all of `requests` at once, does `meanwhile`, and gives the answers in their order.
fn at_once(world: &World, requests: &[String], meanwhile: impl FnOnce()) -> Vec<Reply> {
    let mut streams: Vec<TcpStream> = requests
        .iter()
        .map(|request| {
            let mut stream = connect(world);
            stream.write_all(request.as_bytes()).unwrap();
            stream
        })
        .collect();
    meanwhile();
    streams.iter_mut().map(reply).collect()
}

fn raise_descriptors() {
    let limits = getrlimit(Resource::Nofile);
    let current = limits
        .maximum
        .map_or(DESCRIPTORS, |maximum| maximum.min(DESCRIPTORS));
    if limits.current.is_some_and(|now| now < current) {
        let wanted = Rlimit {
            current: Some(current),
            ..limits
        };
        setrlimit(Resource::Nofile, wanted).unwrap();
    }
}

/// A call to a service's own socket, as its owner may make it.
fn own_call(world: &World, service: &str, request: &str) -> Reply {
    let socket = world.path().join(format!(".royalcrown/run/{service}.sock"));
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(ANSWER_MAX)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    reply(&mut stream)
}

pub(super) fn own_get(world: &World, service: &str, path: &str) -> Reply {
    own_call(
        world,
        service,
        &format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"),
    )
}

/// The demo tenants without the gateway's queue, which would keep most requests from the queues behind it.
const WITHOUT_SEATS: &str = "\
tenants:
  acme: {tier: gold, demo: true, concurrency: {mode: off}}
  globex: {tier: silver, demo: true, concurrency: {mode: off}}
";

#[test]
fn slow_a_full_writer_queue_refuses_and_loses_nothing() {
    raise_descriptors();
    let world = World::new();
    world.write("tenants.yaml", WITHOUT_SEATS);
    world.up();
    let key = world.key("acme");
    let before = memory_mib(running(&world, "ingest"));
    let set = Set::new("full", WRITES);
    let requests: Vec<String> = (0..WRITES)
        .map(|number| {
            let more = format!("Idempotency-Key: full-{number}\r\nContent-Type: application/json\r\n");
            request("POST /ingest", &key, &more, &set.document(number))
        })
        .collect();
    let holder = Holder::of(&world, "ingest/ingest.db");
    let mut peak = 0;
    let replies = at_once(&world, &requests, || {
        std::thread::sleep(Duration::from_millis(1_500));
        peak = memory_mib(running(&world, "ingest"));
        holder.release();
    });
    let mut refused = Vec::new();
    for (number, reply) in replies.iter().enumerate() {
        if reply.status != 202 {
            expect_refusal(reply, 503, "RC-ING-020");
            refused.push(number);
        }
    }
    println!(
        "queues: writer queue: {} of {WRITES} writes refused while it was full; ingest {before} MiB before, {peak} then",
        refused.len()
    );
    assert!(refused.len() >= WRITES - 1_100, "{} refused", refused.len());
    assert!(peak < before + 64, "{before} MiB, then {peak} MiB");
    // The same requests with the same keys, one after another, as their clients do.
    for number in refused {
        let again = at_once(&world, &requests[number..=number], || {});
        assert_eq!(again[0].status, 202, "{:?}", again[0]);
    }
    set.expect_searchable(&world, &key);
    set.expect_once_on_bus(&world);
}

#[test]
fn slow_bodies_that_fill_the_budget_of_bytes_are_refused_and_memory_stays_bounded() {
    const BODY_BYTES: usize = 8 << 20;
    const SENT_BYTES: usize = BODY_BYTES - 1_000;
    /// `limits::QUEUE_BYTES_MAX`, and what the process needs beside it for parts on their way.
    const MEMORY_MORE_MIB_MAX: u64 = 96 + 64;

    let world = World::new();
    world.write(
        "tenants.yaml",
        "tenants:\n  acme: {tier: gold, demo: true}\n  globex: {tier: gold}\n  initech: {tier: gold}\n",
    );
    world.up();
    let keys = ["acme", "globex", "initech"].map(|tenant| world.key(tenant));
    let ingest = running(&world, "ingest");
    let before = memory_mib(ingest);
    let head = |key: &str, name: &str| {
        format!(
            "POST /ingest/batch HTTP/1.1\r\nHost: test\r\nConnection: close\r\nAuthorization: Bearer {key}\r\nIdempotency-Key: {name}\r\nContent-Type: application/x-ndjson\r\nContent-Length: {BODY_BYTES}\r\n\r\n"
        )
    };
    let piece = vec![b' '; SENT_BYTES];
    let hold = |key: &str, name: &str| {
        let mut stream = connect(&world);
        stream.write_all(head(key, name).as_bytes()).unwrap();
        // A refused body is not read to its end.
        let _refused = stream.write_all(&piece);
        stream
    };
    let metric = |name: &str| -> i64 {
        let text = own_get(&world, "ingest", "/metrics").body;
        let line = text.lines().find(|line| line.starts_with(name));
        let value = line.and_then(|line| line.rsplit(' ').next());
        value.and_then(|value| value.parse().ok()).unwrap_or_default()
    };
    // A body's bytes count when ingest has read them, which is a little later; and a body that stands still
    // for 5 s is let go, so each gets on by a byte.
    let until_refused = |held: &mut Vec<TcpStream>, key: &str, status: u16, code: &str| {
        eventually(code, || {
            for stream in &mut *held {
                let _let_go = stream.write_all(b" ");
            }
            let reply = at_once(&world, &[head(key, "more")], || {}).remove(0);
            (reply.code == code).then(|| expect_refusal(&reply, status, code))
        });
    };
    // One tenant gets its share, 64 MiB, and no more.
    let mut held: Vec<TcpStream> = (0..8).map(|n| hold(&keys[0], &format!("a{n}"))).collect();
    until_refused(&mut held, &keys[0], 429, "RC-ING-021");
    // Together, tenants get 96 MiB. While some of it is left, others get in.
    held.extend((0..3).map(|n| hold(&keys[1], &format!("b{n}"))));
    let small = world.post("/ingest", &keys[2], "small", r#"{"id":"small","text":"fits"}"#);
    assert_eq!(small.status, 202, "{small:?}");
    held.push(hold(&keys[1], "b3"));
    until_refused(&mut held, &keys[2], 503, "RC-ING-020");
    let peak = memory_mib(ingest);
    println!("queues: bytes budget: ingest {before} MiB before, {peak} MiB with 12 bodies of 8 MiB");
    assert!(
        peak <= before + MEMORY_MORE_MIB_MAX,
        "{before} MiB, then {peak} MiB"
    );
    drop(held);
    // The bodies' next answer, or any other, tells the gauge.
    eventually("the budget is free again", || {
        let n = monotonic_ns();
        let answer = world.post(
            "/ingest",
            &keys[0],
            &format!("after-{n}"),
            r#"{"id":"after","text":"fits"}"#,
        );
        (answer.status == 202 && metric("rc_ingest_queue_bytes") == 0).then_some(())
    });
}

#[test]
fn a_gateway_without_room_for_connections_says_so_and_has_room_again() {
    let world = World::new();
    world.write(
        "royalcrown.yaml",
        &format!("gateway:\n  listen: {}\n  workers: 1\n", world.address),
    );
    // As on a machine whose limit of open files was set for a desktop: room for (256 - 96) / 2 connections.
    let script = format!("ulimit -n 256; exec {} up --detach", env!("CARGO_BIN_EXE_rc"));
    let up = Command::new("sh")
        .args(["-c", &script])
        .current_dir(world.path())
        .output()
        .unwrap();
    assert!(up.status.success(), "{}", crate::world::told(&up));
    let mut idle: Vec<TcpStream> = (0..120).map(|_| connect(&world)).collect();
    let refused = idle.split_off(80);
    for mut stream in refused {
        expect_refusal(&reply(&mut stream), 503, "RC-GW-018");
    }
    // The owner's door has no such bound.
    ready(&world);
    world.ok(&["search", "anything"]);
    drop(idle);
    let key = world.key("acme");
    eventually("there is room again", || {
        let mut stream = connect(&world);
        stream
            .write_all(request("GET /search?q=a", &key, "", "").as_bytes())
            .ok()?;
        (reply(&mut stream).status == 200).then_some(())
    });
}

#[test]
fn slow_a_full_admin_queue_refuses_and_the_data_path_does_not_notice() {
    const CALLS: usize = 80;
    let world = World::new();
    world.up();
    let key = world.key("acme");
    let socket = world.path().join(".royalcrown/run/gateway.sock");
    let holder = Holder::of(&world, "gateway/gateway.db");
    let mut calls: Vec<UnixStream> = (0..CALLS)
        .map(|number| {
            let body = format!("{{\"tenant\":\"acme\",\"label\":\"many-{number}\"}}");
            let mut stream = UnixStream::connect(&socket).unwrap();
            stream.set_read_timeout(Some(ANSWER_MAX)).unwrap();
            stream
                .write_all(
                    request("POST /-/keys", "", "", &body)
                        .replace("Authorization: Bearer \r\n", "")
                        .as_bytes(),
                )
                .unwrap();
            stream
        })
        .collect();
    let start = monotonic_ns();
    assert_eq!(world.get("/docs/none", &key).status, 404);
    let took = Duration::from_nanos(monotonic_ns() - start);
    assert!(took < Duration::from_secs(1), "the data path waited {took:?}");
    holder.release();
    let replies: Vec<Reply> = calls.iter_mut().map(reply).collect();
    let made = replies.iter().filter(|reply| reply.status / 100 == 2).count();
    let refused: Vec<&Reply> = replies.iter().filter(|reply| reply.status / 100 != 2).collect();
    println!(
        "queues: admin queue: {made} of {CALLS} calls done, {} refused",
        refused.len()
    );
    assert!(made >= 64 && !refused.is_empty(), "{made} made");
    for reply in refused {
        expect_refusal(reply, 503, "RC-GW-060");
    }
    let listed = own_get(&world, "gateway", "/-/keys").body;
    assert_eq!(
        listed.matches("\"many-").count(),
        made,
        "what was acknowledged is there, and nothing else"
    );
}

#[test]
fn slow_a_relay_that_cannot_publish_keeps_what_was_acknowledged_and_says_so() {
    let world = World::new();
    world.up();
    let key = world.key("acme");
    let set = Set::new("backlog", 2_000);
    let holder = Holder::of(&world, "ingest/bus.db");
    let stored = world.json(&["ingest", set.file(&world).to_str().unwrap()]);
    assert_eq!(stored["documents"]["accepted"], 2_000, "{stored:#}");
    let unready = eventually("ingest names the relay", || {
        std::thread::sleep(Duration::from_millis(500));
        let report = own_get(&world, "ingest", "/ready");
        (report.status == 503).then(|| serde_json::from_str::<Value>(&report.body).unwrap())
    });
    assert!(
        unready["components"]["relay"]
            .as_str()
            .unwrap()
            .starts_with("down: RC-"),
        "{unready:#}"
    );
    assert_eq!(unready["components"]["store"], "ready");
    holder.release();
    set.expect_searchable(&world, &key);
    set.expect_once_on_bus(&world);
    ready(&world);
}

#[test]
fn slow_a_tenants_heavy_searches_fill_its_own_line_and_nobody_elses() {
    const SEARCHES: usize = 400;
    raise_descriptors();
    let world = World::new();
    world.write("tenants.yaml", WITHOUT_SEATS);
    world.up();
    let (acme, globex) = (world.key("acme"), world.key("globex"));
    let set = Set::new("heavy", 10_000);
    let stored = world.json(&["ingest", "--wait", set.file(&world).to_str().unwrap()]);
    assert_eq!(stored["documents"]["accepted"], 10_000, "{stored:#}");
    let one = world.post(
        "/ingest?wait=indexed&timeout=10s",
        &globex,
        "k",
        r#"{"id":"one","text":"quick"}"#,
    );
    assert_eq!(one.status, 200, "{one:?}");
    // Different each, so that none is answered by another.
    let requests: Vec<String> = (0..SEARCHES)
        .map(|number| {
            let line = format!("GET /search?q=harbour*+OR+report*+OR+crane*+OR+heavyw{number}&limit=10");
            request(&line, &acme, "", "")
        })
        .collect();
    let mut others = Vec::new();
    let replies = at_once(&world, &requests, || {
        for _ in 0..20 {
            let start = monotonic_ns();
            assert_eq!(world.get("/search?q=quick", &globex).status, 200);
            others.push(Duration::from_nanos(monotonic_ns() - start));
        }
    });
    let mut refused = 0;
    for reply in &replies {
        if reply.status != 200 {
            expect_refusal(reply, 429, "RC-DOC-014");
            refused += 1;
        }
    }
    let slowest = others.iter().max().unwrap();
    println!(
        "queues: read line: {refused} of {SEARCHES} heavy searches of one tenant refused; another tenant's slowest took {slowest:?}"
    );
    assert!(refused > 0 && refused < SEARCHES, "{refused} of {SEARCHES}");
    // In one line with the others it would wait for all of them.
    assert!(*slowest < Duration::from_secs(5), "{slowest:?}");
}
