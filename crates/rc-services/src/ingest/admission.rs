//! Who may put more work into the queue: bounded by bytes and by the estimated wait.
//!
//! The bound in bytes is on bodies from their first byte to the durable answer, because they hold memory; it
//! counts bytes that arrived, never bytes that were announced. The wait is estimated from bodies that are
//! complete, so that a slow sender costs memory and nothing else. Bodies are inflated and read in turns, as
//! many at once as there are cores and never all of them one tenant's. A refusal says whose excess it is:
//! the tenant's own (429) or ours (503), and when to come back.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rc_model::{Clock, Problem, TenantId};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::{fault, limits};

/// Bounds of the queue.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) bytes_max: usize,
    pub(crate) tenant_bytes_max: usize,
    pub(crate) wait_max: Duration,
    /// Bodies of one tenant that may arrive slowly at once.
    pub(crate) tenant_slow_max: usize,
    /// Bodies that are inflated and read at once; at least 2.
    pub(crate) turns: usize,
    /// Longest wait for a turn.
    pub(crate) turn_wait_max: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            bytes_max: limits::QUEUE_BYTES_MAX,
            tenant_bytes_max: limits::TENANT_QUEUE_BYTES_MAX,
            wait_max: limits::QUEUE_WAIT_MAX,
            tenant_slow_max: limits::TENANT_SLOW_BODIES_MAX,
            turns: std::thread::available_parallelism().map_or(TURNS_MIN, |cores| cores.get().max(TURNS_MIN)),
            turn_wait_max: limits::TURN_WAIT_MAX,
        }
    }
}

/// One turn is always left for another tenant.
const TURNS_MIN: usize = 2;

/// The shortest wait that a refusal names, and the one when nothing is known about the speed yet.
const RETRY_MIN: Duration = Duration::from_secs(1);

/// The longest wait that a refusal names.
const RETRY_MAX: Duration = Duration::from_secs(60);

/// What a request weighs at least in the estimate: a tiny one costs its share of a commit all the same.
const REQUEST_BYTES_MIN: usize = 4 << 10;

/// A queue up to this weight waits for one commit, which it shares: no estimate can make it longer, however
/// slow the last commit was. Both stores put at least this much into one.
const GROUP_BYTES: usize = 1 << 20;

/// Busy time after which old measurements count half.
const HALF_LIFE: Duration = Duration::from_secs(2);

/// Busy time that must be measured before the speed is believed.
const MEASURED_MIN: Duration = Duration::from_millis(50);

/// Why work is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The tenant holds more than its share.
    Tenant { retry_after: Duration },
    /// Everybody together is too much.
    Full { retry_after: Duration },
}

impl Refusal {
    pub(crate) fn problem(self) -> Problem {
        let (kind, retry_after, detail) = match self {
            Self::Tenant { retry_after } => (
                fault::TENANT_SHARE,
                retry_after,
                "this tenant's requests in work are more than its share of the queue",
            ),
            Self::Full { retry_after } => (
                fault::QUEUE_FULL,
                retry_after,
                "more documents arrive than can be stored",
            ),
        };
        Problem::new(kind.status, kind.code, kind.title)
            .detail(detail)
            .retry_after(retry_after)
    }
}

/// The queue's account. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Admission {
    bounds: Bounds,
    clock: Arc<dyn Clock>,
    /// Held for arithmetic only.
    state: Arc<Mutex<State>>,
    turns: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct State {
    /// All that is held, and each tenant's part of it.
    bytes: usize,
    tenants: HashMap<TenantId, Share>,
    /// What the complete bodies weigh.
    queued: usize,
    /// When the measurement last moved; meaningful while `queued` is not zero.
    measured_ns: u64,
    /// Decayed sums: bytes that were finished, and the busy time in which they were.
    done_bytes: f64,
    done_ns: f64,
}

/// What one tenant has in work. There is one while it has permits.
#[derive(Debug)]
struct Share {
    permits: usize,
    bytes: usize,
    slow: usize,
    /// All turns but one.
    turns: Arc<Semaphore>,
}

