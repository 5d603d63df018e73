//! The PostgreSQL source against what breaks id cursors and watermarks: concurrent writers, early
//! transaction numbers, rollbacks, and a transaction held open elsewhere in the cluster.

use rc_model::TenantId;
use rc_store::{Migration, Migrations, Postgres, PostgresOptions, TenantSql};

use crate::outbox::postgres::{self, PostgresSource};

use super::*;

/// The aggregate whose row lock gives out `kseq`, as a service's own table does.
const AGGREGATES: Migrations = Migrations::new(
    "aggregates",
    &[Migration {
        number: 1,
        name: "create_aggregates",
        up: "CREATE TABLE aggregates (tenant text, key text, version bigint, PRIMARY KEY (tenant, key))",
        down: "DROP TABLE aggregates",
    }],
);
const NEXT: TenantSql = TenantSql::new(
    "INSERT INTO aggregates (tenant, key, version) VALUES ($1, $2, 1)
     ON CONFLICT (tenant, key) DO UPDATE SET version = aggregates.version + 1 RETURNING version",
);
/// Takes a transaction number without touching a key: what makes numbers differ from commit order.
const EARLY_XID: TenantSql =
    TenantSql::new("SELECT pg_current_xact_id()::text FROM (SELECT $1::text AS tenant) t WHERE tenant = $1");

async fn store() -> Postgres {
    store_on(rc_test::Postgres::start()).await
}

async fn store_on(server: &rc_test::Postgres) -> Postgres {
    let database = server.fresh_database();
    let options = PostgresOptions::new("rc-events-test", "ingest");
    let db = Postgres::connect(&database.url, &options).unwrap();
    db.migrate(&postgres::MIGRATIONS).await.unwrap();
    db.migrate(&AGGREGATES).await.unwrap();
    db
}

