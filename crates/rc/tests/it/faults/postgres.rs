//! The platform on a PostgreSQL that is away when it starts, and lost in every way while documents come in.

use std::process::{Child, Stdio};
use std::time::Duration;

use rc_model::clock::monotonic_ns;
use rc_test::chaos::{Proxy, Weather};
use rc_test::{Database, Postgres, Rng};
use serde_json::Value;

use super::documents::{INGEST_MAX, Set};
use super::processes::{kill, left, ready, running, services};
use super::queues::own_get;
use crate::world::{Answer, World, eventually, told};

/// Documents of one run.
const DOCUMENTS: usize = 10_000;

/// How long a refusal may take: the store's own deadline (`limits::STORE_TIMEOUT`) and the way back.
const REFUSED_MAX: Duration = Duration::from_secs(12);

/// A project on a migrated database that is reached through `proxy`.
pub(super) fn world(server: &Postgres) -> (World, Proxy, Database) {
    let database = server.fresh_database();
    let proxy = Proxy::tcp(server.address());
    let world = World::new();
    let url = database
        .url
        .replace(&server.address().to_string(), &proxy.address().to_string());
    assert_ne!(url, database.url);
    world.write(
        "royalcrown.yaml",
        &format!(
            "gateway:\n  listen: {}\nstore:\n  url: \"{url}\"\n",
            world.address
        ),
    );
    world.ok(&["migrate"]);
    (world, proxy, database)
}

/// `rc up` in the foreground, which waits for a database as long as it takes. Killed when dropped.
struct Up(Child);

