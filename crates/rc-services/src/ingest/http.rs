//! The routes of ingest. Each handler reads the request, asks the backend, and words the answer.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use axum::Router;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Query, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use rc_events::schema::Schema;
use rc_model::{Clock, Problem, TenantId};
use rc_serve::{RequestContext, uds};
use rc_store::{Error, ErrorKind};
use serde::Deserialize;
use uuid::Uuid;

use super::admission::Admission;
use super::answer::{BatchStatus, IngestAnswer, Progress, with_indexed};
use super::backend::Backend;
use super::decide::{Route, Work, Write};
use super::meters::Meters;
use super::receive::{self, KEY_HEADER, Options, Received, Refused};
use super::room::Room;
use super::storage::{OverQuota, Reservations};
use super::store::{Outcome, Stored};
use super::{arrival, fault, limits};
use crate::document;

/// Says that an answer comes from an earlier attempt.
const REPLAYED_HEADER: http::HeaderName = http::HeaderName::from_static("idempotency-replayed");

/// The name of the storage quota in fields and problems; the same as its key in `tenants.yaml`.
const POLICY_NAME: &str = "storage";

/// Fields and problem type of draft-ietf-httpapi-ratelimit-headers, as the gateway has them for rates.
const RATELIMIT_POLICY: http::HeaderName = http::HeaderName::from_static("ratelimit-policy");
const RATELIMIT: http::HeaderName = http::HeaderName::from_static("ratelimit");
const QUOTA_EXCEEDED: &str = "https://iana.org/assignments/http-problem-types#quota-exceeded";

/// What a caller is told to wait while the store cannot be reached.
const STORE_DOWN_RETRY: Duration = Duration::from_secs(2);

/// How long the status resource asks docs-api for.
const STATUS_ASK: Duration = Duration::from_millis(500);

/// What remains of a caller's deadline for the way back.
const WAY_BACK: Duration = Duration::from_millis(50);

/// Longest long poll on the bus.
const BUS_WAIT_MAX: Duration = Duration::from_secs(60);

/// What every handler shares.
pub(crate) struct App {
    /// Absent while the store cannot be opened.
    pub(crate) backend: Arc<ArcSwapOption<Backend>>,
    pub(crate) admission: Admission,
    pub(crate) room: Room,
    /// What the project demands of documents beyond our own schema.
    pub(crate) rules: Option<Schema>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) meters: Meters,
    /// What writes under way add.
    pub(crate) reservations: Reservations,
    /// Where docs-api listens.
    pub(crate) docs_socket: PathBuf,
}

/// The routes.
pub(crate) fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/ingest", post(put_one))
        .route("/ingest/batch", post(put_batch))
        .route("/ingest/batches/{batch}", get(batch_status))
        .route("/docs/{id}", delete(delete_document))
        .route("/openapi.json", get(openapi))
        .route("/-/bus/wait", get(bus_wait))
        .with_state(app)
}

async fn put_one(State(app): State<Arc<App>>, context: RequestContext, request: Request) -> Response {
    answer_put(&app, Route::One, &context, request).await
}

async fn put_batch(State(app): State<Arc<App>>, context: RequestContext, request: Request) -> Response {
    answer_put(&app, Route::Batch, &context, request).await
}

async fn answer_put(app: &App, route: Route, context: &RequestContext, request: Request) -> Response {
    let (parts, mut body) = request.into_parts();
    let answer = put(app, route, context, &parts, &mut body).await;
    if answer.is_err() {
        arrival::discard(&parts.headers, &mut body).await;
    }
    app.finish(answer, &parts)
}

