//! The gateway's admin API on its owner-only socket: keys, rollouts, configuration, metrics.
//!
//! Requests arrive on the data path's threads and are handed to one task of the process, so that a slow
//! store never holds a worker.

mod ramps;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use rc_model::problem::PROBLEM_JSON;
use rc_model::{KeyId, Problem, TenantId, TraceContext};
use rc_serve::metrics::OPENMETRICS;
use rc_store::Error;
use rc_traffic::Gateway;
use rc_traffic::hooks::{AdminFuture, AdminHandler, CallerUid};
use rc_traffic::key::ApiKey;
use serde::Deserialize;
use tokio::sync::{mpsc, oneshot};

use super::config;
use super::keys::{Asked, KEYS_PER_TENANT_MAX, KeyRecord, LABEL_BYTES_MAX, TooMany};
use super::state::Shared;
use crate::audit::outbox::FULL_CODE;
use crate::audit::{Actor, Full, Reason};

/// Admin requests that wait at one time; more are refused.
const QUEUE_MAX: usize = 64;
/// Longest life of a key that expires: ten years.
const EXPIRES_IN_S_MAX: u64 = 3_650 * 86_400;

/// A request and where its answer goes.
type Call = (Request<Bytes>, oneshot::Sender<Response<Bytes>>);

/// Admin requests on their way to the task that answers.
pub(super) type Calls = mpsc::Receiver<Call>;

/// The data path's end of the admin API.
pub(super) struct Admin {
    queue: mpsc::Sender<Call>,
}

impl Admin {
    /// The end that the data path holds, and the one that [`Self::answer`] takes.
    pub(super) fn channel() -> (Arc<Self>, Calls) {
        let (queue, calls) = mpsc::channel(QUEUE_MAX);
        (Arc::new(Self { queue }), calls)
    }

    /// Answers requests, and every `poll` reads the keys again, and the weights of rollouts, until the process stops.
    /// One task does all, so that an older list never replaces a newer one.
    pub(super) async fn answer(shared: Arc<Shared>, mut calls: Calls, poll: Duration) {
        let stopping = shared.deps.tree.stopping();
        let store = shared.deps.readiness.component("keys");
        let mut tick = tokio::time::interval(poll);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut ramps = ramps::Watch::new(&shared);
        loop {
            tokio::select! {
                _ = tick.tick() => match shared.refresh_keys().await {
                    Ok(()) => store.set_ready(),
                    Err(error) => store.set_down(error.to_string()),
                },
                () = ramps.due() => ramps.refresh(&shared).await,
                call = calls.recv() => {
                    let Some((request, answer)) = call else { return };
                    // The caller may have gone; there is nobody left to tell.
                    let _ = answer.send(handle(&shared, request).await);
                }
                () = stopping.cancelled() => return,
            }
        }
    }
}

impl AdminHandler for Admin {
    fn call(&self, request: Request<Bytes>) -> AdminFuture {
        let (answer, answered) = oneshot::channel();
        let queued = self.queue.try_send((request, answer));
        Box::pin(async move {
            let busy = || {
                let problem = Problem::new(503, "RC-GW-060", "the admin API is busy");
                respond(&problem.retry_after(Duration::from_secs(1)))
            };
            if queued.is_err() {
                return busy();
            }
            answered.await.unwrap_or_else(|_dropped| busy())
        })
    }
}

async fn handle(shared: &Shared, request: Request<Bytes>) -> Response<Bytes> {
    if let Err(problem) = by_owner(&request) {
        return respond(&problem);
    }
    let path = request.uri().path();
    let answer = match (request.method(), path) {
        (&Method::GET, "/metrics") => {
            let metrics = shared.gateway.with_exemplars(&shared.deps.metrics.render());
            return text(OPENMETRICS, metrics);
        }
        (&Method::GET, "/-/config") => {
            let (report, digest) = shared.config_report();
            Ok(config::tagged(json(StatusCode::OK, &report), digest))
        }
        (&Method::PUT, "/-/config") => Err(config::managed(
            "the platform's configuration is the project's files; change them, and the gateway follows",
        )),
        (&Method::GET, "/-/levels") => {
            levels(&shared.gateway, request.uri().query()).map_err(|problem| *problem)
        }
        (&Method::POST, "/-/reload") => {
            let (report, digest) = shared.reload().await;
            Ok(config::tagged(json(StatusCode::OK, &report), digest))
        }
        (&Method::GET, "/-/keys") => list_keys(shared, request.uri().query()).await,
        (&Method::POST, "/-/keys") => create_key(shared, &request).await,
        (&Method::DELETE, _) if path.starts_with("/-/keys/") => {
            revoke_key(shared, path.trim_start_matches("/-/keys/"), &request).await
        }
        (&Method::GET, "/-/counts") => ramps::counts(shared, request.uri().query()).map_err(malformed),
        (&Method::GET, "/-/ramps") => Ok(ramps::list(shared)),
        (&Method::PUT, _) if path.starts_with("/-/ramps/") => {
            ramps::set(shared, path.trim_start_matches("/-/ramps/"), &request).await
        }
        (&Method::POST, _) if path.starts_with("/-/ramps/") && path.ends_with("/undo") => {
            let name = path.trim_start_matches("/-/ramps/").trim_end_matches("/undo");
            ramps::undo(shared, name, &request).await
        }
        _ => Err(Problem::new(404, "RC-SRV-001", "no such path")),
    };
    answer.unwrap_or_else(|problem| respond(&problem))
}

