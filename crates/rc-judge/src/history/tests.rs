use super::*;
use crate::sample::Errors;

fn arm(requests: u64, bad: u64) -> Arm {
    Arm {
        requests,
        errors: Errors {
            server: bad,
            ..Errors::default()
        },
        latency: Vec::new(),
    }
}

#[test]
fn without_history_the_dispersion_is_a_guess_of_five() {
    let baseline = History::default().baseline();
    assert_eq!(baseline, Baseline::unknown());
}

#[test]
fn independent_errors_have_dispersion_one() {
    let mut draw = fastrand::Rng::with_seed(1);
    let mut history = History::default();
    for _ in 0..3 * 3_600 {
        let bad = (0..100).filter(|_| draw.f64() < 0.02).count() as u64;
        history.observe(&arm(100, bad));
    }
    let baseline = history.baseline();
    assert_eq!((baseline.hours, baseline.error_dispersion_milli), (3, 1_000));
    assert!(
        (19_000..21_000).contains(&baseline.error_ppm),
        "{}",
        baseline.error_ppm
    );
}

#[test]
fn a_busy_quarter_of_an_hour_is_no_clump() {
    let mut draw = fastrand::Rng::with_seed(2);
    let mut history = History::default();
    for second in 0..3_600 {
        let requests = if second % 900 < 200 { 400 } else { 100 };
        let bad = (0..requests).filter(|_| draw.f64() < 0.02).count() as u64;
        history.observe(&arm(requests, bad));
    }
    assert_eq!(history.baseline().error_dispersion_milli, 1_000);
}

#[test]
fn clumps_of_ten_have_dispersion_ten() {
    let mut draw = fastrand::Rng::with_seed(3);
    let mut history = History::default();
    for _ in 0..3 * 3_600 {
        let bad = if draw.f64() < 0.1 { 10 } else { 0 };
        history.observe(&arm(200, bad));
    }
    let found = history.baseline().error_dispersion_milli;
    assert!((8_500..12_500).contains(&found), "{found}");
}

#[test]
fn one_bad_hour_of_a_day_has_no_say() {
    let mut history = History::default();
    for hour in 0..30 {
        for window in 0..WINDOWS_PER_HOUR {
            let outage = hour == 20 && window < 6;
            history.observe_window(2_000, if outage { 400 } else { 10 }, 0);
        }
    }
    let baseline = history.baseline();
    assert_eq!((baseline.hours, baseline.error_dispersion_milli), (24, 1_000));
}
