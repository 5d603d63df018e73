//! Damage that is made on purpose is found, all of it and nothing else, whatever the size of a walk.

use std::sync::Mutex;
use std::time::Duration;

use proptest::prelude::*;
use rc_model::Timestamp;

use super::*;
use crate::BoxFuture;
use crate::bus::tests::World;
use crate::contract::{World as _, event};
use crate::relay::{Backlog, Fetched, Pruned};

/// A log in memory; a cursor is a number of rows.
#[derive(Default)]
struct Log {
    rows: Mutex<Vec<Record>>,
}

impl Log {
    fn of(events: Vec<NewEvent>) -> Self {
        let record = |(event, origin_pos)| Record { origin_pos, event };
        let rows = events.into_iter().zip(1..).map(record).collect();
        Self {
            rows: Mutex::new(rows),
        }
    }

    fn cursor(at: usize) -> Cursor {
        Cursor::new(if at == 0 { String::new() } else { at.to_string() })
    }
}

impl Source for Log {
    fn origin(&self) -> &str {
        "ingest"
    }

    fn fetch<'a>(&'a self, cursor: &'a Cursor, limit: ReadLimit) -> BoxFuture<'a, Result<Fetched, Error>> {
        Box::pin(async move {
            let from: i64 = cursor.as_str().parse().unwrap_or(0);
            let rows = self.rows.lock().unwrap();
            let rows: Vec<Record> = rows
                .iter()
                .filter(|row| row.origin_pos > from)
                .take(limit.rows.min(7))
                .cloned()
                .collect();
            let at = rows.last().map_or(from, |row| row.origin_pos);
            Ok(Fetched {
                records: rows,
                cursor: Self::cursor(usize::try_from(at).unwrap()),
            })
        })
    }

    fn wait(&self, _idle: Duration) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }

    fn backlog<'a>(&'a self, _cursor: &'a Cursor) -> BoxFuture<'a, Result<Backlog, Error>> {
        Box::pin(async {
            Ok(Backlog {
                rows: u64::try_from(self.rows.lock().unwrap().len()).unwrap(),
                oldest: None,
            })
        })
    }

    fn prune<'a>(
        &'a self,
        _cursor: &'a Cursor,
        _now: Timestamp,
        _keep: Duration,
    ) -> BoxFuture<'a, Result<Pruned, Error>> {
        Box::pin(async { Ok(Pruned::default()) })
    }
}

/// Puts these events on the bus as they are, with the cursor of a relay that took `relayed` rows.
async fn put(bus: &dyn Bus, events: &[NewEvent], relayed: usize) {
    let mut expected = bus.cursor("ingest").await.unwrap();
    for (events, last) in events.chunks(1_000).zip(1..) {
        let record = |event: &NewEvent| Record {
            origin_pos: 0,
            event: event.clone(),
        };
        let cursor = match last * 1_000 >= events.len() {
            true => Log::cursor(relayed),
            false => Cursor::new(format!("x{last}")),
        };
        let publish = Publish {
            origin: "ingest".to_owned(),
            expected,
            cursor: cursor.clone(),
            records: events.iter().map(record).collect(),
        };
        bus.publish(publish).await.unwrap();
        expected = cursor;
    }
}

/// `count` events over `keys` keys that take turns.
fn written(keys: u64, count: u64) -> Vec<NewEvent> {
    (0..count)
        .map(|at| event("acme", &format!("key-{}", at % keys), at / keys + 1))
        .collect()
}

fn numbers(finding: &Finding) -> Vec<(String, u64)> {
    let mut found: Vec<(String, u64)> = finding
        .examples
        .iter()
        .map(|example| (example.place.key.clone(), example.kseq))
        .collect();
    found.sort();
    found
}

fn counts(report: &Report) -> [u64; 6] {
    [
        &report.missing,
        &report.lost,
        &report.doubled,
        &report.reordered,
        &report.changed,
        &report.phantom,
    ]
    .map(|finding| finding.count)
}

async fn each_damage_is_found(world: World) {
    let bus = world.bus();
    let events = written(3, 30);
    let log = Log::of(events.clone());
    let mut damaged = events[..27].to_vec();
    // key-0: number 2 twice. key-1: 4 and 5 the other way round. key-2: 3 is missing, 6 has other content,
    // and a number that nobody gave. Three rows wait.
    damaged.push(events[3].clone());
    damaged.swap(10, 13);
    damaged[17].payload = bytes::Bytes::from_static(b"{}");
    damaged.push(event("acme", "key-2", 11));
    damaged.remove(8);
    // Another service's, older than the log: one is missing in the middle, and one came late.
    for kseq in [4, 5, 7, 9, 8] {
        damaged.push(event("other", "key", kseq));
    }
    put(&*bus, &damaged, 27).await;
    for events_max in [1_000, 4, 1] {
        let report = verify_in(&log, &*bus, events_max).await.unwrap();
        assert_eq!(counts(&report), [1, 1, 1, 2, 1, 1], "{report:#?}");
        assert_eq!(numbers(&report.missing), [("key-2".to_owned(), 3)]);
        assert_eq!(numbers(&report.lost), [("key".to_owned(), 6)]);
        assert_eq!(numbers(&report.doubled), [("key-0".to_owned(), 2)]);
        assert_eq!(
            numbers(&report.reordered),
            [("key".to_owned(), 8), ("key-1".to_owned(), 4)]
        );
        assert_eq!(numbers(&report.changed), [("key-2".to_owned(), 6)]);
        assert_eq!(numbers(&report.phantom), [("key-2".to_owned(), 11)]);
        assert_eq!((report.log_events, report.waiting, report.beyond_log), (30, 3, 5));
        assert!(!report.is_clean() && !report.is_whole());
    }
}

