use super::*;
use proptest::prelude::*;

/// A head as [`crate::forward`] writes it.
fn head(target: &str, fields: &str) -> String {
    format!(
        "GET {target} HTTP/1.1\r\nhost: a.test\r\n{fields}x-rc-tenant: acme\r\ntraceparent: 00-1-2-01\r\n"
    )
}

fn key(tenant: Option<&str>, head: &str, vary: &[&str]) -> (Owner, Question) {
    let vary: Vec<Box<str>> = vary.iter().map(|name| (*name).into()).collect();
    let key = Key::new(Owner::test(tenant), &Asked::read(head.as_bytes()).unwrap(), &vary);
    (key.owner, Arc::into_inner(key.question).unwrap())
}

#[test]
fn what_could_be_read_in_two_ways_is_two_questions() {
    let targets = [
        "/d/a/b",
        "/d/a%2Fb",
        "/d/a%2fb",
        "/d/a%62",
        "/d/ab",
        "/d/ab/",
        "/d/ab?",
        "/d/ab?x&y",
        "/d/ab?y&x",
        "/d/ab?x=1&x=2",
        "/d/ab?x=2&x=1",
        "/d/AB",
        "/d/ab?x%3D1",
        "/d/ab;v=1",
    ];
    for (at, one) in targets.iter().enumerate() {
        for other in &targets[..at] {
            let (one, other) = (head(one, ""), head(other, ""));
            assert_ne!(
                key(Some("acme"), &one, &[]),
                key(Some("acme"), &other, &[]),
                "{one} {other}"
            );
        }
    }
    let target = head("/d", "");
    assert_ne!(key(Some("acme"), &target, &[]), key(Some("globex"), &target, &[]));
    assert_ne!(key(Some("acme"), &target, &[]), key(None, &target, &[]));
}

#[test]
fn spelling_that_means_nothing_makes_no_new_question() {
    let plain = head("/d", "Accept: a\r\n");
    let odd = "GET /d HTTP/1.1\r\nHOST: A.Test\r\naCCePt:   a  \r\nx-other: 1\r\n";
    assert_eq!(
        key(Some("acme"), &plain, &["accept"]),
        key(Some("acme"), odd, &["accept"])
    );
    let (absent, empty) = (head("/d", ""), head("/d", "Accept:\r\n"));
    assert_ne!(
        key(Some("acme"), &absent, &["accept"]),
        key(Some("acme"), &empty, &["accept"])
    );
    let (two, one) = (
        head("/d", "Accept: a\r\nAccept: b\r\n"),
        head("/d", "Accept: a, b\r\n"),
    );
    assert_eq!(
        key(Some("acme"), &two, &["accept"]),
        key(Some("acme"), &one, &["accept"])
    );
    // One version does not answer for another.
    let (stable, canary) = (
        head("/d", "x-rc-version: stable\r\n"),
        head("/d", "x-rc-version: next\r\n"),
    );
    assert_ne!(key(Some("acme"), &stable, &[]), key(Some("acme"), &canary, &[]));
    // A value cannot pass for the next field's.
    let (left, right) = (head("/d", "A: 1\r\nB: 2\r\n"), head("/d", "A: 1, 2\r\n"));
    assert_ne!(
        key(Some("acme"), &left, &["a", "b"]),
        key(Some("acme"), &right, &["a", "b"])
    );
}

#[test]
fn only_the_service_answers_parts_conditions_credentials_and_who_wants_no_copy() {
    for fields in [
        "Range: bytes=0-1\r\n",
        "If-Match: \"a\"\r\n",
        "If-Range: \"a\"\r\n",
        "If-Unmodified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n",
        "Cookie: a=b\r\n",
        "Authorization: Basic YTpi\r\n",
        "X-API-Key: theirs\r\n",
        "Cache-Control: no-cache\r\n",
        "cache-control: max-age=5, NO-STORE\r\n",
        "Cache-Control: max-age=0\r\n",
        "Cache-Control: max-age=soon\r\n",
        "Pragma: no-cache\r\n",
    ] {
        assert!(Asked::read(head("/d", fields).as_bytes()).is_none(), "{fields}");
    }
    let head = head(
        "/d",
        "Cache-Control: max-age=9, max-age=5\r\nIf-None-Match: \"a\"\r\n",
    );
    let asked = Asked::read(head.as_bytes()).unwrap();
    assert!(asked.takes_age(5) && !asked.takes_age(6));
}

#[test]
fn tags_are_compared_as_they_are_quoted() {
    let has = |list: &str, tag: &str| {
        let head = head("/d", &format!("If-None-Match: {list}\r\n"));
        Asked::read(head.as_bytes()).unwrap().has(tag.as_bytes())
    };
    assert!(has("\"a\"", "\"a\"") && has("W/\"a\"", "\"a\"") && has("\"a\"", "W/\"a\"") && has("*", "\"a\""));
    assert!(has("\"b\", \"a,c\" ,W/\"d\"", "\"a,c\"") && has("\"b\", \"a,c\" ,W/\"d\"", "\"d\""));
    assert!(
        !has("\"b\", \"a,c\"", "\"c\"") && !has("a", "\"a\"") && !has("\"a", "\"a\"") && !has("", "\"\"")
    );
}

#[test]
fn the_fetch_asks_without_the_first_ones_conditions() {
    let asked = "HEAD /d?If-None-Match: HTTP/1.1\r\nhost: a\r\nIf-None-Match: \"a\"\r\nif-modified-since: b\r\nX: c\r\n";
    let sent = unconditional(asked.as_bytes());
    assert_eq!(
        String::from_utf8(sent).unwrap(),
        "GET /d?If-None-Match: HTTP/1.1\r\nhost: a\r\nX: c\r\n"
    );
}

proptest! {
    #[test]
    fn one_key_means_one_owner_and_one_head(
        (one, other) in {
            let asked = (
                prop::option::of("[a-b]{1,2}"),
                "/[a-b%/?&=]{0,4}",
                "[a-bA-B.]{1,3}",
                prop::option::of("[a-b ,]{0,3}"),
            );
            (asked.clone(), asked)
        }
    ) {
        let read = |(tenant, target, host, accept): &(Option<String>, String, String, Option<String>)| {
            let accept = accept.as_ref().map_or(String::new(), |value| format!("Accept: {value}\r\n"));
            let head = format!("GET {target} HTTP/1.1\r\nhost: {host}\r\n{accept}");
            key(tenant.as_deref(), &head, &["accept"])
        };
        let same = one.0 == other.0
            && one.1 == other.1
            && one.2.eq_ignore_ascii_case(&other.2)
            && one.3.as_deref().map(str::trim) == other.3.as_deref().map(str::trim);
        prop_assert_eq!(read(&one) == read(&other), same);
    }
}
