//! What can be done to a run, and which of it, when, from a seed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use rc_test::Rng;
use serde::{Deserialize, Serialize};

use crate::world::{BusKind, Combination, SourceKind};

/// Which process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Writes events into the service's store.
    Writer,
    /// Moves them to the bus.
    Relay,
    /// Applies them.
    Consumer,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Writer, Self::Relay, Self::Consumer];

    /// Its name on the command line and in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Writer => "writer",
            Self::Relay => "relay",
            Self::Consumer => "consumer",
        }
    }
}

/// Crash points of the code, and the process that visits them. A test compares them with the sources.
pub const POINTS: &[(Role, &str)] = &[
    (Role::Writer, "outbox.after_append"),
    (Role::Relay, "relay.after_fetch"),
    (Role::Relay, "relay.before_publish"),
    (Role::Relay, "relay.after_publish"),
    (Role::Relay, "retain.before_drop"),
    (Role::Relay, "nats.before_commit"),
    (Role::Relay, "nats.after_commit"),
    (Role::Relay, "nats.after_ack"),
    (Role::Relay, "slot.after_create"),
    (Role::Relay, "slot.mid_handover"),
    (Role::Relay, "slot.before_confirm"),
    (Role::Relay, "slot.after_confirm"),
    (Role::Relay, "table.before_mark"),
    (Role::Relay, "table.after_number"),
    (Role::Relay, "capture.after_publish"),
    (Role::Consumer, "consumer.before_apply"),
    (Role::Consumer, "consumer.after_apply"),
    (Role::Consumer, "consumer.before_progress"),
];

/// Crash points that are visited where a slot is made: there must be none then.
pub const MAKES_SLOT: [&str; 2] = ["slot.after_create", "slot.mid_handover"];

/// Crash points that are visited where the bus refuses events: see `tests/it/parked.rs`.
pub const PARKED_POINTS: &[&str] = &["relay.before_park", "relay.after_park"];

/// Crash points that no run here visits, and what stands for them.
pub const OTHER_POINTS: &[(&str, &str)] = &[
    (
        "relay.after_release",
        "a person's act; `a_release_that_died_after_its_publish_is_not_repeated`",
    ),
    (
        "letters.before_replay",
        "a person's act, in the consumer's own transaction: as `consumer.before_apply`",
    ),
    (
        "letters.after_replay",
        "a person's act, in the consumer's own transaction: as `consumer.after_apply`",
    ),
    (
        "replay.after_step",
        "a person's act; its place moves in the transaction of its effects",
    ),
    (
        "verify.before_repair",
        "a person's act; what it publishes is fenced by the bus and found again by the next",
    ),
    (
        "capture.mid_snapshot",
        "only the first start reads a table; `capture_cut_in_its_snapshot_and_in_its_stream_goes_on_there`",
    ),
    (
        "ingest.before_commit",
        "the ingest service: `faults::kills` kills it at random moments",
    ),
    (
        "ingest.after_commit",
        "the ingest service: `faults::kills` kills it at random moments",
    ),
];

/// Crash points that only code with a mutation visits.
pub const MUTATED_POINTS: &[&str] = &["bus.mid_publish"];

/// Where a relay is stopped past its lease: with rows in its hands, about to publish, and with an answer on its way.
pub const ZOMBIES: [&str; 3] = ["relay.after_fetch", "relay.before_publish", "relay.after_publish"];

/// What is done to a server or its network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Network {
    /// Every connection is reset.
    Cut,
    /// Every piece is late.
    Slow,
    /// No byte passes, in either direction.
    Silent,
    /// Connections are refused.
    Refusing,
    /// Requests pass; acknowledgements do not.
    Unanswered,
    /// The far side is gone and the near side is not told.
    HalfOpen,
}

const NETWORKS: [(Network, &str); 6] = [
    (Network::Cut, "connections cut"),
    (Network::Slow, "network slow"),
    (Network::Silent, "network silent"),
    (Network::Refusing, "connections refused"),
    (Network::Unanswered, "acknowledgements swallowed"),
    (Network::HalfOpen, "connections half open"),
];

