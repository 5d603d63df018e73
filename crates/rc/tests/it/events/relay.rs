//! A relay beside somebody's service: every source, every bus, killed in the middle, and checked after.

use serde_json::json;

use super::{Mover, append, assert_whole, pin, postgres, read, shop, stream, until_relayed};
use crate::world::{World, told};

const KEYS: [&str; 3] = ["o-1", "o-2", "o-3"];

#[test]
fn live_an_outbox_is_relayed_to_nats_through_a_kill_and_a_change_to_a_slot() {
    let world = World::new();
    let (database, to) = (shop(&world), stream());
    let relay = ["relay", "--from", &database.url, "--to", &to];
    append(&database, &KEYS, 10);
    let first = Mover::start(&world, &relay);
    until_relayed(&world, &database.url, &to, 30);
    first.until_ready_says(200);
    first.until_metric("rc_relay_leading 1");
    first.kill();
    append(&database, &KEYS, 10);

    let slot = Mover::start(&world, &[&relay[..], &["--source", "slot"]].concat());
    let status = until_relayed(&world, &database.url, &to, 60);
    pin("status", &status);
    append(&database, &KEYS, 5);
    until_relayed(&world, &database.url, &to, 75);
    slot.end();
    assert_whole(&world, &to, &KEYS, 25);

    let ends = ["--from", &database.url, "--to", &to];
    pin(
        "verify",
        &world.json(&[&["events", "verify"], &ends[..]].concat()),
    );
    let said = world.ok(&[&["events", "status"], &ends[..]].concat());
    assert!(said.contains("\noutbox  idle   0        0.00 s"), "{said}");
}

#[test]
fn live_an_outbox_is_streamed_from_a_slot_to_a_file_by_one_of_two_relays() {
    let world = World::new();
    let database = shop(&world);
    let relay = [
        "relay",
        "--from",
        &database.url,
        "--to",
        "sqlite:bus.db",
        "--source",
        "slot",
    ];
    append(&database, &KEYS, 10);
    let first = Mover::start(&world, &relay);
    until_relayed(&world, &database.url, "sqlite:bus.db", 30);
    // A file has one writer: the second one says whose turn it is, and ends.
    let second = world.rc(&[&["events"], &relay[..]].concat());
    assert_eq!(second.status.code(), Some(3), "{}", told(&second));
    assert!(
        told(&second).contains("already has a writer (process"),
        "{}",
        told(&second)
    );
    first.kill();
    append(&database, &KEYS, 10);
    let third = Mover::start(&world, &relay);
    until_relayed(&world, &database.url, "sqlite:bus.db", 60);
    third.end();
    assert_whole(&world, "sqlite:bus.db", &KEYS, 20);
}

#[test]
fn live_two_relays_share_an_outbox_and_the_one_that_stands_by_takes_over() {
    let world = World::new();
    let (database, to) = (shop(&world), stream());
    let relay = ["relay", "--from", &database.url, "--to", &to];
    let leading = Mover::start(&world, &relay);
    append(&database, &KEYS, 5);
    until_relayed(&world, &database.url, &to, 15);
    let standing_by = Mover::start(&world, &relay);
    standing_by.until_ready_says(200);
    standing_by.until_metric("rc_relay_leading 0");
    leading.kill();
    append(&database, &KEYS, 5);
    until_relayed(&world, &database.url, &to, 30);
    standing_by.end();
    assert_whole(&world, &to, &KEYS, 10);
}

