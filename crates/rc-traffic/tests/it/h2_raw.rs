//! HTTP/2 spoken frame by frame, so that a client can lie.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;

use crate::support::{Live, PATIENCE, Service, Setup};

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
const ACK: u8 = 1;

pub(crate) struct H2 {
    stream: Box<dyn Socket>,
}

trait Socket: Read + Write {}

impl<S: Read + Write> Socket for S {}

/// What came of a stream.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Status(u16),
    Reset,
    /// The whole connection was ended.
    GoAway,
}

impl H2 {
    pub(crate) fn connect(live: &Live) -> Self {
        let stream = TcpStream::connect(live.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self::over(Box::new(stream))
    }

    /// Through the owner's door.
    pub(crate) fn trusted(live: &Live) -> Self {
        let stream = UnixStream::connect(&live.socket).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self::over(Box::new(stream))
    }

    fn over(stream: Box<dyn Socket>) -> Self {
        let mut client = Self { stream };
        client
            .stream
            .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            .unwrap();
        client.frame(SETTINGS, 0, 0, &[]);
        client
    }

    pub(crate) fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut frame = vec![length[1], length[2], length[3], kind, flags];
        frame.extend_from_slice(&stream.to_be_bytes());
        frame.extend_from_slice(payload);
        let _maybe_closed = self.stream.write_all(&frame);
    }

    /// Literal fields without indexing (RFC 7541, section 6.2.2): anything can be said.
    pub(crate) fn headers(&mut self, stream: u32, flags: u8, fields: &[(&str, &str)]) {
        let block = block(fields);
        self.frame(HEADERS, flags | END_HEADERS, stream, &block);
    }

    /// Gives a stream up (CANCEL).
    pub(crate) fn reset(&mut self, stream: u32) {
        self.frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes());
    }

    pub(crate) fn next_frame(&mut self) -> Option<(u8, u8, u32, Vec<u8>)> {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head).ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let mut payload = vec![0; length];
        self.stream.read_exact(&mut payload).ok()?;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        Some((head[3], head[4], stream, payload))
    }

    /// Waits until the gateway has read all that was sent. `false`: it ended the connection.
    pub(crate) fn is_heard(&mut self) -> bool {
        self.frame(PING, 0, 0, b"are you?");
        while let Some((kind, flags, _, _)) = self.next_frame() {
            match kind {
                PING if flags & ACK != 0 => return true,
                GOAWAY => return false,
                _ => {}
            }
        }
        false
    }

    /// Reads to the end of the connection: the code of the last GOAWAY.
    pub(crate) fn end(&mut self) -> Option<u32> {
        let mut code = None;
        while let Some((kind, _, _, payload)) = self.next_frame() {
            if kind == GOAWAY {
                code = Some(u32::from_be_bytes([
                    payload[4], payload[5], payload[6], payload[7],
                ]));
            }
        }
        code
    }

    pub(crate) fn outcome(&mut self, wanted: u32) -> Outcome {
        while let Some((kind, _, stream, payload)) = self.next_frame() {
            match kind {
                HEADERS if stream == wanted => return Outcome::Status(status(&payload)),
                RST_STREAM if stream == wanted => return Outcome::Reset,
                GOAWAY => return Outcome::GoAway,
                _ => {}
            }
        }
        Outcome::GoAway
    }

    /// The statuses of the next `count` answers, of whichever streams.
    pub(crate) fn statuses(&mut self, count: usize) -> Vec<u16> {
        let mut statuses = Vec::new();
        while statuses.len() < count {
            let Some((kind, _, _, payload)) = self.next_frame() else {
                break;
            };
            if kind == HEADERS {
                statuses.push(status(&payload));
            }
        }
        statuses
    }
}

pub(crate) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in fields {
        out.push(0);
        for text in [name, value] {
            // A 7-bit prefix integer (RFC 7541, section 5.1).
            if text.len() < 127 {
                out.push(text.len() as u8);
            } else {
                let rest = text.len() - 127;
                assert!(rest < 128 * 128, "long enough for these tests");
                out.push(127);
                if rest < 128 {
                    out.push(rest as u8);
                } else {
                    out.extend_from_slice(&[(rest % 128) as u8 | 0x80, (rest / 128) as u8]);
                }
            }
            out.extend_from_slice(text.as_bytes());
        }
    }
    out
}

