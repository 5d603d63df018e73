//! A gateway, a service and its clients in virtual time.
//!
//! The service has `slots` places and serves in the order of arrival, as a pool of workers behind a listening socket
//! does; what does not fit waits inside it, where the gateway cannot see it.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::future::Future as _;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use super::super::{Bounds, Claim, Outcome, Seat, SeatPool, Turned, Waiting};
use super::set_now;

pub(super) const MS: u64 = 1_000_000;
pub(super) const SECOND: u64 = 1_000 * MS;

/// What a service is like at a moment: its places, and how long a request of a client takes.
pub(super) type Nature = Box<dyn Fn(u64, usize, &mut Random) -> (usize, u64)>;

/// Somebody who sends requests.
pub(super) struct Client {
    pub(super) claim: Claim,
    pub(super) pattern: Pattern,
    /// When it is there.
    pub(super) from_ns: u64,
    pub(super) until_ns: u64,
}

pub(super) enum Pattern {
    /// At random moments, whatever becomes of the ones before.
    Open { per_second: f64 },
    /// So many connections, each with a next request as soon as it has an answer.
    Closed { connections: usize },
}

/// What became of a request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Done {
    pub(super) client: usize,
    pub(super) ended_ns: u64,
    pub(super) took_ns: u64,
    pub(super) turned: Option<Turned>,
}

pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn unit(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub(super) fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.unit()).ln()
    }
}

struct Request {
    client: usize,
    arrived_ns: u64,
    sent_ns: u64,
    seat: Option<Seat<'static>>,
}

enum Event {
    Arrival { client: usize },
    Answer { request: usize },
}

struct Notes(Mutex<Vec<usize>>);

struct Note(Arc<Notes>, usize);

impl Wake for Note {
    fn wake(self: Arc<Self>) {
        self.0.0.lock().unwrap().push(self.1);
    }
}

pub(super) struct World {
    pub(super) pool: &'static SeatPool,
    pub(super) clients: Vec<Client>,
    pub(super) done: Vec<Done>,
    /// Moment and limit, after each change.
    pub(super) limits: Vec<(u64, u32)>,
    /// Without seats: everything goes to the service at once.
    pub(super) unlimited: bool,
    nature: Nature,
    random: Random,
    now_ns: u64,
    events: BinaryHeap<Reverse<(u64, usize)>>,
    what: HashMap<usize, Event>,
    counter: usize,
    requests: HashMap<usize, Request>,
    waiting: HashMap<usize, Pin<Box<Waiting<'static>>>>,
    inside: VecDeque<usize>,
    busy: usize,
    notes: Arc<Notes>,
}

impl World {
    pub(super) fn new(bounds: Bounds, nature: Nature) -> Self {
        Self {
            pool: Box::leak(Box::new(SeatPool::new(bounds))),
            clients: Vec::new(),
            done: Vec::new(),
            limits: Vec::new(),
            unlimited: false,
            nature,
            random: Random(0x9E37_79B9_7F4A_7C15),
            now_ns: SECOND,
            events: BinaryHeap::new(),
            what: HashMap::new(),
            counter: 0,
            requests: HashMap::new(),
            waiting: HashMap::new(),
            inside: VecDeque::new(),
            busy: 0,
            notes: Arc::new(Notes(Mutex::default())),
        }
    }

    /// Lets everything happen until `until_ns`.
    pub(super) fn run(&mut self, until_ns: u64) {
        set_now(self.now_ns);
        for client in 0..self.clients.len() {
            let from_ns = self.clients[client].from_ns.max(self.now_ns);
            match self.clients[client].pattern {
                Pattern::Open { .. } => self.plan(from_ns, Event::Arrival { client }),
                Pattern::Closed { connections } => {
                    for connection in 0..connections as u64 {
                        self.plan(from_ns + connection * MS / 100, Event::Arrival { client });
                    }
                }
            }
        }
        while let Some(Reverse((at_ns, id))) = self.events.pop() {
            if at_ns > until_ns {
                break;
            }
            self.now_ns = at_ns;
            set_now(at_ns);
            match self.what.remove(&id).unwrap() {
                Event::Arrival { client } => self.arrive(client),
                Event::Answer { request } => self.answer(request),
            }
            self.wake();
            let limit = self.pool.level().limit;
            if self.limits.last().is_none_or(|(_, last)| *last != limit) {
                self.limits.push((at_ns, limit));
            }
        }
    }

    fn plan(&mut self, at_ns: u64, event: Event) {
        self.counter += 1;
        self.what.insert(self.counter, event);
        self.events.push(Reverse((at_ns, self.counter)));
    }

