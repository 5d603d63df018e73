//! The HTTP edge of a service on its Unix socket: what every service gets around its own routes.
//!
//! Request context and span, RED metrics, an access log line, problem details for every error, a catch
//! for panics, `/health`, `/ready`, `/metrics`, and a graceful end.

use std::io;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::FutureExt as _;
use http::{HeaderValue, StatusCode, header};
use rc_model::Problem;
use rc_model::clock::monotonic_ns;
use rc_model::problem::PROBLEM_JSON;
use rc_model::project::AccessLog;
use rc_model::telemetry::{OpenSpan, Scope, SpanKind, TelemetrySink, Value};
use tokio::net::TcpListener;
use tracing::Instrument as _;

use crate::context::{REQUEST_ID_HEADER, RequestContext};
use crate::logging::Marks;
use crate::metrics::{Finished, Metrics, OPENMETRICS, known_method};
use crate::pseudonym::Pseudonym;
use crate::readiness::Readiness;
use crate::tree::Tree;
use crate::uds::{self, CallerUid};

/// Routes for our own processes only.
const INTERNAL_ROUTES: &str = "/-/";

/// What stands for the route of a request that no route takes.
const UNMATCHED: &str = "unmatched";

/// A service's routes and what the edge needs to know about it.
#[derive(Debug, Clone)]
pub struct Edge {
    /// The service's name in metrics and logs.
    pub service: &'static str,
    /// Its own routes.
    pub router: Router,
    /// What `/ready` answers from.
    pub readiness: Readiness,
    /// What `/metrics` renders.
    pub metrics: Metrics,
    /// Which requests get a log line.
    pub access: AccessLog,
    /// Where spans go; `None`: nobody records any.
    pub sink: Option<Arc<dyn TelemetrySink>>,
    /// What log lines say about users and data.
    pub marks: Marks,
}

/// An error answer: RFC 9457 problem details. The edge adds the trace id.
#[derive(Debug, Clone)]
pub struct ApiError(pub Box<Problem>);

impl From<Problem> for ApiError {
    fn from(problem: Problem) -> Self {
        Self(Box::new(problem))
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = problem_response(&self.0);
        response.extensions_mut().insert(Arc::new(*self.0));
        response
    }
}

fn problem_response(problem: &Problem) -> Response {
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = serde_json::to_vec(problem).expect("a problem has only string keys");
    let mut response = (status, body).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(secs) = problem.retry_after_secs() {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(secs));
    }
    response
}

impl Edge {
    /// The whole router: the service's routes, the operational ones, and the layers around them.
    pub fn into_router(self) -> Router {
        let Self {
            service,
            router,
            readiness,
            metrics,
            access,
            sink,
            marks,
        } = self;
        let scrape = metrics.clone();
        let state = Arc::new(EdgeState {
            service,
            metrics,
            access,
            sink,
            marks,
        });
        let operational = Router::new()
            .route(
                "/health",
                get(|| async { axum::Json(serde_json::json!({ "state": "alive" })) }),
            )
            .route(
                "/ready",
                get(move || std::future::ready(ready_response(&readiness))),
            )
            .route(
                "/metrics",
                get(move || std::future::ready(metrics_response(&scrape))),
            );
        router
            .fallback(|| async { ApiError::from(Problem::new(404, "RC-SRV-001", "no such path")) })
            .method_not_allowed_fallback(|| async {
                ApiError::from(Problem::new(
                    405,
                    "RC-SRV-002",
                    "this path does not take that method",
                ))
            })
            .layer(middleware::from_fn_with_state(state, around))
            .merge(operational)
    }
}

/// `/ready` as every process answers it: 200, or 503 that names what is missing.
#[must_use]
pub fn ready_response(readiness: &Readiness) -> Response {
    let report = readiness.report();
    let status = if report.state == "ready" {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, axum::Json(report)).into_response()
}

fn metrics_response(metrics: &Metrics) -> Response {
    ([(header::CONTENT_TYPE, OPENMETRICS)], metrics.render()).into_response()
}

#[derive(Debug)]
struct EdgeState {
    service: &'static str,
    metrics: Metrics,
    access: AccessLog,
    sink: Option<Arc<dyn TelemetrySink>>,
    marks: Marks,
}

