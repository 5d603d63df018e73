//! `rc gateway explain`: every limit that applies to a request, where it is written, and how full it is.

use std::time::Duration;

use bytes::Bytes;
use rc_model::TenantId;
use rc_model::catalog::{Method, Route};
use rc_model::tenants::EffectiveLimits;
use rc_serve::uds;
use rc_services::gateway::{ConnectionLimits, Levels, RateLevel, RouteLevel, route_of};
use serde::Serialize;

use super::ConfigArg;
use super::files::{Told, json, leaves};
use crate::commands::tenant::table;
use crate::cx::Cx;
use crate::fault::{Fault, Outcome};

/// Longest wait for the running gateway.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// Explain what happens to a request: every limit that applies, in the order in which they are looked at
///
/// Each limit with its value, the line that it comes from (the tenant's own, its tier's, the route's, or a built-in
/// default), and how full it is at this moment in the running gateway. When none runs, the levels are missing.
///
/// Exit codes: 0 the request would be looked at by these limits, 1 no route leads there, 2 there is no such tenant.
///
/// `--output json` prints `{"tenant", "tier", "service", "route", "running", "same_files", "limits": [{"step", "limit",
/// "value", "source", "level"}]}`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    config: ConfigArg,
    /// Whose request; without it, nobody's in particular
    #[arg(long, value_name = "TENANT")]
    tenant: Option<TenantId>,
    /// Its path, such as `/docs/7`
    #[arg(long, value_name = "PATH")]
    path: String,
    /// Its method
    #[arg(long, value_name = "METHOD", default_value = "GET", value_parser = method)]
    method: Method,
}

fn method(name: &str) -> Result<Method, String> {
    let method = serde_json::from_value(name.to_ascii_uppercase().into());
    method
        .map_err(|_unknown| "the gateway carries GET, HEAD, POST, PUT, PATCH, DELETE and OPTIONS".to_owned())
}

/// What `--output json` prints.
#[derive(Debug, Serialize)]
struct Explained {
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<TenantId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tier: Option<String>,
    service: String,
    route: String,
    /// Whether a gateway runs with these files.
    running: bool,
    /// Whether what is in force there is what the files say. Absent when none runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    same_files: Option<bool>,
    limits: Vec<Row>,
}

/// One limit.
#[derive(Debug, Serialize)]
struct Row {
    /// When it is looked at.
    step: &'static str,
    limit: String,
    value: String,
    /// Where it is written.
    source: String,
    /// How full it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    level: Option<String>,
}

/// Whose limit it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Of {
    Connection,
    Anonymous,
    Tenant,
    Route,
    Service,
}

/// In which order limits are looked at. A limit that is in the files and not in this list is told at the end.
const ORDER: [(Of, &str, &str); 23] = [
    (Of::Connection, "", "connection"),
    (Of::Anonymous, "per_source", "identity"),
    (Of::Anonymous, "rps", "identity"),
    (Of::Tenant, "rps", "rate"),
    (Of::Route, "path", "route"),
    (Of::Route, "methods", "route"),
    (Of::Route, "public", "route"),
    (Of::Route, "versions", "route"),
    (Of::Tenant, "body_max", "size"),
    (Of::Anonymous, "body_max", "size"),
    (Of::Tenant, "storage", "size"),
    (Of::Tenant, "timeout", "time"),
    (Of::Anonymous, "timeout", "time"),
    (Of::Route, "timeout", "time"),
    (Of::Route, "cache", "cache"),
    (Of::Route, "concurrency", "seat"),
    (Of::Tenant, "concurrency", "seat"),
    (Of::Tenant, "weight", "queue"),
    (Of::Tenant, "queue", "queue"),
    (Of::Service, "health", "health"),
    (Of::Tenant, "retry", "retry"),
    (Of::Anonymous, "retry", "retry"),
    (Of::Route, "hedge", "retry"),
];

/// One request, and everything that is known about where it goes.
struct Case<'a> {
    told: &'a Told,
    tenant: Option<(&'a TenantId, EffectiveLimits)>,
    service: &'a str,
    route: &'a Route,
    levels: Option<&'a Levels>,
}

