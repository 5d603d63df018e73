use proptest::prelude::*;
use rc_model::TenantId;

use super::*;
use crate::latency::bucket;
use crate::sample::{Arm, OfTenant, Tally};

const STABLE: u64 = 180;
const CANARY: u64 = 20;

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

fn second(at: u64, stable: Arm, canary: Arm) -> Second {
    Second {
        at,
        weight_ppm: 100_000,
        stable,
        canary,
        ..Second::default()
    }
}

fn known() -> Baseline {
    Baseline {
        hours: 24,
        error_dispersion_milli: 1_000,
        slow_dispersion_milli: 1_000,
        error_ppm: 5_000,
        latency: Vec::new(),
    }
}

fn judge() -> Judge {
    Judge::new(&Rules::default(), &known()).unwrap()
}

/// Seconds in which stable fails one of 180 and the canary so many of 20.
fn watch(judge: &mut Judge, from: u64, seconds: u64, canary_bad: u64) {
    for at in from..from + seconds {
        judge
            .observe(&second(at, arm(STABLE, 1), arm(CANARY, canary_bad)))
            .unwrap();
    }
}

#[test]
fn a_judge_that_saw_nothing_waits_for_traffic() {
    let verdict = judge().verdict();
    assert_eq!(
        (verdict.decision, verdict.reason),
        (Decision::Wait, Reason::NoTraffic)
    );
    assert_eq!(verdict.sentence(), "wait: no traffic");
}

#[test]
fn a_canary_that_is_much_worse_fails_within_seconds() {
    let mut judge = judge();
    watch(&mut judge, 0, 10, 2);
    let verdict = judge.verdict();
    assert_eq!(
        (verdict.decision, verdict.reason, verdict.worst.as_str()),
        (Decision::Fail, Reason::WorseThanStable, "errors")
    );
    assert!(
        verdict
            .sentence()
            .starts_with("fail: the canary is worse than stable, by its errors (e-value ")
    );
}

#[test]
fn a_canary_that_failed_stays_so() {
    let mut judge = judge();
    watch(&mut judge, 0, 10, 2);
    watch(&mut judge, 10, 2_000, 0);
    assert_eq!(judge.decide().0, Decision::Fail);
}

#[test]
fn a_healthy_canary_waits_first_and_passes_with_evidence() {
    let mut judge = judge();
    watch(&mut judge, 0, 10, 0);
    let verdict = judge.verdict();
    assert_eq!(
        (verdict.decision, verdict.reason),
        (Decision::Wait, Reason::NotEnoughData)
    );
    let sentence = verdict.sentence();
    assert!(
        sentence.contains(" more requests of the canary, about "),
        "{sentence}"
    );
    watch(&mut judge, 10, 40, 0);
    assert_eq!(judge.decide(), (Decision::Wait, Reason::TooEarly));
    watch(&mut judge, 50, 400, 0);
    let verdict = judge.verdict();
    assert_eq!(
        (verdict.decision, verdict.reason),
        (Decision::Pass, Reason::WithinLimits)
    );
    assert!(
        verdict.signals[0].upper_bound < 0.005,
        "{}",
        verdict.signals[0].upper_bound
    );
}

#[test]
fn what_is_needed_is_about_what_it_takes() {
    let mut judge = judge();
    // Each arm fails one request of 200.
    let equal = |judge: &mut Judge, at: u64| {
        let turn = at.is_multiple_of(10);
        let second = second(at, arm(STABLE, u64::from(!turn)), arm(CANARY, u64::from(turn)));
        judge.observe(&second).unwrap();
    };
    (0..100).for_each(|at| equal(&mut judge, at));
    let needed = judge.verdict().needed.unwrap().requests.unwrap();
    let mut at = 100;
    while judge.decide().0 == Decision::Wait {
        equal(&mut judge, at);
        at += 1;
        assert!(at < 5_000, "it never passes");
    }
    let taken = (at - 100) * CANARY;
    assert!(taken / 2 < needed && needed < taken * 3, "{needed} for {taken}");
}

