use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;

static PUT_SCHEMA: LazyLock<Schema> = LazyLock::new(|| {
    let subject = rc_events::schema::Subject::of_file("doc.put.v1.json").unwrap();
    crate::document::schemas().get(&subject).unwrap().clone()
});

fn tenant() -> TenantId {
    TenantId::new("acme").unwrap()
}

fn parse_as(format: Format, body: impl AsRef<[u8]>) -> Result<Vec<Item>, Fault> {
    parse(&tenant(), None, format, body.as_ref())
}

/// Each item as `id` or `code pointer`; or the code and detail of the body's fault.
fn outcome(format: Format, body: impl AsRef<[u8]>) -> Result<Vec<String>, String> {
    let items = parse_as(format, body).map_err(|fault| format!("{}: {}", fault.kind.code, fault.detail))?;
    Ok(items
        .into_iter()
        .map(|item| match item {
            Ok(put) => put.id,
            Err(fault) => format!("{} {}", fault.kind.code, fault.pointer),
        })
        .collect())
}

fn ok(items: &[&str]) -> Result<Vec<String>, String> {
    Ok(items.iter().map(|item| (*item).to_owned()).collect())
}

#[test]
fn one_bad_item_never_fails_its_neighbours() {
    let array = r#"[{"id":"a","text":"a"}, {"id":"b","text":5}, {"id":"c","text":"]}\"["}, 7, {"id":"d","text":"d"}]"#;
    assert_eq!(
        outcome(Format::Array, array),
        ok(&["a", "RC-ING-016 /1/text", "c", "RC-ING-016 /3", "d"])
    );
    let lines = "{\"id\":\"a\",\"text\":\"a\"}\n\n{\"id\":\"b\",\r\n{\"id\":\"c\",\"text\":\"c\"}\r\n  \n{\"id\":\"d\",\"txt\":\"d\"}";
    assert_eq!(
        outcome(Format::Lines, lines),
        ok(&["a", "RC-ING-001 /1", "c", "RC-ING-014 /3/txt"])
    );
}

#[test]
fn a_line_fault_names_its_line() {
    let items = parse_as(Format::Lines, "{\"text\":\"a\"}\n\n{\"txt\":\"b\"}").unwrap();
    let fault = items[1].as_ref().unwrap_err();
    assert_eq!(
        fault.detail,
        "line 3: `txt` is not a member of a document; did you mean `text`?"
    );
}

#[test]
fn broken_framing_refuses_the_whole_array_with_its_place() {
    let a = r#"{"text":"a"}"#;
    for (body, place) in [
        (
            format!("[{a}"),
            "the body ends inside the array at line 1 column 14",
        ),
        (format!("[{a},"), "expected a document at line 1 column 15"),
        (format!("[{a},]"), "expected a document at line 1 column 15"),
        (format!("[,{a}]"), "expected a document at line 1 column 2"),
        (
            format!("[{a}\n{a}]"),
            "expected `,` or `]` after an item at line 2 column 1",
        ),
        (
            format!("[{a}] {a}"),
            "expected nothing after the array at line 1 column 16",
        ),
        (
            format!("[{a},{{\"text\":tru}}]"),
            "expected ident at line 1 column 26",
        ),
        (format!("[{a},\n {{\"text\":\"b\"]]"), "line 2 column 13"),
        (
            format!("[{a},{{\"text\":\"b}}]"),
            "the body ends inside the array",
        ),
        (
            "]".to_owned(),
            "expected an array of documents at line 1 column 1",
        ),
        ("nonsense".to_owned(), "expected an array of documents"),
    ] {
        let fault = outcome(Format::Array, &body).unwrap_err();
        assert!(
            fault.starts_with("RC-ING-001") && fault.contains(place),
            "{body}: {fault}"
        );
    }
}

#[test]
fn a_body_must_hold_the_shape_that_its_path_takes() {
    let a = r#"{"text":"a"}"#;
    for (format, body, code) in [
        (Format::One, String::new(), "RC-ING-013"),
        (Format::One, " \n ".to_owned(), "RC-ING-013"),
        (Format::One, format!("[{a}]"), "RC-ING-016"),
        (Format::One, format!("{a}{a}"), "RC-ING-001"),
        (Format::Array, String::new(), "RC-ING-013"),
        (Format::Array, "[ ]".to_owned(), "RC-ING-013"),
        (Format::Array, "[ ] x".to_owned(), "RC-ING-001"),
        (Format::Array, a.to_owned(), "RC-ING-016"),
        (Format::Lines, "\n\r\n \n".to_owned(), "RC-ING-013"),
        (Format::One, format!("\u{feff}{a}"), "RC-ING-002"),
        (Format::Array, format!("\u{feff}[{a}]"), "RC-ING-002"),
        (Format::Lines, format!("\u{feff}{a}"), "RC-ING-002"),
    ] {
        let fault = outcome(format, &body).unwrap_err();
        assert!(fault.starts_with(code), "{body:?}: {fault}");
    }
    let utf16: Vec<u8> = "\u{feff}[]".encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert!(outcome(Format::Array, utf16).unwrap_err().contains("UTF-16"));
}

