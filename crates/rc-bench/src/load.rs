//! The load generator: requests leave at the times of a schedule, whether or not earlier ones have been
//! answered, and each latency counts from the time at which its request should have left.
//!
//! So a subject that stalls pays for every request that had to wait, also for those that the generator could
//! not send because all connections were waiting (no coordinated omission). One thread, one epoll, timers
//! from a `timerfd`: its lateness and its own CPU time are part of every report. It knows nothing of what
//! the requests mean.

pub(crate) mod answer;
mod connection;
pub(crate) mod transport;

use std::collections::{BTreeMap, VecDeque};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::time::Duration;

use hdrhistogram::Histogram;
use rc_model::clock::monotonic_ns;
use rustix::event::epoll;
use rustix::time::{ClockId, clock_gettime};

use crate::failure::{Failure, Result};
use crate::timer::Timer;
use connection::{Connection, Progress};
use transport::Transport;

/// Longest latency that is told apart, in microseconds.
const LATENCY_US_MAX: u64 = 120_000_000;

/// How long after the last request's time answers may still come.
const GRACE: Duration = Duration::from_secs(20);

/// Most events taken from the kernel at once.
const EVENTS_MAX: usize = 128;

/// The event of the timer; connections are numbered from 0.
const TIMER: u64 = u64::MAX;

/// When requests are due.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Arrivals {
    /// So many a second, evenly spaced (open loop).
    Rate(f64),
    /// Each connection sends its next request when it has its answer (closed loop): what the subject can do
    /// at most, and no statement about latency.
    Saturation,
}

/// One run of load.
#[derive(Debug, Clone)]
pub(crate) struct Load {
    pub(crate) target: SocketAddr,
    pub(crate) connections: usize,
    pub(crate) arrivals: Arrivals,
    /// Sent like the rest and not measured.
    pub(crate) warm_up: Duration,
    pub(crate) measured: Duration,
}

/// Where requests come from. Each belongs to a class, which has figures of its own.
pub(crate) trait Requests {
    /// Writes the next request, whole, and tells its class.
    fn next(&mut self, out: &mut Vec<u8>) -> usize;

    /// Called with each answer.
    fn answered(&mut self, _class: usize, _status: u16, _body: &[u8]) {}
}

/// One request, again and again.
pub(crate) struct Same(pub(crate) Vec<u8>);

impl Requests for Same {
    fn next(&mut self, out: &mut Vec<u8>) -> usize {
        out.extend_from_slice(&self.0);
        0
    }
}

/// What became of one class of requests.
#[derive(Debug)]
pub(crate) struct Class {
    /// From the intended time of sending to the last byte of the answer, in microseconds.
    pub(crate) latency_us: Histogram<u64>,
    /// Answers by status.
    pub(crate) statuses: BTreeMap<u16, u64>,
}

/// What one run saw after its warm-up.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) classes: Vec<Class>,
    /// Answers that came between the two marks.
    pub(crate) completed: u64,
    /// Between the two marks.
    pub(crate) seconds: f64,
    /// The generator's own CPU time between them, in seconds.
    pub(crate) generator_cpu: f64,
    /// How much later than intended requests left although a connection was free, in nanoseconds.
    pub(crate) lateness_ns: Histogram<u64>,
    /// Requests that were due and never left, or left and were not answered within the grace.
    pub(crate) lost: u64,
    /// Connections that the other side closed while a request was on them; its answer never came.
    pub(crate) cut: u64,
}

impl Report {
    /// Answers a second.
    pub(crate) fn rate(&self) -> f64 {
        self.completed as f64 / self.seconds
    }

    /// Answers with another status than those of `wanted`.
    pub(crate) fn unwanted(&self, wanted: &[u16]) -> u64 {
        let statuses = self.classes.iter().flat_map(|class| &class.statuses);
        statuses
            .filter(|(status, _)| !wanted.contains(status))
            .map(|(_, count)| count)
            .sum()
    }

    /// A quantile of one class's latency, in milliseconds.
    pub(crate) fn latency_ms(&self, class: usize, quantile: f64) -> f64 {
        self.classes.get(class).map_or(f64::NAN, |class| {
            class.latency_us.value_at_quantile(quantile) as f64 / 1000.0
        })
    }

    /// The 99th percentile of the generator's own lateness, in microseconds.
    pub(crate) fn lateness_us_p99(&self) -> f64 {
        self.lateness_ns.value_at_quantile(0.99) as f64 / 1000.0
    }

