use rc_events::bus::Record;
use rc_events::contract::{self, event};
use rc_test::Nats;
use rc_test::nats::Sync;

use super::super::jetstream::Answer;
use super::*;

mod faults;
mod group;
mod operator;
mod server;
mod world;

use world::World;

rc_events::bus_contract!(World::shared());

/// The `pos`th record of the outbox `ingest`: five keys take turns, and each has numbers 1, 2, 3, ...
fn record(pos: i64) -> Record {
    let (key, number) = ((pos - 1) % 5, (pos - 1) / 5 + 1);
    Record {
        origin_pos: pos,
        event: event("acme", &format!("key-{key}"), number.cast_unsigned()),
    }
}

fn cursor(at: i64) -> Cursor {
    Cursor::new(if at == 0 { String::new() } else { at.to_string() })
}

fn place(cursor: &Cursor) -> i64 {
    cursor.as_str().parse().unwrap_or(0)
}

async fn publish(bus: &NatsBus, expected: i64, upto: i64) -> Result<Seq, Error> {
    let publish = Publish {
        origin: "ingest".to_owned(),
        expected: cursor(expected),
        cursor: cursor(upto),
        records: (expected + 1..=upto).map(record).collect(),
    };
    bus.publish(publish).await
}

/// Publishes until the bus has `upto` records, as a relay does it: whatever went wrong, the bus knows.
async fn relay(bus: &NatsBus, upto: i64, rows: i64) {
    let mut at = None;
    loop {
        let done = match at {
            None => bus.cursor("ingest").await.map(|cursor| place(&cursor)),
            Some(at) if at >= upto => return,
            Some(at) => publish(bus, at, upto.min(at + rows))
                .await
                .map(|_| upto.min(at + rows)),
        };
        at = match done {
            Ok(at) => Some(at),
            Err(Error::Fenced(fenced)) => Some(place(&fenced.actual)),
            Err(error) => {
                assert!(error.retry_after().is_some(), "{error:?}");
                tokio::time::sleep(Duration::from_millis(10)).await;
                None
            }
        };
    }
}

/// Everything on the bus is what was written, in order, once.
async fn assert_exact(bus: &NatsBus, count: i64) {
    let mut after = 0;
    while after < count {
        let events = bus.read(after, ReadLimit::default()).await.unwrap();
        assert!(!events.is_empty(), "the bus ends at {after} of {count}");
        for event in events {
            after += 1;
            assert_eq!(event.pos, after);
            assert_eq!(event.event, record(after).event);
        }
    }
    assert_eq!(bus.tail().await.unwrap(), count);
}
