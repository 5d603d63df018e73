//! From an HTTP request to a [`Write`]: headers, bounds, body, items. Nothing here touches the store.

use std::time::Duration;

use axum::body::Body;
use axum::extract::Query;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use rc_events::schema::Schema;
use rc_model::{Clock, Problem, Span, TenantId};
use rc_serve::{ApiError, RequestContext};
use serde::Deserialize;
use uuid::Uuid;

use super::admission::{Admission, Permit, Refusal, Turn};
use super::body::{self, Format, Item};
use super::content::{self, Encoding};
use super::decide::{Route, Work, Write};
use super::fault::{self, Fault, Kind};
use super::storage::Quota;
use super::{arrival, limits, store};

/// The idempotency key of a write (draft-ietf-httpapi-idempotency-key-header).
pub(crate) const KEY_HEADER: HeaderName = HeaderName::from_static("idempotency-key");

/// What a 415 names as acceptable (<https://www.w3.org/TR/ldp/#header-accept-post>).
const ACCEPT_POST: HeaderName = HeaderName::from_static("accept-post");

/// What a body and the documents that are read from it hold together, in sizes of the body.
const DOCUMENTS_FACTOR: usize = 2;

/// A request that goes no further.
#[derive(Debug)]
pub(crate) struct Refused {
    problem: Box<Problem>,
    headers: Box<HeaderMap>,
}

impl Refused {
    pub(crate) fn new(problem: Problem) -> Self {
        Self {
            problem: Box::new(problem),
            headers: Box::default(),
        }
    }

    pub(crate) fn kind(kind: Kind, detail: impl Into<String>) -> Self {
        Self::new(Problem::new(kind.status, kind.code, kind.title).detail(detail))
    }

    /// The stable error code.
    pub(crate) fn code(&self) -> &str {
        &self.problem.code
    }

    pub(crate) fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }
}

impl From<Fault> for Refused {
    fn from(fault: Fault) -> Self {
        Self::new(fault.problem())
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self::new(refusal.problem())
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let mut response = ApiError(self.problem).into_response();
        response.headers_mut().extend(*self.headers);
        response
    }
}

/// What the query asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Options {
    /// List accepted items too.
    pub(crate) full: bool,
    /// Answer after the documents can be found, or after this long.
    pub(crate) wait: Option<Duration>,
}

#[derive(Deserialize)]
struct Params {
    detail: Option<String>,
    wait: Option<String>,
    timeout: Option<String>,
}

impl Options {
    pub(crate) fn read(uri: &http::Uri) -> Result<Self, Refused> {
        let refuse = |detail: String| Err(Refused::kind(fault::BAD_QUERY, detail));
        let params = match Query::<Params>::try_from_uri(uri) {
            Ok(Query(params)) => params,
            Err(error) => return refuse(error.body_text()),
        };
        let full = match params.detail.as_deref() {
            None | Some("problems") => false,
            Some("full") => true,
            Some(other) => return refuse(format!("`detail={other}` is unknown; use `full` or `problems`")),
        };
        let timeout = match params.timeout.as_deref().map(Span::parse) {
            None => limits::WAIT_DEFAULT,
            Some(Ok(span)) if span.duration() <= limits::WAIT_MAX => span.duration(),
            Some(Ok(_)) => return refuse(format!("`timeout` is at most {} s", limits::WAIT_MAX.as_secs())),
            Some(Err(error)) => return refuse(format!("`timeout`: {error}")),
        };
        let wait = match params.wait.as_deref() {
            None => None,
            Some("indexed") => Some(timeout),
            Some(other) => return refuse(format!("`wait={other}` is unknown; use `indexed`")),
        };
        Ok(Self { full, wait })
    }
}

/// The tenant that the gateway proved.
pub(crate) fn tenant(context: &RequestContext) -> Result<TenantId, Refused> {
    let missing = || {
        Refused::kind(
            fault::NO_TENANT,
            "send the request through the gateway, with a key",
        )
    };
    context.tenant.clone().ok_or_else(missing)
}

/// Reads `Idempotency-Key`: 1 to 255 visible ASCII characters, once.
pub(crate) fn key(headers: &HeaderMap) -> Result<Option<HeaderValue>, Refused> {
    let refuse = |detail: &str| Err(Refused::kind(fault::BAD_KEY, detail));
    let mut values = headers.get_all(KEY_HEADER).iter();
    let (Some(value), more) = (values.next(), values.next()) else {
        return Ok(None);
    };
    if more.is_some() {
        return refuse("`Idempotency-Key` is given twice");
    }
    let bytes = value.as_bytes();
    if bytes.is_empty() || bytes.len() > limits::KEY_BYTES_MAX || !bytes.iter().all(u8::is_ascii_graphic) {
        return refuse("`Idempotency-Key` has 1 to 255 visible ASCII characters");
    }
    Ok(Some(value.clone()))
}

/// Same as [`key`], for requests that must have one.
pub(crate) fn required_key(headers: &HeaderMap) -> Result<HeaderValue, Refused> {
    let detail = "send an `Idempotency-Key`, the same one on every attempt of this request";
    key(headers)?.ok_or_else(|| Refused::kind(fault::BAD_KEY, detail))
}

/// The key as text; it was checked to be ASCII.
pub(crate) fn key_text(key: &HeaderValue) -> String {
    String::from_utf8_lossy(key.as_bytes()).into_owned()
}

/// A request whose body is read and understood, and its part of the queue.
pub(crate) struct Received {
    pub(crate) write: Write,
    pub(crate) permit: Permit,
}

