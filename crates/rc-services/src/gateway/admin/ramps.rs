//! Rollouts in the admin API: their weights, and what was counted of the versions.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use prometheus_client::metrics::gauge::Gauge;
use rc_model::split::{Owner, Rollout, Share, Weight};
use rc_model::{Problem, RolloutId, ServiceId};
use rc_store::Error;
use rc_traffic::versions::{Caller, Count, OUTCOMES};
use serde::Deserialize;
use tokio::time::Instant;

use super::{Cause, asked, json, malformed, store_problem};
use crate::audit::{Actor, Reason};
use crate::gateway::ramps::{Ramp, Refused, Target, Wish};
use crate::gateway::state::Shared;

/// Most time between another gateway's change of a weight and its effect here.
const POLL: Duration = Duration::from_millis(500);
/// Longest name of a rollout that runs by itself.
const OWNER_BYTES_MAX: usize = 100;

/// Looks for changes of weights by other gateways, while there are rollouts.
pub(super) struct Watch {
    tick: tokio::time::Interval,
    read: Instant,
    /// How long ago the store last told the weights.
    unread: Gauge,
    complained: bool,
}

impl Watch {
    pub(super) fn new(shared: &Shared) -> Self {
        let unread = Gauge::default();
        shared.deps.metrics.with_registry(|registry| {
            let help = "Time since the store last told the weights of rollouts; those known stay in force";
            registry.register("rc_gateway_ramps_unread_seconds", help, unread.clone());
        });
        let mut tick = tokio::time::interval(POLL);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        Self {
            tick,
            read: Instant::now(),
            unread,
            complained: false,
        }
    }

    pub(super) async fn due(&mut self) {
        self.tick.tick().await;
    }

    pub(super) async fn refresh(&mut self, shared: &Shared) {
        let read = match shared.has_rollouts() {
            true => shared.refresh_ramps().await,
            false => Ok(()),
        };
        match read {
            Ok(()) => {
                self.read = Instant::now();
                self.complained = false;
            }
            Err(error) => {
                if !std::mem::replace(&mut self.complained, true) {
                    tracing::warn!(code = error.code(), %error, "the weights of rollouts cannot be read; those known stay in force");
                }
            }
        }
        self.unread
            .set(i64::try_from(self.read.elapsed().as_secs()).unwrap_or(i64::MAX));
    }
}

/// The body of `PUT /-/ramps/{rollout}`, and without `percent` of `POST /-/ramps/{rollout}/undo`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ask {
    #[serde(default)]
    percent: Option<Share>,
    /// The generation that the caller has seen; with another one nothing is changed.
    #[serde(default)]
    generation: Option<u64>,
    /// For whom: a rollout that runs by itself, or people.
    #[serde(default)]
    owner: Option<Owner>,
    /// Take the weight from the rollout that owns it.
    #[serde(default, rename = "override")]
    overrides: bool,
    /// For the audit log.
    reason: String,
}

pub(super) async fn set(
    shared: &Shared,
    name: &str,
    request: &Request<Bytes>,
) -> Result<Response<Bytes>, Problem> {
    let ask = read(request).map_err(|error| malformed(error.to_string()))?;
    let Some(percent) = ask.percent else {
        return Err(malformed("`percent` is missing".to_owned()));
    };
    change(shared, name, request, Target::Percent(percent), ask).await
}

pub(super) async fn undo(
    shared: &Shared,
    name: &str,
    request: &Request<Bytes>,
) -> Result<Response<Bytes>, Problem> {
    let ask = read(request).map_err(|error| malformed(error.to_string()))?;
    if ask.percent.is_some() {
        return Err(malformed(
            "`percent` is for setting; an undo goes back to what was".to_owned(),
        ));
    }
    change(shared, name, request, Target::Back, ask).await
}

fn read(request: &Request<Bytes>) -> serde_json::Result<Ask> {
    serde_json::from_slice(request.body())
}

async fn change(
    shared: &Shared,
    name: &str,
    request: &Request<Bytes>,
    to: Target,
    ask: Ask,
) -> Result<Response<Bytes>, Problem> {
    let (model, _) = shared.rollouts();
    let found = RolloutId::new(name).ok();
    let found = found.and_then(|name| {
        model
            .tenants
            .rollouts
            .get(&name)
            .cloned()
            .map(|rollout| (name, rollout))
    });
    let Some((name, rollout)) = found else {
        let detail = format!("`{name}` is not under `rollouts:` in `tenants.yaml`");
        return Err(Problem::new(404, "RC-GW-080", "no such rollout").detail(detail));
    };
    let owner = match ask.owner {
        None => Owner::Ramp,
        Some(Owner::Rollout(owner)) if owner.is_empty() || owner.len() > OWNER_BYTES_MAX => {
            return Err(malformed(format!(
                "`owner`: a name has 1 to {OWNER_BYTES_MAX} bytes"
            )));
        }
        Some(Owner::Start) => return Err(malformed("`owner`: only the files own a start value".to_owned())),
        Some(owner) => owner,
    };
    let asked = asked(request, Cause::Asked, Some(ask.reason)).map_err(malformed)?;
    let wish = Wish {
        to,
        generation: ask.generation,
        owner,
        overrides: ask.overrides,
    };
    let (actor, reason) = (asked.actor, asked.reason.clone());
    let changed = shared
        .change_ramp(name.clone(), rollout.clone(), wish, asked)
        .await;
    let ramp = changed
        .map_err(|error| refusal(&name, &error).unwrap_or_else(|| store_problem(error)))?
        .into_ramp();
    told(&name, &ramp, actor, &reason);
    Ok(json(StatusCode::OK, &view(&name, &rollout, Some(&ramp))))
}

