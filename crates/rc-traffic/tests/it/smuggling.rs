//! The public request smuggling cases (PortSwigger, h2c, Akamai and CVE write-ups), sent byte by byte.
//!
//! A case passes when the service behind the gateway never sees a request that the client hid in another
//! one's head, body or chunk, and what is ambiguous is refused with the connection closed.

use crate::support::{Live, Service, Setup};

/// What must come of a case.
pub(crate) enum Expect {
    /// Refused with this status and the connection closed; the service sees nothing.
    Refused(u16),
    /// Understood in the one possible way: these request lines, and nothing else, reach the service.
    Seen(&'static [&'static str]),
}

use Expect::{Refused, Seen};

pub(crate) struct Rig {
    pub(crate) service: Service,
    pub(crate) live: Live,
}

impl Rig {
    pub(crate) fn new() -> Self {
        let service = Service::echo();
        let live = Setup::new(&service).start();
        Self { service, live }
    }

    /// Sends `raw` with `{auth}` filled in, whole and then again one byte at a time.
    pub(crate) fn check(&self, name: &str, raw: &str, expect: &Expect) {
        let raw = raw.replace("{auth}", self.live.auth().trim_end());
        self.check_bytes(name, raw.as_bytes(), expect);
    }

    fn check_bytes(&self, name: &str, raw: &[u8], expect: &Expect) {
        for piece in [raw.len(), 7] {
            let before = self.service.seen().len();
            let mut client = self.live.client();
            for part in raw.chunks(piece) {
                client.send(part);
            }
            match expect {
                Refused(status) => {
                    let reply = client.reply();
                    assert_eq!(reply.status, *status, "{name}: {reply:?}");
                    assert_eq!(reply.header("connection"), Some("close"), "{name}: {reply:?}");
                    assert!(client.is_closed(), "{name}: something follows the refusal");
                    assert_eq!(
                        self.service.seen().len(),
                        before,
                        "{name}: {:?}",
                        self.service.seen().last()
                    );
                }
                Seen(lines) => {
                    for line in *lines {
                        let reply = client.reply();
                        assert_eq!(
                            (reply.status, reply.text().as_str()),
                            (200, *line),
                            "{name}: {reply:?}"
                        );
                    }
                    let seen: Vec<_> = self.service.seen()[before..]
                        .iter()
                        .map(|seen| seen.line().to_owned())
                        .collect();
                    assert_eq!(seen, *lines, "{name}");
                }
            }
        }
        assert!(
            !self.service.raw().contains("smuggled HTTP"),
            "{name}: {}",
            self.service.raw()
        );
        assert_eq!(
            self.live.get("/up/victim").text(),
            "GET /up/victim HTTP/1.1",
            "{name}: the next client's answer"
        );
    }
}

pub(crate) const HIDDEN: &str = "GET /up/smuggled HTTP/1.1\r\nHost: gw.test\r\n{auth}\r\n\r\n";

fn post(framing: &str, body: &str) -> String {
    format!("POST /up HTTP/1.1\r\nHost: gw.test\r\n{{auth}}\r\n{framing}\r\n\r\n{body}")
}

#[test]
fn a_length_beside_a_transfer_encoding_is_refused() {
    let rig = Rig::new();
    let hidden_in_chunks = format!("0\r\n\r\n{HIDDEN}");
    for (name, framing) in [
        ("CL.TE", "Content-Length: 6\r\nTransfer-Encoding: chunked"),
        ("TE.CL", "Transfer-Encoding: chunked\r\nContent-Length: 6"),
        (
            "CL.TE, length 0",
            "Content-Length: 0\r\nTransfer-Encoding: chunked",
        ),
        (
            "TE.CL lower case",
            "transfer-encoding: chunked\r\ncontent-length: 4",
        ),
        (
            "TE with spaces and CL",
            "Transfer-Encoding:    chunked   \r\nContent-Length: 4",
        ),
    ] {
        rig.check(name, &post(framing, &hidden_in_chunks), &Refused(400));
    }
}

#[test]
fn a_transfer_encoding_that_is_not_exactly_chunked_is_refused() {
    let rig = Rig::new();
    let body = format!("0\r\n\r\n{HIDDEN}");
    for framing in [
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: chunkedx",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: identity, chunked",
        "Transfer-Encoding: identity",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: chunked,",
        "Transfer-Encoding: ,chunked",
        "Transfer-Encoding: \"chunked\"",
        "Transfer-Encoding: 'chunked'",
        "Transfer-Encoding: chunked;q=1",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: x\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding:",
        "Transfer-Encoding: ",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding\t: chunked",
        " Transfer-Encoding: chunked",
        "\tTransfer-Encoding: chunked",
        "X: y\r\n Transfer-Encoding: chunked",
        "X: y\nTransfer-Encoding: chunked",
        "X: y\rTransfer-Encoding: chunked",
        "Transfer-Encoding:\n chunked",
        "Transfer-Encoding:\r\n chunked",
        "Transfer-Encoding:\r\n\tchunked",
        "Transfer-Encoding: \u{b}chunked",
        "Transfer-Encoding: \u{c}chunked",
        "Transfer-Encoding: \u{0}chunked",
        "Transfer-Encoding: chunked\u{0}",
        "Transfer-Encoding: \u{85}chunked",
        "Transfer-Encoding: \u{a0}chunked",
        "Transfer-Encoding: chu\u{212a}ed",
        "Transfer\u{0}-Encoding: chunked",
        "Transfer-Enc\u{f6}ding: chunked",
        "Transfer-Encoding: chunk",
        "Transfer-Encoding: cow",
        "Transfer-Encoding: Chunked Chunked",
        "\r\nTransfer-Encoding: chunked\u{1}",
    ] {
        // An empty line ends the head early: what follows is the next request, and it is malformed.
        if framing.starts_with("\r\n") {
            continue;
        }
        rig.check(framing, &post(framing, &body), &Refused(400));
        let with_length = format!("Content-Length: 5\r\n{framing}");
        rig.check(framing, &post(&with_length, &body), &Refused(400));
    }
}

