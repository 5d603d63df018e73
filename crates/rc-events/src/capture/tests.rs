//! Captures against a real server. The checker follows every row: with whole rows before each change, an
//! event that is lost, doubled or out of order breaks the chain of its row.

mod differential;
mod faults;

use std::collections::HashMap;
use std::sync::Arc;

use rc_model::SystemClock;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::bus::Bus;
use crate::bus::tests::World;
use crate::event::Event;
use crate::relay::{Relay, RelayOptions, RelayStatus};
use crate::slot::tests::{database, server};

struct Shop {
    server: &'static rc_test::Postgres,
    database: rc_test::Database,
    session: Session,
}

impl Shop {
    async fn new(tables: &str) -> Self {
        Self::on(server(), tables).await
    }

    async fn on(server: &'static rc_test::Postgres, tables: &str) -> Self {
        let database = database(server);
        let address = PgAddress::parse(&database.url).unwrap();
        let mut shop = Self {
            server,
            session: Session::ask(&address).await.unwrap(),
            database,
        };
        shop.run("CREATE SCHEMA IF NOT EXISTS public; SET search_path = public")
            .await;
        shop.run(tables).await;
        shop
    }

    async fn run(&mut self, sql: &str) {
        self.session
            .query("test", sql)
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// Rows of a query, as JSON.
    async fn rows(&mut self, sql: &str) -> Vec<Value> {
        let answer = self
            .session
            .query("test", &format!("SELECT to_jsonb(q) FROM ({sql}) q"))
            .await
            .unwrap();
        answer
            .rows
            .iter()
            .map(|row| serde_json::from_slice(row[0].as_ref().unwrap()).unwrap())
            .collect()
    }

    fn options(&self, tables: &[&str]) -> CaptureOptions {
        let tables = tables.iter().map(|name| name.parse().unwrap()).collect();
        CaptureOptions::new("shop", tables, TenantId::new("acme").unwrap())
    }

    fn source(&self, options: CaptureOptions) -> Arc<CaptureSource> {
        Arc::new(CaptureSource::new(
            PgAddress::parse(&self.database.url).unwrap(),
            options,
        ))
    }
}

struct Running {
    status: tokio::sync::watch::Receiver<RelayStatus>,
    stop: CancellationToken,
    tasks: tokio::task::JoinSet<()>,
}

fn run(source: Arc<CaptureSource>, bus: &Arc<dyn Bus>, rows: usize) -> Running {
    let options = RelayOptions {
        batch: ReadLimit {
            rows,
            ..ReadLimit::default()
        },
        ..RelayOptions::default()
    };
    let relay = Relay::new(source, Arc::clone(bus), SystemClock::shared(), options);
    let (status, stop) = (relay.status(), CancellationToken::new());
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(relay.run(stop.clone()));
    Running { status, stop, tasks }
}

impl Running {
    async fn end(mut self) {
        self.stop.cancel();
        tokio::time::timeout(Duration::from_secs(10), self.tasks.join_next())
            .await
            .expect("stops in time");
    }

    /// Waits until all was read and the stream is open.
    async fn follows(&self, source: &CaptureSource) {
        rc_test::eventually(Duration::from_secs(90), "the stream is open", async || {
            let slots = source.health().await.unwrap();
            slots
                .first()
                .is_some_and(|slot| slot.active_pid.is_some() && slot.confirmed.is_some())
                && self.status.borrow().published > 0
        })
        .await;
    }