/// The status that a header block begins with: an index of the static table, or a literal whose name is
/// `:status` (index 8).
pub(crate) fn status(block: &[u8]) -> u16 {
    // An update of the dynamic table's size to 0 may come first (RFC 7541, section 6.3).
    let block = block.strip_prefix(&[0x20]).unwrap_or(block);
    match block[0] {
        0x88 => 200,
        0x89 => 204,
        0x8b => 304,
        0x8c => 400,
        0x8d => 404,
        0x8e => 500,
        // Literal with the indexed name 8, with or without indexing, three digits, maybe Huffman coded.
        0x48 | 0x08 if block[1] == 3 => std::str::from_utf8(&block[2..5]).unwrap().parse().unwrap(),
        0x48 | 0x08 if block[1] & 0x80 != 0 => huffman_digits(&block[2..]),
        other => panic!("not a status: {other:#x} {block:?}"),
    }
}

/// Three digits in Huffman code (RFC 7541, appendix B): 0-2 have 5 bits, 3-9 have 6.
fn huffman_digits(bytes: &[u8]) -> u16 {
    let mut bits = bytes
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |at| byte >> at & 1));
    let mut status = 0;
    for _ in 0..3 {
        let five = (0..5).fold(0, |value, _| value << 1 | bits.next().unwrap());
        let digit = if five < 3 {
            five
        } else {
            let six = five << 1 | bits.next().unwrap();
            six - 0x19 + 3
        };
        status = status * 10 + u16::from(digit);
    }
    status
}

pub(crate) fn request<'a>(method: &'a str, path: &'a str, key: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![
        (":method", method),
        (":scheme", "http"),
        (":path", path),
        (":authority", "gw.test"),
        ("x-api-key", key),
    ]
}

#[test]
fn plain_requests_and_bodies_work_on_one_connection() {
    let service = Service::echo();
    let live = Setup::new(&service).start();
    let key = live.key.reveal();
    let mut client = H2::connect(&live);
    client.headers(1, END_STREAM, &request("GET", "/up/a?b=c", key));
    assert_eq!(client.outcome(1), Outcome::Status(200));
    let mut fields = request("POST", "/up/body", key);
    fields.push(("content-length", "5"));
    client.headers(3, 0, &fields);
    client.frame(DATA, END_STREAM, 3, b"hello");
    assert_eq!(client.outcome(3), Outcome::Status(200));
    client.headers(5, 0, &request("POST", "/up/unknown", key));
    client.frame(DATA, 0, 5, b"hel");
    client.frame(DATA, END_STREAM, 5, b"lo");
    assert_eq!(client.outcome(5), Outcome::Status(200));
    client.headers(7, END_STREAM, &request("GET", "/up", "wrong"));
    assert_eq!(client.outcome(7), Outcome::Status(401));
    let seen = service.seen();
    assert_eq!(seen[0].line(), "GET /up/a?b=c HTTP/1.1");
    assert_eq!(
        (seen[0].header("host"), seen[0].header("x-rc-tenant")),
        (Some("gw.test"), Some("acme"))
    );
    assert_eq!(
        (seen[1].header("content-length"), seen[1].body.as_slice()),
        (Some("5"), &b"hello"[..])
    );
    assert_eq!(
        (seen[2].header("transfer-encoding"), seen[2].body.as_slice()),
        (Some("chunked"), &b"hello"[..])
    );
    assert_eq!(seen.len(), 3);
}

