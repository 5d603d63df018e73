//! The server side of HTTP/2: `hyper` speaks the protocol, each stream goes through the same decision
//! and the same exchange as an HTTP/1 request.
//!
//! The exchange runs inside the answer's own future and body, so that a reset stream drops it and with it
//! the connection to the service.

mod meter;

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body::{Body, Frame};
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::time::Instant;

use crate::admission::{Decided, Decision, decide};
use crate::answer::{HEAD_TOO_LARGE, Refusal, TARGET_TOO_LONG, TENANT_CROWDED};
use crate::cache;
use crate::connection::PanicNote;
use crate::crowd::Owner;
use crate::exchange::{Broken, Downstream, Fate};
use crate::io::{Rewound, Timer};
use crate::local;
use crate::pace::{Hold, Pace};
use crate::request::{FIELDS_MAX, Head, Protocol};
use crate::upstream::Length;
use crate::worker::{Peer, Worker};

use self::meter::{Metered, Wire};

/// Bytes of answers that one stream holds for a slow client.
const SEND_BUFFER_BYTES: usize = 64 << 10;
/// Flow control windows: enough for one stream to fill a fast path, small enough for 128 of them.
const STREAM_WINDOW_BYTES: u32 = 128 << 10;
const CONNECTION_WINDOW_BYTES: u32 = 1 << 20;
/// Largest frame, and what a client may have the gateway remember of header fields; both are the protocol's defaults.
const FRAME_BYTES_MAX: u32 = 16 << 10;
const HEADER_TABLE_BYTES: u32 = 4 << 10;

/// How long a connection without streams may stay open once it was told to go away, and how long its client may go on
/// to begin streams, because it may not know yet.
const GO_AWAY_PATIENCE: Duration = Duration::from_secs(2);

/// Spawns a connection's streams on the worker's own thread. They end with their connection, whose task
/// the worker owns.
#[derive(Clone)]
struct LocalExecutor(Rc<Worker>);

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for LocalExecutor {
    fn execute(&self, task: F) {
        let note = PanicNote(Rc::clone(&self.0));
        tokio::task::spawn_local(async move {
            let _note = note;
            task.await;
        });
    }
}

/// How busy a connection is.
struct Activity {
    streams: Cell<usize>,
    idle_since: Cell<Instant>,
    /// When the latest stream began.
    begun: Cell<Instant>,
    /// For each stream whose answer has begun, when the client last took a piece of it.
    answers: RefCell<Vec<Rc<Cell<Instant>>>>,
    pace: RefCell<Pace>,
    owner: RefCell<Owner>,
    /// Too many refused connections are parked, or its tenant has too many: this one is to go away.
    unwelcome: Cell<bool>,
}

impl Activity {
    /// When the answer was last taken from that stands for the longest time.
    fn standing_since(&self) -> Option<Instant> {
        self.answers.borrow().iter().map(|taken| taken.get()).min()
    }
}

