//! The client side: connections to services, kept by the worker that opened them.
//!
//! One connection carries one exchange at a time. Its socket is polled by the same task that polls the
//! client's, so there is no hop between tasks and no lock. A response is read as strictly as a request:
//! what two programs could frame differently is a failure of the service, and the connection is closed.

use std::cell::RefCell;
use std::io;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use httparse::Header;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::answer::put;
use crate::config::ConnectionLimits;
use crate::io::{INBOX_BYTES_MAX, Inbox, Io, Outbox};
use crate::snapshot::Endpoint;
use crate::wire::{self, Body, Chunked, Malformed};

/// Most fields in a response.
const FIELDS_MAX: usize = 128;
/// Largest response head.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// Informational responses (1xx) before the real one.
const INFORMATIONAL_MAX: usize = 8;

/// The part of [`ConnectionLimits`] that pools follow.
#[derive(Debug, Clone)]
pub(crate) struct PoolLimits {
    idle_max: usize,
    idle_timeout: Duration,
    age_max: Duration,
}

impl From<&ConnectionLimits> for PoolLimits {
    fn from(limits: &ConnectionLimits) -> Self {
        Self {
            idle_max: limits.upstream_idle_max,
            idle_timeout: limits.upstream_idle_timeout,
            age_max: limits.upstream_age_max,
        }
    }
}

/// One worker's idle connections to one endpoint, the most recently used last.
pub(crate) struct Pool {
    endpoint: Endpoint,
    limits: PoolLimits,
    idle: RefCell<Vec<Idle>>,
}

struct Idle {
    connection: Connection,
    since: Instant,
}

/// A connection to a service.
pub(crate) struct Connection {
    pub(crate) io: Io,
    pub(crate) inbox: Inbox,
    pub(crate) outbox: Outbox,
    /// It carried an exchange before: the service may have closed it meanwhile.
    pub(crate) reused: bool,
    /// Something of the present response has arrived.
    pub(crate) heard: bool,
    expires: Instant,
    scanned: usize,
    informational: usize,
}

/// How long the answer to the client says its body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Length {
    /// No length is told (204, 304 and the like).
    Untold,
    Known(u64),
    Unknown,
}

/// A response's head.
#[derive(Debug)]
pub(crate) struct ResponseHead {
    pub(crate) status: u16,
    pub(crate) length: Length,
    pub(crate) body: Body,
    /// The connection can carry another exchange.
    pub(crate) keep: bool,
}

impl Pool {
    pub(crate) fn new(endpoint: Endpoint, limits: PoolLimits) -> Self {
        Self {
            endpoint,
            limits,
            idle: RefCell::default(),
        }
    }

    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// An idle connection that is still good. One that the service closed, or on which it spoke without
    /// being asked, is thrown away.
    pub(crate) fn checkout(&self, now: Instant) -> Option<Connection> {
        let mut idle = self.idle.borrow_mut();
        while let Some(candidate) = idle.pop() {
            let fresh =
                now < candidate.connection.expires && now - candidate.since < self.limits.idle_timeout;
            if fresh && candidate.connection.is_quiet() {
                return Some(candidate.connection);
            }
        }
        None
    }

    /// Keeps a connection for the next exchange.
    pub(crate) fn checkin(&self, mut connection: Connection, now: Instant) {
        let mut idle = self.idle.borrow_mut();
        if now >= connection.expires || !connection.inbox.is_empty() || idle.len() >= self.limits.idle_max {
            return;
        }
        connection.reused = true;
        connection.heard = false;
        connection.scanned = 0;
        connection.informational = 0;
        connection.inbox.rest();
        connection.outbox.rest();
        idle.push(Idle {
            connection,
            since: now,
        });
    }

    /// Closes connections that were idle for too long.
    pub(crate) fn sweep(&self, now: Instant) {
        self.idle
            .borrow_mut()
            .retain(|idle| now < idle.connection.expires && now - idle.since < self.limits.idle_timeout);
    }

    /// Opens a connection. The caller bounds the time.
    pub(crate) async fn connect(&self, random: u64) -> io::Result<Connection> {
        let io = match &self.endpoint {
            Endpoint::Unix(path) => Io::Unix(rc_serve::uds::connect(path).await?),
            Endpoint::Tcp(address) => {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                Io::Tcp(stream)
            }
        };
        // Up to a quarter longer, so that connections opened together do not end together.
        let extra = self.limits.age_max.mul_f64((random % 1_000) as f64 / 4_000.0);
        Ok(Connection {
            io,
            inbox: Inbox::new(),
            outbox: Outbox::default(),
            reused: false,
            heard: false,
            expires: Instant::now() + self.limits.age_max + extra,
            scanned: 0,
            informational: 0,
        })
    }
}