impl Up {
    fn start(world: &World) -> Self {
        let child = world
            .command(&["up"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self(child)
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        kill(self.0.id());
        let _ended = self.0.wait();
    }
}

/// A refusal that a client can act on, in time.
fn expect_refused(what: &str, ask: impl FnOnce() -> Answer) {
    let start = monotonic_ns();
    let answer = ask();
    let took = Duration::from_nanos(monotonic_ns() - start);
    assert_eq!(answer.status, 503, "{what}: {answer:?}");
    let wait: Option<u64> = answer.header("retry-after").and_then(|value| value.parse().ok());
    assert!(wait.is_some_and(|seconds| seconds >= 1), "{what}: {answer:?}");
    assert!(took < REFUSED_MAX, "{what}: {took:?}");
}

pub(super) fn expect_once_on_bus(server: &Postgres, database: &Database, set: &Set, count: usize) {
    let name = set.name();
    let found = server.ask(
        database,
        &format!(
            "SELECT count(*), count(DISTINCT key), max(kseq) FROM bus.records WHERE key LIKE '{name}-%'"
        ),
    );
    assert_eq!(found, format!("{count}|{count}|1"), "{name}");
    let holes = server.ask(
        database,
        "SELECT max(seq) - min(seq) + 1 - count(*) FROM bus.records",
    );
    assert_eq!(holes, "0", "the bus has holes");
}

#[test]
fn live_a_database_that_is_down_at_the_start_is_waited_for() {
    let server = Postgres::start_own(true);
    let (world, _proxy, database) = world(&server);
    // Keys are in the database, too: this one is made while it is there.
    world.up();
    let key = world.key("acme");
    world.ok(&["down"]);
    server.stop();

    let _up = Up::start(&world);
    let set = Set::new("start", 10);
    let named = eventually("ingest names the store", || {
        let socket = world.path().join(".royalcrown/run/ingest.sock");
        std::os::unix::net::UnixStream::connect(socket).ok()?;
        let report = own_get(&world, "ingest", "/ready");
        let report: Value = serde_json::from_str(&report.body).ok()?;
        let said = report["components"]["store"].as_str()?;
        said.starts_with("down: ").then(|| said.to_owned())
    });
    println!("postgres: /ready of ingest while the server is down at the start: {named}");
    eventually("the gateway's door is open", || {
        std::net::TcpStream::connect(world.address).ok()
    });
    // Nobody is let in on a guess, and nobody is told that a good key is a wrong one.
    expect_refused("a key without a table of keys", || world.get("/docs/none", &key));
    let trusted = own_write(&world, &set, 0);
    assert!(
        trusted.starts_with("HTTP/1.1 503 ") && trusted.contains("retry-after: "),
        "{trusted}"
    );

    server.start_again();
    for number in 0..10 {
        eventually("a document is taken", || {
            let answer = world.post("/ingest", &key, &format!("k{number}"), &set.document(number));
            (answer.status == 202).then_some(())
        });
    }
    set.expect_searchable(&world, &key);
    expect_once_on_bus(&server, &database, &set, 10);
    ready(&world);
}

/// A write over the owner's door, which needs no key; the raw answer.
fn own_write(world: &World, set: &Set, number: usize) -> String {
    use std::io::{Read as _, Write as _};
    let socket = world.path().join(".royalcrown/run/gateway.sock");
    let mut stream = std::os::unix::net::UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(REFUSED_MAX)).unwrap();
    let body = set.document(number);
    write!(
        stream,
        "POST /ingest HTTP/1.1\r\nHost: test\r\nConnection: close\r\nX-Rc-Tenant: acme\r\nIdempotency-Key: own\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// A way to lose the database, and what must be done so that it is back.
type Loss = (&'static str, fn(&Postgres, &Proxy), fn(&Postgres, &Proxy));

const LOSSES: [Loss; 5] = [
    (
        "stopped at once",
        |server, _| server.stop(),
        |server, _| server.start_again(),
    ),
    (
        "a backend is killed",
        |server, _| server.kill_a_backend(),
        |_, _| {},
    ),
    (
        "the network is cut",
        |_, proxy| {
            proxy.set(Weather::Refusing);
            proxy.cut();
        },
        |_, proxy| proxy.set(Weather::Clear),
    ),
    (
        "the network is silent",
        |_, proxy| proxy.set(Weather::Silent),
        |_, proxy| proxy.set(Weather::Clear),
    ),
    (
        "the network is slow",
        |_, proxy| proxy.set(Weather::Slow(Duration::from_millis(150))),
        |_, proxy| proxy.set(Weather::Clear),
    ),
];

#[test]
fn slow_live_a_database_lost_during_ingest_loses_and_doubles_nothing() {
    let server = Postgres::start_own(true);
    let (world, proxy, database) = world(&server);
    world.up();
    let key = world.key("acme");
    for (round, (what, lose, give_back)) in LOSSES.iter().enumerate() {
        let set = Set::new(&format!("lost{round}"), DOCUMENTS);
        let mut ingest = start_ingest(&world, &set);
        std::thread::sleep(Duration::from_millis(250));
        assert!(
            ingest.try_wait().unwrap().is_none(),
            "{what}: the ingest was over before"
        );
        lose(&server, &proxy);
        if matches!(*what, "stopped at once" | "the network is cut") {
            // Whatever is asked is refused with a wait, until the database is back.
            eventually("a write is refused", || {
                let answer = world.post(
                    "/ingest",
                    &key,
                    &format!("probe{round}"),
                    r#"{"id":"p","text":"p"}"#,
                );
                (answer.status == 503).then_some(())
            });
            expect_refused(what, || {
                world.post(
                    "/ingest",
                    &key,
                    &format!("probe{round}"),
                    r#"{"id":"p","text":"p"}"#,
                )
            });
            expect_refused(what, || world.get("/docs/p", &key));
        } else {
            std::thread::sleep(Duration::from_secs(3));
        }
        give_back(&server, &proxy);
        finish_ingest(ingest, what);
        set.expect_searchable(&world, &key);
        expect_once_on_bus(&server, &database, &set, DOCUMENTS);
        println!(
            "postgres: {what} during an ingest; {DOCUMENTS} documents, each searchable and on the bus once"
        );
    }
    ready(&world);
}

#[test]
fn slow_live_kill_9_of_every_process_on_postgresql_loses_and_doubles_nothing() {
    const ROUNDS: usize = 4;
    let server = Postgres::start_own(true);
    let (world, _proxy, database) = world(&server);
    world.up();
    let mut rng = Rng::new(monotonic_ns());
    let mut kills = 0;
    for round in 0..ROUNDS {
        let set = Set::new(&format!("pg{round}"), DOCUMENTS);
        let ingest = start_ingest(&world, &set);
        let mut victims = services(&world);
        victims.push("rc-up".to_owned());
        rng.shuffle(&mut victims);
        for victim in &victims {
            std::thread::sleep(rng.up_to(Duration::from_millis(400)));
            kill(running(&world, victim));
            kills += 1;
            if victim == "rc-up" {
                eventually("everything ends", || left(&world).is_empty().then_some(()));
                world.up();
            }
        }
        finish_ingest(ingest, &format!("round {round}"));
        eventually("the platform is ready", || {
            world
                .rc(&["tenant", "key", "list"])
                .status
                .success()
                .then_some(())
        });
        let key = eventually("a key is made", || {
            let output = world.rc(&["tenant", "key", "create", "acme", "--output", "json"]);
            let made: Value = serde_json::from_slice(&output.stdout).ok()?;
            made["key"].as_str().map(str::to_owned)
        });
        set.expect_searchable(&world, &key);
        expect_once_on_bus(&server, &database, &set, DOCUMENTS);
    }
    println!(
        "postgres: {kills} kills in {ROUNDS} rounds; {} documents, each searchable and on the bus once",
        ROUNDS * DOCUMENTS
    );
}

fn start_ingest(world: &World, set: &Set) -> Child {
    world
        .command(&["ingest", set.file(world).to_str().unwrap(), "--output", "json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn finish_ingest(mut ingest: Child, what: &str) {
    let until = monotonic_ns() + u64::try_from(INGEST_MAX.as_nanos()).unwrap();
    while ingest.try_wait().unwrap().is_none() && monotonic_ns() < until {
        std::thread::sleep(Duration::from_millis(50));
    }
    let _ended_or_late = ingest.kill();
    let output = ingest.wait_with_output().unwrap();
    assert!(output.status.success(), "{what}: {}", told(&output));
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    let documents = &answer["documents"];
    let stored = documents["accepted"].as_u64().unwrap() + documents["duplicate"].as_u64().unwrap();
    assert_eq!(stored, DOCUMENTS as u64, "{what}: {answer:#}");
}
