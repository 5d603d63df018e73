//! Relays that die, race, meet full and restored stores; nothing lost, doubled or out of order.

mod crash;
mod race;
mod stall;

use std::collections::HashMap;

use rc_model::SystemClock;
use rc_store::{Sqlite, SqliteOptions, TenantConn};

use super::*;
use crate::bus::tests::World;
use crate::event::tests::event;
use crate::event::{Event, NewEvent};
use crate::outbox;
use crate::outbox::sqlite::SqliteSource;

pub(crate) struct Outbox {
    pub(crate) db: Sqlite,
    _folder: tempfile::TempDir,
}

impl Outbox {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let db = Sqlite::open(&folder.path().join("ingest.db"), SqliteOptions::default()).unwrap();
        db.migrate(&outbox::sqlite::MIGRATIONS).await.unwrap();
        Self { db, _folder: folder }
    }

    pub(crate) async fn append(&self, events: Vec<NewEvent>) {
        self.try_append(events).await.unwrap();
    }

    async fn try_append(&self, events: Vec<NewEvent>) -> Result<(), rc_store::Error> {
        let tenant = events[0].tenant.clone();
        self.db
            .write("append", move |conn| {
                outbox::sqlite::append(&TenantConn::new(conn, &tenant), &events)
            })
            .await
    }

    pub(crate) fn source(&self) -> Arc<SqliteSource> {
        Arc::new(SqliteSource::new(self.db.clone(), "ingest"))
    }
}

pub(crate) struct Running {
    status: watch::Receiver<RelayStatus>,
    stop: CancellationToken,
    tasks: tokio::task::JoinSet<()>,
}

pub(crate) fn run(source: Arc<dyn Source>, bus: &Arc<dyn Bus>, options: RelayOptions) -> Running {
    let relay = Relay::new(source, Arc::clone(bus), SystemClock::shared(), options);
    let (status, stop) = (relay.status(), CancellationToken::new());
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(relay.run(stop.clone()));
    Running { status, stop, tasks }
}

impl Running {
    pub(crate) async fn until(&mut self, what: impl FnMut(&RelayStatus) -> bool) -> RelayStatus {
        tokio::time::timeout(Duration::from_secs(30), self.status.wait_for(what))
            .await
            .expect("in time")
            .expect("the relay runs")
            .clone()
    }

    pub(crate) async fn end(mut self) {
        self.stop.cancel();
        tokio::time::timeout(Duration::from_secs(5), self.tasks.join_next())
            .await
            .expect("stops in time");
    }
}

