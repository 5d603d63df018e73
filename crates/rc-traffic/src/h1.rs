//! The server side of HTTP/1: reads heads strictly, hands each to [`crate::admission`], writes the answer.
//!
//! Anything about a head or a body that could be read in two ways is refused and the connection closed;
//! nothing that was read is forwarded as it came.

mod head;

use std::future::{Future as _, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::WaitForCancellationFutureOwned;

use crate::access::Ticket;
use crate::admission::{Decided, Decision, decide};
use crate::answer::{
    self, BODY_TOO_LARGE, HEAD_TIMEOUT, HEAD_TOO_LARGE, Kind, MALFORMED_HEAD, Refusal, TARGET_TOO_LONG,
};
use crate::cache;
use crate::crowd::Owner;
use crate::exchange::{self, Broken, Downstream, Fate, push_chunk};
use crate::io::{INBOX_BYTES_MAX, Inbox, Io, Outbox, Timer, linger};
use crate::local;
use crate::pace::{Hold, Pace};
use crate::request::{FIELDS_MAX, Framing, Protocol};
use crate::upstream::Length;
use crate::wire::{self, Body, Chunked, Malformed, Step};
use crate::worker::{Peer, Worker};

/// Time to end a head that had begun when the gateway was told to stop.
const STOPPING_HEAD_TIMEOUT: Duration = Duration::from_secs(1);
/// Unread request body up to which a connection is kept: reading it is cheaper than a new connection.
const DRAIN_BYTES_MAX: u64 = 64 << 10;
/// Time to read that rest.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// While an answer is awaited, this much of the client's next request is read ahead.
const AHEAD_BYTES_MAX: usize = 4 << 10;

/// One client connection.
pub(crate) struct H1 {
    io: Io,
    inbox: Inbox,
    outbox: Outbox,
    /// The present request's body.
    body: Body,
    /// Bytes of body at the front of the inbox.
    chunk: usize,
    protocol: Protocol,
    expects_continue: bool,
    /// The answer under way is in chunks.
    chunked: bool,
    bodyless: bool,
    /// The end of the connection is the end of the answer: a cut must not look like one.
    until_close: bool,
    /// No request follows this one.
    close: bool,
    scanned: usize,
    pace: Pace,
    owner: Owner,
}

/// What came instead of a head.
enum NoHead {
    /// The client is done, or the gateway is, or nothing came in time.
    Closed,
    Refuse(Refusal),
}

/// Serves requests on `io` until one side has had enough. `inbox` holds what was read already.
pub(crate) async fn serve(worker: Rc<Worker>, io: Io, inbox: Inbox, peer: Peer) {
    let mut connection = H1 {
        io,
        inbox,
        outbox: Outbox::default(),
        body: Body::Done,
        chunk: 0,
        protocol: Protocol::Http11,
        expects_continue: false,
        chunked: false,
        bodyless: false,
        until_close: false,
        close: false,
        scanned: 0,
        pace: Pace::new(!peer.trusted),
        owner: Owner::new(!peer.trusted),
    };
    let mut timer = Timer::new();
    let mut stop = Box::pin(worker.stop.clone().cancelled_owned());
    let mut room = Vec::new();
    let limits = &worker.shared.config.limits;
    for served in 1..=limits.requests_per_connection_max {
        let end = match connection
            .read_head(&worker, served == 1, &mut stop, &mut timer)
            .await
        {
            Ok(end) => end,
            Err(NoHead::Closed) => return,
            Err(NoHead::Refuse(refusal)) => {
                crate::metrics::bump(&worker.counters().malformed);
                connection.refuse_head(&worker, refusal, &mut timer).await;
                return;
            }
        };
        let decided = match parse(&worker, &peer, &connection.inbox.filled()[..end], room) {
            Ok(decided) => decided,
            Err(refusal) => {
                crate::metrics::bump(&worker.counters().malformed);
                connection.refuse_head(&worker, refusal, &mut timer).await;
                return;
            }
        };
        connection.begin(end, &decided.1, decided.0);
        connection.close |= served == limits.requests_per_connection_max || worker.stop.is_cancelled();
        let (fate, emptied) = connection.answer(&worker, decided.1, &mut timer).await;
        room = emptied;
        match fate {
            Fate::Done if !connection.close => {}
            Fate::Done => {
                linger(&mut connection.io, &mut timer).await;
                return;
            }
            Fate::Cut | Fate::Refuse(_) => {
                if connection.until_close {
                    connection.io.abort_on_close();
                }
                return;
            }
        }
        if !connection.body.is_done() && !connection.drain(&mut timer).await {
            linger(&mut connection.io, &mut timer).await;
            return;
        }
    }
}

/// Reads a head that [`wire::head_end`] has cut out, and decides about it.
fn parse(
    worker: &Rc<Worker>,
    peer: &Peer,
    bytes: &[u8],
    room: Vec<u8>,
) -> Result<(Protocol, Decided), Refusal> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let head = head::read(&worker.shared.config.limits, bytes, &mut fields)?;
    Ok((head.protocol, decide(worker, peer, &head, room)))
}

