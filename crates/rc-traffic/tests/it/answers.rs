//! Services that answer garbage: what could be read in two ways reaches no client, and the connection is not used again.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::h2_raw::{DATA, END_STREAM, H2, Outcome, RST_STREAM, request};
use crate::support::{Service, Setup};

/// A service that says the same to every request.
fn says(answer: Vec<u8>) -> Service {
    Service::start(move |_, stream| stream.write_all(&answer).is_ok())
}

#[test]
fn heads_without_end_or_measure_become_502() {
    let early = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    let ok = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    for (name, answer) in [
        ("a flood of 1xx", [&early.repeat(1_000)[..], ok].concat()),
        ("1xx and no answer", early.repeat(9)),
        (
            "a head of 100 KB",
            [b"HTTP/1.1 200 OK\r\nX: ", &[b'a'; 100_000][..], b"\r\n\r\n"].concat(),
        ),
        ("a line without an end", vec![b'a'; 100_000]),
        (
            "200 fields",
            [b"HTTP/1.1 200 OK\r\n", &b"X: y\r\n".repeat(200)[..], b"\r\n"].concat(),
        ),
        (
            "a body as a length",
            b"HTTP/1.1 200 OK\r\nContent-Length: 0x2\r\n\r\nok".to_vec(),
        ),
        (
            "a length that overflows",
            b"HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551618\r\n\r\nok".to_vec(),
        ),
        (
            "an empty length",
            b"HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\nok".to_vec(),
        ),
        (
            "two codings",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
                .to_vec(),
        ),
        ("a request", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec()),
        ("HTTP/0.9", b"<html>hello</html>\r\n\r\n".to_vec()),
        ("HTTP/2", b"\0\0\0\x04\0\0\0\0\0".repeat(2)),
    ] {
        let service = Service::start(move |_, stream| {
            let _maybe_cut = stream.write_all(&answer);
            false
        });
        let live = Setup::new(&service).start();
        let mut client = live.client();
        client.send(live.request("POST /up", "Content-Length: 0\r\n"));
        let reply = client.reply();
        assert_eq!(
            (reply.status, reply.problem().code.as_str()),
            (502, "RC-GW-016"),
            "{name}: {reply:?}"
        );
        assert_eq!(service.seen().len(), 1, "{name}: a write is not repeated");
        // The client's own connection did nothing wrong.
        client.send("GET /health HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.reply().status, 200, "{name}");
    }
}

#[test]
fn a_few_informational_answers_are_passed_over() {
    let service = says(
        [
            &b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".repeat(8)[..],
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        ]
        .concat(),
    );
    let live = Setup::new(&service).start();
    let reply = live.get("/up");
    assert_eq!((reply.status, reply.text().as_str()), (200, "ok"));
    assert_eq!(reply.header("link"), None);
}

#[test]
fn what_follows_an_answer_without_a_body_is_never_the_next_answer() {
    const EVIL: &str = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
    for (name, method, answer) in [
        (
            "HEAD with a body",
            "HEAD",
            format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{EVIL}", EVIL.len()),
        ),
        (
            "204 with a body",
            "GET",
            format!(
                "HTTP/1.1 204 No Content\r\nContent-Length: {}\r\n\r\n{EVIL}",
                EVIL.len()
            ),
        ),
        (
            "304 with a body",
            "GET",
            format!(
                "HTTP/1.1 304 Not Modified\r\nContent-Length: {}\r\n\r\n{EVIL}",
                EVIL.len()
            ),
        ),
        (
            "204 in chunks",
            "GET",
            format!("HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n{EVIL}"),
        ),
        (
            "more than its length",
            "GET",
            format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n{EVIL}"),
        ),
        (
            "more than its chunks",
            "GET",
            format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{EVIL}"),
        ),
    ] {
        let service = says(answer.into_bytes());
        let live = Setup::new(&service).start();
        let mut client = live.client();
        for n in 1..=5 {
            client.send(live.request(&format!("{method} /up"), ""));
            let reply = client.reply_to(method == "HEAD").expect("an answer");
            assert!(reply.status < 400, "{name}: {reply:?}");
            assert!(!reply.text().contains("evil"), "{name}: {reply:?}");
            assert_eq!(
                service.connections(),
                n,
                "{name}: a connection that said too much is not used again"
            );
        }
    }
}

#[test]
fn an_answer_that_nobody_asked_for_is_never_given_to_anybody() {
    // After each answer the service says another one, a moment later, when the connection is idle.
    let service = Service::start(|_, stream| {
        let mut later = stream.try_clone().unwrap();
        let good = stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood")
            .is_ok();
        std::thread::sleep(std::time::Duration::from_millis(30));
        let _maybe_closed = later.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil");
        good
    });
    let live = Setup::new(&service).start();
    let mut client = live.client();
    for _ in 0..5 {
        client.send(live.request("GET /up", ""));
        assert_eq!(client.reply().text(), "good");
        // Long enough for the other to be there; were it not, nothing would be tested, and nothing fail.
        std::thread::sleep(std::time::Duration::from_millis(150));
    }
}

#[test]
fn chunks_of_an_answer_are_read_as_strictly_as_those_of_a_request() {
    for (name, chunks) in [
        ("bare LF after the size", "5\nhello\r\n0\r\n\r\n"),
        ("bare CR after the size", "5\rhello\r\n0\r\n\r\n"),
        ("data longer than its size", "3\r\nhello\r\n0\r\n\r\n"),
        ("a bare LF in an extension", "5;a\nb\r\nhello\r\n0\r\n\r\n"),
        ("a size with a sign", "+5\r\nhello\r\n0\r\n\r\n"),
        ("a size that overflows", "10000000000000005\r\nhello\r\n0\r\n\r\n"),
        ("a folded trailer", "5\r\nhello\r\n0\r\nA: b\r\n c\r\n\r\n"),
        (
            "a trailer that is no field",
            "5\r\nhello\r\n0\r\nHTTP/1.1 200 OK\r\n\r\n",
        ),
    ] {
        let answer = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}");
        let service = says(answer.into_bytes());
        let live = Setup::new(&service).start();
        for n in 1..=2 {
            let mut client = live.client();
            client.send(live.request("GET /up", ""));
            let reply = client.reply();
            assert!(!reply.whole, "{name}: it must not look whole: {reply:?}");
            assert!(client.is_closed(), "{name}");
            assert_eq!(service.connections(), n, "{name}");
        }
    }
    let service = says(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x=\"evil\"\r\nhello\r\n0\r\nX-RC-Tenant: evil\r\nContent-Length: 9\r\n\r\n"
            .to_vec(),
    );
    let live = Setup::new(&service).start();
    let mut client = live.client();
    for _ in 0..2 {
        client.send(live.request("GET /up", ""));
        let reply = client.reply();
        assert_eq!(reply.text(), "hello");
        assert!(
            !reply.head.contains("evil") && reply.header("content-length").is_none(),
            "{reply:?}"
        );
    }
    assert_eq!(
        service.connections(),
        1,
        "trailers end here, and the connection is in step"
    );
}

