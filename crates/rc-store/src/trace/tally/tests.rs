//! Quantiles of a profile against the times themselves.

use super::*;

fn ran(took_ns: u64) -> Ended {
    Ended {
        timed: Some((1, took_ns)),
        rows: 2,
        asked: true,
        error: None,
    }
}

fn sum_of(tally: &Tally) -> Sum {
    let mut sum = Sum::new();
    sum.add(tally);
    sum
}

#[test]
fn a_time_lies_in_its_bucket() {
    let edges = (0..40).flat_map(|bits| [(1_u64 << bits) - 1, 1 << bits, (1 << bits) + 1]);
    for ns in edges.chain([12_345, 999_999_937]) {
        let at = bucket(ns);
        let last = at == BUCKETS - 1;
        assert!(ns < end_of(at) || last, "{ns} is beyond its bucket {at}");
        assert!(at == 0 || ns >= end_of(at - 1), "{ns} is before its bucket {at}");
    }
    assert_eq!(bucket(u64::MAX), BUCKETS - 1);
}

#[test]
fn quantiles_are_at_most_a_sixteenth_too_high() {
    let tally = Tally::default();
    for us in 1..=1_000 {
        tally.add(&ran(us * 10_000));
    }
    let sum = sum_of(&tally);
    assert_eq!((sum.calls, sum.rows, sum.errors), (1_000, 2_000, 0));
    for (per_mille, exact_us) in [(500, 5_000), (950, 9_500), (1_000, 10_000)] {
        let exact = Duration::from_micros(exact_us);
        let found = sum.quantile(per_mille);
        assert!(
            found >= exact && found <= exact + exact / 16,
            "{per_mille}: {found:?} for {exact:?}"
        );
    }
    assert_eq!(sum.max, Duration::from_millis(10));
}

#[test]
fn a_run_that_stands_for_eight_counts_as_eight_times_and_one_call() {
    let tally = Tally::default();
    tally.add(&Ended {
        timed: Some((8, 1_000_000)),
        ..ran(0)
    });
    tally.add(&Ended {
        timed: None,
        error: Some("RC-STO-004"),
        ..ran(0)
    });
    let sum = sum_of(&tally);
    assert_eq!((sum.calls, sum.errors), (2, 1));
    assert_eq!(sum.busy, Duration::from_millis(8));
}

#[test]
fn nothing_that_ran_takes_no_time() {
    let sum = sum_of(&Tally::default());
    assert_eq!((sum.calls, sum.quantile(950)), (0, Duration::ZERO));
}
