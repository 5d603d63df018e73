//! How many requests a service gets at once, and whose are next.
//!
//! A request needs a seat to be forwarded. [`pool`] hands seats out, [`queue`] says who gets the next one when all are
//! taken, [`adaptive`] finds out how many there should be. Why it is so: ADR 22.

mod adaptive;
mod claim;
mod pool;
mod queue;

pub(crate) use adaptive::{Bounds, Outcome};
pub(crate) use claim::{Claim, Shed};
pub(crate) use pool::{Level, Seat, SeatPool, Turned, Waiting};
#[cfg(not(test))]
use rc_model::clock::monotonic_ns as now_ns;
#[cfg(test)]
use tests::now_ns;

/// What threads share. In tests every access is a step at which another thread may go on: see `tests::schedule`.
mod sync {
    #[cfg(test)]
    pub(super) use super::tests::schedule::{AtomicU32, AtomicU64, Mutex, MutexGuard};
    #[cfg(not(test))]
    pub(super) use std::sync::atomic::{AtomicU32, AtomicU64};
    #[cfg(not(test))]
    pub(super) use std::sync::{Mutex, MutexGuard};
}

#[cfg(test)]
mod tests;
