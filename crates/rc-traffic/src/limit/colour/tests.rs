use super::*;
use proptest::prelude::*;
use rc_model::units::Rate;

const SECOND: u64 = 1_000_000_000;

fn limit(rate: &str, burst: u64, credits: u64) -> RateLimit {
    RateLimit {
        credits,
        ..RateLimit::of(Rate::parse(rate).unwrap(), burst)
    }
}

fn meter(rate: &str, burst: u64, credits: u64) -> Meter {
    Meter::new(limit(rate, burst, credits))
}

/// How many of `count` requests at one moment are green, yellow and red.
fn colours(rule: &Meter, state: &MeterState, now_ns: u64, slack: bool, count: usize) -> [usize; 3] {
    let mut seen = [0; 3];
    for _ in 0..count {
        match rule.check(state, now_ns, || slack) {
            Colour::Green { .. } => seen[0] += 1,
            Colour::Yellow { .. } => seen[1] += 1,
            Colour::Red { .. } => seen[2] += 1,
        }
    }
    seen
}

#[test]
fn the_burst_is_green_what_was_saved_is_yellow_and_the_rest_is_red() {
    let (rule, state) = (meter("10/s", 5, 20), MeterState::default());
    let now = 100 * SECOND;
    assert_eq!(colours(&rule, &state, now, true, 40), [5, 20, 15]);
    // What comes back goes to the committed bucket first: half a second is its five requests.
    assert_eq!(colours(&rule, &state, now + SECOND / 2, true, 40), [5, 0, 35]);
    // A second and a half: five for the burst, ten for the bank.
    assert_eq!(colours(&rule, &state, now + 2 * SECOND, true, 40), [5, 10, 25]);
    // And never more than both hold.
    assert_eq!(
        colours(&rule, &state, now + 3_600 * SECOND, true, 40),
        [5, 20, 15]
    );
}

#[test]
fn without_room_nothing_is_lent_and_nothing_is_charged_for_asking() {
    let (rule, state) = (meter("10/s", 5, 20), MeterState::default());
    assert_eq!(colours(&rule, &state, SECOND, false, 1_000), [5, 0, 995]);
    assert_eq!(colours(&rule, &state, SECOND, true, 30), [0, 20, 10]);
}

#[test]
fn the_committed_rate_is_always_green_however_much_is_borrowed_beside_it() {
    let (rule, state) = (meter("10/s", 1, 7), MeterState::default());
    // Yellow requests between the green ones, at every offset.
    for step in 1..2_000_u64 {
        let due = step * SECOND / 10;
        assert!(matches!(rule.check(&state, due, || true), Colour::Green { .. }));
        let between = due + (step * 7_919_993) % (SECOND / 10 - 1);
        colours(&rule, &state, between, true, 3);
    }
}

#[test]
fn a_red_or_yellow_request_is_told_when_the_next_green_one_is_due() {
    let (rule, state) = (meter("10/s", 2, 1), MeterState::default());
    let ask = |now| rule.check(&state, now, || true);
    assert_eq!(
        ask(SECOND),
        Colour::Green {
            remaining: 1,
            reset_ns: SECOND / 10
        }
    );
    ask(SECOND);
    let wait_ns = SECOND / 10;
    assert_eq!(ask(SECOND), Colour::Yellow { wait_ns });
    assert_eq!(ask(SECOND), Colour::Red { wait_ns });
    assert!(matches!(ask(SECOND + wait_ns - 1), Colour::Red { wait_ns: 1 }));
    assert!(matches!(ask(SECOND + wait_ns), Colour::Green { .. }));
}

#[test]
fn a_changed_rule_keeps_what_was_used_of_burst_and_credits() {
    let (rule, state) = (meter("10/s", 5, 20), MeterState::default());
    let now = 100 * SECOND;
    assert_eq!(colours(&rule, &state, now, true, 15), [5, 10, 0]);
    // The same rule again: as if nothing had happened.
    state.clamp(&rule, now);
    let more = meter("10/s", 5, 40);
    state.clamp(&more, now);
    assert_eq!(colours(&more, &state, now, true, 100), [0, 30, 70]);
    let less = meter("10/s", 5, 4);
    state.clamp(&less, now);
    assert_eq!(colours(&less, &state, now, true, 10), [0, 0, 10]);
    // Nobody waits for longer than the new rule's own window.
    assert_eq!(colours(&less, &state, now + SECOND / 2, true, 10), [5, 0, 5]);
    // Taken away and given back, the bank is as empty as it was, but for the time between.
    let none = meter("10/s", 5, 0);
    state.clamp(&none, now + SECOND / 2);
    state.clamp(&less, now + SECOND / 2);
    assert_eq!(colours(&less, &state, now + SECOND / 2, true, 10), [0, 0, 10]);
}

#[test]
fn a_bank_that_is_new_to_a_tenant_is_full_and_its_burst_is_what_it_was() {
    let (none, state) = (meter("10/s", 5, 0), MeterState::default());
    assert_eq!(colours(&none, &state, SECOND, true, 10), [5, 0, 5]);
    let rule = meter("10/s", 5, 3);
    state.clamp(&rule, SECOND);
    assert_eq!(colours(&rule, &state, SECOND, true, 10), [0, 3, 7]);
}

