//! Carries one admitted request to a service and the answer back.
//!
//! One task polls both sockets: request body up, response down, the client's disappearance, the clock.
//! Until the answer begins the request's deadline rules and every failure becomes a problem; after that
//! only progress counts, and a failure cuts the answer so that the client can see it is not whole.

use std::future::{Future as _, poll_fn};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use rc_model::clock::monotonic_ns;
use tokio::time::Instant;

use crate::access::Ticket;
use crate::answer::{BODY_TOO_LARGE, DEADLINE, MALFORMED_BODY, Refusal, UPSTREAM_DOWN, UPSTREAM_FAILED};
use crate::forward::Forward;
use crate::io::{OUTBOX_BYTES_HIGH, Timer};
use crate::metrics::bump;
use crate::request::Framing;
use crate::seats::Outcome;
use crate::span;
use crate::upstream::{Connection, Length, Pool, ResponseHead};
use crate::waiting::{self, Place};
use crate::wire::Step;
use crate::worker::Worker;

/// Endpoints tried for one request when connecting fails.
const CONNECT_TRIES_MAX: usize = 3;
/// Why an answer is cut in which no byte moved for the stall timeout.
const NO_PROGRESS: &str = "no progress";
/// What a client is told to wait when a service cannot be reached: about the time a restart takes.
const DOWN_RETRY_AFTER_NS: u64 = 1_000_000_000;

/// Why a client's side of an exchange ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Broken {
    /// It left.
    Gone,
    /// It sent something that is no body.
    Malformed(&'static str),
}

/// The client's side of one exchange.
pub(crate) trait Downstream {
    /// Makes request body available in [`Self::chunk`]; `false` at its end.
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, Broken>>;
    fn chunk(&self) -> &[u8];
    fn consume(&mut self, count: usize);
    /// Whether nothing of the request is still to come.
    fn has_whole_body(&self) -> bool;
    /// The gateway is about to read the body: a client that waits for `100 Continue` gets it.
    fn want_body(&mut self);
    /// Begins the answer. `fields` are whole header lines.
    fn start(&mut self, status: u16, fields: &[u8], length: Length, bodyless: bool);
    fn push(&mut self, data: &[u8]);
    /// Ends the answer.
    fn finish(&mut self);
    /// Bytes of the answer that wait for the client.
    fn waiting(&self) -> usize;
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>>;
    /// Ready when the client left. Asked only while no request body is wanted.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()>;
}

/// How an exchange ended.
#[derive(Debug)]
pub(crate) enum Fate {
    /// The answer was carried to its end.
    Done,
    /// The answer has not begun: give this one.
    Refuse(Refusal),
    /// The answer was cut, or nobody is there to get one.
    Cut,
}

