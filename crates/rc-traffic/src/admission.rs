//! Decides what happens to a request, cheapest step first. Synchronous: it reads the head where it lies
//! and allocates only what outlives it.
//!
//! The order, and the seam for each step that a later limit adds:
//! 1. connection caps (`h1`, `h2`, the acceptor: before there is a request)
//! 2. the head is well formed and unambiguous ([`crate::request`], [`crate::path`])
//! 3. the tenant ([`identify`])
//! 4. the tenant's rate ([`mod@rate`])
//! 5. the route and its method
//! 6. the body's size, as far as it is announced
//! 7. the version of the service ([`crate::versions`]), and whether that works, for this tenant ([`crate::health`])
//! 8. a seat at the service, or a place in the queue for one ([`crate::waiting`])
//! 9. the endpoint ([`crate::worker::UpstreamPools::choose`])

use std::rc::Rc;
use std::time::Duration;

use rc_model::{KeyId, TraceContext};
use rc_serve::Pseudonym;
use tokio::time::Instant;

use crate::access::Ticket;
use crate::answer::{
    AMBIGUOUS_PATH, BODY_TOO_LARGE, CREDENTIALS_CONFLICT, KEYS_UNKNOWN, METHOD_NOT_ALLOWED, METHOD_UNKNOWN,
    NO_ROUTE, Refusal, UNAUTHENTICATED,
};
use crate::forward::{self, Forward, Hop};
use crate::hooks::{ADMIN_BODY_BYTES_MAX, ADMIN_TIMEOUT, CallerUid};
use crate::key::{KeyTable, Presented};
use crate::metrics::bump;
use crate::path::{self, Found};
use crate::request::{Credential, Facts, Framing, Head};
use crate::retry;
use crate::state::Active;
use crate::worker::{Peer, Worker};
use rate::{rate, unproved};

mod rate;

/// What a client is told to wait whose key cannot be looked up yet: the table is asked for about as often.
const KEYS_RETRY_AFTER_NS: u64 = 2_000_000_000;

/// What happens to a request.
pub(crate) enum Decision {
    Refuse(Refusal),
    /// `/health`: the process is alive.
    Health,
    /// `/ready`: whether it can serve.
    Ready,
    Admin(Box<AdminCall>),
    Forward(Box<Forward>),
}

/// A request to the admin handler, but for its body.
pub(crate) struct AdminCall {
    pub(crate) request: http::Request<()>,
    pub(crate) deadline: Instant,
}

/// What the connection needs to know, whatever was decided.
pub(crate) struct Decided {
    pub(crate) ticket: Ticket,
    pub(crate) decision: Decision,
    pub(crate) framing: Framing,
    /// The client closes after this answer.
    pub(crate) close: bool,
    pub(crate) expects_continue: bool,
    pub(crate) is_head: bool,
}

/// On whose behalf a request comes.
enum Identity {
    Tenant {
        index: usize,
        key: Option<KeyId>,
        user: Option<Pseudonym>,
    },
    /// Nobody in particular, on a route that is open to everybody.
    Anonymous,
}

/// Decides about `head`. `room` becomes the request head for the service; it comes back with the decision.
pub(crate) fn decide(worker: &Rc<Worker>, peer: &Peer, head: &Head<'_>, room: Vec<u8>) -> Decided {
    let is_head = head.method == "HEAD";
    let facts = match Facts::read(head) {
        Ok(facts) => facts,
        Err(refusal) => {
            bump(&worker.counters().malformed);
            let parent = head
                .fields
                .iter()
                .find(|field| field.name.eq_ignore_ascii_case("traceparent"));
            let mut ticket = Ticket::new(worker, parent.map(|field| field.value));
            ticket.method = path::method(head.method.as_bytes()).map(path::method_index);
            ticket.protocol = Some(head.protocol);
            // How the body is framed was not agreed upon, so the connection ends here.
            return Decided {
                ticket,
                decision: Decision::Refuse(refusal.closing()),
                framing: Framing::None,
                close: true,
                expects_continue: false,
                is_head,
            };
        }
    };
    let mut ticket = Ticket::new(worker, facts.traceparent);
    ticket.request_id = facts.request_id.map(Into::into);
    ticket.protocol = Some(head.protocol);
    let decision =
        decide_facts(worker, peer, head, &facts, &mut ticket, room).unwrap_or_else(Decision::Refuse);
    Decided {
        ticket,
        decision,
        framing: facts.framing,
        close: facts.close,
        expects_continue: facts.expects_continue,
        is_head,
    }
}

