//! The isolation rig: steady victims and noisy neighbours at one proxy, measured together.
//!
//! The proxy has one core. Service, victims and noise share the other one, in this order of priority where the
//! system permits it: a service or a victim that waits for the noise's CPU time would be the rig's own queue.

pub(crate) mod tenants;
pub(crate) mod tls;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rc_model::clock::monotonic_ns;

use crate::backend::{Account, SLOTS, TAKE};
use crate::client::Client;
use crate::failure::{Failure, Result};
use crate::load::transport::Transport;
use crate::load::{self, Arrivals, Load, Report, Requests};
use crate::procs::{self, CpuTime};

/// Priority of the service and of the victims' sender among real-time threads.
pub(crate) const SERVICE_PRIORITY: u8 = 60;
const VICTIMS_PRIORITY: u8 = 70;

/// Connections of all victims together: more than can be in flight at the rates in use while answers come
/// within a quarter of a second.
const VICTIMS_CONNECTIONS: usize = 128;

/// What a peer is told beside the usual.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rules {
    /// Tenants with a rate of their own.
    pub(crate) rates: Vec<Limit>,
    /// nginx: `limit_conn` by key.
    pub(crate) connections_per_key: Option<usize>,
    /// HAProxy: `maxconn` of the service.
    pub(crate) slots: Option<usize>,
    /// nginx: a cache, where one of many equal misses asks.
    pub(crate) cache: bool,
    pub(crate) tls: Option<tls::Files>,
}

/// One tenant's rate.
#[derive(Debug, Clone)]
pub(crate) struct Limit {
    pub(crate) key: String,
    pub(crate) rps: u32,
}

/// Somebody who proxies to the service.
#[derive(Debug, Clone)]
pub(crate) struct Proxy {
    /// As figures call it.
    pub(crate) name: &'static str,
    pub(crate) address: SocketAddr,
    pub(crate) transport: Transport,
    /// The processes whose time counts.
    pub(crate) processes: BTreeSet<u32>,
}

/// How long a window is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    pub(crate) warm_up: Duration,
    pub(crate) measured: Duration,
}

/// Load of one kind.
pub(crate) struct Stream {
    pub(crate) arrivals: Arrivals,
    pub(crate) connections: usize,
    pub(crate) requests: Box<dyn Requests + Send>,
}

impl Stream {
    /// Steady requests at a rate.
    pub(crate) fn victims(rate: f64, requests: impl Requests + Send + 'static) -> Self {
        Self {
            arrivals: Arrivals::Rate(rate),
            connections: VICTIMS_CONNECTIONS,
            requests: Box::new(requests),
        }
    }

    /// As many requests as answers come, over so many connections.
    pub(crate) fn noise(connections: usize, requests: impl Requests + Send + 'static) -> Self {
        Self {
            arrivals: Arrivals::Saturation,
            connections,
            requests: Box::new(requests),
        }
    }
}

/// What one window saw.
#[derive(Debug)]
pub(crate) struct Seen {
    /// Of the victims, where there were any.
    pub(crate) victims: Option<Report>,
    pub(crate) noise: Vec<Report>,
    /// The proxy's CPU time, in cores.
    pub(crate) cores: f64,
    /// Whether the victims had their priority.
    pub(crate) real_time: bool,
    /// What the service counted; without what was taken in the window.
    pub(crate) account: Account,
}

impl Seen {
    /// The report of victims that there were.
    pub(crate) fn of_victims(&self) -> Result<&Report> {
        let victims = self.victims.as_ref();
        victims.ok_or_else(|| Failure::new("a window without victims is asked for theirs"))
    }
}

/// Answers of that status a second, by the time of sending.
pub(crate) fn answered(report: &Report, status: u16) -> f64 {
    let statuses = report
        .classes
        .iter()
        .filter_map(|class| class.statuses.get(&status));
    statuses.sum::<u64>() as f64 / report.seconds
}

/// Answers of all other statuses than 200 a second, and requests without an answer.
pub(crate) fn refused(report: &Report) -> f64 {
    (report.unwanted(&[200]) + report.lost + report.cut) as f64 / report.seconds
}

/// The service's own door, beside the one that proxies use.
#[derive(Debug)]
pub(crate) struct Service(SocketAddr);

