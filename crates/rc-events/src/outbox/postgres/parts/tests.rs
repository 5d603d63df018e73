//! Partitions on a real server: rows keep their places over an upgrade and back, writers are never refused, and
//! what was relayed goes without a dead row.

use std::time::Duration;

use rc_model::{TenantId, Timestamp};
use rc_store::{Migrations, Postgres, PostgresOptions};

use crate::bus::{Cursor, ReadLimit};
use crate::event::tests::event;
use crate::outbox::postgres::{self, PostgresSource};
use crate::relay::{Pruned, Source};

fn connect() -> (Postgres, rc_test::Database) {
    let database = rc_test::Postgres::start().fresh_database();
    let db = Postgres::connect(&database.url, &PostgresOptions::new("parts", "ingest")).unwrap();
    (db, database)
}

fn ask(database: &rc_test::Database, query: &str) -> String {
    rc_test::Postgres::start().ask(database, query).trim().to_owned()
}

async fn append(db: &Postgres, from: u64, upto: u64) {
    let tenant = TenantId::new("acme").unwrap();
    let mut client = db.client().await.unwrap();
    let tx = client.tenant(&tenant).await.unwrap();
    let events: Vec<_> = (from..=upto).map(|kseq| event("acme", "a", kseq)).collect();
    postgres::append(&tx, &events).await.unwrap();
    tx.commit().await.unwrap();
}

/// Everything after `cursor`, by number, and the cursor behind it.
async fn drain(source: &PostgresSource, mut cursor: Cursor) -> (Vec<u64>, Cursor) {
    let mut numbers = Vec::new();
    loop {
        let fetched = source.fetch(&cursor, ReadLimit::default()).await.unwrap();
        if fetched.records.is_empty() {
            return (numbers, fetched.cursor);
        }
        numbers.extend(fetched.records.iter().map(|record| record.event.kseq));
        cursor = fetched.cursor;
    }
}

async fn prune(source: &PostgresSource, cursor: &Cursor) -> Pruned {
    source
        .prune(cursor, Timestamp::from_unix_ms(0), Duration::ZERO)
        .await
        .unwrap()
}

const PARTS: &str = "SELECT string_agg(part, ' ' ORDER BY first) FROM ingest.log_parts";

#[tokio::test]
async fn live_an_upgrade_keeps_rows_and_cursors_both_ways() {
    const OLD: Migrations = Migrations::new(
        "outbox",
        postgres::MIGRATIONS.list().first_chunk::<1>().unwrap().as_slice(),
    );
    let (db, database) = connect();
    db.migrate(&OLD).await.unwrap();
    rc_test::Postgres::start().admin(&["DROP ROLE IF EXISTS writer_of_old", "CREATE ROLE writer_of_old"]);
    ask(
        &database,
        "GRANT INSERT, DELETE ON ingest.outbox TO writer_of_old",
    );
    append(&db, 1, 10).await;
    let old = PostgresSource::new(db.clone(), "ingest");
    let half = old
        .fetch(
            &Cursor::default(),
            ReadLimit {
                rows: 4,
                bytes: 1_000_000,
            },
        )
        .await
        .unwrap()
        .cursor;
    let rows = "SELECT string_agg(pos || '/' || xid || '/' || kseq, ' ' ORDER BY pos) FROM ingest.outbox";
    let before = ask(&database, rows);

    let report = db.migrate(&postgres::MIGRATIONS).await.unwrap();
    assert_eq!(report.steps.len() + 1, postgres::MIGRATIONS.list().len());
    assert_eq!(ask(&database, rows), before);
    append(&db, 11, 12).await;
    let grants = "SELECT has_table_privilege('writer_of_old', 'ingest.outbox', 'INSERT')";
    assert_eq!(ask(&database, grants), "t");
    let source = PostgresSource::new(db.clone(), "ingest");
    let (numbers, end) = drain(&source, half.clone()).await;
    assert_eq!(numbers, (5..=12).collect::<Vec<_>>());

    let before = ask(&database, rows);
    db.migrate_down(&postgres::MIGRATIONS, 1).await.unwrap();
    assert_eq!(ask(&database, rows), before);
    append(&db, 13, 13).await;
    let source = PostgresSource::new(db.clone(), "ingest");
    assert_eq!(drain(&source, end).await.0, [13]);

    db.migrate(&postgres::MIGRATIONS).await.unwrap();
    append(&db, 14, 14).await;
    let source = PostgresSource::new(db.clone(), "ingest");
    assert_eq!(drain(&source, half).await.0, (5..=14).collect::<Vec<_>>());
    let positions = "SELECT count(*) = count(DISTINCT pos) FROM ingest.outbox";
    assert_eq!(ask(&database, positions), "t");
}

