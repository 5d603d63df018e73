//! Refusals come later and later to who is refused again and again.
//!
//! A client that ignores refusals and asks again at once costs as much as one that is served. Its connection is parked
//! with the refusal in hand and not read meanwhile, so that a flood on 256 connections costs a few percent of a core
//! instead of all of it.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::access::Ticket;
use crate::answer::{CIRCUIT_OPEN, RATE_LIMITED, Refusal, SERVICE_BUSY, TENANT_BUSY};
use crate::worker::Worker;

/// How long the second refusal in a row is held; each further one twice as long.
const DELAY_MIN: Duration = Duration::from_millis(25);
const DELAY_MAX: Duration = Duration::from_millis(250);
/// Connections of one tenant, and of one worker, that are parked at one time. One more is closed.
const PARKED_PER_TENANT_MAX: u32 = 1_024;
const PARKED_PER_WORKER_MAX: u32 = 4_096;

/// How often one connection was refused in a row.
#[derive(Debug)]
pub(crate) struct Pace {
    refused: u32,
    /// Never for the operator's own door.
    enabled: bool,
}

/// What to do before a refusal is given.
pub(crate) enum Hold {
    /// Nothing.
    No,
    Park(Parked),
    /// Too many are parked: the connection ends with this refusal.
    Close,
}

/// A parked connection.
pub(crate) struct Parked {
    until: Instant,
    stop: CancellationToken,
    _place: Place,
}

/// Counts a parked connection as long as it lives.
struct Place {
    tenant: Arc<AtomicU32>,
    worker: Rc<Cell<u32>>,
}

impl Place {
    fn take(tenant: &Arc<AtomicU32>, worker: &Rc<Cell<u32>>) -> Option<Self> {
        let here = worker.get();
        if here >= PARKED_PER_WORKER_MAX || tenant.load(Ordering::Relaxed) >= PARKED_PER_TENANT_MAX {
            return None;
        }
        tenant.fetch_add(1, Ordering::Relaxed);
        worker.set(here + 1);
        Some(Self {
            tenant: Arc::clone(tenant),
            worker: Rc::clone(worker),
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.tenant.fetch_sub(1, Ordering::Relaxed);
        self.worker.set(self.worker.get() - 1);
    }
}

impl Pace {
    pub(crate) fn new(enabled: bool) -> Self {
        Self { refused: 0, enabled }
    }

    /// A request was carried.
    pub(crate) fn served(&mut self) {
        self.refused = 0;
    }

    /// What to do before `refusal` is given. The first in a row is given at once.
    pub(crate) fn hold(&mut self, worker: &Rc<Worker>, ticket: &Ticket, refusal: &Refusal) -> Hold {
        let paced = [&RATE_LIMITED, &TENANT_BUSY, &SERVICE_BUSY, &CIRCUIT_OPEN].contains(&refusal.kind);
        if !self.enabled || !paced {
            return Hold::No;
        }
        self.refused = self.refused.saturating_add(1);
        let Some(delay) = delay(self.refused) else {
            return Hold::No;
        };
        let active = &ticket.view().active;
        let tenant = match ticket.tenant {
            Some(tenant) => active.limits[tenant].parked(),
            None => &active.anonymous.parked,
        };
        match Place::take(tenant, &worker.parked) {
            Some(place) => Hold::Park(Parked {
                until: Instant::now() + delay,
                stop: worker.stop.clone(),
                _place: place,
            }),
            None => Hold::Close,
        }
    }
}

/// How long the refusal is held that makes `refused` in a row.
fn delay(refused: u32) -> Option<Duration> {
    let doublings = refused.checked_sub(2)?;
    Some(DELAY_MIN.saturating_mul(1 << doublings.min(8)).min(DELAY_MAX))
}

impl Parked {
    /// Waits until the refusal may be given, or the gateway stops.
    pub(crate) async fn wait(self) {
        tokio::select! {
            () = tokio::time::sleep_until(self.until) => {}
            () = self.stop.cancelled() => {}
        }
    }
}

#[cfg(test)]
mod tests;
