use futures_util::FutureExt as _;
use futures_util::future::join_all;

use super::*;

fn tenant(name: &str) -> TenantId {
    TenantId::new(name).unwrap()
}

fn crowded(error: &Error) -> Crowded {
    *error.downcast_ref().expect("it is crowded")
}

#[tokio::test]
async fn one_reader_is_always_left_for_the_others() {
    let turns = Turns::of_readers(4);
    let (acme, globex) = (tenant("acme"), tenant("globex"));
    let first = join_all((0..3).map(|_| turns.take(&acme))).await;
    assert!(first.iter().all(Result::is_ok));
    assert!(turns.take(&acme).now_or_never().is_none(), "the fourth waits");
    assert!(matches!(turns.take(&globex).now_or_never(), Some(Ok(_))));
    drop(first);
    assert!(matches!(turns.take(&acme).now_or_never(), Some(Ok(_))));
    assert_eq!(turns.lines(), 0, "who is idle is forgotten");
}

#[tokio::test]
async fn one_reader_serves_everybody() {
    let turns = Turns::of_readers(1);
    let acme = tenant("acme");
    let turn = turns.take(&acme).await.unwrap();
    let waits = turns.take(&acme);
    tokio::pin!(waits);
    assert!(waits.as_mut().now_or_never().is_none());
    drop(turn);
    waits.await.unwrap();
    assert_eq!(turns.lines(), 0);
}

#[tokio::test]
async fn a_line_that_is_too_long_or_too_slow_is_refused_with_a_time() {
    let turns = Turns::of_readers(2);
    let acme = tenant("acme");
    let turn = turns.take(&acme).await.unwrap();
    let mut waiting: Vec<_> = (0..TURN_WAITERS_MAX)
        .map(|_| Box::pin(turns.take(&acme)))
        .collect();
    for one in &mut waiting {
        assert!(one.now_or_never().is_none());
    }
    let refused = turns.take(&acme).now_or_never().expect("at once").unwrap_err();
    assert_eq!(crowded(&refused).retry_after, RETRY_MAX);
    // Whoever goes away leaves the place.
    waiting.pop();
    let mut last = Box::pin(turns.take(&acme));
    assert!((&mut last).now_or_never().is_none());
    waiting.push(last);
    for outcome in join_all(waiting).await {
        let wait = crowded(&outcome.unwrap_err()).retry_after;
        assert!((RETRY_MIN..=RETRY_MAX).contains(&wait), "{wait:?}");
    }
    drop(turn);
    assert_eq!(turns.lines(), 0);
}

#[test]
fn the_time_follows_from_the_reads_before() {
    let line = |members, mean_ms: u64| Line {
        slots: Arc::new(Semaphore::new(3)),
        members,
        mean_ns: mean_ms * 1_000_000,
    };
    let wait = |members, mean_ms| line(members, mean_ms).crowded(3).retry_after;
    assert_eq!(wait(30, 400), Duration::from_secs(4));
    assert_eq!(wait(31, 400), Duration::from_millis(4_400));
    assert_eq!(wait(3, 1), RETRY_MIN);
    assert_eq!(wait(131, 5_000), RETRY_MAX);
}
