//! Answers that are kept, and misses that wait for one another: a step around the exchange, for routes that have `cache`.
//!
//! It refuses to know how requests are carried ([`crate::exchange`]) and whose they are ([`crate::admission`]); what it
//! knows of a request is the head that the service would get. Why it is so: ADR 26.
//!
//! [`key`] says which requests ask the same, [`control`] what may be done with an answer, [`store`] keeps answers and
//! knows who is asking for what, [`fetch`] asks.

mod answer;
mod control;
mod epoch;
mod fetch;
mod key;
mod pipe;
mod store;

use std::collections::HashMap;
use std::future::{Future as _, poll_fn};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::task::Poll;

use rc_model::catalog::Method;
use rc_model::clock::monotonic_ns;
use tokio::sync::watch::Receiver;
use tokio::time::Instant;

use crate::access::Ticket;
use crate::answer::{DEADLINE, Refusal, UPSTREAM_FAILED, put, put_number};
use crate::exchange::{self, Downstream, Fate};
use crate::forward::Forward;
use crate::io::{OUTBOX_BYTES_HIGH, Timer};
use crate::metrics::{NamedCache, TrafficMetrics};
use crate::path;
use crate::request::Framing;
use crate::snapshot::Snapshot;
use crate::span;
use crate::upstream::Length;
use crate::versions::LaneIndex;
use crate::worker::Worker;

use answer::Answer;
use key::{Asked, Key, Owner};
use store::{Found, Landing};

pub(crate) use control::Policy;
pub(crate) use epoch::{Epoch, Write};
pub(crate) use store::RouteCache;

/// Fetches that may break off under one request before it is told so.
const BROKEN_MAX: u32 = 2;

/// What all lanes of a snapshot keep: no version of a service gives the answers of another. Empty when none keeps anything.
#[derive(Debug, Default)]
pub(crate) struct Caches(Vec<Option<Arc<RouteCache>>>);

/// What a lane keeps outlives its snapshot by these names, of its service with its version and of its route, as long as
/// its policy stays.
pub(crate) type KeptCaches = HashMap<(String, String), Arc<RouteCache>>;

impl Caches {
    /// Takes over what `kept` has and `snapshot` still wants.
    pub(crate) fn join(snapshot: &Snapshot, kept: &mut KeptCaches, metrics: &TrafficMetrics) -> Self {
        let mut named = KeptCaches::new();
        let lanes = snapshot.lanes.iter().map(|lane| {
            let route = &snapshot.routes[lane.route];
            let policy = route.cache.as_ref()?;
            let name = (snapshot.upstreams[lane.upstream].label(), route.path.clone());
            let before = kept.get(&name);
            let cache = match before.filter(|before| before.policy == *policy) {
                Some(before) => {
                    before.retain(|tenant| snapshot.by_tenant.contains_key(tenant));
                    Arc::clone(before)
                }
                None => {
                    // Its counters go on.
                    let counts = before.map(|before| Arc::clone(&before.counts));
                    Arc::new(RouteCache::new(policy.clone(), counts.unwrap_or_default()))
                }
            };
            named.insert(name, Arc::clone(&cache));
            Some(cache)
        });
        let lanes: Vec<_> = lanes.collect();
        let shown = named.iter().map(|((service, route), cache)| NamedCache {
            service: service.clone(),
            route: route.clone(),
            cache: Arc::clone(cache),
        });
        let mut shown: Vec<_> = shown.collect();
        shown.sort_by(|a, b| (&a.service, &a.route).cmp(&(&b.service, &b.route)));
        *metrics.caches.lock().unwrap_or_else(PoisonError::into_inner) = shown;
        *kept = named;
        Self(if kept.is_empty() { Vec::new() } else { lanes })
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn of(&self, lane: LaneIndex) -> Option<&Arc<RouteCache>> {
        self.0.get(lane)?.as_ref()
    }
}

/// How a request met the cache, as `Cache-Status` (RFC 9211) says it and metrics count it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    /// Given from what is kept; seconds that it is fresh for, or was.
    Hit { ttl_s: i64 },
    /// Given although it is old, because the service failed just now.
    Spare { ttl_s: i64 },
    /// It asked the service, for all.
    Miss { kept: bool },
    /// It waited for another that asked.
    Collapsed,
    /// It went past what is kept.
    Bypass,
}

/// How often each came, by [`Status`].
#[derive(Debug, Default)]
pub(crate) struct Counts {
    requests: [AtomicU64; Status::NAMES.len()],
    evicted: AtomicU64,
}

impl Status {
    const NAMES: [&str; 5] = ["hit", "stale", "miss", "collapsed", "bypass"];

    fn index(self) -> usize {
        match self {
            Self::Hit { ttl_s } if ttl_s >= 0 => 0,
            Self::Hit { .. } | Self::Spare { .. } => 1,
            Self::Miss { .. } => 2,
            Self::Collapsed => 3,
            Self::Bypass => 4,
        }
    }

