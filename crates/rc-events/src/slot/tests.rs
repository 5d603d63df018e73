//! A slot that is new, lost, taken over, cut in the middle: nothing lost, nothing doubled, nothing inverted.

mod failover;

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use rc_model::{SystemClock, TenantId};
use rc_store::{Migration, Migrations, PostgresOptions, TenantSql};
use rc_test::Database;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::bus::Bus;
use crate::bus::tests::World;
use crate::event::Event;
use crate::event::tests::event;
use crate::outbox::postgres::{self, MIGRATIONS};
use crate::relay::{Relay, RelayOptions, RelayStatus};

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

/// The server of this process that writes what logical replication needs.
pub(crate) fn server() -> &'static rc_test::Postgres {
    static SHARED: OnceLock<rc_test::Postgres> = OnceLock::new();
    SHARED.get_or_init(|| rc_test::Postgres::start_logical(false))
}

pub(crate) fn database(server: &rc_test::Postgres) -> Database {
    let database = server.fresh_database();
    server.admin(&[&format!("ALTER ROLE {} REPLICATION", database.name)]);
    database
}

struct Outbox {
    server: &'static rc_test::Postgres,
    database: Database,
    db: Postgres,
    expect: HashMap<String, u64>,
}

impl Outbox {
    async fn new() -> Self {
        Self::on(server()).await
    }

    async fn on(server: &'static rc_test::Postgres) -> Self {
        let database = database(server);
        let db = Postgres::connect(&database.url, &PostgresOptions::new("rc-events-test", "ingest")).unwrap();
        db.migrate(&MIGRATIONS).await.unwrap();
        db.migrate(&AGGREGATES).await.unwrap();
        Self {
            server,
            database,
            db,
            expect: HashMap::new(),
        }
    }

    fn slot(&self) -> Arc<SlotSource> {
        let address = PgAddress::parse(&self.database.url).unwrap();
        Arc::new(SlotSource::new(self.db.clone(), address, "ingest"))
    }

    fn poll(&self) -> Arc<PostgresSource> {
        Arc::new(PostgresSource::new(self.db.clone(), "ingest"))
    }

    /// `transactions` commits of one event each to some of six keys.
    async fn write(&mut self, transactions: usize) {
        let mut rng = fastrand::Rng::with_seed(self.total() + 1);
        for _ in 0..transactions {
            let key = format!("key-{}", rng.u8(..6));
            let written = write(&self.db, std::slice::from_ref(&key), 1, false).await;
            *self.expect.entry(key).or_default() += written;
        }
    }

    /// One commit of `count` events of one key.
    async fn write_large(&mut self, key: &str, count: u64) {
        let written = write(&self.db, &[key.to_owned()], count, false).await;
        *self.expect.entry(key.to_owned()).or_default() += written;
    }

    fn total(&self) -> u64 {
        self.expect.values().sum()
    }

    async fn slots(&self) -> Vec<SlotHealth> {
        self.slot().health().await.unwrap()
    }

    /// Waits until all is on the bus, and then some: what is doubled comes late.
    async fn check(&self, bus: &Arc<dyn Bus>) {
        let total = self.total().cast_signed();
        rc_test::eventually(Duration::from_secs(90), "all is relayed", async || {
            bus.tail().await.unwrap() >= total
        })
        .await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        let mut last: HashMap<String, u64> = HashMap::new();
        for event in read_all(bus).await {
            let seen = last.entry(event.key.clone()).or_default();
            assert_eq!(event.kseq, *seen + 1, "key {} at {}", event.key, event.pos);
            *seen = event.kseq;
        }
        assert_eq!(last, self.expect);
    }
}

