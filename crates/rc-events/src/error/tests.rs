use super::*;

#[test]
fn an_events_error_travels_through_a_store_job_whole() {
    let gap = Gap {
        tenant: "acme".to_owned(),
        topic: "docs".to_owned(),
        key: "a".to_owned(),
        last: 4,
        found: 7,
    };
    let inside: rc_store::Error = Error::Gap(Box::new(gap.clone())).into();
    let outside = Error::from(inside);
    assert!(
        matches!(&outside, Error::Gap(found) if **found == gap),
        "{outside:?}"
    );
    assert_eq!(
        outside.to_string(),
        "event 7 of key `a` (tenant `acme`, topic `docs`) came after 4"
    );
}

#[test]
fn codes_are_registered() {
    for number in 1..=9 {
        let code = format!("RC-EVT-{number:03}");
        assert!(rc_model::code::lookup(&code).is_some(), "{code}");
    }
}
