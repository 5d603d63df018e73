use super::*;

fn second(text: &str) -> Second {
    serde_json::from_str(text).unwrap()
}

#[test]
fn counts_that_cannot_be_are_refused_by_name() {
    for (text, expected) in [
        (
            r#"{"at":1,"weight_ppm":1000001,"stable":{"requests":0},"canary":{"requests":0}}"#,
            "the weight is 1000001 parts per million, more than the whole",
        ),
        (
            r#"{"at":1,"weight_ppm":0,"share_ppm":2000000,"stable":{"requests":0},"canary":{"requests":0}}"#,
            "the expected share is 2000000 parts per million, more than the whole",
        ),
        (
            r#"{"at":1,"weight_ppm":0,"stable":{"requests":1,"errors":{"server":1,"timeout":1}},"canary":{"requests":0}}"#,
            "the stable arm has 2 errors of 1 requests",
        ),
        (
            r#"{"at":1,"weight_ppm":0,"stable":{"requests":1},"canary":{"requests":1,"latency":[[3,2]]}}"#,
            "the canary arm has 2 latencies of 1 requests",
        ),
        (
            r#"{"at":1,"weight_ppm":0,"stable":{"requests":1},"canary":{"requests":1,"latency":[[528,1]]}}"#,
            "latency bucket 528 does not exist: the last one is 527",
        ),
        (
            r#"{"at":1,"weight_ppm":0,"stable":{"requests":1},"canary":{"requests":1},"tenants":
               [{"tenant":"acme","stable":{"requests":1,"errors":{"connect":2}},"canary":{"requests":0}}]}"#,
            "the stable arm has 2 errors of 1 requests",
        ),
    ] {
        assert_eq!(second(text).check().unwrap_err().to_string(), expected);
    }
}

#[test]
fn unknown_keys_are_refused() {
    let text = r#"{"at":1,"weight_ppm":0,"stable":{"requests":0},"canary":{"requests":0},"more":1}"#;
    serde_json::from_str::<Second>(text).unwrap_err();
}

#[test]
fn share_is_that_of_what_was_routed() {
    let mut one = second(r#"{"at":1,"weight_ppm":100000,"stable":{"requests":15},"canary":{"requests":5}}"#);
    assert_eq!(one.share(), Some(0.25));
    one.share_ppm = Some(500_000);
    assert_eq!(one.share(), Some(0.5));
    let none = Second::default();
    assert_eq!(none.share(), None);
}

#[test]
fn a_tenant_with_many_errors_counts_for_more_than_its_traffic() {
    let noisy = Placed {
        before: Tally::new(10_000, 900),
        in_canary: true,
    };
    let quiet = Placed {
        before: Tally::new(90_000, 100),
        in_canary: false,
    };
    let share = expected_share(&[noisy, quiet]).unwrap();
    assert!((800_000..900_000).contains(&share), "{share}");
    // Without errors anywhere it is the share of the traffic.
    let calm = |placed: Placed| Placed {
        before: Tally::new(placed.before.requests, 0),
        ..placed
    };
    let share = expected_share(&[calm(noisy), calm(quiet)]).unwrap();
    assert!((80_000..120_000).contains(&share), "{share}");
    assert_eq!(expected_share(&[]), None);
}