impl Share {
    fn new(bounds: &Bounds) -> Self {
        Self {
            permits: 0,
            bytes: 0,
            slow: 0,
            turns: Arc::new(Semaphore::new(bounds.turns.saturating_sub(1).max(1))),
        }
    }
}

/// A turn to inflate and read a body; over when dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    _of_tenant: OwnedSemaphorePermit,
    _of_all: OwnedSemaphorePermit,
}

impl Admission {
    pub(crate) fn new(bounds: Bounds, clock: Arc<dyn Clock>) -> Self {
        Self {
            bounds,
            clock,
            state: Arc::default(),
            turns: Arc::new(Semaphore::new(bounds.turns)),
        }
    }

    /// Takes `bytes` of the queue for `tenant`, whose body will have `announced` bytes. Those are not
    /// taken: whoever announces a large body and does not send it must not keep others out.
    ///
    /// # Errors
    /// When either does not fit now, or when what is queued already takes too long.
    pub(crate) fn admit(&self, tenant: &TenantId, bytes: usize, announced: usize) -> Result<Permit, Refusal> {
        let mut state = self.lock();
        let wait = state.wait_for(state.queued);
        if state.queued > GROUP_BYTES && wait > self.bounds.wait_max {
            return Err(state.refusal(
                &self.bounds,
                tenant,
                wait.saturating_sub(self.bounds.wait_max / 2),
            ));
        }
        state.fits(&self.bounds, tenant, bytes.max(announced))?;
        let share = state
            .tenants
            .entry(tenant.clone())
            .or_insert_with(|| Share::new(&self.bounds));
        share.permits += 1;
        share.bytes += bytes;
        state.bytes += bytes;
        Ok(Permit {
            admission: self.clone(),
            tenant: tenant.clone(),
            bytes,
            queued: 0,
            slow: false,
        })
    }

    /// Bytes in work.
    pub(crate) fn bytes(&self) -> usize {
        self.lock().bytes
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A part of the queue; given back when dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    admission: Admission,
    tenant: TenantId,
    bytes: usize,
    /// What it was counted as when it was complete.
    queued: usize,
    /// Whether it is counted as a slow body.
    slow: bool,
}

impl Permit {
    /// The body is a slow one from here on, until it is complete.
    ///
    /// # Errors
    /// When the tenant sends too many of them.
    pub(crate) fn slow(&mut self) -> Result<(), Refusal> {
        let mut state = self.admission.lock();
        let retry_after = RETRY_MIN;
        let share = state.share(&self.tenant);
        if !self.slow && share.slow >= self.admission.bounds.tenant_slow_max {
            return Err(Refusal::Tenant { retry_after });
        }
        share.slow += usize::from(!self.slow);
        self.slow = true;
        Ok(())
    }

    /// Waits for a turn: at the tenant's own queue first, so that others pass it.
    ///
    /// # Errors
    /// When that takes too long.
    pub(crate) async fn turn(&self) -> Result<Turn, Refusal> {
        const OPEN: &str = "the semaphore is never closed";
        let of_tenant = Arc::clone(&self.admission.lock().share(&self.tenant).turns);
        let limit = self.admission.bounds.turn_wait_max;
        let retry_after = RETRY_MIN;
        let Ok(of_tenant) = timeout(limit, of_tenant.acquire_owned()).await else {
            return Err(Refusal::Tenant { retry_after });
        };
        let of_all = Arc::clone(&self.admission.turns);
        let Ok(of_all) = timeout(limit, of_all.acquire_owned()).await else {
            return Err(Refusal::Full { retry_after });
        };
        Ok(Turn {
            _of_tenant: of_tenant.expect(OPEN),
            _of_all: of_all.expect(OPEN),
        })
    }

    /// Makes the part `bytes` large.
    ///
    /// # Errors
    /// When the growth does not fit; the part stays as it was.
    pub(crate) fn resize(&mut self, bytes: usize) -> Result<(), Refusal> {
        let mut state = self.admission.lock();
        if bytes > self.bytes {
            let more = bytes - self.bytes;
            state.fits(&self.admission.bounds, &self.tenant, more)?;
        }
        state.bytes = state.bytes - self.bytes + bytes;
        let share = state.share(&self.tenant);
        share.bytes = share.bytes - self.bytes + bytes;
        self.bytes = bytes;
        Ok(())
    }