    /// Waits until there are this many changes of rows on the bus; says what there is when they do not come.
    async fn captures(&self, shop: &mut Shop, bus: &Arc<dyn Bus>, count: usize) {
        let until = Instant::now() + Duration::from_secs(90);
        loop {
            let got = changes(bus).await;
            if got.len() >= count {
                return;
            }
            if Instant::now() >= until {
                let slots = shop.rows("SELECT * FROM pg_replication_slots").await;
                let sessions = shop.rows("SELECT * FROM pg_stat_activity WHERE backend_xmin IS NOT NULL OR xact_start IS NOT NULL OR backend_type = 'walsender'").await;
                let end = shop.rows("SELECT pg_current_wal_lsn()").await;
                panic!(
                    "{} of {count} changes: {got:#?}\n{:#?}\n{end:?} {slots:#?}\n{sessions:#?}",
                    got.len(),
                    self.status.borrow()
                );
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn fails_with(&mut self, code: &str) {
        let failed = self
            .status
            .wait_for(|status| status.error.as_ref().is_some_and(|(is, _)| *is == code));
        tokio::time::timeout(Duration::from_secs(30), failed)
            .await
            .expect("in time")
            .unwrap();
    }
}

async fn read_all(bus: &Arc<dyn Bus>) -> Vec<Event> {
    let mut all: Vec<Event> = Vec::new();
    loop {
        let after = all.last().map_or(0, |event| event.pos);
        let more = bus.read(after, ReadLimit::default()).await.unwrap();
        if more.is_empty() {
            return all;
        }
        all.extend(more);
    }
}

fn payload(event: &Event) -> Value {
    serde_json::from_slice(&event.payload).unwrap_or_else(|error| panic!("{event:?}: {error}"))
}

/// The changes of rows: kind, before, after, in the order of the bus.
async fn changes(bus: &Arc<dyn Bus>) -> Vec<(String, Value)> {
    let events = read_all(bus).await;
    let rows = events.iter().filter(|event| event.key.starts_with('['));
    rows.map(|event| (event.event_type.to_string(), payload(event)))
        .collect()
}

/// Follows every row; the state at the end by key. `whole`: rows before a change are whole and compared.
fn follow(events: &[Event], whole: bool) -> HashMap<String, Value> {
    let mut state: HashMap<String, Value> = HashMap::new();
    let mut numbers: HashMap<(String, String), u64> = HashMap::new();
    let mut ids = std::collections::HashSet::new();
    for event in events {
        let last = numbers
            .entry((event.topic.to_string(), event.key.clone()))
            .or_default();
        assert!(
            event.kseq > *last,
            "{} of {} after {last}: {:#?}",
            event.kseq,
            event.key,
            events
                .iter()
                .filter(|other| other.key == event.key)
                .map(|other| (other.pos, other.kseq, &*other.event_type, payload(other)))
                .collect::<Vec<_>>()
        );
        *last = event.kseq;
        assert!(ids.insert(event.id), "{event:?} twice");
        assert_eq!(event.numbering, crate::Numbering::Increasing);
        if event.event_type == "rc.cdc.truncate.v1" {
            state.clear();
        }
        if !event.key.starts_with('[') {
            continue;
        }
        let payload = payload(event);
        let at = format!("{} at {}: {payload}", event.key, event.pos);
        match &*event.event_type {
            "rc.cdc.insert.v1" => {
                assert_eq!(payload["before"], Value::Null, "{at}");
                let there = state.insert(event.key.clone(), payload["after"].clone());
                assert_eq!(there, None, "inserted twice: {at}");
            }
            "rc.cdc.update.v1" => {
                let there = state.insert(event.key.clone(), payload["after"].clone());
                let there = there.unwrap_or_else(|| panic!("updated before it was inserted: {at}"));
                assert!(
                    !whole || there == payload["before"],
                    "{at} but the row was {there}"
                );
            }
            "rc.cdc.delete.v1" => {
                let there = state.remove(&event.key);
                let there = there.unwrap_or_else(|| panic!("deleted before it was inserted: {at}"));
                assert!(
                    !whole || there == payload["before"],
                    "{at} but the row was {there}"
                );
            }
            other => panic!("{other}"),
        }
    }
    state
}

const COUNTERS: &str = "CREATE TABLE counters (id int PRIMARY KEY, n int NOT NULL, pad text);
    ALTER TABLE counters REPLICA IDENTITY FULL;";

/// Inserts, updates, deletes and moves rows of `counters` in small transactions, some of which roll back.
async fn churn(database: rc_test::Database, seed: u64, transactions: usize) {
    let mut session = Session::ask(&PgAddress::parse(&database.url).unwrap())
        .await
        .unwrap();
    let mut rng = fastrand::Rng::with_seed(seed);
    session.query("test", "SET search_path = public").await.unwrap();
    for _ in 0..transactions {
        let mut sql = String::from("BEGIN;");
        for _ in 0..rng.usize(1..5) {
            let id = rng.u32(..400);
            sql += &match rng.u8(..10) {
                0..5 => format!(
                    "INSERT INTO counters VALUES ({id}, 1, repeat('x', {})) ON CONFLICT (id) DO UPDATE SET n = counters.n + 1;",
                    rng.u8(..50)
                ),
                5..8 => format!("UPDATE counters SET n = n + 1 WHERE id = {id};"),
                8 => format!("DELETE FROM counters WHERE id = {id};"),
                _ => format!(
                    "UPDATE counters SET id = id + 1000 WHERE id = {id} AND NOT EXISTS (SELECT FROM counters WHERE id = {id} + 1000);"
                ),
            };
            if rng.u8(..6) == 0 {
                sql += "SELECT pg_sleep(0.003);";
            }
        }
        sql += if rng.u8(..6) == 0 { "ROLLBACK" } else { "COMMIT" };
        // Two that lock in different orders: one is told to try again, and it need not.
        let _ = session.query("test", &sql).await;
        let _ = session.query("test", "ROLLBACK").await;
    }
}

/// Waits until what the bus says is what the table says, and checks the chain of every row.
async fn check(shop: &mut Shop, bus: &Arc<dyn Bus>, table: &str, running: &Running) -> usize {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let events = read_all(bus).await;
        let state = follow(&events, true);
        let rows = shop.rows(&format!("SELECT * FROM {table}")).await;
        let expect: HashMap<String, Value> = rows
            .into_iter()
            .map(|row| (format!("[\"{}\"]", row["id"]), row))
            .collect();
        if state == expect {
            return events.len();
        }
        assert!(
            Instant::now() < until,
            "the bus has {} rows, the table {}: {:?}",
            state.len(),
            expect.len(),
            running.status.borrow()
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn live_capture_rows_that_were_there_and_changes_meanwhile_make_one_chain() {
    let (mut shop, world) = (Shop::new(COUNTERS).await, World::sqlite().await);
    shop.run("INSERT INTO counters SELECT n, 0, 'old' FROM generate_series(0, 399, 2) n")
        .await;
    let mut writers = tokio::task::JoinSet::new();
    for seed in 1..4 {
        writers.spawn(churn(shop.database.clone(), seed, 150));
    }
    let running = run(shop.source(shop.options(&["counters"])), &world.bus, 50);
    while writers.join_next().await.is_some() {}
    println!("{:?}", running.status.borrow());
    check(&mut shop, &world.bus, "counters", &running).await;
    assert_eq!(running.status.borrow().error, None);
    running.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn live_capture_cut_in_its_snapshot_and_in_its_stream_goes_on_there() {
    let (mut shop, world) = (Shop::new(COUNTERS).await, World::sqlite().await);
    shop.run("INSERT INTO counters SELECT n, 0, 'old' FROM generate_series(0, 1399) n")
        .await;
    let mut writers = tokio::task::JoinSet::new();
    for seed in 1..4 {
        writers.spawn(churn(shop.database.clone(), seed, 200));
    }
    for round in 0..25_u64 {
        let running = run(shop.source(shop.options(&["counters"])), &world.bus, 30);
        tokio::time::sleep(Duration::from_millis(60 + round * 4)).await;
        // Cut at whatever await it is in.
        drop(running);
    }
    while writers.join_next().await.is_some() {}
    let running = run(shop.source(shop.options(&["counters"])), &world.bus, 1_000);
    check(&mut shop, &world.bus, "counters", &running).await;
    running.end().await;
}

#[tokio::test]
async fn live_capture_values_of_every_form_before_and_after() {
    let (mut shop, world) = (
        Shop::new(
            "CREATE TYPE mood AS ENUM ('sad', 'ok');
             CREATE TABLE things (a int, b text, n numeric, f float8, j jsonb, d bytea, t timestamptz, u uuid,
                l int[], w text[], m mood, g int GENERATED ALWAYS AS (a * 2) STORED, PRIMARY KEY (b, a));
             ALTER TABLE things REPLICA IDENTITY FULL;",
        )
        .await,
        World::sqlite().await,
    );
    let row = "(1, 'k\"ey', 12.340, 1e-7, '{\"x\": [1, null]}', '\\x00ff', '2026-11-21 10:00:00.5+02',
        '018f0000-0000-7000-8000-000000000000', '{1,NULL}', '{\"a b\",\"\"}', 'ok')";
    shop.run(&format!("INSERT INTO things VALUES {row}")).await;
    let running = run(shop.source(shop.options(&["things"])), &world.bus, 1_000);
    rc_test::eventually(Duration::from_secs(90), "it is read", async || {
        !changes(&world.bus).await.is_empty()
    })
    .await;
    shop.run("UPDATE things SET n = NULL, m = 'sad'; UPDATE things SET a = 2; DELETE FROM things")
        .await;
    rc_test::eventually(Duration::from_secs(90), "all is captured", async || {
        changes(&world.bus).await.len() >= 5
    })
    .await;
    running.end().await;
    let first = json!({
        "a": 1, "b": "k\"ey", "n": "12.340", "f": 1e-7, "j": {"x": [1, null]}, "d": "AP8=",
        "t": "2026-11-21T08:00:00.5Z", "u": "018f0000-0000-7000-8000-000000000000", "l": [1, null],
        "w": ["a b", ""], "m": "ok"
    });
    let with = |changes: &[(&str, Value)]| {
        let mut row = first.clone();
        for (name, value) in changes {
            row[name] = value.clone();
        }
        row
    };
    let changed = with(&[("n", Value::Null), ("m", json!("sad"))]);
    let moved = with(&[("n", Value::Null), ("m", json!("sad")), ("a", json!(2))]);
    let got = changes(&world.bus).await;
    let kinds: Vec<&str> = got.iter().map(|(kind, _)| kind.as_str()).collect();
    assert_eq!(
        kinds,
        [
            "rc.cdc.insert.v1",
            "rc.cdc.update.v1",
            "rc.cdc.delete.v1",
            "rc.cdc.insert.v1",
            "rc.cdc.delete.v1"
        ]
    );
    let sides: Vec<(&Value, &Value)> = got
        .iter()
        .map(|(_, payload)| (&payload["before"], &payload["after"]))
        .collect();
    let null = Value::Null;
    assert_eq!(
        sides,
        [
            (&null, &first),
            (&first, &changed),
            (&changed, &null),
            (&null, &moved),
            (&moved, &null)
        ]
    );
    assert_eq!(got[3].1["moved_from"], json!(["k\"ey", "1"]));
    assert_eq!(got[0].1["source"]["snapshot"], true);
    assert_eq!(got[1].1["source"]["snapshot"], false);
    assert_eq!(got[1].1["source"]["table"], "things");
    follow(&read_all(&world.bus).await, true);
}

#[tokio::test]
async fn live_capture_a_large_value_that_was_not_touched_is_right_or_named() {
    for full in [true, false] {
        let (mut shop, world) = (
            Shop::new(
                "CREATE TABLE docs (id int PRIMARY KEY, n int, body text);
                 ALTER TABLE docs ALTER body SET STORAGE EXTERNAL;",
            )
            .await,
            World::sqlite().await,
        );
        let options = CaptureOptions {
            replica_identity_full: full,
            ..shop.options(&["docs"])
        };
        let source = shop.source(options);
        let running = run(Arc::clone(&source), &world.bus, 1_000);
        running.follows(&source).await;
        shop.run("INSERT INTO docs VALUES (1, 1, repeat('long ', 4000))")
            .await;
        shop.run("UPDATE docs SET n = 2").await;
        shop.run("UPDATE docs SET body = 'short'").await;
        shop.run("DELETE FROM docs").await;
        rc_test::eventually(Duration::from_secs(90), "all is captured", async || {
            changes(&world.bus).await.len() >= 4
        })
        .await;
        running.end().await;
        let got = changes(&world.bus).await;
        let long = json!("long ".repeat(4_000));
        let update = &got[1].1;
        if full {
            assert_eq!(
                (&update["before"]["body"], &update["after"]["body"]),
                (&long, &long)
            );
            assert_eq!(update.get("unchanged"), None);
            assert_eq!(got[2].1["before"]["body"], long);
            assert_eq!(got[3].1["before"], json!({"id": 1, "n": 2, "body": "short"}));
        } else {
            assert_eq!(update["before"], json!({"id": 1}));
            assert_eq!(update["after"], json!({"id": 1, "n": 2}));
            assert_eq!(update["unchanged"], json!(["body"]));
            assert_eq!(got[3].1["before"], json!({"id": 1}));
        }
        follow(&read_all(&world.bus).await, full);
    }
}

#[tokio::test]
async fn live_capture_survives_changes_of_the_table() {
    let (mut shop, world) = (Shop::new(COUNTERS).await, World::sqlite().await);
    shop.run("INSERT INTO counters VALUES (1, 1, 'a')").await;
    let mut running = run(shop.source(shop.options(&["counters"])), &world.bus, 1_000);
    rc_test::eventually(Duration::from_secs(90), "it is read", async || {
        !changes(&world.bus).await.is_empty()
    })
    .await;
    for change in [
        "ALTER TABLE counters ADD COLUMN extra jsonb DEFAULT '{\"d\": 1}'",
        "UPDATE counters SET n = 2",
        "ALTER TABLE counters RENAME COLUMN pad TO note",
        "INSERT INTO counters VALUES (2, 1, 'b', NULL)",
        "ALTER TABLE counters ALTER n TYPE text",
        "INSERT INTO counters VALUES (3, 'three', 'c', '[]')",
        "ALTER TABLE counters DROP COLUMN note",
        "ALTER TABLE counters RENAME COLUMN id TO number",
        "UPDATE counters SET n = 'two' WHERE number = 2",
        "BEGIN; ALTER TABLE counters ADD z int; INSERT INTO counters VALUES (4, 'f', '1', 9); ROLLBACK",
        "BEGIN; INSERT INTO counters VALUES (5, 'f', '1'); ALTER TABLE counters ADD y int; UPDATE counters SET y = 1 WHERE number = 5; COMMIT",
    ] {
        shop.run(change).await;
        // Half of it is decoded by a capture that starts anew and knows the layout from its cursor.
        if change.starts_with("INSERT") {
            tokio::time::sleep(Duration::from_millis(200)).await;
            running.end().await;
            running = run(shop.source(shop.options(&["counters"])), &world.bus, 1_000);
        }
    }
    running.captures(&mut shop, &world.bus, 7).await;
    running.end().await;
    let got = changes(&world.bus).await;
    let after: Vec<&Value> = got.iter().map(|(_, payload)| &payload["after"]).collect();
    let extra = json!({"d": 1});
    assert_eq!(
        after,
        [
            &json!({"id": 1, "n": 1, "pad": "a"}),
            &json!({"id": 1, "n": 2, "pad": "a", "extra": extra}),
            &json!({"id": 2, "n": 1, "note": "b", "extra": null}),
            &json!({"id": 3, "n": "three", "note": "c", "extra": []}),
            &json!({"number": 2, "n": "two", "extra": null}),
            &json!({"number": 5, "n": "f", "extra": 1}),
            &json!({"number": 5, "n": "f", "extra": 1, "y": 1}),
        ]
    );
    let events = read_all(&world.bus).await;
    let told = events
        .iter()
        .filter(|event| event.event_type == "rc.cdc.schema.v1")
        .count();
    // The first layout, and each that a change of a row was written with.
    assert_eq!(told, 6, "{events:#?}");
    follow(&events, false);
}

#[tokio::test]
async fn live_capture_tells_of_a_truncation() {
    let (mut shop, world) = (Shop::new(COUNTERS).await, World::sqlite().await);
    shop.run("INSERT INTO counters SELECT n, 0, '' FROM generate_series(1, 5) n")
        .await;
    let running = run(shop.source(shop.options(&["counters"])), &world.bus, 1_000);
    check(&mut shop, &world.bus, "counters", &running).await;
    shop.run("BEGIN; INSERT INTO counters VALUES (9, 1, ''); TRUNCATE counters; INSERT INTO counters VALUES (7, 1, ''); COMMIT")
        .await;
    check(&mut shop, &world.bus, "counters", &running).await;
    running.end().await;
    let events = read_all(&world.bus).await;
    assert!(
        events
            .iter()
            .any(|event| event.event_type == "rc.cdc.truncate.v1" && event.key == "truncate")
    );
}
