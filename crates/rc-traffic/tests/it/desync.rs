//! More of the public smuggling catalogue: who believes that a body is there, that it ends, or which host was meant.
//!
//! [`crate::smuggling`] has the framing headers and chunks, [`crate::ambiguity`] heads, hosts and paths.

use crate::h2_raw::{DATA, END_HEADERS, END_STREAM, H2, HEADERS, Outcome, block, request};
use crate::smuggling::Expect::{Refused, Seen};
use crate::smuggling::{HIDDEN, Rig};

/// A request that hides in another one's body.
fn hidden(rig: &Rig) -> String {
    HIDDEN.replace("{auth}", rig.live.auth().trim_end())
}

/// A request that is refused although its framing is clear, so that the connection may go on.
fn expect_400(rig: &Rig, name: &str, raw: &str) {
    let before = rig.service.seen().len();
    let mut client = rig.live.client();
    client.send(raw.replace("{auth}", rig.live.auth().trim_end()));
    let reply = client.reply();
    assert_eq!(reply.status, 400, "{name}: {reply:?}");
    assert_eq!(rig.service.seen().len(), before, "{name}");
}

#[test]
fn a_body_belongs_to_its_request_whatever_the_method_and_the_framing() {
    let rig = Rig::new();
    let hidden = hidden(&rig);
    // TE.0 and 0.CL: some servers take it that these methods have no body.
    for method in ["GET", "HEAD", "OPTIONS", "DELETE", "POST"] {
        let mut client = rig.live.client();
        let head = rig
            .live
            .request(&format!("{method} /up"), "Transfer-Encoding: chunked\r\n");
        let next = rig.live.request("GET /up/next", "");
        client.send(format!("{head}{:x}\r\n{hidden}\r\n0\r\n\r\n{next}", hidden.len()));
        assert_eq!(
            client.reply_to(method == "HEAD").expect("an answer").status,
            200,
            "{method}"
        );
        assert_eq!(client.reply().text(), "GET /up/next HTTP/1.1", "{method}");
        let seen = rig.service.seen();
        let (body, last) = (&seen[seen.len() - 2], &seen[seen.len() - 1]);
        assert_eq!(
            (body.body.as_slice(), last.line()),
            (hidden.as_bytes(), "GET /up/next HTTP/1.1")
        );
    }
    // An early answer by a path that nobody serves, or that the gateway answers itself, changes nothing.
    for path in ["/nowhere", "/health", "/up/../x"] {
        let before = rig.service.seen().len();
        let mut client = rig.live.client();
        let head = rig.live.request(
            &format!("GET {path}"),
            &format!("Content-Length: {}\r\n", hidden.len()),
        );
        client.send(format!("{head}{hidden}"));
        let _refused_or_alive = client.reply();
        client.send(rig.live.request("GET /up/next", ""));
        if let Some(reply) = client.reply_to(false) {
            assert_eq!(reply.text(), "GET /up/next HTTP/1.1", "{path}");
        }
        let smuggled = rig.service.seen()[before..]
            .iter()
            .any(|seen| seen.line().contains("smuggled"));
        assert!(!smuggled, "{path}");
    }
}

#[test]
fn an_expectation_frames_nothing() {
    let rig = Rig::new();
    let hidden = hidden(&rig);
    for expect in [
        "Expect: 100-continue, 100-continue",
        "Expect: y 100-continue",
        "Expect: 100-continue;a=b",
        "Expect:\n100-continue",
        "Expect: 100\u{2d}continue\u{b}",
        "Expect: 200-ok",
        "Expect:",
    ] {
        let mut client = rig.live.client();
        let length = hidden.len();
        client.send(
            rig.live
                .request("POST /up", &format!("{expect}\r\nContent-Length: {length}\r\n"))
                + &hidden,
        );
        let reply = client.reply();
        assert!(matches!(reply.status, 400 | 417), "{expect}: {reply:?}");
        assert_eq!(reply.header("connection"), Some("close"), "{expect}");
        assert!(client.is_closed(), "{expect}");
    }
    assert!(rig.service.seen().is_empty(), "{:?}", rig.service.seen());
    // A client that does not wait for what it asked for is read as it is framed.
    let mut client = rig.live.client();
    let head = rig
        .live
        .request("POST /up", "Expect: 100-Continue\r\nContent-Length: 5\r\n");
    client.send(format!("{head}hello{}", rig.live.request("GET /up/next", "")));
    assert_eq!(client.reply().status, 200);
    assert_eq!(client.reply().text(), "GET /up/next HTTP/1.1");
    assert_eq!(
        rig.service.seen()[0].header("expect"),
        None,
        "the gateway keeps its own promise"
    );
}

