//! Second tries: of which requests, how many, and when.
//!
//! A try that fails costs the service as much as one that works, so second tries are a part of the first ones: each
//! request earns its tenant a fraction of a try on that route, and what is not used is forgotten in about ten seconds.
//! Every worker keeps the books of its own requests; the bound holds for their sum because it holds for each.

use std::cell::RefCell;
use std::time::Duration;

use rc_model::resilience::{Hedge, Retry};

use crate::request::{Facts, Framing, Head};

/// Says which try of a request this is. Whoever sends it tries again by itself, so nobody behind does.
pub(crate) const ATTEMPT_HEADER: &str = "x-rc-attempt";
/// Largest request body that is kept for another try.
pub(crate) const KEPT_BYTES_MAX: usize = 64 << 10;

/// The cost of one try; a request earns `budget` percent of it.
const TRY: i32 = 1_000;
/// What a budget can owe for tries that were due to nobody.
const DEBT_MAX: i32 = 10 * TRY;
/// The part of what is left that is forgotten in a second.
const FORGOTTEN_PART: i32 = 10;
/// After so many seconds nothing is left.
const FORGOTTEN_SECONDS: u32 = 128;

/// The first wait is at most so long, each further one at most twice as long.
const BACKOFF: Duration = Duration::from_millis(25);
const BACKOFF_MAX: Duration = Duration::from_millis(250);

/// [`Retry`] in the units of the books.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rule {
    /// What one request earns.
    earns: i32,
    /// What a second earns at least, in all workers together.
    floor: i32,
    /// Most further tries of one request.
    pub(crate) max: u32,
}

impl From<Retry> for Rule {
    fn from(retry: Retry) -> Self {
        let earns = TRY * i32::from(retry.budget.percent()) / 100;
        let floor =
            retry.min.count().saturating_mul(TRY.unsigned_abs().into()) / retry.min.period().as_secs().max(1);
        Self {
            earns,
            floor: i32::try_from(floor).unwrap_or(i32::MAX / 2).min(i32::MAX / 2),
            max: if earns == 0 { 0 } else { retry.max },
        }
    }
}

impl From<Hedge> for Rule {
    fn from(hedge: Hedge) -> Self {
        Self {
            earns: TRY * i32::from(hedge.budget.percent()) / 100,
            floor: 0,
            max: 1,
        }
    }
}

impl Rule {
    /// Whether any request is tried again.
    pub(crate) fn is_on(&self) -> bool {
        self.max > 0
    }
}

/// One worker's books of one route.
#[derive(Debug)]
pub(crate) struct Books {
    pub(crate) retries: Budgets,
    pub(crate) hedges: Budgets,
}

impl Books {
    pub(crate) fn new(workers: usize) -> Self {
        Self {
            retries: Budgets::new(workers),
            hedges: Budgets::new(workers),
        }
    }
}

/// What each tenant has, by slot.
#[derive(Debug)]
pub(crate) struct Budgets {
    workers: i32,
    tenants: RefCell<Vec<Budget>>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Budget {
    balance: i32,
    /// In the present second.
    earned: i32,
    /// The present second; 0 for a tenant that was never seen.
    second: u32,
}

impl Budgets {
    pub(crate) fn new(workers: usize) -> Self {
        Self {
            workers: i32::try_from(workers).unwrap_or(i32::MAX).max(1),
            tenants: RefCell::default(),
        }
    }

    /// Counts a request.
    pub(crate) fn earn(&self, slot: u32, rule: &Rule, now_ns: u64) {
        self.with(slot, rule, now_ns, |budget| {
            budget.balance = budget.balance.saturating_add(rule.earns);
            budget.earned = budget.earned.saturating_add(rule.earns);
        });
    }

    /// Takes a try, if there is one left.
    pub(crate) fn spend(&self, slot: u32, rule: &Rule, now_ns: u64) -> bool {
        self.with(slot, rule, now_ns, |budget| {
            let enough = budget.balance >= TRY;
            if enough {
                budget.balance -= TRY;
            }
            enough
        })
    }

    /// Counts a try that had to be made, whether one was left or not.
    pub(crate) fn owe(&self, slot: u32, rule: &Rule, now_ns: u64) {
        self.with(slot, rule, now_ns, |budget| {
            budget.balance = (budget.balance - TRY).max(-DEBT_MAX);
        });
    }