#[test]
fn names_that_only_look_like_a_transfer_encoding_frame_nothing_and_stay_behind() {
    let rig = Rig::new();
    // The body is what the length says; the fields with `_` do not reach a service that reads `_` as `-`.
    for field in [
        "Transfer_Encoding: chunked",
        "Content_Length: 99",
        "transfer_encoding: chunked",
    ] {
        let request = post(&format!("Content-Length: 5\r\n{field}"), "0\r\n\r\n");
        rig.check(field, &request, &Seen(&["POST /up HTTP/1.1"]));
        let name = field.split(':').next().unwrap();
        assert!(!rig.service.raw().contains(name), "{field}");
    }
    let seen = rig.service.seen();
    assert!(
        seen.iter().any(|seen| seen.body == b"0\r\n\r\n"),
        "the body went as data"
    );
    rig.check(
        "case of chunked",
        &post("Transfer-Encoding: ChUnKeD", "0\r\n\r\n"),
        &Seen(&["POST /up HTTP/1.1"]),
    );
}

#[test]
fn two_lengths_and_lengths_that_are_no_plain_number_are_refused() {
    let rig = Rig::new();
    for framing in [
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 5\r\nContent-Length: 5",
        "Content-Length: 0\r\nContent-Length: 44",
        "Content-Length: 5\r\ncontent-length: 6",
        "Content-Length: 5, 6",
        "Content-Length: 5, 5",
        "Content-Length: 5 5",
        "Content-Length: +5",
        "Content-Length: -5",
        "Content-Length: 5.0",
        "Content-Length: 0x5",
        "Content-Length: 5;",
        "Content-Length: \"5\"",
        "Content-Length: five",
        "Content-Length: ",
        "Content-Length:",
        "Content-Length: 99999999999999999999",
        "Content-Length: 18446744073709551621",
        "Content-Length : 5",
        "Content-Length: \u{b}5",
        "Content-Length:\r\n 5",
        "Content-Length: 5\r\n 6",
        " Content-Length: 5",
    ] {
        rig.check(framing, &post(framing, &format!("hello{HIDDEN}")), &Refused(400));
    }
}

#[test]
fn a_body_is_never_taken_for_a_request() {
    let rig = Rig::new();
    // CL.0 and its relatives: whatever the method, a body is read as far as its length says.
    let hidden = HIDDEN.replace("{auth}", rig.live.auth().trim_end());
    let length = hidden.len();
    for method in ["POST", "GET", "HEAD", "DELETE", "OPTIONS", "PUT"] {
        let mut client = rig.live.client();
        let head = rig
            .live
            .request(&format!("{method} /up"), &format!("Content-Length: {length}\r\n"));
        client.send(format!("{head}{hidden}{}", rig.live.request("GET /up/next", "")));
        let reply = client.reply_to(method == "HEAD").unwrap();
        assert_eq!(reply.status, 200, "{method}");
        assert_eq!(client.reply().text(), "GET /up/next HTTP/1.1", "{method}");
        let seen = rig.service.seen();
        assert_eq!(seen[seen.len() - 2].body, hidden.as_bytes(), "{method}");
    }
    assert!(
        !rig.service
            .seen()
            .iter()
            .any(|seen| seen.line().contains("smuggled"))
    );
    // Without framing there is no body: what follows is a request of its own, checked like any other.
    let mut client = rig.live.client();
    client.send(format!(
        "{}GET /up/second HTTP/1.1\r\nHost: gw.test\r\n\r\n",
        rig.live.request("POST /up", "")
    ));
    assert_eq!(client.reply().status, 200);
    assert_eq!(
        client.reply().status,
        401,
        "the second request has no key of its own"
    );
}