async fn put(
    app: &App,
    route: Route,
    context: &RequestContext,
    parts: &http::request::Parts,
    body: &mut Body,
) -> Result<Response, Refused> {
    let key = receive::required_key(&parts.headers)?;
    let options = Options::read(&parts.uri)?;
    let backend = app.backend()?;
    app.room.admit().map_err(|problem| Refused::new(*problem))?;
    let key = receive::key_text(&key);
    let received = receive::receive(
        &app.admission,
        app.rules.as_ref(),
        &*app.clock,
        route,
        context,
        parts,
        body,
        key,
        options.full,
    )
    .await;
    app.meters.queue(&app.admission);
    let Received { write, permit } = received?;
    let tenant = write.tenant.clone();
    let outcome = app.store(&backend, context, write).await;
    // A store that refuses is no measure of its speed.
    match &outcome {
        Ok(_) => permit.done(),
        Err(_) => drop(permit),
    }
    app.meters.queue(&app.admission);
    app.answer(context, &tenant, outcome?, options).await
}

async fn delete_document(
    State(app): State<Arc<App>>,
    context: RequestContext,
    id: Result<Path<String>, PathRejection>,
    request: Request,
) -> Response {
    let (parts, _) = request.into_parts();
    app.finish(remove(&app, &context, id, &parts).await, &parts)
}

async fn remove(
    app: &App,
    context: &RequestContext,
    id: Result<Path<String>, PathRejection>,
    parts: &http::request::Parts,
) -> Result<Response, Refused> {
    let tenant = receive::tenant(context)?;
    let key = receive::key(&parts.headers)?;
    let options = Options::read(&parts.uri)?;
    let missing = || Refused::kind(fault::NO_DOCUMENT, "this tenant has no document with this id");
    let Ok(Path(id)) = id else {
        return Err(missing());
    };
    document::check_id(&id).map_err(|_why| missing())?;
    let backend = app.backend()?;
    let write = Write {
        tenant: tenant.clone(),
        route: Route::Delete,
        key: key.as_ref().map(receive::key_text),
        request_hash: receive::delete_hash(&id),
        work: Work::Delete(id),
        quota: None,
        full: true,
        batch: receive::batch_id(&*app.clock),
        at: app.clock.now(),
        trace: context.trace,
    };
    let outcome = app.store(&backend, context, write).await?;
    app.answer(context, &tenant, outcome, options).await
}

async fn batch_status(
    State(app): State<Arc<App>>,
    context: RequestContext,
    batch: Result<Path<String>, PathRejection>,
) -> Result<Response, Refused> {
    let tenant = receive::tenant(&context)?;
    let missing = || {
        Refused::kind(
            fault::NO_BATCH,
            "no such batch of this tenant in the last 24 hours",
        )
    };
    let Ok(Path(batch)) = batch else {
        return Err(missing());
    };
    let batch = Uuid::try_parse(&batch).map_err(|_malformed| missing())?;
    let backend = app.backend()?;
    let limit = context.time_left(limits::STORE_TIMEOUT);
    let found = tokio::time::timeout(limit, backend.store.batch(&tenant, batch)).await;
    let stored = match found {
        Ok(found) => found
            .map_err(|error| store_problem(&error))?
            .ok_or_else(missing)?,
        Err(_elapsed) => return Err(store_slow()),
    };
    let Ok(answer) = serde_json::from_slice::<IngestAnswer>(&stored.answer) else {
        tracing::error!(%batch, "a stored answer cannot be read");
        return Err(Refused::kind(fault::BUG, "the batch's answer cannot be read"));
    };
    let state = if app
        .indexed(&tenant, &stored.docs, Duration::ZERO, STATUS_ASK)
        .await
    {
        Progress::Indexed
    } else if backend.relayed(stored.received_at).await {
        Progress::Relayed
    } else {
        Progress::Stored
    };
    let status = BatchStatus {
        batch: answer.batch,
        state,
        received_at: stored.received_at,
        accepted: answer.accepted,
        duplicates: answer.duplicates,
        rejected: answer.rejected,
        items: answer.items,
    };
    Ok(([(header::CACHE_CONTROL, "no-store")], axum::Json(status)).into_response())
}

async fn openapi() -> Response {
    axum::Json(super::api::document()).into_response()
}

#[derive(Deserialize)]
struct BusWait {
    after: i64,
    timeout_ms: Option<u64>,
    /// Who asks; what it asks `after` is then what it has applied.
    consumer: Option<String>,
}