#[test]
fn worse_but_within_its_budget_is_a_persons_decision() {
    let rules = Rules {
        error_budget: 0.2,
        ..Rules::default()
    };
    let mut judge = Judge::new(&rules, &known()).unwrap();
    watch(&mut judge, 0, 30, 2);
    assert_eq!(judge.decide(), (Decision::Hold, Reason::WorseWithinBudget));
    let alone = Rules {
        dual_signal: false,
        ..rules
    };
    let mut judge = Judge::new(&alone, &known()).unwrap();
    watch(&mut judge, 0, 30, 2);
    assert_eq!(judge.decide(), (Decision::Fail, Reason::WorseThanStable));
}

#[test]
fn a_shared_outage_holds_and_blames_nobody() {
    let mut judge = judge();
    watch(&mut judge, 0, 60, 0);
    for at in 60..120 {
        judge
            .observe(&second(at, arm(STABLE, 90), arm(CANARY, 10)))
            .unwrap();
    }
    assert_eq!(judge.decide(), (Decision::Hold, Reason::SharedOutage));
    // The canary does worse than the outage explains: that is evidence, whatever else is down.
    for at in 120..180 {
        judge
            .observe(&second(at, arm(STABLE, 36), arm(CANARY, 20)))
            .unwrap();
    }
    assert_eq!(judge.decide().0, Decision::Fail);
}

#[test]
fn a_canary_without_requests_is_dark() {
    let mut judge = judge();
    for at in 0..40 {
        judge.observe(&second(at, arm(STABLE, 0), arm(0, 0))).unwrap();
    }
    assert_eq!(judge.decide(), (Decision::Hold, Reason::CanaryDark));
}

#[test]
fn stable_without_requests_leaves_nothing_to_compare_with() {
    let mut judge = judge();
    for at in 0..40 {
        judge.observe(&second(at, arm(0, 0), arm(CANARY, 0))).unwrap();
    }
    assert_eq!(judge.decide(), (Decision::Hold, Reason::StableDark));
}

#[test]
fn a_split_that_is_not_the_weight_holds_after_a_minute() {
    let mut judge = judge();
    for at in 0..59 {
        judge.observe(&second(at, arm(100, 0), arm(100, 0))).unwrap();
    }
    assert_eq!(judge.decide().0, Decision::Wait);
    judge.observe(&second(59, arm(100, 0), arm(100, 0))).unwrap();
    assert_eq!(judge.decide(), (Decision::Hold, Reason::SplitMismatch));
}

#[test]
fn a_canary_that_fails_every_request_is_out_before_its_second_is_closed() {
    let mut judge = judge();
    let quarter = Finished {
        stable: Tally::new(45, 0),
        canary: Tally::new(5, 5),
    };
    for _ in 0..4 {
        assert_eq!(judge.failed(), None);
        judge.observe_finished(&quarter).unwrap();
    }
    assert_eq!(judge.decide(), (Decision::Fail, Reason::EveryRequestFails));
}

#[test]
fn what_breaks_at_a_later_weight_is_found_as_soon() {
    let mut judge = judge();
    watch(&mut judge, 0, 1_200, 0);
    for at in 1_200..1_215 {
        let stable = arm(80, u64::from(at % 2 == 0));
        let second = Second {
            weight_ppm: 600_000,
            ..second(at, stable, arm(120, 4))
        };
        judge.observe(&second).unwrap();
    }
    assert_eq!(judge.decide().0, Decision::Fail);
}

fn timed(requests: u64, slow: u64) -> Arm {
    Arm {
        latency: vec![(bucket(50_000), requests - slow), (bucket(200_000), slow)],
        ..arm(requests, 0)
    }
}

#[test]
fn slow_requests_are_evidence_once_the_canary_is_warm() {
    let mut judge = judge();
    for at in 0..60 {
        judge
            .observe(&second(at, timed(STABLE, 6), timed(CANARY, 10)))
            .unwrap();
    }
    assert_eq!(judge.decide().0, Decision::Wait, "cold: its latency has no say");
    for at in 60..90 {
        judge
            .observe(&second(at, timed(STABLE, 6), timed(CANARY, 10)))
            .unwrap();
    }
    let verdict = judge.verdict();
    assert_eq!(
        (verdict.decision, verdict.worst.as_str()),
        (Decision::Fail, "latency p95")
    );
}

