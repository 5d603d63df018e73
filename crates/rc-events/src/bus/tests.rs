//! One suite, both buses.

use std::sync::Arc;

use rc_model::clock::ManualClock;
use rc_model::{Clock, Timestamp};
use rc_store::{Postgres, PostgresOptions};

use super::*;
use crate::event::tests::event;

const START: Timestamp = Timestamp::from_unix_ms(1_795_255_200_000);

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

    async fn both() -> [Self; 2] {
        [Self::sqlite().await, Self::postgres().await]
    }

    async fn publish(&self, expected: i64, upto: i64) -> Result<Seq, Error> {
        let cursor = |at: i64| Cursor::new(if at == 0 { String::new() } else { at.to_string() });
        let records = (expected + 1..=upto).map(record).collect();
        self.bus
            .publish(Publish {
                origin: "ingest".to_owned(),
                expected: cursor(expected),
                cursor: cursor(upto),
                records,
            })
            .await
    }

    async fn read_all(&self, after: Seq) -> Vec<Event> {
        self.bus.read(after, ReadLimit::default()).await.unwrap()
    }
}

fn record(pos: i64) -> Record {
    Record {
        origin_pos: pos,
        event: event("acme", &format!("key-{}", pos % 3), pos.cast_unsigned()),
    }
}

#[tokio::test]
async fn live_events_come_back_as_they_were_published() {
    for world in World::both().await {
        assert_eq!(world.bus.tail().await.unwrap(), 0);
        assert_eq!(world.publish(0, 5).await.unwrap(), 5);
        let events = world.read_all(0).await;
        for (event, pos) in events.iter().zip(1..) {
            assert_eq!(event.pos, pos);
            assert_eq!(event.event, record(pos).event);
        }
        assert_eq!(events.len(), 5);
        assert_eq!(world.read_all(3).await.len(), 2);
        assert!(world.read_all(5).await.is_empty());
        assert_eq!(world.bus.tail().await.unwrap(), 5);
    }
}

#[tokio::test]
async fn live_a_publish_from_the_wrong_place_is_refused_whole() {
    for world in World::both().await {
        world.publish(0, 3).await.unwrap();
        // The same batch again: an answer that got lost.
        let Err(Error::Fenced(fenced)) = world.publish(0, 3).await else {
            panic!("published twice");
        };
        assert_eq!(fenced.actual, Cursor::new("3"));
        assert!(matches!(world.publish(2, 4).await, Err(Error::Fenced(_))));
        assert_eq!(world.bus.tail().await.unwrap(), 3);
        assert_eq!(world.bus.cursor("ingest").await.unwrap(), Cursor::new("3"));
        assert_eq!(world.bus.cursor("other").await.unwrap(), Cursor::default());
        world.publish(3, 4).await.unwrap();
    }
}

#[tokio::test]
async fn live_two_publishers_cannot_both_win() {
    for world in World::both().await {
        let world = Arc::new(world);
        let mut racers = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let world = Arc::clone(&world);
            racers.spawn(async move {
                let mut won = 0;
                for at in 0..10 {
                    match world.publish(at, at + 1).await {
                        Ok(_) => won += 1,
                        Err(Error::Fenced(_)) => {}
                        Err(error) => panic!("{error:?}"),
                    }
                }
                won
            });
        }
        let won: usize = racers.join_all().await.into_iter().sum();
        assert_eq!(won, 10);
        let events = world.read_all(0).await;
        assert_eq!(events.len(), 10);
        assert!(events.iter().zip(1_u64..).all(|(event, at)| event.kseq == at));
    }
}

#[tokio::test]
async fn live_origins_have_cursors_of_their_own_and_share_one_sequence() {
    for world in World::both().await {
        world.publish(0, 2).await.unwrap();
        let other = Publish {
            origin: "billing".to_owned(),
            expected: Cursor::default(),
            cursor: Cursor::new("77"),
            records: vec![record(9)],
        };
        assert_eq!(world.bus.publish(other).await.unwrap(), 3);
        assert_eq!(world.publish(2, 3).await.unwrap(), 4);
        assert_eq!(world.bus.cursor("billing").await.unwrap(), Cursor::new("77"));
    }
}

#[tokio::test]
async fn live_a_read_is_bounded_by_rows_and_bytes_and_always_moves() {
    for world in World::both().await {
        let large = |pos: i64| {
            let mut record = record(pos);
            record.event.payload = bytes::Bytes::from(vec![b'x'; 10_000]);
            record
        };
        let batch = Publish {
            origin: "ingest".to_owned(),
            expected: Cursor::default(),
            cursor: Cursor::new("10"),
            records: (1..=10).map(large).collect(),
        };
        world.bus.publish(batch).await.unwrap();
        let read = async |rows, bytes| {
            let events = world.bus.read(0, ReadLimit { rows, bytes }).await.unwrap();
            events.len()
        };
        assert_eq!(read(4, usize::MAX >> 1).await, 4);
        let some = read(100, 35_000).await;
        assert!((2..=4).contains(&some), "{some}");
        assert_eq!(read(100, 1).await, 1);
    }
}

