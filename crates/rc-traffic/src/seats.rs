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

#[cfg(test)]
mod tests;