#[test]
fn one_tenants_errors_are_found_by_themselves() {
    let mut judge = judge();
    for at in 0..300 {
        let of = |name: &str, stable, canary| OfTenant {
            tenant: TenantId::new(name).unwrap(),
            stable,
            canary,
        };
        let small = of("acme", arm(9, 0), arm(1, u64::from(at % 3 == 0)));
        let large = of("globex", arm(1_791, 9), arm(199, 1));
        let mut second = second(at, arm(1_800, 9), arm(200, 1 + u64::from(at % 3 == 0)));
        second.tenants = vec![large, small];
        judge.observe(&second).unwrap();
        if judge.failed().is_some() {
            break;
        }
    }
    let verdict = judge.verdict();
    assert_eq!(
        (verdict.decision, verdict.worst.as_str()),
        (Decision::Fail, "errors of acme")
    );
}

#[test]
fn sticky_splits_need_more_than_twice_the_errors() {
    let sticky = Rules {
        sticky: true,
        ..Rules::default()
    };
    let mut judge = Judge::new(&sticky, &known()).unwrap();
    for at in 0..1_800 {
        judge
            .observe(&second(at, arm(STABLE, 9), arm(CANARY, 1 + at % 2)))
            .unwrap();
    }
    assert_ne!(judge.decide().0, Decision::Fail, "1.5 times the errors");
    for at in 1_800..2_400 {
        judge
            .observe(&second(at, arm(STABLE, 9), arm(CANARY, 6)))
            .unwrap();
    }
    assert_eq!(judge.decide().0, Decision::Fail);
}

#[test]
fn seconds_must_rise() {
    let mut judge = judge();
    watch(&mut judge, 5, 1, 0);
    let again = judge.observe(&second(5, arm(1, 0), arm(1, 0))).unwrap_err();
    assert_eq!(again, SampleError::OutOfOrder { at: 5, last: 5 });
}

#[test]
fn refused_counts_leave_no_trace() {
    let mut judge = judge();
    watch(&mut judge, 0, 10, 0);
    let before = judge.verdict();
    judge.observe(&second(10, arm(1, 2), arm(1, 0))).unwrap_err();
    assert_eq!(judge.verdict(), before);
}

prop_compose! {
    fn any_arm()(requests: u64, part in 0.0..=1.0_f64, place in 0..528_u16) -> Arm {
        let bad = ((requests as f64 * part) as u64).min(requests);
        Arm { latency: vec![(place, bad)], ..arm(requests, bad) }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_count_makes_a_verdict_that_is_not_json(
        seconds in prop::collection::vec((any_arm(), any_arm(), 0..=1_000_000_u32, any_arm()), 1..80),
    ) {
        let mut judge = judge();
        for (at, (stable, canary, weight_ppm, of_tenant)) in seconds.into_iter().enumerate() {
            let tenants = vec![OfTenant {
                tenant: TenantId::new("acme").unwrap(),
                stable: of_tenant,
                canary: canary.clone(),
            }];
            let second = Second { at: at as u64, weight_ppm, share_ppm: None, stable, canary, tenants };
            judge.observe(&second).unwrap();
        }
        let text = serde_json::to_string(&judge.verdict()).unwrap();
        // What is not a number would have become `null`.
        prop_assert!(!text.contains("null"), "{}", text);
        serde_json::from_str::<Verdict>(&text).unwrap();
    }

    #[test]
    fn the_order_inside_a_second_does_not_matter(turn in 0..6_usize) {
        let tenants: Vec<OfTenant> = (0..6)
            .map(|place| OfTenant {
                tenant: TenantId::new(&format!("tenant-{place}")).unwrap(),
                stable: timed(30, place),
                canary: timed(4, place.min(4)),
            })
            .collect();
        let rules = Rules { tenants_max: 4, ..Rules::default() };
        let run = |turn: usize| {
            let mut judge = Judge::new(&rules, &known()).unwrap();
            for at in 0..90 {
                let mut one = second(at, timed(STABLE, 6), timed(CANARY, 1));
                one.tenants = tenants.clone();
                one.tenants.rotate_left(turn);
                one.stable.latency.rotate_left(turn % 2);
                judge.observe(&one).unwrap();
            }
            serde_json::to_string(&judge.verdict()).unwrap()
        };
        prop_assert_eq!(run(turn), run(0));
    }
}
