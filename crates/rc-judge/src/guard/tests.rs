use super::*;

fn finished(stable: (u64, u64), canary: (u64, u64)) -> Finished {
    Finished {
        stable: Tally::new(stable.0, stable.1),
        canary: Tally::new(canary.0, canary.1),
    }
}

#[test]
fn twenty_failures_without_a_success_are_enough() {
    let mut guard = Guard::default();
    assert!(!guard.observe(&finished((90, 0), (19, 19)), 20));
    assert!(guard.observe(&finished((10, 0), (1, 1)), 20));
}

#[test]
fn one_success_begins_the_run_anew() {
    let mut guard = Guard::default();
    assert!(!guard.observe(&finished((90, 0), (19, 19)), 20));
    assert!(!guard.observe(&finished((10, 0), (19, 18)), 20));
    assert!(!guard.observe(&finished((10, 0), (19, 19)), 20));
    assert!(guard.observe(&finished((10, 0), (1, 1)), 20));
}

#[test]
fn nobody_is_blamed_when_stable_fails_as_well() {
    let mut guard = Guard::default();
    assert!(!guard.observe(&finished((90, 80), (40, 40)), 20));
    // Stable serves again and the canary does not.
    assert!(guard.observe(&finished((900, 0), (40, 40)), 20));
}

#[test]
fn silence_says_nothing() {
    let mut guard = Guard::default();
    for _ in 0..1_000 {
        assert!(!guard.observe(&finished((90, 0), (0, 0)), 20));
    }
}