pub(crate) async fn run(cx: &Cx, args: Args) -> Result<Outcome, miette::Report> {
    let told = Told::read(cx, args.config.config.as_deref())?;
    let tenant = args
        .tenant
        .as_ref()
        .map(|tenant| known(&told, tenant))
        .transpose()?;
    let at = route_of(&told.routes, &args.path, args.method).map_err(|why| {
        Fault::no(
            "RC-GW-010",
            format!("{} {}: {why}", args.method.as_str(), args.path),
        )
        .hint("`rc catalog check` lists the routes of a project; a gateway's own are in its file")
    })?;
    let (service, route) = &told.routes[at];
    let running = ask::<Levels>(&told, &levels_path(args.tenant.as_ref())).await;
    let in_force = ask::<serde_json::Value>(&told, "/-/config").await;
    let case = Case {
        told: &told,
        tenant,
        service: service.as_str(),
        route,
        levels: running.as_ref(),
    };
    let explained = Explained {
        tenant: args.tenant.clone(),
        tier: case.tenant.as_ref().map(|(_, limits)| limits.tier.to_string()),
        service: service.to_string(),
        route: route.path.clone(),
        running: in_force.is_some(),
        same_files: in_force.map(|report| report["digest"] == told.digest.to_string()),
        limits: rows(&case),
    };
    if cx.json() {
        cx.print_json(&explained);
    } else {
        cx.say(for_people(&explained, args.method, &args.path));
    }
    Ok(Outcome::Done)
}

fn known<'a>(told: &'a Told, tenant: &TenantId) -> Result<(&'a TenantId, EffectiveLimits), Fault> {
    let found = told.tenants.tenants.get_key_value(tenant);
    if let Some(((id, _), limits)) = found.zip(told.tenants.effective(tenant)) {
        return Ok((id, limits));
    }
    let meant = rc_model::closest(tenant.as_str(), told.tenants.tenants.keys().map(TenantId::as_str));
    let hint = meant.map_or_else(
        || "without `--tenant` it explains what holds for nobody in particular".to_owned(),
        |name| format!("did you mean `{name}`?"),
    );
    Err(Fault::usage("RC-CLI-015", format!("there is no tenant `{tenant}`")).hint(hint))
}

fn levels_path(tenant: Option<&TenantId>) -> String {
    tenant.map_or_else(
        || "/-/levels".to_owned(),
        |tenant| format!("/-/levels?tenant={tenant}"),
    )
}

/// Asks the running gateway; nothing when none runs or it does not know.
async fn ask<T: serde::de::DeserializeOwned>(told: &Told, target: &str) -> Option<T> {
    let request = http::Request::get(target).body(Bytes::new()).ok()?;
    let answer = uds::call(&told.socket, request, ANSWER_MAX).await.ok()?;
    if !answer.status().is_success() {
        return None;
    }
    serde_json::from_slice(answer.body()).ok()
}

