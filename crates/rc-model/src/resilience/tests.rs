use super::*;

#[test]
fn a_timeout_is_a_span_or_learns() {
    let fixed: Timeout = serde_json::from_str(r#""5s""#).unwrap();
    assert_eq!(fixed, Timeout::fixed(Span::from_millis(5_000)));
    assert_eq!(serde_json::to_string(&fixed).unwrap(), r#""5s""#);
    let learns: Timeout = serde_json::from_str(r#"{"max": "5s"}"#).unwrap();
    let adaptive = learns.adaptive.unwrap();
    assert_eq!((adaptive.factor, adaptive.min), (3.0, Span::from_millis(100)));
    let again: Timeout = serde_json::from_str(&serde_json::to_string(&learns).unwrap()).unwrap();
    assert_eq!(again, learns);
    for bad in [r#"{"factor": 2.0}"#, r#"{"max": "5s", "least": "1s"}"#, "5"] {
        assert!(serde_json::from_str::<Timeout>(bad).is_err(), "{bad}");
    }
}