impl Connection {
    /// Nothing arrived since the last exchange, not even the end.
    fn is_quiet(&self) -> bool {
        let mut byte = [0_u8];
        let read = match &self.io {
            Io::Tcp(io) => io.try_read(&mut byte),
            Io::Unix(io) => io.try_read(&mut byte),
            Io::Tls(_) => return false,
        };
        matches!(read, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Reads the response's head and writes the fields that go on to the client into `fields`.
    pub(crate) fn poll_response(
        &mut self,
        is_head: bool,
        fields: &mut Vec<u8>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<ResponseHead, Malformed>> {
        loop {
            let filled = self.inbox.filled();
            if let Some(end) = wire::head_end(filled, &mut self.scanned)? {
                fields.clear();
                let head = parse_response(&filled[..end], is_head, fields)?;
                self.inbox.consume(end);
                self.scanned = 0;
                if head.status >= 200 {
                    return Poll::Ready(Ok(head));
                }
                self.informational += 1;
                if head.status == 101 || self.informational > INFORMATIONAL_MAX {
                    return Poll::Ready(Err(Malformed("an informational response that nobody asked for")));
                }
                continue;
            }
            if filled.len() >= HEAD_BYTES_MAX {
                return Poll::Ready(Err(Malformed("the response head is too large")));
            }
            match ready!(self.poll_fill(cx)) {
                Ok(0) => return Poll::Ready(Err(Malformed("the connection was closed"))),
                Ok(_) => self.heard = true,
                Err(_) => return Poll::Ready(Err(Malformed("the connection broke"))),
            }
        }
    }

    pub(crate) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.inbox.poll_fill(&mut self.io, cx, INBOX_BYTES_MAX)
    }

    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.outbox.poll_flush(&mut self.io, cx)
    }
}

fn parse_response(bytes: &[u8], is_head: bool, fields: &mut Vec<u8>) -> Result<ResponseHead, Malformed> {
    let mut room = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut response = httparse::Response::new(&mut room);
    match response.parse(bytes) {
        Ok(httparse::Status::Complete(used)) if used == bytes.len() => {}
        Ok(_) => return Err(Malformed("the response head ends early")),
        Err(httparse::Error::TooManyHeaders) => return Err(Malformed("the response has too many fields")),
        Err(_) => return Err(Malformed("the response head is malformed")),
    }
    let status = response.code.unwrap_or_default();
    if !(100..=599).contains(&status) {
        return Err(Malformed("the response status is out of range"));
    }
    let old = response.version != Some(1);
    let framing = write_fields(response.headers, fields)?;
    if framing.chunked && (framing.length.is_some() || old) {
        return Err(Malformed("the response is framed in two ways"));
    }
    let bodyless = is_head || status < 200 || matches!(status, 204 | 304);
    let (length, body) = match (bodyless, framing.chunked, framing.length) {
        (true, _, Some(length)) if status != 204 && status >= 200 => (Length::Known(length), Body::Done),
        (true, _, _) => (Length::Untold, Body::Done),
        (false, true, _) => (Length::Unknown, Body::Chunked(Chunked::default())),
        (false, false, Some(length)) => (Length::Known(length), Body::Length(length)),
        (false, false, None) => (Length::Unknown, Body::UntilClose),
    };
    Ok(ResponseHead {
        keep: !old && !framing.close && !matches!(body, Body::UntilClose),
        status,
        length,
        body,
    })
}

#[derive(Default)]
struct ResponseFraming {
    length: Option<u64>,
    chunked: bool,
    close: bool,
}

/// Copies the end-to-end fields and reads the others.
fn write_fields(headers: &[Header<'_>], out: &mut Vec<u8>) -> Result<ResponseFraming, Malformed> {
    let mut framing = ResponseFraming::default();
    let mut named: Option<&[u8]> = None;
    for header in headers {
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        if is("content-length") {
            let length = wire::content_length(header.value)
                .ok_or(Malformed("the response's length is not a number"))?;
            if framing.length.replace(length).is_some() {
                return Err(Malformed("the response tells two lengths"));
            }
        } else if is("transfer-encoding") {
            if framing.chunked || !header.value.eq_ignore_ascii_case(b"chunked") {
                return Err(Malformed(
                    "the response's transfer encoding is not exactly `chunked`",
                ));
            }
            framing.chunked = true;
        } else if is("connection") {
            for token in header.value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                if token.eq_ignore_ascii_case(b"close") {
                    framing.close = true;
                } else if !token.eq_ignore_ascii_case(b"keep-alive") {
                    named = Some(header.value);
                }
            }
        }
    }
    for header in headers {
        if is_end_to_end(header.name) && !named.is_some_and(|list| lists(list, header.name)) {
            put(out, header.name, header.value);
        }
    }
    Ok(framing)
}

fn lists(list: &[u8], name: &str) -> bool {
    list.split(|byte| *byte == b',')
        .any(|token| token.trim_ascii().eq_ignore_ascii_case(name.as_bytes()))
}

/// Fields of this hop, and those that the gateway writes itself, stay behind.
fn is_end_to_end(name: &str) -> bool {
    let is = |known: &str| name.eq_ignore_ascii_case(known);
    match name.len() {
        2 => !is("te"),
        7 => !is("trailer") && !is("upgrade"),
        9 => !is("ratelimit"),
        10 => !is("connection") && !is("keep-alive"),
        12 => !is("x-request-id"),
        14 => !is("content-length"),
        16 => !is("proxy-connection") && !is("ratelimit-policy"),
        17 => !is("transfer-encoding"),
        _ => !name
            .get(..5)
            .is_some_and(|start| start.eq_ignore_ascii_case("x-rc-")),
    }
}

#[cfg(test)]
mod tests;