#[test]
fn lies_about_the_body_never_reach_the_service_as_a_request() {
    let service = Service::echo();
    let live = Setup::new(&service).start();
    let key = live.key.reveal();
    let hidden = "GET /up/smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    // H2.CL: a length that is not the body's.
    for length in ["0", "3", "500"] {
        let mut client = H2::connect(&live);
        let mut fields = request("POST", "/up", key);
        fields.push(("content-length", length));
        client.headers(1, 0, &fields);
        client.frame(DATA, END_STREAM, 1, hidden.as_bytes());
        let outcome = client.outcome(1);
        assert!(
            matches!(outcome, Outcome::Reset | Outcome::GoAway | Outcome::Status(400)),
            "{length}: {outcome:?}"
        );
    }
    // H2.TE and other fields of HTTP/1 connections; forbidden in HTTP/2 (RFC 9113, section 8.2.2).
    for (name, value) in [
        ("transfer-encoding", "chunked"),
        ("connection", "keep-alive"),
        ("connection", "x-rc-tenant"),
        ("keep-alive", "5"),
        ("proxy-connection", "close"),
        ("upgrade", "h2c"),
        ("te", "chunked"),
        ("content-length", "5, 5"),
        ("content-length", "+5"),
    ] {
        let mut client = H2::connect(&live);
        let mut fields = request("POST", "/up", key);
        fields.push((name, value));
        client.headers(1, 0, &fields);
        client.frame(DATA, END_STREAM, 1, b"hello");
        let outcome = client.outcome(1);
        assert!(
            matches!(outcome, Outcome::Reset | Outcome::GoAway | Outcome::Status(400)),
            "{name}: {outcome:?}"
        );
    }
    assert!(service.seen().is_empty(), "{:?}", service.seen());
    assert!(
        !service.raw().contains("smuggled HTTP/1.1\r\nHost: a\r\n\r\nGET"),
        "{}",
        service.raw()
    );
}

#[test]
fn pseudo_header_and_field_tricks_are_refused() {
    let service = Service::echo();
    let live = Setup::new(&service).start();
    let key = live.key.reveal();
    let base = || request("GET", "/up", key);
    let with = |name: &'static str, value: &'static str| {
        let mut fields = base();
        fields.push((name, value));
        fields
    };
    let instead = |name: &str, value: &'static str| {
        let mut fields = base();
        for field in &mut fields {
            if field.0 == name {
                field.1 = value;
            }
        }
        fields
    };
    let without = |name: &str| {
        base()
            .into_iter()
            .filter(|field| field.0 != name)
            .collect::<Vec<_>>()
    };
    for (name, fields) in [
        ("line feed in a value", with("x", "a\r\nx-rc-tenant: evil")),
        ("line feed alone", with("x", "a\nb")),
        ("NUL in a value", with("x", "a\0b")),
        ("upper case name", with("X-Upper", "a")),
        ("colon in a name", with("x: y\r\nz", "a")),
        ("space in a name", with("x y", "a")),
        ("empty name", with("", "a")),
        ("unknown pseudo header", with(":proto", "a")),
        ("pseudo header after a field", with(":path", "/up/second")),
        (
            "request line in the method",
            instead(":method", "GET /up/smuggled HTTP/1.1\r\nHost: a\r\n\r\nGET"),
        ),
        (
            "request line in the path",
            instead(":path", "/up/smuggled HTTP/1.1\r\nHost: a\r\n\r\n"),
        ),
        ("space in the path", instead(":path", "/up smuggled")),
        ("empty path", instead(":path", "")),
        ("asterisk path", instead(":path", "*")),
        ("absolute path", instead(":path", "http://evil/up")),
        ("dot segments", instead(":path", "/up/../docs")),
        (
            "line feed in the authority",
            instead(":authority", "gw.test\r\nX: y"),
        ),
        ("user in the authority", instead(":authority", "a@gw.test")),
        ("path in the authority", instead(":authority", "gw.test/x")),
        ("no path", without(":path")),
        ("no method", without(":method")),
        ("no host", without(":authority")),
        ("another host", with("host", "evil.test")),
        ("two hosts", {
            let mut fields = with("host", "gw.test");
            fields.push(("host", "gw.test"));
            fields
        }),
        ("two credentials", with("authorization", "Bearer rck_x")),
        ("trailers asked in odd words", with("te", "trailers, chunked")),
    ] {
        let mut client = H2::connect(&live);
        client.headers(1, END_STREAM, &fields);
        let outcome = client.outcome(1);
        assert!(
            matches!(outcome, Outcome::Reset | Outcome::GoAway | Outcome::Status(400)),
            "{name}: {outcome:?}"
        );
    }
    assert!(service.seen().is_empty(), "{:?}", service.seen());
    let mut client = H2::connect(&live);
    client.headers(
        1,
        END_STREAM,
        &[(":method", "CONNECT"), (":authority", "gw.test:1")],
    );
    assert!(!matches!(client.outcome(1), Outcome::Status(200)));
    for (stream, name) in [(1, "x_rc_tenant"), (3, "x-rc-tenant"), (5, "x-rc-admin")] {
        let mut client = H2::connect(&live);
        let mut fields = base();
        fields.push((name, "evil"));
        client.headers(stream, END_STREAM, &fields);
        assert_eq!(client.outcome(stream), Outcome::Status(200));
    }
    assert!(!service.raw().contains("evil"), "{}", service.raw());
}

