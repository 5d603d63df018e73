//! Asks the service for all who want to know.
//!
//! A fetch is a task of its own on the worker of whoever came first: it goes on when that client leaves, and nobody's
//! slow connection holds it up. It ends by its own deadline, which is that of the request that began it. What nobody else
//! may have goes to that request piece by piece, through a [`pipe`].

use std::rc::Rc;
use std::task::{Context, Poll};

use rc_model::clock::monotonic_ns;

use super::answer::{Answer, Whole};
use super::control::{Life, Use, Varies};
use super::key::{Asked, lines, unconditional};
use super::pipe::{self, End, Head, Reader, Writer};
use super::store::{Flight, Landing};
use crate::access::Ticket;
use crate::answer::DEADLINE;
use crate::exchange::{self, Broken, Downstream, Fate};
use crate::forward::Forward;
use crate::io::Timer;
use crate::metrics::bump;
use crate::upstream::Length;
use crate::worker::Worker;

/// Begins to ask, as `forward` would, and gives back the end of the pipe.
pub(super) fn start(worker: &Rc<Worker>, ticket: &Ticket, forward: &Forward, flight: Flight) -> Reader {
    let (writer, reader) = pipe::new();
    let forward = Forward {
        head: unconditional(&forward.head),
        is_head: false,
        ..forward.clone()
    };
    let fetch = Fetch {
        worker: Rc::clone(worker),
        ticket: ticket.behind(),
        forward,
    };
    // The worker's runtime owns it and ends it with itself.
    tokio::task::spawn_local(fetch.run(flight, writer));
    reader
}

struct Fetch {
    worker: Rc<Worker>,
    ticket: Ticket,
    forward: Forward,
}

impl Fetch {
    async fn run(mut self, flight: Flight, pipe: Writer) {
        let _alarm = Alarm(Rc::clone(&self.worker));
        let Some(asked) = Asked::read(&self.forward.head) else {
            return; // It was read before.
        };
        let mut capture = Capture {
            asked,
            flight,
            pipe,
            state: State::Begun,
            reserved: 0,
        };
        let mut timer = Timer::new();
        let fate = exchange::carry(
            &self.worker,
            &mut capture,
            &self.forward,
            &mut self.ticket,
            &mut timer,
        )
        .await;
        capture.pipe.answered_after(self.ticket.upstream_ns);
        capture.end(fate);
    }
}

/// Tells of a bug in a fetch. Those who wait hear of it by the flight.
struct Alarm(Rc<Worker>);

impl Drop for Alarm {
    fn drop(&mut self) {
        if std::thread::panicking() {
            bump(&self.0.counters().panics);
            tracing::error!("a fetch for the cache was ended by a bug");
        }
    }
}

/// Stands where a client stands in other exchanges.
struct Capture<'a> {
    asked: Asked<'a>,
    flight: Flight,
    pipe: Writer,
    state: State,
    /// Room that the answer has in the route's memory.
    reserved: usize,
}

enum State {
    Begun,
    Collecting(Collected),
    /// The answer goes to the one who asked.
    Piping,
    Ended,
}

struct Collected {
    status: u16,
    fields: Vec<u8>,
    length: Length,
    /// Absent: it is shared, not kept.
    life: Option<Life>,
    varies: Varies,
    body: Vec<u8>,
}