    /// Appends the field. Caches closer to the service have written theirs above.
    pub(crate) fn write(self, out: &mut Vec<u8>) {
        let text = match self {
            Self::Hit { ttl_s } => {
                return put(
                    out,
                    "cache-status",
                    format!("royalcrown; hit; ttl={ttl_s}").as_bytes(),
                );
            }
            Self::Spare { ttl_s } => {
                let text = format!("royalcrown; fwd=stale; ttl={ttl_s}; detail=stale-if-error");
                return put(out, "cache-status", text.as_bytes());
            }
            Self::Miss { kept: true } => "royalcrown; fwd=miss; stored",
            Self::Miss { kept: false } => "royalcrown; fwd=miss",
            Self::Collapsed => "royalcrown; fwd=miss; collapsed",
            Self::Bypass => "royalcrown; fwd=bypass",
        };
        put(out, "cache-status", text.as_bytes());
    }
}

impl Counts {
    fn count(&self, status: Status) {
        self.requests[status.index()].fetch_add(1, Ordering::Relaxed);
    }

    fn evicted(&self, count: u64) {
        self.evicted.fetch_add(count, Ordering::Relaxed);
    }

    /// Requests by how they met the cache.
    pub(crate) fn requests(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.requests.iter().map(|count| count.load(Ordering::Relaxed));
        Status::NAMES.into_iter().zip(counts)
    }

    /// Entries that were thrown out for want of room.
    pub(crate) fn all_evicted(&self) -> u64 {
        self.evicted.load(Ordering::Relaxed)
    }
}

impl RouteCache {
    pub(crate) fn counts(&self) -> &Counts {
        &self.counts
    }
}

/// Carries `forward`, or answers it from what is kept.
pub(crate) async fn carry<D: Downstream>(
    worker: &Rc<Worker>,
    client: &mut D,
    forward: &Forward,
    ticket: &mut Ticket,
    timer: &mut Timer,
) -> Fate {
    if ticket.view().active.caches.is_empty() {
        return exchange::carry(worker, client, forward, ticket, timer).await;
    }
    let view = Rc::clone(ticket.view());
    let active = &*view.active;
    let is = |method| ticket.method == Some(path::method_index(method));
    let reads = is(Method::Get) || is(Method::Head);
    if !reads && !is(Method::Options) {
        ticket.write = Some(Write::of(active.epoch(ticket.tenant)));
    }
    let cache = active.caches.of(forward.lane);
    let Some(cache) = cache.filter(|_| reads) else {
        return exchange::carry(worker, client, forward, ticket, timer).await;
    };
    let asked = match forward.framing {
        Framing::None => Asked::read(&forward.head),
        Framing::Length(_) | Framing::Unknown => None,
    };
    let request = Request {
        worker,
        cache,
        forward,
        epoch: active.epoch(ticket.tenant),
    };
    match asked {
        // On the heap, so that connections which need none of it are not larger for it.
        Some(asked) => Box::pin(request.answer(&asked, client, ticket, timer)).await,
        None => request.pass(client, ticket, timer).await,
    }
}

/// One request on a route that keeps answers.
struct Request<'a> {
    worker: &'a Rc<Worker>,
    cache: &'a Arc<RouteCache>,
    forward: &'a Forward,
    epoch: &'a Arc<Epoch>,
}

