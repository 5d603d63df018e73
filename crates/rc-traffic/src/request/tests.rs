use super::*;
use proptest::prelude::*;

fn head<'a>(target: &'a str, protocol: Protocol, fields: &'a [Header<'a>]) -> Head<'a> {
    Head {
        method: "POST",
        target,
        authority: None,
        protocol,
        streams: false,
        fields,
    }
}

fn field<'a>(name: &'a str, value: &'a str) -> Header<'a> {
    Header {
        name,
        value: value.as_bytes(),
    }
}

#[test]
fn a_plain_head_is_read() {
    let fields = [
        field("Host", "gw.test:8080"),
        field("Content-Length", "12"),
        field("X-API-Key", "k"),
        field("Accept", "*/*"),
        field("Cookie", "a=b"),
        field("X-Request-Id", "id-1"),
        field("X-Request-Timeout-Ms", "250"),
        field("Connection", "close, cookie"),
    ];
    let head = head("/docs/1?q=a%20b", Protocol::Http11, &fields);
    let facts = Facts::read(&head).unwrap();
    assert_eq!(
        (facts.host, facts.path, facts.query),
        ("gw.test:8080", "/docs/1", Some("q=a%20b"))
    );
    assert_eq!(facts.framing, Framing::Length(12));
    assert_eq!(
        (facts.request_id, facts.timeout_ms, facts.close),
        (Some("id-1"), Some(250), true)
    );
    let forwarded: Vec<_> = (0..fields.len()).filter(|at| facts.forward[*at]).collect();
    assert_eq!(forwarded, [3], "only Accept: the cookie is named by Connection");
}

#[test]
fn request_ids_that_could_break_a_log_are_replaced() {
    for bad in ["", "a b", "a\tb", "é", &"x".repeat(129)] {
        let fields = [field("Host", "a"), field("X-Request-Id", bad)];
        let head = head("/", Protocol::Http11, &fields);
        assert_eq!(Facts::read(&head).unwrap().request_id, None, "{bad}");
    }
}

#[test]
fn two_traces_are_no_trace() {
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let fields = [
        field("Host", "a"),
        field("tracestate", "k=v"),
        field("traceparent", trace),
        field("traceparent", trace),
    ];
    let head = head("/", Protocol::Http11, &fields);
    let facts = Facts::read(&head).unwrap();
    assert_eq!(facts.traceparent, None);
    assert!(!facts.forward[1], "a state without its trace stays behind");
}

#[test]
fn names_that_the_gateway_owns_never_go_on() {
    for name in [
        "x-rc-tenant",
        "X-Rc-Admin",
        "X-RC-",
        "x_rc_tenant",
        "x-rc_tenant",
        "X_Forwarded_For",
        "x-forwarded-host",
        "X-Forwarded-Anything",
        "forwarded",
        "x-real-ip",
        "authorization",
        "x-api-key",
        "x_api_key",
        "any_thing",
        "content_length",
        "te",
        "trailer",
        "keep-alive",
        "proxy-connection",
        "proxy-authorization",
        "http2-settings",
        "x-request-id",
        "traceparent",
        "x-request-timeout-ms",
    ] {
        let value = if name == "x-request-timeout-ms" { "1" } else { "x" };
        let fields = [field("Host", "a"), field(name, value)];
        let head = head("/", Protocol::Http11, &fields);
        assert!(!Facts::read(&head).unwrap().forward[1], "{name}");
    }
}

#[test]
fn hosts_are_names_or_addresses_with_an_optional_port() {
    for good in [
        "a",
        "a.b-c_d~e",
        "127.0.0.1",
        "127.0.0.1:80",
        "[::1]",
        "[fe80::1]:65535",
        "a:",
    ] {
        assert!(is_host(good), "{good}");
    }
    for bad in [
        "", ":80", "a b", "a/b", "a@b", "a?b", "a#b", "a:b", "a:123456", "[::1", "::1", "[x]", "[::1]x", "é",
        "a,b", "a:80:80",
    ] {
        assert!(!is_host(bad), "{bad}");
    }
}