/// Serves streams on `io` until one side has had enough.
pub(crate) async fn serve(worker: Rc<Worker>, io: Rewound, peer: Peer) {
    let limits = &worker.shared.config.limits;
    let activity = Rc::new(Activity {
        streams: Cell::new(0),
        idle_since: Cell::new(Instant::now()),
        begun: Cell::new(Instant::now()),
        answers: RefCell::default(),
        pace: RefCell::new(Pace::new(!peer.trusted)),
        owner: RefCell::new(Owner::new(!peer.trusted)),
        unwelcome: Cell::new(false),
    });
    let head_list_bytes_max = u32::try_from(limits.head_bytes_max).unwrap_or(u32::MAX);
    let service = {
        let (worker, activity) = (Rc::clone(&worker), Rc::clone(&activity));
        hyper::service::service_fn(move |request| {
            let busy = Busy::new(&activity);
            answer(Rc::clone(&worker), peer, request, busy)
        })
    };
    let wire = Rc::new(RefCell::new(Wire::new(io)));
    let connection = hyper::server::conn::http2::Builder::new(LocalExecutor(Rc::clone(&worker)))
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.h2_streams_max)
        .max_pending_accept_reset_streams(limits.h2_pending_resets_max)
        .max_local_error_reset_streams(limits.h2_provoked_resets_max)
        .max_header_list_size(head_list_bytes_max)
        .header_table_size(HEADER_TABLE_BYTES)
        .max_frame_size(FRAME_BYTES_MAX)
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .keep_alive_interval(limits.idle_timeout)
        .keep_alive_timeout(limits.head_timeout)
        .serve_connection(TokioIo::new(Metered(Rc::clone(&wire))), service);
    let mut connection = Box::pin(connection);
    let mut stop = std::pin::pin!(worker.stop.cancelled());
    let mut timer = Timer::new();
    // Since when it is told to go away.
    let mut ending = None;
    // A quarter longer at most, so that connections that began together do not end together.
    let age_max = limits
        .h2_age_max
        .mul_f64(1.0 + (worker.random() % 1_000) as f64 / 4_000.0);
    let expires = Instant::now() + age_max;
    let broke = poll_fn(|cx| {
        loop {
            if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
                if let Err(error) = &ended {
                    tracing::debug!(%error, "an HTTP/2 connection broke");
                }
                return Poll::Ready(ended.is_err());
            }
            let begun = activity.begun.get();
            let until = match ending {
                None if activity.unwelcome.get() || begun >= expires || stop.as_mut().poll(cx).is_ready() => {
                    None
                }
                Some(since) if begun > since + GO_AWAY_PATIENCE => {
                    tracing::debug!("an HTTP/2 client does not go away");
                    return Poll::Ready(false);
                }
                _ if activity.streams.get() == 0 => {
                    let patience = match ending {
                        Some(_) => GO_AWAY_PATIENCE,
                        None => limits.idle_timeout,
                    };
                    Some(activity.idle_since.get() + patience)
                }
                // A client that opens no window is never asked to take more, so no stream's own timer runs. It is told
                // to go away first, so that it can take its other streams elsewhere.
                _ => match activity.standing_since() {
                    Some(since) => Some(since + limits.stall_timeout * if ending.is_some() { 3 } else { 2 }),
                    None => return Poll::Pending, // Requests under way have deadlines of their own.
                },
            };
            if let Some(until) = until {
                ready!(timer.poll(until, cx));
                if ending.is_some() {
                    return Poll::Ready(false); // It had its chance to leave by itself.
                }
            }
            ending = Some(Instant::now());
            activity.idle_since.set(Instant::now());
            connection.as_mut().graceful_shutdown();
        }
    });
    let broke = broke.await;
    // The engine lets go of the socket.
    drop(connection);
    if broke && let Some(wire) = Rc::into_inner(wire) {
        let wire = wire.into_inner();
        if wire.is_flooded() {
            crate::metrics::bump(&worker.counters().floods);
        }
        wire.end(&mut timer).await;
    }
}

/// Counts a stream as long as it lives.
struct Busy(Rc<Activity>);

impl Busy {
    fn new(activity: &Rc<Activity>) -> Self {
        activity.streams.set(activity.streams.get() + 1);
        activity.begun.set(Instant::now());
        Self(Rc::clone(activity))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.streams.set(self.0.streams.get() - 1);
        self.0.idle_since.set(Instant::now());
    }
}

/// A stream whose answer has begun.
struct Answering {
    busy: Busy,
    /// When the client last took a piece.
    taken: Rc<Cell<Instant>>,
}

impl Answering {
    fn new(busy: Busy) -> Self {
        let taken = Rc::new(Cell::new(Instant::now()));
        busy.0.answers.borrow_mut().push(Rc::clone(&taken));
        Self { busy, taken }
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        let mut answers = self.busy.0.answers.borrow_mut();
        if let Some(at) = answers.iter().position(|taken| Rc::ptr_eq(taken, &self.taken)) {
            answers.swap_remove(at);
        }
    }
}