#[test]
fn methods_and_targets_with_hidden_characters_are_refused() {
    let rig = Rig::new();
    for line in [
        "G\0T /up HTTP/1.1",
        "GET\u{b}/up HTTP/1.1",
        "G@T /up HTTP/1.1",
        "GET: /up HTTP/1.1",
        "\"GET\" /up HTTP/1.1",
        "GET /up\u{1} HTTP/1.1",
        "GET /up\u{7f} HTTP/1.1",
        "GET /up\u{e9} HTTP/1.1",
        "GET /up?a\u{0}b HTTP/1.1",
        "GET /up?\u{e9} HTTP/1.1",
        "GET /up?a\"b HTTP/1.1",
        "GET /up?<a> HTTP/1.1",
        "GET up HTTP/1.1",
        "GET ?up HTTP/1.1",
        "GET http://gw.test?up HTTP/1.1",
        "GET http:///up HTTP/1.1",
        "GET http:/up HTTP/1.1",
        "GET //gw.test/up HTTP/1.1",
        "GET \\up HTTP/1.1",
    ] {
        expect_400(
            &rig,
            line,
            &format!("{line}\r\nHost: gw.test\r\n{{auth}}\r\n\r\n"),
        );
    }
}

#[test]
fn a_target_with_a_host_agrees_with_the_host_field_to_the_letter() {
    let rig = Rig::new();
    for (target, host) in [
        ("http://gw.test:80/up", "gw.test"),
        ("http://gw.test/up", "gw.test:80"),
        ("http://gw.test./up", "gw.test"),
        ("http://user@gw.test/up", "gw.test"),
        ("http://user:pass@gw.test/up", "user:pass@gw.test"),
        ("http://gw.test#@evil.test/up", "gw.test"),
        ("http://gw.test\\@evil.test/up", "gw.test"),
        ("http://evil.test/up", "gw.test"),
        ("http://gw.test,evil.test/up", "gw.test,evil.test"),
        ("http://gw%2etest/up", "gw%2etest"),
        ("http://[::1/up", "[::1"),
        ("http://[::1%25lo]/up", "[::1%25lo]"),
        ("http://gw.test:/up", "gw.test:80"),
        ("http://gw.test:123456/up", "gw.test:123456"),
    ] {
        let raw = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n{{auth}}\r\n\r\n");
        expect_400(&rig, target, &raw);
    }
    let raw = "GET HTTP://GW.test/up HTTP/1.1\r\nHost: gw.TEST\r\n{auth}\r\n\r\n";
    rig.check("case", raw, &Seen(&["GET /up HTTP/1.1"]));
    for second in [
        "Host : evil",
        "Host\t: evil",
        " Host: evil",
        "\tHost: evil",
        "Host\0: evil",
        "host: gw.test",
        "Host:",
    ] {
        let raw = format!("GET /up HTTP/1.1\r\nHost: gw.test\r\n{second}\r\n{{auth}}\r\n\r\n");
        rig.check(second, &raw, &Refused(400));
    }
    // Other names for the host stay behind.
    let names = "X-Forwarded-Host: evil\r\nForwarded: host=evil\r\nX_Forwarded_Host: evil\r\n";
    rig.check(
        "names",
        &format!("GET /up HTTP/1.1\r\nHost: gw.test\r\n{names}{{auth}}\r\n\r\n"),
        &Seen(&["GET /up HTTP/1.1"]),
    );
    let seen = rig.service.seen();
    let last = seen.iter().rfind(|seen| seen.line() == "GET /up HTTP/1.1");
    let last = last.expect("it was seen");
    assert_eq!(
        (last.header("host"), last.header("x-forwarded-host")),
        (Some("gw.test"), None)
    );
    assert_eq!(
        (last.header("forwarded"), last.header("x_forwarded_host")),
        (None, None)
    );
}

