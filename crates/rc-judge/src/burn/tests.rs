use super::*;

const HALF_PERCENT: f64 = 0.005;

/// Feeds `seconds` from `from` on with 100 requests each.
fn feed(windows: &mut Windows, from: u64, seconds: u64, bad: u64) {
    for at in from..from + seconds {
        windows.observe(at, Tally::new(100, bad));
    }
}

fn fires(windows: &Windows, now: u64) -> [bool; 2] {
    windows
        .burns(now, &Objective::of_budget(HALF_PERCENT))
        .map(|burn| burn.fires)
}

#[test]
fn both_windows_have_to_be_over() {
    let mut windows = Windows::new(0);
    feed(&mut windows, 0, 3_600, 0);
    assert_eq!(fires(&windows, 3_599), [false, false]);
    // 10 % fail: twenty times the budget, in the short window at once, in the long one after a tenth of it.
    let mut first = [None, None];
    for at in 3_600..6_000 {
        feed(&mut windows, at, 1, 10);
        for (first, fires) in first.iter_mut().zip(fires(&windows, at)) {
            if fires && first.is_none() {
                *first = Some(at - 3_599);
            }
        }
    }
    // L * k * b / e: 3600 * 2 * 0.005 / 0.1 = 360 s, and 1800 s for ten times.
    let [twice, ten_times] = first.map(|first| first.unwrap());
    assert!((355..=365).contains(&twice), "{twice}");
    assert!((1_790..=1_805).contains(&ten_times), "{ten_times}");
}

#[test]
fn an_alert_ends_when_the_short_window_is_clean() {
    let mut windows = Windows::new(0);
    feed(&mut windows, 0, 3_600, 50);
    assert_eq!(fires(&windows, 3_599), [true, true]);
    feed(&mut windows, 3_600, 300, 0);
    assert_eq!(fires(&windows, 3_899), [false, false]);
}

#[test]
fn a_fresh_series_waits_for_half_an_hour() {
    let mut windows = Windows::new(100);
    feed(&mut windows, 100, 1_800, 50);
    assert_eq!(fires(&windows, 1_899), [false, false]);
    feed(&mut windows, 1_900, 1, 50);
    assert_eq!(fires(&windows, 1_900), [true, true]);
}

#[test]
fn few_requests_wake_nobody() {
    let mut windows = Windows::new(0);
    windows.observe(0, Tally::new(90, 0));
    windows.observe(3_000, Tally::new(2, 2));
    assert_eq!(
        fires(&windows, 3_000),
        [false, false],
        "one of one is not 100 % of anything"
    );
}

#[test]
fn silence_empties_the_windows() {
    let mut windows = Windows::new(0);
    feed(&mut windows, 0, 3_600, 50);
    for (now, expected) in [(3_600 + 299, 1), (3_600 + 7_200, 0), (u64::MAX, 0)] {
        let [burn, _] = windows.burns(now, &Objective::of_budget(HALF_PERCENT));
        assert_eq!(u8::from(burn.long > 0.0), expected, "{now}");
    }
    windows.observe(1_000_000, Tally::new(100, 0));
    let [burn, _] = windows.burns(1_000_000, &Objective::of_budget(HALF_PERCENT));
    assert_eq!((burn.short, burn.long), (0.0, 0.0));
}

#[test]
fn windows_agree_with_a_sum_over_all_seconds() {
    let mut draw = fastrand::Rng::with_seed(5);
    let mut windows = Windows::new(0);
    let mut all = Vec::new();
    for at in 0..9_000_u64 {
        let tally = match draw.u8(0..4) {
            0 => Tally::default(),
            _ => Tally::new(100, draw.u64(0..30)),
        };
        all.push(tally);
        if tally.requests > 0 {
            windows.observe(at, tally);
        }
        if at % 97 == 0 {
            let sum = |from: u64| {
                let mut sum = Tally::default();
                all[from as usize..].iter().for_each(|tally| sum.add(*tally));
                sum.rate() / HALF_PERCENT
            };
            let [burn, _] = windows.burns(at, &Objective::of_budget(HALF_PERCENT));
            // The long window moves by slots of ten seconds.
            let long = ((at / 10 + 1) * 10).saturating_sub(3_600);
            assert_eq!(
                (burn.short, burn.long),
                (sum((at + 1).saturating_sub(300)), sum(long)),
                "{at}"
            );
        }
    }
}

#[test]
fn a_canary_that_fails_is_seen_by_its_version_and_not_by_its_service() {
    let service = ServiceId::new("docs-api").unwrap();
    let tenant = TenantId::new("acme").unwrap();
    let mut book = Book::new(100);
    for at in 0..4_000 {
        book.observe(at, &service, Some(&tenant), Some("v1"), Tally::new(90, 0));
        let bad = if at < 3_600 { 0 } else { 10 };
        book.observe(at, &service, None, Some("v2"), Tally::new(10, bad));
    }
    let objective = |_: &ServiceId| Some(Objective::of_budget(0.01));
    let firing: Vec<(Part, f64)> = book
        .firing(3_999, objective)
        .into_iter()
        .map(|(series, burn)| (series.part.clone(), burn.factor))
        .collect();
    let v2 = || Part::Version("v2".to_owned());
    assert_eq!(firing, [(v2(), 2.0), (v2(), 10.0)]);
    assert_eq!(book.left_out(), 0);
}

#[test]
fn a_full_book_forgets_who_is_silent_and_counts_who_is_not_watched() {
    let mut book = Book::new(2);
    let tally = Tally::new(1, 0);
    for (at, name) in [(0, "a"), (1, "b"), (2, "c")] {
        book.observe(at, &ServiceId::new(name).unwrap(), None, None, tally);
    }
    assert_eq!(book.left_out(), 1);
    book.observe(10_000, &ServiceId::new("c").unwrap(), None, None, tally);
    assert_eq!((book.left_out(), book.series.len()), (1, 1));
}

#[test]
fn alerts_that_cannot_fire_are_named() {
    assert_eq!(lint(&Objective::of_budget(0.001), 100.0), []);
    let impossible = lint(&Objective::of_budget(0.1), 100.0);
    assert_eq!(
        impossible.iter().map(ToString::to_string).collect::<Vec<_>>(),
        [
            "the alert at 10 times the budget can never fire: if everything fails, a budget of 0.1 burns 10.0 times as \
          fast as allowed"
        ]
    );
    let quiet = lint(&Objective::of_budget(0.001), 1.0);
    assert!(
        matches!(quiet.as_slice(), [Lint::TooFew { factor, .. }] if *factor == 2.0),
        "{quiet:?}"
    );
}
