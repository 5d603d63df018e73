//! The same bytes to our reader and to hyper's: what we take, hyper takes, and understands as the same requests.
//!
//! Bytes are made from requests of the smuggling catalogue by a mutator that repeats itself for a seed. Inputs that we
//! take in a way that was not seen before become starting points themselves. `RC_FUZZ_SECONDS` says how long to go on,
//! `RC_FUZZ_SEED` where to begin (CONTRIBUTING.md).

use std::cell::RefCell;
use std::collections::HashSet;
use std::convert::Infallible;
use std::rc::Rc;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rc_model::clock::monotonic_ns;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::io::test_inbox;
use crate::path::{self, RouteTable};
use crate::request::{Facts, Framing};
use crate::wire::{self, Body, Chunked, Step};

/// A request as a reader understood it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Understood {
    method: String,
    path: String,
    query: Option<String>,
    minor: u8,
    /// By name; fields of one name in their order.
    fields: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

/// The requests at the front of `input` that we would carry, if every path had a route.
fn ours(input: &[u8]) -> Vec<Understood> {
    let (limits, routes) = (ConnectionLimits::default(), RouteTable::default());
    let (mut rest, mut all) = (input, Vec::new());
    loop {
        rest = rest.strip_prefix(b"\r\n").unwrap_or(rest);
        let Ok(Some(end @ 3..)) = wire::head_end(rest, &mut 0) else {
            return all;
        };
        let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
        let Ok(head) = read(&limits, &rest[..end], &mut fields) else {
            return all;
        };
        let Ok(facts) = Facts::read(&head) else { return all };
        let carried = path::method(head.method.as_bytes()).map(|method| routes.find(facts.path, method));
        let Some(Ok(_)) = carried else { return all };
        let Some((body, used)) = our_body(facts.framing, &rest[end..]) else {
            return all;
        };
        let fields = head.fields.iter();
        all.push(Understood {
            method: head.method.to_owned(),
            path: facts.path.to_owned(),
            query: facts.query.map(str::to_owned),
            minor: u8::from(head.protocol == Protocol::Http11),
            fields: by_name(fields.map(|field| (field.name.to_ascii_lowercase(), field.value.to_vec()))),
            body,
        });
        if facts.close {
            return all;
        }
        rest = &rest[end + used..];
    }
}

/// A whole body at the front of `bytes`, and how many bytes it takes there.
fn our_body(framing: Framing, bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let mut body = match framing {
        Framing::None => Body::Done,
        Framing::Length(length) => Body::Length(length),
        Framing::Unknown => Body::Chunked(Chunked::default()),
    };
    let (mut inbox, mut whole) = (test_inbox(bytes), Vec::new());
    loop {
        match body.next(&mut inbox).ok()? {
            Step::Data(count) => {
                whole.extend_from_slice(&inbox.filled()[..count]);
                body.take(&mut inbox, count);
            }
            Step::More => return None,
            Step::End => return Some((whole, bytes.len() - inbox.filled().len())),
        }
    }
}

fn by_name(fields: impl Iterator<Item = (String, Vec<u8>)>) -> Vec<(String, Vec<u8>)> {
    let mut fields: Vec<_> = fields.collect();
    fields.sort_by(|a, b| a.0.cmp(&b.0));
    fields
}

/// The requests that hyper's server hands to a service that reads their bodies.
async fn theirs(input: &[u8]) -> Vec<Understood> {
    let all = Rc::new(RefCell::new(Vec::new()));
    let service = {
        let all = Rc::clone(&all);
        hyper::service::service_fn(move |request: http::Request<Incoming>| {
            let all = Rc::clone(&all);
            async move {
                let (parts, body) = request.into_parts();
                let body = body.collect().await?.to_bytes().to_vec();
                let fields = parts.headers.iter();
                all.borrow_mut().push(Understood {
                    method: parts.method.to_string(),
                    path: parts.uri.path().to_owned(),
                    query: parts.uri.query().map(str::to_owned),
                    minor: u8::from(parts.version == http::Version::HTTP_11),
                    fields: by_name(
                        fields.map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec())),
                    ),
                    body,
                });
                Ok::<_, hyper::Error>(http::Response::new(Empty::<Bytes>::new()))
            }
        })
    };
    let (mut client, server) = tokio::io::duplex(64 << 10);
    let serve = hyper::server::conn::http1::Builder::new()
        .half_close(true)
        .max_headers(FIELDS_MAX)
        .serve_connection(TokioIo::new(server), service);
    let talk = async {
        let _refused = client.write_all(input).await;
        let _refused = client.shutdown().await;
        let _answers = client.read_to_end(&mut Vec::new()).await;
        Ok::<_, Infallible>(())
    };
    let _how_it_ended = tokio::join!(serve, talk);
    all.take()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().unwrap()
}

