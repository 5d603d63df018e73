use proptest::prelude::*;

use super::*;

/// Share, bad events of the canary, bad events of stable.
const ROWS: [(f64, u64, u64); 4] = [(0.1, 2, 9), (0.3, 1, 0), (0.6, 5, 2), (0.25, 0, 4)];

fn close(found: f64, expected: f64) {
    assert!((found - expected).abs() < 1e-9, "{found} is not {expected}");
}

/// The values are likelihood ratios of binomial draws, computed in 50 decimal digits by another program.
#[test]
fn split_tests_agree_with_a_reference_of_fifty_digits() {
    for (null, dispersion, worse, better) in [
        (1.0, 1.0, -0.700_219_039_416, -1.364_544_060_655),
        (1.0, 2.5, -0.596_480_222_294, -0.711_097_864_032),
        (1.2, 1.0, -1.157_318_162_385, -1.100_261_357_572),
        (1.2, 2.5, -0.820_777_097_189, -0.581_387_977_667),
        (2.0, 1.0, -2.327_053_505_106, -0.181_828_268_787),
        (2.0, 2.5, -1.412_081_176_938, -0.156_620_104_598),
    ] {
        for (mut test, expected) in [
            (SplitTest::worse(null), worse),
            (SplitTest::no_worse(null), better),
        ] {
            for (share, canary, stable) in ROWS {
                test.observe(share, canary, stable);
            }
            close(test.log_e(dispersion), expected);
        }
    }
}

#[test]
fn level_tests_agree_with_a_reference_of_fifty_digits() {
    for (requests, bad, level, dispersion, expected) in [
        (176, 0, 0.02, 1.0, 3.142_872_711_107),
        (1_000, 3, 0.01, 2.0, 0.766_055_566_009),
        (50, 40, 0.5, 1.0, -10.097_456_425_029),
        (3_556, 0, 0.001, 1.0, 3.143_200_381_776),
    ] {
        let test = LevelTest {
            requests,
            bad,
            dispersion,
        };
        close(test.log_e(level), expected);
    }
}

#[test]
fn weights_are_those_of_a_mean() {
    for grid in [&WORSE, &BETTER, &BELOW] {
        close(grid.iter().map(|(_, weight)| weight).sum(), 1.0);
    }
    assert!(WORSE.iter().all(|(factor, _)| *factor > 1.0));
    assert!(BETTER.iter().chain(&BELOW).all(|(factor, _)| *factor < 1.0));
}

#[test]
fn some_hundred_requests_without_an_error_prove_two_percent() {
    let log_e = |requests| {
        let test = LevelTest {
            requests,
            bad: 0,
            dispersion: 1.0,
        };
        test.log_e(0.02)
    };
    let proved = 20.0_f64.ln();
    assert!(log_e(168) < proved && log_e(169) >= proved);
    let none = LevelTest {
        requests: 0,
        bad: 0,
        dispersion: 1.0,
    };
    // One alternative alone needs a little more than their mean.
    let needed = none.requests_until(proved, 0.02, 0.0).unwrap();
    assert!((169.0..250.0).contains(&needed), "{needed}");
    assert_eq!(none.requests_until(proved, 0.02, 0.03), None);
}

#[test]
fn upper_bound_lies_above_the_rate_and_shrinks() {
    let bound = |requests, bad| {
        let test = LevelTest {
            requests,
            bad,
            dispersion: 1.0,
        };
        test.upper_bound(0.05)
    };
    assert!(bound(0, 0) > 0.999);
    let (few, many) = (bound(200, 2), bound(20_000, 200));
    assert!(0.01 < many && many < 0.014, "{many}");
    assert!(many < few && few < 0.1, "{few}");
    assert!(bound(u64::MAX, 0) < 1e-6);
    assert!(bound(10, 10) > 0.99);
}

#[test]
fn one_arm_alone_is_no_evidence() {
    for share in [0.0, 1.0] {
        let mut test = SplitTest::worse(1.0);
        let (canary, stable) = if share == 1.0 { (1_000, 0) } else { (0, 1_000) };
        test.observe(share, canary, stable);
        close(test.log_e(1.0), 0.0);
        assert_eq!(test.requests_until(3.0, 1.0, share, 0.01), None);
    }
}

