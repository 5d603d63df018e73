use super::*;
use crate::event::tests::event;

#[test]
fn an_events_error_travels_through_a_store_job_whole() {
    let gap = Gap {
        place: event("acme", "a", 5).place(),
        id: Uuid::from_bytes([1; 16]),
        last: 3,
        found: 5,
    };
    let inside: rc_store::Error = Error::Gap(Box::new([gap.clone()])).into();
    let outside = Error::from(inside);
    assert!(
        matches!(&outside, Error::Gap(found) if **found == [gap]),
        "{outside:?}"
    );
    assert_eq!(outside.to_string(), "event 5 of acme/docs/a came after 3");
}

#[test]
fn codes_are_registered() {
    for number in 1..=17 {
        let code = format!("RC-EVT-{number:03}");
        assert!(rc_model::code::lookup(&code).is_some(), "{code}");
    }
}