/// Where the mutator begins.
const SEEDS: &[&str] = &[
    "GET /up HTTP/1.1\r\nHost: gw.test\r\n\r\n",
    "GET /up?a=b&c HTTP/1.1\r\nHost: gw.test:80\r\nAccept: */*\r\nCookie: a=b\r\nCookie: c\r\n\r\n",
    "POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhelloGET /next HTTP/1.1\r\nHost: a\r\n\r\n",
    "POST /up HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\nGET /n HTTP/1.1\r\nHost: a\r\n\r\n",
    "PUT /up HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: x\r\n\r\n1;a=\"b\"\r\n!\r\n000\r\nX: y\r\n\r\n",
    "POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG",
    "GET http://gw.test/up?q HTTP/1.1\r\nHost: gw.test\r\n\r\n",
    "POST /up HTTP/1.1\r\nHost: [::1]:8\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nok",
    "GET /up HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /up HTTP/1.0\r\n\r\n",
    "HEAD /a/b%20c;d=e HTTP/1.1\r\nhost: x\r\nTE: trailers\r\nUpgrade: h2c\r\nConnection: TE, Upgrade\r\n\r\n",
    "\r\nOPTIONS /up HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    "DELETE /up HTTP/1.1\r\nHost: a\r\nX-Long: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\nX-Empty:\r\n\r\n",
];

/// What the mutator puts in: the words that framing turns on, and the characters that readers disagree about.
const TOKENS: &[&str] = &[
    "\r\n",
    "\n",
    "\r",
    "\r\n\r\n",
    " ",
    "\t",
    ":",
    ";",
    ",",
    "\0",
    "\x0b",
    "\x7f",
    "\u{85}",
    "#",
    "?",
    "/",
    "..",
    "%2e",
    "%00",
    "\"",
    "\\",
    "_",
    "+",
    "-",
    "0",
    "1",
    "5",
    "f",
    "00",
    "ffffffffffffffff",
    "10000000000000005",
    "0x5",
    "5, 5",
    "18446744073709551621",
    "GET ",
    "POST ",
    "HEAD ",
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    " HTTP/1.1",
    " HTTP/1.0",
    " HTTP/0.9",
    "http://",
    "Host: a\r\n",
    "Host: b\r\n",
    "Content-Length: 5\r\n",
    "Content-Length: 0\r\n",
    "Content-Length: +5\r\n",
    "Content-Length : 5\r\n",
    "Content_Length: 5\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding: gzip, chunked\r\n",
    "Transfer-Encoding: identity\r\n",
    "Transfer-Encoding:\tchunked\r\n",
    "Transfer-Encoding: chunked, chunked\r\n",
    "chunked",
    "Connection: close\r\n",
    "Connection: Content-Length\r\n",
    "Expect: 100-continue\r\n",
    "Upgrade: h2c\r\n",
    "Trailer: Host\r\n",
    "0\r\n\r\n",
    "5\r\nhello\r\n",
    "5;a\r\nhello\r\n",
    "X: y\r\n",
    " X: y\r\n",
    "X\r\n",
];

/// Makes inputs out of others.
struct Mutator {
    random: fastrand::Rng,
    pool: Vec<Vec<u8>>,
}

/// Largest input, and most that are kept as starting points.
const INPUT_BYTES_MAX: usize = 2 << 10;
const POOL_MAX: usize = 4_096;

impl Mutator {
    fn new(seed: u64) -> Self {
        Self {
            random: fastrand::Rng::with_seed(seed),
            pool: SEEDS.iter().map(|seed| seed.as_bytes().to_vec()).collect(),
        }
    }

    fn next(&mut self) -> Vec<u8> {
        let random = &mut self.random;
        let mut bytes = random.choice(&self.pool).cloned().unwrap_or_default();
        for _ in 0..random.usize(1..5) {
            let at = random.usize(0..=bytes.len());
            let end = (at + random.usize(0..24)).min(bytes.len());
            match random.u8(0..8) {
                0 => bytes.truncate(at),
                1 => drop(bytes.drain(at..end)),
                2 => drop(bytes.splice(at..at, bytes[at..end].to_vec())),
                3 => {
                    if let Some(byte) = bytes.get_mut(at) {
                        *byte = random.u8(..);
                    }
                }
                4 => {
                    let other = random.choice(&self.pool).cloned().unwrap_or_default();
                    bytes.truncate(at);
                    bytes.extend_from_slice(&other[random.usize(0..=other.len())..]);
                }
                5 => {
                    // At the start of a line, where a field would be.
                    let starts: Vec<usize> = memchr::memchr_iter(b'\n', &bytes).map(|at| at + 1).collect();
                    let at = random.choice(&starts).copied().unwrap_or(at);
                    put(&mut bytes, at, random);
                }
                _ => put(&mut bytes, at, random),
            }
        }
        bytes.truncate(INPUT_BYTES_MAX);
        bytes
    }

    fn keep(&mut self, bytes: Vec<u8>) {
        if self.pool.len() < POOL_MAX {
            self.pool.push(bytes);
        }
    }
}

fn put(bytes: &mut Vec<u8>, at: usize, random: &mut fastrand::Rng) {
    let token = random.choice(TOKENS).copied().unwrap_or_default();
    drop(bytes.splice(at..at, token.bytes()));
}

