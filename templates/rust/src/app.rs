//! What it answers, and what is noted of each request: its trace, its metrics and a line in the log.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Extension, MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::flags::Flags;
use crate::log;
use crate::metrics::{self, Metrics};
use crate::trace::Trace;

/// The service's name in the catalog.
pub const NAME: &str = "{{name}}";

/// Paths that are asked every second: they are counted, not logged.
const PROBES: [&str; 3] = ["/health", "/ready", "/metrics"];

/// What requests share.
#[derive(Clone)]
pub struct App {
    flags: Arc<Flags>,
    metrics: Arc<Metrics>,
    draining: watch::Receiver<bool>,
}

impl App {
    /// `draining` becomes true when the process was asked to end.
    pub fn new(flags: Flags, draining: watch::Receiver<bool>) -> Self {
        Self {
            flags: Arc::new(flags),
            metrics: Arc::new(Metrics::new()),
            draining,
        }
    }
}

/// Every path there is.
pub fn router(app: App) -> Router {
    Router::new()
        .route("/health", get(|| async { "ok\n" }))
        .route("/ready", get(ready))
        .route("/metrics", get(exposition))
        .route("/{{name}}/hello", get(hello))
        .layer(from_fn_with_state(app.clone(), observe))
        .with_state(app)
}

/// Whose request it is, how long it may take, and which trace it belongs to.
async fn hello(
    State(app): State<App>,
    Extension(trace): Extension<Trace>,
    headers: HeaderMap,
) -> Json<Value> {
    let greeting = if app.flags.on("warm_greeting") {
        "a warm hello"
    } else {
        "hello"
    };
    let deadline_ms: Option<u64> =
        text(&headers, "x-rc-deadline-ms").and_then(|milliseconds| milliseconds.parse().ok());
    Json(json!({
        "message": format!("{greeting} from {NAME}"),
        "tenant": text(&headers, "x-rc-tenant"),
        "deadline_ms": deadline_ms,
        "trace_id": trace.id(),
    }))
}

async fn ready(State(app): State<App>) -> (StatusCode, &'static str) {
    if *app.draining.borrow() {
        (StatusCode::SERVICE_UNAVAILABLE, "draining\n")
    } else {
        (StatusCode::OK, "ready\n")
    }
}

async fn exposition(State(app): State<App>) -> impl IntoResponse {
    (
        [(header::CONTENT_TYPE, metrics::CONTENT_TYPE)],
        app.metrics.text(),
    )
}

async fn observe(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let began = Instant::now();
    let trace = Trace::of(request.headers());
    let method = metrics::method(request.method());
    let tenant = text(request.headers(), "x-rc-tenant").map(str::to_owned);
    // Routes are few; the paths that clients send are not, and each would be a time series of its own.
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or("other", MatchedPath::as_str)
        .to_owned();
    request.extensions_mut().insert(trace);

    let in_flight = app.metrics.begin();
    let mut response = next.run(request).await;
    drop(in_flight);

    let (status, took) = (response.status().as_u16(), began.elapsed());
    app.metrics.observe(&route, method, status, took);
    if !PROBES.contains(&route.as_str()) {
        let fields = json!({
            "method": method,
            "route": route,
            "status": status,
            "took_ms": took.as_secs_f64() * 1e3,
            "tenant": tenant,
            "trace_id": trace.id(),
            "span_id": trace.span_id(),
        });
        log::info("answered", fields);
    }
    if let Ok(value) = HeaderValue::from_str(&trace.header()) {
        response.headers_mut().insert("traceresponse", value);
    }
    response
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests;
