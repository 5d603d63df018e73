//! Somebody else's table on a real server: late low ids, a relay that dies at each step, rows that are no events.

use std::collections::HashMap;
use std::sync::Arc;

use rc_store::PostgresOptions;

use super::*;
use crate::bus::Publish;
use crate::bus::tests::World;
use crate::relay::RelayOptions;
use crate::relay::tests::{assert_exact, read_all, run};

const TABLE: &str = "CREATE TABLE public.outbox (
    id bigserial PRIMARY KEY, aggregate text, aggregate_id text, kind text, payload jsonb, fingerprint text,
    created_at timestamptz NOT NULL DEFAULT now(), dequeued_at timestamptz
)";

async fn world() -> (Postgres, rc_test::Database, World) {
    let database = rc_test::Postgres::start().fresh_database();
    let db = Postgres::connect(&database.url, &PostgresOptions::new("table", "rc_events")).unwrap();
    db.migrate(&MIGRATIONS).await.unwrap();
    sql(&db, TABLE).await;
    (db, database, World::sqlite().await)
}

async fn sql(db: &Postgres, text: &str) {
    db.client().await.unwrap().simple(text).await.unwrap();
}

async fn source(db: &Postgres) -> Arc<TableSource> {
    let tenancy = Tenancy::One(TenantId::new("acme").unwrap());
    let opened = TableSource::open(db.clone(), "shop", "public.outbox", &Columns::default(), &tenancy).await;
    Arc::new(opened.unwrap())
}

fn waiting(database: &rc_test::Database) -> String {
    let query = "SELECT count(*) FROM public.outbox WHERE dequeued_at IS NULL";
    rc_test::Postgres::start().ask(database, query).trim().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn live_rows_that_commit_late_with_low_ids_are_found_and_marked() {
    let (db, database, world) = world().await;
    sql(
        &db,
        "INSERT INTO public.outbox (aggregate, aggregate_id, kind, payload, dequeued_at)
         SELECT 'orders', 'old', 't', '{}', now() FROM generate_series(1, 20)",
    )
    .await;
    let mut running = run(source(&db).await, &world.bus, RelayOptions::default());
    let mut writers = tokio::task::JoinSet::new();
    for seed in 1..=4_u64 {
        let db = db.clone();
        writers.spawn(async move {
            let mut rng = fastrand::Rng::with_seed(seed);
            let mut committed: HashMap<String, u64> = HashMap::new();
            for _ in 0..60 {
                let key = format!("key-{}", rng.u8(..5));
                let mut client = db.client().await.unwrap();
                let tx = client.system().await.unwrap();
                tx.batch(&format!(
                    "INSERT INTO public.outbox (aggregate, aggregate_id, kind, payload)
                     VALUES ('orders', '{key}', 'order.paid.v1', '{{\"by\": {seed}}}')"
                ))
                .await
                .unwrap();
                // The id is taken; the commit comes late.
                tokio::time::sleep(Duration::from_millis(rng.u64(..8))).await;
                if rng.u8(..6) == 0 {
                    tx.rollback().await.unwrap();
                    continue;
                }
                tx.commit().await.unwrap();
                *committed.entry(key).or_default() += 1;
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
    rc_test::eventually(Duration::from_secs(10), "all is marked", async || {
        waiting(&database) == "0"
    })
    .await;
    running.end().await;
    let events = read_all(&world.bus).await;
    assert_exact(&events, &expect);
    let ids: std::collections::HashSet<_> = events.iter().map(|event| event.id).collect();
    assert_eq!(ids.len(), events.len());
    assert_eq!(
        (&*events[0].topic, &*events[0].event_type),
        ("orders", "order.paid.v1")
    );
}

#[tokio::test]
async fn live_a_relay_that_dies_at_any_step_publishes_each_row_once() {
    let (db, database, world) = world().await;
    sql(
        &db,
        "INSERT INTO public.outbox (aggregate, aggregate_id, kind, payload)
         SELECT 'orders', 'key-' || n % 3, 't', '{}' FROM generate_series(1, 90) n",
    )
    .await;
    let limit = ReadLimit {
        rows: 7,
        ..ReadLimit::default()
    };
    let publish = async |fetched: &Fetched, expected: &Cursor| {
        world
            .bus
            .publish(Publish {
                origin: "shop".to_owned(),
                expected: expected.clone(),
                cursor: fetched.cursor.clone(),
                records: fetched.records.clone(),
            })
            .await
    };
    // Every round a new relay, as after a crash, that comes as far as `round % 3` says.
    for round in 0..60 {
        let source = source(&db).await;
        let at = world.bus.cursor("shop").await.unwrap();
        let fetched = source.fetch(&at, limit).await.unwrap();
        if fetched.records.is_empty() {
            break;
        }
        let again = source.fetch(&at, limit).await.unwrap();
        assert_eq!(again.records, fetched.records, "a numbered batch does not change");
        if round % 3 == 0 {
            continue;
        }
        publish(&fetched, &at).await.unwrap();
        // A second relay that was stopped in front of its publish comes too late.
        assert!(matches!(publish(&fetched, &at).await, Err(Error::Fenced(_))));
        if round % 3 == 2 {
            source.fetch(&fetched.cursor, limit).await.unwrap();
        }
    }
    assert_eq!(waiting(&database), "0");
    let expect = (0..3).map(|key| (format!("key-{key}"), 30)).collect();
    assert_exact(&read_all(&world.bus).await, &expect);
}

#[tokio::test]
async fn live_rows_that_are_no_events_hold_nobody_up() {
    let (db, database, world) = world().await;
    sql(
        &db,
        "INSERT INTO public.outbox (aggregate, aggregate_id, kind, payload) VALUES
            (NULL, 'a', 't', '{}'), ('orders', '', 't', '{}'), ('orders', repeat('k', 600), 't', '{}'),
            ('orders', 'a', 't', NULL), ('orders', 'a', 't', '{}'), ('orders', 'gone', 't', '{}')",
    )
    .await;
    let source = source(&db).await;
    let fetched = source
        .fetch(&Cursor::default(), ReadLimit::default())
        .await
        .unwrap();
    assert_eq!(fetched.records.len(), 2);
    // Its service deletes a row that has a number: the number stays, and passes without effect.
    sql(&db, "DELETE FROM public.outbox WHERE aggregate_id = 'gone'").await;
    let mut running = run(source, &world.bus, RelayOptions::default());
    running.until(|status| status.tail == 2).await;
    // The row that went is marked, and the four others are left alone.
    rc_test::eventually(Duration::from_secs(10), "it is marked", async || {
        waiting(&database) == "4"
    })
    .await;
    running.end().await;
    let events = read_all(&world.bus).await;
    assert_eq!((&*events[1].key, &*events[1].event_type), ("gone", "rc.void.v1"));
}

#[tokio::test]
async fn live_a_table_that_is_another_is_told() {
    let (db, _database, _world) = world().await;
    let tenancy = Tenancy::One(TenantId::new("acme").unwrap());
    let columns = Columns {
        payload: "body\"; DROP TABLE x".to_owned(),
        ..Columns::default()
    };
    let error = TableSource::open(db, "shop", "public.outbox", &columns, &tenancy)
        .await
        .unwrap_err();
    assert_eq!(error.code(), "RC-EVT-003");
    assert!(error.to_string().contains("has no column"), "{error}");
}
