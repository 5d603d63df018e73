//! One suite, both stores: the rule of numbers, once-only effects, and a consumer that lives.

mod lanes;
mod letters;
mod migrations;
mod schemas;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use rc_model::Timestamp;
use rc_store::{Migration, Migrations, Postgres, PostgresOptions, Sqlite, SqliteOptions};

use super::*;
use crate::bus::ReadLimit;
use crate::bus::tests::World;
use crate::bus::{BusId, Cursor, Publish, Record};
use crate::event::NewEvent;
use crate::event::tests::event;

/// `at` grows in the order of the effects of a key.
macro_rules! effects {
    ($at:literal) => {
        Migrations::new(
            "effects",
            &[Migration {
                number: 1,
                name: "create_effects",
                up: concat!(
                    "CREATE TABLE effects (at ",
                    $at,
                    ", key text NOT NULL, kseq bigint NOT NULL, UNIQUE (key, kseq))"
                ),
                down: "DROP TABLE effects",
            }],
        )
    };
}

const EFFECTS_SQLITE: Migrations = effects!("INTEGER PRIMARY KEY AUTOINCREMENT");
const EFFECTS_POSTGRES: Migrations = effects!("bigint GENERATED ALWAYS AS IDENTITY");
const INSERT_SQLITE: &str = "INSERT INTO effects (key, kseq) VALUES (?1, ?2)";
const INSERT_POSTGRES: &str = "INSERT INTO effects (key, kseq) VALUES ($1, $2)";

/// Writes one row an event; `(key, kseq)` is unique, so a second effect is an error.
struct Effects {
    store: Store,
    /// Fails this many attempts, half of them after the commit: the answer that got lost.
    fail: AtomicU32,
}

enum Store {
    Sqlite(
        Sqlite,
        #[expect(dead_code, reason = "keeps the folder")] tempfile::TempDir,
    ),
    Postgres(Postgres),
}

impl Effects {
    async fn sqlite() -> Arc<Self> {
        let folder = tempfile::tempdir().unwrap();
        let db = Sqlite::open(&folder.path().join("docs.db"), SqliteOptions::default()).unwrap();
        db.migrate(&sqlite::MIGRATIONS).await.unwrap();
        db.migrate(&EFFECTS_SQLITE).await.unwrap();
        Arc::new(Self {
            store: Store::Sqlite(db, folder),
            fail: AtomicU32::new(0),
        })
    }

    async fn postgres() -> Arc<Self> {
        let database = rc_test::Postgres::start().fresh_database();
        let options = PostgresOptions::new("rc-events-test", "docs");
        let db = Postgres::connect(&database.url, &options).unwrap();
        db.migrate(&postgres::MIGRATIONS).await.unwrap();
        db.migrate(&EFFECTS_POSTGRES).await.unwrap();
        Arc::new(Self {
            store: Store::Postgres(db),
            fail: AtomicU32::new(0),
        })
    }

    async fn both() -> [Arc<Self>; 2] {
        [Self::sqlite().await, Self::postgres().await]
    }

    async fn count(&self) -> i64 {
        const SQL: &str = "SELECT count(*) FROM effects";
        match &self.store {
            Store::Sqlite(db, _) => db
                .read("count", |conn| Ok(conn.query_row(SQL, [], |row| row.get(0))?))
                .await
                .unwrap(),
            Store::Postgres(db) => {
                let mut client = db.client().await.unwrap();
                let tx = client.system().await.unwrap();
                tx.query_one(SQL, &[]).await.unwrap().get(0)
            }
        }
    }

    async fn apply_once(&self, batch: Batch) -> Result<Applied, Error> {
        match &self.store {
            Store::Sqlite(db, _) => Ok(db
                .write_alone("effects", move |conn| {
                    let admitted = sqlite::admit(conn, &batch)?;
                    for event in &admitted.fresh {
                        conn.execute(INSERT_SQLITE, (&event.key, event.kseq.cast_signed()))?;
                    }
                    Ok(admitted.applied)
                })
                .await?),
            Store::Postgres(db) => {
                let mut client = db.client().await?;
                let tx = client.system().await?;
                let admitted = postgres::admit(&tx, &batch).await?;
                for event in &admitted.fresh {
                    tx.execute(INSERT_POSTGRES, &[&event.key, &event.kseq.cast_signed()])
                        .await?;
                }
                tx.commit().await?;
                Ok(admitted.applied)
            }
        }
    }