fn decide_facts(
    worker: &Rc<Worker>,
    peer: &Peer,
    head: &Head<'_>,
    facts: &Facts<'_>,
    ticket: &mut Ticket,
    room: Vec<u8>,
) -> Result<Decision, Refusal> {
    if let Some(decision) = own_path(worker, peer, head, facts, ticket)? {
        return Ok(decision);
    }
    let view = Rc::clone(ticket.view());
    let active = &*view.active;
    let Some(method) = path::method(head.method.as_bytes()) else {
        // RFC 9110 would have 501 for a method that nobody knows. It says that the server lacks something;
        // here the client asks for what no route offers, and a 5xx would count against the service.
        return Err(Refusal {
            allow: Some(path::CARRIED.into()),
            ..Refusal::new(&METHOD_UNKNOWN)
        });
    };
    ticket.method = Some(path::method_index(method));
    let found = active.snapshot.table.find(facts.path, method).map_err(|why| {
        bump(&worker.counters().malformed);
        Refusal::because(&AMBIGUOUS_PATH, why.0)
    })?;
    if let Found::Route(route) = found {
        ticket.route = Some(route);
    }
    let keys = worker.shared.keys.load();
    let identity = identify(worker, peer, facts, active, found, &***keys)?;
    if let Identity::Tenant { index, user, .. } = &identity {
        ticket.tenant = Some(*index);
        ticket.user = *user;
    }
    rate(worker, peer, &identity, active, ticket)?;
    let (at, route) = match found {
        Found::Route(at) => (at, &active.snapshot.routes[at]),
        Found::Nothing => return Err(Refusal::new(&NO_ROUTE)),
        Found::OtherMethods(allow) => {
            return Err(Refusal {
                allow: Some(allow.into()),
                ..Refusal::new(&METHOD_NOT_ALLOWED)
            });
        }
    };
    let (timeout, body_max) = match &identity {
        Identity::Tenant { index, .. } => {
            let tenant = &active.snapshot.tenants[*index];
            (tenant.timeout, tenant.body_max)
        }
        Identity::Anonymous => (
            active.snapshot.anonymous.timeout,
            active.snapshot.anonymous.body_max,
        ),
    };
    if matches!(facts.framing, Framing::Length(length) if length > body_max) {
        return Err(Refusal::new(&BODY_TOO_LARGE));
    }
    let timeout = effective_timeout(timeout, route.timeout, facts.timeout_ms);
    let lane = match &route.split {
        None => at,
        Some(split) => {
            let (tenant, user) = match &identity {
                Identity::Tenant { index, key, .. } => (Some(*index), key.as_ref().map(KeyId::as_str)),
                Identity::Anonymous => (None, None),
            };
            let lane = split.choose(tenant, user, || worker.random());
            ticket.begin(lane);
            lane
        }
    };
    let upstream = active.snapshot.lanes[lane].upstream;
    let hop = Hop {
        peer,
        trace: ticket.trace,
        tenant: match &identity {
            Identity::Tenant { index, .. } => &active.snapshot.tenants[*index].hop_headers,
            Identity::Anonymous => b"",
        },
        key: match &identity {
            Identity::Tenant { key, .. } => key.as_ref(),
            Identity::Anonymous => None,
        },
        pass_credentials: !keys.judges(),
        version: match &route.split {
            Some(_) => &active.snapshot.upstreams[upstream].hop_version,
            None => b"",
        },
    };
    let head_bytes = forward::write_head(room, head, facts, &hop, ticket);
    Ok(Decision::Forward(Box::new(Forward {
        head: head_bytes,
        framing: facts.framing,
        upstream,
        lane,
        route: at,
        strict: peer.trusted,
        deadline: Instant::now() + timeout,
        body_max,
        is_head: head.method == "HEAD",
        // Nothing of it is used up by a failed try, and doing it twice is the same as once (RFC 9110, 9.2.2).
        replayable: facts.framing == Framing::None && retry::is_idempotent(head.method),
        repeatable: retry::is_repeatable(head, facts),
        safe: facts.framing == Framing::None && matches!(head.method, "GET" | "HEAD"),
        hurried: facts.timeout_ms.is_some(),
    })))
}

fn effective_timeout(tenant: Duration, route: Option<Duration>, client_ms: Option<u64>) -> Duration {
    let client = client_ms.map(Duration::from_millis);
    [route, client].into_iter().flatten().fold(tenant, Duration::min)
}