/// Everything on the bus.
pub(crate) async fn read_all(bus: &Arc<dyn Bus>) -> Vec<Event> {
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

/// The checker: every key's numbers are 1, 2, 3, ... in the order of the bus, and end where they should.
pub(crate) fn assert_exact(events: &[Event], expect: &HashMap<String, u64>) {
    let mut last: HashMap<String, u64> = HashMap::new();
    for event in events {
        let seen = last.entry(event.key.clone()).or_default();
        assert_eq!(event.kseq, *seen + 1, "key {} at {}", event.key, event.pos);
        *seen = event.kseq;
    }
    assert_eq!(&last, expect);
}

#[tokio::test]
async fn events_travel_in_order_and_wake_at_once() {
    let (outbox, world) = (Outbox::new().await, World::sqlite().await);
    let mut running = run(outbox.source(), &world.bus, RelayOptions::default());
    running.until(|status| status.leading).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let started_ns = rc_model::clock::monotonic_ns();
    outbox.append(vec![event("acme", "a", 1)]).await;
    running.until(|status| status.published == 1).await;
    let took = Duration::from_nanos(rc_model::clock::monotonic_ns() - started_ns);
    assert!(
        took < Duration::from_secs(1),
        "{took:?}: woken by the commit, not by a poll"
    );

    for start in (2..=5_000).step_by(500) {
        let end = (start + 499).min(5_000);
        outbox
            .append((start..=end).map(|kseq| event("acme", "a", kseq)).collect())
            .await;
    }
    running.until(|status| status.published == 5_000).await;
    let status = running
        .until(|status| status.backlog.is_some_and(|backlog| backlog.rows == 0))
        .await;
    assert_eq!(status.cursor, Cursor::new("5000"));
    running.end().await;
    assert_exact(
        &read_all(&world.bus).await,
        &HashMap::from([("a".to_owned(), 5_000)]),
    );
}

#[tokio::test]
async fn an_event_of_another_tenant_or_size_is_refused_and_rolls_back() {
    let outbox = Outbox::new().await;
    let mixed = vec![event("acme", "a", 1), event("beta", "b", 1)];
    let error = Error::from(outbox.try_append(mixed).await.unwrap_err());
    assert_eq!(error.code(), "RC-EVT-003");
    let fetched = outbox
        .source()
        .fetch(&Cursor::default(), ReadLimit::default())
        .await
        .unwrap();
    assert!(fetched.records.is_empty());
}

#[tokio::test]
async fn a_fetch_is_bounded_by_bytes() {
    let outbox = Outbox::new().await;
    let large = |kseq| {
        let mut event = event("acme", "a", kseq);
        event.payload = bytes::Bytes::from(vec![b' '; 500_000]);
        event
    };
    outbox.append((1..=10).map(large).collect()).await;
    let limit = ReadLimit {
        rows: 100,
        bytes: 1_200_000,
    };
    let fetched = outbox.source().fetch(&Cursor::default(), limit).await.unwrap();
    assert_eq!((fetched.records.len(), fetched.cursor.as_str()), (2, "2"));
}

#[tokio::test]
async fn relayed_rows_are_pruned_after_their_time_and_others_are_not() {
    let (outbox, world) = (Outbox::new().await, World::sqlite().await);
    outbox
        .append((1..=2_500).map(|kseq| event("acme", "a", kseq)).collect())
        .await;
    let source = outbox.source();
    let options = RelayOptions {
        // The events are of 2026-11-21; whatever today is, this decides.
        outbox_keep: Duration::ZERO,
        housekeeping_pause: Duration::from_millis(10),
        ..RelayOptions::default()
    };
    let (future, now) = (Timestamp::from_unix_ms(i64::MAX), Timestamp::from_unix_ms(0));
    let prune = async |upto: &str, at: Timestamp| {
        let pruned = source
            .prune(&Cursor::new(upto), at, Duration::ZERO)
            .await
            .unwrap();
        (pruned.rows, pruned.more)
    };
    assert_eq!(prune("", future).await, (0, false));
    assert_eq!(prune("100", future).await, (100, false));
    assert_eq!(prune("2500", now).await, (0, false), "they have not aged");
    let mut running = run(outbox.source(), &world.bus, options);
    let status = running.until(|status| status.published == 2_400).await;
    assert_eq!(status.cursor, Cursor::new("2500"));
    running.end().await;
    // A position is never given again, even after everything was pruned.
    while prune("2500", future).await.1 {}
    outbox.append(vec![event("acme", "a", 2_501)]).await;
    let fetched = source
        .fetch(&Cursor::new("2500"), ReadLimit::default())
        .await
        .unwrap();
    assert_eq!(fetched.records[0].origin_pos, 2_501);
}

#[test]
fn pauses_grow_and_stay_within_bounds() {
    let error = Error::invalid("x");
    for failures in 1..100 {
        let pause = retry_pause(failures, &error);
        assert!(
            pause >= RETRY_MIN / 2 && pause <= RETRY_MAX,
            "{failures}: {pause:?}"
        );
    }
    assert!(retry_pause(20, &error) >= RETRY_MAX / 2);
}

#[tokio::test]
async fn events_move_at_speed() {
    // Not a benchmark: it would catch a commit a row or a read that walks the whole log.
    const EVENTS: u64 = 20_000;
    let (outbox, world) = (Outbox::new().await, World::sqlite().await);
    let per_second = |started_ns: u64| {
        let took = Duration::from_nanos(rc_model::clock::monotonic_ns() - started_ns);
        assert!(took < Duration::from_secs(10), "{took:?}");
        EVENTS as f64 / took.as_secs_f64()
    };
    let started_ns = rc_model::clock::monotonic_ns();
    for start in (1..=EVENTS).step_by(500) {
        let batch = (start..start + 500).map(|kseq| {
            let mut event = event("acme", "a", kseq);
            event.payload = bytes::Bytes::from(vec![b'7'; 600]);
            event
        });
        outbox.append(batch.collect()).await;
    }
    println!("append {:.0}/s", per_second(started_ns));

    let started_ns = rc_model::clock::monotonic_ns();
    let mut running = run(outbox.source(), &world.bus, RelayOptions::default());
    running.until(|status| status.published == EVENTS).await;
    println!("relay {:.0}/s", per_second(started_ns));
    running.end().await;

    let started_ns = rc_model::clock::monotonic_ns();
    assert_eq!(read_all(&world.bus).await.len(), 20_000);
    println!("read {:.0}/s", per_second(started_ns));
}