/// Every limit of the case, in the order of [`ORDER`].
fn rows(case: &Case<'_>) -> Vec<Row> {
    let mut found: Vec<(usize, Row)> = Vec::new();
    let mut add = |of: Of, key: String, value: String, source: String| {
        let at = ORDER.iter().position(|(whose, prefix, _)| {
            *whose == of && (prefix.is_empty() || key == *prefix || key.starts_with(&format!("{prefix}.")))
        });
        let step = at.map_or("further", |at| ORDER[at].2);
        let level = level(case, of, &key);
        let limit = match of {
            Of::Anonymous => format!("anonymous.{key}"),
            Of::Route => format!("route.{key}"),
            Of::Service => format!("service.{key}"),
            Of::Connection | Of::Tenant => key,
        };
        found.push((
            at.unwrap_or(ORDER.len()),
            Row {
                step,
                limit,
                value,
                source,
                level,
            },
        ));
    };
    for (key, value) in connection() {
        add(Of::Connection, key.to_owned(), value, "built in".to_owned());
    }
    let anonymous = leaves(&json(&case.told.anonymous));
    // Who is known is measured against the rates of nobody only when the key is wrong.
    let own = |key: &str| case.tenant.is_none() || key.starts_with("rps") || key.starts_with("per_source");
    for (key, value) in anonymous.into_iter().filter(|(key, _)| own(key)) {
        let source = case.told.tenants_doc.place(&path_of(&["anonymous"], &key));
        add(
            Of::Anonymous,
            key,
            value,
            source.unwrap_or_else(|| "built in".to_owned()),
        );
    }
    if let Some((id, limits)) = &case.tenant {
        for (key, value) in tenant_values(limits) {
            let source = tenant_source(case, id, limits, &key);
            add(Of::Tenant, key, value, source);
        }
    }
    for (key, value) in route_values(case.route) {
        let source = route_source(case, &key);
        add(Of::Route, key, value, source);
    }
    if let Some(health) = case.told.health.get(case.service) {
        for (key, value) in leaves(&serde_json::json!({ "health": health })) {
            let place = case
                .told
                .services_doc
                .place(&path_of(&["services", case.service], &key));
            add(
                Of::Service,
                key,
                value,
                place.unwrap_or_else(|| "built in".to_owned()),
            );
        }
    }
    found.sort_by_key(|(at, _)| *at);
    found.into_iter().map(|(_, row)| row).collect()
}

fn connection() -> Vec<(&'static str, String)> {
    let limits = ConnectionLimits::default();
    vec![
        (
            "connections of one worker",
            limits.connections_per_worker_max.to_string(),
        ),
        (
            "head",
            format!("{} bytes, {} fields", limits.head_bytes_max, limits.headers_max),
        ),
        (
            "head arrives within",
            format!("{} s", limits.head_timeout.as_secs()),
        ),
        ("streams of a connection", limits.h2_streams_max.to_string()),
    ]
}

/// What the tenant may do, with the defaults that are worked out and not written.
fn tenant_values(limits: &EffectiveLimits) -> Vec<(String, String)> {
    let mut value = json(limits);
    if let Some(members) = value.as_object_mut() {
        members.remove("tier");
    }
    value["rps"]["burst"] = limits.rps.burst().into();
    if limits.concurrency.max.is_none() {
        value["concurrency"]["max"] = "as many as are free".into();
    }
    leaves(&value)
}

fn route_values(route: &Route) -> Vec<(String, String)> {
    let mut value = json(route);
    if route.methods.is_empty() {
        value["methods"] = "all".into();
    }
    value["public"] = route.public.into();
    value["concurrency"] = json(&route.concurrency.unwrap_or_default());
    value["concurrency"]["initial"] = route.concurrency.unwrap_or_default().initial().into();
    leaves(&value)
}

/// The tenant's own value, else its tier's, else what is built in. A section replaces the tier's as a whole.
fn tenant_source(case: &Case<'_>, id: &TenantId, limits: &EffectiveLimits, key: &str) -> String {
    let doc = &case.told.tenants_doc;
    let section = key.split('.').next().unwrap_or(key);
    let tier = limits.tier.as_str();
    for (above, whose) in [
        (["tenants", id.as_str()], "its own".to_owned()),
        (["tiers", tier], format!("tier `{tier}`")),
    ] {
        let Some(place) = doc.place(&path_of(&above, section)) else {
            continue;
        };
        return match doc.place(&path_of(&above, key)) {
            Some(place) => format!("{place} ({whose})"),
            None => format!("default, as {place} does not say it ({whose})"),
        };
    }
    match doc.place(&["tiers", tier]) {
        Some(place) => format!("default, as {place} does not say it (tier `{tier}`)"),
        None => format!("built in (tier `{tier}`)"),
    }
}

