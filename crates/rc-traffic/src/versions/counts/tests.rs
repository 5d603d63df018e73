use super::*;

const S: u64 = NS_PER_S;
/// Unix time of the monotonic clock's zero.
const BASE: u64 = 1_000_000;

fn counts(workers: usize) -> (Counts, LineIndex) {
    let counts = Counts::at(workers, BASE * S);
    let line = counts.line(line("stable"));
    (counts, line)
}

fn line(version: &str) -> Line {
    Line {
        service: ServiceId::new("up").unwrap(),
        version: version.to_owned(),
        route: "/up".to_owned(),
    }
}

fn acme() -> Caller {
    Caller::Tenant(TenantId::new("acme").unwrap())
}

#[test]
fn a_second_is_closed_when_its_requests_have_ended_and_never_changes() {
    let (counts, line) = counts(2);
    let first = counts.begin(0, line, acme(), 100 * S);
    let second = counts.begin(1, line, acme(), 100 * S + S / 2);
    let later = counts.begin(0, line, acme(), 101 * S);
    counts.end(0, first, 200, None, 3_000_000);
    assert_eq!(
        counts.report_at(None, None, 102 * S).seconds,
        [],
        "one is under way"
    );
    counts.end(1, second, 200, None, 3_000_000);
    let report = counts.report_at(None, None, 102 * S);
    assert_eq!((report.seconds.len(), report.closed_through), (1, BASE + 100));
    let count = &report.seconds[0].counts[0];
    assert_eq!((count.begun, count.unfinished, count.outcomes[1]), (2, 0, 2));
    assert_eq!(count.durations_us, [(3_072, 2)]);
    counts.end(0, later, 200, None, 0);
    let next = counts.report_at(None, Some(report.closed_through), 102 * S);
    assert_eq!(
        next.seconds.iter().map(|second| second.at).collect::<Vec<_>>(),
        [BASE + 101]
    );
}

#[test]
fn what_takes_too_long_is_unfinished_for_good() {
    let (counts, line) = counts(1);
    let begun = counts.begin(0, line, Caller::Anonymous, 10 * S);
    assert_eq!(counts.report_at(None, None, (10 + LATE_S) * S).seconds, []);
    let unfinished = |now| {
        let report = counts.report_at(None, None, now);
        report.seconds[0].counts[0].unfinished
    };
    assert_eq!(unfinished((11 + LATE_S) * S), 1);
    counts.end(0, begun, 200, None, 9 * S);
    assert_eq!(
        unfinished((12 + LATE_S) * S),
        1,
        "whoever read it before has counted it"
    );
}

#[test]
fn a_request_whose_second_is_closed_already_counts_in_the_next() {
    let (counts, line) = counts(1);
    let closed = counts.report_at(None, None, 21 * S).closed_through;
    assert_eq!(closed, BASE + 20);
    let begun = counts.begin(0, line, acme(), 20 * S);
    counts.end(0, begun, 200, None, 0);
    let report = counts.report_at(None, Some(closed), 22 * S);
    assert_eq!(report.seconds[0].at, BASE + 21);
}

#[test]
fn failures_are_told_apart() {
    let (counts, line) = counts(1);
    for (status, error) in [
        (101, None),
        (204, None),
        (304, None),
        (404, None),
        (500, None),
        (503, Some(UPSTREAM_DOWN.code)),
        (502, Some(UPSTREAM_FAILED.code)),
        (504, Some(DEADLINE.code)),
        (429, Some(TENANT_BUSY.code)),
        (STATUS_CLIENT_GONE, None),
        (413, Some("RC-GW-013")),
    ] {
        let begun = counts.begin(0, line, acme(), S);
        counts.end(0, begun, status, error, 1_000);
    }
    let report = counts.report_at(None, None, 2 * S);
    assert_eq!(report.seconds[0].counts[0].outcomes, [1; OUTCOMES.len()]);
    // Refused, gone and other show nothing about the service.
    assert_eq!(report.seconds[0].counts[0].durations_us, [(2, 8)]);
    for cut in [CUT, GONE] {
        let begun = counts.begin(0, line, acme(), 3 * S);
        counts.end(0, begun, 200, Some(cut), 1_000);
    }
    let outcomes = counts.report_at(None, Some(BASE + 2), 4 * S).seconds[0].counts[0].outcomes;
    assert_eq!((outcomes[6], outcomes[9]), (1, 1));
}

#[test]
fn callers_beyond_the_bound_are_counted_together() {
    let (counts, line) = counts(1);
    for number in 0..CELLS_MAX + 10 {
        let caller = Caller::Tenant(TenantId::new(&format!("t{number}")).unwrap());
        let begun = counts.begin(0, line, caller, S);
        counts.end(0, begun, 200, None, 0);
    }
    let report = counts.report_at(None, None, 2 * S);
    let all = &report.seconds[0].counts;
    assert_eq!(
        all.iter().map(|count| count.begun).sum::<u64>(),
        CELLS_MAX as u64 + 10
    );
    let others = all.iter().find(|count| count.caller == Caller::Others).unwrap();
    assert_eq!(others.begun, 10);
}

#[test]
fn old_seconds_make_room_and_the_report_says_from_when_it_knows() {
    let (counts, line) = counts(1);
    let old = counts.begin(0, line, acme(), S);
    let begun = counts.begin(0, line, acme(), (1 + SECONDS as u64) * S);
    counts.end(0, old, 200, None, 0);
    counts.end(0, begun, 200, None, 0);
    let now = 2 + SECONDS as u64;
    let report = counts.report_at(None, None, now * S);
    assert_eq!(report.kept_from, BASE + now + 1 - SECONDS as u64);
    assert_eq!(report.seconds.len(), 1);
    assert_eq!(report.seconds[0].counts[0].outcomes[1], 1);
}

#[test]
fn lines_are_known_again_and_services_apart() {
    let (counts, first) = counts(1);
    assert_eq!(counts.line(line("stable")), first);
    let v2 = counts.line(line("v2"));
    assert_ne!(v2, first);
    let begun = counts.begin(0, v2, acme(), S);
    counts.end(0, begun, 200, None, 0);
    let other = ServiceId::new("other").unwrap();
    assert_eq!(counts.report_at(Some(&other), None, 2 * S).seconds, []);
    let up = ServiceId::new("up").unwrap();
    assert_eq!(
        counts.report_at(Some(&up), None, 2 * S).seconds[0].counts[0].version,
        "v2"
    );
}

#[test]
fn buckets_are_in_order_and_at_most_an_eighth_wide() {
    let mut before = 0;
    for us in (0..5_000)
        .chain((13..57).map(|log2| 1 << log2))
        .chain([u64::MAX >> 8])
    {
        let bucket = bucket(us);
        let bound = below(bucket);
        assert!(us < bound && bound <= us + us / 8 + 1, "{us} < {bound}");
        if us < 5_000 {
            assert!(bucket >= before, "{us}");
            before = bucket;
        }
    }
}
