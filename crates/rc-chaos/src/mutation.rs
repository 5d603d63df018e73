//! Mistakes that the code can be told to make, and what must notice them. A mutation that no short run notices means
//! that the suite is too weak, not that the mistake is harmless.

use crate::checker;
use crate::fault::Fault;
use crate::world::{BusKind, Combination, SourceKind};

/// A mistake, where it matters, and how it must show.
#[derive(Debug, Clone, Copy)]
pub struct Mutation {
    /// Its name in the code: `faults::mutated`.
    pub name: &'static str,
    /// What it does wrong, in words.
    pub mistake: &'static str,
    /// Where it can show.
    pub combination: Combination,
    /// What has to happen for it to show; empty: nothing but work.
    pub faults: &'static [Fault],
    /// What the checker must find, at least one of it.
    pub shows: &'static [checker::Fault],
}

const POLL_TO_POSTGRES: Combination = Combination {
    source: SourceKind::Poll,
    bus: BusKind::Postgres,
};

/// All of them. A test compares them with the sources.
pub const MUTATIONS: &[Mutation] = &[
    Mutation {
        name: "relay.skip_expected",
        mistake: "publishes without saying where it thinks the bus is",
        combination: POLL_TO_POSTGRES,
        faults: &[Fault::Zombie("relay.after_fetch")],
        shows: &[checker::Fault::Doubled],
    },
    Mutation {
        name: "relay.ignore_running",
        mistake: "forgets the transactions that were running in the first snapshot",
        combination: POLL_TO_POSTGRES,
        faults: &[],
        shows: &[checker::Fault::Lost, checker::Fault::Gap],
    },
    Mutation {
        name: "relay.order_by_xid",
        mistake: "takes transaction numbers for the order of commits",
        combination: POLL_TO_POSTGRES,
        faults: &[],
        shows: &[checker::Fault::Reordered],
    },
];
