use super::*;
use std::time::Duration;

#[test]
fn empty_members_stay_off_the_wire() {
    let problem = Problem::new(404, "RC-DOC-001", "document not found");
    let json = serde_json::to_string(&problem).unwrap();
    assert_eq!(
        json,
        r#"{"type":"urn:royalcrown:error:RC-DOC-001","title":"document not found","status":404,"code":"RC-DOC-001"}"#
    );
}

#[test]
fn retry_after_is_rounded_up_and_never_zero() {
    let wait = |ms| {
        Problem::new(429, "X", "x")
            .retry_after(Duration::from_millis(ms))
            .retry_after_secs()
    };
    assert_eq!(wait(0), Some(1));
    assert_eq!(wait(1), Some(1));
    assert_eq!(wait(1000), Some(1));
    assert_eq!(wait(1001), Some(2));
}
