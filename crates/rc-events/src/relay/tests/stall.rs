//! A relay that is stopped past its lease and goes on, and one that has nothing to do.

use std::sync::atomic::{AtomicU32, Ordering};

use rc_model::TenantId;
use rc_store::{Postgres, PostgresOptions};
use tokio::sync::Semaphore;

use crate::bus::{BusConsumer, BusId, Retained};
use crate::event::Event;
use crate::outbox::postgres::{self, PostgresSource};

use super::*;

/// A bus whose publishes stand still until they get a permit: a process that was stopped in the middle.
struct Gated {
    bus: Arc<dyn Bus>,
    gate: Semaphore,
    waiting: AtomicU32,
}

impl Bus for Gated {
    fn id(&self) -> BoxFuture<'_, Result<BusId, Error>> {
        self.bus.id()
    }

    fn publish(&self, publish: Publish) -> BoxFuture<'_, Result<Seq, Error>> {
        Box::pin(async move {
            self.waiting.fetch_add(1, Ordering::SeqCst);
            self.gate.acquire().await.unwrap().forget();
            self.bus.publish(publish).await
        })
    }

    fn cursor<'a>(&'a self, origin: &'a str) -> BoxFuture<'a, Result<Cursor, Error>> {
        self.bus.cursor(origin)
    }

    fn read(&self, after: Seq, limit: ReadLimit) -> BoxFuture<'_, Result<Vec<Event>, Error>> {
        self.bus.read(after, limit)
    }

    fn tail(&self) -> BoxFuture<'_, Result<Seq, Error>> {
        self.bus.tail()
    }

    fn wait(&self, after: Seq, timeout: Duration) -> BoxFuture<'_, Result<Seq, Error>> {
        self.bus.wait(after, timeout)
    }

    fn progress<'a>(&'a self, consumer: &'a str, seq: Seq) -> BoxFuture<'a, Result<(), Error>> {
        self.bus.progress(consumer, seq)
    }

    fn consumers(&self) -> BoxFuture<'_, Result<Vec<BusConsumer>, Error>> {
        self.bus.consumers()
    }

    fn retain<'a>(&'a self, retention: &'a Retention) -> BoxFuture<'a, Result<Retained, Error>> {
        self.bus.retain(retention)
    }
}

/// Counts how often it is asked.
struct Counted {
    source: PostgresSource,
    fetches: AtomicU32,
}

impl Source for Counted {
    fn origin(&self) -> &str {
        self.source.origin()
    }

    fn lead(&self) -> BoxFuture<'_, Result<Option<Epoch>, Error>> {
        self.source.lead()
    }

    fn fetch<'a>(&'a self, cursor: &'a Cursor, limit: ReadLimit) -> BoxFuture<'a, Result<Fetched, Error>> {
        self.fetches.fetch_add(1, Ordering::SeqCst);
        self.source.fetch(cursor, limit)
    }

    fn wait(&self, idle: Duration) -> BoxFuture<'_, ()> {
        self.source.wait(idle)
    }

    fn backlog<'a>(&'a self, cursor: &'a Cursor) -> BoxFuture<'a, Result<Backlog, Error>> {
        self.source.backlog(cursor)
    }

    fn prune<'a>(
        &'a self,
        cursor: &'a Cursor,
        now: Timestamp,
        keep: Duration,
    ) -> BoxFuture<'a, Result<Pruned, Error>> {
        self.source.prune(cursor, now, keep)
    }
}

async fn store() -> Postgres {
    let database = rc_test::Postgres::start().fresh_database();
    let db = Postgres::connect(&database.url, &PostgresOptions::new("stall", "ingest")).unwrap();
    db.migrate(&postgres::MIGRATIONS).await.unwrap();
    db
}

async fn append(db: &Postgres, from: u64, upto: u64) {
    let tenant = TenantId::new("acme").unwrap();
    let mut client = db.client().await.unwrap();
    let tx = client.tenant(&tenant).await.unwrap();
    let events: Vec<NewEvent> = (from..=upto).map(|kseq| event("acme", "a", kseq)).collect();
    postgres::append(&tx, &events).await.unwrap();
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn live_a_relay_stopped_past_its_lease_does_no_harm_when_it_goes_on() {
    let (db, world) = (store().await, World::sqlite().await);
    let source = || Arc::new(PostgresSource::new(db.clone(), "ingest"));
    let gated = Arc::new(Gated {
        bus: Arc::clone(&world.bus),
        gate: Semaphore::new(0),
        waiting: AtomicU32::new(0),
    });
    append(&db, 1, 50).await;
    let stopped_bus: Arc<dyn Bus> = Arc::clone(&gated) as Arc<dyn Bus>;
    let mut stopped = run(source(), &stopped_bus, RelayOptions::default());
    stopped.until(|status| status.epoch == 1).await;
    rc_test::eventually(Duration::from_secs(10), "it stands in its publish", async || {
        gated.waiting.load(Ordering::SeqCst) == 1
    })
    .await;

    // Its lease runs out; another one takes over and goes on.
    let client = db.client().await.unwrap();
    client
        .simple("UPDATE leases SET until = clock_timestamp() - interval '1 s'")
        .await
        .unwrap();
    let mut other = run(source(), &world.bus, RelayOptions::default());
    other.until(|status| status.epoch == 2 && status.tail == 50).await;
    append(&db, 51, 60).await;
    other.until(|status| status.tail == 60).await;

    // It continues with what it had in its hands.
    gated.gate.add_permits(1_000);
    stopped.until(|status| !status.leading).await;
    append(&db, 61, 70).await;
    other.until(|status| status.tail == 70).await;
    assert_eq!(stopped.status.borrow().published, 0);
    stopped.end().await;
    other.end().await;
    let expect = HashMap::from([("a".to_owned(), 70)]);
    assert_exact(&read_all(&world.bus).await, &expect);
}

#[tokio::test]
async fn live_an_idle_relay_is_not_polling_hot() {
    let (db, world) = (store().await, World::sqlite().await);
    let counted = Arc::new(Counted {
        source: PostgresSource::new(db.clone(), "ingest"),
        fetches: AtomicU32::new(0),
    });
    let mut running = run(
        Arc::clone(&counted) as Arc<dyn Source>,
        &world.bus,
        RelayOptions::default(),
    );
    running.until(|status| status.leading).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let before = counted.fetches.load(Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let idle = counted.fetches.load(Ordering::SeqCst) - before;
    println!("{} fetches a second when idle", idle / 2);
    assert!((1..=22).contains(&idle), "{idle} fetches in two seconds");
    running.end().await;
}
