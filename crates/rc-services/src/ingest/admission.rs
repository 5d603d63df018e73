//! Who may put more work into the queue: bounded by bytes and by the estimated wait.
//!
//! The bound in bytes is on bodies from their first byte to the durable answer, because they hold memory. The
//! wait is estimated from bodies that are complete, so that a slow sender costs memory and nothing else. A
//! refusal says whose excess it is: the tenant's own (429) or ours (503), and when to come back.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rc_model::{Clock, Problem, TenantId};

use super::{fault, limits};

/// Bounds of the queue.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) bytes_max: usize,
    pub(crate) tenant_bytes_max: usize,
    pub(crate) wait_max: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            bytes_max: limits::QUEUE_BYTES_MAX,
            tenant_bytes_max: limits::TENANT_QUEUE_BYTES_MAX,
            wait_max: limits::QUEUE_WAIT_MAX,
        }
    }
}

/// The wait that a refusal names when nothing is known about the speed yet.
const RETRY_UNKNOWN: Duration = Duration::from_secs(1);

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
}

#[derive(Debug, Default)]
struct State {
    /// All that is held, and each tenant's part of it.
    bytes: usize,
    tenants: HashMap<TenantId, usize>,
    /// What the complete bodies weigh.
    queued: usize,
    /// When the measurement last moved; meaningful while `queued` is not zero.
    measured_ns: u64,
    /// Decayed sums: bytes that were finished, and the busy time in which they were.
    done_bytes: f64,
    done_ns: f64,
}

impl Admission {
    pub(crate) fn new(bounds: Bounds, clock: Arc<dyn Clock>) -> Self {
        Self {
            bounds,
            clock,
            state: Arc::default(),
        }
    }

    /// Takes `bytes` of the queue for `tenant`.
    ///
    /// # Errors
    /// When they do not fit, or when what is queued already takes too long.
    pub(crate) fn admit(&self, tenant: &TenantId, bytes: usize) -> Result<Permit, Refusal> {
        let mut state = self.lock();
        let wait = state.wait_for(state.queued);
        if state.queued > GROUP_BYTES && wait > self.bounds.wait_max {
            return Err(state.refusal(
                &self.bounds,
                tenant,
                wait.saturating_sub(self.bounds.wait_max / 2),
            ));
        }
        state.take(&self.bounds, tenant, bytes)?;
        Ok(Permit {
            admission: self.clone(),
            tenant: tenant.clone(),
            bytes,
            queued: 0,
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
}

impl Permit {
    /// Makes the part `bytes` large.
    ///
    /// # Errors
    /// When the growth does not fit; the part stays as it was.
    pub(crate) fn resize(&mut self, bytes: usize) -> Result<(), Refusal> {
        let mut state = self.admission.lock();
        if bytes > self.bytes {
            let more = bytes - self.bytes;
            state.take(&self.admission.bounds, &self.tenant, more)?;
        } else {
            state.give_back(&self.tenant, self.bytes - bytes);
        }
        self.bytes = bytes;
        Ok(())
    }

    /// The body is complete: from here on others wait behind it.
    pub(crate) fn queue(&mut self) {
        let now = self.admission.clock.monotonic_ns();
        let mut state = self.admission.lock();
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
        state.give_back(&self.tenant, self.bytes);
    }
}

impl State {
    fn take(&mut self, bounds: &Bounds, tenant: &TenantId, bytes: usize) -> Result<(), Refusal> {
        let held = self.tenants.get(tenant).copied().unwrap_or(0);
        if held + bytes > bounds.tenant_bytes_max {
            let retry_after = self.retry_in(held + bytes - bounds.tenant_bytes_max);
            return Err(Refusal::Tenant { retry_after });
        }
        if self.bytes + bytes > bounds.bytes_max {
            let retry_after = self.retry_in(self.bytes + bytes - bounds.bytes_max);
            return Err(self.refusal(bounds, tenant, retry_after));
        }
        self.bytes += bytes;
        *self.tenants.entry(tenant.clone()).or_insert(0) += bytes;
        Ok(())
    }

    fn give_back(&mut self, tenant: &TenantId, bytes: usize) {
        self.bytes -= bytes;
        if let Some(held) = self.tenants.get_mut(tenant) {
            *held -= bytes;
            if *held == 0 {
                self.tenants.remove(tenant);
            }
        }
    }

    /// Whose excess a full queue is: the tenant's when it holds more than an equal part of the bytes and
    /// somebody else is there.
    fn refusal(&self, bounds: &Bounds, tenant: &TenantId, retry_after: Duration) -> Refusal {
        let retry_after = retry_after.min(RETRY_MAX);
        let held = self.tenants.get(tenant).copied().unwrap_or(0);
        let others = self.tenants.len() - usize::from(held > 0);
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
        let wait = self.wait_for(bytes);
        if wait.is_zero() { RETRY_UNKNOWN } else { wait }
    }
}

#[cfg(test)]
mod tests;
