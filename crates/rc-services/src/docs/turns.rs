//! Turns: how many reads of one tenant the store works on at a time.
//!
//! The store's readers serve one queue. Without turns a tenant with many slow searches fills it, and
//! everybody else's reads stand behind them. With turns at least one reader is always another tenant's.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rc_model::TenantId;
use rc_model::clock::monotonic_ns;
use rc_store::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Reads of one tenant that may wait for a turn. A usual read takes less than a millisecond.
pub const TURN_WAITERS_MAX: usize = 128;

/// How long one waits for a turn.
pub const TURN_WAIT_MAX: Duration = Duration::from_secs(2);

/// The shortest and the longest wait that a refusal names.
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(30);

/// The weight of the last turn in the mean: 1 / 8.
const MEAN_SHIFT: u32 = 3;

/// A tenant has too many reads under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the tenant has too many reads under way")]
pub(super) struct Crowded {
    /// When the reads before this one will be done, by the mean time of the last ones.
    pub(super) retry_after: Duration,
}

/// Who may read. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Turns(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    at_once: usize,
    /// Tenants with reads under way; a line goes with its last member.
    lines: Mutex<HashMap<TenantId, Line>>,
}

#[derive(Debug)]
struct Line {
    slots: Arc<Semaphore>,
    /// Reads that wait or run.
    members: usize,
    /// Of the last turns, in nanoseconds; 0 before the first one ended.
    mean_ns: u64,
}

/// Leave to read, until it is dropped: by whoever does the work, when the work is done.
#[derive(Debug)]
pub(super) struct Turn {
    // Before the place: a line may only go when none of its slots is taken.
    _slot: OwnedSemaphorePermit,
    _place: Place,
}

/// A member of a line.
#[derive(Debug)]
struct Place {
    shared: Arc<Shared>,
    tenant: TenantId,
    /// When the turn began, on the monotonic clock; `None` while it waits.
    began_ns: Option<u64>,
}

impl Turns {
    /// Turns for a store that works on `readers` reads at a time.
    pub(super) fn of_readers(readers: usize) -> Self {
        Self(Arc::new(Shared {
            at_once: readers.saturating_sub(1).max(1),
            lines: Mutex::default(),
        }))
    }

    /// Waits for a turn of `tenant`, at most [`TURN_WAIT_MAX`].
    ///
    /// # Errors
    /// [`Crowded`], inside the store's error.
    pub(super) async fn take(&self, tenant: &TenantId) -> Result<Turn, Error> {
        let (slots, mut place) = self.join(tenant).map_err(Error::abort)?;
        let Ok(slot) = tokio::time::timeout(TURN_WAIT_MAX, slots.acquire_owned()).await else {
            return Err(Error::abort(self.crowded(tenant)));
        };
        place.began_ns = Some(monotonic_ns());
        Ok(Turn {
            _slot: slot.expect("nobody closes the semaphore"),
            _place: place,
        })
    }

    fn join(&self, tenant: &TenantId) -> Result<(Arc<Semaphore>, Place), Crowded> {
        let at_once = self.0.at_once;
        let mut lines = self.0.lines();
        let line = lines.entry(tenant.clone()).or_insert_with(|| Line {
            slots: Arc::new(Semaphore::new(at_once)),
            members: 0,
            mean_ns: 0,
        });
        if line.members >= at_once + TURN_WAITERS_MAX {
            return Err(line.crowded(at_once));
        }
        line.members += 1;
        let place = Place {
            shared: Arc::clone(&self.0),
            tenant: tenant.clone(),
            began_ns: None,
        };
        Ok((Arc::clone(&line.slots), place))
    }

    fn crowded(&self, tenant: &TenantId) -> Crowded {
        let lines = self.0.lines();
        let found = lines.get(tenant).map(|line| line.crowded(self.0.at_once));
        found.unwrap_or(Crowded {
            retry_after: RETRY_MIN,
        })
    }

    #[cfg(test)]
    fn lines(&self) -> usize {
        self.0.lines().len()
    }
}

impl Shared {
    fn lines(&self) -> MutexGuard<'_, HashMap<TenantId, Line>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    fn crowded(&self, at_once: usize) -> Crowded {
        // Before a turn has ended nothing is known but that it is slow.
        let mean = match self.mean_ns {
            0 => TURN_WAIT_MAX,
            known => Duration::from_nanos(known),
        };
        let rounds = u32::try_from(self.members.div_ceil(at_once)).unwrap_or(u32::MAX);
        Crowded {
            retry_after: mean.saturating_mul(rounds).clamp(RETRY_MIN, RETRY_MAX),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let took_ns = self
            .began_ns
            .map(|began| monotonic_ns().saturating_sub(began).max(1));
        let mut lines = self.shared.lines();
        let Some(line) = lines.get_mut(&self.tenant) else {
            return;
        };
        if let Some(took) = took_ns {
            line.mean_ns = match line.mean_ns {
                0 => took,
                mean => mean - (mean >> MEAN_SHIFT) + (took >> MEAN_SHIFT),
            };
        }
        line.members -= 1;
        if line.members == 0 {
            lines.remove(&self.tenant);
        }
    }
}

#[cfg(test)]
mod tests;
