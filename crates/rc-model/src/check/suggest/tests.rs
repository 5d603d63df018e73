use super::*;

#[test]
fn distances_count_slips() {
    let chars = |text: &str| text.chars().collect::<Vec<char>>();
    for (a, b, expected) in [
        ("", "", 0),
        ("tier", "", 4),
        ("tier", "tier", 0),
        ("teir", "tier", 1),
        ("tiers", "tier", 1),
        ("owner", "onwer", 1),
        ("kitten", "sitting", 3),
    ] {
        assert_eq!(distance(&chars(a), &chars(b)), expected, "{a} {b}");
        assert_eq!(distance(&chars(b), &chars(a)), expected, "{b} {a}");
    }
}

#[test]
fn only_near_names_are_suggested() {
    let names = ["tier", "owner", "oncall", "ratelimit_headers", "rps"];
    for (text, expected) in [
        ("teir", Some("tier")),
        ("Tier", Some("tier")),
        ("on-call", Some("oncall")),
        ("onwer", Some("owner")),
        ("ratelimit-headers", Some("ratelimit_headers")),
        ("rate_limit_headers", Some("ratelimit_headers")),
        ("rp", Some("rps")),
        ("x", None),
        ("banana", None),
        ("", None),
    ] {
        assert_eq!(closest(text, names), expected, "{text}");
    }
    assert_eq!(closest(&"x".repeat(100_000), names), None);
}

#[test]
fn long_lists_are_shortened() {
    assert_eq!(one_of::<&str>(&[]), "there is none");
    assert_eq!(one_of(&["a"]), "`a`");
    assert_eq!(one_of(&["a", "b", "c"]), "one of `a`, `b` or `c`");
    let many: Vec<String> = (0..40).map(|n| n.to_string()).collect();
    assert!(one_of(&many).ends_with("`11` and 28 more"));
}
