use super::*;
use proptest::prelude::*;
use rc_model::units::{Percent, Rate};

const SECOND_NS: u64 = 1 << 30;

fn rule(percent: u8, min: u64) -> Rule {
    Rule::from(Retry {
        budget: Percent::new(percent),
        min: Rate::per_second(min),
        max: 2,
    })
}

#[test]
fn a_fifth_of_the_requests_is_tried_again_and_the_least_rate_is_not_on_top() {
    let (budgets, rule) = (Budgets::new(1), rule(20, 1));
    let (mut requests, mut tries) = (0, 0);
    for at in 0..20_000_u64 {
        let now_ns = at * 5_000_000;
        budgets.earn(7, &rule, now_ns);
        requests += 1;
        tries += i32::from(budgets.spend(7, &rule, now_ns));
    }
    assert!(tries * 5 <= requests + 5, "{tries} of {requests}");
    assert!(tries * 6 >= requests, "{tries} of {requests}");
    // Another tenant has books of its own.
    assert!(budgets.spend(8, &rule, 0));
}

#[test]
fn who_asks_seldom_has_the_least_rate() {
    let (budgets, rule) = (Budgets::new(2), rule(20, 1));
    let mut tries = 0;
    for second in 0..60_u64 {
        budgets.earn(0, &rule, second * SECOND_NS);
        tries += i32::from(budgets.spend(0, &rule, second * SECOND_NS));
    }
    // Half of it in each of two workers.
    assert!((20..=35).contains(&tries), "{tries}");
}

#[test]
fn what_was_earned_is_forgotten_and_debts_are_bounded() {
    let (budgets, rule) = (Budgets::new(1), rule(20, 1));
    for _ in 0..10_000 {
        budgets.earn(0, &rule, 0);
    }
    let later = 90 * SECOND_NS;
    let tries = (0..1_000).take_while(|_| budgets.spend(0, &rule, later)).count();
    assert!(tries <= 2, "{tries}");
    for _ in 0..1_000 {
        budgets.owe(0, &rule, later);
    }
    assert!(!budgets.spend(0, &rule, later));
    assert!(budgets.spend(0, &rule, later + 20 * SECOND_NS));
}

#[test]
fn no_budget_is_no_try() {
    assert!(!Rule::from(Retry::OFF).is_on());
    assert!(!rule(0, 100).is_on());
}

proptest! {
    /// Over any course of events tries never pass their part of the requests by more than the least rate.
    #[test]
    fn tries_are_a_part_of_requests(steps in proptest::collection::vec((0_u64..3_000, 0_u32..50, 0_u32..50), 1..200)) {
        let (budgets, rule) = (Budgets::new(1), rule(20, 1));
        let (mut now_ms, mut requests, mut tries) = (0, 0_i64, 0_i64);
        for (wait_ms, asks, wants) in steps {
            now_ms += wait_ms;
            for _ in 0..asks {
                budgets.earn(3, &rule, now_ms * 1_000_000);
                requests += 1;
            }
            for _ in 0..wants {
                tries += i64::from(budgets.spend(3, &rule, now_ms * 1_000_000));
            }
        }
        let seconds = i64::try_from(now_ms / 1_000).unwrap();
        prop_assert!(tries * 5 <= requests + 5 * (seconds + 2), "{} of {}", tries, requests);
    }
}

#[test]
fn waits_are_spread_and_bounded() {
    for further in 1..=8 {
        for random in [0, 1, u64::MAX / 3, u64::MAX] {
            assert!(backoff(further, random) <= BACKOFF_MAX);
        }
    }
    assert!(backoff(1, u64::MAX) <= BACKOFF);
}

#[test]
fn a_body_is_kept_up_to_its_bound() {
    let mut kept = Kept::new(Framing::Unknown, true);
    kept.push(&[1; KEPT_BYTES_MAX]);
    assert!(kept.is_on());
    kept.push(b"x");
    assert!(!kept.is_on() && kept.bytes.is_empty());
}

#[test]
fn an_answer_says_when_to_come_back_unless_that_is_at_once() {
    for (fields, says) in [
        ("a: b\r\nRetry-After: 3\r\n", true),
        ("retry-after: Sun, 06 Nov 1994 08:49:37 GMT\r\n", true),
        ("a: b\r\nRetry-After: 0\r\n", false),
        ("a: b\r\nx-retry-after: 3\r\n", false),
        ("", false),
    ] {
        assert_eq!(says_when(fields.as_bytes()), says, "{fields}");
    }
}