#[test]
fn the_item_count_has_a_limit() {
    let a = r#"{"text":"a"}"#;
    let array = |n| format!("[{}]", vec![a; n].join(","));
    let lines = |n| vec![a; n].join("\n");
    assert_eq!(
        parse_as(Format::Array, array(limits::ITEMS_MAX)).unwrap().len(),
        limits::ITEMS_MAX
    );
    assert_eq!(
        parse_as(Format::Lines, lines(limits::ITEMS_MAX)).unwrap().len(),
        limits::ITEMS_MAX
    );
    for fault in [
        parse_as(Format::Array, array(limits::ITEMS_MAX + 1)),
        parse_as(Format::Lines, lines(limits::ITEMS_MAX + 1)),
    ] {
        assert_eq!(fault.unwrap_err().kind, fault::ITEM_COUNT);
    }
}

#[test]
fn large_and_deep_items_are_refused_alone() {
    let large = format!(r#"{{"text":"a","x":"{}"}}"#, "y".repeat(limits::ITEM_BYTES_MAX));
    let deep = |n: usize| format!(r#"{{"x":{}{}}}"#, "[".repeat(n - 1), "]".repeat(n - 1));
    let body = format!(
        r#"[{{"id":"a","text":"a"}},{large},{},{},{{"id":"b","text":"b"}}]"#,
        deep(limits::DEPTH_MAX),
        deep(limits::DEPTH_MAX + 1)
    );
    let expect = ok(&["a", "RC-ING-019 /1", "RC-ING-014 /2/x", "RC-ING-004 /3", "b"]);
    assert_eq!(outcome(Format::Array, body), expect);
    let bottomless = "[".repeat(1 << 20);
    assert!(
        outcome(Format::Array, &bottomless)
            .unwrap_err()
            .starts_with("RC-ING-001")
    );
    assert_eq!(outcome(Format::Lines, &bottomless), ok(&["RC-ING-001 /0"]));
    let closed = format!("{}{}", "[".repeat(1 << 18), "]".repeat(1 << 18));
    let fault = outcome(Format::One, closed).unwrap_err();
    assert!(fault.starts_with("RC-ING-004"), "{fault}");
}

#[test]
fn a_document_that_no_event_can_carry_is_refused() {
    let body = format!(r#"{{"text":"{}"}}"#, r"\u0001".repeat(200_000));
    let fault = outcome(Format::One, &body).unwrap_err();
    assert!(fault.starts_with("RC-ING-019"), "{fault}");
}

#[test]
fn text_that_is_not_unicode_is_refused_alone() {
    let mut body = br#"[{"id":"a","text":"a"},{"text":""#.to_vec();
    body.extend([0xC0, 0xAF]);
    body.extend(br#""},{"id":"c","text":"c"}]"#);
    assert_eq!(outcome(Format::Array, body), ok(&["a", "RC-ING-002 /1", "c"]));
}

#[test]
fn equal_content_gets_an_equal_id_however_it_is_written() {
    let body = r#"[{"text":"a","title":"t","attrs":{"x":"1","y":"2"},"time":"2026-11-21T10:00:00Z"},
                   {"time":"2026-11-21T11:00:00+01:00","attrs":{"y":"2","x":"1"},"title":"\u0074","text":"a"},
                   {"text":"a","title":"t"}]"#;
    let items: Vec<Put> = parse_as(Format::Array, body)
        .unwrap()
        .into_iter()
        .map(Result::unwrap)
        .collect();
    assert_eq!(items[0], items[1]);
    assert_ne!(items[0].id, items[2].id);
    assert!(items[0].id.starts_with("d-"));
}

#[test]
fn the_largest_document_keeps_our_schema() {
    use crate::document::{
        ATTR_NAME_BYTES_MAX, ATTR_VALUE_BYTES_MAX, ATTRS_MAX, TEXT_BYTES_MAX, TITLE_BYTES_MAX,
    };
    let attrs = (0..ATTRS_MAX).map(|n| {
        (
            format!("{n:0ATTR_NAME_BYTES_MAX$}"),
            "v".repeat(ATTR_VALUE_BYTES_MAX),
        )
    });
    let largest = Document {
        id: "i".repeat(200),
        title: Some("t".repeat(TITLE_BYTES_MAX)),
        text: "x".repeat(TEXT_BYTES_MAX),
        attrs: attrs.collect(),
        time: rc_model::Timestamp::parse("9999-12-31T23:59:59.999Z"),
    };
    let items = parse_as(Format::One, largest.to_payload()).unwrap();
    assert_eq!(PUT_SCHEMA.check(&items[0].as_ref().unwrap().payload), Ok(()));
}

#[test]
fn a_project_may_demand_more_of_documents() {
    let text = r#"{"required":["attrs"],"properties":{"attrs":{"required":["package"]}}}"#;
    let rules = Schema::parse("doc.put.v1.json", text).unwrap();
    let lines = "{\"text\":\"a\",\"attrs\":{\"package\":\"p\"}}\n{\"text\":\"b\",\"attrs\":{\"other\":\"p\"}}\n{\"text\":\"c\"}";
    let items = parse(&tenant(), Some(&rules), Format::Lines, lines.as_bytes()).unwrap();
    let faults: Vec<_> = items
        .iter()
        .map(|item| {
            item.as_ref()
                .err()
                .map(|fault| (fault.kind.code, &*fault.pointer))
        })
        .collect();
    assert_eq!(
        faults,
        [None, Some(("RC-ING-033", "/1/attrs")), Some(("RC-ING-033", "/2"))]
    );
    let mut project = rc_events::schema::Registry::default();
    assert!(crate::document::stricter(&project).is_none());
    project.add(PUT_SCHEMA.clone());
    assert!(
        crate::document::stricter(&project).is_none(),
        "a copy of ours costs nothing"
    );
    project.add(rules);
    assert!(crate::document::stricter(&project).is_some());
}

proptest! {
    #[test]
    fn any_bytes_are_answered(body in proptest::collection::vec(any::<u8>(), 0..256)) {
        for format in [Format::One, Format::Array, Format::Lines] {
            let _ = parse_as(format, &body);
        }
    }

    #[test]
    fn anything_that_looks_like_json_is_answered(body in r#"[\[\]{}:,"\\ua0-9 \n\-.etrufalsn\x00é]{0,120}"#) {
        for format in [Format::One, Format::Array, Format::Lines] {
            let _ = parse_as(format, &body);
        }
    }

    #[test]
    fn a_body_that_is_cut_anywhere_is_answered(cut in 0_usize..200) {
        let body = r#"[{"id":"a","text":"\ud83d\ude00 \"x\"","attrs":{"k":"v"}},{"text":"b","time":"2026-11-21T10:00:00Z"}]"#;
        let cut = cut.min(body.len());
        let whole = parse_as(Format::Array, &body.as_bytes()[..cut]).is_ok();
        prop_assert_eq!(whole, cut == body.len());
    }

    #[test]
    fn every_document_survives_the_way_in(
        text in any::<String>(),
        title in proptest::option::of(any::<String>()),
        attrs in proptest::collection::btree_map("[a-z]{1,5}", any::<String>(), 0..5),
    ) {
        prop_assume!(!text.contains('\0') && !title.iter().chain(attrs.values()).any(|s| s.contains('\0')));
        let sent = Document { id: "x".to_owned(), title, text, attrs, time: None };
        let items = parse_as(Format::One, sent.to_payload()).unwrap();
        let put = items[0].as_ref().unwrap();
        let stored: Document = serde_json::from_slice(&put.payload).unwrap();
        prop_assert_eq!(stored, sent);
        // This reader is the implementation of our schema: ingest checks no other.
        prop_assert_eq!(PUT_SCHEMA.check(&put.payload), Ok(()));
    }

    /// The frames of an array are what a JSON parser finds.
    #[test]
    fn frames_agree_with_a_json_parser(texts in proptest::collection::vec(any::<String>(), 1..8)) {
        let values: Vec<serde_json::Value> = texts.iter().map(|t| serde_json::json!({"text": t, "attrs": {"k": [t, {}]}})).collect();
        for body in [serde_json::to_vec(&values).unwrap(), serde_json::to_vec_pretty(&values).unwrap()] {
            let frames = frame::array(&body).unwrap();
            let found: Vec<serde_json::Value> = frames.iter().map(|f| serde_json::from_slice(f.bytes).unwrap()).collect();
            prop_assert_eq!(&found, &values);
        }
    }
}