/// Runs a stream's exchange up to the head of its answer; the rest runs as the answer's body.
async fn answer(
    worker: Rc<Worker>,
    peer: Peer,
    request: Request<Incoming>,
    busy: Busy,
) -> Result<Response<Answer>, Infallible> {
    let slot = Rc::new(RefCell::new(Slot::default()));
    let mut exchange: Pin<Box<dyn Future<Output = Fate>>> =
        Box::pin(run(worker, peer, request, Rc::clone(&slot), Rc::clone(&busy.0)));
    let mut fate = None;
    let head = poll_fn(|cx| {
        let polled = exchange.as_mut().poll(cx);
        if let Poll::Ready(done) = polled {
            fate = Some(done);
        }
        match slot.borrow_mut().head.take() {
            Some(head) => Poll::Ready(Some(head)),
            None if fate.is_some() => Poll::Ready(None),
            None => Poll::Pending,
        }
    })
    .await;
    let body = Answer {
        exchange,
        slot,
        fate,
        answering: Answering::new(busy),
    };
    let mut response = Response::new(body);
    // No head: the client left, and nobody will see this answer.
    *response.status_mut() = head.as_ref().map_or(StatusCode::BAD_REQUEST, |head| head.status);
    *response.headers_mut() = head.map(|head| head.fields).unwrap_or_default();
    Ok(response)
}

async fn run(
    worker: Rc<Worker>,
    peer: Peer,
    request: Request<Incoming>,
    slot: Rc<RefCell<Slot>>,
    activity: Rc<Activity>,
) -> Fate {
    let (parts, body) = request.into_parts();
    let mut client = H2 {
        body,
        current: Bytes::new(),
        slot,
    };
    let Decided {
        mut ticket,
        decision,
        is_head,
        ..
    } = decide_stream(&worker, &peer, &parts, &client.body);
    let mut timer = Timer::new();
    let connections_max = worker.shared.config.limits.connections_per_tenant_max;
    let decision = activity
        .owner
        .borrow_mut()
        .admit(decision, &ticket, connections_max);
    let fate = match decision {
        Decision::Forward(forward) => {
            let fate = cache::carry(&worker, &mut client, &forward, &mut ticket, &mut timer).await;
            if matches!(fate, Fate::Done) {
                activity.pace.borrow_mut().served();
            }
            fate
        }
        Decision::Refuse(refusal) => Fate::Refuse(refusal),
        Decision::Health => local::health(&mut client, &mut ticket, is_head),
        Decision::Ready => local::ready(&worker, &mut client, &mut ticket, is_head),
        Decision::Admin(call) => {
            local::admin(&worker, &mut client, *call, &mut ticket, is_head, &mut timer).await
        }
    };
    match fate {
        Fate::Refuse(refusal) => {
            if refusal.kind == &TENANT_CROWDED {
                activity.unwelcome.set(true);
            }
            let hold = activity.pace.borrow_mut().hold(&worker, &ticket, &refusal);
            match hold {
                Hold::No => {}
                Hold::Park(parked) => parked.wait().await,
                Hold::Close => activity.unwelcome.set(true),
            }
            local::refuse(&worker, &mut client, &refusal, &mut ticket, is_head);
            Fate::Done
        }
        fate => fate,
    }
}

fn decide_stream(worker: &Rc<Worker>, peer: &Peer, parts: &http::request::Parts, body: &Incoming) -> Decided {
    let limits = &worker.shared.config.limits;
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut count = 0;
    let mut refusal = None;
    for (name, value) in &parts.headers {
        if name.as_str().len() + value.len() > limits.field_bytes_max {
            refusal = Some(Refusal::because(&HEAD_TOO_LARGE, "a header field is too large"));
        }
        match fields.get_mut(count) {
            Some(slot) if count < limits.headers_max => {
                slot.name = name.as_str();
                slot.value = value.as_bytes();
                count += 1;
            }
            _ => refusal = Some(Refusal::because(&HEAD_TOO_LARGE, "too many header fields")),
        }
    }
    let target = parts
        .uri
        .path_and_query()
        .map_or("", http::uri::PathAndQuery::as_str);
    if target.len() > limits.target_bytes_max {
        refusal = Some(Refusal::new(&TARGET_TOO_LONG));
    }
    let head = Head {
        method: parts.method.as_str(),
        target,
        authority: parts.uri.authority().map(http::uri::Authority::as_str),
        protocol: Protocol::H2,
        streams: !body.is_end_stream(),
        fields: &fields[..count],
    };
    let mut decided = decide(worker, peer, &head, Vec::new());
    if let Some(refusal) = refusal {
        crate::metrics::bump(&worker.counters().malformed);
        decided.decision = Decision::Refuse(refusal);
    }
    decided
}

