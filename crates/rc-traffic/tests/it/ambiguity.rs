//! Heads, hosts, paths and answers that two programs could read in two ways.

use crate::smuggling::Expect::{Refused, Seen};
use crate::smuggling::{HIDDEN, Rig};
use crate::support::{Service, Setup};

#[test]
fn heads_with_bare_line_ends_folds_and_hidden_characters_are_refused() {
    let rig = Rig::new();
    let start = "GET /up HTTP/1.1\r\nHost: gw.test\r\n{auth}\r\n";
    for (name, raw) in [
        (
            "bare LF everywhere",
            "GET /up HTTP/1.1\nHost: gw.test\n\n".to_owned(),
        ),
        (
            "bare LF after the request line",
            "GET /up HTTP/1.1\nHost: gw.test\r\n{auth}\r\n\r\n".to_owned(),
        ),
        ("bare LF after a field", format!("{start}A: b\nC: d\r\n\r\n")),
        ("bare LF ends the head", format!("{start}A: b\r\n\n{HIDDEN}")),
        ("bare CR in a value", format!("{start}A: b\rC: d\r\n\r\n")),
        ("bare CR ends a line", format!("{start}A: b\r\rC: d\r\n\r\n")),
        ("CR CR LF", format!("{start}A: b\r\r\n\r\n")),
        ("obs-fold with space", format!("{start}A: b\r\n c\r\n\r\n")),
        ("obs-fold with tab", format!("{start}A: b\r\n\tc\r\n\r\n")),
        (
            "fold before the first field",
            "GET /up HTTP/1.1\r\n Host: gw.test\r\n\r\n".to_owned(),
        ),
        ("space before the colon", format!("{start}A : b\r\n\r\n")),
        ("tab before the colon", format!("{start}A\t: b\r\n\r\n")),
        ("no colon", format!("{start}A\r\n\r\n")),
        ("empty name", format!("{start}: b\r\n\r\n")),
        ("space in a name", format!("{start}A B: c\r\n\r\n")),
        ("NUL in a value", format!("{start}A: b\0c\r\n\r\n")),
        ("NUL in a name", format!("{start}A\0: b\r\n\r\n")),
        ("DEL in a value", format!("{start}A: b\u{7f}\r\n\r\n")),
        ("escape in a value", format!("{start}A: b\u{1b}[31m\r\n\r\n")),
        ("bracket in a name", format!("{start}A[]: b\r\n\r\n")),
        ("quote in a name", format!("{start}\"A\": b\r\n\r\n")),
        ("high byte in a name", format!("{start}\u{e9}: b\r\n\r\n")),
        (
            "two spaces in the request line",
            "GET  /up HTTP/1.1\r\nHost: gw.test\r\n\r\n".to_owned(),
        ),
        (
            "tab in the request line",
            "GET\t/up HTTP/1.1\r\nHost: gw.test\r\n\r\n".to_owned(),
        ),
        (
            "space after the version",
            "GET /up HTTP/1.1 \r\nHost: gw.test\r\n\r\n".to_owned(),
        ),
        (
            "space in the target",
            "GET /up /x HTTP/1.1\r\nHost: gw.test\r\n\r\n".to_owned(),
        ),
        ("no version", "GET /up\r\nHost: gw.test\r\n\r\n".to_owned()),
        (
            "space before the method",
            " GET /up HTTP/1.1\r\nHost: gw.test\r\n\r\n".to_owned(),
        ),
        (
            "lower case version",
            "GET /up http/1.1\r\nHost: gw.test\r\n\r\n".to_owned(),
        ),
        (
            "two empty lines first",
            "\r\n\r\nGET /up HTTP/1.1\r\nHost: gw.test\r\n\r\n".to_owned(),
        ),
        (
            "LF first",
            "\nGET /up HTTP/1.1\r\nHost: gw.test\r\n\r\n".to_owned(),
        ),
        (
            "fragment in the target",
            "GET /up?a#b HTTP/1.1\r\nHost: gw.test\r\n{auth}\r\n\r\n".to_owned(),
        ),
        (
            "asterisk",
            "OPTIONS * HTTP/1.1\r\nHost: gw.test\r\n{auth}\r\n\r\n".to_owned(),
        ),
        (
            "authority form",
            "GET gw.test:80 HTTP/1.1\r\nHost: gw.test\r\n{auth}\r\n\r\n".to_owned(),
        ),
        (
            "another scheme",
            "GET ftp://gw.test/up HTTP/1.1\r\nHost: gw.test\r\n{auth}\r\n\r\n".to_owned(),
        ),
    ] {
        let expect = match name {
            "lower case version" | "space after the version" | "no version" => None,
            _ => Some(Refused(400)),
        };
        match expect {
            Some(expect) => rig.check(name, &raw, &expect),
            // Whether the fault is the line or the version is a matter of taste; that it is refused is not.
            None => {
                let mut client = rig.live.client();
                client.send(&raw);
                assert!(matches!(client.reply().status, 400 | 505), "{name}");
                assert!(client.is_closed(), "{name}");
            }
        }
    }
    for version in [
        "HTTP/0.9",
        "HTTP/1.2",
        "HTTP/2.0",
        "HTTP/3.0",
        "HTTP/1.10",
        "HTTP/11",
    ] {
        let mut client = rig.live.client();
        client.send(format!("GET /up {version}\r\nHost: gw.test\r\n\r\n"));
        assert!(matches!(client.reply().status, 400 | 505), "{version}");
        assert!(client.is_closed());
    }
    rig.check(
        "one empty line first",
        &format!("\r\n{start}\r\n"),
        &Seen(&["GET /up HTTP/1.1"]),
    );
}