#[tokio::test]
async fn live_a_publish_is_bounded() {
    for world in World::both().await {
        let too_many = i64::try_from(BATCH_ROWS_MAX).unwrap() + 1;
        assert_eq!(world.publish(0, too_many).await.unwrap_err().code(), "RC-EVT-003");
        assert_eq!(world.publish(0, 0).await.unwrap_err().code(), "RC-EVT-003");
    }
}

#[tokio::test]
async fn live_a_wait_ends_with_the_publish_or_its_time() {
    for world in World::both().await {
        let short = Duration::from_millis(30);
        assert_eq!(world.bus.wait(0, short).await.unwrap(), 0);
        let waiting = Arc::clone(&world.bus);
        let (tail, _) = tokio::join!(waiting.wait(0, Duration::from_secs(20)), async {
            tokio::time::sleep(short).await;
            world.publish(0, 2).await.unwrap()
        });
        assert_eq!(tail.unwrap(), 2);
        assert_eq!(world.bus.wait(0, Duration::from_secs(20)).await.unwrap(), 2);
    }
}

#[tokio::test]
async fn live_retention_goes_by_age() {
    let retention = Retention {
        keep: Duration::from_secs(60),
        ..Retention::default()
    };
    for world in World::both().await {
        world.publish(0, 10).await.unwrap();
        world.clock.advance(Duration::from_secs(61));
        world.publish(10, 15).await.unwrap();
        let retained = world.bus.retain(&retention).await.unwrap();
        assert_eq!((retained.deleted, retained.more), (10, false));
        let error = world.bus.read(4, ReadLimit::default()).await.unwrap_err();
        assert!(
            matches!(error, Error::Pruned { after: 4, first: 11 }),
            "{error:?}"
        );
        assert_eq!(world.read_all(10).await.len(), 5);
        // Even an empty bus never gives a number twice.
        world.clock.advance(Duration::from_secs(61));
        assert_eq!(world.bus.retain(&retention).await.unwrap().deleted, 5);
        assert!(world.read_all(15).await.is_empty());
        assert_eq!(world.publish(15, 16).await.unwrap(), 16);
    }
}

#[tokio::test]
async fn live_retention_goes_by_size_in_bounded_steps() {
    for world in World::both().await {
        for at in (0..3_000).step_by(1_000) {
            world.publish(at, at + 1_000).await.unwrap();
        }
        let each = u64::try_from(record(1_000).event.bytes()).unwrap();
        let retention = Retention {
            bytes_max: 500 * each,
            ..Retention::default()
        };
        let mut steps = 0;
        while world.bus.retain(&retention).await.unwrap().more {
            steps += 1;
        }
        assert!((2..=3).contains(&steps), "{steps}");
        let kept = world.bus.tail().await.unwrap() - first(&world).await + 1;
        assert!((490..=510).contains(&kept), "{kept}");
    }
}

async fn first(world: &World) -> Seq {
    match world.bus.read(0, ReadLimit::default()).await {
        Err(Error::Pruned { first, .. }) => first,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn live_retention_waits_for_registered_consumers_until_they_lag_too_far() {
    let retention = Retention {
        keep: Duration::ZERO,
        consumer_lag_max: 50,
        ..Retention::default()
    };
    for world in World::both().await {
        world.bus.progress("slow", 5).await.unwrap();
        world.bus.progress("fast", 20).await.unwrap();
        world.publish(0, 20).await.unwrap();
        world.clock.advance(Duration::from_secs(1));
        assert_eq!(world.bus.retain(&retention).await.unwrap().deleted, 5);
        world.publish(20, 60).await.unwrap();
        world.clock.advance(Duration::from_secs(1));
        let retained = world.bus.retain(&retention).await.unwrap();
        assert_eq!((retained.deleted, retained.lost), (15, vec!["slow".to_owned()]));
        let error = world.bus.read(5, ReadLimit::default()).await.unwrap_err();
        assert_eq!(error.code(), "RC-EVT-004");
        let consumers = world.bus.consumers().await.unwrap();
        let of = |name: &str, seq, lost| BusConsumer {
            name: name.to_owned(),
            seq,
            lost,
        };
        assert_eq!(consumers, [of("fast", 20, false), of("slow", 5, true)]);
        // It was rebuilt and comes back.
        world.bus.progress("slow", 60).await.unwrap();
        assert!(!world.bus.consumers().await.unwrap()[1].lost);
    }
}

#[tokio::test]
async fn live_a_consumer_ahead_of_the_bus_is_told() {
    for world in World::both().await {
        world.publish(0, 3).await.unwrap();
        let error = world.bus.read(9, ReadLimit::default()).await.unwrap_err();
        assert_eq!(error.code(), "RC-EVT-008");
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
