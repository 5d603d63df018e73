//! Values of every form, and texts that are none.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn read(type_oid: u32, text: &str) -> Value {
    let mut out = String::new();
    write(&mut out, type_oid, text);
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{text} became {out}: {error}"))
}

#[test]
fn values_become_the_json_that_the_table_says() {
    let cases = [
        (16, "t", json!(true)),
        (20, "-9223372036854775808", json!(i64::MIN)),
        (701, "1e-07", json!(1e-7)),
        (701, "NaN", json!("NaN")),
        (701, "-Infinity", json!("-Infinity")),
        (
            1700,
            "123456789012345678901234567890.10",
            json!("123456789012345678901234567890.10"),
        ),
        (1700, "NaN", json!("NaN")),
        (25, "a\"b\\ \u{1F600}\n", json!("a\"b\\ \u{1F600}\n")),
        (17, "\\x00ff", json!("AP8=")),
        (17, "\\x", json!("")),
        (3802, "{\"a\": [1, null]}", json!({"a": [1, null]})),
        (
            1184,
            "2026-11-21 16:40:00.123456+00",
            json!("2026-11-21T16:40:00.123456Z"),
        ),
        (1184, "infinity", json!("infinity")),
        (
            1184,
            "0044-03-15 00:00:00+00 BC",
            json!("0044-03-15 00:00:00+00 BC"),
        ),
        (1114, "2026-11-21 16:40:00", json!("2026-11-21T16:40:00")),
        (
            2950,
            "018f0000-0000-7000-8000-000000000000",
            json!("018f0000-0000-7000-8000-000000000000"),
        ),
        (1007, "{1,NULL,-3}", json!([1, null, -3])),
        (1007, "{}", json!([])),
        (1007, "{{1,2},{3,4}}", json!([[1, 2], [3, 4]])),
        (1007, "[0:1]={1,2}", json!("[0:1]={1,2}")),
        (
            1009,
            "{plain,\"a \\\"b\\\", {c}\",\"NULL\",NULL,\"\"}",
            json!(["plain", "a \"b\", {c}", "NULL", null, ""]),
        ),
        (1231, "{1.10,NULL}", json!(["1.10", null])),
        (3807, "{\"{\\\"a\\\": 1}\",null}", json!([{"a": 1}, null])),
        (99999, "mood", json!("mood")),
    ];
    for (type_oid, text, expect) in cases {
        assert_eq!(read(type_oid, text), expect, "{type_oid} {text}");
    }
}

proptest! {
    #[test]
    fn any_text_of_any_type_is_json(
        text in any::<String>(),
        braces in "[{}\",\\\\NUL0-9 ]{0,20}",
        type_oid in prop::sample::select(vec![16_u32, 17, 20, 23, 25, 114, 700, 1000, 1001, 1007, 1009, 1114, 1184, 1185, 3802, 3807]),
    ) {
        read(type_oid, &text);
        read(type_oid, &braces);
    }
}