    /// An error unless everything was answered, and with one of these statuses.
    pub(crate) fn expect(&self, wanted: &[u16]) -> Result<()> {
        let answered = self.classes.iter().any(|class| !class.latency_us.is_empty());
        if self.lost == 0 && self.cut == 0 && self.unwanted(wanted) == 0 && answered {
            return Ok(());
        }
        let statuses: Vec<_> = self.classes.iter().map(|class| &class.statuses).collect();
        Err(Failure::new(format!(
            "{} requests were not answered and {} were cut off; answers by class and status: {statuses:?}",
            self.lost, self.cut
        )))
    }
}

/// The two moments between which a run is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
    Begin,
    End,
}

/// Runs one load on this thread until its last answer. `mark` is called at the two moments.
pub(crate) fn run(load: &Load, requests: &mut dyn Requests, mark: &mut dyn FnMut(Mark)) -> Result<Report> {
    Run::new(load, &Transport::Tcp, &|| ())?.finish(requests, mark)
}

/// The same over connections of that kind. `ready` is called when all are open, and its return begins the run.
pub(crate) fn run_over(
    transport: &Transport,
    load: &Load,
    requests: &mut dyn Requests,
    ready: &dyn Fn(),
) -> Result<Report> {
    Run::new(load, transport, ready)?.finish(requests, &mut |_| {})
}

struct Run {
    epoll: rustix::fd::OwnedFd,
    timer: Timer,
    connections: Vec<Connection>,
    /// Those without a request, the longest free one first.
    free: VecDeque<usize>,
    prepared: Prepared,
    schedule: Schedule,
    tally: Tally,
}

/// The next request, written before its time, so that writing it makes nobody late.
#[derive(Default)]
struct Prepared {
    class: Option<usize>,
    bytes: Vec<u8>,
}

impl Prepared {
    fn prepare(&mut self, requests: &mut dyn Requests) -> usize {
        *self.class.get_or_insert_with(|| {
            self.bytes.clear();
            requests.next(&mut self.bytes)
        })
    }
}

/// When things are due, all on the clock of [`monotonic_ns`].
struct Schedule {
    arrivals: Arrivals,
    /// The first request's time.
    start: u64,
    /// Requests whose time has been used.
    sent: u64,
    begin: u64,
    end: u64,
}

/// What has been counted.
struct Tally {
    classes: Vec<Class>,
    answers: u64,
    lateness_ns: Histogram<u64>,
    lost: u64,
    cut: u64,
    /// The times between which intended times count.
    begin: u64,
    end: u64,
}

impl Schedule {
    /// The intended time of the next request; `None` when there is no more.
    fn next(&self, now: u64) -> Option<u64> {
        let due = match self.arrivals {
            Arrivals::Rate(rate) => self.start + (self.sent as f64 * 1e9 / rate) as u64,
            Arrivals::Saturation => now,
        };
        (due < self.end).then_some(due)
    }
}

impl Tally {
    fn counts(&self, intended: u64) -> bool {
        (self.begin..self.end).contains(&intended)
    }

    fn class(&mut self, class: usize) -> Result<&mut Class> {
        while self.classes.len() <= class {
            self.classes.push(Class {
                latency_us: histogram(LATENCY_US_MAX)?,
                statuses: BTreeMap::new(),
            });
        }
        Ok(&mut self.classes[class])
    }
}

fn histogram(highest: u64) -> Result<Histogram<u64>> {
    Histogram::new_with_bounds(1, highest, 3).map_err(|error| Failure::new(error.to_string()))
}

