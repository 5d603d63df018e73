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

/// A mistake that another guard makes good.
#[derive(Debug, Clone, Copy)]
pub struct Healed {
    /// Its name in the code: `faults::mutated`.
    pub name: &'static str,
    /// What makes it good.
    pub guard: &'static str,
    /// Where it would matter.
    pub combination: Combination,
    /// What would make it matter.
    pub faults: &'static [Fault],
    /// It would matter where some events can never be applied.
    pub poison: bool,
}

/// Mistakes with each of which alone no run ends wrong. A test sees to it that this stays so.
pub const HEALED: &[Healed] = &[
    Healed {
        name: "nats.ack_before_commit",
        guard: "the relay's next batch names a cursor that the stream does not have, and is fenced",
        combination: pair(SourceKind::Sqlite, BusKind::Nats),
        faults: &[Fault::Crash(Role::Relay, "nats.after_ack"), Fault::KillNats],
        poison: false,
    },
    Healed {
        name: "consumer.apply_waiting",
        guard: "what comes behind an event that was set aside is a gap by its number, and is set aside for that",
        combination: pair(SourceKind::Sqlite, BusKind::Sqlite),
        faults: &[Fault::Kill(Role::Consumer)],
        poison: true,
    },
    Healed {
        name: "slot.confirm_before_publish",
        guard: "a relay that finds its slot further than the bus reads the log",
        combination: pair(SourceKind::Slot, BusKind::Sqlite),
        faults: &[Fault::Crash(Role::Relay, "relay.before_publish")],
        poison: false,
    },
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
        name: "slot.skip_handover",
        mistake: "follows a new slot without reading what was written before it",
        with: &[],
        combination: pair(SourceKind::Slot, BusKind::Sqlite),
        faults: &[],
        shows: &[
            (checker::Fault::Lost, Channel::Stream),
            (checker::Fault::Gap, Channel::Stream),
        ],
    },
    Mutation {
        name: "slot.recreate_without_backfill",
        mistake: "makes a slot that was gone anew and does not read the log for what it missed",
        with: &[],
        combination: pair(SourceKind::Slot, BusKind::Sqlite),
        faults: &[Fault::DropSlot],
        shows: &[
            (checker::Fault::Lost, Channel::Stream),
            (checker::Fault::Gap, Channel::Stream),
        ],
    },
    Mutation {
        name: "capture.skip_watermark",
        mistake: "publishes changes again that a row which was read has already",
        with: &[],
        combination: pair(SourceKind::Capture, BusKind::Sqlite),
        faults: &[],
        shows: &[(checker::Fault::Doubled, Channel::Stream)],
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