#[test]
fn live_a_table_that_was_there_already_is_moved_to_a_bus_in_postgresql() {
    let world = World::new();
    let database = postgres().fresh_database();
    super::sql(
        &database,
        &format!(
            "SET ROLE {}; CREATE TABLE outbox (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, aggregate text NOT NULL, \
             aggregate_id text NOT NULL, kind text NOT NULL, payload jsonb NOT NULL, fingerprint text, \
             created_at timestamptz NOT NULL DEFAULT now(), dequeued_at timestamptz); \
             INSERT INTO outbox (aggregate, aggregate_id, kind, payload) \
             SELECT 'orders', 'o-' || (1 + n % 3), 'order.paid.v1', jsonb_build_object('n', n) FROM generate_series(0, 29) n",
            database.name
        ),
    );
    pin(
        "install_bus",
        &world.json(&["events", "install", "--bus", "--to", &database.url]),
    );
    let relay = [
        "relay",
        "--from",
        &database.url,
        "--to",
        &database.url,
        "--source",
        "table",
        "--tenant",
        "acme",
    ];
    let first = Mover::start(&world, &relay);
    let left = "SELECT count(*) FROM outbox WHERE dequeued_at IS NULL";
    super::eventually("every row is marked", || {
        (postgres().ask(&database, left) == "0").then_some(())
    });
    first.kill();
    let second = Mover::start(&world, &relay);
    super::sql(
        &database,
        "INSERT INTO outbox (aggregate, aggregate_id, kind, payload) VALUES ('orders', 'o-1', 'order.sent.v1', '{}')",
    );
    super::eventually("the row is marked", || {
        (postgres().ask(&database, left) == "0").then_some(())
    });
    second.end();
    let events = read(&world, &database.url);
    assert_eq!(events.len(), 31);
    let numbers = super::numbers(&events);
    assert_eq!(numbers["o-1"], (1..=11).collect::<Vec<_>>());
    assert_eq!(numbers["o-3"], (1..=10).collect::<Vec<_>>());
    assert_eq!(events[30].event.event_type, "order.sent.v1");

    let untold = super::refused(
        &world,
        &[
            "events",
            "relay",
            "--from",
            &database.url,
            "--to",
            "sqlite:bus.db",
            "--source",
            "table",
        ],
        2,
    );
    assert!(untold.contains("`--tenant TENANT`"), "{untold}");
}

#[test]
fn live_what_a_bus_has_lost_is_found_and_brought_back() {
    let world = World::new();
    let database = shop(&world);
    let ends = ["--from", &database.url, "--to", "sqlite:bus.db"];
    append(&database, &KEYS, 4);
    let relay = Mover::start(&world, &[&["relay"], &ends[..]].concat());
    until_relayed(&world, &database.url, "sqlite:bus.db", 12);
    relay.end();
    // What the bus believes it has, and has not.
    let cut = "import sqlite3, sys
conn = sqlite3.connect(sys.argv[1])
conn.execute('UPDATE bus SET topic = ?, key = ? WHERE seq IN (3, 4)', ('elsewhere', 'x'))
conn.commit()";
    let done = std::process::Command::new("python3")
        .args(["-c", cut])
        .arg(world.path().join("bus.db"))
        .status()
        .unwrap();
    assert!(done.success());

    let verify = [&["events", "verify"], &ends[..]].concat();
    let found = world.rc(&[&verify[..], &["--output", "json"]].concat());
    assert_eq!(found.status.code(), Some(1), "{}", told(&found));
    pin("verify_missing", &serde_json::from_slice(&found.stdout).unwrap());
    let said = super::refused(&world, &verify, 1);
    assert!(
        said.contains("2 missing: the outbox has them, the bus does not"),
        "{said}"
    );
    assert!(
        said.contains("`rc events verify --repair --reason TEXT`"),
        "{said}"
    );
    let repair = [&verify[..], &["--repair", "--reason", "cut in a test"]].concat();
    let repaired = world.json_of(&repair);
    pin("verify_repaired", &repaired);
    assert_eq!(repaired["published"], json!(2));
}

#[test]
fn live_an_outbox_is_settled_after_its_cluster_was_restored() {
    let world = World::new();
    let database = shop(&world);
    let ends = ["--from", &database.url, "--to", "sqlite:bus.db"];
    append(&database, &KEYS, 3);
    let relay = Mover::start(&world, &[&["relay"], &ends[..]].concat());
    until_relayed(&world, &database.url, "sqlite:bus.db", 9);
    relay.end();
    append(&database, &KEYS, 1);
    // As after pg_dump and restore: the numbers of the rows' transactions are ahead of the cluster's.
    super::sql(
        &database,
        "UPDATE rc_events.outbox SET xid = (xid::text::bigint + 1000000000)::text::xid8",
    );
    let stopped = Mover::start(&world, &[&["relay"], &ends[..]].concat());
    stopped.until_log("RC-EVT-006");
    stopped.end();

    let rebase = [&["events", "rebase"], &ends[..], &["--tenant", "acme"]].concat();
    pin("rebase", &world.json(&rebase));
    assert_eq!(
        world.ok(&rebase).trim(),
        "9 rows are on the bus, 3 wait for the relay, 0 keys are behind the bus"
    );
    let again = Mover::start(&world, &[&["relay"], &ends[..]].concat());
    until_relayed(&world, &database.url, "sqlite:bus.db", 14);
    again.end();
    let events = read(&world, "sqlite:bus.db");
    let orders: Vec<_> = events
        .into_iter()
        .filter(|event| event.event.topic == "orders")
        .collect();
    for (_, numbers) in super::numbers(&orders) {
        assert_eq!(numbers, [1, 2, 3, 4]);
    }
}