/// One kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// `kill -9`.
    Kill(Role),
    /// It ends by itself at a crash point.
    Crash(Role, &'static str),
    /// It is stopped, and goes on later as if nothing had been.
    Pause(Role),
    /// The relay is stopped at a point for longer than its lease while a second one takes over, and goes on.
    Zombie(&'static str),
    /// A second relay runs beside the first.
    SecondRelay,
    /// Every write to a file fails.
    DiskFails(Role),
    /// The wall clock is wrong.
    Clock(Role),
    /// Something between the roles and the servers.
    Network(Network),
    /// `kill -9` of PostgreSQL.
    KillPostgres,
    /// One PostgreSQL backend is killed: the server recovers and ends all connections.
    KillBackend,
    /// `kill -9` of NATS.
    KillNats,
    /// The replication slot is gone, as after a failover to a standby that did not have it.
    DropSlot,
    /// The PostgreSQL server is lost, and a synchronous physical standby takes over.
    Failover,
    /// The disk of every role and server is full, to the last byte, and has room again.
    DiskFull,
    /// The machine loses its power: every process is gone, and what was not synced, too.
    PowerLoss,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill(role) => write!(f, "kill -9 of the {}", role.name()),
            Self::Crash(_, point) => write!(f, "crash at `{point}`"),
            Self::Pause(role) => write!(f, "{} stopped and continued", role.name()),
            Self::Zombie(point) => write!(f, "relay stopped past its lease at `{point}` and continued"),
            Self::SecondRelay => f.write_str("two relays at once"),
            Self::DiskFails(role) => write!(f, "disk of the {} fails", role.name()),
            Self::Clock(role) => write!(f, "clock of the {} steps", role.name()),
            Self::Network(kind) => {
                let name = NETWORKS.iter().find(|(of, _)| of == kind).map(|(_, name)| *name);
                f.write_str(name.unwrap_or("network"))
            }
            Self::KillPostgres => f.write_str("kill -9 of PostgreSQL"),
            Self::KillNats => f.write_str("kill -9 of NATS"),
            Self::DropSlot => f.write_str("slot dropped"),
            Self::Failover => f.write_str("failover to a standby"),
            Self::DiskFull => f.write_str("disk full"),
            Self::PowerLoss => f.write_str("power lost"),
            Self::KillBackend => f.write_str("a PostgreSQL backend killed"),
        }
    }
}

/// A fault of the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Planned {
    /// What.
    pub fault: Fault,
    /// How long it lasts; a crash point: at which visit.
    pub lasts: Duration,
    /// How long after the one before.
    pub after: Duration,
}

/// Faults without end, the same for the same seed and combination.
#[derive(Debug)]
pub struct Plan {
    rng: Rng,
    bag: Vec<Fault>,
    kinds: Vec<(Fault, usize)>,
}

impl Plan {
    /// The plan of `seed`.
    #[must_use]
    pub fn new(seed: u64, combination: Combination) -> Self {
        Self {
            rng: Rng::new(seed),
            bag: Vec::new(),
            kinds: kinds(combination),
        }
    }

    /// The plan of `seed` that knows only `kinds`.
    #[must_use]
    pub fn only(seed: u64, kinds: &[Fault]) -> Self {
        Self {
            rng: Rng::new(seed),
            bag: Vec::new(),
            kinds: kinds.iter().map(|fault| (*fault, 1)).collect(),
        }
    }
}

impl Iterator for Plan {
    type Item = Planned;

