//! The guards of the limit, one by one, on a service that is a formula.

use super::super::adaptive::{Adaptive, Bounds, Outcome, Sample};

const MS: u64 = 1_000_000;
const BOUNDS: Bounds = Bounds {
    floor: 4,
    ceiling: 200,
    initial: 40,
};

/// Gives `limit` one answer a millisecond for `ms`; `answer` makes time to the first byte and seats in use from the
/// limit of the moment.
fn feed(limit: &mut Adaptive, now_ns: &mut u64, ms: u64, answer: impl Fn(u32) -> (u64, u32)) {
    for _ in 0..ms {
        *now_ns += MS;
        let (head_ns, in_use) = answer(limit.limit());
        let sample = Sample {
            epoch: limit.epoch(),
            head_ns,
            outcome: Outcome::Answered,
            in_use,
        };
        limit.sample(sample, *now_ns);
    }
}

/// A full service with `slots` places of `takes_ms`.
fn full(slots: u32, takes_ms: u64) -> impl Fn(u32) -> (u64, u32) {
    move |limit| {
        let queue = f64::from(limit.max(slots)) / f64::from(slots);
        ((takes_ms as f64 * queue * MS as f64) as u64, limit)
    }
}

#[test]
fn seats_that_nobody_needs_are_no_reason_for_more() {
    let mut limit = Adaptive::new(BOUNDS);
    feed(&mut limit, &mut 0, 60_000, |_| (5 * MS, 10));
    assert_eq!((limit.limit(), limit.epoch()), (40, 0));
}

#[test]
fn samples_from_before_a_change_do_not_count() {
    let mut limit = Adaptive::new(BOUNDS);
    let mut now_ns = 0;
    feed(&mut limit, &mut now_ns, 1_000, full(20, 20));
    let (found, epoch) = (limit.limit(), limit.epoch());
    for _ in 0..10_000 {
        now_ns += MS;
        let stale = Sample {
            epoch: epoch.wrapping_sub(1),
            head_ns: 5_000 * MS,
            outcome: Outcome::Overloaded,
            in_use: found,
        };
        assert!(!limit.sample(stale, now_ns));
    }
    assert_eq!(limit.limit(), found);
}

#[test]
fn a_service_that_says_that_it_has_too_much_gets_a_tenth_less_once_for_each_change() {
    let mut limit = Adaptive::new(BOUNDS);
    let overloaded = |epoch, in_use| Sample {
        epoch,
        head_ns: MS,
        outcome: Outcome::Overloaded,
        in_use,
    };
    let epoch = limit.epoch();
    assert!(
        !limit.sample(overloaded(epoch, 5), MS),
        "it is not the number of requests"
    );
    for _ in 0..10 {
        limit.sample(overloaded(epoch, 40), MS);
    }
    assert_eq!(limit.limit(), 36);
}

#[test]
fn a_least_time_that_was_never_true_is_found_out() {
    // Never anything but overload: the first time that is seen holds a queue of four fifths.
    let mut limit = Adaptive::new(Bounds {
        initial: 100,
        ..BOUNDS
    });
    feed(&mut limit, &mut 0, 60_000, full(20, 20));
    assert!((20..=35).contains(&limit.limit()), "{}", limit.limit());
    let least_us = limit.inputs().least_us;
    assert!((20_000.0..22_000.0).contains(&least_us), "{least_us}");
}

#[test]
fn a_service_that_becomes_slower_keeps_its_seats_and_its_least_time_is_learnt_anew() {
    let mut limit = Adaptive::new(BOUNDS);
    let mut now_ns = 0;
    feed(&mut limit, &mut now_ns, 20_000, full(32, 20));
    let before = limit.limit();
    feed(&mut limit, &mut now_ns, 20_000, full(32, 200));
    assert!(limit.limit() + 12 >= before, "{before} to {}", limit.limit());
    assert!(limit.inputs().least_us >= 190_000.0, "{:?}", limit.inputs());
}

#[test]
fn a_queue_of_moments_is_left_alone() {
    // One request at a time, in 50 us: 40 of them wait 2 ms, and nobody feels it.
    let mut limit = Adaptive::new(BOUNDS);
    feed(&mut limit, &mut 0, 5_000, |limit| {
        (u64::from(limit) * 50_000, limit)
    });
    assert!(limit.limit() >= 32, "{}", limit.limit());
}

#[test]
fn a_clock_that_stands_still_or_jumps_breaks_nothing() {
    let mut limit = Adaptive::new(BOUNDS);
    for now_ns in [0, 0, u64::MAX, 5, u64::MAX / 2, 0, 1] {
        for _ in 0..300 {
            let sample = Sample {
                epoch: limit.epoch(),
                head_ns: u64::MAX,
                outcome: Outcome::Answered,
                in_use: 40,
            };
            limit.sample(sample, now_ns);
            assert!((4..=200).contains(&limit.limit()));
        }
    }
}

#[test]
fn changed_bounds_hold_at_once() {
    let mut limit = Adaptive::new(BOUNDS);
    assert!(
        !limit.rebound(BOUNDS) && limit.epoch() == 0,
        "a reload disturbs nothing"
    );
    limit.rebound(Bounds {
        ceiling: 10,
        ..BOUNDS
    });
    assert_eq!(limit.limit(), 10);
    limit.rebound(Bounds { floor: 50, ..BOUNDS });
    assert_eq!(limit.limit(), 50);
}