#[test]
fn lengths_in_other_spellings_are_refused() {
    let rig = Rig::new();
    for length in [
        "0b101", "0o5", "5e0", "5L", "5,", ",5", "5\t5", "\u{665}", "\u{ff15}", "5\0", "5\r", "--5", "5-5",
        "0x", "5%20",
    ] {
        let raw = format!(
            "POST /up HTTP/1.1\r\nHost: gw.test\r\n{{auth}}\r\nContent-Length: {length}\r\n\r\nhello{HIDDEN}"
        );
        rig.check(length, &raw, &Refused(400));
    }
    for name in [
        "Content-Length\0",
        "Content\u{ad}-Length",
        "Content Length",
        "Content-Length\u{a0}",
        "\u{feff}Content-Length",
    ] {
        let raw = format!("POST /up HTTP/1.1\r\nHost: gw.test\r\n{{auth}}\r\n{name}: 5\r\n\r\nhello{HIDDEN}");
        rig.check(name, &raw, &Refused(400));
    }
    // Zeros in front change no number, and the service gets it without them.
    let raw = "POST /up HTTP/1.1\r\nHost: gw.test\r\n{auth}\r\nContent-Length: 005\r\n\r\nhello";
    rig.check("zeros", raw, &Seen(&["POST /up HTTP/1.1"]));
    let seen = rig.service.seen();
    let lengths = seen.iter().filter_map(|seen| seen.header("content-length"));
    assert_eq!(lengths.collect::<Vec<_>>(), ["5", "5"]);
}

#[test]
fn a_connection_field_takes_no_framing_away() {
    let rig = Rig::new();
    for (framing, body) in [
        ("Content-Length: 5", "hello"),
        ("Transfer-Encoding: chunked", "5\r\nhello\r\n0\r\n\r\n"),
    ] {
        let raw = format!(
            "POST /up HTTP/1.1\r\nHost: gw.test\r\n{{auth}}\r\nConnection: content-length, transfer-encoding, host\r\n{framing}\r\n\r\n{body}"
        );
        rig.check(framing, &raw, &Seen(&["POST /up HTTP/1.1"]));
        let seen = rig.service.seen();
        let seen: Vec<_> = seen
            .iter()
            .filter(|seen| seen.line().starts_with("POST"))
            .collect();
        assert!(
            seen.iter()
                .all(|seen| seen.body == b"hello" && seen.header("host") == Some("gw.test"))
        );
    }
}

#[test]
fn trailers_change_nothing_that_was_decided() {
    let rig = Rig::new();
    for trailer in [
        "Content-Length: 99",
        "Transfer-Encoding: identity",
        "Host: evil.test",
        "X-API-Key: none",
        "Authorization: Bearer none",
        "X-RC-Tenant: evil",
        "Connection: close",
        "Expect: 200-ok",
    ] {
        let raw = format!(
            "POST /up HTTP/1.1\r\nHost: gw.test\r\n{{auth}}\r\nTE: trailers\r\nTrailer: Host\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n{trailer}\r\n\r\n"
        );
        rig.check(trailer, &raw, &Seen(&["POST /up HTTP/1.1"]));
        let seen = rig.service.seen();
        let last = seen
            .iter()
            .rfind(|seen| seen.line().starts_with("POST"))
            .expect("it was seen");
        assert_eq!(
            (last.header("te"), last.header("trailer")),
            (None, None),
            "{trailer}"
        );
        assert_eq!(
            (last.header("host"), last.header("x-rc-tenant")),
            (Some("gw.test"), Some("acme"))
        );
    }
    assert!(!rig.service.raw().contains("evil"));
}

