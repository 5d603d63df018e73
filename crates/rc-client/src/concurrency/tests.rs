use super::*;

const MS: u64 = 1_000_000;

#[test]
fn quick_answers_raise_a_limit_that_is_used() {
    let mut aimd = Aimd::new(8);
    assert_eq!(aimd.limit(), 2);
    for n in 0..100 {
        aimd.answered(n * MS, Duration::from_millis(20), aimd.limit());
    }
    assert_eq!(aimd.limit(), 8);
    let mut idle = Aimd::new(8);
    for n in 0..100 {
        idle.answered(n * MS, Duration::from_millis(20), 1);
    }
    assert_eq!(idle.limit(), 2);
}

#[test]
fn a_refusal_lowers_it_once_a_round_trip_and_never_below_one() {
    let mut aimd = Aimd::new(8);
    for n in 0..100 {
        aimd.answered(n * MS, Duration::from_millis(20), 8);
    }
    aimd.refused(200 * MS);
    assert_eq!(aimd.limit(), 5);
    aimd.refused(201 * MS);
    assert_eq!(aimd.limit(), 5);
    for n in 0..50 {
        aimd.refused(1_000 * MS + n * 100 * MS);
    }
    assert_eq!(aimd.limit(), 1);
}

#[test]
fn answers_that_get_slow_lower_it() {
    let mut aimd = Aimd::new(8);
    for n in 0..100 {
        aimd.answered(n * MS, Duration::from_millis(100), 8);
    }
    aimd.answered(1_000 * MS, Duration::from_millis(900), 8);
    assert!(aimd.limit() < 8);
}

#[test]
fn a_maximum_of_one_stays_one() {
    let mut aimd = Aimd::new(0);
    aimd.answered(0, Duration::ZERO, 5);
    assert_eq!(aimd.limit(), 1);
}