impl Run {
    fn new(load: &Load, transport: &Transport, ready: &dyn Fn()) -> Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let timer = Timer::new(&epoll, TIMER)?;
        let mut connections = Vec::with_capacity(load.connections);
        for number in 0..load.connections {
            let connection = Connection::open(load.target, transport)?;
            connection.watch(&epoll, number as u64)?;
            connections.push(connection);
        }
        ready();
        let start = monotonic_ns() + 1_000_000;
        let begin = start + nanoseconds(load.warm_up);
        let end = begin + nanoseconds(load.measured);
        Ok(Self {
            epoll,
            timer,
            free: (0..connections.len()).collect(),
            prepared: Prepared::default(),
            connections,
            schedule: Schedule {
                arrivals: load.arrivals,
                start,
                sent: 0,
                begin,
                end,
            },
            tally: Tally {
                classes: Vec::new(),
                answers: 0,
                lateness_ns: histogram(LATENCY_US_MAX * 1000)?,
                lost: 0,
                cut: 0,
                begin,
                end,
            },
        })
    }

    fn finish(mut self, requests: &mut dyn Requests, mark: &mut dyn FnMut(Mark)) -> Result<Report> {
        let give_up = self.schedule.end + nanoseconds(GRACE);
        let mut begun: Option<(u64, u64, f64)> = None;
        let mut ended: Option<(u64, u64, f64)> = None;
        loop {
            let now = monotonic_ns();
            if begun.is_none() && now >= self.schedule.begin {
                mark(Mark::Begin);
                begun = Some((now, self.tally.answers, thread_cpu()));
            }
            if ended.is_none() && now >= self.schedule.end {
                mark(Mark::End);
                ended = Some((now, self.tally.answers, thread_cpu()));
            }
            self.send_what_is_due(requests, now)?;
            let idle = self.free.len() == self.connections.len();
            if ended.is_some() && idle && self.schedule.next(now).is_none() {
                break;
            }
            if now >= give_up {
                self.count_lost();
                break;
            }
            if self.schedule.next(now).is_some() {
                self.prepared.prepare(requests);
            }
            self.wait(requests, monotonic_ns())?;
        }
        let (Some(begun), Some(ended)) = (begun, ended) else {
            return Err(Failure::new("the load ended before its end"));
        };
        Ok(Report {
            classes: self.tally.classes,
            completed: ended.1 - begun.1,
            seconds: (ended.0 - begun.0) as f64 / 1e9,
            generator_cpu: ended.2 - begun.2,
            lateness_ns: self.tally.lateness_ns,
            lost: self.tally.lost,
            cut: self.tally.cut,
        })
    }

    /// Sends until nothing is due or no connection is free.
    fn send_what_is_due(&mut self, requests: &mut dyn Requests, mut now: u64) -> Result<()> {
        while let (Some(due), Some(number)) = (self.schedule.next(now), self.free.front().copied()) {
            if due > now {
                break;
            }
            self.free.pop_front();
            self.schedule.sent += 1;
            let connection = &mut self.connections[number];
            if self.tally.counts(due) {
                let late = now - due.max(connection.free_since).min(now);
                self.tally.lateness_ns.saturating_record(late);
            }
            connection.class = self.prepared.prepare(requests);
            self.prepared.class = None;
            connection.send(&mut self.prepared.bytes, due, &self.epoll, number as u64)?;
            now = monotonic_ns();
        }
        Ok(())
    }

    /// Waits for answers, and for the next request's time unless no connection could carry it.
    fn wait(&mut self, requests: &mut dyn Requests, now: u64) -> Result<()> {
        let next = match self.schedule.next(now) {
            Some(due) if !self.free.is_empty() => due,
            _ if now < self.schedule.begin => self.schedule.begin,
            _ if now < self.schedule.end => self.schedule.end,
            _ => self.schedule.end + nanoseconds(GRACE),
        };
        self.timer.arm(next.saturating_sub(now))?;
        let mut space = [MaybeUninit::<epoll::Event>::uninit(); EVENTS_MAX];
        let events = match epoll::wait(&self.epoll, &mut space[..], None) {
            Ok((events, _)) => events,
            Err(rustix::io::Errno::INTR) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        for event in events {
            let number = event.data.u64();
            if number != TIMER {
                let number = usize::try_from(number).expect("connections are counted in usize");
                self.follow(number, requests)?;
            }
        }
        Ok(())
    }

    /// Writes and reads what one connection can, and counts its answer.
    fn follow(&mut self, number: usize, requests: &mut dyn Requests) -> Result<()> {
        let connection = &mut self.connections[number];
        let (epoll, data) = (&self.epoll, number as u64);
        let (status, body) = match connection.advance(epoll, data)? {
            Progress::Waiting => return Ok(()),
            Progress::Closed => return connection.reopen(epoll, data),
            Progress::Cut => {
                self.tally.cut += u64::from(self.tally.counts(connection.intended));
                connection.reopen(epoll, data)?;
                self.free.push_back(number);
                return Ok(());
            }
            Progress::Answered { status, body } => (status, body),
        };
        let now = monotonic_ns();
        let (class, intended) = (connection.class, connection.intended);
        requests.answered(class, status, &connection.received[body]);
        connection.finish(now, epoll, data)?;
        self.free.push_back(number);
        self.tally.answers += 1;
        if self.tally.counts(intended) {
            let class = self.tally.class(class)?;
            class.latency_us.saturating_record((now - intended) / 1000);
            *class.statuses.entry(status).or_default() += 1;
        }
        Ok(())
    }

    /// Counts what was not answered, with the latency that it has at least.
    fn count_lost(&mut self) {
        let waiting = self.connections.len() - self.free.len();
        let mut unsent = 0;
        if let Arrivals::Rate(rate) = self.schedule.arrivals {
            let all = ((self.schedule.end - self.schedule.start) as f64 / 1e9 * rate) as u64;
            unsent = all.saturating_sub(self.schedule.sent);
        }
        self.tally.lost = waiting as u64 + unsent;
    }
}

/// This thread's CPU time, in seconds.
fn thread_cpu() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn nanoseconds(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).expect("a run is shorter than centuries")
}

#[cfg(test)]
mod tests;
