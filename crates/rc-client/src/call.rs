//! One call from its first byte to its verdict: lanes, pacing, retries, deadline.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use rc_model::clock::monotonic_ns;
use rc_model::{Clock as _, Problem, SystemClock, TraceContext};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

use crate::config::{Config, Identity};
use crate::error::{Error, ErrorKind, Retry};
use crate::lane::Lane;
use crate::pacing::{self, Pacer};
use crate::retry::{self, RetryBudget, Verdict};

/// Text of an error answer that is not a problem document, kept for people.
const BODY_EXCERPT_CHARS: usize = 200;

/// A trusted hop's header that names the tenant.
const TENANT_HEADER: HeaderName = HeaderName::from_static("x-rc-tenant");

/// Tells the platform how long the caller will wait, in milliseconds.
const TIMEOUT_HEADER: HeaderName = HeaderName::from_static("x-request-timeout-ms");

/// A request, before identity, trace and deadline are added.
#[derive(Debug, Clone)]
pub struct RawRequest {
    /// The method.
    pub method: Method,
    /// The path with its query, percent-encoded, starting with `/`.
    pub target: String,
    /// What the call draws on: calls of one resource share their pacing.
    pub resource: &'static str,
    /// Further headers.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The body.
    pub body: Bytes,
    /// Whether doing it twice does no harm (a read, or a write with an `Idempotency-Key`).
    pub idempotent: bool,
    /// How long it may take with all its retries; absent: the configured deadline.
    pub deadline: Option<Duration>,
}

/// An answer before its body is understood.
#[derive(Debug, Clone)]
pub struct Raw {
    /// 2xx or 304.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

/// How a call went.
#[derive(Debug, Clone, Default)]
pub struct Meta {
    /// Attempts, the first included.
    pub attempts: u32,
    /// Attempts that were refused for load (429, 503).
    pub throttled: u32,
    /// How long the last attempt took, without waits.
    pub latency: Duration,
    /// The platform had answered this `Idempotency-Key` before and repeats its answer.
    pub replayed: bool,
    /// The trace of all attempts: 32 hex digits.
    pub trace_id: String,
}

/// An answer and how it came.
#[derive(Debug, Clone)]
pub struct Answer<T> {
    /// The answer.
    pub value: T,
    /// How it came.
    pub meta: Meta,
}

/// The engine under [`crate::Client`].
pub(crate) struct Engine {
    config: Config,
    tls: Option<TlsConnector>,
    host: HeaderValue,
    identity: Option<(HeaderName, HeaderValue)>,
    lanes: Semaphore,
    /// Open connections that no call uses. Owned by whoever holds the lock, never across an await.
    idle: Mutex<Vec<Lane>>,
    budget: Mutex<RetryBudget>,
    pacers: Mutex<BTreeMap<&'static str, Pacer>>,
}

/// How an attempt without an answer ended.
enum Broken {
    /// Nothing was sent.
    Unsent(Error),
    /// It may have had its effect. `stale`: on a connection that had been idle, which a server may close.
    Sent { error: Error, stale: bool },
    /// Trying again gives the same.
    Final(Error),
}

impl Engine {
    pub(crate) fn new(config: Config) -> Result<Arc<Self>, Error> {
        use crate::config::Endpoint;
        let tls = match &config.endpoint {
            Endpoint::Tcp { tls: true, .. } => Some(crate::tls::connector(&config.trust)?),
            Endpoint::Tcp { tls: false, .. } | Endpoint::Unix(_) => None,
        };
        let identity = match (&config.identity, &config.endpoint) {
            (Identity::Nobody, _) => None,
            (Identity::Tenant(tenant), Endpoint::Unix(_)) => Some((TENANT_HEADER, visible(tenant.as_str())?)),
            (Identity::Tenant(_), Endpoint::Tcp { .. }) => {
                return Err(Error::config(
                    "over the network a tenant is known by its API key, not by its name",
                ));
            }
            (Identity::Key(key), _) => {
                let mut value = visible(&format!("Bearer {}", key.reveal()))?;
                value.set_sensitive(true);
                Some((header::AUTHORIZATION, value))
            }
        };
        let host = visible(&config.endpoint.host_header())?;
        let lanes = Semaphore::new(config.lanes_max.max(1));
        let budget = Mutex::new(RetryBudget::new(config.budget));
        Ok(Arc::new(Self {
            config,
            tls,
            host,
            identity,
            lanes,
            idle: Mutex::default(),
            budget,
            pacers: Mutex::default(),
        }))
    }