    /// The numbers of a key in the order in which they took effect.
    async fn in_order(&self, key: &str) -> Vec<u64> {
        let key = key.to_owned();
        let numbers: Vec<i64> = match &self.store {
            Store::Sqlite(db, _) => db
                .read("effects", move |conn| {
                    let mut select =
                        conn.prepare_cached("SELECT kseq FROM effects WHERE key = ?1 ORDER BY at")?;
                    Ok(select
                        .query_map([key], |row| row.get(0))?
                        .collect::<Result<_, _>>()?)
                })
                .await
                .unwrap(),
            Store::Postgres(db) => {
                let mut client = db.client().await.unwrap();
                let tx = client.system().await.unwrap();
                let rows = tx
                    .query("SELECT kseq FROM effects WHERE key = $1 ORDER BY at", &[&key])
                    .await;
                rows.unwrap().iter().map(|row| row.get(0)).collect()
            }
        };
        numbers.into_iter().map(i64::cast_unsigned).collect()
    }

    /// As the engine would, on a bus called `bus`.
    async fn follow(&self, from: Seq, events: Arc<Vec<Event>>, upto: Seq) -> Result<Applied, Error> {
        let now = Timestamp::from_unix_ms(1_795_255_200_000);
        self.apply(Batch::follow("docs", BusId::new("bus"), from, events, upto, now))
            .await
    }

    async fn position(&self) -> Seq {
        let position = self.books().position().await.unwrap();
        position.map_or(0, |(_, seq)| seq)
    }
}

impl Projection for Effects {
    fn name(&self) -> &str {
        "docs"
    }

    fn books(&self) -> Arc<dyn Books> {
        match &self.store {
            Store::Sqlite(db, _) => Arc::new(SqliteBooks::new(db.clone(), "docs")),
            Store::Postgres(db) => Arc::new(PostgresBooks::new(db.clone(), "docs")),
        }
    }

    fn apply(&self, batch: Batch) -> BoxFuture<'_, Result<Applied, Error>> {
        Box::pin(async move {
            let left = self.fail.load(Ordering::Relaxed);
            if left > 0 {
                self.fail.store(left - 1, Ordering::Relaxed);
                if left.is_multiple_of(2) {
                    self.apply_once(batch).await?;
                }
                return Err(rc_store::Error::new(
                    rc_store::ErrorKind::Unavailable {
                        retry_after: Duration::from_millis(1),
                    },
                    "the answer got lost",
                )
                .into());
            }
            self.apply_once(batch).await
        })
    }
}

fn batch(first: Seq, events: Vec<NewEvent>) -> Arc<Vec<Event>> {
    let numbered = events.into_iter().zip(first..);
    Arc::new(numbered.map(|(event, pos)| Event { pos, event }).collect())
}