/// The wake-up of consumers in other processes: answers when the bus has more than they know.
async fn bus_wait(
    State(app): State<Arc<App>>,
    query: Result<Query<BusWait>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, Refused> {
    let Query(query) = query.map_err(|error| Refused::kind(fault::BAD_QUERY, error.body_text()))?;
    let backend = app.backend()?;
    let failed = |error: rc_events::Error| {
        tracing::warn!(%error, "the bus did not answer a long poll");
        let retry_after = error.retry_after().unwrap_or(STORE_DOWN_RETRY);
        Refused::new(store_down().retry_after(retry_after))
    };
    if let Some(consumer) = &query.consumer {
        backend
            .bus
            .progress(consumer, query.after)
            .await
            .map_err(failed)?;
    }
    let timeout = Duration::from_millis(query.timeout_ms.unwrap_or(0)).min(BUS_WAIT_MAX);
    let tail = backend.bus.wait(query.after, timeout).await.map_err(failed)?;
    Ok(axum::Json(serde_json::json!({ "tail": tail })).into_response())
}

impl App {
    fn backend(&self) -> Result<Arc<Backend>, Refused> {
        let down = || Refused::new(store_down().retry_after(STORE_DOWN_RETRY));
        self.backend.load_full().ok_or_else(down)
    }

    /// Counts a refusal, and echoes a sane key whatever the answer is.
    fn finish(&self, answer: Result<Response, Refused>, parts: &http::request::Parts) -> Response {
        let mut response = answer.unwrap_or_else(|refused| {
            self.meters.refused(refused.code());
            refused.into_response()
        });
        if let Ok(Some(key)) = receive::key(&parts.headers) {
            response.headers_mut().insert(KEY_HEADER, key);
        }
        response
    }

    async fn store(
        &self,
        backend: &Backend,
        context: &RequestContext,
        write: Write,
    ) -> Result<Outcome, Refused> {
        let limit = context
            .time_left(limits::STORE_TIMEOUT)
            .min(limits::STORE_TIMEOUT);
        let _held = self.reservations.hold(&write.tenant, write.bytes());
        match tokio::time::timeout(limit, backend.store.write(write)).await {
            Ok(outcome) => outcome.map_err(|error| store_problem(&error)),
            Err(_elapsed) => Err(store_slow()),
        }
    }

    async fn answer(
        &self,
        context: &RequestContext,
        tenant: &TenantId,
        outcome: Outcome,
        options: Options,
    ) -> Result<Response, Refused> {
        let (stored, replayed) = match outcome {
            Outcome::Fresh(stored, counts) => {
                self.meters.answered(counts);
                (stored, false)
            }
            Outcome::Replayed(stored) => {
                self.meters.replayed();
                (stored, true)
            }
            Outcome::KeyReused => {
                let detail =
                    "this `Idempotency-Key` came with another body in the last 24 hours; use a new key";
                return Err(Refused::kind(fault::KEY_REUSED, detail));
            }
            Outcome::NoDocument => {
                let detail = "this tenant has no document with this id";
                return Err(Refused::kind(fault::NO_DOCUMENT, detail));
            }
            Outcome::OverQuota(over) => return Err(over_quota(over)),
        };
        let (mut status, mut body) = (StatusCode::ACCEPTED, stored.answer.clone());
        if let Some(timeout) = options.wait {
            let left = context.time_left(limits::WAIT_MAX).saturating_sub(WAY_BACK);
            let timeout = timeout.min(left);
            let indexed = self
                .indexed(tenant, &stored.docs, timeout, timeout + WAY_BACK)
                .await;
            body = with_indexed(&body, indexed);
            if indexed {
                status = StatusCode::OK;
            }
        }
        Ok(answered(status, body, &stored, replayed))
    }

    /// Whether docs-api can show every document of `docs` (JSON) within `timeout`.
    async fn indexed(&self, tenant: &TenantId, docs: &str, timeout: Duration, deadline: Duration) -> bool {
        if docs == "[]" {
            return true;
        }
        let timeout_ms = timeout.as_millis();
        // A tenant id is a DNS label: it needs no escaping.
        let body = format!("{{\"tenant\":\"{tenant}\",\"docs\":{docs},\"timeout_ms\":{timeout_ms}}}");
        let request = http::Request::post("/-/indexed")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Bytes::from(body))
            .expect("a constant path and header are valid");
        match uds::call(&self.docs_socket, request, deadline).await {
            Ok(response) if response.status().is_success() => {
                serde_json::from_slice::<Indexed>(response.body()).is_ok_and(|answer| answer.indexed)
            }
            Ok(response) => {
                tracing::debug!(
                    status = response.status().as_u16(),
                    "docs-api cannot say what is indexed"
                );
                false
            }
            Err(error) => {
                tracing::debug!(%error, "docs-api cannot say what is indexed");
                false
            }
        }
    }
}

