//! Outboxes of services that know nothing of us: written by plain SQL and by `rc-outbox`, relayed and checked.

use std::collections::HashMap;
use std::sync::Arc;

use rc_model::TenantId;
use rc_outbox::Event as Written;
use rc_store::{Postgres, PostgresOptions, Sqlite, SqliteOptions};
use serde_json::json;
use tokio_postgres::NoTls;

use super::*;
use crate::bus::tests::World;
use crate::outbox::postgres::PostgresSource;
use crate::outbox::sqlite::SqliteSource;
use crate::relay::RelayOptions;
use crate::relay::tests::{assert_exact, read_all, run};

/// What `docs/events.md` shows.
#[path = "../../../rc-outbox/examples/orders.rs"]
#[expect(dead_code, reason = "its `main` is for people")]
mod orders;

const SCHEMA: &str = "rc_events";

/// A service's own connection, as its role, and the task that moves its bytes.
async fn service(url: &str) -> (tokio_postgres::Client, tokio::task::JoinSet<()>) {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    let mut moving = tokio::task::JoinSet::new();
    moving.spawn(async move { connection.await.unwrap() });
    client.batch_execute("SET search_path = rc_events").await.unwrap();
    (client, moving)
}

/// The database of a user after two installs, and the URL of a role that may only append.
async fn installed(writer: &str) -> (Postgres, rc_test::Database, String) {
    let server = rc_test::Postgres::start();
    let database = server.fresh_database();
    server.admin(&[
        &format!("DROP ROLE IF EXISTS {writer}"),
        &format!("CREATE ROLE {writer} LOGIN"),
    ]);
    let db = Postgres::connect(&database.url, &PostgresOptions::new("relay", SCHEMA)).unwrap();
    for _ in 0..2 {
        let sql = install_sql(
            SCHEMA,
            Grants {
                writer: Some(writer),
                relay: None,
            },
        )
        .unwrap();
        db.client().await.unwrap().simple(&sql).await.unwrap();
    }
    let url = server.url(writer, &database.name);
    (db, database, url)
}

