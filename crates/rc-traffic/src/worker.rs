//! One thread's share of the gateway. Everything here belongs to that thread; other threads see only
//! [`Shared`].

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rc_model::clock::monotonic_ns;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::ConnectionLimits;
use crate::health::{Probe, ServiceHealth, Tally};
use crate::hooks::Hooks;
use crate::metrics::WorkerCounters;
use crate::retry::Books;
use crate::snapshot::Endpoint;
use crate::state::{Active, Shared};
use crate::upstream::{Pool, PoolLimits};

/// Who is at the other end of a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer {
    /// Absent on Unix sockets.
    pub(crate) address: Option<IpAddr>,
    /// Only the owner of the process can be there.
    pub(crate) trusted: bool,
    /// What it says in `x-rc-tenant` is believed.
    pub(crate) names_tenants: bool,
    /// The user there, by the kernel's word. Absent on TCP.
    pub(crate) uid: Option<u32>,
    /// The connection is encrypted.
    pub(crate) secure: bool,
}

pub(crate) struct Worker {
    pub(crate) index: usize,
    pub(crate) shared: Arc<Shared>,
    pub(crate) hooks: Hooks,
    /// Cancelled when the gateway begins to stop.
    pub(crate) stop: CancellationToken,
    view: RefCell<Rc<View>>,
    /// Connections whose refusal is held back.
    pub(crate) parked: Rc<Cell<u32>>,
    /// Whose TLS handshake is computed next.
    pub(crate) handshake_turn: Semaphore,
    random: RefCell<fastrand::Rng>,
    /// The second and its text.
    date: Cell<(i64, [u8; DATE_BYTES])>,
}

/// The snapshot in use and this worker's pools for its endpoints.
pub(crate) struct View {
    pub(crate) active: Arc<Active>,
    pub(crate) upstreams: Vec<UpstreamPools>,
    /// What further tries are paid from, by route.
    pub(crate) books: Vec<Rc<Books>>,
}

/// The pools of one service.
pub(crate) struct UpstreamPools {
    pools: Vec<Rc<Pool>>,
    turn: Cell<usize>,
    pub(crate) health: Arc<ServiceHealth>,
    pub(crate) tally: Rc<Tally>,
}

/// An endpoint for one try.
pub(crate) struct Chosen {
    pub(crate) at: usize,
    pub(crate) pool: Rc<Pool>,
    /// It is left alone, and this try is to see whether it works again.
    pub(crate) probe: Option<Probe>,
}

impl Worker {
    pub(crate) fn new(index: usize, shared: Arc<Shared>, hooks: Hooks, stop: CancellationToken) -> Self {
        let active = shared.active.load_full();
        let view = View::new(active, None, &shared.config.limits, shared.config.workers.get());
        Self {
            index,
            shared,
            hooks,
            stop,
            view: RefCell::new(Rc::new(view)),
            parked: Rc::default(),
            handshake_turn: Semaphore::new(1),
            random: RefCell::new(fastrand::Rng::new()),
            date: Cell::new((i64::MIN, [b' '; DATE_BYTES])),
        }
    }

    /// The policy in use at this moment. A request takes it once and keeps it.
    pub(crate) fn view(&self) -> Rc<View> {
        let active = self.shared.active.load();
        let mut view = self.view.borrow_mut();
        if !Arc::ptr_eq(&active, &view.active) {
            // What was counted belongs to what is known of the services as they were.
            view.absorb(self.random());
            let config = &self.shared.config;
            let new = View::new(
                Arc::clone(&active),
                Some(&view),
                &config.limits,
                config.workers.get(),
            );
            *view = Rc::new(new);
        }
        Rc::clone(&view)
    }

    pub(crate) fn counters(&self) -> &WorkerCounters {
        &self.shared.metrics.workers[self.index]
    }

    /// 64 random bits for ids; they identify and protect nothing.
    pub(crate) fn random(&self) -> u64 {
        self.random.borrow_mut().u64(..)
    }

    /// The time as HTTP writes it (RFC 9110, section 5.6.7).
    pub(crate) fn http_date(&self) -> [u8; DATE_BYTES] {
        let second = self.shared.clock.now().unix_ms().div_euclid(1_000);
        let (cached, text) = self.date.get();
        if cached == second {
            return text;
        }
        let text = http_date(second);
        self.date.set((second, text));
        text
    }

    /// Closes upstream connections that nobody used for too long, and brings what was counted. Called once a second.
    pub(crate) fn sweep(&self, now: Instant) {
        let view = self.view();
        view.absorb(self.random());
        for latency in view.active.latencies() {
            latency.absorb(self.index, monotonic_ns());
        }
        for upstream in &view.upstreams {
            for pool in &upstream.pools {
                pool.sweep(now);
            }
        }
    }
}

