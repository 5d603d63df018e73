//! The rate of a request's tenant, and of those who are nobody's.

use rc_model::tenants::LimitMode;

use super::Identity;
use crate::access::Ticket;
use crate::answer::{Kind, RATE_LIMITED, Refusal};
use crate::limit::{Colour, Gcra, Tat, Verdict};
use crate::metrics::bump;
use crate::state::Active;
use crate::worker::{Peer, Worker};

/// Step 4.
pub(super) fn rate(
    worker: &Worker,
    peer: &Peer,
    identity: &Identity,
    active: &Active,
    ticket: &mut Ticket,
) -> Result<(), Refusal> {
    match identity {
        Identity::Tenant { index, .. } => tenant_rate(worker, *index, active, ticket),
        Identity::Anonymous => anonymous_rate(worker, peer, active, &active.anonymous.shared),
    }
}

fn tenant_rate(worker: &Worker, tenant: usize, active: &Active, ticket: &mut Ticket) -> Result<(), Refusal> {
    let policy = &active.snapshot.tenants[tenant];
    if policy.rps_mode == LimitMode::Off {
        return Ok(());
    }
    // Where there is no route there is no service either that could lend anything.
    let slack = || ticket.route.is_some_and(|route| active.pools[route].has_slack());
    let now_ns = worker.shared.clock.monotonic_ns();
    let colour = policy.rps.check(active.limits[tenant].meter(), now_ns, slack);
    let counts = active.series(ticket.route, Some(tenant)).rates(worker.index);
    if policy.rps_mode == LimitMode::Shadow {
        // Nothing is told to the client: a limit that is not kept is none to go by.
        match colour {
            Colour::Green { .. } | Colour::Yellow { .. } => counts.count(colour),
            Colour::Red { .. } => counts.shadowed(),
        }
        return Ok(());
    }
    counts.count(colour);
    ticket.colour = Some(colour);
    match colour {
        Colour::Green { .. } | Colour::Yellow { .. } => Ok(()),
        Colour::Red { wait_ns } => Err(over_rate(worker, wait_ns)),
    }
}

/// The refusal of a request that proved nothing: `kind`, or too many of them. A key that is wrong and a tenant that
/// nobody knows are charged to one and the same state, so that a name of its own is no way to an allowance of its own.
pub(super) fn unproved(worker: &Worker, peer: &Peer, active: &Active, kind: &'static Kind) -> Refusal {
    anonymous_rate(worker, peer, active, &active.anonymous.unproved)
        .err()
        .unwrap_or_else(|| Refusal::new(kind))
}

fn anonymous_rate(worker: &Worker, peer: &Peer, active: &Active, shared: &Tat) -> Result<(), Refusal> {
    let now_ns = worker.shared.clock.monotonic_ns();
    let check = |rule: &Gcra, state: &Tat| match rule.check(state, now_ns) {
        Verdict::Admit { .. } => Ok(()),
        Verdict::Refuse { wait_ns } => Err(over_rate(worker, wait_ns)),
    };
    if let Some(source) = peer.address {
        // First, so that one source uses up its own allowance and not everybody's.
        check(
            &active.snapshot.anonymous.per_source,
            active.anonymous.sources.cell(source),
        )?;
    }
    check(&active.snapshot.anonymous.shared, shared)
}

fn over_rate(worker: &Worker, wait_ns: u64) -> Refusal {
    bump(&worker.counters().rate_limited);
    Refusal::new(&RATE_LIMITED).after_ns(wait_ns)
}
