//! What is wrong with events, servers and clocks, and what becomes of the rest: nothing lost, nothing doubled,
//! nothing out of order.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::process::Command;

use rc_cluster::{NatsBus, NatsOptions};
use rc_events::Bus as _;
use rc_model::SystemClock;
use rc_test::Nats;
use rc_test::nats::Sync;

use super::eventually;
use super::{
    Mover, append, assert_whole, numbers, pin, postgres, read, refused, shop, stream, until_relayed,
};
use crate::world::{World, told};

/// Events of one key in a run of CI; `RC_KEY_EVENTS=1000000` makes it a million.
const KEY_EVENTS: u32 = 20_000;

/// What a relay may need for that, whatever the number: a few batches of at most 16 MiB, and a debug binary.
const MEMORY_MAX_KIB: u64 = 200 * 1024;

#[test]
fn live_an_event_that_the_bus_does_not_take_waits_with_its_key_and_no_other() {
    let world = World::new();
    let database = shop(&world);
    let nats = Nats::start_own(Sync::Always, "max_payload: 65536");
    let to = super::url_of(&nats, "small");
    append(&database, &["o-1", "o-2"], 1);
    super::sql(
        &database,
        "SELECT rc_events.append_event('acme', 'orders', 'o-2', 'order.paid.v1', to_jsonb(repeat('x', 100000)))",
    );
    append(&database, &["o-1", "o-2", "o-3"], 1);
    let relay = Mover::start(&world, &["relay", "--from", &database.url, "--to", &to]);
    eventually("the others are on the bus", || {
        let events = read(&world, &to);
        (events.len() == 4).then_some(())
    });
    eventually("what waits is counted", || {
        let (_, metrics) = relay.http("/metrics")?;
        metrics.contains("\nrc_relay_parked_events 2").then_some(())
    });
    relay.until_ready_says(200);
    let events = read(&world, &to);
    let keys = numbers(&events);
    assert_eq!(
        (&keys["o-1"], &keys["o-2"], &keys["o-3"]),
        (&vec![1, 2], &vec![1], &vec![1])
    );

    // A person decides, beside the running relay.
    let ends = ["--from", &database.url, "--to", &to];
    let dlq = [&["events", "dlq"], &ends[..]].concat();
    pin("dlq_list_beside", &world.json_of(&[&dlq[..], &["list"]].concat()));
    let shown = world.ok(&[&dlq[..], &["show", "outbox/1"]].concat());
    assert!(shown.contains("RC-EVT-010, class refused"), "{shown}");
    let failed = refused(
        &world,
        &[&dlq[..], &["replay", "1", "--reason", "again"]].concat(),
        1,
    );
    assert!(failed.contains("letter 1 failed again"), "{failed}");
    world.ok(&[
        &dlq[..],
        &["edit", "1", "--payload", "\"cut\"", "--reason", "too large"],
    ]
    .concat());
    pin(
        "dlq_replay_beside",
        &world.json(&[&dlq[..], &["replay", "--all", "--reason", "it is small"]].concat()),
    );
    let none = world.json(&[&dlq[..], &["list"]].concat());
    assert_eq!(none["total"], 0, "{none}");
    let odd = refused(&world, &[&dlq[..], &["show", "docs-api/1"]].concat(), 2);
    assert!(odd.contains("the relay's letters are `outbox/NUMBER`"), "{odd}");
    assert_eq!(numbers(&read(&world, &to))["o-2"], [1, 2, 3]);
    relay.until_metric("rc_relay_parked_events 0");
    relay.end();
}

#[test]
fn live_an_event_that_no_bus_would_take_is_refused_in_its_transaction() {
    let world = World::new();
    let database = shop(&world);
    super::sql(&database, "CREATE TABLE orders (id int)");
    for (event, state) in [
        // More than 1 MiB, U+0000 in a payload and in a key, an empty topic, no tenant's name.
        (
            "'acme', 'orders', 'o', 't', to_jsonb(repeat('x', 1100000))",
            "23514",
        ),
        (r#"'acme', 'orders', 'o', 't', '{"a":"\u0000"}'"#, "22P05"),
        ("'acme', 'orders', 'o' || chr(0), 't', '{}'", "54000"),
        ("'acme', '', 'o', 't', '{}'", "23514"),
        ("'No Tenant', 'orders', 'o', 't', '{}'", "23514"),
        ("'acme', 'orders', 'o', 't', '{}', 70000", "23514"),
        ("'acme', 'orders', 'o', 't', '{'", "22P02"),
    ] {
        let sql = format!(
            "DO $do$ BEGIN INSERT INTO orders VALUES (1); EXECUTE $e$ SELECT rc_events.append_event({event}) $e$; \
             EXCEPTION WHEN SQLSTATE '{state}' THEN NULL; END $do$; \
             SELECT count(*) FROM orders UNION ALL SELECT count(*) FROM rc_events.outbox"
        );
        assert_eq!(postgres().ask(&database, &sql), "0\n0", "{event}");
    }
    // What was refused has taken no number.
    append(&database, &["o"], 1);
    let relay = Mover::start(
        &world,
        &["relay", "--from", &database.url, "--to", "sqlite:bus.db"],
    );
    until_relayed(&world, &database.url, "sqlite:bus.db", 1);
    relay.end();
    assert_whole(&world, "sqlite:bus.db", &["o"], 1);
}

/// How many events of one key this run makes.
fn key_events() -> u32 {
    #[expect(clippy::disallowed_methods, reason = "a person asks for the large run")]
    let wanted = std::env::var("RC_KEY_EVENTS");
    wanted
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(KEY_EVENTS)
}

#[test]
fn slow_live_a_key_with_very_many_events_is_relayed_in_order_and_bounded_memory() {
    let world = World::new();
    let database = shop(&world);
    let events = key_events();
    append(&database, &["hot"], events);
    let relay = Mover::start(
        &world,
        &["relay", "--from", &database.url, "--to", "sqlite:bus.db"],
    );
    let published = format!("rc_relay_published_events_total {events}\n");
    for _ in 0..600 {
        if relay
            .http("/metrics")
            .is_some_and(|(_, metrics)| metrics.contains(&published))
        {
            break;
        }
        std::thread::sleep(std::time::Duration::from_secs(1));
    }
    let peak = relay.memory_peak_kib();
    assert!(peak < MEMORY_MAX_KIB, "{peak} KiB for {events} events");
    relay.end();
    let last = read(&world, "sqlite:bus.db");
    let in_order = last
        .iter()
        .zip(1..)
        .all(|(event, number)| event.event.kseq == number);
    assert!(in_order && last.len() == events as usize, "{} events", last.len());
}

/// As a consumer that has read the bus at `to` so far.
fn tell_progress(to: &str, consumer: &str, seq: i64) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let bus = NatsBus::new(NatsOptions::parse(to).unwrap(), SystemClock::shared());
    runtime.block_on(bus.progress(consumer, seq)).unwrap();
}

