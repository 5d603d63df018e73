//! One suite, both buses.

use std::sync::Arc;

use rc_model::clock::ManualClock;
use rc_model::{Clock, Timestamp};
use rc_store::{Postgres, PostgresOptions};

use super::*;
use crate::contract;
use crate::event::tests::event;

const START: Timestamp = Timestamp::from_unix_ms(1_795_255_200_000);

/// A bus of our own stores, with a clock that is moved by hand.
pub(crate) struct World {
    pub(crate) bus: Arc<dyn Bus>,
    clock: Arc<ManualClock>,
    _folder: Option<tempfile::TempDir>,
}

impl World {
    pub(crate) async fn sqlite() -> Self {
        let clock = Arc::new(ManualClock::new(START));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bus.db");
        let bus = SqliteBus::open(&path, Arc::clone(&clock) as Arc<dyn Clock>)
            .await
            .unwrap();
        Self {
            bus: Arc::new(bus),
            clock,
            _folder: Some(folder),
        }
    }

    pub(crate) async fn postgres() -> Self {
        let clock = Arc::new(ManualClock::new(START));
        let database = rc_test::Postgres::start().fresh_database();
        let options = PostgresOptions::new("rc-events-test", postgres::SCHEMA);
        let db = Postgres::connect(&database.url, &options).unwrap();
        db.migrate(&postgres::MIGRATIONS).await.unwrap();
        Self {
            bus: Arc::new(PostgresBus::new(db, Arc::clone(&clock) as Arc<dyn Clock>)),
            clock,
            _folder: None,
        }
    }
}

impl contract::World for World {
    fn bus(&self) -> Arc<dyn Bus> {
        Arc::clone(&self.bus)
    }

    /// A file has one writer, and a schema's handle is a pool: the handle itself is what is shared.
    fn another(&self) -> BoxFuture<'_, Arc<dyn Bus>> {
        Box::pin(async { self.bus() })
    }

    fn pass(&self, time: Duration) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.clock.advance(time);
        })
    }

    fn long(&self) -> Duration {
        Duration::from_secs(60)
    }

    fn kept_bytes<'a>(&'a self, events: &'a [Event]) -> BoxFuture<'a, u64> {
        let bytes: usize = events.iter().map(|event| event.bytes()).sum();
        Box::pin(async move { u64::try_from(bytes).unwrap() })
    }

    fn oversize(&self) -> Option<usize> {
        None
    }
}

mod on_sqlite {
    crate::bus_contract!(super::World::sqlite());
}

mod on_postgres {
    crate::bus_contract!(super::World::postgres());
}

fn record(pos: i64) -> Record {
    Record {
        origin_pos: pos,
        event: event("acme", &format!("key-{}", pos % 3), pos.cast_unsigned()),
    }
}

#[tokio::test]
async fn another_process_reads_the_embedded_bus_while_it_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bus.db");
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(START));
    assert!(SqliteBus::open_readonly(&path, Arc::clone(&clock)).is_err());
    let writer = SqliteBus::open(&path, Arc::clone(&clock)).await.unwrap();
    let reader = SqliteBus::open_readonly(&path, clock).unwrap();
    let publish = Publish {
        origin: "ingest".to_owned(),
        expected: Cursor::default(),
        cursor: Cursor::new("1"),
        records: vec![record(1)],
    };
    let (tail, _) = tokio::join!(reader.wait(0, Duration::from_secs(20)), async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        writer.publish(publish.clone()).await.unwrap()
    });
    assert_eq!(tail.unwrap(), 1);
    assert_eq!(reader.read(0, ReadLimit::default()).await.unwrap().len(), 1);
    reader.progress("docs", 1).await.unwrap();
    assert!(writer.consumers().await.unwrap().is_empty());
    assert!(reader.publish(publish).await.is_err());
    writer.close().await;
}

#[tokio::test]
async fn a_bus_without_its_tables_yet_is_asked_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bus.db");
    let store = rc_store::Sqlite::open(&path, rc_store::SqliteOptions::default()).unwrap();
    store
        .write("other", |conn| Ok(conn.execute_batch("CREATE TABLE other (x)")?))
        .await
        .unwrap();
    let reader = SqliteBus::open_readonly(&path, Arc::new(ManualClock::new(START))).unwrap();
    let error = reader.tail().await.unwrap_err();
    assert!(error.retry_after().is_some(), "{error:?}");
}
