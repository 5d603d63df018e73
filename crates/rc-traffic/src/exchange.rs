//! Carries one admitted request to a service and the answer back.
//!
//! One task polls both sockets: request body up, response down, the client's disappearance, the clock.
//! Until the answer begins the request's deadline rules and every failure becomes a problem; after that
//! only progress counts, and a failure cuts the answer so that the client can see it is not whole.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};

use rc_model::clock::monotonic_ns;
use tokio::time::Instant;

use crate::access::Ticket;
use crate::answer::{BODY_TOO_LARGE, DEADLINE, MALFORMED_BODY, Refusal, UPSTREAM_DOWN, UPSTREAM_FAILED};
use crate::forward::Forward;
use crate::io::Timer;
use crate::metrics::bump;
use crate::request::Framing;
use crate::seats::Outcome;
use crate::upstream::{Length, ResponseHead};
use crate::waiting::{self, Place};
use crate::worker::Worker;

mod attempt;
mod body;
mod connect;
mod relay;

use attempt::Exchange;
pub(crate) use body::{collect, flush, push_chunk};
use connect::connect;

/// Endpoints tried for one request when connecting fails.
const CONNECT_TRIES_MAX: usize = 3;
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
