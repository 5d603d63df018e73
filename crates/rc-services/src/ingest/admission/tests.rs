use rc_model::Timestamp;
use rc_model::clock::ManualClock;

use super::*;

const KIB: usize = 1 << 10;

fn queue(bounds: Bounds) -> (Admission, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new(Timestamp::from_unix_ms(0)));
    (
        Admission::new(bounds, Arc::clone(&clock) as Arc<dyn Clock>),
        clock,
    )
}

fn bounds() -> Bounds {
    Bounds {
        bytes_max: 100 * KIB,
        tenant_bytes_max: 60 * KIB,
        wait_max: Duration::from_secs(2),
        ..Bounds::default()
    }
}

fn tenant(name: &str) -> TenantId {
    TenantId::new(name).unwrap()
}

fn admit(queue: &Admission, name: &str, bytes: usize) -> Result<Permit, Refusal> {
    queue.admit(&tenant(name), bytes, bytes)
}

#[test]
fn one_tenant_never_holds_the_whole_queue() {
    let (queue, _) = queue(bounds());
    let held = admit(&queue, "a", 60 * KIB).unwrap();
    let refusal = admit(&queue, "a", 1).unwrap_err();
    assert_eq!(refusal.problem().status, 429);
    let other = admit(&queue, "b", 40 * KIB).unwrap();
    drop(held);
    assert_eq!(queue.bytes(), 40 * KIB);
    drop(other);
    assert_eq!(queue.bytes(), 0);
    assert!(queue.lock().tenants.is_empty());
}

#[test]
fn a_full_queue_names_whose_excess_it_is() {
    let (queue, _) = queue(bounds());
    let _a = admit(&queue, "a", 55 * KIB).unwrap();
    let _b = admit(&queue, "b", 40 * KIB).unwrap();
    let greedy = admit(&queue, "a", 5 * KIB + 1).unwrap_err();
    assert!(matches!(greedy, Refusal::Tenant { .. }), "{greedy:?}");
    let modest = admit(&queue, "b", 10 * KIB).unwrap_err();
    assert!(matches!(modest, Refusal::Full { .. }), "{modest:?}");
    let stranger = admit(&queue, "c", 10 * KIB).unwrap_err();
    assert_eq!(stranger.problem().status, 503);
    assert_eq!(stranger.problem().retry_after_secs(), Some(1));
}

#[test]
fn retry_after_is_computed_from_the_measured_speed() {
    let (queue, clock) = queue(Bounds {
        bytes_max: 100 << 20,
        tenant_bytes_max: 60 << 20,
        wait_max: Duration::from_secs(2),
        ..Bounds::default()
    });
    // 1 MiB a second.
    for _ in 0..5 {
        let mut permit = admit(&queue, "a", 1 << 20).unwrap();
        permit.queue();
        clock.advance(Duration::from_secs(1));
        permit.done();
    }
    let mut held = admit(&queue, "a", 2 << 20).unwrap();
    let mut more = admit(&queue, "b", 2 << 20).unwrap();
    held.queue();
    more.queue();
    // 4 MiB are 4 s of work, more than the 2 s that anybody should wait; in 3 s it is 1 s.
    let refusal = admit(&queue, "c", KIB).unwrap_err();
    let Refusal::Full { retry_after } = refusal else {
        panic!("{refusal:?}");
    };
    assert_eq!(retry_after.as_millis(), 3_000);
    assert_eq!(refusal.problem().retry_after_secs(), Some(3));
}

#[test]
fn a_slow_commit_does_not_refuse_a_queue_that_fits_the_next_one() {
    let (queue, clock) = queue(Bounds::default());
    let mut stalled = admit(&queue, "a", 30).unwrap();
    stalled.queue();
    clock.advance(Duration::from_secs(5));
    stalled.done();
    let crowd: Vec<Permit> = (0..200)
        .map(|_| {
            let mut permit = admit(&queue, "a", 30).unwrap();
            permit.queue();
            permit
        })
        .collect();
    assert_eq!(queue.lock().queued, crowd.len() * REQUEST_BYTES_MIN);
    drop(crowd);
    assert_eq!(queue.lock().queued, 0);
}

#[test]
fn idle_time_does_not_slow_the_estimate() {
    let (queue, clock) = queue(bounds());
    for _ in 0..5 {
        let mut permit = admit(&queue, "a", 10 * KIB).unwrap();
        permit.queue();
        clock.advance(Duration::from_millis(100));
        permit.done();
        clock.advance(Duration::from_secs(3_600));
    }
    let wait = queue.lock().wait_for(10 * KIB);
    assert_eq!(wait.as_millis(), 100);
}