/// Only the owner of the process, and root. The socket's mode says the same; this holds where a folder on the way
/// does not keep modes.
pub(super) fn by_owner(request: &Request<Bytes>) -> Result<(), Box<Problem>> {
    let owner = rustix::process::geteuid().as_raw();
    let refused = |detail| {
        Problem::new(403, "RC-GW-075", "not the owner")
            .detail(detail)
            .into()
    };
    match request.extensions().get::<CallerUid>() {
        Some(CallerUid(uid)) if *uid == owner || *uid == 0 => Ok(()),
        Some(CallerUid(uid)) => {
            let detail = format!("the gateway runs as user {owner}, and user {uid} asks");
            Err(refused(detail))
        }
        None => Err(refused("the kernel does not say who asks".to_owned())),
    }
}

/// `GET /-/levels`, of `?tenant=`, or of requests without a tenant.
pub(super) fn levels(gateway: &Gateway, query: Option<&str>) -> Result<Response<Bytes>, Box<Problem>> {
    let unknown = |name: &str| {
        let detail = format!("`{name}` is no tenant in force");
        Box::new(Problem::new(404, "RC-GW-062", "unknown tenant").detail(detail))
    };
    let named = parameter(query, "tenant");
    let tenant = named.map(|name| TenantId::new(name).map_err(|_not_a_name| unknown(name)));
    let tenant = tenant.transpose()?;
    let levels = gateway.levels(tenant.as_ref());
    let levels = levels.ok_or_else(|| unknown(named.unwrap_or_default()))?;
    Ok(json(StatusCode::OK, &levels))
}

/// The value of `name` in a query.
fn parameter<'q>(query: Option<&'q str>, name: &str) -> Option<&'q str> {
    let mut pairs = query?.split('&').filter_map(|pair| pair.split_once('='));
    pairs.find_map(|(key, value)| (key == name).then_some(value))
}

/// `POST /-/keys`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CreateKey {
    tenant: String,
    #[serde(default)]
    label: Option<String>,
    #[serde(default)]
    expires_in_s: Option<u64>,
    /// Revoke the tenant's other keys of this label.
    #[serde(default)]
    replace: bool,
    /// For the audit log: why the key is made.
    #[serde(default)]
    cause: Cause,
    /// For the audit log, in the caller's words.
    #[serde(default)]
    reason: Option<String>,
}

/// `DELETE /-/keys/{id}`; the body may be absent.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RevokeKey {
    /// For the audit log, in the caller's words.
    #[serde(default)]
    reason: Option<String>,
}

/// What a change of keys comes from.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Cause {
    /// Somebody asked for it.
    #[default]
    Asked,
    /// `rc up` makes a key for a demo tenant.
    Demo,
}

fn malformed(detail: String) -> Problem {
    Problem::new(400, "RC-GW-061", "malformed admin request").detail(detail)
}

/// Who asks, and why. Only the owner of the process (and root) can open the socket; the kernel says who.
fn asked(request: &Request<Bytes>, cause: Cause, reason: Option<String>) -> Result<Asked, String> {
    if let Some(text) = &reason {
        Reason::check(text).map_err(|what| format!("`reason`: {what}"))?;
    }
    let uid = request.extensions().get::<CallerUid>().map(|caller| caller.0);
    let trace = request
        .headers()
        .get("traceparent")
        .and_then(|value| TraceContext::parse(value.as_bytes()));
    Ok(Asked {
        actor: Actor::OsUser(uid.unwrap_or_else(|| rustix::process::getuid().as_raw())),
        reason: Reason {
            code: match cause {
                Cause::Asked => "asked",
                Cause::Demo => "demo",
            },
            text: reason,
        },
        trace_id: trace.map(TraceContext::trace_id),
    })
}