/// Paths that the gateway answers itself; never limited.
fn own_path(
    worker: &Worker,
    peer: &Peer,
    head: &Head<'_>,
    facts: &Facts<'_>,
    ticket: &mut Ticket,
) -> Result<Option<Decision>, Refusal> {
    let reads = matches!(head.method, "GET" | "HEAD");
    let decision = match facts.path {
        "/health" if reads => Decision::Health,
        "/ready" if reads => Decision::Ready,
        path if peer.trusted && (path == "/metrics" || path.starts_with("/-/")) => {
            if worker.hooks.admin.is_none() {
                return Err(Refusal::new(&NO_ROUTE));
            }
            Decision::Admin(Box::new(admin_call(peer, head, facts, ticket.trace)?))
        }
        _ => return Ok(None),
    };
    ticket.silent = true;
    Ok(Some(decision))
}

fn admin_call(
    peer: &Peer,
    head: &Head<'_>,
    facts: &Facts<'_>,
    trace: TraceContext,
) -> Result<AdminCall, Refusal> {
    if matches!(facts.framing, Framing::Length(length) if length > ADMIN_BODY_BYTES_MAX) {
        return Err(Refusal::new(&BODY_TOO_LARGE));
    }
    let target = match facts.query {
        Some(query) => format!("{}?{query}", facts.path),
        None => facts.path.to_owned(),
    };
    let mut request = http::Request::builder().method(head.method).uri(target);
    for (at, field) in head.fields.iter().enumerate() {
        if facts.forward[at] {
            request = request.header(field.name, field.value);
        }
    }
    if let Some(uid) = peer.uid {
        request = request.extension(CallerUid(uid));
    }
    let request = request
        .header("traceparent", &trace.encode()[..])
        .body(())
        .map_err(|_not_http| Refusal::new(&AMBIGUOUS_PATH))?;
    let timeout = effective_timeout(ADMIN_TIMEOUT, None, facts.timeout_ms);
    Ok(AdminCall {
        request,
        deadline: Instant::now() + timeout,
    })
}

/// Step 3. One and the same refusal for a missing, wrong or revoked key, and charged to the limits of
/// those who did not prove who they are, so that guessing is slow.
fn identify(
    worker: &Worker,
    peer: &Peer,
    facts: &Facts<'_>,
    active: &Active,
    found: Found<'_>,
    keys: &dyn KeyTable,
) -> Result<Identity, Refusal> {
    if let (true, Some(name)) = (peer.names_tenants, facts.hop_tenant) {
        if keys.judges() && matches!(facts.credential, Some(Credential::Key(_))) {
            return Err(Refusal::because(
                &CREDENTIALS_CONFLICT,
                "send a tenant or a key, not both",
            ));
        }
        let index = std::str::from_utf8(name)
            .ok()
            .and_then(|name| active.snapshot.by_tenant.get(name));
        return match index {
            Some(index) => Ok(Identity::Tenant {
                index: *index as usize,
                key: None,
                user: None,
            }),
            None => Err(unproved(worker, peer, active, &UNAUTHENTICATED)),
        };
    }
    if let Some(Credential::Key(shown)) = facts.credential
        && keys.judges()
    {
        let presented = Presented::parse(shown);
        if presented.is_some() && !keys.is_known() {
            let refusal = unproved(worker, peer, active, &KEYS_UNKNOWN);
            return Err(match refusal.retry_after_ms {
                None => refusal.after_ns(KEYS_RETRY_AFTER_NS),
                Some(_) => refusal,
            });
        }
        let entry = presented.and_then(|key| key.verify(keys));
        let proved = entry.and_then(|entry| {
            let index = *active.snapshot.by_tenant.get(&entry.tenant)?;
            Some((index as usize, entry.id.clone(), entry.user))
        });
        return match proved {
            Some((index, key, user)) => Ok(Identity::Tenant {
                index,
                key: Some(key),
                user,
            }),
            None => Err(unproved(worker, peer, active, &UNAUTHENTICATED)),
        };
    }
    match found {
        Found::Route(route) if active.snapshot.routes[route].public => Ok(Identity::Anonymous),
        Found::Route(_) | Found::OtherMethods(_) => Err(unproved(worker, peer, active, &UNAUTHENTICATED)),
        Found::Nothing => Err(unproved(worker, peer, active, &NO_ROUTE)),
    }
}
