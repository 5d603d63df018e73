//! The bus's partitions: an upgrade with events in it, and a disk that follows retention without dead rows.

use rc_model::clock::ManualClock;
use rc_store::PostgresOptions;

use super::*;
use crate::bus::Record;
use crate::event::tests::event;

fn connect() -> (Postgres, rc_test::Database) {
    let database = rc_test::Postgres::start().fresh_database();
    let db = Postgres::connect(&database.url, &PostgresOptions::new("bus", SCHEMA)).unwrap();
    (db, database)
}

fn ask(database: &rc_test::Database, query: &str) -> String {
    rc_test::Postgres::start().ask(database, query).trim().to_owned()
}

fn bus(db: &Postgres) -> (PostgresBus, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new(Timestamp::from_unix_ms(1_795_255_200_000)));
    let bus = PostgresBus::new(db.clone(), Arc::clone(&clock) as Arc<dyn Clock>);
    (bus.with_part_rows(2_000), clock)
}

async fn publish(bus: &PostgresBus, count: i64) {
    let expected = bus.cursor("ingest").await.unwrap();
    let at: i64 = expected.as_str().parse().unwrap_or(0);
    let records = (at + 1..=at + count)
        .map(|pos| Record {
            origin_pos: pos,
            event: event("acme", "a", pos.cast_unsigned()),
        })
        .collect();
    let cursor = Cursor::new((at + count).to_string());
    let origin = "ingest".to_owned();
    bus.publish(Publish {
        origin,
        expected,
        cursor,
        records,
    })
    .await
    .unwrap();
}

async fn numbers(bus: &PostgresBus, after: Seq) -> Vec<Seq> {
    let events = bus.read(after, ReadLimit::default()).await.unwrap();
    events.iter().map(|event| event.pos).collect()
}

#[tokio::test]
async fn live_an_upgrade_keeps_events_cursors_and_identity_both_ways() {
    let (db, _database) = connect();
    db.migrate(&MIGRATIONS).await.unwrap();
    let (bus, _) = bus(&db);
    let id = bus.id().await.unwrap();
    publish(&bus, 10).await;
    db.migrate_down(&MIGRATIONS, 2).await.unwrap();
    db.migrate(&MIGRATIONS).await.unwrap();
    publish(&bus, 5).await;
    assert_eq!(numbers(&bus, 0).await, (1..=15).collect::<Vec<_>>());
    assert_eq!(bus.id().await.unwrap(), id);
    db.migrate_down(&MIGRATIONS, 2).await.unwrap();
    db.migrate(&MIGRATIONS).await.unwrap();
    assert_eq!(numbers(&bus, 3).await, (4..=15).collect::<Vec<_>>());
}

#[tokio::test]
async fn live_a_bus_that_has_seen_many_events_has_no_dead_rows_and_its_disk_falls() {
    let (db, database) = connect();
    db.migrate(&MIGRATIONS).await.unwrap();
    let (bus, clock) = bus(&db);
    let retention = Retention {
        keep: Duration::from_secs(2),
        ..Retention::default()
    };
    let size = "SELECT sum(pg_total_relation_size(c.oid))::bigint FROM pg_class c
        JOIN pg_inherits i ON i.inhrelid = c.oid WHERE i.inhparent = 'bus.records'::regclass";
    // The partitions of the migration are large; retention makes small ones.
    ask(
        &database,
        "DROP TABLE bus.records_1; DROP TABLE bus.records_250001; DELETE FROM bus.log_parts",
    );
    bus.retain(&retention).await.unwrap();
    let mut largest = 0;
    for _ in 0..30 {
        publish(&bus, 1_000).await;
        clock.advance(Duration::from_secs(1));
        while bus.retain(&retention).await.unwrap().more {}
        largest = largest.max(ask(&database, size).parse::<u64>().unwrap());
    }
    assert_eq!(bus.tail().await.unwrap(), 30_000);
    let kept = numbers(&bus, 28_500).await;
    assert_eq!(kept, (28_501..=29_500).collect::<Vec<_>>());
    db.close();
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let dead = "SELECT coalesce(sum(n_dead_tup + n_tup_upd + n_tup_del), 0) FROM pg_stat_all_tables
        WHERE schemaname = 'bus' AND relname LIKE 'records%'";
    assert_eq!(ask(&database, dead), "0");
    // All 30,000 would be 7 MB.
    assert!(largest < 2_500_000, "{largest} bytes");
}
