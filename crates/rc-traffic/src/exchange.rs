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
use crate::answer::{
    BODY_TOO_LARGE, DEADLINE, MALFORMED_BODY, Refusal, TOO_SLOW, UPSTREAM_DOWN, UPSTREAM_FAILED,
};
use crate::forward::Forward;
use crate::health::Verdict;
use crate::io::Timer;
use crate::metrics::bump;
use crate::retry::{self, Kept};
use crate::seats::Outcome;
use crate::upstream::{Length, ResponseHead};
use crate::waiting::{self, Place};
use crate::worker::Worker;

mod attempt;
mod body;
mod connect;
mod hedge;
mod relay;
mod tries;

use attempt::Exchange;
pub(crate) use body::{collect, flush, push_chunk};
use connect::connect;
use tries::Tries;

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
    /// The answer did not begin in the time in which such answers begin.
    Slow,
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
    let pools = &view.upstreams[forward.upstream];
    let service = view.active.snapshot.upstreams[forward.upstream].service.as_str();
    let mut tries = match Tries::new(worker, &view, forward, ticket) {
        Ok(tries) => tries,
        Err(refusal) => return Fate::Refuse(refusal),
    };
    let mut place = Place::new(worker, &view, forward, ticket);
    let mut kept = Kept::new(forward.framing, tries.are_many());
    let mut fields = Vec::with_capacity(512);
    let (mut failed, mut not_connected, mut replayed) = (None, 0, false);
    loop {
        if place.seat().is_none()
            && client.has_whole_body()
            && let Err(fate) = waiting::seated(&mut place, client, timer).await
        {
            return fate;
        }
        let mut chosen = pools.choose(failed);
        let mut now = Instant::now();
        let idle = if replayed { None } else { chosen.pool.checkout(now) };
        let connection = match idle {
            Some(connection) => {
                bump(&worker.counters().upstream_reuses);
                connection
            }
            None => match connect(worker, &chosen.pool, client, forward, timer).await {
                Ok(connection) => {
                    pools.health.endpoints[chosen.at].connected();
                    now = Instant::now();
                    connection
                }
                Err(Some(fail)) => {
                    if is_late(&fail, forward) {
                        tries.not_connected(&mut chosen, Verdict::Failed);
                    }
                    return refusal(worker, ticket, service, fail);
                }
                Err(None) => {
                    failed = Some(chosen.at);
                    // Where nobody is, a refusal costs nothing and there is nothing to spare.
                    let verdict = match now.elapsed() < worker.shared.config.limits.connect_timeout {
                        true => Verdict::Nothing,
                        false => Verdict::Failed,
                    };
                    tries.not_connected(&mut chosen, verdict);
                    not_connected += 1;
                    // Nobody has seen the request: another endpoint may at once.
                    if not_connected < pools.len().min(CONNECT_TRIES_MAX) {
                        continue;
                    }
                    let Some(until) = tries.again() else {
                        return Fate::Refuse(Refusal::new(&UPSTREAM_DOWN).after_ns(DOWN_RETRY_AFTER_NS));
                    };
                    not_connected = 0;
                    if let Err(fate) = tries::pause(client, &mut place, timer, until).await {
                        return fate;
                    }
                    continue;
                }
            },
        };
        let mut exchange = Exchange {
            client,
            connection,
            forward,
            timer,
            sending: false,
            sent_all: false,
            sent_ns: 0,
            body_bytes: 0,
            place: &mut place,
            kept: &mut kept,
            usual: tries.usual,
            limit: forward.deadline,
        };
        exchange.begin(now, tries.next());
        exchange.sent_ns = match exchange.place.seat() {
            // Near enough, and reading the clock is not for nothing.
            Some(seat) if exchange.connection.reused && tries.resends() == 0 => seat.since_ns(),
            _ => monotonic_ns(),
        };
        let head = match tries.hedge_due(now) {
            None => poll_fn(|cx| exchange.poll_head(&mut fields, cx)).await,
            Some(due) => hedge::race(&mut exchange, &mut chosen, &mut fields, &mut tries, due).await,
        };
        ticket.resends = tries.resends();
        let now_ns = monotonic_ns();
        let head_ns = now_ns.saturating_sub(exchange.sent_ns);
        // Before it has the whole request, a service shows how fast the client is.
        if let (Some(outcome), Some(seat), true) = (outcome(&head), exchange.place.seat(), exchange.sent_all)
        {
            seat.sample(head_ns, outcome, now_ns);
        }
        ticket.upstream_ns = Some(head_ns);
        ticket.bytes_in = exchange.body_bytes;
        tries.ended(
            &mut chosen,
            verdict(&head, &fields, forward, exchange.sent_all),
            now_ns,
        );
        if exchange.sent_all {
            tries.took(&head, head_ns);
        }
        let can_repeat = exchange.can_repeat();
        let until = match head {
            Ok(head) => {
                let failed = can_repeat && matches!(head.status, 502 | 503) && !retry::says_when(&fields);
                let Some(until) = failed.then(|| tries.again()).flatten() else {
                    ticket.write_fields(&mut fields);
                    ticket.answered(head.status);
                    return exchange.relay(worker, &chosen.pool, head, &fields, ticket).await;
                };
                exchange.discard(&chosen.pool, head);
                until
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
                tries.owe();
                bump(&worker.counters().upstream_retries);
                continue;
            }
            Err(fail) => {
                let unheard = matches!(fail, Fail::Upstream(_)) && !exchange.connection.heard && can_repeat;
                let until = unheard.then(|| tries.again()).flatten();
                let Some(until) = until else {
                    return refusal(worker, ticket, service, fail);
                };
                drop(exchange);
                until
            }
        };
        failed = Some(chosen.at);
        if let Err(fate) = tries::pause(client, &mut place, timer, until).await {
            return fate;
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
        Err(Fail::Deadline | Fail::Slow) => Some(Outcome::Overloaded),
        Err(Fail::Client(_) | Fail::Refused(_) | Fail::BodyTooLarge | Fail::Upstream(_)) => None,
    }
}

/// Whether the service failed. 501 says that it works and lacks something; 503 with the time to come back, that it
/// works and has much to do.
fn verdict(head: &Result<ResponseHead, Fail>, fields: &[u8], forward: &Forward, sent_all: bool) -> Verdict {
    match head {
        Ok(head) if head.status == 503 && retry::says_when(fields) => Verdict::Fine,
        Ok(head) if head.status >= 500 && head.status != 501 => Verdict::Failed,
        Ok(_) => Verdict::Fine,
        Err(Fail::Upstream(_) | Fail::Slow) => Verdict::Failed,
        // Half a request is nothing to answer.
        Err(fail) if sent_all && is_late(fail, forward) => Verdict::Failed,
        Err(_) => Verdict::Nothing,
    }
}

/// Whether there was time enough and it has passed.
fn is_late(fail: &Fail, forward: &Forward) -> bool {
    matches!(fail, Fail::Deadline) && !forward.hurried
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
        Fail::Slow => Fate::Refuse(Refusal::new(&TOO_SLOW)),
        Fail::Upstream(reason) => {
            bump(&worker.counters().upstream_failures);
            let trace_id = ticket.trace.trace_id_hex();
            tracing::warn!(service, reason, trace_id, "the service gave no valid answer");
            Fate::Refuse(Refusal::new(&UPSTREAM_FAILED))
        }
    }
}
