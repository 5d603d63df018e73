//! A relay that dies between any two steps, seen through a bus that fails on purpose.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::bus::{BusConsumer, BusId, Retained};
use crate::event::Event;

use super::*;

/// Fails every third publish, by turns before and after it took place.
struct Flaky {
    bus: Arc<dyn Bus>,
    calls: AtomicU32,
}

impl Bus for Flaky {
    fn id(&self) -> BoxFuture<'_, Result<BusId, Error>> {
        self.bus.id()
    }

    fn publish(&self, publish: Publish) -> BoxFuture<'_, Result<Seq, Error>> {
        Box::pin(async move {
            let call = self.calls.fetch_add(1, Ordering::Relaxed);
            let lost = || {
                Error::from(rc_store::Error::new(
                    rc_store::ErrorKind::Unavailable {
                        retry_after: Duration::from_millis(1),
                    },
                    "no answer",
                ))
            };
            match call % 6 {
                2 => Err(lost()),
                5 => {
                    self.bus.publish(publish).await?;
                    Err(lost())
                }
                _ => self.bus.publish(publish).await,
            }
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

fn small_batches() -> RelayOptions {
    RelayOptions {
        batch: ReadLimit {
            rows: 7,
            bytes: 1_000_000,
        },
        ..RelayOptions::default()
    }
}

#[tokio::test]
async fn lost_answers_and_failed_publishes_leave_no_trace_on_the_bus() {
    let (outbox, world) = (Outbox::new().await, World::sqlite().await);
    outbox
        .append((1..=200).map(|kseq| event("acme", "a", kseq)).collect())
        .await;
    let flaky: Arc<dyn Bus> = Arc::new(Flaky {
        bus: Arc::clone(&world.bus),
        calls: AtomicU32::new(0),
    });
    let mut running = run(outbox.source(), &flaky, small_batches());
    running.until(|status| status.tail == 200).await;
    let status = running.until(|status| status.error.is_none()).await;
    assert_eq!(status.failures, 0);
    running.end().await;
    assert_exact(
        &read_all(&world.bus).await,
        &HashMap::from([("a".to_owned(), 200)]),
    );
}

#[tokio::test]
async fn a_relay_that_is_cut_off_anywhere_resumes_from_the_bus() {
    let (outbox, world) = (Outbox::new().await, World::sqlite().await);
    let mut expect = 0;
    for round in 0..40_u64 {
        let next = expect + 1 + round % 13;
        outbox
            .append((expect + 1..=next).map(|kseq| event("acme", "a", kseq)).collect())
            .await;
        expect = next;
        let running = run(outbox.source(), &world.bus, small_batches());
        // Dropping the task cuts it at whatever await it is in.
        tokio::time::sleep(Duration::from_micros(round * 150)).await;
        drop(running);
    }
    let mut running = run(outbox.source(), &world.bus, small_batches());
    running.until(|status| status.tail == expect.cast_signed()).await;
    running.end().await;
    assert_exact(
        &read_all(&world.bus).await,
        &HashMap::from([("a".to_owned(), expect)]),
    );
}

#[tokio::test]
async fn two_relays_at_once_publish_once() {
    let (outbox, world) = (Outbox::new().await, World::sqlite().await);
    let relays: Vec<Running> = (0..3)
        .map(|_| run(outbox.source(), &world.bus, small_batches()))
        .collect();
    for start in (1..=400).step_by(20) {
        outbox
            .append((start..start + 20).map(|kseq| event("acme", "a", kseq)).collect())
            .await;
    }
    let bus = Arc::clone(&world.bus);
    rc_test::eventually(Duration::from_secs(20), "all is relayed", async || {
        bus.tail().await.unwrap() >= 400
    })
    .await;
    for relay in relays {
        relay.end().await;
    }
    assert_exact(
        &read_all(&world.bus).await,
        &HashMap::from([("a".to_owned(), 400)]),
    );
}

#[tokio::test]
async fn a_source_that_fails_is_retried_with_growing_pauses_and_told() {
    let (outbox, world) = (Outbox::new().await, World::sqlite().await);
    outbox.append(vec![event("acme", "a", 1)]).await;
    outbox.db.close().await;
    let mut running = run(outbox.source(), &world.bus, RelayOptions::default());
    let status = running.until(|status| status.failures >= 2).await;
    assert_eq!(status.error.unwrap().0, "RC-EVT-009");
    tokio::time::sleep(Duration::from_millis(300)).await;
    let failures = running.status.borrow().failures;
    assert!(failures < 10, "{failures} attempts in a third of a second");
    running.end().await;
}

#[tokio::test]
async fn a_fenced_relay_goes_on_from_where_the_bus_is() {
    let (outbox, world) = (Outbox::new().await, World::sqlite().await);
    outbox
        .append((1..=20).map(|kseq| event("acme", "a", kseq)).collect())
        .await;
    let relay = || {
        Relay::new(
            outbox.source(),
            Arc::clone(&world.bus),
            SystemClock::shared(),
            small_batches(),
        )
    };
    let (ours, other) = (relay(), relay());
    let mut place = ours.resume(0).await.unwrap();
    let mut other_place = other.resume(0).await.unwrap();
    assert_eq!(other.step(&mut other_place).await.unwrap(), Step::Moved(7));
    assert_eq!(ours.step(&mut place).await.unwrap(), Step::Fenced);
    assert_eq!(ours.step(&mut place).await.unwrap(), Step::Moved(7));
    assert_eq!(ours.step(&mut place).await.unwrap(), Step::Moved(6));
    assert_eq!(ours.step(&mut place).await.unwrap(), Step::Idle);
    assert_exact(
        &read_all(&world.bus).await,
        &HashMap::from([("a".to_owned(), 20)]),
    );
}