impl Service {
    pub(crate) fn at(address: SocketAddr) -> Self {
        Self(address)
    }

    /// What it has counted since the last time.
    pub(crate) fn take(&self) -> Result<Account> {
        self.ask(TAKE)
    }

    /// Changes its slots; what it had counted until then.
    pub(crate) fn set_slots(&self, slots: usize) -> Result<Account> {
        self.ask(&format!("{SLOTS}{slots}"))
    }

    fn ask(&self, path: &str) -> Result<Account> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: service\r\n\r\n");
        let (_, body) = Client::connect(self.0)?.call(request.as_bytes())?;
        Ok(serde_json::from_slice(&body)?)
    }
}

/// Sends all streams at once and measures after the warm-up. `during` runs on this thread from the beginning of
/// the measured time on.
pub(crate) fn window(
    proxy: &Proxy,
    service: &Service,
    span: Span,
    victims: Option<Stream>,
    noise: Vec<Stream>,
    during: &mut dyn FnMut() -> Result<()>,
) -> Result<Seen> {
    let streams = noise.len() + usize::from(victims.is_some());
    let gate = Gate::default();
    let send = |mut stream: Stream| {
        let load = Load {
            target: proxy.address,
            connections: stream.connections,
            arrivals: stream.arrivals,
            warm_up: span.warm_up,
            measured: span.measured,
        };
        load::run_over(&proxy.transport, &load, stream.requests.as_mut(), &|| gate.pass())
    };
    let send = &send;
    let send_first = |stream| {
        let real_time = procs::real_time(VICTIMS_PRIORITY);
        send(stream).map(|report| (report, real_time))
    };
    std::thread::scope(|scope| {
        let victims = victims.map(|stream| scope.spawn(move || send_first(stream)));
        let noise: Vec<_> = noise
            .into_iter()
            .map(|stream| scope.spawn(move || send(stream)))
            .collect();
        gate.open_for(streams, || {
            noise.iter().any(|thread| thread.is_finished())
                || victims.as_ref().is_some_and(|thread| thread.is_finished())
        });
        if !span.warm_up.is_zero() {
            std::thread::sleep(span.warm_up);
            service.take()?;
        }
        let (begin, before) = (monotonic_ns(), CpuTime::of(&proxy.processes)?);
        during()?;
        let elapsed = Duration::from_nanos(monotonic_ns() - begin);
        std::thread::sleep(span.measured.saturating_sub(elapsed));
        let after = CpuTime::of(&proxy.processes)?;
        let seconds = (monotonic_ns() - begin) as f64 / 1e9;
        let account = service.take()?;
        let victims = victims.map(joined).transpose()?;
        let noise = noise.into_iter().map(joined).collect::<Result<Vec<_>>>()?;
        let real_time = victims.as_ref().is_some_and(|(_, real_time)| *real_time);
        Ok(Seen {
            victims: victims.map(|(report, _)| report),
            noise,
            cores: after.seconds_since(&before) / seconds,
            real_time,
            account,
        })
    })
}

/// Where streams wait for each other, so that all begin at one time.
#[derive(Debug, Default)]
struct Gate {
    waiting: AtomicUsize,
    open: AtomicBool,
}

impl Gate {
    /// Between two looks.
    const PAUSE: Duration = Duration::from_millis(1);

    /// Waits until it opens.
    fn pass(&self) {
        self.waiting.fetch_add(1, Ordering::Release);
        while !self.open.load(Ordering::Acquire) {
            std::thread::sleep(Self::PAUSE);
        }
    }

    /// Opens when that many wait, or when one of them has given up and will never come.
    fn open_for(&self, count: usize, one_gave_up: impl Fn() -> bool) {
        while self.waiting.load(Ordering::Acquire) < count && !one_gave_up() {
            std::thread::sleep(Self::PAUSE);
        }
        self.open.store(true, Ordering::Release);
    }
}

/// What a thread of the rig came back with.
pub(crate) fn joined<T>(thread: std::thread::ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    let result = thread.join();
    result.unwrap_or_else(|_panic| Err(Failure::new("a thread of the rig panicked")))
}

#[cfg(test)]
mod tests;