#[test]
fn a_body_that_nobody_wanted_is_never_taken_for_a_request() {
    let rig = Rig::new();
    let hidden = HIDDEN.replace("{auth}", rig.live.auth().trim_end());
    let before = rig.service.seen().len();
    // Refused before its body was read (401): the body is read off, and the next request is answered.
    let mut client = rig.live.client();
    client.send(format!(
        "POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{hidden}",
        hidden.len()
    ));
    assert_eq!(client.reply().status, 401);
    client.send(rig.live.request("GET /up/next", ""));
    assert_eq!(client.reply().text(), "GET /up/next HTTP/1.1");
    // Chunked, or waiting for a go-ahead: the connection ends.
    for framing in [
        "Transfer-Encoding: chunked\r\n",
        "Content-Length: 9\r\nExpect: 100-continue\r\n",
    ] {
        let mut client = rig.live.client();
        client.send(format!("POST /up HTTP/1.1\r\nHost: a\r\n{framing}\r\n{hidden}"));
        let reply = client.reply();
        assert_eq!((reply.status, reply.header("connection")), (401, Some("close")));
        assert!(client.is_closed());
    }
    assert_eq!(rig.service.seen().len(), before + 1);
}

#[test]
fn chunk_tricks_are_refused_and_never_reach_the_service_as_a_request() {
    let rig = Rig::new();
    let hidden = HIDDEN.replace("{auth}", rig.live.auth().trim_end());
    for (name, body) in [
        ("bare LF after the size", format!("0\n\n{hidden}")),
        ("bare LF after the data", format!("5\r\nhello\n0\r\n\r\n{hidden}")),
        ("bare CR after the size", format!("5\rhello\r\n0\r\n\r\n{hidden}")),
        (
            "data longer than its size",
            format!("3\r\nhello\r\n0\r\n\r\n{hidden}"),
        ),
        (
            "bare LF in an extension (CVE-2024-6827)",
            format!("5;a\nb\r\nhello\r\n0\r\n\r\n{hidden}"),
        ),
        (
            "bare CR in an extension",
            format!("5;a\rX\r\nhello\r\n0\r\n\r\n{hidden}"),
        ),
        ("size with sign", format!("+5\r\nhello\r\n0\r\n\r\n{hidden}")),
        ("size with 0x", format!("0x5\r\nhello\r\n0\r\n\r\n{hidden}")),
        (
            "size with underscore",
            format!("1_0\r\nhello\r\n0\r\n\r\n{hidden}"),
        ),
        (
            "size with a leading space",
            format!(" 5\r\nhello\r\n0\r\n\r\n{hidden}"),
        ),
        (
            "size with a closing space",
            format!("5 \r\nhello\r\n0\r\n\r\n{hidden}"),
        ),
        (
            "size that overflows to 5",
            format!("10000000000000005\r\nhello\r\n0\r\n\r\n{hidden}"),
        ),
        (
            "size that overflows to 0",
            format!("10000000000000000\r\n\r\n{hidden}"),
        ),
        ("empty size", format!("\r\nhello\r\n0\r\n\r\n{hidden}")),
        ("negative size", format!("-1\r\nhello\r\n0\r\n\r\n{hidden}")),
        (
            "letters after the size",
            format!("5g\r\nhello\r\n0\r\n\r\n{hidden}"),
        ),
        ("folded trailer", format!("0\r\nA: b\r\n c\r\n\r\n{hidden}")),
        (
            "trailer without a colon",
            format!("0\r\nGET /up/smuggled HTTP/1.1\r\n\r\n{hidden}"),
        ),
        ("bare LF ends the trailers", format!("0\r\n\n{hidden}")),
        (
            "endless extension",
            format!("5;{}\r\nhello\r\n0\r\n\r\n{hidden}", "a".repeat(5_000)),
        ),
        (
            "endless trailers",
            format!("0\r\n{}\r\n{hidden}", "A: b\r\n".repeat(3_000)),
        ),
    ] {
        let mut client = rig.live.client();
        client.send(rig.live.request("POST /up", "Transfer-Encoding: chunked\r\n") + &body);
        let reply = client.reply();
        assert_eq!(
            (reply.status, reply.problem().code.as_str()),
            (400, "RC-GW-021"),
            "{name}: {reply:?}"
        );
        assert_eq!(reply.header("connection"), Some("close"), "{name}");
        assert!(client.is_closed(), "{name}");
        assert!(
            !rig.service
                .seen()
                .iter()
                .any(|seen| seen.line().contains("smuggled")),
            "{name}"
        );
    }
    assert!(
        rig.service.seen().is_empty(),
        "no broken body was ever ended: {:?}",
        rig.service.seen()
    );
}

#[test]
fn chunks_are_framed_anew_so_that_extensions_and_trailers_end_here() {
    let rig = Rig::new();
    let body = "5;ext=\"x y\"\r\nhello\r\n001\r\n!\r\n0\r\nX-RC-Tenant: evil\r\nContent-Length: 9\r\n\r\n";
    rig.check(
        "extensions",
        &post("Transfer-Encoding: chunked", body),
        &Seen(&["POST /up HTTP/1.1"]),
    );
    let seen = rig.service.seen();
    assert_eq!(seen[0].body, b"hello!");
    assert_eq!(seen[0].header("transfer-encoding"), Some("chunked"));
    assert_eq!(seen[0].header("content-length"), None);
    for gone in ["ext", "evil"] {
        assert!(!rig.service.raw().contains(gone), "{gone}");
    }
}
