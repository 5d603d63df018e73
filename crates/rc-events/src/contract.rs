//! What every bus promises, as tests that any bus can be put through: [`bus_contract!`](crate::bus_contract)
//! makes one test of each claim.
//!
//! A claim takes a [`World`] with an empty bus of its own. It says nothing about how a bus does it.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "a claim that does not hold is a failed test"
)]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rc_model::{TenantId, Timestamp, TraceContext};
use uuid::Uuid;

use crate::bus::{BATCH_ROWS_MAX, Bus, BusConsumer, Cursor, Publish, ReadLimit, Record, Retention};
use crate::event::{Event, NewEvent, Numbering, PAYLOAD_BYTES_MAX, Seq};
use crate::{BoxFuture, Error};

/// A bus to try, and what is around it.
pub trait World: Send + Sync {
    /// The bus.
    fn bus(&self) -> Arc<dyn Bus>;

    /// Another handle of the same bus, as another process has one; one that may publish, where the bus
    /// lets several.
    fn another(&self) -> BoxFuture<'_, Arc<dyn Bus>>;

    /// Lets this much time go by on the clock that the bus goes by.
    fn pass(&self, time: Duration) -> BoxFuture<'_, ()>;

    /// A time that is long here: a minute on a clock that is moved by hand, less on a real one.
    fn long(&self) -> Duration;

    /// How many bytes the bus thinks it keeps, `events` being all that it has.
    fn kept_bytes<'a>(&'a self, events: &'a [Event]) -> BoxFuture<'a, u64>;

    /// The smallest payload that the bus can never take, if there is one.
    fn oversize(&self) -> Option<usize>;
}

/// One test of each claim, named `live_...`, over the world that the expression makes.
#[macro_export]
macro_rules! bus_contract {
    ($world:expr) => {
        $crate::bus_contract! { @claims $world;
            live_events_come_back_as_they_were_published = events_come_back_as_they_were_published,
            live_an_event_of_the_largest_size_comes_back = an_event_of_the_largest_size_comes_back,
            live_an_event_that_is_too_large_is_refused_by_its_place = an_event_that_is_too_large_is_refused_by_its_place,
            live_a_publish_from_the_wrong_place_is_refused_whole = a_publish_from_the_wrong_place_is_refused_whole,
            live_a_lost_answer_doubles_nothing = a_lost_answer_doubles_nothing,
            live_two_publishers_cannot_both_win = two_publishers_cannot_both_win,
            live_origins_have_cursors_of_their_own_and_share_one_sequence = origins_have_cursors_of_their_own_and_share_one_sequence,
            live_a_cursor_outlives_its_events = a_cursor_outlives_its_events,
            live_a_read_is_bounded_by_rows_and_bytes_and_always_moves = a_read_is_bounded_by_rows_and_bytes_and_always_moves,
            live_a_publish_is_bounded = a_publish_is_bounded,
            live_a_wait_ends_with_the_publish_or_its_time = a_wait_ends_with_the_publish_or_its_time,
            live_a_bus_is_known_by_one_id = a_bus_is_known_by_one_id,
            live_retention_goes_by_age = retention_goes_by_age,
            live_retention_goes_by_size_in_bounded_steps = retention_goes_by_size_in_bounded_steps,
            live_retention_waits_for_registered_consumers_until_they_lag_too_far =
                retention_waits_for_registered_consumers_until_they_lag_too_far,
            live_progress_is_kept_by_the_bus = progress_is_kept_by_the_bus,
            live_a_consumer_ahead_of_the_bus_is_told = a_consumer_ahead_of_the_bus_is_told,
        }

        #[tokio::test]
        async fn live_two_buses_have_two_ids() {
            $crate::contract::two_buses_have_two_ids(&$world.await, &$world.await).await;
        }
    };
    (@claims $world:expr; $($test:ident = $claim:ident,)+) => {
        $(
            #[tokio::test]
            async fn $test() {
                $crate::contract::$claim(&$world.await).await;
            }
        )+
    };
}