    /// Sends `request` until there is an answer that stands.
    pub(crate) async fn call(&self, request: &RawRequest) -> Result<Answer<Raw>, Error> {
        let within = request.deadline.unwrap_or(self.config.deadline);
        let deadline = Instant::now() + within;
        let trace = TraceContext::start(|| fastrand::u64(..));
        let late = || {
            Error::new(
                ErrorKind::Timeout,
                format!("no answer within {within:?}"),
                Retry::IfIdempotent,
            )
        };
        let Ok(permit) = tokio::time::timeout_at(deadline, self.lanes.acquire()).await else {
            return Err(late());
        };
        let _permit = permit.expect("the semaphore is never closed");
        locked(&self.budget).request(monotonic_ns());
        let mut meta = Meta {
            trace_id: trace.trace_id_hex(),
            ..Meta::default()
        };
        loop {
            if !self.wait_for_turn(request.resource, deadline).await {
                return Err(late().attempts_made(meta.attempts));
            }
            meta.attempts += 1;
            let (error, server_wait, at_once) = match self.attempt(request, trace, deadline, &mut meta).await
            {
                Ok(raw) => match self.judge(request, &raw, &mut meta) {
                    Ok(()) => return Ok(Answer { value: raw, meta }),
                    Err((error, wait)) => (error, wait, false),
                },
                Err(Broken::Final(error)) => return Err(error.attempts_made(meta.attempts)),
                Err(Broken::Unsent(error)) => (error, None, false),
                Err(Broken::Sent { error, stale }) if request.idempotent => (error, None, stale),
                Err(Broken::Sent { error, .. }) => return Err(error.attempts_made(meta.attempts)),
            };
            let error = error.attempts_made(meta.attempts);
            if error.retry() == Retry::No || meta.attempts >= self.config.backoff.attempts_max {
                return Err(error);
            }
            if !locked(&self.budget).take(monotonic_ns()) {
                return Err(error.note("; too many calls fail to try again at once"));
            }
            if at_once {
                continue;
            }
            let wait = retry::next_wait(&self.config.backoff, meta.attempts, server_wait, fastrand::f64());
            if Instant::now() + wait >= deadline {
                return Err(error);
            }
            tokio::time::sleep(wait).await;
        }
    }

    /// Waits for the resource's turn; false when that is beyond the deadline.
    async fn wait_for_turn(&self, resource: &'static str, deadline: Instant) -> bool {
        loop {
            let wait = locked(&self.pacers)
                .entry(resource)
                .or_default()
                .turn(monotonic_ns());
            let Some(wait) = wait else { return true };
            if Instant::now() + wait >= deadline {
                return false;
            }
            tokio::time::sleep(wait).await;
        }
    }

    /// Learns from an answer; an error status becomes the error with the server's wait.
    fn judge(
        &self,
        request: &RawRequest,
        raw: &Raw,
        meta: &mut Meta,
    ) -> Result<(), (Error, Option<Duration>)> {
        let now = monotonic_ns();
        let left = pacing::read_left(&raw.headers);
        if let Some(left) = left {
            locked(&self.pacers)
                .entry(request.resource)
                .or_default()
                .left(now, left);
        }
        if raw.status.is_success() || raw.status == StatusCode::NOT_MODIFIED {
            meta.replayed = raw
                .headers
                .get("idempotency-replayed")
                .is_some_and(|value| value == "true");
            return Ok(());
        }
        let problem: Option<Problem> = serde_json::from_slice(&raw.body).ok();
        let wait = retry::server_wait(&raw.headers, problem.as_ref(), SystemClock.now());
        if matches!(raw.status.as_u16(), 429 | 503) {
            meta.throttled += 1;
            if let Some(wait) = wait {
                locked(&self.pacers)
                    .entry(request.resource)
                    .or_default()
                    .pause(now, wait);
            }
        }
        let advice = match retry::judge(raw.status, wait, problem.as_ref()) {
            Verdict::Final => Retry::No,
            Verdict::Again => wait.map_or(Retry::IfIdempotent, Retry::After),
        };
        Err((refused(raw, problem, advice), wait))
    }

    async fn attempt(
        &self,
        request: &RawRequest,
        trace: TraceContext,
        deadline: Instant,
        meta: &mut Meta,
    ) -> Result<Raw, Broken> {
        let mut lane = self.lane(deadline).await?;
        let started = Instant::now();
        let within = deadline
            .saturating_duration_since(started)
            .min(self.config.attempt_timeout);
        let message = self.message(request, trace, within).map_err(Broken::Final)?;
        let stale = lane.used;
        let exchange = async {
            let response = lane.sender.send_request(message).await?;
            Ok::<_, hyper::Error>(response.into_parts())
        };
        let timed_out = |_| Broken::Sent {
            error: Error::new(
                ErrorKind::Timeout,
                format!("no answer from {} within {within:?}", self.config.endpoint),
                Retry::IfIdempotent,
            ),
            stale: false,
        };
        let cut = started + within;
        let (parts, body) = tokio::time::timeout_at(cut, exchange)
            .await
            .map_err(timed_out)?
            .map_err(|error| broken(error, stale))?;
        let limited = Limited::new(body, self.config.response_bytes_max);
        let body = tokio::time::timeout_at(cut, limited.collect())
            .await
            .map_err(timed_out)?;
        let body = body.map_err(|error| self.broken_body(error))?.to_bytes();
        meta.latency = started.elapsed();
        lane.used = true;
        if lane.is_open() {
            locked(&self.idle).push(lane);
        }
        Ok(Raw {
            status: parts.status,
            headers: parts.headers,
            body,
        })
    }

