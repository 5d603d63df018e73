use super::*;

const SECOND: u64 = NS_PER_SECOND;

#[test]
fn waits_double_up_to_the_cap_and_are_spread_over_the_whole_range() {
    let backoff = Backoff {
        base: Duration::from_millis(100),
        cap: Duration::from_secs(1),
        attempts_max: 8,
    };
    assert_eq!(backoff.wait(1, 1.0), Duration::from_millis(100));
    assert_eq!(backoff.wait(2, 1.0), Duration::from_millis(200));
    assert_eq!(backoff.wait(4, 0.5), Duration::from_millis(400));
    assert_eq!(backoff.wait(5, 1.0), Duration::from_secs(1));
    assert_eq!(backoff.wait(1_000, 1.0), Duration::from_secs(1));
    assert_eq!(backoff.wait(3, 0.0), Duration::ZERO);
}

#[test]
fn the_server_s_wait_is_never_cut_short() {
    let backoff = Backoff::default();
    let asked = Duration::from_secs(2);
    for random in [0.0, 0.3, 0.99] {
        let wait = next_wait(&backoff, 1, Some(asked), random);
        assert!(wait >= asked && wait <= asked.mul_f64(1.25), "{wait:?}");
    }
    // A wait of nothing still leaves a gap, so that a server that says 0 is not hammered.
    assert!(next_wait(&backoff, 1, Some(Duration::ZERO), 0.9) > Duration::ZERO);
}

#[test]
fn only_what_may_pass_is_tried_again() {
    let again = |code: u16, wait| judge(StatusCode::from_u16(code).unwrap(), wait, None) == Verdict::Again;
    for code in [408, 425, 429, 502, 503, 504] {
        assert!(again(code, None), "{code}");
    }
    for code in [
        200, 202, 304, 400, 401, 403, 404, 409, 410, 413, 415, 422, 500, 501, 505,
    ] {
        assert!(!again(code, None), "{code}");
    }
    assert!(again(409, Some(Duration::from_millis(50))));
    assert!(!again(422, Some(Duration::from_millis(50))));
    // Waiting frees no storage; any other excess of one's own passes.
    let told = |code| {
        judge(
            StatusCode::TOO_MANY_REQUESTS,
            None,
            Some(&Problem::new(429, code, "too much")),
        )
    };
    assert_eq!(told("RC-ING-034"), Verdict::Final);
    assert_eq!(told("RC-ING-021"), Verdict::Again);
}

#[test]
fn the_server_s_wait_is_read_in_all_its_forms() {
    let now = Timestamp::parse("2026-11-21T10:00:00Z").unwrap();
    let wait = |value: &str, problem: Option<&Problem>| {
        let mut headers = HeaderMap::new();
        headers.insert(header::RETRY_AFTER, value.parse().unwrap());
        server_wait(&headers, problem, now)
    };
    assert_eq!(wait("3", None), Some(Duration::from_secs(3)));
    assert_eq!(
        wait("Sat, 21 Nov 2026 10:00:07 GMT", None),
        Some(Duration::from_secs(7))
    );
    assert_eq!(wait("Sat, 21 Nov 2026 09:00:00 GMT", None), Some(Duration::ZERO));
    assert_eq!(wait("soon", None), None);
    let exact = Problem::new(429, "RC-GW-001", "x").retry_after(Duration::from_millis(120));
    assert_eq!(wait("1", Some(&exact)), Some(Duration::from_millis(120)));
    assert_eq!(server_wait(&HeaderMap::new(), None, now), None);
}

#[test]
fn retries_stay_within_a_tenth_of_the_requests_and_the_minimum() {
    let mut budget = RetryBudget::new(BudgetPolicy {
        share: 0.1,
        minimum: 3,
    });
    let start = 100 * SECOND;
    let taken = |budget: &mut RetryBudget, at| (0..1_000).filter(|_| budget.take(at)).count();
    assert_eq!(taken(&mut budget, start), 3);
    for n in 0..200 {
        budget.request(start + n * SECOND / 100);
    }
    assert_eq!(
        taken(&mut budget, start + 2 * SECOND),
        20,
        "3 + 20 are covered, 3 were used"
    );
    // Ten seconds on, the window is empty again.
    assert_eq!(taken(&mut budget, start + 30 * SECOND), 3);
}
