use super::*;
use rc_model::units::Span;

const SECOND_NS: u64 = 1_000_000_000;
const RULE: AdaptiveTimeout = AdaptiveTimeout {
    factor: 2.0,
    min: Span::from_millis(10),
};

/// Records `count` times of `draw` in each of `seconds` seconds from `from` on.
fn run(latency: &Latency, from: u64, seconds: u64, count: u64, mut draw: impl FnMut() -> u64) {
    for second in from..from + seconds {
        for _ in 0..count {
            latency.record(0, draw());
        }
        latency.absorb(0, second * SECOND_NS);
    }
}

fn assert_near(found: Option<Duration>, want_ms: f64) {
    let found_ms = found.unwrap().as_secs_f64() * 1e3;
    assert!(
        (want_ms * 0.9..=want_ms * 1.25).contains(&found_ms),
        "{found_ms} for {want_ms}"
    );
}

#[test]
fn bounds_are_of_the_buckets_that_hold_them() {
    for at in 0..BUCKETS - 1 {
        assert_eq!(bucket(bound_ns(at)), at + 1);
        assert_eq!(bucket(bound_ns(at) - 1), at);
    }
    assert_eq!(bucket(u64::MAX), BUCKETS - 1);
}

#[test]
fn known_distributions_have_their_quantiles() {
    let mut random = fastrand::Rng::with_seed(7);
    let even = Latency::new(1);
    run(&even, 1, 30, 2_000, || random.u64(0..100_000_000));
    assert_near(even.p999(), 99.9);
    assert_near(even.p95(), 95.0);
    let mut random = fastrand::Rng::with_seed(8);
    let exponential = Latency::new(1);
    run(&exponential, 1, 30, 2_000, || {
        (-(1.0 - random.f64()).ln() * 5e6) as u64
    });
    assert_near(exponential.p999(), 5.0 * 1_000_f64.ln());
    assert_near(exponential.p95(), 5.0 * 20_f64.ln());
}

#[test]
fn it_says_nothing_until_it_knows_enough() {
    let latency = Latency::new(2);
    run(&latency, 1, 1, 99, || 1_000_000);
    assert_eq!((latency.p95(), latency.limit(&RULE)), (None, None));
    run(&latency, 2, 1, 500, || 1_000_000);
    assert!(latency.p95().is_some() && latency.limit(&RULE).is_none());
    // What another worker counted is known when it brings it.
    for _ in 0..600 {
        latency.record(1, 1_000_000);
    }
    latency.absorb(1, 3 * SECOND_NS);
    assert_eq!(latency.limit(&RULE), Some(Duration::from_millis(10)), "the least");
    // Nobody asks for a long time: it forgets.
    latency.absorb(0, 2_000 * SECOND_NS);
    assert_eq!(latency.limit(&RULE), None);
}

#[test]
fn a_service_that_becomes_slower_is_given_more_time() {
    let latency = Latency::new(1);
    run(&latency, 1, 120, 500, || 20_000_000);
    assert_near(latency.limit(&RULE), 40.0);
    // It takes ten times as long, and what is cut counts as what it was cut at.
    let mut second = 121;
    let slow_ns = 200_000_000;
    while latency
        .limit(&RULE)
        .is_some_and(|limit| limit < Duration::from_nanos(slow_ns))
    {
        let cut_ns = u64::try_from(latency.limit(&RULE).unwrap().as_nanos()).unwrap();
        run(&latency, second, 1, 500, || slow_ns.min(cut_ns));
        second += 1;
        assert!(second < 140, "it never gets enough: {:?}", latency.limit(&RULE));
    }
}