enum Fail {
    Client(Broken),
    /// There was no seat for it.
    Refused(Refusal),
    BodyTooLarge,
    Deadline,
    Upstream(&'static str),
}

/// Carries `forward` and counts it on `ticket`.
pub(crate) async fn carry<D: Downstream>(
    worker: &Worker,
    client: &mut D,
    forward: &Forward,
    ticket: &mut Ticket,
    timer: &mut Timer,
) -> Fate {
    let view = Rc::clone(ticket.view());
    let mut place = Place::new(worker, &view, forward, ticket);
    if client.has_whole_body()
        && let Err(fate) = waiting::seated(&mut place, client, timer).await
    {
        return fate;
    }
    let pools = &view.upstreams[forward.upstream];
    let service = view.active.snapshot.upstreams[forward.upstream].service.as_str();
    let (mut attempt, mut replayed) = (0, false);
    let mut fields = Vec::with_capacity(512);
    loop {
        let pool = pools.choose(attempt);
        let mut now = Instant::now();
        let kept = if replayed { None } else { pool.checkout(now) };
        let connection = match kept {
            Some(connection) => {
                bump(&worker.counters().upstream_reuses);
                connection
            }
            None => match connect(worker, &pool, client, forward, timer).await {
                Ok(connection) => {
                    now = Instant::now();
                    connection
                }
                Err(Some(fail)) => return refusal(worker, ticket, service, fail),
                Err(None) if attempt + 1 < pools.len().min(CONNECT_TRIES_MAX) => {
                    attempt += 1;
                    continue;
                }
                Err(None) => return Fate::Refuse(Refusal::new(&UPSTREAM_DOWN).after_ns(DOWN_RETRY_AFTER_NS)),
            },
        };
        let mut exchange = Exchange {
            client,
            connection,
            forward,
            timer,
            sending: forward.framing != Framing::None,
            sent_all: true,
            sent_ns: 0,
            body_bytes: 0,
            place: &mut place,
        };
        forward.write(now, &mut exchange.connection.outbox.data);
        if exchange.sending {
            exchange.client.want_body();
            exchange.sent_all = false;
        }
        exchange.sent_ns = match exchange.place.seat() {
            // Near enough, and reading the clock is not for nothing.
            Some(seat) if exchange.connection.reused => seat.since_ns(),
            _ => monotonic_ns(),
        };
        let head = poll_fn(|cx| exchange.poll_head(&mut fields, cx)).await;
        let now_ns = monotonic_ns();
        let head_ns = now_ns.saturating_sub(exchange.sent_ns);
        // Before it has the whole request, a service shows how fast the client is.
        if let (Some(outcome), Some(seat), true) = (outcome(&head), exchange.place.seat(), exchange.sent_all)
        {
            seat.sample(head_ns, outcome, now_ns);
        }
        ticket.upstream_ns = Some(head_ns);
        ticket.bytes_in = exchange.body_bytes;
        match head {
            Ok(head) => {
                ticket.write_fields(&mut fields);
                ticket.answered(head.status);
                return exchange.relay(worker, &pool, head, &fields, ticket).await;
            }
            // A kept connection that the service had closed: nothing was heard, nothing of the request is
            // used up, and doing it twice is the same as once. One try, on a connection of its own.
            Err(Fail::Upstream(_))
                if exchange.connection.reused
                    && !exchange.connection.heard
                    && forward.replayable
                    && !replayed =>
            {
                replayed = true;
                bump(&worker.counters().upstream_retries);
            }
            Err(fail) => return refusal(worker, ticket, service, fail),
        }
    }
}

/// What the way an answer began shows about the service. Errors show nothing: they may be quick because nothing was
/// done.
fn outcome(head: &Result<ResponseHead, Fail>) -> Option<Outcome> {
    match head {
        Ok(head) => match head.status {
            503 | 504 => Some(Outcome::Overloaded),
            429 | 500.. => None,
            _ => Some(Outcome::Answered),
        },
        Err(Fail::Deadline) => Some(Outcome::Overloaded),
        Err(Fail::Client(_) | Fail::Refused(_) | Fail::BodyTooLarge | Fail::Upstream(_)) => None,
    }
}

/// Connects within the shorter of the connect timeout and the deadline. `Err(None)`: this endpoint cannot
/// be reached.
async fn connect<D: Downstream>(
    worker: &Worker,
    pool: &Pool,
    client: &mut D,
    forward: &Forward,
    timer: &mut Timer,
) -> Result<Connection, Option<Fail>> {
    let limit = Instant::now() + worker.shared.config.limits.connect_timeout;
    let mut connecting = std::pin::pin!(pool.connect(worker.random()));
    let connected = poll_fn(|cx| {
        if let Poll::Ready(done) = connecting.as_mut().poll(cx) {
            return Poll::Ready(done.map_err(Some));
        }
        if forward.framing == Framing::None && client.poll_gone(cx).is_ready() {
            return Poll::Ready(Err(None));
        }
        timer
            .poll(limit.min(forward.deadline), cx)
            .map(|()| Err(Some(std::io::ErrorKind::TimedOut.into())))
    });
    match connected.await {
        Ok(connection) => {
            bump(&worker.counters().upstream_connects);
            Ok(connection)
        }
        Err(None) => Err(Some(Fail::Client(Broken::Gone))),
        Err(Some(_)) if Instant::now() >= forward.deadline => Err(Some(Fail::Deadline)),
        Err(Some(error)) => {
            bump(&worker.counters().upstream_failures);
            tracing::debug!(endpoint = ?pool.endpoint(), %error, "cannot connect");
            Err(None)
        }
    }
}

fn refusal(worker: &Worker, ticket: &Ticket, service: &str, fail: Fail) -> Fate {
    match fail {
        Fail::Client(Broken::Gone) => Fate::Cut,
        Fail::Client(Broken::Malformed(detail)) => {
            Fate::Refuse(Refusal::because(&MALFORMED_BODY, detail).closing())
        }
        Fail::Refused(refusal) => Fate::Refuse(refusal),
        Fail::BodyTooLarge => Fate::Refuse(Refusal::new(&BODY_TOO_LARGE)),
        Fail::Deadline => Fate::Refuse(Refusal::new(&DEADLINE)),
        Fail::Upstream(reason) => {
            bump(&worker.counters().upstream_failures);
            let trace_id = ticket.trace.trace_id_hex();
            tracing::warn!(service, reason, trace_id, "the service gave no valid answer");
            Fate::Refuse(Refusal::new(&UPSTREAM_FAILED))
        }
    }
}

struct Exchange<'a, 'v, D> {
    client: &'a mut D,
    connection: Connection,
    forward: &'a Forward,
    timer: &'a mut Timer,
    /// Request body is still being taken from the client.
    sending: bool,
    /// The whole request is in the connection's hands; else it cannot be used again.
    sent_all: bool,
    /// When the request was whole, or begun.
    sent_ns: u64,
    body_bytes: u64,
    place: &'a mut Place<'v>,
}

impl<D: Downstream> Exchange<'_, '_, D> {
    /// Moves request body towards the service as far as both sides allow.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Result<(), Fail> {
        loop {
            // Whether the client's socket was asked and had nothing: only then it wakes this task.
            let mut dry = false;
            while self.sending && self.connection.outbox.waiting() < OUTBOX_BYTES_HIGH {
                match self.client.poll_body(cx) {
                    Poll::Ready(Ok(true)) if !self.is_last_chunk() => self.take_chunk()?,
                    Poll::Ready(Ok(more)) => match self.place.poll(cx) {
                        Poll::Ready(Ok(())) if more => self.take_chunk()?,
                        Poll::Ready(Ok(())) => self.end_body()?,
                        Poll::Ready(Err(refusal)) => return Err(Fail::Refused(refusal)),
                        // The end of the body waits here for its turn.
                        Poll::Pending => {
                            dry = true;
                            break;
                        }
                    },
                    Poll::Ready(Err(broken)) => return Err(Fail::Client(broken)),
                    Poll::Pending => {
                        dry = true;
                        break;
                    }
                }
            }
            if self.connection.outbox.waiting() == 0 {
                return Ok(());
            }
            match self.connection.poll_flush(cx) {
                // The outbox was full and is empty: the client was not asked yet in this round.
                Poll::Ready(Ok(())) if self.sending && !dry => {}
                Poll::Ready(Ok(())) | Poll::Pending => return Ok(()),
                // The service may have answered before it closed: stop sending, read on.
                Poll::Ready(Err(_)) => {
                    self.connection.outbox = Default::default();
                    self.sending = false;
                    self.sent_all = false;
                    return Ok(());
                }
            }
        }
    }

