use proptest::prelude::*;

use super::*;

#[test]
fn buckets_are_exact_below_sixteen_and_a_sixteenth_above() {
    assert_eq!((bucket(0), bucket(15), bucket(16), bucket(31)), (0, 15, 16, 31));
    assert_eq!((bucket(32), bucket(33), bucket(34)), (32, 32, 33));
    assert_eq!(usize::from(bucket((1 << 36) - 1)), BUCKETS - 1);
    assert_eq!(usize::from(bucket(u64::MAX)), BUCKETS - 1);
}

#[test]
fn quantiles_need_two_hundred_latencies() {
    let mut running = Running::new(&[(10, 199)]);
    assert_eq!(running.quantile(0.5), None);
    running.observe(&[(20, 10)]);
    assert_eq!(running.quantile(0.5), Some(10));
    assert_eq!(running.quantile(0.99), Some(20));
    assert_eq!(running.sparse(), [(10, 199), (20, 10)]);
}

#[test]
fn what_is_old_loses_its_say() {
    let mut running = Running::new(&[(10, 100_000)]);
    for _ in 0..600 {
        running.observe(&[(30, 100)]);
    }
    assert_eq!(running.quantile(0.5), Some(30));
}

#[test]
fn counts_above_a_bucket_leave_it_out() {
    assert_eq!(above(&[(3, 5), (4, 7), (9, u64::MAX)], 3), u64::MAX);
    assert_eq!(above(&[(3, 5), (4, 7)], 4), 0);
}

proptest! {
    #[test]
    fn buckets_rise_with_the_time(micros in 0..u64::MAX) {
        prop_assert!(bucket(micros) <= bucket(micros + 1));
    }
}