/// A clock that is `RC_CLOCK_BACK` seconds behind, for a process that is started with it.
const SLOW_CLOCK: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>
int clock_gettime(clockid_t clock, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int done = real(clock, now);
    if (clock == CLOCK_REALTIME) now->tv_sec -= atoll(getenv("RC_CLOCK_BACK"));
    return done;
}
"#;

#[test]
fn live_a_relay_with_a_clock_in_the_past_or_the_future_moves_everything_in_order() {
    let world = World::new();
    let (database, to) = (shop(&world), stream());
    let source = world.write("clock.c", SLOW_CLOCK);
    let library = world.path().join("clock.so");
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .args([&library, &source])
        .output()
        .unwrap();
    assert!(built.status.success(), "{}", told(&built));
    let library = library.display().to_string();
    // Age is by the relay's clock; what a consumer has not read stays, however old that makes it.
    tell_progress(&to, "billing", 0);
    let mut count = 0_u32;
    // Twenty years back, twenty years ahead, and right.
    for back in ["630720000", "-630720000", "0"] {
        append(&database, &["o-1", "o-2"], 3);
        count += 3;
        let relay = Mover::start_as(
            &world,
            &["relay", "--from", &database.url, "--to", &to],
            &[("LD_PRELOAD", &library), ("RC_CLOCK_BACK", back)],
        );
        until_relayed(&world, &database.url, &to, i64::from(count) * 2);
        relay.until_ready_says(200);
        if back == "630720000" {
            assert!(relay.log().contains("\"ts\":\"2006-"), "{}", relay.log());
        }
        relay.end();
    }
    assert_whole(&world, &to, &["o-1", "o-2"], count.into());
    let said = world.ok(&["events", "verify", "--from", &database.url, "--to", &to]);
    assert!(said.contains("the bus is whole"), "{said}");
}

/// Deletes the stream `name` as an operator's `nats stream rm` does.
fn delete_stream(nats: &Nats, name: &str) {
    let mut stream = TcpStream::connect(nats.address()).unwrap();
    let ask = format!(
        "CONNECT {{\"verbose\":false}}\r\nSUB answer 1\r\nPUB $JS.API.STREAM.DELETE.{name} answer 0\r\n\r\n"
    );
    stream.write_all(ask.as_bytes()).unwrap();
    let answer = BufReader::new(stream)
        .lines()
        .map_while(Result::ok)
        .find(|line| line.starts_with('{'))
        .unwrap();
    assert!(answer.contains("\"success\":true"), "{answer}");
}

#[test]
fn live_a_deleted_stream_is_told_and_made_anew_by_a_person_only() {
    let world = World::new();
    let database = shop(&world);
    let nats = Nats::start();
    let name = format!("it_deleted_{}", nats.fresh_name());
    let to = super::url_of(nats, &name);
    append(&database, &["o-1", "o-2"], 5);
    let relay = Mover::start(&world, &["relay", "--from", &database.url, "--to", &to]);
    until_relayed(&world, &database.url, &to, 10);
    delete_stream(nats, &name);
    append(&database, &["o-1", "o-2"], 1);
    relay.until_log("RC-EVT-041");
    let told = relay.until_ready_says(503);
    assert!(told.contains("RC-EVT-041"), "{told}");

    let ends = ["--from", &database.url, "--to", &to];
    let status = refused(&world, &[&["events", "status"], &ends[..]].concat(), 3);
    assert!(status.contains("RC-EVT-041"), "{status}");
    let repair = [
        &[
            "events",
            "verify",
            "--repair",
            "--reason",
            "the stream was deleted",
        ],
        &ends[..],
    ]
    .concat();
    eventually("the stream is there again", || {
        world.rc(&repair).status.success().then_some(())
    });
    until_relayed(&world, &database.url, &to, 12);
    relay.until_ready_says(200);
    relay.end();
    assert_whole(&world, &to, &["o-1", "o-2"], 6);
}