#[test]
fn a_clock_that_stands_still_or_goes_back_gives_nothing() {
    let (rule, state) = (meter("10/s", 3, 4), MeterState::default());
    assert_eq!(colours(&rule, &state, 10 * SECOND, true, 50), [3, 4, 43]);
    assert_eq!(colours(&rule, &state, 9 * SECOND, true, 50), [0, 0, 50]);
}

#[test]
fn a_state_is_forgotten_only_when_both_are_full() {
    let (rule, state) = (meter("10/s", 5, 20), MeterState::default());
    colours(&rule, &state, SECOND, true, 25);
    assert_eq!(state.full_ns(), SECOND + 5 * SECOND / 2);
    let unknown = MeterState::default();
    unknown.exhaust(SECOND + 5 * SECOND / 2);
    unknown.clamp(&rule, SECOND);
    assert_eq!(colours(&rule, &unknown, SECOND, true, 50), [0, 0, 50]);
}

#[test]
fn workers_that_share_a_state_admit_exactly_what_one_would() {
    let (rule, state) = (meter("1/h", 500, 500), MeterState::default());
    let seen: Vec<[usize; 3]> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| colours(&rule, &state, SECOND, true, 2_000)))
            .collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).collect()
    });
    let sum = |colour: usize| seen.iter().map(|seen| seen[colour]).sum::<usize>();
    assert_eq!([sum(0), sum(1), sum(2)], [500, 500, 7_000]);
}

/// RFC 2697 as it is written, in nanoseconds of allowance.
struct Buckets {
    interval_ns: u64,
    committed: u64,
    committed_max: u64,
    excess: u64,
    excess_max: u64,
    at_ns: u64,
}

impl Buckets {
    fn new(limit: RateLimit, at_ns: u64) -> Self {
        let interval_ns = Gcra::new(limit).interval_ns;
        let (committed, excess) = (interval_ns * limit.burst(), interval_ns * limit.credits);
        Self {
            interval_ns,
            committed,
            committed_max: committed,
            excess,
            excess_max: excess,
            at_ns,
        }
    }

    fn colour(&mut self, now_ns: u64, slack: bool) -> &'static str {
        let fresh = now_ns - self.at_ns;
        self.at_ns = now_ns;
        let kept = fresh.min(self.committed_max - self.committed);
        self.committed += kept;
        self.excess = self.excess_max.min(self.excess.saturating_add(fresh - kept));
        if self.committed >= self.interval_ns {
            self.committed -= self.interval_ns;
            "green"
        } else if slack && self.excess >= self.interval_ns {
            self.excess -= self.interval_ns;
            "yellow"
        } else {
            "red"
        }
    }
}

fn gaps() -> impl Strategy<Value = Vec<(u64, bool)>> {
    let gap = prop_oneof![Just(0_u64), 0..1_000_000_u64, 0..SECOND, 0..60 * SECOND];
    proptest::collection::vec((gap, proptest::bool::weighted(0.8)), 1..300)
}

proptest! {
    /// Request by request the same colour as two token buckets: so nothing that accrues is lost either.
    #[test]
    fn two_arrival_times_are_the_two_buckets(
        count in 1_u64..5_000,
        period in prop_oneof![Just("s"), Just("min"), Just("h")],
        burst in 1_u64..50,
        credits in 1_u64..100,
        gaps in gaps(),
    ) {
        let limit = limit(&format!("{count}/{period}"), burst, credits);
        let (rule, state) = (Meter::new(limit), MeterState::default());
        let mut now = SECOND;
        let mut buckets = Buckets::new(limit, now);
        for (gap, slack) in gaps {
            now += gap;
            let colour = match rule.check(&state, now, || slack) {
                Colour::Green { .. } => "green",
                Colour::Yellow { .. } => "yellow",
                Colour::Red { .. } => "red",
            };
            prop_assert_eq!(colour, buckets.colour(now, slack));
        }
    }

    /// In every window between two requests of a colour.
    #[test]
    fn no_window_has_more_than_rate_burst_and_credits(
        count in 1_u64..5_000,
        burst in 1_u64..50,
        credits in 0_u64..100,
        gaps in gaps(),
    ) {
        let rule = meter(&format!("{count}/s"), burst, credits);
        let state = MeterState::default();
        let mut now = SECOND;
        let (mut green, mut all) = (Vec::new(), Vec::new());
        for (gap, slack) in gaps {
            now += gap;
            match rule.check(&state, now, || slack) {
                Colour::Green { .. } => {
                    green.push(now);
                    all.push(now);
                }
                Colour::Yellow { .. } => all.push(now),
                Colour::Red { .. } => {}
            }
        }
        for (times, most) in [(green, burst), (all, burst + credits)] {
            for (first, start) in times.iter().enumerate() {
                for (last, end) in times.iter().enumerate().skip(first) {
                    let seen = (last - first + 1) as f64;
                    let allowed = (end - start) as f64 * count as f64 / SECOND as f64 + most as f64;
                    prop_assert!(seen <= allowed + 1e-6, "{seen} in {} ns, allowed {allowed}", end - start);
                }
            }
        }
    }
}