/// How often [`Worker::sweep`] runs.
pub(crate) const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

impl View {
    fn new(active: Arc<Active>, before: Option<&Self>, limits: &ConnectionLimits, workers: usize) -> Self {
        let limits = PoolLimits::from(limits);
        let kept = |endpoint: &Endpoint| {
            let mut pools = before
                .into_iter()
                .flat_map(|view| &view.upstreams)
                .flat_map(|upstream| &upstream.pools);
            pools.find(|pool| pool.endpoint() == endpoint).cloned()
        };
        let tally = |health: &ServiceHealth| {
            let mut known = before.into_iter().flat_map(|view| &view.upstreams);
            let same = known.find(|upstream| Arc::ptr_eq(&upstream.health.circuits, &health.circuits));
            same.map(|upstream| Rc::clone(&upstream.tally))
                .unwrap_or_default()
        };
        let snapshot = &active.snapshot;
        let upstreams = snapshot
            .upstreams
            .iter()
            .zip(&active.health)
            .map(|(upstream, health)| UpstreamPools {
                pools: upstream
                    .endpoints
                    .iter()
                    .map(|endpoint| {
                        kept(endpoint).unwrap_or_else(|| Rc::new(Pool::new(endpoint.clone(), limits.clone())))
                    })
                    .collect(),
                turn: Cell::new(0),
                tally: tally(health),
                health: Arc::clone(health),
            });
        // Routes of one path that differ in their methods share theirs, as they share seats.
        let mut by_path: HashMap<&str, Rc<Books>> = before
            .into_iter()
            .flat_map(|view| view.active.snapshot.routes.iter().zip(&view.books))
            .map(|(route, books)| (route.path.as_str(), Rc::clone(books)))
            .collect();
        let books = snapshot.routes.iter().map(|route| {
            let books = by_path
                .entry(&route.path)
                .or_insert_with(|| Rc::new(Books::new(workers)));
            Rc::clone(books)
        });
        Self {
            books: books.collect(),
            upstreams: upstreams.collect(),
            active: Arc::clone(&active),
        }
    }

    /// Brings what this worker has counted about services.
    fn absorb(&self, random: u64) {
        for upstream in &self.upstreams {
            upstream.health.absorb(&upstream.tally, monotonic_ns(), random);
        }
    }
}

impl UpstreamPools {
    /// Chooses an endpoint for one try: in turn among those that are not left alone, and another one than `failed`
    /// where there is one.
    pub(crate) fn choose(&self, failed: Option<usize>) -> Chosen {
        let count = self.pools.len();
        let first = match failed {
            Some(failed) => failed + 1,
            None if count > 1 => {
                let next = (self.turn.get() + 1) % count;
                self.turn.set(next);
                next
            }
            None => 0,
        };
        let chosen = |at: usize, probe| Chosen {
            at,
            pool: Rc::clone(&self.pools[at]),
            probe,
        };
        for at in (first..first + count).map(|at| at % count) {
            let health = &self.health.endpoints[at];
            if !health.is_out() {
                return chosen(at, None);
            }
            if let Some(probe) = health.probe(monotonic_ns()) {
                return chosen(at, Some(probe));
            }
        }
        chosen(first % count, None)
    }

    /// How many endpoints there are.
    pub(crate) fn len(&self) -> usize {
        self.pools.len()
    }
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`
const DATE_BYTES: usize = 29;

fn http_date(unix_secs: i64) -> [u8; DATE_BYTES] {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let (day, second) = (unix_secs.div_euclid(86_400), unix_secs.rem_euclid(86_400));
    // Days to year, month and day in years that begin in March (Hinnant, "chrono-compatible low-level date
    // algorithms").
    let shifted = day + 719_468;
    let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let of_month = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = (shifted_month + 2) % 12;
    let year = year_of_era + era * 400 + i64::from(month < 2);
    let text = format!(
        "{}, {of_month:02} {} {year:04} {:02}:{:02}:{:02} GMT",
        DAYS[usize::try_from(day.rem_euclid(7)).unwrap_or_default()],
        MONTHS[usize::try_from(month).unwrap_or_default()],
        second / 3_600,
        second / 60 % 60,
        second % 60,
    );
    let mut out = [b' '; DATE_BYTES];
    let used = text.len().min(DATE_BYTES);
    out[..used].copy_from_slice(&text.as_bytes()[..used]);
    out
}

#[cfg(test)]
mod tests;