impl H1 {
    /// Waits for a whole head at the front of the inbox.
    async fn read_head(
        &mut self,
        worker: &Worker,
        first: bool,
        stop: &mut Pin<Box<WaitForCancellationFutureOwned>>,
        timer: &mut Timer,
    ) -> Result<usize, NoHead> {
        let limits = &worker.shared.config.limits;
        self.inbox.rest();
        self.outbox.rest();
        self.scanned = 0;
        let patience = if first {
            limits.head_timeout
        } else {
            limits.idle_timeout
        };
        let (mut idle_until, mut head_until, mut stop_until) = (None, None, None);
        let mut blank_line = false;
        poll_fn(|cx| {
            loop {
                // RFC 9112, section 2.2: an empty line before the request line is ignored; one of them.
                if !blank_line && self.scanned == 0 && self.inbox.filled().starts_with(b"\r\n") {
                    self.inbox.consume(2);
                    blank_line = true;
                }
                let filled = self.inbox.filled();
                let waits_for_lf = !blank_line && filled == b"\r";
                match wire::head_end(filled, &mut self.scanned) {
                    Ok(Some(end)) if end > limits.head_bytes_max => {
                        return Poll::Ready(Err(too_large(filled)));
                    }
                    Ok(Some(2)) => {
                        return refuse(Refusal::because(
                            &MALFORMED_HEAD,
                            "empty lines instead of a request",
                        ));
                    }
                    Ok(Some(end)) => return Poll::Ready(Ok(end)),
                    Ok(None) if filled.len() >= limits.head_bytes_max => {
                        return Poll::Ready(Err(too_large(filled)));
                    }
                    Ok(None) => {}
                    Err(Malformed(detail)) => return refuse(Refusal::because(&MALFORMED_HEAD, detail)),
                }
                let idle = filled.is_empty();
                let stopping = stop.as_mut().poll(cx).is_ready();
                if idle && stopping {
                    return Poll::Ready(Err(NoHead::Closed));
                }
                let room = limits.head_bytes_max.max(INBOX_BYTES_MAX);
                match self.inbox.poll_fill(&mut self.io, cx, room) {
                    Poll::Ready(Ok(0)) if idle || waits_for_lf => return Poll::Ready(Err(NoHead::Closed)),
                    Poll::Ready(Ok(0)) => {
                        return refuse(Refusal::because(&MALFORMED_HEAD, "the head ends early"));
                    }
                    Poll::Ready(Ok(_)) => continue,
                    Poll::Ready(Err(_)) => return Poll::Ready(Err(NoHead::Closed)),
                    Poll::Pending => {}
                }
                if idle {
                    let until = *idle_until.get_or_insert_with(|| Instant::now() + patience);
                    return timer.poll(until, cx).map(|()| Err(NoHead::Closed));
                }
                let mut until = *head_until.get_or_insert_with(|| Instant::now() + limits.head_timeout);
                if stopping {
                    // Half a head must not hold up the end, or a restart.
                    until =
                        until.min(*stop_until.get_or_insert_with(|| Instant::now() + STOPPING_HEAD_TIMEOUT));
                }
                return timer
                    .poll(until, cx)
                    .map(|()| Err(NoHead::Refuse(Refusal::new(&HEAD_TIMEOUT))));
            }
        })
        .await
    }

