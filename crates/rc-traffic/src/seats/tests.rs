use std::cell::Cell;

use super::*;

mod adaptive;
mod interleavings;
mod pool;
mod scenarios;
pub(super) mod schedule;
mod simulation;

thread_local! {
    static NOW_NS: Cell<u64> = const { Cell::new(0) };
}

/// The time as a test has set it; else the system's.
pub(super) fn now_ns() -> u64 {
    match NOW_NS.get() {
        0 => rc_model::clock::monotonic_ns(),
        now_ns => now_ns,
    }
}

fn set_now(now_ns: u64) {
    NOW_NS.set(now_ns);
}

fn claim(slot: u32, weight: u32) -> Claim {
    Claim {
        slot,
        weight,
        share: 0,
        max: u32::MAX,
        waiting_max: 256,
        target_ns: 100_000_000,
    }
}
