//! The service behind every proxy: so many slots, so long for each request, first come first served.
//!
//! One thread, one epoll, one timer; it understands requests without a body and nothing else. Without a bound on
//! slots and without a time it answers at once. `?us=N` in a request's target is the time of that request, in
//! microseconds. Two paths are not forwarded by anybody and are the bench's own: [`TAKE`] and [`SLOTS`].

mod account;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::io::{ErrorKind, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::AsRawFd as _;
use std::rc::Rc;
use std::time::Duration;

use memchr::memmem;
use rc_model::clock::monotonic_ns;
use rustix::event::epoll;

use crate::failure::Result;
use crate::timer::Timer;
pub(crate) use account::Account;

/// Bytes of the answer's body.
pub(crate) const BODY_BYTES: usize = 128;

/// What the service has counted since this was asked the last time, as JSON.
pub(crate) const TAKE: &str = "/-/take";

/// Followed by a number: how many slots there are from now on.
pub(crate) const SLOTS: &str = "/-/slots/";

/// Most bytes of one request's head.
const REQUEST_BYTES_MAX: usize = 8 << 10;

/// The events of listener and timer; connections have their descriptor.
const LISTENER: u64 = u64::MAX;
const TIMER: u64 = u64::MAX - 1;

/// What the service can do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Capacity {
    /// Requests that are served at one time.
    pub(crate) slots: usize,
    /// How long each takes.
    pub(crate) time: Duration,
}

impl Capacity {
    /// Answers everything at once.
    #[cfg(test)]
    pub(crate) const UNBOUNDED: Self = Self {
        slots: usize::MAX,
        time: Duration::ZERO,
    };
}

/// One request that waits or is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Job {
    /// On the clock of [`monotonic_ns`]; only of those that are served.
    done_at: u64,
    place: usize,
    /// Tells its connection from a later one with the same descriptor.
    client: u64,
    time_ns: u64,
}

struct Service {
    capacity: Capacity,
    answer: Rc<[u8]>,
    clients: Vec<Option<Client>>,
    /// Connections so far.
    accepted: u64,
    waiting: VecDeque<Job>,
    serving: BinaryHeap<Reverse<Job>>,
    account: Account,
}

struct Client {
    number: u64,
    socket: TcpStream,
    received: Vec<u8>,
    filled: usize,
}

/// The whole answer with that body.
fn answer(media: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {media}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// Serves on a port of the loopback address until the process is ended.
pub(crate) fn serve(port: u16, capacity: Capacity) -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    listener.set_nonblocking(true)?;
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let listens = epoll::EventData::new_u64(LISTENER);
    epoll::add(&epoll, &listener, listens, epoll::EventFlags::IN)?;
    let timer = Timer::new(&epoll, TIMER)?;
    let body: Vec<u8> = (0..BODY_BYTES).map(|at| b'a' + (at % 26) as u8).collect();
    let mut service = Service {
        capacity,
        answer: answer("text/plain", &body).into(),
        clients: Vec::new(),
        accepted: 0,
        waiting: VecDeque::new(),
        serving: BinaryHeap::new(),
        account: Account::new(monotonic_ns()),
    };
    let mut armed = None;
    loop {
        let next = service.serving.peek().map(|Reverse(job)| job.done_at);
        if let (Some(due), true) = (next, next != armed) {
            timer.arm(due.saturating_sub(monotonic_ns()))?;
            armed = next;
        }
        let mut space = [MaybeUninit::<epoll::Event>::uninit(); 128];
        let events = match epoll::wait(&epoll, &mut space[..], None) {
            Ok((events, _)) => events,
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        };
        for event in events {
            match event.data.u64() {
                LISTENER => service.accept(&listener, &epoll)?,
                TIMER => {
                    timer.clear();
                    armed = None;
                }
                place => service.read(usize::try_from(place).expect("descriptors are small numbers")),
            }
        }
        service.finish_what_is_done();
    }
}