async fn a_repair_brings_back_what_is_missing(world: World) {
    let bus = world.bus();
    let events = written(5, 50);
    let log = Log::of(events.clone());
    let present: Vec<NewEvent> = events
        .iter()
        .enumerate()
        .filter(|(at, _)| at % 4 != 1)
        .map(|(_, event)| event.clone())
        .collect();
    put(&*bus, &present, 50).await;
    let missing = u64::try_from(events.len() - present.len()).unwrap();
    let done = repair(&log, &*bus).await.unwrap();
    assert_eq!((done.report.missing.count, done.published), (missing, missing));
    assert_eq!(bus.cursor("ingest").await.unwrap(), Log::cursor(50));
    let after = verify(&log, &*bus).await.unwrap();
    assert!(after.is_whole(), "{after:#?}");
    assert_eq!(counts(&after)[..3], [0, 0, 0]);
    // Nothing is left to do.
    assert_eq!(repair(&log, &*bus).await.unwrap().published, 0);
}

async fn what_the_bus_deleted_in_its_time_is_not_missing(world: World) {
    let bus = world.bus();
    let events = written(4, 40);
    let log = Log::of(events.clone());
    put(&*bus, &events[..20], 20).await;
    world.pass(world.long()).await;
    let retention = crate::Retention {
        keep: world.long() / 2,
        ..crate::Retention::default()
    };
    put(&*bus, &[&events[20..30], &events[31..]].concat(), 40).await;
    assert_eq!(bus.retain(&retention).await.unwrap().deleted, 20);
    let report = verify(&log, &*bus).await.unwrap();
    assert_eq!(counts(&report), [1, 0, 0, 0, 0, 0], "{report:#?}");
    assert_eq!(numbers(&report.missing), [("key-2".to_owned(), 8)]);
    assert_eq!(report.beyond_bus, 20);
}

macro_rules! on_both {
    ($($test:ident = $claim:ident,)+) => {
        $(
            #[tokio::test]
            async fn $test() {
                $claim(World::sqlite().await).await;
                $claim(World::postgres().await).await;
            }
        )+
    };
}

on_both! {
    live_each_damage_is_found_and_none_is_invented = each_damage_is_found,
    live_a_repair_brings_back_what_is_missing = a_repair_brings_back_what_is_missing,
    live_what_the_bus_deleted_in_its_time_is_not_missing = what_the_bus_deleted_in_its_time_is_not_missing,
}

/// Two services on one bus, both running, with retention of the log: nothing is invented.
#[tokio::test]
async fn a_log_that_forgot_and_another_service_are_no_damage() {
    let world = World::sqlite().await;
    let bus = world.bus();
    let events = written(3, 30);
    put(&*bus, &events, 30).await;
    let other = Publish {
        origin: "billing".to_owned(),
        expected: Cursor::default(),
        cursor: Cursor::new("1"),
        records: vec![Record {
            origin_pos: 1,
            event: event("globex", "invoice", 7),
        }],
    };
    bus.publish(other).await.unwrap();
    let log = Log::of(events);
    log.rows.lock().unwrap().drain(..20);
    let report = verify(&log, &*bus).await.unwrap();
    assert!(report.is_clean(), "{report:#?}");
    assert_eq!((report.beyond_log, report.bus_events), (21, 31));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// A bus with some events dropped and some doubled: exactly those are told.
    #[test]
    fn any_damage_is_told_exactly(
        keys in 1..6_u64, count in 1..60_u64, dropped in prop::collection::btree_set(0..60_usize, 0..6),
        doubled in prop::collection::btree_set(0..60_usize, 0..6), events_max in 1..80_u64,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let world = World::sqlite().await;
            let bus = world.bus();
            let events = written(keys, count);
            let log = Log::of(events.clone());
            let mut stream = Vec::new();
            for (at, event) in events.iter().enumerate() {
                if !dropped.contains(&at) {
                    stream.push(event.clone());
                }
            }
            let twice: Vec<NewEvent> = doubled.iter()
                .filter(|at| !dropped.contains(at))
                .filter_map(|&at| events.get(at).cloned())
                .collect();
            stream.extend(twice.iter().cloned());
            if stream.is_empty() {
                return;
            }
            put(&*bus, &stream, events.len()).await;
            let report = verify_in(&log, &*bus, events_max).await.unwrap();
            let gone = dropped.iter().filter(|&&at| at < events.len()).count();
            let expected = [gone, 0, twice.len(), 0, 0, 0].map(|count| u64::try_from(count).unwrap());
            assert_eq!(counts(&report), expected, "{report:#?}");
            let done = repair(&log, &*bus).await.unwrap();
            assert_eq!(done.published, expected[0]);
            assert!(verify(&log, &*bus).await.unwrap().is_whole());
        });
    }
}
