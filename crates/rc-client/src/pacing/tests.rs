use super::*;

const MS: u64 = 1_000_000;

fn left(name: &'static str, value: &str) -> Option<Left> {
    let mut headers = HeaderMap::new();
    headers.insert(name, value.parse().unwrap());
    read_left(&headers)
}

#[test]
fn the_tightest_policy_of_a_list_counts() {
    let some = |requests, seconds| Some(Left { requests, seconds });
    assert_eq!(left("ratelimit", r#""default";r=50;t=30"#), some(50, 30));
    assert_eq!(
        left("ratelimit", r#""burst";r=90;t=1, "day";r=10;t=100"#),
        some(10, 100)
    );
    assert_eq!(left("ratelimit", r#""a;r=1,b";r=7 ; t=2"#), some(7, 2));
    for nothing in [
        "",
        r#""default";r=50"#,
        r#""default";r=-1;t=1"#,
        r#""default";r=x;t=1"#,
        "\"open",
    ] {
        assert_eq!(left("ratelimit", nothing), None, "{nothing}");
    }
}

#[test]
fn the_older_fields_are_read_when_both_are_there() {
    let mut headers = HeaderMap::new();
    headers.insert("x-ratelimit-remaining", "4".parse().unwrap());
    assert_eq!(read_left(&headers), None);
    headers.insert("x-ratelimit-reset", "2".parse().unwrap());
    assert_eq!(
        read_left(&headers),
        Some(Left {
            requests: 4,
            seconds: 2
        })
    );
}

#[test]
fn what_is_left_is_spread_evenly() {
    let mut pacer = Pacer::default();
    assert_eq!(pacer.turn(0), None);
    pacer.left(
        0,
        Left {
            requests: 10,
            seconds: 1,
        },
    );
    assert_eq!(pacer.turn(0), None);
    assert_eq!(pacer.turn(0), Some(Duration::from_millis(100)));
    assert_eq!(pacer.turn(60 * MS), Some(Duration::from_millis(40)));
    assert_eq!(pacer.turn(100 * MS), None);
}

#[test]
fn plenty_left_means_no_gap() {
    let mut pacer = Pacer::default();
    pacer.left(
        0,
        Left {
            requests: 4_000,
            seconds: 2,
        },
    );
    for _ in 0..1_000 {
        assert_eq!(pacer.turn(0), None);
    }
}

#[test]
fn nothing_left_waits_for_the_window_and_good_news_ends_a_long_gap() {
    let mut pacer = Pacer::default();
    pacer.left(
        0,
        Left {
            requests: 0,
            seconds: 2,
        },
    );
    assert_eq!(pacer.turn(0), Some(Duration::from_secs(2)));
    pacer.left(
        MS,
        Left {
            requests: 1_000_000,
            seconds: 1,
        },
    );
    assert_eq!(pacer.turn(MS), None);
    pacer.left(
        0,
        Left {
            requests: 0,
            seconds: 86_400,
        },
    );
    assert_eq!(pacer.turn(MS), Some(GAP_MAX - Duration::from_millis(1)));
}

#[test]
fn a_refusal_pauses_every_turn() {
    let mut pacer = Pacer::default();
    pacer.pause(0, Duration::from_millis(300));
    pacer.pause(0, Duration::from_millis(100));
    assert_eq!(pacer.turn(0), Some(Duration::from_millis(300)));
}

#[test]
fn older_good_news_does_not_end_a_refusal() {
    let mut pacer = Pacer::default();
    pacer.pause(0, Duration::from_millis(300));
    pacer.left(
        0,
        Left {
            requests: 1_000,
            seconds: 1,
        },
    );
    assert_eq!(pacer.turn(0), Some(Duration::from_millis(300)));
}