    fn arrive(&mut self, client: usize) {
        let now_ns = self.now_ns;
        if now_ns >= self.clients[client].until_ns {
            return;
        }
        if let Pattern::Open { per_second } = self.clients[client].pattern {
            let gap_ns = self.random.exponential(1e9 / per_second) as u64;
            self.plan(now_ns + gap_ns, Event::Arrival { client });
        }
        self.counter += 1;
        let id = self.counter;
        let request = Request {
            client,
            arrived_ns: now_ns,
            sent_ns: now_ns,
            seat: None,
        };
        self.requests.insert(id, request);
        let claim = self.clients[client].claim;
        if self.unlimited {
            self.send(id, None);
        } else if let Some(seat) = self.pool.try_take(&claim, now_ns) {
            self.send(id, Some(seat));
        } else {
            match self.pool.wait(&claim, false, now_ns, now_ns + 30 * SECOND) {
                Ok(waiting) => {
                    self.waiting.insert(id, Box::pin(waiting));
                    self.look(id);
                }
                Err(turned) => self.turn(id, turned),
            }
        }
    }

    fn look(&mut self, id: usize) {
        let Some(waiting) = self.waiting.get_mut(&id) else {
            return;
        };
        let waker = Waker::from(Arc::new(Note(Arc::clone(&self.notes), id)));
        if let Poll::Ready(result) = waiting.as_mut().poll(&mut Context::from_waker(&waker)) {
            self.waiting.remove(&id);
            match result {
                Ok(seat) => self.send(id, Some(seat)),
                Err(turned) => self.turn(id, turned),
            }
        }
    }

    fn wake(&mut self) {
        loop {
            let ids = std::mem::take(&mut *self.notes.0.lock().unwrap());
            if ids.is_empty() {
                return;
            }
            ids.into_iter().for_each(|id| self.look(id));
        }
    }

    fn turn(&mut self, id: usize, turned: Turned) {
        let request = self.requests.remove(&id).unwrap();
        self.done.push(Done {
            client: request.client,
            ended_ns: self.now_ns,
            took_ns: self.now_ns - request.arrived_ns,
            turned: Some(turned),
        });
        if matches!(self.clients[request.client].pattern, Pattern::Closed { .. }) {
            // The pace of refusals.
            self.plan(
                self.now_ns + 100 * MS,
                Event::Arrival {
                    client: request.client,
                },
            );
        }
    }

    fn send(&mut self, id: usize, seat: Option<Seat<'static>>) {
        let request = self.requests.get_mut(&id).unwrap();
        request.sent_ns = self.now_ns;
        request.seat = seat;
        self.inside.push_back(id);
        self.serve();
    }

    fn serve(&mut self) {
        while let Some(id) = self.inside.front().copied() {
            let client = self.requests[&id].client;
            let (slots, takes_ns) = (self.nature)(self.now_ns, client, &mut self.random);
            if self.busy >= slots {
                return;
            }
            self.inside.pop_front();
            self.busy += 1;
            self.plan(self.now_ns + takes_ns.max(1), Event::Answer { request: id });
        }
    }

    fn answer(&mut self, id: usize) {
        self.busy -= 1;
        let mut request = self.requests.remove(&id).unwrap();
        self.done.push(Done {
            client: request.client,
            ended_ns: self.now_ns,
            took_ns: self.now_ns - request.arrived_ns,
            turned: None,
        });
        if let Some(seat) = request.seat.take() {
            let head_ns = self.now_ns - request.sent_ns;
            seat.sample(head_ns, Outcome::Answered, self.now_ns);
        }
        self.serve();
        if matches!(self.clients[request.client].pattern, Pattern::Closed { .. }) {
            self.plan(
                self.now_ns + MS / 20,
                Event::Arrival {
                    client: request.client,
                },
            );
        }
    }

    /// Requests of `client` that ended in the time from `from_ns` to `to_ns`.
    pub(super) fn ended(
        &self,
        client: impl Fn(usize) -> bool,
        from_ns: u64,
        to_ns: u64,
    ) -> impl Iterator<Item = Done> {
        let done = self.done.iter().copied();
        let among: Vec<_> = done
            .filter(|done| client(done.client) && (from_ns..to_ns).contains(&done.ended_ns))
            .collect();
        among.into_iter()
    }

    pub(super) fn limit(&self) -> u32 {
        self.pool.level().limit
    }
}

/// The `part` quantile of how long answered requests took, in milliseconds.
pub(super) fn quantile_ms(done: impl Iterator<Item = Done>, part: f64) -> f64 {
    let mut took: Vec<u64> = done
        .filter(|done| done.turned.is_none())
        .map(|done| done.took_ns)
        .collect();
    took.sort_unstable();
    took[((took.len() - 1) as f64 * part) as usize] as f64 / MS as f64
}
