//! How many connections one address and one tenant may have, so that neither can take all that there are.
//!
//! An address is counted before anybody knows whose requests it brings, in a table of fixed size like that of rates
//! ([`SourceTable`]): two that meet in one cell share its allowance, and nothing is ever evicted.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rc_model::tenants::RateLimit;
use rc_model::units::Rate;

use crate::access::Ticket;
use crate::admission::Decision;
use crate::answer::{Refusal, TENANT_CROWDED};
use crate::config::ConnectionLimits;
use crate::limit::{Gcra, SOURCE_CELLS, SourceTable, Verdict};

/// What a tenant with too many connections is told to wait.
const CROWDED_RETRY_AFTER_NS: u64 = 1_000_000_000;

/// What every address has at this moment.
pub(crate) struct Sources {
    handshakes: SourceTable,
    handshake_rule: Gcra,
    connections: Box<[AtomicU32]>,
    connections_max: u32,
}

/// One connection of a source, counted as long as this lives.
pub(crate) struct Present {
    sources: Arc<Sources>,
    place: usize,
}

impl Sources {
    pub(crate) fn new(limits: &ConnectionLimits) -> Self {
        Self {
            handshakes: SourceTable::new(),
            handshake_rule: Gcra::new(RateLimit::of(
                Rate::per_second(limits.handshakes_per_source_max.into()),
                limits.handshakes_per_source_burst.into(),
            )),
            connections: (0..SOURCE_CELLS).map(|_| AtomicU32::new(0)).collect(),
            connections_max: limits.connections_per_source_max,
        }
    }

    /// Counts one more connection of `source`. `None`: it has as many as it may.
    pub(crate) fn connect(self: &Arc<Self>, source: IpAddr) -> Option<Present> {
        let place = self.handshakes.place(source);
        take(&self.connections[place], self.connections_max).then(|| Present {
            sources: Arc::clone(self),
            place,
        })
    }

    /// Whether `source` may begin a handshake at `now_ns`; it is taken to do so.
    pub(crate) fn may_shake_hands(&self, source: IpAddr, now_ns: u64) -> bool {
        let state = self.handshakes.cell(source);
        matches!(self.handshake_rule.check(state, now_ns), Verdict::Admit { .. })
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        self.sources.connections[self.place].fetch_sub(1, Ordering::Relaxed);
    }
}

/// The tenant that made the latest request of a connection, for which the connection counts.
pub(crate) struct Owner {
    connections: Option<Arc<AtomicU32>>,
    /// Never for the operator's own door, through which requests of all tenants come.
    enabled: bool,
}

impl Owner {
    pub(crate) fn new(enabled: bool) -> Self {
        Self {
            connections: None,
            enabled,
        }
    }

    /// Counts the connection for the tenant of a request that is to be forwarded, or refuses the request because that
    /// tenant has `max` connections.
    pub(crate) fn admit(&mut self, decision: Decision, ticket: &Ticket, max: u32) -> Decision {
        let (true, Decision::Forward(_), Some(tenant)) = (self.enabled, &decision, ticket.tenant) else {
            return decision;
        };
        let connections = ticket.view().active.limits[tenant].connections();
        let mine = self.connections.as_ref();
        if mine.is_some_and(|mine| Arc::ptr_eq(mine, connections)) {
            return decision;
        }
        self.leave();
        if !take(connections, max) {
            let refusal = Refusal::new(&TENANT_CROWDED).after_ns(CROWDED_RETRY_AFTER_NS);
            return Decision::Refuse(refusal.closing());
        }
        self.connections = Some(Arc::clone(connections));
        decision
    }

    fn leave(&mut self) {
        if let Some(connections) = self.connections.take() {
            connections.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.leave();
    }
}

/// Adds one to `count` unless that would pass `max`.
fn take(count: &AtomicU32, max: u32) -> bool {
    let more = |count: u32| (count < max).then_some(count + 1);
    count
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
        .is_ok()
}

#[cfg(test)]
mod tests;