async fn write(db: &Postgres, keys: &[String], times: u64, restless: bool) -> u64 {
    let tenant = TenantId::new("acme").unwrap();
    let mut client = db.client().await.unwrap();
    let tx = client.tenant(&tenant).await.unwrap();
    let mut rng = fastrand::Rng::new();
    if restless && rng.bool() {
        tx.query(EARLY_XID, &[]).await.unwrap();
        tokio::time::sleep(Duration::from_micros(rng.u64(..3_000))).await;
    }
    let mut events = Vec::new();
    for key in keys {
        for _ in 0..times {
            let row = tx.query_opt(NEXT, &[key]).await.unwrap().unwrap();
            let kseq: i64 = row.try_get(0).unwrap();
            events.push(event("acme", key, kseq.cast_unsigned()));
        }
    }
    postgres::append(&tx, &events).await.unwrap();
    if restless && rng.u8(..10) == 0 {
        tokio::time::sleep(Duration::from_millis(rng.u64(..20))).await;
    }
    if restless && rng.u8(..8) == 0 {
        tx.rollback().await.unwrap();
        return 0;
    }
    tx.commit().await.unwrap();
    times
}

/// Four writers whose numbers, commits and rollbacks cross.
fn writers(db: &Postgres, transactions: usize) -> tokio::task::JoinSet<HashMap<String, u64>> {
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..4 {
        let db = db.clone();
        writers.spawn(async move {
            let mut rng = fastrand::Rng::with_seed(writer + 1);
            let mut committed: HashMap<String, u64> = HashMap::new();
            for _ in 0..transactions {
                let mut keys: Vec<String> = (0..3).map(|_| format!("key-{}", rng.u8(..6))).collect();
                keys.sort();
                keys.dedup();
                if write(&db, &keys, 1, true).await > 0 {
                    for key in keys {
                        *committed.entry(key).or_default() += 1;
                    }
                }
            }
            committed
        });
    }
    writers
}

