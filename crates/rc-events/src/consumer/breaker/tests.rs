use super::*;

fn park_all(breaker: &mut Breaker, keys: std::ops::Range<u64>, now: Instant) -> Result<(), String> {
    keys.into_iter()
        .try_for_each(|key| breaker.park(key, true, "no", now))
}

#[tokio::test]
async fn ten_keys_of_many_may_be_parked_and_a_fifth_may_not() {
    let (mut breaker, now) = (Breaker::default(), Instant::now());
    breaker.saw(0..100, now);
    park_all(&mut breaker, 0..20, now).unwrap();
    let error = park_all(&mut breaker, 20..21, now).unwrap_err();
    assert!(error.starts_with("21 of the 100 keys"), "{error}");
    // It stays open, whatever the next one is, until an event takes effect or a person says so.
    park_all(&mut breaker, 0..1, now + WINDOW * 2).unwrap_err();
    breaker.applied();
    park_all(&mut breaker, 0..1, now + WINDOW * 2).unwrap();
}

#[tokio::test]
async fn few_keys_are_never_an_outage() {
    let (mut breaker, now) = (Breaker::default(), Instant::now());
    breaker.saw(0..9, now);
    park_all(&mut breaker, 0..9, now).unwrap();
    // The same keys again are the same keys.
    park_all(&mut breaker, 0..9, now).unwrap();
    park_all(&mut breaker, 9..10, now).unwrap_err();
    breaker.close();
    park_all(&mut breaker, 9..10, now).unwrap();
}

#[tokio::test]
async fn three_unexplained_in_a_row_are_not_the_events_fault() {
    let (mut breaker, now) = (Breaker::default(), Instant::now());
    breaker.saw(0..1_000, now);
    for key in 0..2 {
        breaker.park(key, false, "denied", now).unwrap();
    }
    breaker.applied();
    for key in 2..4 {
        breaker.park(key, false, "denied", now).unwrap();
    }
    let error = breaker.park(4, false, "denied", now).unwrap_err();
    assert!(error.contains("denied"), "{error}");
}

#[tokio::test]
async fn a_minute_ago_is_forgotten() {
    let (mut breaker, now) = (Breaker::default(), Instant::now());
    breaker.saw(0..10, now);
    park_all(&mut breaker, 0..9, now).unwrap();
    park_all(&mut breaker, 10..19, now + WINDOW).unwrap();
}
