//! What is refused before a store is asked.

use serde_json::json;

use super::*;

fn event<'e>(key: &'e str, payload: &'e Value) -> Event<'e> {
    Event {
        topic: "orders",
        key,
        event_type: "order.paid.v1",
        schema: 1,
        trace: None,
        payload,
    }
}

#[test]
fn events_beyond_the_limits_are_refused_with_their_fault() {
    let (ok, long) = (json!({"a": "\\u0000 as text"}), "k".repeat(513));
    assert!(check(&event("k", &ok)).is_ok());
    for (key, payload, fault) in [
        ("", json!(1), "the key has 0 bytes"),
        (long.as_str(), json!(1), "the key has 513 bytes"),
        ("a\0b", json!(1), "the key contains U+0000"),
        (
            "k",
            json!({"a": ["b", {"c": "\0"}]}),
            "the payload contains U+0000",
        ),
        ("k", json!({"\0": 1}), "the payload contains U+0000"),
        (
            "k",
            json!("x".repeat(PAYLOAD_BYTES_MAX)),
            "the payload has 1048578 bytes",
        ),
    ] {
        let error = check(&event(key, &payload)).unwrap_err().to_string();
        assert!(error.starts_with(fault), "{error}");
    }
}

#[test]
fn only_plain_names_go_into_the_text() {
    let writer = |name| postgres::Grants {
        writer: Some(name),
        ..postgres::Grants::default()
    };
    let relay = |name| postgres::Grants {
        relay: Some(name),
        ..postgres::Grants::default()
    };
    assert!(postgres::install_sql("rc_events", writer("billing")).is_ok());
    for name in ["", "Events", "a b", "a;drop", "1a", "a\"b", "é"] {
        assert!(
            postgres::install_sql(name, postgres::Grants::default()).is_err(),
            "{name}"
        );
        assert!(postgres::install_sql("a", writer(name)).is_err(), "{name}");
        assert!(postgres::install_sql("a", relay(name)).is_err(), "{name}");
    }
}