    /// Sets the connection up for the body and the answer of the request whose head ends at `end`.
    fn begin(&mut self, end: usize, decided: &Decided, protocol: Protocol) {
        self.inbox.consume(end);
        self.body = match decided.framing {
            Framing::None => Body::Done,
            Framing::Length(length) => Body::Length(length),
            Framing::Unknown => Body::Chunked(Chunked::default()),
        };
        self.chunk = 0;
        self.protocol = protocol;
        self.close = decided.close;
        self.expects_continue = decided.expects_continue;
        self.chunked = false;
        self.bodyless = false;
        self.until_close = false;
    }

    /// Answers one request. The second value is the head's buffer, to be used again.
    async fn answer(&mut self, worker: &Rc<Worker>, decided: Decided, timer: &mut Timer) -> (Fate, Vec<u8>) {
        let Decided {
            mut ticket,
            decision,
            is_head,
            ..
        } = decided;
        let limits = &worker.shared.config.limits;
        let stall = limits.stall_timeout;
        let mut room = Vec::new();
        let fate = match self
            .owner
            .admit(decision, &ticket, limits.connections_per_tenant_max)
        {
            Decision::Forward(forward) => {
                let fate = cache::carry(worker, self, &forward, &mut ticket, timer).await;
                room = forward.head;
                if matches!(fate, Fate::Done) {
                    self.pace.served();
                }
                fate
            }
            Decision::Refuse(refusal) => Fate::Refuse(refusal),
            Decision::Health => local::health(self, &mut ticket, is_head),
            Decision::Ready => local::ready(worker, self, &mut ticket, is_head),
            Decision::Admin(call) => local::admin(worker, self, *call, &mut ticket, is_head, timer).await,
        };
        let fate = match fate {
            Fate::Refuse(mut refusal) => {
                match self.pace.hold(worker, &ticket, &refusal) {
                    Hold::No => {}
                    Hold::Park(parked) => parked.wait().await,
                    Hold::Close => refusal.close = true,
                }
                self.before_refusal(&refusal);
                local::refuse(worker, self, &refusal, &mut ticket, is_head);
                Fate::Done
            }
            fate => fate,
        };
        if !matches!(fate, Fate::Done) {
            return (fate, room);
        }
        (exchange::flush(self, timer, stall).await, room)
    }

    /// Whether the connection survives a refusal depends on the body that was not read.
    fn before_refusal(&mut self, refusal: &Refusal) {
        let small = self.body.left().is_some_and(|left| left <= DRAIN_BYTES_MAX);
        // A client that waits for `100 Continue` may or may not send its body after another answer
        // (RFC 9110, section 10.1.1), so what follows could be a body or a request.
        let unsure = self.expects_continue && !self.body.is_done();
        self.close |= refusal.close || !small || unsure || refusal.kind == &BODY_TOO_LARGE;
    }

    /// Refuses something that never became a request.
    async fn refuse_head(&mut self, worker: &Rc<Worker>, refusal: Refusal, timer: &mut Timer) {
        let mut ticket = Ticket::new(worker, None);
        self.close = true;
        self.body = Body::Done;
        local::refuse(worker, self, &refusal, &mut ticket, false);
        let stall = worker.shared.config.limits.stall_timeout;
        if matches!(exchange::flush(self, timer, stall).await, Fate::Done) {
            linger(&mut self.io, timer).await;
        }
    }

    /// Reads the rest of a small body that nobody wanted, so that the next request can be found.
    async fn drain(&mut self, timer: &mut Timer) -> bool {
        if self.expects_continue {
            return false;
        }
        let until = Instant::now() + DRAIN_TIMEOUT;
        let mut left = DRAIN_BYTES_MAX;
        poll_fn(|cx| {
            loop {
                match self.poll_body(cx) {
                    Poll::Ready(Ok(false)) => return Poll::Ready(true),
                    Poll::Ready(Ok(true)) => {
                        let count = self.chunk;
                        self.consume(count);
                        left = left.saturating_sub(count as u64);
                        if left == 0 && !self.body.is_done() {
                            return Poll::Ready(false);
                        }
                    }
                    Poll::Ready(Err(_)) => return Poll::Ready(false),
                    Poll::Pending => break,
                }
            }
            timer.poll(until, cx).map(|()| false)
        })
        .await
    }
}