    /// Drawn from a bag that holds each kind as often as its weight: none is left out by chance.
    fn next(&mut self) -> Option<Planned> {
        if self.bag.is_empty() {
            for (fault, weight) in &self.kinds {
                self.bag.extend(std::iter::repeat_n(*fault, *weight));
            }
            self.rng.shuffle(&mut self.bag);
        }
        let fault = self.bag.pop()?;
        let rng = &mut self.rng;
        let mut between = |least: u64, most: u64| {
            Duration::from_millis(least) + rng.up_to(Duration::from_millis(most - least))
        };
        let lasts = match fault {
            // A lease is 6 s, and the second relay must have published something.
            Fault::Zombie(_) => between(8_000, 9_500),
            Fault::Pause(_) => between(100, 1_500),
            Fault::SecondRelay => between(300, 2_500),
            Fault::DiskFails(_) => between(100, 800),
            Fault::Failover | Fault::DiskFull => between(300, 1_500),
            Fault::Network(_) => between(100, 1_200),
            Fault::Clock(_) => between(0, 500),
            Fault::Crash(..) => between(1, 10),
            Fault::Kill(_)
            | Fault::KillPostgres
            | Fault::KillBackend
            | Fault::KillNats
            | Fault::DropSlot
            | Fault::PowerLoss => Duration::ZERO,
        };
        Some(Planned {
            fault,
            lasts,
            after: between(20, 400),
        })
    }
}

/// What happens to `combination` in the short form: every kind is dealt to one of those to which it can happen.
#[must_use]
pub fn dealt(combination: Combination) -> Vec<Fault> {
    let mut hands: BTreeMap<Combination, Vec<Fault>> = BTreeMap::new();
    let all: BTreeSet<Fault> = Combination::ALL
        .into_iter()
        .flat_map(|combination| kinds(combination).into_iter().map(|(kind, _)| kind))
        .collect();
    for kind in all {
        let can = |combination: &Combination| kinds(*combination).iter().any(|(of, _)| *of == kind);
        let next = Combination::ALL
            .into_iter()
            .filter(can)
            .min_by_key(|combination| hands.get(combination).map_or(0, Vec::len));
        if let Some(next) = next {
            hands.entry(next).or_default().push(kind);
        }
    }
    hands.remove(&combination).unwrap_or_default()
}

/// What can happen to `combination`, and how often.
fn kinds(combination: Combination) -> Vec<(Fault, usize)> {
    let mut kinds = vec![(Fault::SecondRelay, 3)];
    kinds.extend(ZOMBIES.map(|point| (Fault::Zombie(point), 1)));
    for role in Role::ALL {
        kinds.extend([
            (Fault::Kill(role), 4),
            (Fault::Pause(role), 1),
            (Fault::Clock(role), 1),
        ]);
    }
    let there = |point: &str| match point.split('.').next() {
        Some("slot") => combination.source == SourceKind::Slot,
        Some("table") => combination.source == SourceKind::Table,
        Some("capture") => combination.source == SourceKind::Capture,
        Some("nats") => combination.bus == BusKind::Nats,
        // The library of users' services has its own writer, which is SQL.
        Some("outbox") => matches!(combination.source, SourceKind::Sqlite | SourceKind::Poll),
        _ => true,
    };
    let points = POINTS.iter().filter(|(_, point)| there(point));
    kinds.extend(points.map(|(role, point)| (Fault::Crash(*role, point), 2)));
    // Who writes files itself: the servers' disks are the power-loss suite's.
    if combination.bus == BusKind::Sqlite {
        kinds.extend([
            (Fault::DiskFails(Role::Relay), 2),
            (Fault::DiskFails(Role::Consumer), 2),
        ]);
    }
    if combination.source == SourceKind::Sqlite {
        kinds.push((Fault::DiskFails(Role::Writer), 2));
    }
    if combination.has_postgres() {
        kinds.extend([(Fault::KillPostgres, 2), (Fault::KillBackend, 2)]);
    }
    // A capture that lost its slot stops and says so: there is no log from which it could go on.
    if combination.has_postgres() && combination.source != SourceKind::Capture {
        kinds.push((Fault::Failover, 2));
    }
    if combination.source == SourceKind::Slot {
        kinds.push((Fault::DropSlot, 2));
    }
    if combination.bus == BusKind::Nats {
        kinds.push((Fault::KillNats, 2));
    }
    if combination.has_postgres() || combination.bus == BusKind::Nats {
        kinds.extend(NETWORKS.iter().map(|(kind, _)| (Fault::Network(*kind), 2)));
    }
    kinds
}

#[cfg(test)]
mod tests;
