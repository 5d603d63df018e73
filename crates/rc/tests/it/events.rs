//! `rc events`, as people meet it: the built binary against real servers, alone and inside a project.

mod bad_input;
mod capture;
mod guide;
mod letters;
mod relay;
mod roles;
mod secrets;
mod stores;

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Output, Stdio};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rc_cluster::{NatsBus, NatsOptions};
use rc_events::bus::ReadLimit;
use rc_events::{Bus, Event, PostgresBus, SqliteBus};
use rc_model::{Clock, SystemClock};
use rc_store::{Postgres, PostgresOptions};
use rc_test::{Database, Nats};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::world::{World, free_address, told};

/// What differs from run to run, and what stands for it in a snapshot.
const VARYING: [(&str, &str); 11] = [
    (r"\d{4}-\d\d-\d\dT[\d:.]+Z", "[time]"),
    (r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", "[uuid]"),
    (r"\b[0-9a-f]{32}\b", "[hex]"),
    (r"\d+-[0-9a-f]{16}\b", "[plan]"),
    (r"127\.0\.0\.1:\d+", "[address]"),
    (r"/tmp/rc-it-\w+", "[folder]"),
    (r"rc_test_\d+", "[database]"),
    (r"rc_outbox_[0-9a-f]+_[0-9a-f]+", "[slot]"),
    (r#""retained_bytes": \d+"#, r#""retained_bytes": "[bytes]""#),
    (r#""lag_ms": \d+"#, r#""lag_ms": "[ms]""#),
    (r#""cursor": "(\\.|[^"\\])+""#, r#""cursor": "[cursor]""#),
];

/// Holds what a command printed with `--output json` against a file of `snapshots`: that shape is stable.
fn pin(name: &str, value: &Value) {
    insta::with_settings!({ filters => VARYING.to_vec(), prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!(name, format!("{value:#}"));
    });
}

/// The PostgreSQL of these tests, which writes what logical replication needs.
fn postgres() -> &'static rc_test::Postgres {
    static SHARED: OnceLock<rc_test::Postgres> = OnceLock::new();
    SHARED.get_or_init(|| rc_test::Postgres::start_logical(true))
}

/// A database with an outbox, made by its owner, who may replicate.
fn shop(world: &World) -> Database {
    let database = postgres().fresh_database();
    postgres().admin(&[&format!("ALTER ROLE {} REPLICATION", database.name)]);
    world.ok(&["events", "install", "--to", &database.url]);
    database
}

/// Runs statements as the superuser in `database`.
fn sql(database: &Database, statements: &str) {
    let _nothing = postgres().ask(database, statements);
}

/// Appends `events` events of each of `keys` in one transaction of plain SQL.
fn append(database: &Database, keys: &[&str], events: u32) {
    for key in keys {
        let sql = format!(
            "SELECT count(*) FROM rc_events.append_events('acme', array_fill('orders'::text, ARRAY[{events}]), \
             array_fill('{key}'::text, ARRAY[{events}]), array_fill('order.paid.v1'::text, ARRAY[{events}]), \
             ARRAY(SELECT jsonb_build_object('cents', n) FROM generate_series(1, {events}) n))"
        );
        assert_eq!(postgres().ask(database, &sql), events.to_string());
    }
}

/// A stream of its own on the NATS of this process, as `--to` names it.
fn stream() -> String {
    let nats = Nats::start();
    url_of(nats, &format!("it_events_{}", nats.fresh_name()))
}

fn url_of(nats: &Nats, stream: &str) -> String {
    format!("nats://{}/{stream}?monitor={}", nats.address(), nats.monitor())
}

/// As `world::eventually`, for a minute: a new replication slot waits for every transaction of the server.
fn eventually<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    for _ in 0..1_200 {
        if let Some(found) = check() {
            return found;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("{what} did not happen within a minute");
}

/// Everything on the bus at `to`, in order.
fn read(world: &World, to: &str) -> Vec<Event> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let clock: Arc<dyn Clock> = SystemClock::shared();
    runtime.block_on(async {
        let bus: Arc<dyn Bus> = if let Some(path) = to.strip_prefix("sqlite:") {
            Arc::new(SqliteBus::open_readonly(&world.path().join(path), clock).unwrap())
        } else if to.starts_with("nats:") {
            Arc::new(NatsBus::new(NatsOptions::parse(to).unwrap(), clock))
        } else {
            let options = PostgresOptions::new("it", rc_events::bus::postgres::SCHEMA);
            Arc::new(PostgresBus::new(Postgres::connect(to, &options).unwrap(), clock))
        };
        let mut events = Vec::new();
        loop {
            let after = events.last().map_or(0, |event: &Event| event.pos);
            let more = bus.read(after, ReadLimit::default()).await.unwrap();
            if more.is_empty() {
                return events;
            }
            events.extend(more);
        }
    })
}

/// The numbers of each key, in the order of the bus.
fn numbers(events: &[Event]) -> BTreeMap<&str, Vec<u64>> {
    let mut keys: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for event in events {
        keys.entry(&event.event.key).or_default().push(event.event.kseq);
    }
    keys
}

/// Asserts that the bus at `to` has the numbers 1 to `count` of each of `keys`, and nothing else.
fn assert_whole(world: &World, to: &str, keys: &[&str], count: u64) {
    let events = read(world, to);
    let expect: BTreeMap<&str, Vec<u64>> = keys.iter().map(|key| (*key, (1..=count).collect())).collect();
    assert_eq!(numbers(&events), expect);
}

/// `rc events relay` or `rc events capture` in the background; killed when dropped.
struct Mover {
    child: Child,
    log: std::path::PathBuf,
    /// Where it serves `/ready` and `/metrics`.
    metrics: String,
}

impl Mover {
    fn start(world: &World, args: &[&str]) -> Self {
        Self::start_as(world, args, &[])
    }

    /// The same with variables of the environment.
    fn start_as(world: &World, args: &[&str], variables: &[(&str, &str)]) -> Self {
        let metrics = free_address().to_string();
        let log = world
            .path()
            .join(format!("mover-{}.log", metrics.replace(':', "-")));
        let child = world
            .command(&["events"])
            .args(args)
            .args(["--metrics", &metrics])
            .envs(variables.iter().copied())
            .stdout(Stdio::null())
            .stderr(fs_err::File::create(&log).unwrap().into_parts().0)
            .spawn()
            .unwrap();
        Self { child, log, metrics }
    }

    fn log(&self) -> String {
        fs_err::read_to_string(&self.log).unwrap()
    }

    /// Waits until its log has `text`.
    fn until_log(&self, text: &str) {
        eventually(text, || self.log().contains(text).then_some(()));
    }

    /// What `path` answers: status and body; nothing while it does not listen.
    fn http(&self, path: &str) -> Option<(u16, String)> {
        use std::io::{Read as _, Write as _};
        let mut stream = std::net::TcpStream::connect(&self.metrics).ok()?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let status = answer.split(' ').nth(1)?.parse().ok()?;
        Some((status, answer))
    }

    /// Waits until `/ready` answers with `status`; its body.
    fn until_ready_says(&self, status: u16) -> String {
        eventually(&format!("/ready says {status}"), || {
            let (found, body) = self.http("/ready")?;
            (found == status).then_some(body)
        })
    }

    /// Waits until `/metrics` has the line `name value`.
    fn until_metric(&self, line: &str) {
        let wanted = format!("\n{line}\n");
        eventually(line, || {
            let (_, metrics) = self.http("/metrics")?;
            metrics.contains(&wanted).then_some(())
        });
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().cast_signed()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Its peak of resident memory in KiB.
    fn memory_peak_kib(&self) -> u64 {
        let status = fs_err::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// Ends it as an operator does, and expects that it ends well.
    fn end(mut self) {
        self.signal(Signal::TERM);
        let status = self.child.wait().unwrap();
        assert_eq!(status.code(), Some(0), "{}", self.log());
    }

    /// Ends it as a crash does.
    fn kill(mut self) {
        self.signal(Signal::KILL);
        assert_eq!(self.child.wait().unwrap().signal(), Some(9));
    }
}

impl Drop for Mover {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- log of a mover\n{}", self.log());
        }
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until nothing of the outbox at `from` waits for the bus, which has `events`; the status then.
fn until_relayed(world: &World, from: &str, to: &str, events: i64) -> Value {
    let args = ["events", "status", "--from", from, "--to", to];
    eventually("everything is relayed", || {
        let output = world.rc(&[&args[..], &["--output", "json"]].concat());
        let status: Value = serde_json::from_slice(&output.stdout).ok()?;
        (status["relays"][0]["waiting"] == 0 && status["buses"][0]["tail"] == events).then_some(status)
    })
}

/// Runs `rc`, expects the exit code `code`, and gives all that it printed.
fn refused(world: &World, args: &[&str], code: i32) -> String {
    let output: Output = world.rc(args);
    assert_eq!(output.status.code(), Some(code), "rc {args:?}: {}", told(&output));
    told(&output)
}
