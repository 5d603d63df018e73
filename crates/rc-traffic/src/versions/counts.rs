//! Exact counts of the requests of services with several versions: by second, version, tenant and route.
//!
//! A request counts in the second in which it began, for the version that was chosen for it, whatever became of it. A
//! second is *closed* when all its requests have ended, or [`LATE_S`] seconds later; from then on it never changes, and
//! what had not ended is [`Count::unfinished`] for good. So whoever reads closed seconds only sees each request once.
//!
//! Each worker has a ring of its own behind a lock that only a reader contends for.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rc_model::clock::{monotonic_ns, unix_ns};
use rc_model::{ServiceId, TenantId};

use crate::answer::{
    CIRCUIT_OPEN, DEADLINE, SERVICE_BUSY, TENANT_BUSY, TOO_SLOW, UPSTREAM_DOWN, UPSTREAM_FAILED,
};
use crate::metrics::STATUS_CLIENT_GONE;
use crate::span::{CUT, GONE};

/// Seconds that are kept.
const SECONDS: usize = 60;
/// How long a second waits for its requests to end.
const LATE_S: u64 = 5;
/// Tenants, times routes and versions, that one worker tells apart in one second; more are counted together.
const CELLS_MAX: usize = 1_024;
const NS_PER_S: u64 = 1_000_000_000;

/// How a request can end, in the order of [`Count::outcomes`].
pub const OUTCOMES: [&str; 11] = [
    "1xx",
    "2xx",
    "3xx",
    "4xx",
    "5xx",
    "unreachable",
    "broken",
    "timeout",
    "refused",
    "gone",
    "other",
];

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// The service answered, with a status of this class.
    Status(u8),
    /// No connection could be made.
    Unreachable,
    /// The service gave no valid answer, or no whole one.
    Broken,
    /// The deadline passed, or the time that such requests take.
    Timeout,
    /// It got no seat, or the version is left alone: the service never saw it.
    Refused,
    /// The client left before the answer.
    Gone,
    /// The gateway gave it up for the client's fault, such as a body that is too large.
    Other,
}

impl Outcome {
    /// From the status that the client was told, and the reason where the service did not give it.
    fn of(status: u16, error: Option<&str>) -> Self {
        match error {
            Some(code) if code == UPSTREAM_DOWN.code => Self::Unreachable,
            Some(code) if code == UPSTREAM_FAILED.code || code == CUT => Self::Broken,
            Some(code) if code == DEADLINE.code || code == TOO_SLOW.code => Self::Timeout,
            Some(code) if [TENANT_BUSY.code, SERVICE_BUSY.code, CIRCUIT_OPEN.code].contains(&code) => {
                Self::Refused
            }
            Some(GONE) => Self::Gone,
            Some(_) => Self::Other,
            None if status == STATUS_CLIENT_GONE => Self::Gone,
            None => Self::Status(u8::try_from(status / 100).unwrap_or(5).clamp(1, 5)),
        }
    }

    fn index(self) -> usize {
        match self {
            Self::Status(class) => usize::from(class) - 1,
            Self::Unreachable => 5,
            Self::Broken => 6,
            Self::Timeout => 7,
            Self::Refused => 8,
            Self::Gone => 9,
            Self::Other => 10,
        }
    }

    /// Whether the time that it took says something about the service.
    fn is_timed(self) -> bool {
        !matches!(self, Self::Refused | Self::Gone | Self::Other)
    }
}

/// Whose requests are counted together.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Caller {
    Tenant(TenantId),
    /// Nobody in particular, on a public route.
    Anonymous,
    /// Those for whom there was no room in this second.
    Others,
}

/// What a lane is called, for as long as the gateway lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) service: ServiceId,
    pub(crate) version: String,
    pub(crate) route: String,
}

/// A place in [`Counts::lines`].
pub(crate) type LineIndex = u32;

/// Where one request is counted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Begun {
    second: u64,
    cell: usize,
}

/// The counts of one gateway.
#[derive(Debug)]
pub(crate) struct Counts {
    /// From the monotonic clock to Unix time. Read once: a step of the wall clock moves no request to another second.
    offset_ns: u64,
    lines: Mutex<Vec<Line>>,
    rings: Box<[Mutex<Ring>]>,
}

/// One worker's seconds.
#[derive(Debug)]
struct Ring {
    /// The first second that is not closed.
    open: u64,
    seconds: Box<[Second]>,
}

#[derive(Debug, Default)]
struct Second {
    at: u64,
    under_way: u64,
    cells: Vec<Cell>,
    places: HashMap<(LineIndex, Caller), usize>,
}

#[derive(Debug)]
struct Cell {
    line: LineIndex,
    caller: Caller,
    begun: u64,
    outcomes: [u64; OUTCOMES.len()],
    /// Bucket of [`bucket`], and how many: few differ within a second.
    durations: Vec<(u16, u64)>,
}

/// Closed seconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CountsReport {
    /// The first second that is still kept, in Unix time. What came before is gone.
    pub kept_from: u64,
    /// The last second that is closed.
    pub closed_through: u64,
    /// In order; seconds without requests are left out.
    pub seconds: Vec<CountedSecond>,
}