#[tokio::test]
async fn live_duplicates_are_skipped_and_gaps_refused() {
    for effects in Effects::both().await {
        let first = batch(
            1,
            vec![
                event("acme", "a", 1),
                event("acme", "b", 1),
                event("acme", "a", 2),
            ],
        );
        let done = effects.follow(0, first, 3).await.unwrap();
        assert_eq!((done.applied, done.duplicates), (3, 0));

        // The stream repeats itself: nothing happens twice, the position moves.
        let again = batch(
            4,
            vec![
                event("acme", "a", 2),
                event("acme", "a", 1),
                event("acme", "a", 3),
            ],
        );
        let done = effects.follow(3, again, 6).await.unwrap();
        assert_eq!((done.applied, done.duplicates), (1, 2));

        // The same numbers of another tenant are other keys.
        let other = batch(7, vec![event("beta", "c", 1)]);
        effects.follow(6, other, 7).await.unwrap();

        // A gap takes the whole batch back.
        let gap = batch(8, vec![event("acme", "b", 2), event("acme", "a", 5)]);
        let Err(Error::Gap(found)) = effects.follow(7, gap, 9).await else {
            panic!("a gap was applied");
        };
        let [found] = &*found else {
            panic!("one key has a gap")
        };
        assert_eq!((found.last, found.found, found.place.key.as_str()), (3, 5, "a"));
        assert_eq!(effects.count().await, 5);
        assert_eq!(effects.position().await, 7);

        // Another event in a place that is taken is damage.
        let mut forged = event("acme", "a", 3);
        forged.id = uuid::Uuid::from_bytes([9; 16]);
        let error = effects.follow(7, batch(8, vec![forged]), 8).await.unwrap_err();
        assert_eq!(error.code(), "RC-EVT-002");

        // Somebody else moved the consumer.
        let error = effects
            .follow(3, batch(4, vec![event("acme", "a", 4)]), 4)
            .await
            .unwrap_err();
        assert!(
            matches!(&error, Error::Moved(moved) if moved.stored == 7),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn live_another_name_is_another_consumer_until_its_books_are_renamed() {
    // `docs/events.md` tells people to do this.
    const RENAME: [&str; 4] = [
        "UPDATE consumer_positions SET consumer = 'mail' WHERE consumer = 'docs'",
        "UPDATE consumer_keys SET consumer = 'mail' WHERE consumer = 'docs'",
        "UPDATE dead_letters SET consumer = 'mail' WHERE consumer = 'docs'",
        "UPDATE consumer_jobs SET consumer = 'mail' WHERE consumer = 'docs'",
    ];
    let now = Timestamp::from_unix_ms(1_795_255_200_000);
    for effects in Effects::both().await {
        let renamed = |from, events, upto| {
            let bus = BusId::new("bus");
            effects.apply(Batch::follow("mail", bus, from, events, upto, now))
        };
        let first = batch(1, vec![event("acme", "a", 1), event("acme", "a", 2)]);
        effects.follow(0, Arc::clone(&first), 2).await.unwrap();
        // It begins at the start of the bus; here the effects' own rule keeps them from happening again.
        let again = renamed(0, first, 2).await.unwrap_err();
        assert_eq!(again.code(), "RC-EVT-009", "{again}");
        for statement in RENAME {
            match &effects.store {
                Store::Sqlite(db, _) => db
                    .write_alone("rename", |conn| Ok(conn.execute_batch(statement)?))
                    .await
                    .unwrap(),
                Store::Postgres(db) => {
                    // Row-level security hides the keys of all tenants from who does not say this.
                    let statement = format!("BEGIN; SET LOCAL rc.scope = 'system'; {statement}; COMMIT");
                    db.client().await.unwrap().simple(&statement).await.unwrap();
                }
            }
        }
        let next = batch(3, vec![event("acme", "a", 2), event("acme", "a", 3)]);
        let done = renamed(2, next, 4).await.unwrap();
        assert_eq!((done.applied, done.duplicates), (1, 1));
        assert_eq!(effects.in_order("a").await, [1, 2, 3]);
    }
}

async fn publish(world: &World, from: i64, events: Vec<NewEvent>) {
    let upto = from + i64::try_from(events.len()).unwrap();
    let cursor = |at: i64| Cursor::new(if at == 0 { String::new() } else { at.to_string() });
    let records = events.into_iter().zip(from + 1..);
    world
        .bus
        .publish(Publish {
            origin: "ingest".to_owned(),
            expected: cursor(from),
            cursor: cursor(upto),
            records: records
                .map(|(event, origin_pos)| Record { origin_pos, event })
                .collect(),
        })
        .await
        .unwrap();
}

struct Running {
    status: watch::Receiver<ConsumerStatus>,
    stop: CancellationToken,
    tasks: tokio::task::JoinSet<()>,
}

fn run(world: &World, wake: Arc<dyn Wake>, effects: &Arc<Effects>) -> Running {
    let consumer = Consumer::new(
        Arc::clone(&world.bus),
        wake,
        Arc::clone(effects) as Arc<dyn Projection>,
    );
    let (status, stop) = (consumer.status(), CancellationToken::new());
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(consumer.run(stop.clone()));
    Running { status, stop, tasks }
}

impl Running {
    async fn until(&mut self, what: impl FnMut(&ConsumerStatus) -> bool) -> ConsumerStatus {
        tokio::time::timeout(Duration::from_secs(20), self.status.wait_for(what))
            .await
            .expect("in time")
            .expect("the consumer runs")
            .clone()
    }

    async fn end(mut self) {
        self.stop.cancel();
        tokio::time::timeout(Duration::from_secs(5), self.tasks.join_next())
            .await
            .expect("stops in time");
    }
}

#[tokio::test]
async fn live_a_consumer_follows_through_lost_answers_and_restarts() {
    for (world, effects) in [
        (World::sqlite().await, Effects::sqlite().await),
        (World::postgres().await, Effects::postgres().await),
    ] {
        publish(
            &world,
            0,
            (1..=1_000).map(|kseq| event("acme", "a", kseq)).collect(),
        )
        .await;
        effects.fail.store(4, Ordering::Relaxed);
        let wake = || Arc::new(BusWake(Arc::clone(&world.bus))) as Arc<dyn Wake>;
        let mut running = run(&world, wake(), &effects);
        running.until(|status| status.position == 1_000).await;
        publish(&world, 1_000, vec![event("acme", "b", 1)]).await;
        let status = running.until(|status| status.position == 1_001).await;
        assert_eq!(status.state, ConsumerState::Following);
        running.end().await;

        publish(&world, 1_001, vec![event("acme", "a", 1_001)]).await;
        let mut running = run(&world, wake(), &effects);
        let status = running.until(|status| status.position == 1_002).await;
        assert_eq!((status.applied, status.lag()), (1, 0));
        running.end().await;
        assert_eq!(effects.count().await, 1_002);
        // What it applied before it was stopped was told to the bus, at least once.
        assert!(!world.bus.consumers().await.unwrap().is_empty());
    }
}

/// Counts its calls and fails: the process that should wake us is down.
struct BrokenWake(Mutex<u32>);

impl Wake for BrokenWake {
    fn wait(&self, _: Seq, _: Duration) -> BoxFuture<'_, Result<Seq, Error>> {
        *self.0.lock().unwrap() += 1;
        Box::pin(async { Err(Error::invalid("no such socket")) })
    }
}

#[tokio::test]
async fn without_a_wake_up_the_bus_is_polled_and_never_hot() {
    let (world, effects) = (World::sqlite().await, Effects::sqlite().await);
    let wake = Arc::new(BrokenWake(Mutex::new(0)));
    let mut running = run(&world, Arc::clone(&wake) as Arc<dyn Wake>, &effects);
    tokio::time::sleep(Duration::from_millis(500)).await;
    let calls = *wake.0.lock().unwrap();
    assert!((1..=5).contains(&calls), "{calls} looks in half a second");
    publish(&world, 0, vec![event("acme", "a", 1)]).await;
    running.until(|status| status.position == 1).await;
    running.end().await;
}

/// Takes its time for each batch.
struct Slow(Arc<Effects>);

impl Projection for Slow {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn books(&self) -> Arc<dyn Books> {
        self.0.books()
    }

    fn apply(&self, batch: Batch) -> BoxFuture<'_, Result<Applied, Error>> {
        Box::pin(async move {
            let applied = self.0.apply(batch).await;
            tokio::time::sleep(PROGRESS_PAUSE).await;
            applied
        })
    }
}

/// Knows of a tail far away, and notes where it is told that the consumer is.
struct FarWake(Mutex<Vec<Seq>>);

impl Wake for FarWake {
    fn wait(&self, after: Seq, _: Duration) -> BoxFuture<'_, Result<Seq, Error>> {
        self.0.lock().unwrap().push(after);
        Box::pin(async { Ok(1_000_000) })
    }
}

#[tokio::test]
async fn a_consumer_that_is_never_idle_says_how_far_behind_it_is() {
    let (world, effects) = (World::sqlite().await, Effects::sqlite().await);
    let mut last = 0;
    while last <= i64::try_from(APPLY_ROWS_MAX).unwrap() {
        let events = (last + 1..=last + 1_000).map(|key| event("acme", &format!("d{key}"), 1));
        publish(&world, last, events.collect()).await;
        last += 1_000;
    }
    let wake = Arc::new(FarWake(Mutex::default()));
    let consumer = Consumer::new(
        Arc::clone(&world.bus),
        Arc::clone(&wake) as Arc<dyn Wake>,
        Arc::new(Slow(effects)),
    );
    let mut status = consumer.status();
    let stop = CancellationToken::new();
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(consumer.run(stop.clone()));
    let behind = |status: &ConsumerStatus| status.position < last && status.tail == 1_000_000;
    let waited = tokio::time::timeout(Duration::from_secs(20), status.wait_for(behind)).await;
    let position = waited.expect("in time").expect("the consumer runs").position;
    assert!(wake.0.lock().unwrap().contains(&position), "{position}");
    stop.cancel();
    while tasks.join_next().await.is_some() {}
}
