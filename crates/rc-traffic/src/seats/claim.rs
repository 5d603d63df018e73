//! What a tenant may have of a pool, what a request asks for, and why it gets nothing.

/// How many targets a tenant's queue may stay above its target before it stands, and the oldest age then.
const INTERVAL_TARGETS: u64 = 10;

/// One tenant's claim on a pool, as its policy says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Claim {
    /// Where the tenant's state is kept.
    pub(crate) slot: u32,
    pub(crate) weight: u32,
    /// Seats that it gets before all turns.
    pub(crate) share: u32,
    /// Seats that it never passes.
    pub(crate) max: u32,
    /// Requests of it that may wait.
    pub(crate) waiting_max: u32,
    /// How long its requests may wait as a rule.
    pub(crate) target_ns: u64,
}

/// Whether a tenant may have one more seat.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Room {
    /// It has less than its share.
    pub(crate) promised: bool,
    /// It has less than it may have at most.
    pub(crate) any: bool,
}

/// One request that wants to wait.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wish {
    pub(crate) claim: Claim,
    /// What a request of this tenant takes, in microseconds of service.
    pub(crate) cost_us: u32,
    /// Seats that would be the tenant's part: what its queue drains by as long as nothing was measured.
    pub(crate) part: u32,
    pub(crate) deadline_ns: u64,
    /// The operator's own: before every tenant.
    pub(crate) strict: bool,
}

/// Why a request is not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shed {
    /// The tenant has too many waiting.
    QueueFull,
    /// All together have too many waiting, and the tenant the most for its weight.
    PoolFull,
    /// Its turn would come after its deadline.
    Late,
    /// It waited for too long in a queue that stands.
    Aged,
    /// It is over its tenant's committed rate, and there was no seat to lend.
    Lent,
}

impl Shed {
    pub(crate) const ALL: [Self; 5] = [
        Self::QueueFull,
        Self::PoolFull,
        Self::Late,
        Self::Aged,
        Self::Lent,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::PoolFull => "pool_full",
            Self::Late => "late",
            Self::Aged => "aged",
            Self::Lent => "lent",
        }
    }
}

/// A request that was refused although it had a place, and its queue's drain time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) shed: Shed,
    pub(crate) drain_ns: u64,
}

impl Claim {
    /// How old the oldest may be in a queue that stands, and how long it stands before that counts.
    pub(super) fn interval_ns(&self) -> u64 {
        self.target_ns.saturating_mul(INTERVAL_TARGETS)
    }
}