/// The requests that began in one second.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CountedSecond {
    /// In Unix time.
    pub at: u64,
    pub counts: Vec<Count>,
}

/// Requests of one caller by one route to one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Count {
    pub service: ServiceId,
    pub version: String,
    pub route: String,
    pub caller: Caller,
    /// All of them: the sum of `outcomes` and `unfinished`.
    pub begun: u64,
    /// Those that had not ended when the second was closed.
    pub unfinished: u64,
    /// As named by [`OUTCOMES`].
    pub outcomes: [u64; OUTCOMES.len()],
    /// How long they took, where that says something about the service: the time in microseconds that they were below,
    /// to an eighth, and how many.
    pub durations_us: Vec<(u64, u64)>,
}

impl Counts {
    pub(crate) fn new(workers: usize) -> Self {
        Self::at(workers, unix_ns().saturating_sub(monotonic_ns()))
    }

    fn at(workers: usize, offset_ns: u64) -> Self {
        let ring = || Ring {
            open: 0,
            seconds: (0..SECONDS).map(|_| Second::default()).collect(),
        };
        Self {
            offset_ns,
            lines: Mutex::default(),
            rings: (0..workers).map(|_| Mutex::new(ring())).collect(),
        }
    }

    /// The place of a line; the same for the same names. There are as many as a catalog ever had.
    pub(crate) fn line(&self, line: Line) -> LineIndex {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let at = lines.iter().position(|known| *known == line).unwrap_or_else(|| {
            lines.push(line);
            lines.len() - 1
        });
        LineIndex::try_from(at).unwrap_or(LineIndex::MAX)
    }

    /// Counts a request that began at `start_ns` of the monotonic clock.
    pub(crate) fn begin(&self, worker: usize, line: LineIndex, caller: Caller, start_ns: u64) -> Begun {
        let mut ring = self.ring(worker);
        // One whose second was closed before its head was read counts in the first that is not.
        let second = self.second(start_ns).max(ring.open);
        let cell = ring.slot(second).begin(line, caller);
        Begun { second, cell }
    }

    /// Counts the end of a request: what the client was told, and why.
    pub(crate) fn end(&self, worker: usize, begun: Begun, status: u16, error: Option<&str>, took_ns: u64) {
        let mut ring = self.ring(worker);
        if begun.second < ring.open {
            return;
        }
        let second = &mut ring.seconds[index(begun.second)];
        // Else nobody has read for so long that its second is gone.
        if second.at == begun.second {
            second.under_way -= 1;
            second.cells[begun.cell].end(Outcome::of(status, error), took_ns);
        }
    }

    /// What is closed at this moment, of `service` or of all, from the second after `since`.
    pub(crate) fn report(&self, service: Option<&ServiceId>, since: Option<u64>) -> CountsReport {
        self.report_at(service, since, monotonic_ns())
    }

    fn report_at(&self, service: Option<&ServiceId>, since: Option<u64>, now_ns: u64) -> CountsReport {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let now = self.second(now_ns);
        let mut rings = self.all_rings();
        let open = close(&mut rings, now);
        let kept_from = oldest(now);
        let first = since.map_or(kept_from, |since| kept_from.max(since.saturating_add(1)));
        let seconds = (first..open).filter_map(|at| {
            let mut sums: BTreeMap<(LineIndex, Caller), Sum> = BTreeMap::new();
            for second in rings
                .iter()
                .map(|ring| &ring.seconds[index(at)])
                .filter(|second| second.at == at)
            {
                for cell in &second.cells {
                    sums.entry((cell.line, cell.caller.clone()))
                        .or_default()
                        .add(cell);
                }
            }
            let counts: Vec<Count> = sums
                .into_iter()
                .filter_map(|((line, caller), sum)| Some(sum.count(lines.get(line as usize)?, caller)))
                .filter(|count| service.is_none_or(|service| count.service == *service))
                .collect();
            (!counts.is_empty()).then_some(CountedSecond { at, counts })
        });
        CountsReport {
            kept_from,
            closed_through: open.saturating_sub(1),
            seconds: seconds.collect(),
        }
    }

    /// How many requests each tenant sent to `service` in the seconds that are kept.
    pub(crate) fn traffic(&self, service: &ServiceId) -> HashMap<TenantId, u64> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let oldest = oldest(self.second(monotonic_ns()));
        let mut traffic = HashMap::new();
        for ring in &self.all_rings() {
            let kept = ring.seconds.iter().filter(|second| second.at >= oldest);
            for cell in kept.flat_map(|second| &second.cells) {
                let of_service = lines
                    .get(cell.line as usize)
                    .is_some_and(|line| line.service == *service);
                if let (Caller::Tenant(tenant), true) = (&cell.caller, of_service) {
                    *traffic.entry(tenant.clone()).or_insert(0) += cell.begun;
                }
            }
        }
        traffic
    }

    fn second(&self, monotonic_ns: u64) -> u64 {
        monotonic_ns.saturating_add(self.offset_ns) / NS_PER_S
    }

    fn ring(&self, worker: usize) -> MutexGuard<'_, Ring> {
        self.rings[worker].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn all_rings(&self) -> Vec<MutexGuard<'_, Ring>> {
        (0..self.rings.len()).map(|worker| self.ring(worker)).collect()
    }
}