async fn all_of(mut writers: tokio::task::JoinSet<HashMap<String, u64>>) -> HashMap<String, u64> {
    let mut expect: HashMap<String, u64> = HashMap::new();
    while let Some(committed) = writers.join_next().await {
        for (key, count) in committed.unwrap() {
            *expect.entry(key).or_default() += count;
        }
    }
    expect
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

struct Running {
    status: tokio::sync::watch::Receiver<RelayStatus>,
    stop: CancellationToken,
    tasks: tokio::task::JoinSet<()>,
}

fn run(source: Arc<dyn Source>, bus: &Arc<dyn Bus>, rows: usize) -> Running {
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

    /// Waits until it led and published something.
    async fn moves(&mut self) {
        let moving = self.status.wait_for(|status| status.published > 0);
        tokio::time::timeout(Duration::from_secs(30), moving)
            .await
            .unwrap()
            .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn live_slot_what_was_there_and_what_comes_is_published_once_in_order() {
    let (mut outbox, world) = (Outbox::new().await, World::sqlite().await);
    outbox.write(50).await;
    let running_writers = writers(&outbox.db, 100);
    let running = run(outbox.slot(), &world.bus, 1_000);
    for (key, count) in all_of(running_writers).await {
        *outbox.expect.entry(key).or_default() += count;
    }
    outbox.check(&world.bus).await;
    let status = running.status.borrow().clone();
    assert_eq!(status.error, None);
    running.end().await;
    assert_eq!(outbox.slots().await.len(), 1);
}

#[tokio::test]
async fn live_slot_a_commit_wakes_the_relay_at_once() {
    let (mut outbox, world) = (Outbox::new().await, World::sqlite().await);
    outbox.write(1).await;
    let mut running = run(outbox.slot(), &world.bus, 1_000);
    running.moves().await;
    // Long idle: a poll would have slowed down to its longest pause.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut lags = Vec::new();
    for _ in 0..10 {
        let started_ns = rc_model::clock::monotonic_ns();
        outbox.write(1).await;
        world
            .bus
            .wait(outbox.total().cast_signed() - 1, Duration::from_secs(5))
            .await
            .unwrap();
        lags.push(Duration::from_nanos(rc_model::clock::monotonic_ns() - started_ns));
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    lags.sort();
    println!("write to bus, median of ten: {:?}", lags[5]);
    assert!(lags[5] < Duration::from_millis(90), "{lags:?}");
    running.end().await;
}

#[tokio::test]
async fn live_slot_a_transaction_is_cut_into_batches_and_resumed_inside() {
    let (mut outbox, world) = (Outbox::new().await, World::sqlite().await);
    outbox.write(3).await;
    run(outbox.slot(), &world.bus, 1_000).end().await;
    outbox.write_large("big", 300).await;
    outbox.write(3).await;
    for round in 0..30_u64 {
        // Seven rows a batch, and cut at whatever await it is in.
        let running = run(outbox.slot(), &world.bus, 7);
        tokio::time::sleep(Duration::from_millis(20 + round * 3)).await;
        drop(running);
    }
    let running = run(outbox.slot(), &world.bus, 7);
    outbox.check(&world.bus).await;
    running.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn live_slot_dropped_while_writers_write_loses_and_doubles_nothing() {
    let (mut outbox, world) = (Outbox::new().await, World::sqlite().await);
    outbox.write(20).await;
    let source = outbox.slot();
    let mut running = run(Arc::clone(&source) as Arc<dyn Source>, &world.bus, 50);
    running.moves().await;
    let running_writers = writers(&outbox.db, 150);
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(150)).await;
        // A slot in use cannot be dropped: its reader is killed first, as a person would.
        outbox.server.admin(&[&format!(
            "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots
              WHERE active_pid IS NOT NULL AND database = '{0}';
             SELECT pg_sleep(0.05);
             SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots
              WHERE active_pid IS NULL AND database = '{0}'",
            outbox.database.name
        )]);
    }
    for (key, count) in all_of(running_writers).await {
        *outbox.expect.entry(key).or_default() += count;
    }
    outbox.write(5).await;
    outbox.check(&world.bus).await;
    println!("recoveries: {}", source.recoveries());
    assert!(source.recoveries() >= 1);
    running.end().await;
}

#[tokio::test]
async fn live_slot_dropped_while_the_relay_is_down_is_filled_from_the_log() {
    let (mut outbox, world) = (Outbox::new().await, World::sqlite().await);
    outbox.write(20).await;
    let mut running = run(outbox.slot(), &world.bus, 1_000);
    running.moves().await;
    outbox.write(20).await;
    outbox.check(&world.bus).await;
    running.end().await;

    outbox.write(30).await;
    let name = outbox.slots().await.pop().unwrap().name;
    outbox
        .server
        .admin(&[&format!("SELECT pg_drop_replication_slot('{name}')")]);
    outbox.write(10).await;
    let source = outbox.slot();
    let running = run(Arc::clone(&source) as Arc<dyn Source>, &world.bus, 1_000);
    outbox.check(&world.bus).await;
    outbox.write(10).await;
    outbox.check(&world.bus).await;
    running.end().await;
    assert_eq!(source.recoveries(), 1);
    assert_ne!(outbox.slots().await.pop().unwrap().name, name);
}

#[tokio::test]
async fn live_slot_that_somebody_moved_on_costs_nothing() {
    let (mut outbox, world) = (Outbox::new().await, World::sqlite().await);
    outbox.write(20).await;
    let running = run(outbox.slot(), &world.bus, 1_000);
    outbox.check(&world.bus).await;
    running.end().await;
    outbox.write(30).await;
    let name = outbox.slots().await.pop().unwrap().name;
    let advance = format!("SELECT pg_replication_slot_advance('{name}', pg_current_wal_insert_lsn())");
    let _ = outbox.server.ask(&outbox.database, &advance);
    let running = run(outbox.slot(), &world.bus, 1_000);
    outbox.check(&world.bus).await;
    running.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn live_slot_and_poll_take_turns_while_writers_write() {
    let (mut outbox, world) = (Outbox::new().await, World::sqlite().await);
    let running_writers = writers(&outbox.db, 150);
    for round in 0..8_u64 {
        let source: Arc<dyn Source> = if round % 2 == 0 {
            outbox.slot()
        } else {
            outbox.poll()
        };
        let mut running = run(source, &world.bus, 20);
        let _ = tokio::time::timeout(Duration::from_secs(2), running.moves()).await;
        tokio::time::sleep(Duration::from_millis(round * 7)).await;
        running.end().await;
    }
    for (key, count) in all_of(running_writers).await {
        *outbox.expect.entry(key).or_default() += count;
    }
    let running = run(outbox.poll(), &world.bus, 1_000);
    outbox.check(&world.bus).await;
    running.end().await;
    // A slot that lay unread meanwhile gives nothing twice.
    outbox.write(10).await;
    let running = run(outbox.slot(), &world.bus, 1_000);
    outbox.check(&world.bus).await;
    running.end().await;
}

#[tokio::test]
async fn live_slot_the_walsender_killed_and_the_server_restarted_cost_nothing() {
    let server: &'static rc_test::Postgres = Box::leak(Box::new(rc_test::Postgres::start_logical(false)));
    let (mut outbox, world) = (Outbox::on(server).await, World::sqlite().await);
    outbox.write(20).await;
    let running = run(outbox.slot(), &world.bus, 10);
    for round in 0..3 {
        outbox.check(&world.bus).await;
        server.admin(&["SELECT pg_terminate_backend(pid) FROM pg_stat_replication"]);
        outbox.write(10 * (round + 1)).await;
    }
    outbox.check(&world.bus).await;
    server.stop();
    tokio::time::sleep(Duration::from_millis(300)).await;
    server.start_again();
    rc_test::eventually(Duration::from_secs(90), "the pool is back", async || {
        outbox.db.ping().await.is_ok()
    })
    .await;
    outbox.write(20).await;
    outbox.check(&world.bus).await;
    running.end().await;
    server.stop();
}

#[tokio::test]
async fn live_slot_a_stopped_relay_is_taken_over_and_finds_itself_fenced() {
    let (mut outbox, world) = (Outbox::new().await, World::sqlite().await);
    outbox.write(10).await;
    // A relay that stands still with its stream open: fetched, and never heard of again.
    let stopped = outbox.slot();
    let start = Cursor::default();
    let mut at = start.clone();
    for _ in 0..20 {
        at = stopped.fetch(&at, ReadLimit::default()).await.unwrap().cursor;
    }
    assert!(outbox.slots().await[0].active_pid.is_some());
    let running = run(outbox.slot(), &world.bus, 1_000);
    outbox.check(&world.bus).await;
    outbox.write(10).await;
    outbox.check(&world.bus).await;
    running.end().await;
}

#[tokio::test]
async fn live_slot_of_a_quiet_outbox_does_not_hold_the_wal_of_others() {
    let (mut outbox, world) = (Outbox::new().await, World::sqlite().await);
    outbox.write(5).await;
    let running = run(outbox.slot(), &world.bus, 1_000);
    outbox.check(&world.bus).await;
    let confirmed = async || outbox.slots().await[0].confirmed.unwrap();
    let before = confirmed().await;
    outbox.server.admin(&[
        "CREATE TABLE IF NOT EXISTS noise (n int, pad text)",
        "INSERT INTO noise SELECT n, repeat('x', 500) FROM generate_series(1, 20000) n",
    ]);
    rc_test::eventually(Duration::from_secs(90), "the slot moves on", async || {
        confirmed().await.0 > before.0 + 10_000_000
    })
    .await;
    outbox.write(5).await;
    outbox.check(&world.bus).await;
    running.end().await;
    let slot = outbox.slots().await.pop().unwrap();
    assert!(slot.usable() && slot.unbounded, "{slot:?}");
}
