use super::*;

pub(crate) use crate::contract::event;

/// The published CloudEvents 1.0.2 JSON schema, the parts that say something about values.
const SCHEMA: &str = r#"{
  "required": ["id", "source", "specversion", "type"],
  "properties": {
    "id": {"type": "string", "minLength": 1},
    "source": {"type": "string", "minLength": 1, "format": "uri-reference"},
    "specversion": {"type": "string", "minLength": 1},
    "type": {"type": "string", "minLength": 1},
    "datacontenttype": {"type": ["string", "null"], "minLength": 1},
    "dataschema": {"type": ["string", "null"], "minLength": 1, "format": "uri"},
    "subject": {"type": ["string", "null"], "minLength": 1},
    "time": {"type": ["string", "null"], "minLength": 1, "format": "date-time"},
    "data": {"type": ["object", "string", "number", "array", "boolean", "null"]},
    "data_base64": {"type": ["string", "null"], "contentEncoding": "base64"}
  }
}"#;

fn assert_conforms(rendered: &Value) {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    let object = rendered.as_object().unwrap();
    for name in schema["required"].as_array().unwrap() {
        assert!(object.contains_key(name.as_str().unwrap()), "{name} is required");
    }
    for (name, value) in object {
        // Attribute names: lower-case letters and digits (CloudEvents 1.0.2, naming conventions).
        let is_data = name == "data" || name == "data_base64";
        assert!(
            is_data || name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()),
            "{name}"
        );
        if !is_data {
            assert!(value.as_str().is_some_and(|text| !text.is_empty()), "{name}");
        }
        let rule = &schema["properties"][name];
        if rule["format"] == "date-time" {
            assert!(Timestamp::parse(value.as_str().unwrap()).is_some(), "{value}");
        }
        if rule["contentEncoding"] == "base64" {
            BASE64.decode(value.as_str().unwrap().as_bytes()).unwrap();
        }
    }
    assert_eq!(rendered["specversion"], "1.0");
    assert!(!(object.contains_key("data") && object.contains_key("data_base64")));
}

#[test]
fn events_render_as_cloudevents() {
    let event = Event {
        pos: 9,
        event: event("acme", "doc-1", 12),
    };
    let rendered = event.to_cloudevent("/royalcrown/ingest");
    assert_conforms(&rendered);
    assert_eq!(rendered["tenantid"], "acme");
    assert_eq!(rendered["subject"], "doc-1");
    assert_eq!(rendered["sequence"], "00000000000000000012");
    assert_eq!(rendered["data"]["n"], 12);
    assert_eq!(
        rendered["traceparent"],
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    );
}

#[test]
fn a_payload_that_is_not_json_travels_as_base64() {
    let mut new = event("acme", "doc-1", 1);
    new.payload = Bytes::from_static(&[0xff, 0, 1]);
    new.trace = None;
    let rendered = Event { pos: 1, event: new }.to_cloudevent("/royalcrown/ingest");
    assert_conforms(&rendered);
    assert_eq!(rendered["data_base64"], "/wAB");
}

#[test]
fn limits_are_checked_before_anything_is_written() {
    let good = event("acme", "a", 1);
    good.check().unwrap();
    let bad = |change: fn(&mut NewEvent)| {
        let mut event = good.clone();
        change(&mut event);
        event.check().unwrap_err().code()
    };
    for change in [
        (|event| event.payload = Bytes::from(vec![b' '; PAYLOAD_BYTES_MAX + 1])) as fn(&mut NewEvent),
        |event| event.key.clear(),
        |event| event.key = "x".repeat(KEY_BYTES_MAX + 1),
        |event| event.key = "a\0b".to_owned(),
        |event| event.topic = "".into(),
        |event| event.event_type = "t".repeat(NAME_BYTES_MAX + 1).into(),
        |event| event.kseq = 0,
        |event| event.kseq = u64::MAX,
    ] {
        assert_eq!(bad(change), "RC-EVT-003");
    }
}