#[test]
fn work_that_was_given_up_does_not_count_as_done() {
    let (queue, clock) = queue(bounds());
    let mut permit = admit(&queue, "a", 10 * KIB).unwrap();
    permit.queue();
    clock.advance(Duration::from_secs(1));
    drop(permit);
    assert_eq!(queue.lock().done_bytes, 0.0);
    assert_eq!(queue.lock().queued, 0);
}

#[test]
fn a_slow_sender_does_not_slow_the_estimate() {
    let (queue, clock) = queue(bounds());
    let mut permit = admit(&queue, "a", 10 * KIB).unwrap();
    clock.advance(Duration::from_secs(30));
    assert_eq!(queue.lock().queued, 0);
    permit.queue();
    clock.advance(Duration::from_secs(1));
    permit.done();
    assert_eq!(queue.lock().wait_for(10 * KIB).as_millis(), 1_000);
}

#[test]
fn a_part_grows_within_the_bounds_or_stays() {
    let (queue, _) = queue(bounds());
    let mut permit = admit(&queue, "a", KIB).unwrap();
    permit.resize(50 * KIB).unwrap();
    assert_eq!(queue.bytes(), 50 * KIB);
    assert!(permit.resize(61 * KIB).is_err());
    assert_eq!(queue.bytes(), 50 * KIB);
    permit.resize(2 * KIB).unwrap();
    drop(permit);
    assert_eq!(queue.bytes(), 0);
}

#[test]
fn what_is_announced_takes_nothing_and_must_fit() {
    let (queue, _) = queue(bounds());
    let idle: Vec<Permit> = (0..12)
        .map(|_| queue.admit(&tenant("a"), KIB, 40 * KIB).unwrap())
        .collect();
    assert_eq!(queue.bytes(), 12 * KIB);
    let other = queue.admit(&tenant("b"), KIB, 50 * KIB).unwrap();
    // It would not fit when it is here: better said before it is sent.
    let refusal = queue.admit(&tenant("a"), KIB, 50 * KIB).unwrap_err();
    assert_eq!(refusal.problem().status, 429);
    drop((idle, other));
    assert!(queue.lock().tenants.is_empty());
}

#[test]
fn slow_bodies_are_counted_for_each_tenant_until_they_are_whole() {
    let (queue, _) = queue(Bounds {
        tenant_slow_max: 2,
        ..bounds()
    });
    let mut permits: Vec<Permit> = (0..3).map(|_| admit(&queue, "a", 1).unwrap()).collect();
    permits[0].slow().unwrap();
    permits[0].slow().unwrap();
    permits[1].slow().unwrap();
    assert_eq!(permits[2].slow().unwrap_err().problem().status, 429);
    admit(&queue, "b", 1).unwrap().slow().unwrap();
    permits[0].queue();
    permits[2].slow().unwrap();
    permits.remove(1);
    permits[0].slow().unwrap();
}

#[test]
fn no_refusal_names_less_than_a_second() {
    let (queue, clock) = queue(Bounds {
        wait_max: Duration::ZERO,
        ..Bounds::default()
    });
    // So fast that every estimate is a few milliseconds.
    for _ in 0..60 {
        let mut permit = admit(&queue, "a", 1 << 20).unwrap();
        permit.queue();
        clock.advance(Duration::from_millis(1));
        permit.done();
    }
    let mut held = admit(&queue, "a", 2 << 20).unwrap();
    held.queue();
    for name in ["a", "b", "c"] {
        let problem = admit(&queue, name, KIB).unwrap_err().problem();
        assert_eq!(problem.retry_after_ms, Some(1_000), "{name}");
    }
    let share = admit(&queue, "a", limits::TENANT_QUEUE_BYTES_MAX).unwrap_err();
    assert_eq!(share.problem().retry_after_ms, Some(1_000));
}

#[tokio::test(start_paused = true)]
async fn one_turn_is_always_left_for_another_tenant() {
    let (queue, _) = queue(Bounds { turns: 3, ..bounds() });
    let (a, b) = (admit(&queue, "a", 1).unwrap(), admit(&queue, "b", 1).unwrap());
    let first = a.turn().await.unwrap();
    let _second = a.turn().await.unwrap();
    assert!(matches!(a.turn().await, Err(Refusal::Tenant { .. })));
    let _other = b.turn().await.unwrap();
    assert!(matches!(b.turn().await, Err(Refusal::Full { .. })));
    drop(first);
    b.turn().await.unwrap();
}