    /// Whether the piece that the client has sent is the end of a body of known length.
    fn is_last_chunk(&self) -> bool {
        let with_it = self.body_bytes + self.client.chunk().len() as u64;
        matches!(self.forward.framing, Framing::Length(length) if with_it >= length)
    }

    fn take_chunk(&mut self) -> Result<(), Fail> {
        let chunk = self.client.chunk();
        let count = chunk.len();
        self.body_bytes += count as u64;
        if self.body_bytes > self.forward.body_max {
            return Err(Fail::BodyTooLarge);
        }
        let out = &mut self.connection.outbox.data;
        match self.forward.framing {
            Framing::Unknown => push_chunk(out, chunk),
            Framing::None | Framing::Length(_) => out.extend_from_slice(chunk),
        }
        self.client.consume(count);
        Ok(())
    }

    fn end_body(&mut self) -> Result<(), Fail> {
        match self.forward.framing {
            Framing::Unknown => self.connection.outbox.data.extend_from_slice(b"0\r\n\r\n"),
            Framing::Length(length) if length != self.body_bytes => {
                return Err(Fail::Client(Broken::Malformed(
                    "the body is not as long as announced",
                )));
            }
            Framing::None | Framing::Length(_) => {}
        }
        self.sending = false;
        self.sent_all = true;
        self.sent_ns = monotonic_ns();
        Ok(())
    }