#[test]
fn hosts_that_could_be_read_in_two_ways_are_refused() {
    let rig = Rig::new();
    for (name, raw) in [
        ("no host", "GET /up HTTP/1.1\r\n{auth}\r\n\r\n"),
        (
            "two hosts",
            "GET /up HTTP/1.1\r\nHost: gw.test\r\nHost: evil\r\n{auth}\r\n\r\n",
        ),
        (
            "the same host twice",
            "GET /up HTTP/1.1\r\nHost: gw.test\r\nhost: gw.test\r\n{auth}\r\n\r\n",
        ),
        ("empty host", "GET /up HTTP/1.1\r\nHost: \r\n{auth}\r\n\r\n"),
        (
            "host with a path",
            "GET /up HTTP/1.1\r\nHost: gw.test/x\r\n{auth}\r\n\r\n",
        ),
        (
            "host with a user",
            "GET /up HTTP/1.1\r\nHost: a@gw.test\r\n{auth}\r\n\r\n",
        ),
        (
            "host with a space",
            "GET /up HTTP/1.1\r\nHost: gw.test evil\r\n{auth}\r\n\r\n",
        ),
        (
            "host list",
            "GET /up HTTP/1.1\r\nHost: gw.test, evil\r\n{auth}\r\n\r\n",
        ),
        (
            "host with a broken port",
            "GET /up HTTP/1.1\r\nHost: gw.test:80x\r\n{auth}\r\n\r\n",
        ),
        (
            "host with a broken address",
            "GET /up HTTP/1.1\r\nHost: [::1\r\n{auth}\r\n\r\n",
        ),
        (
            "absolute target, other host",
            "GET http://evil/up HTTP/1.1\r\nHost: gw.test\r\n{auth}\r\n\r\n",
        ),
        (
            "absolute target with a user",
            "GET http://gw.test@evil/up HTTP/1.1\r\nHost: gw.test\r\n{auth}\r\n\r\n",
        ),
        (
            "absolute target without a host field",
            "GET http://gw.test/up HTTP/1.1\r\n{auth}\r\n\r\n",
        ),
    ] {
        rig.check(name, raw, &Refused(400));
    }
    for host in ["gw.test", "gw.test:8080", "127.0.0.1:1", "[::1]", "[::1]:8080"] {
        let mut client = rig.live.client();
        client.send(format!(
            "GET /up HTTP/1.1\r\nHost: {host}\r\n{}\r\n",
            rig.live.auth()
        ));
        assert_eq!(client.reply().status, 200, "{host}");
    }
}

#[test]
fn http_1_0_with_a_transfer_encoding_is_refused() {
    let rig = Rig::new();
    let raw = format!(
        "POST /up HTTP/1.0\r\nHost: gw.test\r\n{{auth}}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{HIDDEN}"
    );
    rig.check("TE in 1.0", &raw, &Refused(400));
}

