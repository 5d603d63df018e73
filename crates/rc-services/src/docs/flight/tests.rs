use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::join_all;
use tokio::sync::Notify;

use super::*;

fn key(tenant: &str, target: &str, generation: u64) -> Key {
    Key {
        tenant: TenantId::new(tenant).unwrap(),
        target: target.to_owned(),
        generation,
    }
}

#[tokio::test]
async fn equal_reads_run_once() {
    let flights = Flights::new(Counter::default());
    let runs = AtomicUsize::new(0);
    let read = || {
        flights.run(key("acme", "/docs/a", 1), async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            runs.fetch_add(1, Ordering::Relaxed) + 40
        })
    };
    let answers = join_all((0..10).map(|_| read())).await;
    assert_eq!(answers, vec![40; 10]);
    assert_eq!(flights.joined.get(), 9);
    assert_eq!(flights.under_way(), 0);
    assert_eq!(read().await, 41, "an answer is not kept");
}

#[tokio::test]
async fn other_tenants_targets_and_generations_never_share() {
    let flights = Flights::new(Counter::default());
    let keys = [
        key("acme", "/docs/a", 1),
        key("globex", "/docs/a", 1),
        key("acme", "/docs/b", 1),
        key("acme", "/docs/a", 2),
    ];
    let reads = keys.iter().enumerate().map(|(number, key)| {
        flights.run(key.clone(), async move {
            tokio::time::sleep(Duration::from_millis(10)).await;
            number
        })
    });
    assert_eq!(join_all(reads).await, [0, 1, 2, 3]);
}

#[tokio::test]
async fn a_follower_takes_over_when_the_leader_goes_away() {
    let flights = Arc::new(Flights::new(Counter::default()));
    let mut leader = Box::pin(flights.run(key("acme", "/docs/a", 1), std::future::pending::<usize>()));
    assert!(
        leader.as_mut().now_or_never().is_none(),
        "the leader is under way"
    );
    let mut followers =
        Box::pin(join_all((1..=3).map(|number| {
            flights.run(key("acme", "/docs/a", 1), async move { number })
        })));
    assert!(
        followers.as_mut().now_or_never().is_none(),
        "they wait for the leader"
    );
    drop(leader);
    let answers = tokio::time::timeout(Duration::from_secs(5), followers)
        .await
        .unwrap();
    assert!(
        answers.iter().all(|answer| (1..=3).contains(answer)),
        "{answers:?}"
    );
    assert_eq!(flights.under_way(), 0);
}

#[tokio::test]
async fn a_follower_takes_over_when_the_leader_panics() {
    let flights = Flights::new(Counter::default());
    let go = Notify::new();
    let leader = std::panic::AssertUnwindSafe(flights.run(key("acme", "/docs/a", 1), async {
        go.notified().await;
        panic!("a bug")
    }))
    .catch_unwind();
    let follower = flights.run(key("acme", "/docs/a", 1), async { 7 });
    let release = async { go.notify_one() };
    let (led, followed, ()) = futures_util::join!(leader, follower, release);
    assert!(led.is_err());
    assert_eq!(followed, 7);
}

#[tokio::test]
async fn the_table_is_bounded() {
    let flights = Flights::new(Counter::default());
    let mut pending: Vec<_> = (0..FLIGHTS_MAX)
        .map(|number| {
            Box::pin(flights.run(
                key("acme", &number.to_string(), 1),
                std::future::pending::<usize>(),
            ))
        })
        .collect();
    for flight in &mut pending {
        assert!(flight.as_mut().now_or_never().is_none());
    }
    assert_eq!(flights.under_way(), FLIGHTS_MAX);
    assert_eq!(flights.run(key("acme", "one more", 1), async { 1 }).await, 1);
    drop(pending);
    assert_eq!(flights.under_way(), 0);
}

#[tokio::test]
async fn a_read_that_joins_links_to_the_one_whose_statements_answered_it() {
    let recorder = rc_test::spans::Recorder::new();
    let (leader, follower) = (recorder.scope(), recorder.scope());
    let (leading, following) = (leader.context(), follower.context());
    let flights = Flights::new(Counter::default());
    let read = || {
        flights.run(key("acme", "/docs/a", 1), async {
            tokio::time::sleep(Duration::from_millis(5)).await;
        })
    };
    tokio::join!(leader.run(read()), follower.run(read()));
    let heard = recorder.take();
    assert_eq!(heard.len(), 1, "the leader's statements tell of themselves");
    assert_eq!(heard[0].name, "join read");
    assert_eq!(heard[0].parent, Some(following.span_id()));
    assert_eq!(heard[0].links, [leading]);
}