    /// The body is complete: from here on others wait behind it. Called again when it has grown.
    pub(crate) fn queue(&mut self) {
        let now = self.admission.clock.monotonic_ns();
        let mut state = self.admission.lock();
        state.share(&self.tenant).slow -= usize::from(self.slow);
        self.slow = false;
        if state.queued == 0 {
            state.measured_ns = now;
        }
        let weight = self.bytes.max(REQUEST_BYTES_MIN);
        state.queued = state.queued - self.queued + weight;
        self.queued = weight;
    }

    /// The work was done: its bytes count for the speed.
    pub(crate) fn done(self) {
        let now = self.admission.clock.monotonic_ns();
        self.admission.lock().measure(now, self.queued);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.admission.lock();
        state.queued -= self.queued;
        state.bytes -= self.bytes;
        let share = state.share(&self.tenant);
        share.bytes -= self.bytes;
        share.slow -= usize::from(self.slow);
        share.permits -= 1;
        if share.permits == 0 {
            state.tenants.remove(&self.tenant);
        }
    }
}

impl State {
    /// The share of a tenant that has a permit.
    fn share(&mut self, tenant: &TenantId) -> &mut Share {
        self.tenants
            .get_mut(tenant)
            .expect("a share lives as long as its permits")
    }

    /// Whether `bytes` more fit.
    fn fits(&self, bounds: &Bounds, tenant: &TenantId, bytes: usize) -> Result<(), Refusal> {
        let held = self.tenants.get(tenant).map_or(0, |share| share.bytes);
        if held + bytes > bounds.tenant_bytes_max {
            let retry_after = self.retry_in(held + bytes - bounds.tenant_bytes_max);
            return Err(Refusal::Tenant { retry_after });
        }
        if self.bytes + bytes > bounds.bytes_max {
            let retry_after = self.retry_in(self.bytes + bytes - bounds.bytes_max);
            return Err(self.refusal(bounds, tenant, retry_after));
        }
        Ok(())
    }

    /// Whose excess a full queue is: the tenant's when it holds more than an equal part of the bytes and
    /// somebody else is there.
    fn refusal(&self, bounds: &Bounds, tenant: &TenantId, retry_after: Duration) -> Refusal {
        let retry_after = retry_after.clamp(RETRY_MIN, RETRY_MAX);
        let held = self.tenants.get(tenant).map_or(0, |share| share.bytes);
        let others = self.tenants.len() - usize::from(self.tenants.contains_key(tenant));
        if others > 0 && held > bounds.bytes_max / (others + 1) {
            Refusal::Tenant { retry_after }
        } else {
            Refusal::Full { retry_after }
        }
    }

    fn measure(&mut self, now: u64, bytes: usize) {
        let busy = Duration::from_nanos(now.saturating_sub(self.measured_ns));
        let keep = 0.5_f64.powf(busy.as_secs_f64() / HALF_LIFE.as_secs_f64());
        self.done_bytes = self.done_bytes * keep + bytes as f64;
        self.done_ns = self.done_ns * keep + busy.as_nanos() as f64;
        self.measured_ns = now;
    }

    /// How long `bytes` take at the recent speed; zero while the speed is unknown.
    fn wait_for(&self, bytes: usize) -> Duration {
        if self.done_ns < MEASURED_MIN.as_nanos() as f64 || self.done_bytes < 1.0 {
            return Duration::ZERO;
        }
        let ns = bytes as f64 * self.done_ns / self.done_bytes;
        Duration::from_secs_f64((ns / 1e9).min(RETRY_MAX.as_secs_f64()))
    }

    fn retry_in(&self, bytes: usize) -> Duration {
        self.wait_for(bytes).max(RETRY_MIN)
    }
}

#[cfg(test)]
mod tests;