    fn poll_head(&mut self, fields: &mut Vec<u8>, cx: &mut Context<'_>) -> Poll<Result<ResponseHead, Fail>> {
        // `100 Continue` may wait here.
        if self.client.waiting() > 0 && matches!(self.client.poll_flush(cx), Poll::Ready(Err(_))) {
            return Poll::Ready(Err(Fail::Client(Broken::Gone)));
        }
        if let Err(fail) = self.poll_send(cx) {
            return Poll::Ready(Err(fail));
        }
        match self.connection.poll_response(self.forward.is_head, fields, cx) {
            Poll::Ready(Ok(head)) => return Poll::Ready(Ok(head)),
            Poll::Ready(Err(malformed)) => return Poll::Ready(Err(Fail::Upstream(malformed.0))),
            Poll::Pending => {}
        }
        if (!self.sending || self.place.waits()) && self.client.poll_gone(cx).is_ready() {
            return Poll::Ready(Err(Fail::Client(Broken::Gone)));
        }
        ready!(self.timer.poll(self.forward.deadline, cx));
        Poll::Ready(Err(self.place.late().map_or(Fail::Deadline, Fail::Refused)))
    }

    async fn relay(
        mut self,
        worker: &Worker,
        pool: &Pool,
        mut head: ResponseHead,
        fields: &[u8],
        ticket: &mut Ticket,
    ) -> Fate {
        if self.place.seat().is_none() {
            // It answered before it had the whole request; what is left of that needs no seat.
            self.place.done();
        }
        let bodyless = head.body.is_done() && (self.forward.is_head || matches!(head.status, 204 | 304));
        self.client.start(head.status, fields, head.length, bodyless);
        let stall = worker.shared.config.limits.stall_timeout;
        let mut limit = None;
        let whole = poll_fn(|cx| {
            let before = ticket.bytes_out + self.body_bytes;
            let waiting = self.client.waiting();
            if let Poll::Ready(done) = self.poll_relay(&mut head, &mut ticket.bytes_out, cx) {
                return Poll::Ready(done);
            }
            if before != ticket.bytes_out + self.body_bytes || waiting != self.client.waiting() {
                limit = None;
            }
            let until = *limit.get_or_insert_with(|| Instant::now() + stall);
            self.timer.poll(until, cx).map(|()| Err(NO_PROGRESS))
        });
        if let Err(reason) = whole.await {
            let trace_id = ticket.trace.trace_id_hex();
            tracing::debug!(reason, trace_id, "the answer was cut");
            ticket.error = Some(span::CUT);
            // The client gets what came, and sees that it is not the whole. One that took nothing for so long
            // is not waited for again.
            if reason != NO_PROGRESS {
                flush(self.client, self.timer, stall).await;
            }
            return Fate::Cut;
        }
        ticket.bytes_in = self.body_bytes;
        // The service is done with: neither its seat nor its connection need wait for a slow client.
        self.place.done();
        let (client, timer) = (self.client, self.timer);
        if head.keep && self.sent_all && self.connection.outbox.waiting() == 0 {
            pool.checkin(self.connection, Instant::now());
        }
        client.finish();
        flush(client, timer, stall).await
    }