/// What happens around every request of a service.
async fn around(State(state): State<Arc<EdgeState>>, mut request: Request, next: Next) -> Response {
    let began = monotonic_ns();
    let context = RequestContext::from_headers(request.headers());
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().map_or_else(
        || Arc::from(UNMATCHED),
        |matched| Arc::<str>::from(matched.as_str()),
    );
    // Long polls between our own processes would be most of the log and of the spans, and say nothing when
    // they work.
    let internal = route.starts_with(INTERNAL_ROUTES);
    let scope = state
        .sink
        .as_ref()
        .filter(|_| !internal)
        .and_then(|sink| Scope::new(context.trace, sink));
    let open = scope
        .clone()
        .map(|scope| OpenSpan::root(scope, context.parent, SpanKind::Server));
    let trace_id = context.trace.trace_id_hex();
    let users = state.marks.users.as_ref();
    let user = users.and_then(|users| Some(users.user(context.user.as_ref()?)));
    let span = tracing::info_span!(
        "request",
        request_id = &*context.request_id,
        trace_id = %trace_id,
        tenant = context.tenant.as_ref().map(|tenant| tenant.as_str()),
        user = user.as_ref().map(Pseudonym::as_str),
    );
    request.extensions_mut().insert(context.clone());
    let work = AssertUnwindSafe(next.run(request))
        .catch_unwind()
        .instrument(span.clone());
    let caught = match scope {
        Some(scope) => scope.run(work).await,
        None => work.await,
    };
    let mut response = match caught {
        Ok(response) => response,
        Err(panic) => {
            span.in_scope(|| tracing::error!(panic = panic_text(panic.as_ref()), "a handler panicked"));
            ApiError::from(Problem::new(500, "RC-SRV-003", "the service has a bug")).into_response()
        }
    };
    let mut code = None;
    if let Some(problem) = response.extensions_mut().remove::<Arc<Problem>>() {
        code = Some(problem.code.clone());
        let mut problem = Arc::unwrap_or_clone(problem);
        problem.trace_id = Some(trace_id);
        let extra = std::mem::take(response.headers_mut());
        response = problem_response(&problem);
        for (name, value) in &extra {
            if name != header::CONTENT_LENGTH {
                response.headers_mut().insert(name, value.clone());
            }
        }
    }
    if let Ok(id) = HeaderValue::from_str(&context.request_id) {
        response.headers_mut().insert(REQUEST_ID_HEADER, id);
    }
    let status = response.status();
    let recorded = open.as_ref().map(|_| context.trace);
    if let Some(open) = open {
        finish_span(open, &context, &method, &route, status, code.as_deref());
    }
    let took = Duration::from_nanos(monotonic_ns().saturating_sub(began));
    let tier = context.tier.as_ref().map_or("none", |tier| tier.as_str());
    state.metrics.finished(Finished {
        service: state.service,
        route: &route,
        method: &method,
        tier,
        status,
        took,
        trace: recorded,
    });
    let wanted = match state.access {
        AccessLog::All => !internal || status.is_server_error(),
        AccessLog::Errors => status.is_server_error(),
        AccessLog::Off => false,
    };
    if wanted {
        let duration_ms = took.as_secs_f64() * 1e3;
        span.in_scope(|| {
            tracing::info!(target: "access", method = method.as_str(), route = &*route, status = status.as_u16(), duration_ms, "request");
        });
    }
    response
}

/// Records the request's span: names and values from bounded sets, and the ids that the logs have too.
fn finish_span(
    open: OpenSpan,
    context: &RequestContext,
    method: &http::Method,
    route: &str,
    status: StatusCode,
    code: Option<&str>,
) {
    let known = known_method(method);
    let name = match (known, route) {
        (Some(method), UNMATCHED) => method.to_owned(),
        (Some(method), route) => format!("{method} {route}"),
        (None, UNMATCHED) => "HTTP".to_owned(),
        (None, route) => format!("HTTP {route}"),
    };
    let failed = status.is_server_error();
    let said = code.filter(|_| failed);
    let mut attributes = [("", Value::Bool(false)); 7];
    let mut count = 0;
    let mut set = |name, value| {
        attributes[count] = (name, value);
        count += 1;
    };
    set("http.request.method", Value::Str(known.unwrap_or("_OTHER")));
    set("http.response.status_code", Value::Int(status.as_u16().into()));
    if route != UNMATCHED {
        set("http.route", Value::Str(route));
    }
    set("rc.request_id", Value::Str(&context.request_id));
    if let Some(tenant) = &context.tenant {
        set("rc.tenant", Value::Str(tenant.as_str()));
    }
    if let Some(tier) = &context.tier {
        set("rc.tier", Value::Str(tier.as_str()));
    }
    if failed {
        set("error.type", Value::Str(said.unwrap_or_else(|| status.as_str())));
    }
    let error = failed.then(|| said.unwrap_or_else(|| status.canonical_reason().unwrap_or("server error")));
    open.finish(&name, error, &attributes[..count]);
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    if let Some(text) = panic.downcast_ref::<&str>() {
        text
    } else if let Some(text) = panic.downcast_ref::<String>() {
        text
    } else {
        "no message"
    }
}

/// Serves `edge` on the Unix socket at `path` until the tree stops; open exchanges are finished.
///
/// # Errors
/// When the socket cannot be bound.
pub fn serve_uds(path: &Path, edge: Edge, tree: &Tree) -> io::Result<()> {
    let listener = uds::bind(path)?;
    let (failing, stopping) = (tree.clone(), tree.stopping());
    let name = format!("edge/{}", edge.service);
    let service = edge
        .into_router()
        .into_make_service_with_connect_info::<CallerUid>();
    tree.spawn(name, async move {
        let server = axum::serve(listener, service).with_graceful_shutdown(stopping.cancelled_owned());
        if let Err(error) = server.await {
            tracing::error!(%error, "the service's socket failed");
            failing.fail();
        }
    });
    Ok(())
}

/// Serves `edge` at a TCP address, for processes that have no project and so no socket of their own. Gives the
/// address that it became.
///
/// # Errors
/// When the address cannot be bound.
pub async fn serve_tcp(address: SocketAddr, edge: Edge, tree: &Tree) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    let (failing, stopping) = (tree.clone(), tree.stopping());
    let name = format!("edge/{}", edge.service);
    let router = edge.into_router();
    tree.spawn(name, async move {
        let server = axum::serve(listener, router).with_graceful_shutdown(stopping.cancelled_owned());
        if let Err(error) = server.await {
            tracing::error!(%error, "the service's address failed");
            failing.fail();
        }
    });
    Ok(address)
}

#[cfg(test)]
mod tests;