#[test]
fn an_answer_before_the_end_of_its_request_leaves_a_connection_that_is_not_used_again() {
    let early = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = rc_traffic::Endpoint::Tcp(early.local_addr().unwrap());
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = connections.clone();
    std::thread::spawn(move || {
        for stream in early.incoming() {
            let mut stream = stream.unwrap();
            counted.fetch_add(1, Ordering::SeqCst);
            std::thread::spawn(move || {
                // It answers as soon as it has a head, and does not look at the body.
                let mut heads = [0; 1 << 16];
                while std::io::Read::read(&mut stream, &mut heads).is_ok_and(|count| count > 0) {
                    if stream
                        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                        .is_err()
                    {
                        return;
                    }
                }
            });
        }
    });
    let live = Setup::to(vec![endpoint]).start();
    for n in 1..=3 {
        let mut client = live.client();
        client.send(live.request("POST /up", "Content-Length: 100000\r\n") + "begun");
        let reply = client.reply();
        assert_eq!((reply.status, reply.text().as_str()), (200, "ok"));
        assert_eq!(
            connections.load(Ordering::SeqCst),
            n,
            "half a request is in the one before"
        );
    }
}

#[test]
fn a_service_that_dies_within_its_answer_resets_the_stream_and_not_the_connection() {
    let service = Service::start(|seen, stream| {
        if seen.line().contains("dies") {
            let _begun = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npartial");
            return false;
        }
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            .is_ok()
    });
    let live = Setup::new(&service).start();
    let mut client = H2::connect(&live);
    client.headers(1, END_STREAM, &request("GET", "/up/dies", live.key.reveal()));
    let mut reset = false;
    while !reset {
        let (kind, flags, stream, _) = client.next_frame().expect("the stream is reset");
        reset = kind == RST_STREAM && stream == 1;
        assert!(kind != DATA || flags & END_STREAM == 0, "it must not look whole");
    }
    client.headers(3, END_STREAM, &request("GET", "/up", live.key.reveal()));
    assert_eq!(client.outcome(3), Outcome::Status(200));
}