    fn with<T>(&self, slot: u32, rule: &Rule, now_ns: u64, work: impl FnOnce(&mut Budget) -> T) -> T {
        let mut tenants = self.tenants.borrow_mut();
        let slot = slot as usize;
        if slot >= tenants.len() {
            tenants.resize(slot + 1, Budget::default());
        }
        let budget = &mut tenants[slot];
        // Seconds of 2^30 ns, the first of which is 1.
        let second = u32::try_from(now_ns >> 30).unwrap_or(u32::MAX).saturating_add(1);
        if second != budget.second {
            budget.turn(second, rule.floor / self.workers);
        }
        work(budget)
    }
}

impl Budget {
    /// Begins a second. A tenant that earned less than `floor` gets the difference, up to one second's worth or one try.
    fn turn(&mut self, second: u32, floor: i32) {
        let most = floor.max(TRY);
        if self.second == 0 {
            self.balance = most;
        } else {
            let gone = second.saturating_sub(self.second);
            for _ in 0..gone.min(FORGOTTEN_SECONDS) {
                if self.balance <= 0 {
                    break;
                }
                // Rounded up, so that nothing stays for ever.
                self.balance -= (self.balance + FORGOTTEN_PART - 1) / FORGOTTEN_PART;
            }
            let idle = i32::try_from(gone.saturating_sub(1)).unwrap_or(i32::MAX);
            let lift = (floor - self.earned)
                .max(0)
                .saturating_add(floor.saturating_mul(idle));
            if self.balance < most {
                self.balance = self.balance.saturating_add(lift).min(most);
            }
        }
        self.second = second;
        self.earned = 0;
    }
}

/// Whether the request may be done twice: by its method (RFC 9110, section 9.2.2) or by its key, as far as its size
/// tells, and unless somebody before us does so already.
pub(crate) fn is_repeatable(head: &Head<'_>, facts: &Facts<'_>) -> bool {
    let has = |name: &str| {
        let same = |field: &httparse::Header<'_>| {
            field.name.len() == name.len() && field.name.eq_ignore_ascii_case(name)
        };
        head.fields.iter().any(same)
    };
    let fits = match facts.framing {
        Framing::None | Framing::Unknown => true,
        Framing::Length(length) => length <= KEPT_BYTES_MAX as u64,
    };
    fits && (is_idempotent(head.method) || has("idempotency-key")) && !has(ATTEMPT_HEADER)
}

/// Whether doing it twice is the same as once.
pub(crate) fn is_idempotent(method: &str) -> bool {
    matches!(method, "GET" | "HEAD" | "OPTIONS" | "PUT" | "DELETE")
}

/// How long to wait before the `further`-th further try: any time up to a bound that doubles ("full jitter").
pub(crate) fn backoff(further: u32, random: u64) -> Duration {
    let bound = BACKOFF
        .saturating_mul(1 << further.saturating_sub(1).min(10))
        .min(BACKOFF_MAX);
    let bound_us = u64::try_from(bound.as_micros()).unwrap_or(u64::MAX);
    Duration::from_micros(random % (bound_us + 1))
}

/// The body of a request, as far as it was read, for another try.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    pub(crate) bytes: Vec<u8>,
    /// It is kept. A body that is too large is not.
    on: bool,
    /// The whole of it was read.
    pub(crate) ended: bool,
}

impl Kept {
    /// What the body of a request without one is, or of one that is tried once (`on` is false).
    pub(crate) fn new(framing: Framing, on: bool) -> Self {
        Self {
            bytes: Vec::new(),
            on,
            ended: framing == Framing::None,
        }
    }

    pub(crate) fn push(&mut self, chunk: &[u8]) {
        if !self.on {
            return;
        }
        if self.bytes.len() + chunk.len() > KEPT_BYTES_MAX {
            *self = Self::default();
            return;
        }
        self.bytes.extend_from_slice(chunk);
    }

    /// Whether all that was read can be sent again.
    pub(crate) fn is_on(&self) -> bool {
        self.on
    }
}

/// Whether the service's answer says when to come back. Then the client shall hear it, not wait here unknowing.
pub(crate) fn says_when(fields: &[u8]) -> bool {
    const NAME: &[u8] = b"retry-after:";
    let mut lines = fields.split(|byte| *byte == b'\n');
    let line = lines.find(|line| {
        line.get(..NAME.len())
            .is_some_and(|name| name.eq_ignore_ascii_case(NAME))
    });
    line.is_some_and(|line| line[NAME.len()..].trim_ascii() != b"0")
}

#[cfg(test)]
mod tests;