/// One transaction: some keys, one event each.
async fn write(
    db: &Postgres,
    tenant: &TenantId,
    keys: &[String],
    rng: &mut fastrand::Rng,
) -> Result<bool, rc_store::Error> {
    let mut client = db.client().await?;
    let tx = client.tenant(tenant).await?;
    if rng.bool() {
        tx.query(EARLY_XID, &[]).await?;
        tokio::time::sleep(Duration::from_micros(rng.u64(..3_000))).await;
    }
    let mut events = Vec::new();
    for key in keys {
        let row = tx.query_opt(NEXT, &[key]).await?;
        let kseq: i64 = row.expect("RETURNING gives a row").try_get(0)?;
        events.push(event(tenant.as_str(), key, kseq.cast_unsigned()));
    }
    postgres::append(&tx, &events).await?;
    if rng.u8(..10) == 0 {
        tokio::time::sleep(Duration::from_millis(rng.u64(..20))).await;
    }
    if rng.u8(..8) == 0 {
        tx.rollback().await?;
        return Ok(false);
    }
    tx.commit().await?;
    Ok(true)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn live_four_writers_and_a_long_transaction_elsewhere_lose_and_invert_nothing() {
    const WRITERS: u64 = 4;
    const TRANSACTIONS: u64 = 300;

    let (db, world) = (store().await, World::postgres().await);
    // A transaction with a number, open in another database of the cluster for the whole test: a
    // watermark would stand still behind it.
    let elsewhere = {
        let database = rc_test::Postgres::start().fresh_database();
        Postgres::connect(&database.url, &PostgresOptions::new("elsewhere", "public")).unwrap()
    };
    let mut session = elsewhere.client().await.unwrap();
    let long = session.system().await.unwrap();
    long.batch("SET LOCAL idle_in_transaction_session_timeout = 0; SELECT pg_current_xact_id()")
        .await
        .unwrap();

    let source = Arc::new(PostgresSource::new(db.clone(), "ingest"));
    let mut running = run(
        Arc::clone(&source) as Arc<dyn Source>,
        &world.bus,
        RelayOptions::default(),
    );
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let db = db.clone();
        writers.spawn(async move {
            let mut rng = fastrand::Rng::with_seed(writer + 1);
            let tenant = TenantId::new("acme").unwrap();
            let mut committed: HashMap<String, u64> = HashMap::new();
            for _ in 0..TRANSACTIONS {
                // Sorted: two batches that lock in different orders would deadlock.
                let mut keys: Vec<String> = (0..3).map(|_| format!("key-{}", rng.u8(..6))).collect();
                keys.sort();
                keys.dedup();
                if write(&db, &tenant, &keys, &mut rng).await.unwrap() {
                    for key in keys {
                        *committed.entry(key).or_default() += 1;
                    }
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
    assert_exact(&read_all(&world.bus).await, &expect);
    let status = running
        .until(|status| status.backlog.is_some_and(|backlog| backlog.rows == 0))
        .await;
    assert!(status.error.is_none());
    long.rollback().await.unwrap();
    running.end().await;
}

#[tokio::test]
async fn live_a_pair_larger_than_a_chunk_is_taken_in_parts_and_resumed_inside() {
    let (db, world) = (store().await, World::postgres().await);
    let tenant = TenantId::new("acme").unwrap();
    // One transaction with more rows than one chunk, keys interleaved.
    let mut client = db.client().await.unwrap();
    let tx = client.tenant(&tenant).await.unwrap();
    let mut expect: HashMap<String, u64> = HashMap::new();
    for part in 0..6 {
        let events: Vec<NewEvent> = (0..1_000)
            .map(|number| {
                let key = format!("key-{}", number % 7);
                let kseq = expect.entry(key.clone()).or_default();
                *kseq += 1;
                event("acme", &key, *kseq)
            })
            .collect();
        postgres::append(&tx, &events).await.unwrap();
        assert_eq!(events.len(), 1_000, "{part}");
    }
    tx.commit().await.unwrap();

    // Every round a new source, as after a crash: only the bus knows the place.
    let mut rounds = 0;
    while world.bus.tail().await.unwrap() < 6_000 {
        let source = PostgresSource::new(db.clone(), "ingest");
        for _ in 0..2 {
            let cursor = world.bus.cursor("ingest").await.unwrap();
            let limit = ReadLimit {
                rows: 700,
                ..ReadLimit::default()
            };
            let fetched = source.fetch(&cursor, limit).await.unwrap();
            if fetched.records.is_empty() {
                break;
            }
            world
                .bus
                .publish(Publish {
                    origin: "ingest".to_owned(),
                    expected: cursor,
                    cursor: fetched.cursor,
                    records: fetched.records,
                })
                .await
                .unwrap();
        }
        rounds += 1;
        assert!(rounds < 20);
    }
    assert_exact(&read_all(&world.bus).await, &expect);
    let source = PostgresSource::new(db.clone(), "ingest");
    let cursor = world.bus.cursor("ingest").await.unwrap();
    let fetched = source.fetch(&cursor, ReadLimit::default()).await.unwrap();
    assert!(fetched.records.is_empty());
}

#[tokio::test]
async fn live_a_hint_wakes_the_relay_and_nothing_is_polled_hot() {
    let (db, world) = (store().await, World::postgres().await);
    let source = Arc::new(PostgresSource::new(db.clone(), "ingest"));
    let mut running = run(
        Arc::clone(&source) as Arc<dyn Source>,
        &world.bus,
        RelayOptions::default(),
    );
    running.until(|status| status.leading).await;
    let tenant = TenantId::new("acme").unwrap();
    let mut rng = fastrand::Rng::with_seed(3);
    while !write(&db, &tenant, &["a".to_owned()], &mut rng).await.unwrap() {}
    source.committed();
    running.until(|status| status.published == 1).await;
    running.end().await;
}

#[tokio::test]
async fn live_one_of_two_leads_and_the_other_takes_over() {
    let (db, world) = (store().await, World::postgres().await);
    let source = || Arc::new(PostgresSource::new(db.clone(), "ingest"));
    let mut first = run(source(), &world.bus, RelayOptions::default());
    first.until(|status| status.leading).await;
    let mut second = run(source(), &world.bus, RelayOptions::default());
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!second.status.borrow().leading);
    first.end().await;
    second.until(|status| status.leading).await;
    second.end().await;
}

#[tokio::test]
async fn live_an_outbox_of_another_cluster_is_refused() {
    let (db, _world) = (store().await, World::postgres().await);
    let mut client = db.client().await.unwrap();
    let tx = client.system().await.unwrap();
    tx.batch(
        "INSERT INTO outbox (xid, tenant, topic, key, kseq, id, fingerprint, type, schema, time_ms, payload)
         VALUES ('9000000000', 'acme', 'docs', 'a', 1, '00000000-0000-0000-0000-000000000001',
                 decode(repeat('07', 16), 'hex'), 't', 1, 0, '{}')",
    )
    .await
    .unwrap();
    tx.commit().await.unwrap();
    let source = PostgresSource::new(db.clone(), "ingest");
    let error = source
        .fetch(&Cursor::default(), ReadLimit::default())
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            Error::Restored {
                stored: 9_000_000_000,
                ..
            }
        ),
        "{error:?}"
    );
}

/// A server that recovers gives out the numbers of transactions again that were rolled back and left nothing on disk.
#[tokio::test]
async fn live_numbers_that_a_crash_gives_out_again_lose_nothing() {
    let server = rc_test::Postgres::start_own(true);
    // Nothing reaches the disk but by a commit.
    server.admin(&[
        "ALTER SYSTEM SET wal_writer_delay = '10s'",
        "SELECT pg_reload_conf()",
    ]);
    let (db, tenant) = (store_on(&server).await, TenantId::new("acme").unwrap());
    let roll_back = async |times: u32| {
        for _ in 0..times {
            let mut client = db.client().await.unwrap();
            let tx = client.tenant(&tenant).await.unwrap();
            tx.query(EARLY_XID, &[]).await.unwrap();
            tx.rollback().await.unwrap();
        }
    };
    // Numbers of three digits and of four: they are not in the order of their texts.
    commit(&db, &tenant, "key").await;
    roll_back(300).await;
    commit(&db, &tenant, "key").await;
    roll_back(20).await;
    let source = PostgresSource::new(db.clone(), "ingest");
    let first = source
        .fetch(&Cursor::default(), ReadLimit::default())
        .await
        .unwrap();
    assert_eq!(first.records.len(), 2);
    server.kill();
    server.start_again();
    rc_test::eventually(Duration::from_secs(60), "the pool is back", async || {
        db.ping().await.is_ok()
    })
    .await;
    for _ in 0..30 {
        commit(&db, &tenant, "key").await;
    }
    let second = source.fetch(&first.cursor, ReadLimit::default()).await.unwrap();
    let numbers: Vec<u64> = second.records.iter().map(|record| record.event.kseq).collect();
    assert_eq!(numbers, (3..=32).collect::<Vec<_>>());
}

/// One event of `key` in a transaction of its own.
async fn commit(db: &Postgres, tenant: &TenantId, key: &str) {
    let mut client = db.client().await.unwrap();
    let tx = client.tenant(tenant).await.unwrap();
    let row = tx.query_opt(NEXT, &[&key]).await.unwrap();
    let kseq: i64 = row.expect("RETURNING gives a row").try_get(0).unwrap();
    let events = [event(tenant.as_str(), key, kseq.cast_unsigned())];
    postgres::append(&tx, &events).await.unwrap();
    tx.commit().await.unwrap();
}