impl Capture<'_> {
    fn room(&self) -> usize {
        self.flight.cache.policy.answer_bytes_max
    }

    fn reserve(&mut self, bytes: usize) -> bool {
        let fits = self.reserved + bytes <= self.room() && self.flight.cache.reserve(bytes);
        self.reserved += if fits { bytes } else { 0 };
        fits
    }

    /// From here on the answer is for the one who asked.
    fn give_alone(&mut self, status: u16, fields: Vec<u8>, length: Length, body: Vec<u8>) {
        let failed = matches!(status, 500 | 502 | 503 | 504);
        self.pipe.begin(
            Head {
                status,
                fields,
                length,
            },
            body,
        );
        self.state = State::Piping;
        self.flight.land(Landing::Alone { failed }, monotonic_ns());
    }

    fn give_all(&mut self, collected: Collected) {
        let now_ns = monotonic_ns();
        let kept = collected.life.is_some();
        let whole = Whole {
            status: collected.status,
            fields: collected.fields,
            body: collected.body,
            life: collected.life.unwrap_or_default(),
            varies: collected.varies,
        };
        let answer = Answer::new(whole, &self.asked, now_ns, self.flight.epoch).into();
        let landing = Landing::Answer { answer, kept };
        self.flight.land(landing, now_ns);
    }

    fn end(mut self, fate: Fate) {
        let landing = match (std::mem::replace(&mut self.state, State::Ended), fate) {
            (State::Piping, Fate::Done) => return self.pipe.end(End::Whole),
            (State::Piping, Fate::Refuse(_) | Fate::Cut) => return self.pipe.end(End::Cut),
            (_, Fate::Refuse(refusal)) if refusal.kind == &DEADLINE => Landing::Late,
            (_, Fate::Refuse(refusal)) => Landing::Refused(refusal),
            (_, Fate::Done | Fate::Cut) => Landing::Broken,
        };
        // Nothing happens where the answer has landed already.
        self.flight.land(landing, monotonic_ns());
    }
}

impl Drop for Capture<'_> {
    fn drop(&mut self) {
        self.flight.cache.release(self.reserved);
    }
}

impl Downstream for Capture<'_> {
    fn poll_body(&mut self, _: &mut Context<'_>) -> Poll<Result<bool, Broken>> {
        Poll::Ready(Ok(false))
    }

    fn chunk(&self) -> &[u8] {
        &[]
    }

    fn consume(&mut self, _: usize) {}

    fn has_whole_body(&self) -> bool {
        true
    }

    fn want_body(&mut self) {}

    fn start(&mut self, status: u16, fields: &[u8], length: Length, _bodyless: bool) {
        let fields = without_request_id(fields);
        let policy = &self.flight.cache.policy;
        let for_all = self.flight.key.owner.tenant().is_none();
        let (life, varies) = match policy.judge(status, &fields, for_all) {
            Use::Keep(life, varies) => (Some(life), varies),
            Use::Share(varies) => (None, varies),
            Use::Alone => return self.give_alone(status, fields, length, Vec::new()),
        };
        let announced = match length {
            Length::Known(length) => usize::try_from(length).unwrap_or(usize::MAX),
            Length::Untold | Length::Unknown => 0,
        };
        if announced > self.room() || !self.reserve(fields.len()) {
            return self.give_alone(status, fields, length, Vec::new());
        }
        self.state = State::Collecting(Collected {
            status,
            fields,
            length,
            life,
            varies,
            body: Vec::with_capacity(announced),
        });
    }

    fn push(&mut self, data: &[u8]) {
        let fits = matches!(self.state, State::Collecting(_)) && self.reserve(data.len());
        match &mut self.state {
            State::Collecting(collected) if fits => collected.body.extend_from_slice(data),
            State::Collecting(collected) => {
                let fields = std::mem::take(&mut collected.fields);
                let mut body = std::mem::take(&mut collected.body);
                body.extend_from_slice(data);
                let (status, length) = (collected.status, collected.length);
                self.give_alone(status, fields, length, body);
            }
            State::Piping => self.pipe.push(data),
            State::Begun | State::Ended => {}
        }
    }

    fn finish(&mut self) {
        match std::mem::replace(&mut self.state, State::Ended) {
            State::Collecting(collected) => self.give_all(collected),
            // The end of a pipe is told by the end of the exchange.
            other => self.state = other,
        }
    }

    fn waiting(&self) -> usize {
        self.pipe.waiting()
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        match self.state {
            State::Piping => self.pipe.poll_taken(cx),
            State::Begun | State::Collecting(_) | State::Ended => Poll::Ready(Ok(())),
        }
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self.state {
            State::Piping => self.pipe.poll_abandoned(cx),
            // Others may want it, or will.
            State::Begun | State::Collecting(_) | State::Ended => Poll::Pending,
        }
    }
}

/// The exchange wrote the id of the request that began it. Each that gets the answer has its own.
fn without_request_id(fields: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(fields.len());
    for line in fields.split_inclusive(|byte| *byte == b'\n') {
        let id = lines(line).any(|(name, _)| name.eq_ignore_ascii_case(b"x-request-id"));
        if !id {
            out.extend_from_slice(line);
        }
    }
    out
}