#[test]
fn a_flood_of_resets_ends_the_connection_and_not_the_gateway() {
    let service = Service::echo();
    let live = Setup::new(&service).start();
    let key = live.key.reveal();
    let mut client = H2::connect(&live);
    for stream in (1..20_001).step_by(2) {
        client.headers(stream, END_STREAM, &request("GET", "/up", key));
        client.frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes());
    }
    assert_eq!(client.outcome(u32::MAX), Outcome::GoAway);
    assert_eq!(live.get("/up").status, 200);
    assert!(service.seen().len() < 10_000, "{}", service.seen().len());
}

#[test]
fn endless_continuation_frames_and_giant_heads_end_the_connection_or_stream() {
    let service = Service::echo();
    let live = Setup::new(&service).start();
    let key = live.key.reveal();
    let mut client = H2::connect(&live);
    let head = block(&request("GET", "/up", key));
    client.frame(HEADERS, END_STREAM, 1, &head);
    let filler = block(&[("x-filler", &"a".repeat(8_000))]);
    for _ in 0..500 {
        client.frame(CONTINUATION, 0, 1, &filler);
    }
    assert_ne!(client.outcome(1), Outcome::Status(200));
    let mut client = H2::connect(&live);
    let mut fields = request("GET", "/up", key);
    fields.extend(vec![("x-many", "y"); 120]);
    client.headers(1, END_STREAM, &fields);
    assert_eq!(client.outcome(1), Outcome::Status(431));
    assert!(service.seen().is_empty());
    assert_eq!(live.get("/up").status, 200);
}

#[test]
fn a_reset_stream_frees_its_service_and_others_go_on() {
    let service = Service::start(|seen, stream| {
        if seen.line().contains("slow") {
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let mut byte = [0];
            let closed = stream.read(&mut byte).is_ok_and(|count| count == 0);
            assert!(closed, "the gateway closes the connection");
            return false;
        }
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").is_ok()
    });
    let live = Setup::new(&service).start();
    let key = live.key.reveal();
    let mut client = H2::connect(&live);
    client.headers(1, END_STREAM, &request("GET", "/up/slow", key));
    while service.seen().is_empty() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    client.frame(RST_STREAM, 0, 1, &8_u32.to_be_bytes());
    client.headers(3, END_STREAM, &request("GET", "/up", key));
    assert_eq!(client.outcome(3), Outcome::Status(200));
    live.expect_metric(r#"status="gone"} 1"#);
}

#[test]
fn stopping_tells_http_2_clients_to_go_away_after_their_answers() {
    let service = Service::start(|_, stream| {
        std::thread::sleep(std::time::Duration::from_millis(300));
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").is_ok()
    });
    let live = Setup::new(&service).start();
    let mut client = H2::connect(&live);
    client.headers(1, END_STREAM, &request("GET", "/up", live.key.reveal()));
    while service.seen().is_empty() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    live.stop.cancel();
    let (mut went_away, mut answered) = (false, false);
    while let Some((kind, _, stream, payload)) = client.next_frame() {
        went_away |= kind == GOAWAY;
        answered |= kind == HEADERS && stream == 1 && status(&payload) == 200;
    }
    assert!(went_away && answered);
    assert_eq!(live.stopped().cut, 0);
}

#[test]
fn a_client_that_opens_no_window_does_not_keep_its_streams_for_ever() {
    let service = Service::echo();
    let stall = std::time::Duration::from_millis(500);
    let live = Setup::new(&service)
        .config(move |config| config.limits.stall_timeout = stall)
        .start();
    let mut client = H2::connect(&live);
    // SETTINGS_INITIAL_WINDOW_SIZE (RFC 9113, section 6.5.2) of 0: no answer's body may be sent.
    client.frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
    let began = rc_model::clock::monotonic_ns();
    for stream in [1, 3, 5] {
        // No key: the problem of the 401 is a body too.
        client.headers(stream, END_STREAM, &request("GET", "/up", "none"));
    }
    while client.next_frame().is_some() {}
    let took = std::time::Duration::from_nanos(rc_model::clock::monotonic_ns() - began);
    assert!(took >= stall && took < stall * 8, "{took:?}");
    assert_eq!(live.get("/up").status, 200);
}