#[tokio::test]
async fn live_partitions_are_made_ahead_and_dropped_when_all_of_them_was_relayed() {
    let (db, database) = connect();
    db.migrate(&postgres::MIGRATIONS).await.unwrap();
    // The partitions of the migration are large: leave them for small ones.
    ask(&database, "SELECT setval('ingest.outbox_pos_seq', 2000000)");
    let source = PostgresSource::new(db.clone(), "ingest").with_part_rows(10);
    let mut cursor = Cursor::default();
    for round in 0..20_u64 {
        append(&db, round * 5 + 1, round * 5 + 5).await;
        source.upkeep().await.unwrap();
        if round % 3 == 0 {
            cursor = drain(&source, cursor).await.1;
        }
        let before = prune(&source, &Cursor::default()).await;
        assert_eq!(before.rows, 0, "nothing was relayed at the start of the log");
    }
    // In front of the cursor nothing goes, however often it is asked.
    for _ in 0..30 {
        prune(&source, &cursor).await;
    }
    let (numbers, end) = drain(&source, cursor).await;
    assert_eq!(numbers, (96..=100).collect::<Vec<_>>());
    while prune(&source, &end).await.more {}
    assert_eq!(ask(&database, "SELECT count(*) FROM ingest.outbox"), "0");
    let (_, end) = drain(&source, end).await;
    append(&db, 101, 101).await;
    assert_eq!(drain(&source, end).await.0, [101]);
}

#[tokio::test]
async fn live_appends_that_outrun_the_partitions_are_kept_and_found() {
    let (db, database) = connect();
    db.migrate(&postgres::MIGRATIONS).await.unwrap();
    ask(&database, "SELECT setval('ingest.outbox_pos_seq', 2000000)");
    let source = PostgresSource::new(db.clone(), "ingest").with_part_rows(10);
    source.upkeep().await.unwrap();
    append(&db, 1, 500).await;
    assert_eq!(
        ask(
            &database,
            "SELECT count(*) > 400 FROM ingest.outbox WHERE tableoid = 'ingest.outbox_default'::regclass"
        ),
        "t"
    );
    source.upkeep().await.unwrap();
    append(&db, 501, 505).await;
    let (numbers, end) = drain(&source, Cursor::default()).await;
    assert_eq!(numbers, (1..=505).collect::<Vec<_>>());
    while prune(&source, &end).await.more {}
    assert_eq!(ask(&database, "SELECT count(*) FROM ingest.outbox"), "0");
    assert!(!ask(&database, PARTS).contains("default"));
}

#[tokio::test]
async fn live_a_transaction_in_the_middle_of_an_append_is_neither_dropped_nor_waited_for() {
    let (db, database) = connect();
    db.migrate(&postgres::MIGRATIONS).await.unwrap();
    let source = PostgresSource::new(db.clone(), "ingest");
    append(&db, 1, 1).await;
    let tenant = TenantId::new("acme").unwrap();
    let mut client = db.client().await.unwrap();
    let open = client.tenant(&tenant).await.unwrap();
    postgres::append(&open, &[event("acme", "a", 2)]).await.unwrap();
    let (_, cursor) = drain(&source, Cursor::default()).await;
    let began = tokio::time::Instant::now();
    for _ in 0..4 {
        assert_eq!(prune(&source, &cursor).await, Pruned::default());
    }
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    // Others append meanwhile, also while retention asks for its lock.
    append(&db, 3, 3).await;
    open.commit().await.unwrap();
    let (numbers, end) = drain(&source, cursor).await;
    assert_eq!(numbers, [2, 3]);
    while prune(&source, &end).await.more {}
    assert_eq!(ask(&database, "SELECT count(*) FROM ingest.outbox"), "0");
}