/// What passes from the exchange to the answer's body: a head, then one piece at a time.
#[derive(Default)]
struct Slot {
    head: Option<SlotHead>,
    piece: Vec<u8>,
}

struct SlotHead {
    status: StatusCode,
    fields: http::HeaderMap,
}

/// The client's side of one stream.
struct H2 {
    body: Incoming,
    current: Bytes,
    slot: Rc<RefCell<Slot>>,
}

impl Downstream for H2 {
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, Broken>> {
        while self.current.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                None => return Poll::Ready(Ok(false)),
                Some(Err(_)) => return Poll::Ready(Err(Broken::Gone)),
                Some(Ok(frame)) => {
                    // Trailers end here.
                    if let Ok(data) = frame.into_data() {
                        self.current = data;
                    }
                }
            }
        }
        Poll::Ready(Ok(true))
    }

    fn chunk(&self) -> &[u8] {
        &self.current
    }

    fn consume(&mut self, count: usize) {
        bytes::Buf::advance(&mut self.current, count);
    }

    fn has_whole_body(&self) -> bool {
        self.current.is_empty() && self.body.is_end_stream()
    }

    fn want_body(&mut self) {}

    fn start(&mut self, status: u16, fields: &[u8], length: Length, _bodyless: bool) {
        let mut map = http::HeaderMap::with_capacity(16);
        for line in fields
            .split(|byte| *byte == b'\n')
            .filter_map(|line| line.strip_suffix(b"\r"))
        {
            let Some(colon) = memchr::memchr(b':', line) else {
                continue;
            };
            let name = HeaderName::from_bytes(&line[..colon]);
            let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii());
            if let (Ok(name), Ok(value)) = (name, value) {
                map.append(name, value);
            }
        }
        if let Length::Known(length) = length {
            map.insert(http::header::CONTENT_LENGTH, length.into());
        }
        self.slot.borrow_mut().head = Some(SlotHead {
            status: StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY),
            fields: map,
        });
    }

    fn push(&mut self, data: &[u8]) {
        self.slot.borrow_mut().piece.extend_from_slice(data);
    }

    fn finish(&mut self) {}

    fn waiting(&self) -> usize {
        self.slot.borrow().piece.len()
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        // No waker is needed: the answer's body takes the piece and polls the exchange again.
        if self.slot.borrow().piece.is_empty() {
            Poll::Ready(Ok(()))
        } else {
            Poll::Pending
        }
    }

    fn poll_gone(&mut self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending // A reset stream drops the exchange.
    }
}

/// The answer's body, and what makes it.
struct Answer {
    exchange: Pin<Box<dyn Future<Output = Fate>>>,
    slot: Rc<RefCell<Slot>>,
    fate: Option<Fate>,
    answering: Answering,
}

/// The answer cannot be carried to its end; the stream is reset.
#[derive(Debug, thiserror::Error)]
#[error("the answer was cut")]
struct Cut;

impl Body for Answer {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        loop {
            let piece = std::mem::take(&mut self.slot.borrow_mut().piece);
            if !piece.is_empty() {
                self.answering.taken.set(Instant::now());
                return Poll::Ready(Some(Ok(Frame::data(Bytes::from(piece)))));
            }
            match &self.fate {
                Some(Fate::Done) => return Poll::Ready(None),
                Some(Fate::Cut | Fate::Refuse(_)) => return Poll::Ready(Some(Err(Cut))),
                None => {}
            }
            match self.exchange.as_mut().poll(cx) {
                Poll::Ready(fate) => self.fate = Some(fate),
                Poll::Pending if self.slot.borrow().piece.is_empty() => return Poll::Pending,
                Poll::Pending => {}
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.fate, Some(Fate::Done)) && self.slot.borrow().piece.is_empty()
    }
}