impl Service {
    fn accept(&mut self, listener: &TcpListener, epoll: &rustix::fd::OwnedFd) -> Result<()> {
        loop {
            let socket = match listener.accept() {
                Ok((socket, _)) => socket,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            socket.set_nonblocking(true)?;
            socket.set_nodelay(true)?;
            let place = usize::try_from(socket.as_raw_fd()).expect("an open descriptor is not negative");
            let data = epoll::EventData::new_u64(place as u64);
            epoll::add(epoll, &socket, data, epoll::EventFlags::IN)?;
            if self.clients.len() <= place {
                self.clients.resize_with(place + 1, || None);
            }
            self.accepted += 1;
            self.clients[place] = Some(Client {
                number: self.accepted,
                socket,
                received: vec![0; REQUEST_BYTES_MAX],
                filled: 0,
            });
        }
    }

    /// Reads once from one connection and takes every complete request.
    fn read(&mut self, place: usize) {
        // Taken out, so that a request can change everything else; one that is over stays out.
        let Some(mut client) = self.clients.get_mut(place).and_then(Option::take) else {
            return;
        };
        if self.follow(&mut client, place) {
            self.clients[place] = Some(client);
        }
    }

    /// `false` when the connection is over.
    fn follow(&mut self, client: &mut Client, place: usize) -> bool {
        match client.socket.read(&mut client.received[client.filled..]) {
            Ok(0) => return false,
            Ok(count) => client.filled += count,
            Err(error) => return matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted),
        }
        let mut from = 0;
        while let Some(end) = memmem::find(&client.received[from..client.filled], b"\r\n\r\n") {
            let head = &client.received[from..from + end];
            from += end + 4;
            let own = match own_path(head) {
                Some(path) => Some(self.answer_to(path)),
                None => self
                    .begin(head, place, client.number)
                    .then(|| Rc::clone(&self.answer)),
            };
            // The socket's buffer holds hundreds of these answers, and a client waits for each.
            if own.is_some_and(|answer| client.socket.write_all(&answer).is_err()) {
                return false;
            }
        }
        client.received.copy_within(from..client.filled, 0);
        client.filled -= from;
        client.filled < client.received.len()
    }

    /// Takes a request; `true` when it can be answered at once.
    fn begin(&mut self, head: &[u8], place: usize, client: u64) -> bool {
        let time_ns = asked_time(head).unwrap_or(self.capacity.time.as_nanos() as u64);
        self.account.calls += 1;
        if time_ns == 0 && self.serving.len() < self.capacity.slots && self.waiting.is_empty() {
            return true;
        }
        self.waiting.push_back(Job {
            done_at: 0,
            place,
            client,
            time_ns,
        });
        self.fill_slots(monotonic_ns());
        false
    }

    fn fill_slots(&mut self, now: u64) {
        while self.serving.len() < self.capacity.slots
            && let Some(job) = self.waiting.pop_front()
        {
            let done_at = now + job.time_ns;
            self.serving.push(Reverse(Job { done_at, ..job }));
        }
        self.account
            .saw(self.serving.len(), self.waiting.len(), self.capacity.slots, now);
    }

    fn finish_what_is_done(&mut self) {
        let now = monotonic_ns();
        let mut finished = false;
        while let Some(Reverse(job)) = self.serving.peek().copied().filter(|job| job.0.done_at <= now) {
            self.serving.pop();
            finished = true;
            let client = self.clients.get_mut(job.place).and_then(Option::as_mut);
            if let Some(client) = client.filter(|client| client.number == job.client) {
                // Whoever left does not wait for the answer; epoll says so too.
                let _ = client.socket.write_all(&self.answer);
            }
        }
        if finished {
            self.fill_slots(now);
        }
    }

    /// The answer to one of the bench's own requests.
    fn answer_to(&mut self, path: &str) -> Rc<[u8]> {
        let now = monotonic_ns();
        if let Some(slots) = path.strip_prefix(SLOTS).and_then(|slots| slots.parse().ok()) {
            self.capacity.slots = slots;
            self.fill_slots(now);
        }
        let account = std::mem::replace(&mut self.account, Account::new(now));
        answer("application/json", account.to_json().as_bytes()).into()
    }
}

/// The target of a request's first line.
fn target(head: &[u8]) -> Option<&str> {
    let line = head.split(|byte| *byte == b'\r').next()?;
    let target = line.split(|byte| *byte == b' ').nth(1)?;
    std::str::from_utf8(target).ok()
}

/// The target, when it is one of the bench's own.
fn own_path(head: &[u8]) -> Option<&str> {
    target(head).filter(|target| target.starts_with("/-/"))
}

/// The time that a request asks for, in nanoseconds.
fn asked_time(head: &[u8]) -> Option<u64> {
    let (_, microseconds) = target(head)?.split_once("?us=")?;
    microseconds.parse::<u64>().ok().map(|us| us * 1000)
}