impl Downstream for H1 {
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, Broken>> {
        loop {
            match self.body.next(&mut self.inbox) {
                Ok(Step::Data(count)) => {
                    self.chunk = count;
                    return Poll::Ready(Ok(true));
                }
                Ok(Step::End) => return Poll::Ready(Ok(false)),
                Ok(Step::More) => match ready!(self.inbox.poll_fill(&mut self.io, cx, INBOX_BYTES_MAX)) {
                    Ok(0) | Err(_) => return Poll::Ready(Err(Broken::Gone)),
                    Ok(_) => {}
                },
                Err(Malformed(detail)) => {
                    // Where the next request starts is not known any more.
                    self.close = true;
                    return Poll::Ready(Err(Broken::Malformed(detail)));
                }
            }
        }
    }

    fn chunk(&self) -> &[u8] {
        &self.inbox.filled()[..self.chunk]
    }

    fn consume(&mut self, count: usize) {
        self.body.take(&mut self.inbox, count);
        self.chunk = 0;
    }

    fn has_whole_body(&self) -> bool {
        let here = self.inbox.filled().len() as u64;
        self.body.is_done() || matches!(self.body, Body::Length(left) if left <= here)
    }

    fn want_body(&mut self) {
        if std::mem::take(&mut self.expects_continue) && self.inbox.is_empty() && !self.body.is_done() {
            self.outbox
                .data
                .extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
    }

    fn start(&mut self, status: u16, fields: &[u8], length: Length, bodyless: bool) {
        let out = &mut self.outbox.data;
        out.extend_from_slice(b"HTTP/1.1 ");
        answer::number(out, u64::from(status));
        out.push(b' ');
        out.extend_from_slice(answer::reason(status).as_bytes());
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(fields);
        self.bodyless = bodyless;
        match length {
            Length::Known(length) => answer::put_number(out, "content-length", length),
            Length::Unknown if self.protocol == Protocol::Http11 => {
                answer::put(out, "transfer-encoding", b"chunked");
                self.chunked = true;
            }
            // HTTP/1.0 knows no chunks: the end of the connection is the end of the body.
            Length::Unknown => {
                self.close = true;
                self.until_close = true;
            }
            Length::Untold => {}
        }
        if self.close {
            answer::put(out, "connection", b"close");
        }
        out.extend_from_slice(b"\r\n");
    }

    fn push(&mut self, data: &[u8]) {
        if self.bodyless {
            return;
        }
        if self.chunked {
            push_chunk(&mut self.outbox.data, data);
        } else {
            self.outbox.data.extend_from_slice(data);
        }
    }

    fn finish(&mut self) {
        if self.chunked && !self.bodyless {
            self.outbox.data.extend_from_slice(b"0\r\n\r\n");
        }
    }

    fn waiting(&self) -> usize {
        self.outbox.waiting()
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        self.outbox
            .poll_flush(&mut self.io, cx)
            .map_err(|_left| Broken::Gone)
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.inbox.filled().len() < AHEAD_BYTES_MAX {
            match ready!(self.inbox.poll_fill(&mut self.io, cx, INBOX_BYTES_MAX)) {
                Ok(0) | Err(_) => return Poll::Ready(()),
                Ok(_) => {}
            }
        }
        Poll::Pending
    }
}

fn too_large(filled: &[u8]) -> NoHead {
    let kind: &'static Kind = if filled.contains(&b'\n') {
        &HEAD_TOO_LARGE
    } else {
        &TARGET_TOO_LONG
    };
    NoHead::Refuse(Refusal::new(kind))
}

fn refuse<T>(refusal: Refusal) -> Poll<Result<T, NoHead>> {
    Poll::Ready(Err(NoHead::Refuse(refusal)))
}