impl Request<'_> {
    async fn answer<D: Downstream>(
        &self,
        asked: &Asked<'_>,
        client: &mut D,
        ticket: &mut Ticket,
        timer: &mut Timer,
    ) -> Fate {
        let key = Key::new(Owner::of(ticket), asked, &self.cache.policy.vary);
        let mut broken = 0;
        loop {
            let now_ns = monotonic_ns();
            let (mut landing, reader, spare) = match self.cache.look(&key, asked, self.epoch, now_ns) {
                Found::Fresh(answer) => {
                    let status = hit(&answer, now_ns);
                    return self.give(&answer, status, asked, client, ticket, timer).await;
                }
                Found::Stale(answer, flight) => {
                    if let Some(flight) = flight {
                        drop(fetch::start(self.worker, ticket, self.forward, flight));
                    }
                    let status = hit(&answer, now_ns);
                    return self.give(&answer, status, asked, client, ticket, timer).await;
                }
                Found::Pass => return self.pass(client, ticket, timer).await,
                Found::Wait(landing, spare) => (landing, None, spare),
                Found::Lead(flight, landing, spare) => {
                    let reader = fetch::start(self.worker, ticket, self.forward, flight);
                    (landing, Some(reader), spare)
                }
            };
            let landing = match landed(&mut landing, client, timer, self.forward.deadline).await {
                Some(landing) => landing,
                None => return Fate::Cut,
            };
            if let Some(reader) = &reader {
                ticket.upstream_ns = reader.upstream_ns();
            }
            let failed = match &landing {
                Landing::Answer { answer, .. } => answer.is_failure(),
                Landing::Alone { failed } => *failed,
                Landing::Refused(_) | Landing::Late | Landing::Broken => true,
            };
            if let (true, Some(answer)) = (failed, &spare) {
                let ttl_s = answer.ttl_s(monotonic_ns());
                let status = Status::Spare { ttl_s };
                return self.give(answer, status, asked, client, ticket, timer).await;
            }
            match (landing, reader) {
                (Landing::Answer { answer, kept }, Some(_)) => {
                    let status = Status::Miss { kept };
                    return self.give(&answer, status, asked, client, ticket, timer).await;
                }
                (Landing::Answer { answer, .. }, None) if answer.suits(asked) => {
                    let status = Status::Collapsed;
                    return self.give(&answer, status, asked, client, ticket, timer).await;
                }
                (Landing::Alone { .. }, Some(reader)) => {
                    self.note(Status::Miss { kept: false }, ticket);
                    let is_head = self.forward.is_head;
                    return reader.relay(self.worker, client, is_head, ticket, timer).await;
                }
                (Landing::Answer { .. } | Landing::Alone { .. }, None) => {
                    return self.pass(client, ticket, timer).await;
                }
                (Landing::Refused(refusal), _) => return Fate::Refuse(refusal),
                (Landing::Late, _) if Instant::now() >= self.forward.deadline => {
                    return Fate::Refuse(Refusal::new(&DEADLINE));
                }
                (Landing::Broken, _) if broken + 1 == BROKEN_MAX => {
                    return Fate::Refuse(Refusal::new(&UPSTREAM_FAILED));
                }
                // Who looks first asks anew.
                (Landing::Broken, _) => broken += 1,
                (Landing::Late, _) => {}
            }
        }
    }

    /// Lets the request go to the service by itself.
    async fn pass<D: Downstream>(&self, client: &mut D, ticket: &mut Ticket, timer: &mut Timer) -> Fate {
        self.note(Status::Bypass, ticket);
        exchange::carry(self.worker, client, self.forward, ticket, timer).await
    }

    fn note(&self, status: Status, ticket: &mut Ticket) {
        self.cache.counts.count(status);
        ticket.cache = Some(status);
    }

    async fn give<D: Downstream>(
        &self,
        answer: &Answer,
        status: Status,
        asked: &Asked<'_>,
        client: &mut D,
        ticket: &mut Ticket,
        timer: &mut Timer,
    ) -> Fate {
        self.note(status, ticket);
        let has_it = answer.status == 200 && answer.field("etag").is_some_and(|tag| asked.has(tag));
        let mut fields = Vec::with_capacity(answer.fields.len() + 256);
        if has_it {
            answer.write_not_modified(&mut fields);
        } else {
            fields.extend_from_slice(&answer.fields);
        }
        let age_s = answer.age_s(monotonic_ns());
        if age_s > 0 || matches!(status, Status::Hit { .. } | Status::Spare { .. }) {
            put_number(&mut fields, "age", age_s);
        }
        ticket.write_fields(&mut fields);
        let code = if has_it { 304 } else { answer.status };
        ticket.answered(code);
        let untold = matches!(code, 204 | 304);
        let bodyless = self.forward.is_head || untold;
        let length = match untold {
            true => Length::Untold,
            false => Length::Known(answer.body.len() as u64),
        };
        client.start(code, &fields, length, bodyless);
        let stall = self.worker.shared.config.limits.stall_timeout;
        if !bodyless {
            // No more at a time than an exchange holds for a client.
            for piece in answer.body.chunks(OUTBOX_BYTES_HIGH) {
                if client.waiting() >= OUTBOX_BYTES_HIGH
                    && !matches!(exchange::flush(client, timer, stall).await, Fate::Done)
                {
                    ticket.error = Some(span::CUT);
                    return Fate::Cut;
                }
                client.push(piece);
                ticket.bytes_out += piece.len() as u64;
            }
        }
        client.finish();
        exchange::flush(client, timer, stall).await
    }
}

fn hit(answer: &Answer, now_ns: u64) -> Status {
    Status::Hit {
        ttl_s: answer.ttl_s(now_ns),
    }
}

/// Waits until the fetch has landed, or until `deadline`. `None`: the client left.
async fn landed<D: Downstream>(
    landing: &mut Receiver<Option<Landing>>,
    client: &mut D,
    timer: &mut Timer,
    deadline: Instant,
) -> Option<Landing> {
    let mut landing = std::pin::pin!(landing.wait_for(Option::is_some));
    poll_fn(|cx| {
        if let Poll::Ready(landed) = landing.as_mut().poll(cx) {
            let landed = landed.ok().and_then(|landed| landed.clone());
            return Poll::Ready(Some(landed.unwrap_or(Landing::Broken)));
        }
        if client.poll_gone(cx).is_ready() {
            return Poll::Ready(None);
        }
        timer.poll(deadline, cx).map(|()| Some(Landing::Late))
    })
    .await
}