fn told(name: &RolloutId, ramp: &Ramp, actor: Actor, reason: &Reason) {
    tracing::info!(
        rollout = name.as_str(),
        percent = ramp.weight.percent.percent(),
        generation = ramp.weight.generation,
        owner = %ramp.weight.owner,
        actor = actor.id(),
        reason = reason.text,
        "weight changed"
    );
}

fn refusal(name: &RolloutId, error: &Error) -> Option<Problem> {
    let refused: &Refused = error.downcast_ref()?;
    let (code, title) = match refused {
        Refused::Generation { .. } => ("RC-GW-081", "the weight has changed meanwhile"),
        Refused::Owned(_) => ("RC-GW-082", "a rollout owns this weight"),
        Refused::NothingBefore => ("RC-GW-083", "nothing to go back to"),
    };
    Some(Problem::new(409, code, title).detail(format!("`{name}` stays as it is: {refused}")))
}

/// `GET /-/ramps`: the rollouts of the files in force.
pub(super) fn list(shared: &Shared) -> Response<Bytes> {
    let (model, ramps) = shared.rollouts();
    let rollouts: Vec<_> = model
        .tenants
        .rollouts
        .iter()
        .map(|(name, rollout)| view(name, rollout, ramps.get(name)))
        .collect();
    json(StatusCode::OK, &serde_json::json!({ "ramps": rollouts }))
}

fn view(name: &RolloutId, rollout: &Rollout, ramp: Option<&Ramp>) -> serde_json::Value {
    let weight = ramp.map_or_else(|| Weight::start(rollout), |ramp| ramp.weight.clone());
    serde_json::json!({
        "rollout": name,
        "service": rollout.service,
        "route": rollout.route,
        "to": rollout.to,
        "by": rollout.by,
        "percent": weight.percent,
        "generation": weight.generation,
        "owner": weight.owner,
        "members": weight.members,
        "pin": rollout.pin,
        "percent_of": rollout.percent_of,
        "percent_at_start": rollout.percent,
        "percent_before": ramp.map(|ramp| ramp.before.percent),
        "changed_at": ramp.map(|ramp| ramp.changed_at),
        "reason": ramp.and_then(|ramp| ramp.reason.as_deref()),
    })
}

/// `GET /-/counts?service=&since=`: closed seconds after `since`, which is a second of Unix time.
///
/// # Errors
/// What is wrong with the query.
pub(super) fn counts(shared: &Shared, query: Option<&str>) -> Result<Response<Bytes>, String> {
    let (mut service, mut since) = (None, None);
    for pair in query.into_iter().flat_map(|query| query.split('&')) {
        match pair.split_once('=') {
            Some(("service", name)) => {
                let name = ServiceId::new(name).map_err(|error| format!("`service`: {error}"))?;
                service = Some(name);
            }
            Some(("since", second)) => {
                let second = second
                    .parse()
                    .map_err(|_no_number| "`since` is a second of Unix time".to_owned())?;
                since = Some(second);
            }
            _ => return Err(format!("`{pair}`: known are `service` and `since`")),
        }
    }
    let report = shared.gateway.counts(service.as_ref(), since);
    let seconds: Vec<_> = report
        .seconds
        .iter()
        .map(|second| {
            let counts: Vec<_> = second.counts.iter().map(count).collect();
            serde_json::json!({ "at": second.at, "counts": counts })
        })
        .collect();
    Ok(json(
        StatusCode::OK,
        &serde_json::json!({
            "kept_from": report.kept_from,
            "closed_through": report.closed_through,
            "seconds": seconds,
        }),
    ))
}

fn count(count: &Count) -> serde_json::Value {
    let outcomes: serde_json::Map<_, _> = OUTCOMES
        .iter()
        .zip(count.outcomes)
        .filter(|(_, number)| *number > 0)
        .map(|(name, number)| ((*name).to_owned(), number.into()))
        .collect();
    let (caller, tenant) = match &count.caller {
        Caller::Tenant(tenant) => ("tenant", Some(tenant)),
        Caller::Anonymous => ("anonymous", None),
        Caller::Others => ("others", None),
    };
    serde_json::json!({
        "service": count.service,
        "version": count.version,
        "route": count.route,
        "caller": caller,
        "tenant": tenant,
        "begun": count.begun,
        "unfinished": count.unfinished,
        "outcomes": outcomes,
        "durations_us": count.durations_us,
    })
}