#[derive(Deserialize)]
struct Indexed {
    indexed: bool,
}

fn answered(status: StatusCode, body: Bytes, stored: &Stored, replayed: bool) -> Response {
    let mut response = (status, body).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let location = format!("/ingest/batches/{}", stored.batch);
    let location = HeaderValue::from_str(&location).expect("a UUID is ASCII");
    headers.insert(header::LOCATION, location);
    if replayed {
        headers.insert(REPLAYED_HEADER, HeaderValue::from_static("true"));
    }
    response
}

pub(super) fn store_down() -> Problem {
    let kind = fault::STORE_DOWN;
    Problem::new(kind.status, kind.code, kind.title)
}

fn store_slow() -> Refused {
    let detail = "the store did not answer in time; try again with the same `Idempotency-Key`";
    Refused::new(store_down().detail(detail).retry_after(STORE_DOWN_RETRY))
}

/// The refusal of a write that does not fit, with how much would.
fn over_quota(over: OverQuota) -> Refused {
    let OverQuota { limit, taken, growth } = over;
    let kind = fault::OVER_QUOTA;
    let mut problem = Problem::new(kind.status, kind.code, kind.title).detail(format!(
        "the tenant has {taken} bytes of documents and may have {limit}; this request adds {growth}"
    ));
    problem.kind = QUOTA_EXCEEDED.to_owned();
    problem.violated_policies.push(POLICY_NAME.to_owned());
    let left = limit.saturating_sub(taken);
    let field = |text: String| HeaderValue::from_str(&text).expect("names and digits are visible ASCII");
    Refused::new(problem)
        .with(
            RATELIMIT_POLICY,
            field(format!("\"{POLICY_NAME}\";q={limit};qu=\"content-bytes\"")),
        )
        .with(RATELIMIT, field(format!("\"{POLICY_NAME}\";r={left}")))
}

/// What a caller is told about a store's error; the whole of it goes to the log.
pub(super) fn store_problem(error: &Error) -> Refused {
    let retry_after = error.retry_after().unwrap_or(STORE_DOWN_RETRY);
    let kind = match error.kind() {
        ErrorKind::Busy { .. } => {
            let kind = fault::QUEUE_FULL;
            let problem = Problem::new(kind.status, kind.code, kind.title).retry_after(retry_after);
            return Refused::new(problem.detail("more documents arrive than can be stored"));
        }
        ErrorKind::Unavailable { .. }
        | ErrorKind::Conflict
        | ErrorKind::Timeout
        | ErrorKind::ReadOnly
        | ErrorKind::DiskFull
        | ErrorKind::WriterTaken
        | ErrorKind::Migration => fault::STORE_DOWN,
        ErrorKind::Constraint
        | ErrorKind::Corrupt
        | ErrorKind::Foreign
        | ErrorKind::Url
        | ErrorKind::Aborted
        | ErrorKind::Bug => fault::BUG,
    };
    let problem = Problem::new(kind.status, kind.code, kind.title);
    if kind == fault::STORE_DOWN {
        tracing::warn!(code = error.code(), error = ?error, "the store refused a request");
        let detail = "nothing is lost; try again with the same `Idempotency-Key`";
        return Refused::new(problem.detail(detail).retry_after(retry_after));
    }
    tracing::error!(code = error.code(), error = ?error, "the store failed");
    Refused::new(problem.detail(format!("the store answered {}", error.code())))
}