    /// Moves response body until its end.
    fn poll_relay(
        &mut self,
        head: &mut ResponseHead,
        bytes_out: &mut u64,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), &'static str>> {
        let mut full = false;
        loop {
            if self.client.waiting() >= OUTBOX_BYTES_HIGH {
                match self.client.poll_flush(cx) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(_)) => return Poll::Ready(Err("the client left")),
                    // Room again, for a part: whoever leaves without asking the service is not woken by it.
                    Poll::Pending if self.client.waiting() < OUTBOX_BYTES_HIGH => {}
                    Poll::Pending => {
                        full = true;
                        // What is missing now is the client's doing, and a seat is for the service's work.
                        self.place.done();
                        break;
                    }
                }
            }
            match head.body.next(&mut self.connection.inbox) {
                Ok(Step::Data(count)) => {
                    self.client.push(&self.connection.inbox.filled()[..count]);
                    head.body.take(&mut self.connection.inbox, count);
                    *bytes_out += count as u64;
                }
                Ok(Step::End) => return Poll::Ready(Ok(())),
                Ok(Step::More) => match self.connection.poll_fill(cx) {
                    Poll::Ready(Ok(0)) if matches!(head.body, crate::wire::Body::UntilClose) => {
                        return Poll::Ready(Ok(()));
                    }
                    Poll::Ready(Ok(0)) => return Poll::Ready(Err("the service closed early")),
                    Poll::Ready(Ok(_)) => {}
                    Poll::Ready(Err(_)) => return Poll::Ready(Err("the service's connection broke")),
                    Poll::Pending => break,
                },
                Err(malformed) => return Poll::Ready(Err(malformed.0)),
            }
        }
        // The service has no more for the moment, or the client is slow: hand over what there is, take
        // request body that is still coming, and see whether anybody is there.
        let flushes = !full && self.client.waiting() > 0;
        if flushes && matches!(self.client.poll_flush(cx), Poll::Ready(Err(_))) {
            return Poll::Ready(Err("the client left"));
        }
        match self.poll_send(cx) {
            Ok(()) => {}
            Err(Fail::BodyTooLarge) => return Poll::Ready(Err("the request body is too large")),
            Err(_) => return Poll::Ready(Err("the request body broke")),
        }
        if !self.sending && self.client.poll_gone(cx).is_ready() {
            return Poll::Ready(Err("the client left"));
        }
        Poll::Pending
    }
}

/// Writes what waits; a client that takes nothing for `stall` is cut.
pub(crate) async fn flush<D: Downstream>(
    client: &mut D,
    timer: &mut Timer,
    stall: std::time::Duration,
) -> Fate {
    let mut waiting = usize::MAX;
    let mut limit = None;
    poll_fn(|cx| match client.poll_flush(cx) {
        Poll::Ready(Ok(())) => Poll::Ready(Fate::Done),
        Poll::Ready(Err(_)) => Poll::Ready(Fate::Cut),
        Poll::Pending => {
            if client.waiting() < waiting {
                waiting = client.waiting();
                limit = None;
            }
            let until = *limit.get_or_insert_with(|| Instant::now() + stall);
            timer.poll(until, cx).map(|()| Fate::Cut)
        }
    })
    .await
}

/// Reads a whole request body of at most `bytes_max`, for requests that the gateway answers itself.
pub(crate) async fn collect<D: Downstream>(
    client: &mut D,
    bytes_max: u64,
    deadline: Instant,
    timer: &mut Timer,
) -> Result<Vec<u8>, Fate> {
    let mut body = Vec::new();
    client.want_body();
    poll_fn(|cx| {
        loop {
            if client.poll_flush(cx).is_pending() {
                break;
            }
            match client.poll_body(cx) {
                Poll::Ready(Ok(true)) => {
                    let count = client.chunk().len();
                    if (body.len() + count) as u64 > bytes_max {
                        return Poll::Ready(Err(Fate::Refuse(Refusal::new(&BODY_TOO_LARGE))));
                    }
                    body.extend_from_slice(client.chunk());
                    client.consume(count);
                }
                Poll::Ready(Ok(false)) => return Poll::Ready(Ok(())),
                Poll::Ready(Err(Broken::Gone)) => return Poll::Ready(Err(Fate::Cut)),
                Poll::Ready(Err(Broken::Malformed(detail))) => {
                    let refusal = Refusal::because(&MALFORMED_BODY, detail).closing();
                    return Poll::Ready(Err(Fate::Refuse(refusal)));
                }
                Poll::Pending => break,
            }
        }
        timer
            .poll(deadline, cx)
            .map(|()| Err(Fate::Refuse(Refusal::new(&DEADLINE))))
    })
    .await?;
    Ok(body)
}

/// Appends one chunk of the chunked coding.
pub(crate) fn push_chunk(out: &mut Vec<u8>, data: &[u8]) {
    if data.is_empty() {
        return; // An empty chunk would be the end.
    }
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = (usize::BITS - data.len().leading_zeros()).div_ceil(4);
    for at in (0..digits).rev() {
        out.push(DIGITS[data.len() >> (at * 4) & 0xf]);
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(data);
    out.extend_from_slice(b"\r\n");
}