    /// An idle connection that is still open, else a new one.
    async fn lane(&self, deadline: Instant) -> Result<Lane, Broken> {
        loop {
            let kept = locked(&self.idle).pop();
            let Some(mut lane) = kept else { break };
            if lane.is_open() && lane.sender.ready().await.is_ok() {
                return Ok(lane);
            }
        }
        let within = deadline
            .saturating_duration_since(Instant::now())
            .min(self.config.connect_timeout);
        Lane::open(&self.config.endpoint, self.tls.as_ref(), within)
            .await
            .map_err(|error| {
                let message = format!("no connection to {}", self.config.endpoint);
                // A certificate that is not believed, or a host that cannot be one, stays so.
                let hopeless = matches!(
                    error.kind(),
                    std::io::ErrorKind::InvalidData
                        | std::io::ErrorKind::InvalidInput
                        | std::io::ErrorKind::PermissionDenied
                );
                if hopeless {
                    Broken::Final(Error::new(ErrorKind::Unreachable, message, Retry::No).because(error))
                } else {
                    Broken::Unsent(
                        Error::new(ErrorKind::Unreachable, message, Retry::IfIdempotent).because(error),
                    )
                }
            })
    }

    fn message(
        &self,
        request: &RawRequest,
        trace: TraceContext,
        within: Duration,
    ) -> Result<http::Request<Full<Bytes>>, Error> {
        let target = format!("{}{}", self.config.endpoint.base(), request.target);
        let mut message = http::Request::builder()
            .method(request.method.clone())
            .uri(target)
            .header(header::HOST, self.host.clone())
            .header(header::USER_AGENT, self.config.user_agent.as_str())
            .header("traceparent", trace.child(|| fastrand::u64(..)).to_string())
            .header(TIMEOUT_HEADER, within.as_millis().max(1).to_string());
        if let Some((name, value)) = &self.identity {
            message = message.header(name, value);
        }
        for (name, value) in &request.headers {
            message = message.header(name, value);
        }
        let failed = |error: http::Error| Error::config("the request cannot be written").because(error);
        message.body(Full::new(request.body.clone())).map_err(failed)
    }

    fn broken_body(&self, error: Box<dyn std::error::Error + Send + Sync>) -> Broken {
        if error.is::<LengthLimitError>() {
            let max = self.config.response_bytes_max;
            return Broken::Final(Error::new(
                ErrorKind::TooLarge,
                format!("the answer is larger than {max} bytes"),
                Retry::No,
            ));
        }
        let error = Error::new(
            ErrorKind::Interrupted,
            "the connection broke in the middle of the answer",
            Retry::IfIdempotent,
        )
        .because(error);
        Broken::Sent { error, stale: false }
    }
}

/// What a failed exchange means: an answer that is not HTTP stays so, a connection that ends may not.
fn broken(error: hyper::Error, stale: bool) -> Broken {
    if error.is_parse() {
        return Broken::Final(Error::malformed("the answer is not HTTP").because(error));
    }
    if error.is_canceled() {
        let error = Error::new(
            ErrorKind::Unreachable,
            "the connection closed before the request went out",
            Retry::IfIdempotent,
        )
        .because(error);
        return Broken::Unsent(error);
    }
    let error = Error::new(
        ErrorKind::Interrupted,
        "the connection broke before the answer",
        Retry::IfIdempotent,
    )
    .because(error);
    Broken::Sent { error, stale }
}

/// The error of a status that is not a success.
fn refused(raw: &Raw, problem: Option<Problem>, retry: Retry) -> Error {
    let message = match &problem {
        Some(problem) => match &problem.detail {
            Some(detail) => format!("{}: {detail}", problem.title),
            None => problem.title.clone(),
        },
        None => {
            let reason = raw.status.canonical_reason().unwrap_or("an unknown status");
            let text: String = String::from_utf8_lossy(&raw.body)
                .chars()
                .filter(|c| !c.is_control())
                .take(BODY_EXCERPT_CHARS)
                .collect();
            let text = text.trim();
            if text.is_empty() {
                format!("{} {reason}", raw.status.as_u16())
            } else {
                format!("{} {reason}: {text}", raw.status.as_u16())
            }
        }
    };
    Error::new(ErrorKind::Refused, message, retry).status_of(raw.status.as_u16(), problem)
}

fn visible(text: &str) -> Result<HeaderValue, Error> {
    HeaderValue::from_str(text).map_err(|error| {
        Error::config("a header value has characters that HTTP does not allow").because(error)
    })
}

/// A panic while the lock was held leaves plain counters and connections behind: they stay usable.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
