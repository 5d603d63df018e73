use super::*;
use rc_model::Problem;
use rc_model::tenants::RateLimit;
use rc_model::units::Rate;

fn body(refusal: &Refusal) -> Problem {
    let mut out = Vec::new();
    refusal.write_body(Some(0xab), &mut out);
    serde_json::from_slice(&out).unwrap()
}

fn fields(refusal: &Refusal) -> String {
    let mut out = Vec::new();
    refusal.write_fields(&mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn every_kind_is_a_registered_code_and_a_valid_problem() {
    for kind in KINDS {
        let entry =
            rc_model::code::lookup(kind.code).unwrap_or_else(|| panic!("{} is not registered", kind.code));
        assert_eq!(entry.title, kind.title);
    }
    let problem = body(&Refusal::because(&AMBIGUOUS_PATH, "why"));
    assert_eq!(problem.kind, "urn:royalcrown:error:RC-GW-007");
    assert_eq!((problem.status, problem.code.as_str()), (400, "RC-GW-007"));
    assert_eq!(problem.detail.as_deref(), Some("why"));
    assert_eq!(
        problem.trace_id.as_deref(),
        Some("000000000000000000000000000000ab")
    );
}

#[test]
fn a_rate_limit_names_its_policy_and_rounds_the_wait_up() {
    let refusal = Refusal::new(&RATE_LIMITED).after_ns(1_000_000_001);
    let problem = body(&refusal);
    assert_eq!(problem.violated_policies, ["rps"]);
    assert_eq!(problem.retry_after_ms, Some(1_001));
    assert!(fields(&refusal).contains("retry-after: 2\r\n"));
    assert!(fields(&Refusal::new(&RATE_LIMITED).after_ns(1)).contains("retry-after: 1\r\n"));
}

#[test]
fn limit_fields_follow_the_switch() {
    let rule = Gcra::new(RateLimit::of(Rate::per_second(500), 1_000));
    let write = |headers| {
        let mut out = Vec::new();
        let colour = Colour::Green {
            remaining: 41,
            reset_ns: 1_200_000_000,
        };
        LimitFields::new(&rule, headers).write(colour, &mut out);
        String::from_utf8(out).unwrap()
    };
    let draft = "ratelimit-policy: \"rps\";q=1000;w=2\r\nratelimit: \"rps\";r=41;t=2\r\n";
    let legacy = "x-ratelimit-limit: 1000\r\nx-ratelimit-remaining: 41\r\nx-ratelimit-reset: 2\r\n";
    assert_eq!(write(RateLimitHeaders::Draft11), draft);
    assert_eq!(write(RateLimitHeaders::Legacy), legacy);
    assert_eq!(write(RateLimitHeaders::Both), format!("{draft}{legacy}"));
    assert_eq!(write(RateLimitHeaders::Off), "");
}
