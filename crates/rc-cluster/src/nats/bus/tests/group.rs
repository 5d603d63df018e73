//! Several processes run one consumer: each event takes effect once, and one that dies is replaced.

use rc_events::consumer::{Batch, Books, BusWake, SqliteBooks, sqlite};
use rc_events::{Applied, Consumer, Projection};
use rc_store::{Migration, Migrations, Sqlite, SqliteOptions};
use rc_test::eventually;
use tokio_util::sync::CancellationToken;

use super::*;

const EFFECTS: Migrations = Migrations::new(
    "effects",
    &[Migration {
        number: 1,
        name: "create_effects",
        up: "CREATE TABLE effects (key TEXT NOT NULL, kseq INTEGER NOT NULL, PRIMARY KEY (key, kseq)) STRICT",
        down: "DROP TABLE effects",
    }],
);

/// Writes a row an event; a second effect of one is an error.
struct Docs(Sqlite);

impl Projection for Docs {
    fn name(&self) -> &str {
        "docs"
    }

    fn books(&self) -> Arc<dyn Books> {
        Arc::new(SqliteBooks::new(self.0.clone(), "docs"))
    }

    fn apply(&self, batch: Batch) -> BoxFuture<'_, Result<Applied, Error>> {
        Box::pin(async move {
            let write = self.0.write_alone("effects", move |conn| {
                let admitted = sqlite::admit(conn, &batch)?;
                for event in &admitted.fresh {
                    let row = (&event.key, event.kseq.cast_signed());
                    conn.execute("INSERT INTO effects (key, kseq) VALUES (?1, ?2)", row)?;
                }
                Ok(admitted.applied)
            });
            Ok(write.await?)
        })
    }
}

async fn effects(db: &Sqlite) -> i64 {
    db.read("effects", |conn| {
        Ok(conn.query_row("SELECT count(*) FROM effects", [], |row| row.get(0))?)
    })
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn live_two_processes_of_one_consumer_apply_everything_once() {
    let world = World::shared().await;
    let folder = tempfile::tempdir().unwrap();
    let db = Sqlite::open(&folder.path().join("docs.db"), SqliteOptions::default()).unwrap();
    db.migrate(&sqlite::MIGRATIONS).await.unwrap();
    db.migrate(&EFFECTS).await.unwrap();

    let mut tasks = tokio::task::JoinSet::new();
    let start = |tasks: &mut tokio::task::JoinSet<()>| {
        let bus: Arc<dyn Bus> = Arc::new(world.process());
        let consumer = Consumer::new(
            Arc::clone(&bus),
            Arc::new(BusWake(bus)),
            Arc::new(Docs(db.clone())),
        );
        let stop = CancellationToken::new();
        tasks.spawn(consumer.run(stop.clone()));
        stop
    };
    let (first, second) = (start(&mut tasks), start(&mut tasks));
    let bus = world.process();
    for upto in (50..=500).step_by(50) {
        relay(&bus, upto, 10).await;
    }
    let limit = Duration::from_secs(60);
    eventually(limit, "both together have applied all", async || {
        effects(&db).await == 500
    })
    .await;
    first.cancel();
    relay(&bus, 600, 10).await;
    eventually(limit, "the other goes on alone", async || {
        effects(&db).await == 600
    })
    .await;
    second.cancel();
    tasks.join_all().await;
}