#[expect(
    clippy::disallowed_methods,
    reason = "how long a test goes on is the choice of who runs it"
)]
fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// What two inputs have in common that we take in the same way: of each request method, version, length of the body up
/// to 8, whether it has a query, and the names of its fields.
type Shape = Vec<(String, u8, usize, bool, Vec<String>)>;

fn shape(requests: &[Understood]) -> Shape {
    let shape = |request: &Understood| {
        (
            request.method.clone(),
            request.minor,
            request.body.len().min(8),
            request.query.is_some(),
            request.fields.iter().map(|(name, _)| name.clone()).collect(),
        )
    };
    requests.iter().map(shape).collect()
}

#[test]
fn what_we_take_hyper_takes_as_the_same_requests() {
    let (seed, mut tried, mut taken) = (from_environment("RC_FUZZ_SEED").unwrap_or(1), 0_u64, 0_u64);
    let until_ns =
        from_environment("RC_FUZZ_SECONDS").map(|seconds| monotonic_ns() + seconds * 1_000_000_000);
    let (mut mutator, mut seen, runtime) = (Mutator::new(seed), HashSet::new(), runtime());
    while until_ns.map_or(tried < 4_000, |until_ns| monotonic_ns() < until_ns) {
        let input = mutator.next();
        tried += 1;
        let ours = ours(&input);
        if ours.is_empty() {
            continue;
        }
        taken += 1;
        let theirs = runtime.block_on(theirs(&input));
        assert!(
            theirs.starts_with(&ours),
            "input {tried} of seed {seed}: {}\nours: {ours:#?}\ntheirs: {theirs:#?}",
            input.escape_ascii()
        );
        if seen.insert(shape(&ours)) {
            mutator.keep(input);
        }
    }
    println!(
        "seed {seed}: {tried} inputs, {taken} taken, {} shapes",
        seen.len()
    );
    assert!(
        taken > tried / 20,
        "the mutator makes almost only garbage: {taken} of {tried}"
    );
}

/// Everything that hyper takes and we do not, one example of each reason; docs/gateway.md has the list.
#[test]
fn where_we_are_stricter_than_hyper() {
    let runtime = runtime();
    let head = "GET /up HTTP/1.1\r\nHost: a\r\n";
    for (name, input) in [
        ("no host", "GET /up HTTP/1.1\r\n\r\n".to_owned()),
        ("two hosts", format!("{head}Host: a\r\n\r\n")),
        (
            "a host that is no name",
            "GET /up HTTP/1.1\r\nHost: a@b\r\n\r\n".to_owned(),
        ),
        (
            "lines that end in a bare line feed",
            "GET /up HTTP/1.1\nHost: a\n\n".to_owned(),
        ),
        ("more than one empty line first", format!("\r\n\r\n{head}\r\n")),
        (
            "the same length twice",
            format!("{head}Content-Length: 0\r\nContent-Length: 0\r\n\r\n"),
        ),
        (
            "codings besides chunked",
            "POST /up HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n".to_owned(),
        ),
        (
            "a space behind a chunk size",
            "POST /up HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0 \r\n\r\n".to_owned(),
        ),
        (
            "methods that no route can have",
            format!("{}\r\n", head.replace("GET", "PURGE")),
        ),
        ("dot segments", format!("{}\r\n", head.replace("/up", "/up/../x"))),
        ("empty segments", format!("{}\r\n", head.replace("/up", "/up//x"))),
        (
            "escaped control characters",
            format!("{}\r\n", head.replace("/up", "/up/%00")),
        ),
        (
            "another scheme",
            format!("{}\r\n", head.replace("/up", "ftp://a/up")),
        ),
        (
            "another host in the target",
            format!("{}\r\n", head.replace("/up", "http://b/up")),
        ),
        ("a fragment", format!("{}\r\n", head.replace("/up", "/up?a#b"))),
        ("an upgrade", format!("{head}Upgrade: websocket\r\n\r\n")),
        ("another expectation", format!("{head}Expect: 200-ok\r\n\r\n")),
        ("two keys", format!("{head}X-API-Key: a\r\nX-API-Key: b\r\n\r\n")),
    ] {
        assert_eq!(ours(input.as_bytes()), [], "{name}");
        let theirs = runtime.block_on(theirs(input.as_bytes()));
        assert_eq!(theirs.len(), 1, "{name}: hyper takes it: {theirs:?}");
    }
}

#[test]
fn a_field_that_is_too_large_is_refused_whatever_the_rest_is() {
    let limits = ConnectionLimits {
        field_bytes_max: 100,
        ..ConnectionLimits::default()
    };
    let with = |length: usize| format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "y".repeat(length));
    let status = |head: &str| {
        let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
        read(&limits, head.as_bytes(), &mut fields)
            .map_err(|refusal| refusal.kind.status)
            .map(|_| ())
    };
    assert_eq!(status(&with(99)), Ok(()));
    assert_eq!(status(&with(100)), Err(431));
}