fn written<'e>(key: &'e str, payload: &'e serde_json::Value) -> Written<'e> {
    Written {
        topic: "orders",
        key,
        event_type: "order.paid.v1",
        schema: 1,
        trace: None,
        payload,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn live_writers_with_crossing_keys_and_rollbacks_neither_deadlock_nor_leave_a_hole() {
    let (db, _database, url) = installed("crossing_writer").await;
    let world = World::postgres().await;
    let source = Arc::new(PostgresSource::new(db, "orders"));
    let mut running = run(source, &world.bus, RelayOptions::default());
    let mut writers = tokio::task::JoinSet::new();
    for seed in 1..=4 {
        let url = url.clone();
        writers.spawn(async move {
            let mut rng = fastrand::Rng::with_seed(seed);
            let ((mut client, _moving), tenant) = (service(&url).await, TenantId::new("acme").unwrap());
            let mut committed: HashMap<String, u64> = HashMap::new();
            for _ in 0..150 {
                let payload = json!({"paid": rng.u32(..)});
                let mut keys: Vec<String> = (0..6).map(|_| format!("key-{}", rng.u8(..4))).collect();
                rng.shuffle(&mut keys);
                let events: Vec<Written<'_>> = keys.iter().map(|key| written(key, &payload)).collect();
                let tx = client.transaction().await.unwrap();
                let numbers = rc_outbox::postgres::append(&tx, &tenant, &events).await.unwrap();
                // Numbers come in the order of the events, and grow by one within a key.
                for (index, key) in keys.iter().enumerate() {
                    let before = keys[..index].iter().rposition(|other| other == key);
                    assert!(before.is_none_or(|before| numbers[index] == numbers[before] + 1));
                }
                if rng.u8(..5) == 0 {
                    tx.rollback().await.unwrap();
                    continue;
                }
                tx.commit().await.unwrap();
                for key in keys {
                    *committed.entry(key).or_default() += 1;
                }
            }
            committed
        });
    }
    let mut expect: HashMap<String, u64> = HashMap::new();
    while let Some(committed) = writers.join_next().await {
        for (key, count) in committed.unwrap() {
            *expect.entry(key).or_default() += count;
        }
    }
    let total: u64 = expect.values().sum();
    running.until(|status| status.tail == total.cast_signed()).await;
    running.end().await;
    assert_exact(&read_all(&world.bus).await, &expect);
}

#[tokio::test]
async fn live_plain_sql_appends_and_the_writer_can_do_nothing_else() {
    let (db, _database, url) = installed("plain_writer").await;
    let (client, _moving) = service(&url).await;
    let append = "SELECT append_event('acme', 'orders', 'a', 'order.paid.v1', '{\"eur\": 5}')";
    for number in 1..=3_i64 {
        let kseq: i64 = client.query_one(append, &[]).await.unwrap().get(0);
        assert_eq!(kseq, number);
    }
    for (denied, state) in [
        ("DELETE FROM outbox", "42501"),
        ("UPDATE event_keys SET last = 7", "42501"),
        ("SELECT outbox_retain('99:99:', '0')", "42501"),
        (
            "SELECT append_event('No Tenant', 'orders', 'a', 't', '{}')",
            "23514",
        ),
        ("SELECT append_event('acme', '', 'a', 't', '{}')", "23514"),
        (
            "SELECT append_event('acme', 'orders', repeat('k', 600), 't', '{}')",
            "23514",
        ),
        (
            "SELECT append_events('acme', '{a}', '{a,b}', '{t}', '{1}')",
            "22023",
        ),
    ] {
        let error = client.query(denied, &[]).await.unwrap_err();
        assert_eq!(error.code().unwrap().code(), state, "{denied}: {error:?}");
    }
    let source = PostgresSource::new(db, "orders");
    let fetched = crate::Source::fetch(&source, &crate::Cursor::default(), crate::ReadLimit::default())
        .await
        .unwrap();
    let numbers: Vec<u64> = fetched.records.iter().map(|record| record.event.kseq).collect();
    assert_eq!(numbers, [1, 2, 3]);
    let first = &fetched.records[0].event;
    assert_eq!(&first.payload[..], b"{\"eur\": 5}");
    assert_eq!(first.id.get_version_num(), 7);
}

#[tokio::test]
async fn live_the_example_changes_its_order_and_appends_in_one_transaction() {
    let (db, database, url) = installed("example_writer").await;
    let server = rc_test::Postgres::start();
    let table = "CREATE TABLE public.orders (id text PRIMARY KEY, state text NOT NULL); \
        INSERT INTO orders VALUES ('o-1', 'new'); GRANT SELECT, UPDATE ON orders TO example_writer";
    let _nothing = server.ask(&database, table);
    let (mut client, _moving) = service(&url).await;
    client
        .batch_execute("SET search_path = public, rc_events")
        .await
        .unwrap();
    for number in 1..=3 {
        assert_eq!(orders::pay(&mut client, "o-1", 4_200).await.unwrap(), number);
    }
    assert_eq!(server.ask(&database, "SELECT state FROM orders"), "paid");
    let source = PostgresSource::new(db, "orders");
    let fetched = crate::Source::fetch(&source, &crate::Cursor::default(), crate::ReadLimit::default())
        .await
        .unwrap();
    let payloads: Vec<&[u8]> = fetched
        .records
        .iter()
        .map(|record| &record.event.payload[..])
        .collect();
    assert_eq!(payloads, [b"{\"cents\": 4200}"; 3]);
}

#[tokio::test]
async fn a_service_with_a_sqlite_file_of_its_own_is_relayed_and_prunes_itself() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shop.db");
    let tenant = TenantId::new("acme").unwrap();
    let mut conn = rusqlite::Connection::open(&path).unwrap();
    conn.pragma_update(None, "journal_mode", "wal").unwrap();
    rc_outbox::sqlite::install(&conn).unwrap();
    rc_outbox::sqlite::install(&conn).unwrap();
    let options = SqliteOptions {
        foreign: true,
        ..SqliteOptions::default()
    };
    let db = Sqlite::open_readonly(&path, options).unwrap();
    let world = World::sqlite().await;
    let source = Arc::new(SqliteSource::new(db, "shop"));
    let mut running = run(source, &world.bus, RelayOptions::default());
    let payload = json!({"eur": 5});
    for round in 0..20 {
        let tx = conn
            .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)
            .unwrap();
        let events = [
            written("a", &payload),
            written("b", &payload),
            written("a", &payload),
        ];
        let numbers = rc_outbox::sqlite::append(&tx, &tenant, &events).unwrap();
        if round % 4 == 0 {
            tx.rollback().unwrap();
        } else {
            assert_eq!(numbers[2], numbers[0] + 1);
            tx.commit().unwrap();
        }
    }
    let status = running.until(|status| status.tail == 45).await;
    running.end().await;
    let expect = HashMap::from([("a".to_owned(), 30), ("b".to_owned(), 15)]);
    assert_exact(&read_all(&world.bus).await, &expect);
    let relayed: i64 = status.cursor.as_str().parse().unwrap();
    assert_eq!(
        rc_outbox::sqlite::prune(&conn, relayed, i64::MAX, 40).unwrap(),
        40
    );
    assert_eq!(rc_outbox::sqlite::prune(&conn, relayed, 0, 40).unwrap(), 0);
}