fn route_source(case: &Case<'_>, key: &str) -> String {
    let doc = &case.told.services_doc;
    let routes = doc.node(&["services", case.service, "routes"]);
    let is_it = |node: &&rc_model::yaml::Node| {
        let methods = node.get("methods").map_or(&[][..], rc_model::yaml::Node::items);
        let mut methods = methods.iter().filter_map(rc_model::yaml::Node::as_text);
        node.get("path").and_then(rc_model::yaml::Node::as_text) == Some(case.route.path.as_str())
            && methods.all(|method| case.route.methods.iter().any(|known| known.as_str() == method))
    };
    let Some(node) = routes.and_then(|routes| routes.items().iter().find(is_it)) else {
        return "built in (one of ours)".to_owned();
    };
    let keys: Vec<&str> = key.split('.').collect();
    let entry = keys.split_last().and_then(|(last, before)| {
        let within = before.iter().try_fold(node, |node, key| node.get(key))?;
        within.entry(last)
    });
    match entry.and_then(|entry| doc.of_entry(entry)) {
        Some(place) => place,
        None => format!(
            "default, as {} does not say it",
            doc.of_node(node).unwrap_or_default()
        ),
    }
}

fn path_of<'a>(above: &[&'a str], key: &'a str) -> Vec<&'a str> {
    above.iter().copied().chain(key.split('.')).collect()
}

/// How full a limit is. The one place to add to for a new limit that has a level.
fn level(case: &Case<'_>, of: Of, key: &str) -> Option<String> {
    let levels = case.levels?;
    let seats = || seats_of(case, levels);
    Some(match (of, key) {
        (Of::Tenant, "rps.burst") => left(levels.rate),
        (Of::Tenant, "rps.credits") => format!("{} saved", levels.rate.credits),
        (Of::Anonymous, "rps.burst") if case.tenant.is_none() => {
            format!(
                "{}; with wrong keys: {}",
                left(levels.rate),
                left(levels.unproved)
            )
        }
        (Of::Anonymous, "rps.burst") => format!("with wrong keys: {}", left(levels.unproved)),
        (Of::Tenant, "concurrency.max") => format!("{} in flight", seats()?.in_flight),
        (Of::Tenant, "queue.max") => format!("{} waiting", seats()?.waiting),
        (Of::Route, "concurrency.max") => {
            let seats = seats()?;
            format!(
                "{} of {} seats in use, {} waiting",
                seats.seats_in_use, seats.seats_limit, seats.seats_waiting
            )
        }
        (Of::Route, "concurrency.initial") => {
            let seats = seats()?;
            format!(
                "first byte after {:.1} ms, {:.1} at best",
                seats.latest_ms, seats.least_ms
            )
        }
        _ => return None,
    })
}

fn seats_of<'a>(case: &Case<'_>, levels: &'a Levels) -> Option<&'a RouteLevel> {
    let path = match case.route.path.trim_end_matches('/') {
        "" => "/",
        path => path,
    };
    let mut routes = levels.routes.iter();
    routes.find(|route| route.service == case.service && route.path == path)
}

fn left(rate: RateLevel) -> String {
    format!("{} of {} left", rate.left, rate.burst)
}

fn for_people(explained: &Explained, method: Method, path: &str) -> String {
    let who = match (&explained.tenant, &explained.tier) {
        (Some(tenant), Some(tier)) => format!("{tenant} (tier {tier})"),
        _ => "nobody in particular".to_owned(),
    };
    let rows: Vec<Vec<String>> = explained
        .limits
        .iter()
        .map(|row| {
            let level = row.level.clone().unwrap_or_else(|| "-".to_owned());
            vec![
                row.step.to_owned(),
                row.limit.clone(),
                row.value.clone(),
                level,
                row.source.clone(),
            ]
        })
        .collect();
    let state = match (explained.running, explained.same_files) {
        (false, _) => "the gateway is not running: how full limits are is not known",
        (true, Some(false)) => "the running gateway has other files in force; `rc gateway diff` compares",
        (true, _) => "levels are those of the running gateway",
    };
    format!(
        "{who}: {} {path} goes to {} by the route {}\n\n{}\n\n{state}",
        method.as_str(),
        explained.service,
        explained.route,
        table(&["STEP", "LIMIT", "VALUE", "LEVEL", "SOURCE"], &rows),
    )
}

#[cfg(test)]
mod tests;