async fn create_key(shared: &Shared, request: &Request<Bytes>) -> Result<Response<Bytes>, Problem> {
    let wish: CreateKey =
        serde_json::from_slice(request.body()).map_err(|error| malformed(error.to_string()))?;
    let asked = asked(request, wish.cause, wish.reason).map_err(malformed)?;
    let label = wish.label.unwrap_or_default();
    if label.len() > LABEL_BYTES_MAX || label.chars().any(char::is_control) {
        return Err(malformed(format!(
            "a label has at most {LABEL_BYTES_MAX} bytes and no control characters"
        )));
    }
    if wish
        .expires_in_s
        .is_some_and(|secs| secs == 0 || secs > EXPIRES_IN_S_MAX)
    {
        return Err(malformed(format!(
            "`expires_in_s` is between 1 and {EXPIRES_IN_S_MAX}"
        )));
    }
    let tenant = TenantId::new(&wish.tenant).map_err(|error| malformed(format!("`tenant`: {error}")))?;
    if !shared.knows_tenant(&tenant) {
        let detail = format!("`{tenant}` is not in `tenants.yaml`");
        return Err(Problem::new(404, "RC-GW-062", "unknown tenant").detail(detail));
    }
    let key = ApiKey::generate().map_err(|error| {
        Problem::new(500, "RC-GW-063", "the system gave no randomness").detail(error.to_string())
    })?;
    let now = shared.deps.clock.now();
    let record = KeyRecord {
        key_id: key.id().clone(),
        tenant,
        label,
        created_at: now,
        expires_at: wish.expires_in_s.map(|secs| now.plus(Duration::from_secs(secs))),
        revoked_at: None,
        hash: *key.hash().as_bytes(),
    };
    let added = shared.keys.add(record.clone(), wish.replace, &asked).await;
    added.map_err(|error| match error.downcast_ref::<TooMany>() {
        Some(TooMany) => {
            let detail = format!("a tenant has at most {KEYS_PER_TENANT_MAX} valid keys; revoke one first");
            Problem::new(409, "RC-GW-064", "too many keys").detail(detail)
        }
        None => store_problem(error),
    })?;
    // The key works from the moment its maker sees it, and those it replaces no longer.
    shared.change_keys(|records| {
        for other in records.iter_mut().filter(|_| wish.replace) {
            if other.tenant == record.tenant && other.label == record.label {
                other.revoked_at.get_or_insert(now);
            }
        }
        records.push(record.clone());
    });
    tracing::info!(
        user = user(shared, &record.key_id),
        tenant = record.tenant.as_str(),
        label = record.label,
        "key created"
    );
    let mut shown = serde_json::to_value(&record).unwrap_or_default();
    if let Some(fields) = shown.as_object_mut() {
        fields.insert("key".to_owned(), key.reveal().into());
    }
    Ok(json(StatusCode::CREATED, &shown))
}

/// The key's user as log lines name it: they say no key's id in clear.
fn user(shared: &Shared, key_id: &KeyId) -> Option<String> {
    let users = shared.deps.marks.users.as_ref()?;
    Some(users.user(key_id).to_string())
}

async fn revoke_key(
    shared: &Shared,
    key_id: &str,
    request: &Request<Bytes>,
) -> Result<Response<Bytes>, Problem> {
    let wish = match request.body() {
        body if body.is_empty() => RevokeKey::default(),
        body => serde_json::from_slice(body).map_err(|error| malformed(error.to_string()))?,
    };
    let asked = asked(request, Cause::Asked, wish.reason).map_err(malformed)?;
    let unknown =
        || Problem::new(404, "RC-GW-065", "unknown key").detail(format!("there is no key `{key_id}`"));
    let id = KeyId::new(key_id).map_err(|_not_a_name| unknown())?;
    let now = shared.deps.clock.now();
    let record = shared
        .keys
        .revoke(&id, now, &asked)
        .await
        .map_err(store_problem)?
        .ok_or_else(unknown)?;
    // The key is dead before the answer says so.
    shared.change_keys(|records| records.retain(|known| known.key_id != record.key_id));
    tracing::info!(
        user = user(shared, &record.key_id),
        tenant = record.tenant.as_str(),
        "key revoked"
    );
    Ok(json(StatusCode::OK, &record))
}

async fn list_keys(shared: &Shared, query: Option<&str>) -> Result<Response<Bytes>, Problem> {
    let tenant = parameter(query, "tenant");
    let mut records = shared
        .keys
        .list(shared.deps.clock.now())
        .await
        .map_err(store_problem)?;
    if let Some(tenant) = tenant {
        records.retain(|record| record.tenant.as_str() == tenant);
    }
    Ok(json(StatusCode::OK, &serde_json::json!({ "keys": records })))
}

/// Longest pause before somebody asks again whether the ledger is back.
const FULL_RETRY: Duration = Duration::from_secs(30);

fn store_problem(error: Error) -> Problem {
    if let Some(full) = error.downcast_ref::<Full>() {
        return Problem::new(503, FULL_CODE, "too many audit entries wait for the ledger")
            .detail(full.to_string())
            .retry_after(FULL_RETRY);
    }
    let problem =
        Problem::new(503, error.code(), "the gateway's store did not answer").detail(error.to_string());
    problem.retry_after(error.retry_after().unwrap_or(Duration::from_secs(1)))
}

pub(super) fn text(media_type: &'static str, body: String) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body));
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, http::HeaderValue::from_static(media_type));
    response
}

pub(super) fn json(status: StatusCode, body: &impl serde::Serialize) -> Response<Bytes> {
    let body = serde_json::to_vec(body).expect("admin answers have only string keys");
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        http::HeaderValue::from_static("application/json"),
    );
    headers.insert(header::CACHE_CONTROL, http::HeaderValue::from_static("no-store"));
    response
}

pub(super) fn respond(problem: &Problem) -> Response<Bytes> {
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = json(status, problem);
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, http::HeaderValue::from_static(PROBLEM_JSON));
    if let Some(secs) = problem.retry_after_secs() {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, http::HeaderValue::from(secs));
    }
    response
}