#[tokio::test]
async fn live_a_log_that_has_seen_many_events_has_no_dead_rows_and_its_disk_falls() {
    const BATCHES: u64 = 40;
    let (db, database) = connect();
    db.migrate(&postgres::MIGRATIONS).await.unwrap();
    ask(&database, "SELECT setval('ingest.outbox_pos_seq', 2000000)");
    let source = PostgresSource::new(db.clone(), "ingest").with_part_rows(5_000);
    let size = "SELECT sum(pg_total_relation_size(c.oid))::bigint FROM pg_class c JOIN pg_inherits i ON i.inhrelid = c.oid
        WHERE i.inhparent = 'ingest.outbox'::regclass";
    let mut cursor = Cursor::default();
    let mut largest = 0;
    for batch in 0..BATCHES {
        source.upkeep().await.unwrap();
        append(&db, batch * 1_000 + 1, batch * 1_000 + 1_000).await;
        cursor = drain(&source, cursor).await.1;
        while prune(&source, &cursor).await.more {}
        largest = largest.max(ask(&database, size).parse::<u64>().unwrap());
    }
    // 40,000 rows of some 300 bytes would be 16 MB with their indexes.
    assert!(largest < 4_000_000, "{largest} bytes");
    // Statistics of open sessions come a second late.
    db.close();
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let dead = "SELECT coalesce(sum(n_dead_tup + n_tup_upd + n_tup_del), 0) FROM pg_stat_all_tables
        WHERE schemaname = 'ingest' AND relname LIKE 'outbox%'";
    assert_eq!(ask(&database, dead), "0");
}

#[tokio::test]
async fn live_a_role_that_owns_nothing_relays_and_retains_after_the_upgrade() {
    const OLD: Migrations = Migrations::new(
        "outbox",
        postgres::MIGRATIONS.list().first_chunk::<1>().unwrap().as_slice(),
    );
    let (db, database) = connect();
    db.migrate(&OLD).await.unwrap();
    let server = rc_test::Postgres::start();
    server.admin(&[
        "DROP ROLE IF EXISTS relay_of_old",
        "CREATE ROLE relay_of_old LOGIN",
    ]);
    ask(&database, "GRANT USAGE ON SCHEMA ingest TO relay_of_old");
    ask(
        &database,
        "GRANT SELECT, INSERT, DELETE ON ingest.outbox TO relay_of_old",
    );
    append(&db, 1, 5).await;
    db.migrate(&postgres::MIGRATIONS).await.unwrap();

    let url = server.url("relay_of_old", &database.name);
    let theirs = Postgres::connect(&url, &PostgresOptions::new("parts", "ingest")).unwrap();
    let source = PostgresSource::new(theirs.clone(), "ingest").with_part_rows(10);
    assert_eq!(source.lead().await.unwrap(), Some(1));
    source.upkeep().await.unwrap();
    append(&theirs, 6, 9).await;
    let (numbers, end) = drain(&source, Cursor::default()).await;
    assert_eq!(numbers, (1..=9).collect::<Vec<_>>());
    assert!(!source.parked().unwrap().any().await.unwrap());
    while prune(&source, &end).await.more {}
    assert_eq!(ask(&database, "SELECT count(*) FROM ingest.outbox"), "0");
    source.step_down().await.unwrap();
    // It still cannot touch the tables themselves.
    let drop = theirs.client().await.unwrap().simple("DROP TABLE outbox").await;
    assert!(drop.is_err());
}