#[test]
fn fields_named_by_connection_are_dropped_but_never_the_gateways_own() {
    let rig = Rig::new();
    let raw = "GET /up HTTP/1.1\r\nHost: gw.test\r\n{auth}\r\nCookie: a\r\nX-Hop: b\r\nX-End: c\r\n\
               Connection: x-rc-tenant, X-Hop, x-forwarded-for, traceparent, x-rc-deadline-ms, authorization, host, content-length\r\n\r\n";
    rig.check("connection list", raw, &Seen(&["GET /up HTTP/1.1"]));
    let seen = rig.service.seen();
    assert_eq!(seen[0].header("x-rc-tenant"), Some("acme"));
    assert_eq!(seen[0].header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(seen[0].header("host"), Some("gw.test"));
    assert!(seen[0].header("traceparent").is_some() && seen[0].header("x-rc-deadline-ms").is_some());
    assert_eq!(
        (
            seen[0].header("x-hop"),
            seen[0].header("x-end"),
            seen[0].header("cookie")
        ),
        (None, Some("c"), Some("a"))
    );
    rig.check(
        "many connection fields",
        &format!(
            "GET /up HTTP/1.1\r\nHost: gw.test\r\n{{auth}}\r\n{}\r\n",
            "Connection: close\r\n".repeat(5)
        ),
        &Refused(400),
    );
}

#[test]
fn ambiguous_paths_never_reach_a_service() {
    let rig = Rig::new();
    for path in [
        "/up/../docs",
        "/up/%2e%2e/docs",
        "/up/..%2fdocs",
        "/up//x",
        "//up",
        "/up/./x",
        "/up/..;/docs",
        "/up%2fx",
        "/%75p/x",
        "/up/%00",
        "/up/%0d%0aX:1",
        "/up/..%5cdocs",
        "/up/%zz",
        "/up/a\\b",
        "/up/<x>",
    ] {
        let before = rig.service.seen().len();
        let reply = rig.live.get(path);
        assert_eq!(
            (reply.status, reply.problem().code.as_str()),
            (400, "RC-GW-007"),
            "{path}"
        );
        assert_eq!(rig.service.seen().len(), before);
    }
}

#[test]
fn an_answer_that_could_be_framed_in_two_ways_becomes_502() {
    for (name, answer) in [
        (
            "CL and TE",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        ),
        (
            "two lengths",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        ),
        (
            "length list",
            "HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\nhello",
        ),
        (
            "signed length",
            "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello",
        ),
        (
            "odd coding",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        ),
        (
            "TE in 1.0",
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        ("bare LF", "HTTP/1.1 200 OK\nContent-Length: 5\n\nhello"),
        (
            "fold",
            "HTTP/1.1 200 OK\r\nA: b\r\n c\r\nContent-Length: 5\r\n\r\nhello",
        ),
        (
            "NUL",
            "HTTP/1.1 200 OK\r\nA: b\0\r\nContent-Length: 5\r\n\r\nhello",
        ),
        (
            "space before the colon",
            "HTTP/1.1 200 OK\r\nContent-Length : 5\r\n\r\nhello",
        ),
        ("garbage", "\u{16}\u{3}\u{1}nonsense\r\n\r\n"),
        ("status 99", "HTTP/1.1 099 OK\r\nContent-Length: 0\r\n\r\n"),
        ("status 999", "HTTP/1.1 999 OK\r\nContent-Length: 0\r\n\r\n"),
        (
            "unasked switch",
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
        ),
        ("nothing", ""),
        ("half a head", "HTTP/1.1 200 OK\r\nConte"),
    ] {
        let service = Service::start(move |_, stream| {
            let _maybe_gone = std::io::Write::write_all(stream, answer.as_bytes());
            false
        });
        let live = Setup::new(&service).start();
        let reply = live.get("/up");
        assert_eq!(
            (reply.status, reply.problem().code.as_str()),
            (502, "RC-GW-016"),
            "{name}: {reply:?}"
        );
    }
}

#[test]
fn bytes_after_an_answer_are_never_taken_for_the_next_answer() {
    let service = Service::start(|_, stream| {
        let evil = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
        std::io::Write::write_all(
            stream,
            format!("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood{evil}").as_bytes(),
        )
        .is_ok()
    });
    let live = Setup::new(&service).start();
    let mut client = live.client();
    for _ in 0..10 {
        client.send(live.request("GET /up", ""));
        assert_eq!(client.reply().text(), "good");
    }
    assert_eq!(
        service.connections(),
        10,
        "a connection that spoke unasked is not used again"
    );
}
