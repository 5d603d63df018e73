//! Mistakes that the code can be told to make, and what must notice them. A mutation that no short run notices means
//! that the suite is too weak, not that the mistake is harmless.

use crate::checker::{self, Channel};
use crate::fault::{Fault, Role};
use crate::world::{BusKind, Combination, SourceKind};

/// A mistake, where it matters, and how it must show.
#[derive(Debug, Clone, Copy)]
pub struct Mutation {
    /// Its name in the code: `faults::mutated`.
    pub name: &'static str,
    /// What it does wrong, in words.
    pub mistake: &'static str,
    /// A mistake of somebody else that it needs to show: what it should have held off.
    pub with: &'static [&'static str],
    /// Where it can show.
    pub combination: Combination,
    /// What has to happen for it to show; empty: nothing but work.
    pub faults: &'static [Fault],
    /// What the checker must find, at least one of it.
    pub shows: &'static [(checker::Fault, Channel)],
}

const fn pair(source: SourceKind, bus: BusKind) -> Combination {
    Combination { source, bus }
}

/// Mistakes of what no run here has: captured tables.
pub const OTHER_MUTATIONS: &[&str] = &["capture.skip_watermark"];

/// Mistakes that another guard makes good, so that no run ends wrong with one of them alone, and which guard.
pub const HEALED: &[(&str, &str)] = &[
    (
        "nats.ack_before_commit",
        "the relay's next batch names a cursor that the stream does not have, and is fenced",
    ),
    (
        "consumer.apply_waiting",
        "what comes behind an event that was set aside is a gap by its number, and is set aside for that",
    ),
];

/// Those that are tried. A test compares them with the sources.
pub const MUTATIONS: &[Mutation] = &[
    Mutation {
        name: "outbox.skip_key_lock",
        mistake: "reads a key's number without its lock",
        with: &[],
        combination: pair(SourceKind::Slot, BusKind::Postgres),
        faults: &[],
        shows: &[(checker::Fault::Altered, Channel::Log)],
    },
    Mutation {
        name: "relay.skip_expected",
        mistake: "publishes without saying where it thinks the bus is",
        with: &[],
        combination: pair(SourceKind::Poll, BusKind::Postgres),
        faults: &[Fault::Zombie("relay.after_fetch")],
        shows: &[(checker::Fault::Doubled, Channel::Stream)],
    },
    Mutation {
        name: "relay.ignore_running",
        mistake: "forgets the transactions that were running in the first snapshot",
        with: &[],
        combination: pair(SourceKind::Poll, BusKind::Postgres),
        faults: &[],
        shows: &[
            (checker::Fault::Lost, Channel::Stream),
            (checker::Fault::Gap, Channel::Stream),
        ],
    },
    Mutation {
        name: "relay.order_by_xid",
        mistake: "takes transaction numbers for the order of commits",
        with: &[],
        combination: pair(SourceKind::Poll, BusKind::Postgres),
        faults: &[],
        shows: &[(checker::Fault::Reordered, Channel::Stream)],
    },
    Mutation {
        name: "relay.park_only_row",
        mistake: "publishes what comes behind a row that was set aside",
        with: &[],
        combination: pair(SourceKind::Poll, BusKind::Nats),
        faults: &[],
        shows: &[(checker::Fault::Gap, Channel::Stream)],
    },
    Mutation {
        name: "slot.confirm_before_publish",
        mistake: "tells the slot that it has what the bus does not have yet",
        with: &[],
        combination: pair(SourceKind::Slot, BusKind::Postgres),
        faults: &[Fault::Crash(Role::Relay, "relay.before_publish")],
        shows: &[(checker::Fault::Lost, Channel::Stream)],
    },
    Mutation {
        name: "bus.ack_before_commit",
        mistake: "moves the cursor before the events are there",
        with: &[],
        combination: pair(SourceKind::Sqlite, BusKind::Sqlite),
        faults: &[Fault::Crash(Role::Relay, "bus.mid_publish")],
        shows: &[(checker::Fault::Lost, Channel::Stream)],
    },
    Mutation {
        name: "bus.cursor_apart",
        mistake: "stores the cursor apart from the events",
        with: &[],
        combination: pair(SourceKind::Sqlite, BusKind::Nats),
        faults: &[Fault::Crash(Role::Relay, "nats.after_ack")],
        shows: &[(checker::Fault::Doubled, Channel::Stream)],
    },
    Mutation {
        name: "nats.skip_expected",
        mistake: "publishes to the stream whatever its end is",
        with: &[],
        combination: pair(SourceKind::Poll, BusKind::Nats),
        faults: &[Fault::Zombie("relay.after_fetch")],
        shows: &[(checker::Fault::Doubled, Channel::Stream)],
    },
    Mutation {
        name: "consumer.skip_judge",
        mistake: "applies what it applied before",
        with: &["relay.skip_expected"],
        combination: pair(SourceKind::Poll, BusKind::Postgres),
        faults: &[Fault::Zombie("relay.after_fetch")],
        shows: &[(checker::Fault::Doubled, Channel::Effects)],
    },
    Mutation {
        name: "consumer.position_apart",
        mistake: "moves its position in another transaction than its effects",
        with: &[],
        combination: pair(SourceKind::Sqlite, BusKind::Sqlite),
        faults: &[Fault::Crash(Role::Consumer, "consumer.after_apply")],
        shows: &[(checker::Fault::Lost, Channel::Effects)],
    },
];