/// An event of `tenant` whose id follows from its place, so that equal places have equal ids.
#[must_use]
pub fn event(tenant: &str, key: &str, kseq: u64) -> NewEvent {
    let mut id = [0_u8; 16];
    for (at, byte) in format!("{tenant}{key}{kseq}").bytes().enumerate() {
        id[at % 16] = id[at % 16].wrapping_mul(31).wrapping_add(byte);
    }
    NewEvent {
        id: Uuid::from_bytes(id),
        tenant: TenantId::new(tenant).unwrap(),
        topic: "docs".into(),
        key: key.to_owned(),
        kseq,
        numbering: Numbering::Consecutive,
        event_type: "doc.put.v1".into(),
        schema: 1,
        time: Timestamp::from_unix_ms(1_795_255_200_000),
        fingerprint: [7; 16],
        trace: TraceContext::parse(b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        payload: Bytes::from(format!("{{\"id\":\"{key}\",\"n\":{kseq}}}")),
    }
}

/// The `pos`th record of the outbox `ingest`: three keys take turns.
fn record(pos: i64) -> Record {
    Record {
        origin_pos: pos,
        event: event("acme", &format!("key-{}", pos % 3), pos.cast_unsigned()),
    }
}

/// The cursor of an outbox whose first `at` records are on the bus.
fn cursor(at: i64) -> Cursor {
    Cursor::new(if at == 0 { String::new() } else { at.to_string() })
}

fn batch(expected: i64, records: Vec<Record>) -> Publish {
    let upto = expected + i64::try_from(records.len()).unwrap();
    Publish {
        origin: "ingest".to_owned(),
        expected: cursor(expected),
        cursor: cursor(upto),
        records,
    }
}

async fn publish(bus: &dyn Bus, expected: i64, upto: i64) -> Result<Seq, Error> {
    let records = (expected + 1..=upto).map(record).collect();
    let batch = Publish {
        cursor: cursor(upto),
        ..batch(expected, records)
    };
    bus.publish(batch).await
}

async fn read_all(bus: &dyn Bus, after: Seq) -> Vec<Event> {
    bus.read(after, ReadLimit::default()).await.unwrap()
}

/// The oldest event that is kept, which is not the first.
async fn first(bus: &dyn Bus) -> Seq {
    match bus.read(0, ReadLimit::default()).await {
        Err(Error::Pruned { first, .. }) => first,
        other => panic!("{other:?}"),
    }
}

pub async fn events_come_back_as_they_were_published(world: &impl World) {
    let bus = world.bus();
    assert_eq!(bus.tail().await.unwrap(), 0);
    assert_eq!(publish(&*bus, 0, 5).await.unwrap(), 5);
    let events = read_all(&*bus, 0).await;
    for (event, pos) in events.iter().zip(1..) {
        assert_eq!(event.pos, pos);
        assert_eq!(event.event, record(pos).event);
    }
    assert_eq!(events.len(), 5);
    assert_eq!(read_all(&*bus, 3).await.len(), 2);
    assert!(read_all(&*bus, 5).await.is_empty());
    assert_eq!(bus.tail().await.unwrap(), 5);

    // Names that are special somewhere, a payload that is no text, numbers at their ends.
    let odd = ["a.b c*d>e/f", "ключ 🔑", "%2e\t\"x\"", "..", "$KV.x", " x "];
    let mut records: Vec<Record> = odd
        .iter()
        .zip(6..)
        .map(|(key, pos)| {
            let mut record = record(pos);
            record.event.key = (*key).to_owned();
            record.event.topic = format!("t {key}").into();
            record.event.event_type = format!("{key}.v1").into();
            record.event.payload = Bytes::from_static(b"\x00\xff\r\n\r\n");
            record.event.kseq = i64::MAX.cast_unsigned();
            record.event.schema = u16::MAX;
            record.event.numbering = Numbering::Increasing;
            record.event.trace = None;
            record.event.time = Timestamp::from_unix_ms(-62_135_596_800_000 + pos);
            record
        })
        .collect();
    records[0].event.payload = Bytes::new();
    bus.publish(batch(5, records.clone())).await.unwrap();
    let events = read_all(&*world.another().await, 5).await;
    let events: Vec<&NewEvent> = events.iter().map(|event| &event.event).collect();
    let expected: Vec<&NewEvent> = records.iter().map(|record| &record.event).collect();
    assert_eq!(events, expected);
}

pub async fn an_event_of_the_largest_size_comes_back(world: &impl World) {
    let bus = world.bus();
    let mut large = record(1);
    large.event.payload = vec![b'x'; PAYLOAD_BYTES_MAX].into();
    bus.publish(batch(0, vec![large.clone(), record(2)]))
        .await
        .unwrap();
    let limit = ReadLimit { rows: 10, bytes: 10 };
    let events = bus.read(0, limit).await.unwrap();
    assert_eq!(events.len(), 1);
    assert!(events[0].event == large.event);
}

pub async fn an_event_that_is_too_large_is_refused_by_its_place(world: &impl World) {
    let Some(oversize) = world.oversize() else {
        return;
    };
    let bus = world.bus();
    let mut large = record(3);
    large.event.payload = vec![b'x'; oversize].into();
    let records = vec![record(1), record(2), large, record(4)];
    let error = bus.publish(batch(0, records)).await.unwrap_err();
    let Error::Refused(refused) = error else {
        panic!("{error:?}");
    };
    assert_eq!(refused.index, 2);
    assert_eq!(bus.tail().await.unwrap(), 0);
    publish(&*bus, 0, 2).await.unwrap();
}

pub async fn a_publish_from_the_wrong_place_is_refused_whole(world: &impl World) {
    let bus = world.bus();
    publish(&*bus, 0, 3).await.unwrap();
    for (expected, upto) in [(0, 3), (2, 4), (4, 5)] {
        match publish(&*bus, expected, upto).await {
            Err(Error::Fenced(fenced)) => assert_eq!(fenced.actual, cursor(3)),
            other => panic!("{expected}: {other:?}"),
        }
    }
    assert_eq!(bus.tail().await.unwrap(), 3);
    assert_eq!(bus.cursor("ingest").await.unwrap(), cursor(3));
    assert_eq!(bus.cursor("other").await.unwrap(), Cursor::default());
    publish(&*bus, 3, 4).await.unwrap();
}

/// The same batch again, by a process that knows nothing of the first attempt.
pub async fn a_lost_answer_doubles_nothing(world: &impl World) {
    publish(&*world.bus(), 0, 3).await.unwrap();
    let again = world.another().await;
    assert!(matches!(publish(&*again, 0, 3).await, Err(Error::Fenced(_))));
    let resumed = again.cursor("ingest").await.unwrap();
    assert_eq!(resumed, cursor(3));
    publish(&*again, 3, 6).await.unwrap();
    assert_eq!(read_all(&*world.bus(), 0).await.len(), 6);
}

pub async fn two_publishers_cannot_both_win(world: &impl World) {
    let mut racers = Vec::new();
    for _ in 0..8 {
        let bus = world.another().await;
        racers.push(async move {
            let mut won = 0;
            for at in 0..10 {
                match publish(&*bus, at, at + 1).await {
                    Ok(_) => won += 1,
                    Err(Error::Fenced(_)) => {}
                    Err(error) => panic!("{error:?}"),
                }
            }
            won
        });
    }
    let mut running = tokio::task::JoinSet::new();
    for racer in racers {
        running.spawn(racer);
    }
    let won: usize = running.join_all().await.into_iter().sum();
    assert_eq!(won, 10);
    let events = read_all(&*world.bus(), 0).await;
    let numbers: Vec<u64> = events.iter().map(|event| event.kseq).collect();
    assert_eq!(numbers, (1..=10).collect::<Vec<u64>>());
}

pub async fn origins_have_cursors_of_their_own_and_share_one_sequence(world: &impl World) {
    let bus = world.bus();
    publish(&*bus, 0, 2).await.unwrap();
    let other = Publish {
        origin: "billing eu.1".to_owned(),
        expected: Cursor::default(),
        cursor: Cursor::new("77:78:77,79 é"),
        records: vec![record(9)],
    };
    assert_eq!(bus.publish(other).await.unwrap(), 3);
    assert_eq!(publish(&*bus, 2, 3).await.unwrap(), 4);
    let other = world.another().await;
    assert_eq!(
        other.cursor("billing eu.1").await.unwrap(),
        Cursor::new("77:78:77,79 é")
    );
    assert_eq!(other.cursor("ingest").await.unwrap(), cursor(3));
}

pub async fn a_cursor_outlives_its_events(world: &impl World) {
    let bus = world.bus();
    publish(&*bus, 0, 3).await.unwrap();
    world.pass(world.long()).await;
    let nothing = Retention {
        keep: Duration::ZERO,
        ..Retention::default()
    };
    assert_eq!(bus.retain(&nothing).await.unwrap().deleted, 3);
    let another = world.another().await;
    assert_eq!(another.cursor("ingest").await.unwrap(), cursor(3));
    assert!(matches!(publish(&*another, 0, 3).await, Err(Error::Fenced(_))));
    assert_eq!(publish(&*another, 3, 4).await.unwrap(), 4);
    assert_eq!(bus.cursor("ingest").await.unwrap(), cursor(4));
}

pub async fn a_read_is_bounded_by_rows_and_bytes_and_always_moves(world: &impl World) {
    let large = |pos: i64| {
        let mut record = record(pos);
        record.event.payload = Bytes::from(vec![b'x'; 10_000]);
        record
    };
    let bus = world.bus();
    bus.publish(batch(0, (1..=10).map(large).collect()))
        .await
        .unwrap();
    let read = async |rows, bytes| {
        let events = bus.read(0, ReadLimit { rows, bytes }).await.unwrap();
        events.len()
    };
    assert_eq!(read(4, usize::MAX >> 1).await, 4);
    let some = read(100, 35_000).await;
    assert!((2..=4).contains(&some), "{some}");
    assert_eq!(read(100, 1).await, 1);
}

pub async fn a_publish_is_bounded(world: &impl World) {
    let bus = world.bus();
    let too_many = i64::try_from(BATCH_ROWS_MAX).unwrap() + 1;
    assert_eq!(
        publish(&*bus, 0, too_many).await.unwrap_err().code(),
        "RC-EVT-003"
    );
    assert_eq!(publish(&*bus, 0, 0).await.unwrap_err().code(), "RC-EVT-003");
    publish(&*bus, 0, too_many - 1).await.unwrap();
}

pub async fn a_wait_ends_with_the_publish_or_its_time(world: &impl World) {
    let short = Duration::from_millis(30);
    let long = Duration::from_secs(20);
    let bus = world.bus();
    assert_eq!(bus.wait(0, short).await.unwrap(), 0);
    for (waiting, upto) in [(world.bus(), 2), (world.another().await, 4)] {
        let began = tokio::time::Instant::now();
        let (tail, _) = tokio::join!(waiting.wait(upto - 2, long), async {
            tokio::time::sleep(short).await;
            publish(&*bus, upto - 2, upto).await.unwrap()
        });
        assert_eq!(tail.unwrap(), upto);
        let took = began.elapsed();
        assert!(took < Duration::from_secs(5), "{took:?}");
    }
    assert_eq!(bus.wait(0, long).await.unwrap(), 4);
}

pub async fn a_bus_is_known_by_one_id(world: &impl World) {
    let id = world.bus().id().await.unwrap();
    assert!(!id.as_str().is_empty());
    publish(&*world.bus(), 0, 3).await.unwrap();
    assert_eq!(world.another().await.id().await.unwrap(), id);
}

pub async fn two_buses_have_two_ids(one: &impl World, other: &impl World) {
    assert_ne!(one.bus().id().await.unwrap(), other.bus().id().await.unwrap());
}

pub async fn retention_goes_by_age(world: &impl World) {
    let retention = Retention {
        keep: world.long(),
        ..Retention::default()
    };
    let past = world.long() + world.long() / 20;
    let bus = world.bus();
    publish(&*bus, 0, 10).await.unwrap();
    world.pass(past).await;
    publish(&*bus, 10, 15).await.unwrap();
    let retained = bus.retain(&retention).await.unwrap();
    assert_eq!((retained.deleted, retained.more), (10, false));
    let error = bus.read(4, ReadLimit::default()).await.unwrap_err();
    assert!(
        matches!(error, Error::Pruned { after: 4, first: 11 }),
        "{error:?}"
    );
    assert_eq!(read_all(&*bus, 10).await.len(), 5);
    // Even an empty bus never gives a number twice.
    world.pass(past).await;
    assert_eq!(bus.retain(&retention).await.unwrap().deleted, 5);
    assert!(read_all(&*bus, 15).await.is_empty());
    let error = bus.read(4, ReadLimit::default()).await.unwrap_err();
    assert!(
        matches!(error, Error::Pruned { after: 4, first: 16 }),
        "{error:?}"
    );
    assert_eq!(publish(&*bus, 15, 16).await.unwrap(), 16);
}

pub async fn retention_goes_by_size_in_bounded_steps(world: &impl World) {
    let bus = world.bus();
    // Numbers of one length, so that all events have one size.
    let records = |from: i64| {
        let of = |pos: i64| {
            let mut record = record(pos);
            record.event.kseq = pos.cast_unsigned() + 1_000_000;
            record.event.payload = Bytes::from_static(b"{\"title\":\"the same\"}");
            record
        };
        (from + 1..=from + 1_000).map(of).collect::<Vec<Record>>()
    };
    let mut events = Vec::new();
    for at in (0..3_000).step_by(1_000) {
        bus.publish(batch(at, records(at))).await.unwrap();
        events.extend(read_all(&*bus, at).await);
    }
    let retention = Retention {
        bytes_max: world.kept_bytes(&events).await / 6,
        ..Retention::default()
    };
    let mut steps = 0;
    while bus.retain(&retention).await.unwrap().more {
        steps += 1;
    }
    assert!((2..=3).contains(&steps), "{steps}");
    let kept = bus.tail().await.unwrap() - first(&*bus).await + 1;
    assert!((450..=510).contains(&kept), "{kept}");
}

pub async fn retention_waits_for_registered_consumers_until_they_lag_too_far(world: &impl World) {
    let retention = Retention {
        keep: Duration::ZERO,
        consumer_lag_max: 50,
        ..Retention::default()
    };
    let bus = world.bus();
    bus.progress("slow one", 5).await.unwrap();
    bus.progress("fast", 20).await.unwrap();
    publish(&*bus, 0, 20).await.unwrap();
    world.pass(world.long() / 20).await;
    assert_eq!(bus.retain(&retention).await.unwrap().deleted, 5);
    publish(&*bus, 20, 60).await.unwrap();
    world.pass(world.long() / 20).await;
    let retained = bus.retain(&retention).await.unwrap();
    assert_eq!(
        (retained.deleted, retained.lost),
        (15, vec!["slow one".to_owned()])
    );
    let error = bus.read(5, ReadLimit::default()).await.unwrap_err();
    assert_eq!(error.code(), "RC-EVT-004");
    let of = |name: &str, seq, lost| BusConsumer {
        name: name.to_owned(),
        seq,
        lost,
    };
    let consumers = bus.consumers().await.unwrap();
    assert_eq!(consumers, [of("fast", 20, false), of("slow one", 5, true)]);
    // It was rebuilt and comes back.
    bus.progress("slow one", 60).await.unwrap();
    assert!(!bus.consumers().await.unwrap()[1].lost);
}

pub async fn progress_is_kept_by_the_bus(world: &impl World) {
    let bus = world.bus();
    assert!(bus.consumers().await.unwrap().is_empty());
    publish(&*bus, 0, 9).await.unwrap();
    for seq in [0, 4, 4, 9] {
        bus.progress("docs/eu.1", seq).await.unwrap();
        let consumers = world.another().await.consumers().await.unwrap();
        assert_eq!(consumers.len(), 1);
        assert_eq!(
            (consumers[0].name.as_str(), consumers[0].seq, consumers[0].lost),
            ("docs/eu.1", seq, false)
        );
    }
}

pub async fn a_consumer_ahead_of_the_bus_is_told(world: &impl World) {
    let bus = world.bus();
    publish(&*bus, 0, 3).await.unwrap();
    let error = bus.read(9, ReadLimit::default()).await.unwrap_err();
    assert_eq!(error.code(), "RC-EVT-008");
}