/// Ville's inequality in numbers: stopped at any time by any rule, the mean of an e-value under its claim is at most 1.
#[test]
fn mean_e_value_at_random_stopping_times_is_at_most_one() {
    const RUNS: u32 = 20_000;
    let mut draw = fastrand::Rng::with_seed(29);
    for (null, ratio) in [(1.0, 1.0), (1.0, 0.6), (1.5, 1.5)] {
        let (mut sum, mut squares) = (0.0, 0.0);
        for _ in 0..RUNS {
            let mut test = SplitTest::worse(null);
            let most = draw.u32(1..60);
            for second in 0..most {
                // Shares, rates and sizes change; both arms' rates together.
                let share = [0.1, 0.3, 0.6][(second / 20) as usize];
                let (canary, stable) = ((20.0 * share) as u64, (20.0 * (1.0 - share)) as u64);
                let rate = if second % 7 == 0 { 0.3 } else { 0.02 };
                let mut bad =
                    |requests: u64, rate: f64| (0..requests).filter(|_| draw.f64() < rate).count() as u64;
                let (of_canary, of_stable) = (bad(canary, rate * ratio), bad(stable, rate));
                let exact = canary as f64 / (canary + stable) as f64;
                test.observe(exact, of_canary, of_stable);
                // Stops where it looks best, too.
                if test.log_e(1.0) > 1.5 {
                    break;
                }
            }
            let e = test.log_e(1.0).exp();
            sum += e;
            squares += e * e;
        }
        let mean = sum / f64::from(RUNS);
        let sigma = ((squares / f64::from(RUNS) - mean * mean) / f64::from(RUNS)).sqrt();
        assert!(
            mean <= 1.0 + 3.0 * sigma,
            "null {null}, ratio {ratio}: {mean} ± {sigma}"
        );
        assert!(mean > 0.05, "a test that never moves: {mean}");
    }
}

#[test]
fn mean_e_value_against_a_level_is_at_most_one() {
    const RUNS: u32 = 20_000;
    let mut draw = fastrand::Rng::with_seed(30);
    let (mut sum, mut squares) = (0.0, 0.0);
    for _ in 0..RUNS {
        let mut test = LevelTest {
            requests: 0,
            bad: 0,
            dispersion: 1.0,
        };
        for _ in 0..draw.u32(1..400) {
            test.requests += 1;
            test.bad += u64::from(draw.f64() < 0.02);
            if test.log_e(0.02) > 1.5 {
                break;
            }
        }
        let e = test.log_e(0.02).exp();
        sum += e;
        squares += e * e;
    }
    let mean = sum / f64::from(RUNS);
    let sigma = ((squares / f64::from(RUNS) - mean * mean) / f64::from(RUNS)).sqrt();
    assert!(mean <= 1.0 + 3.0 * sigma, "{mean} ± {sigma}");
}

#[test]
fn clumps_divided_by_their_size_are_one_event_each() {
    let (mut single, mut clumped) = (SplitTest::worse(1.0), SplitTest::worse(1.0));
    for (share, canary, stable) in ROWS {
        single.observe(share, canary, stable);
        clumped.observe(share, canary * 10, stable * 10);
    }
    close(clumped.log_e(10.0), single.log_e(1.0));
}

proptest! {
    #[test]
    fn no_count_makes_evidence_other_than_a_number(
        rows in prop::collection::vec((0.0..=1.0_f64, any::<u64>(), any::<u64>()), 0..6),
        dispersion in 1.0..1e6_f64,
    ) {
        for mut test in [SplitTest::worse(1.0), SplitTest::no_worse(2.0)] {
            for (share, canary, stable) in &rows {
                test.observe(*share, *canary, *stable);
                prop_assert!(!test.log_e(dispersion).is_nan());
            }
            prop_assert!(test.requests_until(4.6, dispersion, 0.1, 0.01).is_none_or(|needed| needed >= 0.0));
        }
    }

    #[test]
    fn no_count_makes_a_level_other_than_a_number(requests: u64, part in 0.0..=1.0_f64, level in 1e-9..0.999_999_f64) {
        let bad = (requests as f64 * part) as u64;
        let test = LevelTest { requests, bad: bad.min(requests), dispersion: 1.0 };
        prop_assert!(!test.log_e(level).is_nan());
        let bound = test.upper_bound(0.05);
        prop_assert!((0.0..=1.0).contains(&bound), "{}", bound);
    }
}
