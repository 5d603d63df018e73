use super::*;

const TAG: HeaderValue = HeaderValue::from_static("\"3-ab\"");

fn asked(name: header::HeaderName, value: &str) -> bool {
    let mut headers = HeaderMap::new();
    headers.insert(name, HeaderValue::from_str(value).unwrap());
    is_current(&headers, &TAG, Timestamp::parse("1994-11-06T08:49:37.500Z"))
}

#[test]
fn entity_tags_are_compared_weakly_and_in_lists() {
    for current in [
        "\"3-ab\"",
        "W/\"3-ab\"",
        "\"x\", \"3-ab\"",
        "\"a,b\",W/\"3-ab\"",
        "*",
        " \"3-ab\" ",
        "\"a\",,\"3-ab\"",
    ] {
        assert!(asked(header::IF_NONE_MATCH, current), "{current}");
    }
    for other in [
        "\"3-a\"",
        "3-ab",
        "",
        "\"3-ab",
        "\"x\",\"y\"",
        "W/3-ab",
        "\"*\"",
        "\"\"",
    ] {
        assert!(!asked(header::IF_NONE_MATCH, other), "{other}");
    }
}

#[test]
fn several_fields_are_one_list() {
    let mut headers = HeaderMap::new();
    headers.append(header::IF_NONE_MATCH, HeaderValue::from_static("\"x\""));
    headers.append(header::IF_NONE_MATCH, TAG);
    assert!(is_current(&headers, &TAG, None));
}

#[test]
fn a_time_counts_where_no_tag_was_sent() {
    assert!(asked(header::IF_MODIFIED_SINCE, "Sun, 06 Nov 1994 08:49:37 GMT"));
    assert!(!asked(header::IF_MODIFIED_SINCE, "Sun, 06 Nov 1994 08:49:36 GMT"));
    assert!(!asked(header::IF_MODIFIED_SINCE, "yesterday"));
    let mut headers = HeaderMap::new();
    headers.insert(header::IF_NONE_MATCH, HeaderValue::from_static("\"x\""));
    headers.insert(
        header::IF_MODIFIED_SINCE,
        HeaderValue::from_static("Sun, 06 Nov 2044 08:49:37 GMT"),
    );
    assert!(!is_current(&headers, &TAG, Some(Timestamp::from_unix_ms(0))));
}

#[test]
fn last_modified_is_an_http_date() {
    let at = Timestamp::parse("1994-11-06T08:49:37.999Z").unwrap();
    assert_eq!(last_modified(at).unwrap(), "Sun, 06 Nov 1994 08:49:37 GMT");
}