/// Reads a request for one document or a batch.
///
/// # Errors
/// Everything that is wrong with the request, before anything was stored.
pub(crate) async fn receive(
    admission: &Admission,
    rules: Option<&Schema>,
    clock: &dyn Clock,
    route: Route,
    context: &RequestContext,
    parts: &Parts,
    body: &mut Body,
    key: String,
    full: bool,
) -> Result<Received, Refused> {
    let tenant = tenant(context)?;
    let (format, encoding) = content_of(route, &parts.headers)?;
    let declared = content_length(&parts.headers)?;
    let first = arrival::first_step(declared);
    let mut permit = admission.admit(&tenant, first, declared.unwrap_or(first))?;
    let limit = context.time_left(limits::BODY_TIMEOUT).min(limits::BODY_TIMEOUT);
    let body = arrival::collect(body, declared, &mut permit, limit).await?;
    permit.resize(body.len())?;
    permit.queue();
    let at = clock.now();
    let work = Prepare {
        tenant: tenant.clone(),
        rules: rules.cloned(),
        route,
        format,
        encoding,
        body,
        permit,
    };
    let Prepared {
        items,
        request_hash,
        permit,
    } = work.run_where_it_fits().await?;
    Ok(Received {
        write: Write {
            tenant,
            route,
            key: Some(key),
            request_hash,
            work: Work::Put(items),
            quota: Quota::read(&parts.headers),
            full: full || route != Route::Batch,
            batch: batch_id(clock),
            at,
            trace: context.trace,
        },
        permit,
    })
}

/// What a delete's key must come with again.
pub(crate) fn delete_hash(id: &str) -> [u8; 32] {
    request_hash(Route::Delete, &[], id.as_bytes())
}

/// A new batch's name.
pub(crate) fn batch_id(clock: &dyn Clock) -> Uuid {
    store::event_id(clock.now())
}

fn content_of(route: Route, headers: &HeaderMap) -> Result<(Format, Encoding), Refused> {
    let (format, accepted) = match route {
        Route::Batch => (content::batch_format(headers), content::BATCH_TYPES),
        Route::One | Route::Delete => (content::one_format(headers), content::ONE_TYPE),
    };
    let format =
        format.map_err(|f| Refused::from(f).with(ACCEPT_POST, HeaderValue::from_static(accepted)))?;
    let encoding = content::encoding(headers).map_err(|fault| {
        let accepted = HeaderValue::from_static(content::ENCODINGS);
        Refused::from(fault).with(header::ACCEPT_ENCODING, accepted)
    })?;
    Ok((format, encoding))
}

fn content_length(headers: &HeaderMap) -> Result<Option<usize>, Refused> {
    // The HTTP layer refused what is not a number.
    let declared = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    match declared {
        Some(bytes) if bytes > limits::BODY_BYTES_MAX as u64 => Err(arrival::too_large()),
        Some(bytes) => Ok(usize::try_from(bytes).ok()),
        None => Ok(None),
    }
}

/// The part of the work that only computes.
struct Prepare {
    tenant: TenantId,
    rules: Option<Schema>,
    route: Route,
    format: Format,
    encoding: Encoding,
    body: Bytes,
    permit: Permit,
}

struct Prepared {
    items: Vec<Item>,
    request_hash: [u8; 32],
    permit: Permit,
}

impl Prepare {
    /// Small bodies are done in place; the others would keep requests waiting. They take turns, because a
    /// body in this work needs the most memory: as it came, as it is, and what is read from it.
    async fn run_where_it_fits(self) -> Result<Prepared, Refused> {
        if self.body.len() < limits::OFFLOAD_BYTES && self.encoding == Encoding::Identity {
            return self.run();
        }
        let turn = self.permit.turn().await?;
        match tokio::task::spawn_blocking(move || self.run_in(turn)).await {
            Ok(done) => done,
            Err(error) => {
                tracing::error!(%error, "reading a body failed");
                Err(Refused::kind(fault::BUG, "the body could not be read"))
            }
        }
    }

    /// The turn ends with the work, also when its request was given up meanwhile.
    fn run_in(self, turn: Turn) -> Result<Prepared, Refused> {
        let done = self.run();
        drop(turn);
        done
    }

    fn run(mut self) -> Result<Prepared, Refused> {
        let permit = &mut self.permit;
        let body = content::inflate(self.encoding, self.body, |bytes| {
            permit.resize(bytes).map_err(Refused::from)
        })?;
        self.permit.resize(body.len())?;
        self.permit.queue();
        let format = match self.format {
            Format::One | Format::Array => b"json",
            Format::Lines => b"line",
        };
        let request_hash = request_hash(self.route, format, &body);
        // The documents are a copy of the body, in another order: both are there until the body is dropped.
        self.permit.resize(DOCUMENTS_FACTOR * body.len())?;
        let items = body::parse(&self.tenant, self.rules.as_ref(), self.format, &body)?;
        let documents: usize = items.iter().flatten().map(|put| put.payload.len()).sum();
        let held = documents.clamp(body.len(), DOCUMENTS_FACTOR * body.len());
        drop(body);
        self.permit.resize(held)?;
        Ok(Prepared {
            items,
            request_hash,
            permit: self.permit,
        })
    }
}

/// Over the decoded body, so that a client that compresses only its second attempt is understood.
fn request_hash(route: Route, format: &[u8], body: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    for part in [route.as_str().as_bytes(), format] {
        hasher.update(part).update(&[0]);
    }
    *hasher.update(body).finalize().as_bytes()
}

#[cfg(test)]
mod tests;