const LINES: &[&str] = &[
    "Host: a",
    "host: a",
    "Host: b",
    "Content-Length: 3",
    "content-length: 3",
    "Content-Length: 4",
    "Content-Length: +3",
    "Content-Length: 3, 3",
    "Content-Length : 3",
    "Transfer-Encoding: chunked",
    "transfer-encoding: CHUNKED",
    "Transfer-Encoding: identity",
    "Transfer-Encoding: chunked, chunked",
    "Transfer_Encoding: chunked",
    "X: y",
    "Connection: content-length",
    "Connection: transfer-encoding, close",
    " folded",
    "X:\ty",
    "X: \u{b}y",
];

/// What a careful reader makes of the same lines, written independently of the code under test.
fn careful(lines: &[&str]) -> Option<(usize, Option<u64>, bool)> {
    let named = |name: &str| {
        let matching = lines.iter().filter_map(|line| line.split_once(':'));
        matching
            .filter(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim_matches([' ', '\t']).to_owned())
            .collect::<Vec<_>>()
    };
    let (lengths, codings) = (named("content-length"), named("transfer-encoding"));
    let clean = lines.iter().all(|line| {
        let name = line.split(':').next().unwrap();
        line.contains(':') && !name.contains([' ', '\t']) && !line.contains('\u{b}')
    });
    let one_length = lengths.len() <= 1
        && lengths
            .iter()
            .all(|length| length.bytes().all(|b| b.is_ascii_digit()));
    let one_coding = codings.len() <= 1
        && codings
            .iter()
            .all(|coding| coding.eq_ignore_ascii_case("chunked"));
    let both = !lengths.is_empty() && !codings.is_empty();
    let hosts = named("host").len();
    (clean && one_length && one_coding && !both && hosts == 1).then(|| {
        (
            lines.len(),
            lengths.first().and_then(|length| length.parse().ok()),
            !codings.is_empty(),
        )
    })
}

proptest! {
    /// Whatever lines come together: the gateway accepts exactly what the careful reader accepts, and frames
    /// the body the same way.
    #[test]
    fn framing_is_accepted_only_when_there_is_one_way_to_read_it(
        lines in proptest::collection::vec(proptest::sample::select(LINES), 0..7),
    ) {
        let text = format!("POST / HTTP/1.1\r\n{}\r\n\r\n", lines.join("\r\n"));
        let text = text.replace("\r\n\r\n\r\n", "\r\n\r\n");
        let mut at = 0;
        let end = crate::wire::head_end(text.as_bytes(), &mut at);
        let mut room = [httparse::EMPTY_HEADER; FIELDS_MAX];
        let mut request = httparse::Request::new(&mut room);
        let parsed = end.is_ok() && request.parse(text.as_bytes()).is_ok_and(|status| status.is_complete());
        let facts = parsed.then(|| {
            let head = head("/", Protocol::Http11, request.headers);
            Facts::read(&head).ok().map(|facts| facts.framing)
        }).flatten();
        let expected = careful(&lines).map(|(_, length, chunked)| match (chunked, length) {
            (true, _) => Framing::Unknown,
            (false, None | Some(0)) => Framing::None,
            (false, Some(length)) => Framing::Length(length),
        });
        prop_assert_eq!(facts, expected, "{}", text);
    }

    /// Any bytes in fields and target: an answer, never a panic, and never a line end in what goes on.
    #[test]
    fn hostile_fields_do_no_harm(target in "\\PC{0,40}", names in proptest::collection::vec("[!-~]{0,20}", 0..10), value in "\\PC{0,40}") {
        let fields: Vec<_> = names.iter().map(|name| field(name, &value)).collect();
        let head = head(&target, Protocol::Http11, &fields);
        let _ = Facts::read(&head);
    }
}