/// The first second that is kept at `now`.
fn oldest(now: u64) -> u64 {
    (now + 1).saturating_sub(SECONDS as u64)
}

fn index(second: u64) -> usize {
    usize::try_from(second % SECONDS as u64).unwrap_or_default()
}

/// Closes what can be closed, in order, for all workers at once. Gives the first second that stays open.
fn close(rings: &mut [MutexGuard<'_, Ring>], now: u64) -> u64 {
    let known = rings.iter().map(|ring| ring.open).max().unwrap_or_default();
    let mut open = known.max(oldest(now));
    while open < now {
        let under_way = rings.iter().any(|ring| {
            let second = &ring.seconds[index(open)];
            second.at == open && second.under_way > 0
        });
        if under_way && now <= open + LATE_S {
            break;
        }
        open += 1;
    }
    for ring in rings {
        ring.open = open;
    }
    open
}

impl Ring {
    /// The second `at`, empty when it is new.
    fn slot(&mut self, at: u64) -> &mut Second {
        let second = &mut self.seconds[index(at)];
        if second.at != at {
            *second = Second {
                at,
                ..Second::default()
            };
        }
        second
    }
}

impl Second {
    fn begin(&mut self, line: LineIndex, caller: Caller) -> usize {
        let full = self.cells.len() >= CELLS_MAX;
        let mut key = (line, caller);
        if full && !self.places.contains_key(&key) {
            key.1 = Caller::Others;
        }
        let cell = match self.places.get(&key) {
            Some(at) => *at,
            None => {
                self.cells.push(Cell::new(line, key.1.clone()));
                self.places.insert(key, self.cells.len() - 1);
                self.cells.len() - 1
            }
        };
        self.under_way += 1;
        self.cells[cell].begun += 1;
        cell
    }
}

impl Cell {
    fn new(line: LineIndex, caller: Caller) -> Self {
        Self {
            line,
            caller,
            begun: 0,
            outcomes: [0; OUTCOMES.len()],
            durations: Vec::new(),
        }
    }

    fn end(&mut self, outcome: Outcome, took_ns: u64) {
        self.outcomes[outcome.index()] += 1;
        if !outcome.is_timed() {
            return;
        }
        let bucket = bucket(took_ns / 1_000);
        match self.durations.iter_mut().find(|(known, _)| *known == bucket) {
            Some((_, count)) => *count += 1,
            None => self.durations.push((bucket, 1)),
        }
    }
}

/// One count, of all workers.
#[derive(Default)]
struct Sum {
    begun: u64,
    outcomes: [u64; OUTCOMES.len()],
    durations: BTreeMap<u16, u64>,
}

impl Sum {
    fn add(&mut self, cell: &Cell) {
        self.begun += cell.begun;
        for (sum, count) in self.outcomes.iter_mut().zip(cell.outcomes) {
            *sum += count;
        }
        for (bucket, count) in &cell.durations {
            *self.durations.entry(*bucket).or_insert(0) += count;
        }
    }

    fn count(self, line: &Line, caller: Caller) -> Count {
        Count {
            service: line.service.clone(),
            version: line.version.clone(),
            route: line.route.clone(),
            caller,
            begun: self.begun,
            unfinished: self.begun - self.outcomes.iter().sum::<u64>(),
            outcomes: self.outcomes,
            durations_us: self
                .durations
                .into_iter()
                .map(|(bucket, count)| (below(bucket), count))
                .collect(),
        }
    }
}

/// Buckets below this number of microseconds are one wide; above it, eight to each doubling.
const LINEAR: u64 = 16;
const PARTS_LOG2: u32 = 3;

/// The bucket of a time in microseconds.
fn bucket(us: u64) -> u16 {
    let Some(log2) = us.checked_ilog2().filter(|_| us >= LINEAR) else {
        return u16::try_from(us).unwrap_or_default();
    };
    let part = (us >> (log2 - PARTS_LOG2)) & ((1 << PARTS_LOG2) - 1);
    let doublings = u64::from(log2) - u64::from(LINEAR.ilog2());
    u16::try_from(LINEAR + (doublings << PARTS_LOG2) + part).unwrap_or(u16::MAX)
}

/// The time in microseconds that every time of `bucket` is below.
fn below(bucket: u16) -> u64 {
    let Some(above) = u64::from(bucket).checked_sub(LINEAR) else {
        return u64::from(bucket) + 1;
    };
    let doublings = above >> PARTS_LOG2;
    let part = above & ((1 << PARTS_LOG2) - 1);
    let width_log2 = doublings + u64::from(LINEAR.ilog2() - PARTS_LOG2);
    ((1 << PARTS_LOG2) + part + 1) << width_log2.min(60)
}

#[cfg(test)]
mod tests;