#[test]
fn other_protocols_on_an_http_1_connection_are_refused_or_ignored() {
    let rig = Rig::new();
    let before = "GET /up HTTP/1.1\r\nHost: gw.test\r\n{auth}\r\n";
    rig.check(
        "websocket",
        &format!("{before}Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"),
        &Refused(400),
    );
    rig.check(
        "list",
        &format!("{before}Connection: Upgrade\r\nUpgrade: h2c, websocket\r\n\r\n"),
        &Refused(400),
    );
    // h2c smuggling: the upgrade is ignored and stays behind; what follows is HTTP/1 and checked like any other.
    let h2c = format!(
        "{before}Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n"
    );
    rig.check(
        "h2c",
        &format!("{h2c}{before}\r\n"),
        &Seen(&["GET /up HTTP/1.1", "GET /up HTTP/1.1"]),
    );
    for gone in ["h2c", "HTTP2-Settings", "AAMAAABk"] {
        assert!(!rig.service.raw().contains(gone), "{gone}");
    }
    for raw in [
        "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
        "PRI * HTTP/1.1\r\nHost: gw.test\r\n\r\n",
        "GET /up HTTP/2\r\nHost: gw.test\r\n\r\n",
        "GET /up\r\n\r\n",
        "\u{16}\u{3}\u{1}\0\u{1}\r\n\r\n",
    ] {
        let mut client = rig.live.client();
        client.send(raw);
        let reply = client.reply();
        assert!(matches!(reply.status, 400 | 405 | 505), "{raw:?}: {reply:?}");
        assert!(client.is_closed(), "{raw:?}");
    }
    // A preface behind a request is a request that is malformed.
    let mut client = rig.live.client();
    client.send(rig.live.request("GET /up", "") + "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    assert_eq!(client.reply().status, 200);
    assert!(matches!(client.reply().status, 400 | 505));
    assert!(client.is_closed());
}

#[test]
fn fields_of_http_2_that_would_be_lines_of_http_1_reach_no_service() {
    let rig = Rig::new();
    let key = rig.live.key.reveal().to_owned();
    let evil = "a\r\n\r\nGET /up/smuggled HTTP/1.1\r\nHost: a";
    for (name, value) in [
        ("x", evil),
        ("x", "a\rb"),
        ("x", "a\u{0}"),
        ("x: y\r\nz", "a"),
        ("x ", "a"),
        ("x:", "a"),
        (" x", "a"),
        ("x\u{7f}", "a"),
        ("content-length", "5\r\nx: y"),
        ("content-length", "-1"),
        ("transfer-encoding", "identity"),
        ("transfer-encoding", ""),
        ("Transfer-Encoding", "chunked"),
        ("host", evil),
        (":method", "POST"),
        (":authority", "evil.test"),
        (":scheme", evil),
        (":status", "200"),
    ] {
        let mut client = H2::connect(&rig.live);
        let mut fields = request("GET", "/up", &key);
        fields.push((name, value));
        client.headers(1, END_STREAM, &fields);
        let outcome = client.outcome(1);
        assert!(
            matches!(outcome, Outcome::Reset | Outcome::GoAway | Outcome::Status(400)),
            "{name:?}: {value:?}: {outcome:?}"
        );
    }
    for (path, authority) in [
        ("/up\t/x", "gw.test"),
        ("/up?a b", "gw.test"),
        ("/up\u{e9}", "gw.test"),
        ("up", "gw.test"),
        ("/up", "gw.test:80x"),
        ("/up", "gw.test, evil.test"),
        ("/up", "[::1"),
        ("/up", ""),
    ] {
        let mut client = H2::connect(&rig.live);
        let fields = [
            (":method", "GET"),
            (":scheme", "http"),
            (":path", path),
            (":authority", authority),
            ("x-api-key", &key),
        ];
        client.headers(1, END_STREAM, &fields);
        let outcome = client.outcome(1);
        assert!(
            matches!(outcome, Outcome::Reset | Outcome::GoAway | Outcome::Status(400)),
            "{path:?} at {authority:?}: {outcome:?}"
        );
    }
    assert!(rig.service.seen().is_empty(), "{:?}", rig.service.seen());
    // The engine cuts a fragment off.
    let mut client = H2::connect(&rig.live);
    client.headers(1, END_STREAM, &request("GET", "/up/a#/../b", &key));
    assert_eq!(client.outcome(1), Outcome::Status(200));
    assert_eq!(rig.service.seen()[0].line(), "GET /up/a HTTP/1.1");
}

#[test]
fn trailers_of_http_2_end_here() {
    let rig = Rig::new();
    let key = rig.live.key.reveal().to_owned();
    let mut client = H2::connect(&rig.live);
    client.headers(1, 0, &request("POST", "/up", &key));
    client.frame(DATA, 0, 1, b"hello");
    let trailers = block(&[("x-rc-tenant", "evil"), ("x-late", "evil")]);
    client.frame(HEADERS, END_STREAM | END_HEADERS, 1, &trailers);
    assert_eq!(client.outcome(1), Outcome::Status(200));
    assert_eq!(rig.service.seen()[0].body, b"hello");
    // Pseudo fields in trailers are malformed (RFC 9113, section 8.1). Refused or not, they mean nothing.
    let mut client = H2::connect(&rig.live);
    client.headers(1, 0, &request("POST", "/up", &key));
    client.frame(DATA, 0, 1, b"hello");
    client.frame(
        HEADERS,
        END_STREAM | END_HEADERS,
        1,
        &block(&[(":path", "/up/smuggled")]),
    );
    let _refused_or_not = client.outcome(1);
    assert!(!rig.service.raw().contains("evil") && !rig.service.raw().contains("smuggled"));
}
