use super::*;
use crate::ingest::fault;

/// What becomes of an item: `ok`, `syntax`, or the code and the pointer of its fault.
fn outcome(item: &[u8]) -> String {
    match parse(item) {
        Ok(_) => "ok".to_owned(),
        Err(Refused::Syntax { .. }) => "syntax".to_owned(),
        Err(Refused::Document(fault)) => format!("{} {}", fault.kind.code, fault.pointer),
    }
}

#[test]
fn every_member_is_read() {
    let draft = parse(
        br#" {"id":"a/b","title":"T","text":"line\nline \ud83d\ude00","attrs":{"k":"v"},"time":"2026-11-21T10:00:00Z"} "#,
    )
    .unwrap();
    assert_eq!(draft.id.as_deref(), Some("a/b"));
    assert_eq!(draft.title.as_deref(), Some("T"));
    assert_eq!(draft.text, "line\nline \u{1F600}");
    assert_eq!(draft.attrs["k"], "v");
    assert_eq!(draft.time, Timestamp::parse("2026-11-21T10:00:00Z"));
}

#[test]
fn documents_are_refused_by_member() {
    for (item, expect) in [
        (r#"{"text":"a"}"#, "ok"),
        (r#"{"text":""}"#, "ok"),
        (r#"{"text":"a","attrs":{}}"#, "ok"),
        ("{}", "RC-ING-015 /text"),
        (r#"{"title":"a"}"#, "RC-ING-015 /text"),
        (r#"{"text":5}"#, "RC-ING-016 /text"),
        (r#"{"text":1.5}"#, "RC-ING-016 /text"),
        (r#"{"text":-5}"#, "RC-ING-016 /text"),
        (r#"{"text":1e999}"#, "RC-ING-016 /text"),
        (r#"{"text":123456789012345678901234567890}"#, "RC-ING-016 /text"),
        (r#"{"text":true}"#, "RC-ING-016 /text"),
        (r#"{"text":null}"#, "RC-ING-016 /text"),
        (r#"{"text":["a"]}"#, "RC-ING-016 /text"),
        (r#"{"text":{"a":1}}"#, "RC-ING-016 /text"),
        (r#"{"text":"a","id":7}"#, "RC-ING-016 /id"),
        (r#"{"text":"a","id":""}"#, "RC-ING-018 /id"),
        (r#"{"text":"a","id":".."}"#, "RC-ING-018 /id"),
        (r#"{"text":"a","id":"a\nb"}"#, "RC-ING-018 /id"),
        (r#"{"text":"a","time":"yesterday"}"#, "RC-ING-018 /time"),
        (r#"{"text":"a","time":1700000000}"#, "RC-ING-016 /time"),
        (
            r#"{"text":"a","time":"2026-02-30T00:00:00Z"}"#,
            "RC-ING-018 /time",
        ),
        (r#"{"text":"a","attrs":[]}"#, "RC-ING-016 /attrs"),
        (r#"{"text":"a","attrs":"x"}"#, "RC-ING-016 /attrs"),
        (r#"{"text":"a","attrs":null}"#, "RC-ING-016 /attrs"),
        (r#"{"text":"a","attrs":{"n":1}}"#, "RC-ING-016 /attrs/n"),
        (r#"{"text":"a","attrs":{"a/b~c":1}}"#, "RC-ING-016 /attrs/a~1b~0c"),
        (r#"{"text":"a","attrs":{"":"x"}}"#, "RC-ING-018 /attrs/"),
        (r#"{"text":"a","attrs":{"n":"1","n":"1"}}"#, "RC-ING-017 /attrs/n"),
        (r#"{"text":"a","text":"b"}"#, "RC-ING-017 /text"),
        (r#"{"text":"a","te\u0078t":"b"}"#, "RC-ING-017 /text"),
        (r#"{"text":"a","attrs":{},"attrs":{}}"#, "RC-ING-017 /attrs"),
        (r#"{"text":"a","body":"b"}"#, "RC-ING-014 /body"),
        (r#"{"text":"a","x":{"deep":[1,2]}}"#, "RC-ING-014 /x"),
        (r#"{"text":"a\u0000b"}"#, "RC-ING-003 /text"),
        (r#"{"text":"a","attrs":{"k":"\u0000"}}"#, "RC-ING-003 /attrs/k"),
        (r#"{"text":"a","attrs":{"k\u0000":"v"}}"#, "RC-ING-003 /attrs"),
        (r#"{"text":"a","\u0000":"v"}"#, "RC-ING-003 "),
        (r#"{"text":"\ud800"}"#, "RC-ING-002 /text"),
        (r#"{"text":"\ud800\u0041"}"#, "RC-ING-002 /text"),
        (r#"{"text":"\udc00"}"#, "RC-ING-002 /text"),
        (r#"{"text":"\udc00\ud800"}"#, "RC-ING-002 /text"),
        ("[]", "RC-ING-016 "),
        (r#""text""#, "RC-ING-016 "),
        ("5", "RC-ING-016 "),
        ("true", "RC-ING-016 "),
        ("null", "RC-ING-016 "),
    ] {
        assert_eq!(outcome(item.as_bytes()), expect, "{item}");
    }
}

#[test]
fn limits_are_kept_to_the_byte() {
    let text = |n| format!(r#"{{"text":"{}"}}"#, "x".repeat(n));
    assert_eq!(outcome(text(TEXT_BYTES_MAX).as_bytes()), "ok");
    assert_eq!(outcome(text(TEXT_BYTES_MAX + 1).as_bytes()), "RC-ING-018 /text");
    let title = |n| format!(r#"{{"text":"","title":"{}"}}"#, "x".repeat(n));
    assert_eq!(outcome(title(TITLE_BYTES_MAX).as_bytes()), "ok");
    assert_eq!(
        outcome(title(TITLE_BYTES_MAX + 1).as_bytes()),
        "RC-ING-018 /title"
    );
    let id = |n| format!(r#"{{"text":"","id":"{}"}}"#, "x".repeat(n));
    assert_eq!(outcome(id(200).as_bytes()), "ok");
    assert_eq!(outcome(id(201).as_bytes()), "RC-ING-018 /id");
    let attrs = |n| {
        let pairs: Vec<String> = (0..n).map(|i| format!(r#""k{i}":"v""#)).collect();
        format!(r#"{{"text":"","attrs":{{{}}}}}"#, pairs.join(","))
    };
    assert_eq!(outcome(attrs(ATTRS_MAX).as_bytes()), "ok");
    assert_eq!(outcome(attrs(ATTRS_MAX + 1).as_bytes()), "RC-ING-018 /attrs");
    let value = |n| format!(r#"{{"text":"","attrs":{{"k":"{}"}}}}"#, "x".repeat(n));
    assert_eq!(outcome(value(ATTR_VALUE_BYTES_MAX).as_bytes()), "ok");
    assert_eq!(
        outcome(value(ATTR_VALUE_BYTES_MAX + 1).as_bytes()),
        "RC-ING-018 /attrs/k"
    );
}

#[test]
fn an_unknown_member_gets_a_suggestion() {
    for (name, expect) in [
        ("txt", "did you mean `text`?"),
        ("Text", "did you mean `text`?"),
        ("content", "did you mean `text`?"),
        ("titel", "did you mean `title`?"),
        ("attributes", "did you mean `attrs`?"),
        ("attr", "did you mean `attrs`?"),
        ("timestamp", "did you mean `time`?"),
        ("colour", "other names go into `attrs`"),
    ] {
        let item = format!(r#"{{"{name}":"a"}}"#);
        let Err(Refused::Document(fault)) = parse(item.as_bytes()) else {
            panic!("{name} was accepted");
        };
        assert_eq!(fault.kind, fault::UNKNOWN_MEMBER);
        assert!(fault.detail.ends_with(expect), "{name}: {}", fault.detail);
    }
    let long = format!(r#"{{"{}":"a"}}"#, "y".repeat(100_000));
    let Err(Refused::Document(fault)) = parse(long.as_bytes()) else {
        panic!("a long name was accepted");
    };
    assert!(fault.detail.len() < 200);
}

/// After the parsing suite of Nicolas Seriot, "Parsing JSON is a Minefield": what must not be read (`n`)
/// and what must (`y`), inside a document's text or in its place.
#[test]
fn json_corner_cases_are_told_apart() {
    let not_json: &[&[u8]] = &[
        b"",
        b" ",
        b"{",
        b"}",
        b"{]",
        b"[1}",
        br#"{"text":"a""#,
        br#"{"text":"a"}}"#,
        br#"{"text":"a"}]"#,
        br#"{"text":"a"}#"#,
        br#"{"text":"a"} {"text":"b"}"#,
        br#"{"text":"a",}"#,
        br#"{,"text":"a"}"#,
        br#"{"text":"a",,"id":"b"}"#,
        br#"{"text" "a"}"#,
        br#"{"text"::"a"}"#,
        br#"{"text":}"#,
        br#"{:"a"}"#,
        br#"{text:"a"}"#,
        br"{'text':'a'}",
        br#"{"text":'a'}"#,
        br#"{"text":"a" "b"}"#,
        br#"{"text":"a"/**/}"#,
        br#"/**/{"text":"a"}"#,
        br#"{"text":"a"}// end"#,
        br#"{"text":"a","id":tru}"#,
        br#"{"text":"a","id":True}"#,
        br#"{"text":"a","id":nul}"#,
        br#"{"text":"a","id":NaN}"#,
        br#"{"text":"a","id":Infinity}"#,
        br#"{"text":"a","id":-Infinity}"#,
        br#"{"text":"a","id":+1}"#,
        br#"{"text":"a","id":01}"#,
        br#"{"text":"a","id":-01}"#,
        br#"{"text":"a","id":1.}"#,
        br#"{"text":"a","id":.5}"#,
        br#"{"text":"a","id":-}"#,
        br#"{"text":"a","id":1e}"#,
        br#"{"text":"a","id":1e+}"#,
        br#"{"text":"a","id":0x1}"#,
        br#"{"text":"a","id":1 000}"#,
        br#"{"text":"a","id":[1,]}"#,
        br#"{"text":"a","id":[,1]}"#,
        br#"{"text":"a","id":[1 2]}"#,
        br#"{"text":"a","id":{"a":1,}}"#,
        br#"{"text":"\x00"}"#,
        br#"{"text":"\a"}"#,
        br#"{"text":"\u00A"}"#,
        br#"{"text":"\u00"}"#,
        br#"{"text":"\uD834\uDd"}"#,
        br#"{"text":"\"}"#,
        br#"{"text":"\u{41}"}"#,
        b"{\"text\":\"new\nline\"}",
        b"{\"text\":\"tab\there\"}",
        b"{\"text\":\"nul\x00here\"}",
        b"{\"text\":\"a\"\x00}",
        b"{\"text\":\x00\"a\"}",
        b"{\"text\":\"a\"}\x00",
        b"\xEF\xBB\xBF{\"text\":\"a\"}",
        b"\xC2\xA0{\"text\":\"a\"}",
        b"\x0C{\"text\":\"a\"}",
        b"{\"text\":\"a\",\"id\":\xE5}",
        b"\xFF\xFE{\x00}\x00",
    ];
    for item in not_json {
        assert_eq!(outcome(item), "syntax", "{}", String::from_utf8_lossy(item));
    }
    let json: &[&[u8]] = &[
        b"\t{\r\n\"text\" : \"a\" }\r\n",
        br#"{"text":"\u0061\/\b\f\n\r\t\"\\"}"#,
        br#"{"text":"\uD834\uDD1E"}"#,
        br#"{"text":"\uFFFF \uFDD0 \u2028 \u2029 \uFEFF \u200B \u007f"}"#,
        br#"{"text":"\\u0000"}"#,
        "{\"text\":\"\u{7f}\u{80}\u{2028}\u{10FFFF}\u{FEFF}\"}".as_bytes(),
        br#"{"text":"/* no comment */"}"#,
        br#"{"t\u0065xt":"a"}"#,
    ];
    for item in json {
        assert_eq!(outcome(item), "ok", "{}", String::from_utf8_lossy(item));
    }
    // JSON by its grammar, but not text.
    let not_text: &[&[u8]] = &[
        b"{\"text\":\"\xE5\"}",
        b"{\"text\":\"\xC0\xAF\"}",
        b"{\"text\":\"\xED\xA0\x80\"}",
        b"{\"text\":\"\xF4\xBF\xBF\xBF\"}",
        b"{\"text\":\"\xE0\xFF\"}",
        b"{\"text\":\"\x81\"}",
        b"{\"te\xFFxt\":\"a\"}",
        b"{\"text\":\"cut \xE2\x82\"}",
    ];
    for item in not_text {
        assert_eq!(outcome(item), "RC-ING-002 ", "{}", String::from_utf8_lossy(item));
    }
}

#[test]
fn a_syntax_fault_knows_its_byte() {
    for (item, expect) in [
        ("{\"text\": tru}", 12),
        ("{\n \"text\": \"a\",\n \"id\": ?}", 23),
        ("", 0),
    ] {
        let Err(Refused::Syntax { offset, .. }) = parse(item.as_bytes()) else {
            panic!("{item} was accepted");
        };
        assert_eq!(offset, expect, "{item}");
    }
}

#[test]
fn hostile_nesting_neither_recurses_nor_is_accepted() {
    let deep = 200_000;
    let open = "[".repeat(deep);
    let closed = format!("{open}{}", "]".repeat(deep));
    assert_eq!(outcome(open.as_bytes()), "syntax");
    assert_eq!(outcome(closed.as_bytes()), "RC-ING-016 ");
    let inside = format!(r#"{{"text":"a","x":{closed}}}"#);
    assert_eq!(outcome(inside.as_bytes()), "RC-ING-014 /x");
}
