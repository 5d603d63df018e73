use super::*;
use proptest::prelude::*;
use rc_model::units::Rate;

const SECOND: u64 = 1_000_000_000;

fn rule(rate: &str, burst: u64) -> Gcra {
    Gcra::new(RateLimit::of(Rate::parse(rate).unwrap(), burst))
}

fn admitted(rule: &Gcra, state: &Tat, now_ns: u64) -> bool {
    matches!(rule.check(state, now_ns), Verdict::Admit { .. })
}

#[test]
fn a_rested_limit_admits_its_burst_and_then_one_an_interval() {
    let (rule, state) = (rule("10/s", 5), Tat::default());
    let now = 7 * SECOND;
    for left in (0..5).rev() {
        assert_eq!(
            rule.check(&state, now),
            Verdict::Admit {
                remaining: left,
                reset_ns: (5 - left) * SECOND / 10
            }
        );
    }
    assert_eq!(rule.check(&state, now), Verdict::Refuse { wait_ns: SECOND / 10 });
    // The wait is real: one nanosecond earlier is too early, then it is admitted.
    assert_eq!(
        rule.check(&state, now + SECOND / 10 - 1),
        Verdict::Refuse { wait_ns: 1 }
    );
    assert!(admitted(&rule, &state, now + SECOND / 10));
    assert!(!admitted(&rule, &state, now + SECOND / 10));
    // A rest fills the allowance, and never more than the allowance.
    let later = now + 3_600 * SECOND;
    let count = (0..100).filter(|_| admitted(&rule, &state, later)).count();
    assert_eq!(count, 5);
}

#[test]
fn a_steady_stream_at_the_rate_is_never_refused_over_an_hour() {
    let (rule, state) = (rule("50/s", 1), Tat::default());
    for step in 0..180_000_u64 {
        assert!(
            admitted(&rule, &state, SECOND + step * (SECOND / 50)),
            "step {step}"
        );
    }
}

#[test]
fn rates_by_the_minute_and_the_hour_hold() {
    for (rate, per_hour) in [("30/min", 1_800), ("1000/h", 1_000), ("7/s", 25_200)] {
        let (rule, state) = (rule(rate, 1), Tat::default());
        let step = SECOND / 100;
        let count = (0..360_000_u64)
            .filter(|at| admitted(&rule, &state, SECOND + at * step))
            .count();
        assert!(count <= per_hour + 1, "{rate}: {count}");
    }
}

#[test]
fn a_clock_that_stands_still_or_goes_back_admits_no_more() {
    let (rule, state) = (rule("10/s", 3), Tat::default());
    let stands = (0..50).filter(|_| admitted(&rule, &state, 10 * SECOND)).count();
    assert_eq!(stands, 3);
    let goes_back = (0..50)
        .filter(|at| admitted(&rule, &state, 10 * SECOND - at))
        .count();
    assert_eq!(goes_back, 0);
}

#[test]
fn a_changed_rule_keeps_what_was_used_and_bounds_the_wait() {
    let (slow, state) = (rule("1/h", 10), Tat::default());
    let now = SECOND;
    while admitted(&slow, &state, now) {}
    let fast = rule("10/s", 5);
    state.clamp(&fast, now);
    // Used up stays used up: one request every 100 ms from here on, not a fresh burst.
    let Verdict::Refuse { wait_ns } = fast.check(&state, now) else {
        panic!("the allowance came back full")
    };
    assert!(wait_ns <= SECOND / 10, "{wait_ns}");
    assert!(admitted(&fast, &state, now + wait_ns));
}

#[test]
fn workers_that_share_a_state_admit_no_more_than_one_would() {
    let (rule, state) = (rule("1/h", 1_000), Tat::default());
    let total: usize = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| (0..2_000).filter(|_| admitted(&rule, &state, SECOND)).count()))
            .collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).sum()
    });
    assert_eq!(total, 1_000);
}

#[test]
fn sources_have_their_own_allowance_and_a_subnet_shares_one() {
    let table = SourceTable::new();
    let cell = |text: &str| std::ptr::from_ref(table.cell(text.parse().unwrap()));
    assert_eq!(cell("10.0.0.1"), cell("::ffff:10.0.0.1"));
    assert_eq!(cell("2001:db8::1"), cell("2001:db8::ffff"));
    let distinct: std::collections::HashSet<_> = (0..=255).map(|n| cell(&format!("10.0.0.{n}"))).collect();
    assert!(distinct.len() > 200, "{}", distinct.len());
}

proptest! {
    /// In every window between two admitted requests: at most `rate * t + burst`.
    #[test]
    fn no_window_admits_more_than_its_share(
        count in 1_u64..5_000,
        period in prop_oneof![Just("s"), Just("min"), Just("h")],
        burst in 1_u64..50,
        gaps in proptest::collection::vec(prop_oneof![Just(0_u64), 0..1_000_000_u64, 0..SECOND, 0..60 * SECOND], 1..300),
    ) {
        let rule = rule(&format!("{count}/{period}"), burst);
        let per_ns = count as f64 / rule.limit().rate.period().as_nanos() as f64;
        let state = Tat::default();
        let mut now = SECOND;
        let mut times = Vec::new();
        for gap in gaps {
            now += gap;
            if admitted(&rule, &state, now) {
                times.push(now);
            }
        }
        for (first, start) in times.iter().enumerate() {
            for (last, end) in times.iter().enumerate().skip(first) {
                let seen = (last - first + 1) as f64;
                let allowed = (end - start) as f64 * per_ns + burst as f64;
                prop_assert!(seen <= allowed + 1e-6, "{seen} in {} ns, allowed {allowed}", end - start);
            }
        }
    }

    /// The promised wait is exact.
    #[test]
    fn a_refused_request_is_admitted_after_the_promised_wait(count in 1_u64..100_000, burst in 1_u64..20, tries in 1_usize..100) {
        let rule = rule(&format!("{count}/s"), burst);
        let state = Tat::default();
        let mut now = SECOND;
        for _ in 0..tries {
            if let Verdict::Refuse { wait_ns } = rule.check(&state, now) {
                prop_assert!(wait_ns > 0);
                if wait_ns > 1 {
                    prop_assert!(!admitted(&rule, &state, now + wait_ns - 1));
                }
                now += wait_ns;
                prop_assert!(admitted(&rule, &state, now));
            }
        }
    }
}
