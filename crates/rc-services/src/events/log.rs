//! A service's log as other services may read it: the events of one place, by their numbers, over the owner-only
//! socket of the service that writes it. A reader needs no right on the writer's store.

use std::borrow::Cow;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use data_encoding::{BASE64, HEXLOWER};
use rc_events::bus::ReadLimit;
use rc_events::event::Place;
use rc_events::{BoxFuture, Error, Log, NewEvent, Numbering};
use rc_model::{TenantId, Timestamp, TraceContext};
use rc_serve::{ApiError, uds};
use rc_store::ErrorKind;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::admin::{self, absent, problem};

/// The path on a service's socket.
const LOG_PATH: &str = "/-/events/log";

/// How long an answer may take.
const ASK_TIME_MAX: Duration = Duration::from_secs(10);

/// Gives the log; none while its store is not there.
pub type Logs = Arc<dyn Fn() -> Option<Arc<dyn Log>> + Send + Sync>;

/// Which events.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Range<'r> {
    tenant: TenantId,
    topic: Cow<'r, str>,
    key: Cow<'r, str>,
    first: u64,
    last: u64,
    rows: usize,
    bytes: usize,
}

/// An event of a log: its place stands in the question, and a log's numbers are consecutive.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    id: Uuid,
    sequence: u64,
    #[serde(rename = "type")]
    event_type: String,
    schema: u16,
    at: Timestamp,
    /// Hexadecimal.
    fingerprint: String,
    traceparent: Option<String>,
    /// Base64: a payload need not be text.
    payload: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Lines {
    events: Vec<Line>,
}

impl From<&NewEvent> for Line {
    fn from(event: &NewEvent) -> Self {
        Self {
            id: event.id,
            sequence: event.kseq,
            event_type: event.event_type.clone().into_owned(),
            schema: event.schema,
            at: event.time,
            fingerprint: HEXLOWER.encode(&event.fingerprint),
            traceparent: event.trace.map(|trace| trace.to_string()),
            payload: BASE64.encode(&event.payload),
        }
    }
}

impl Line {
    /// The event at `place`; `None` for a line that is none.
    fn into_event(self, place: &Place) -> Option<NewEvent> {
        let fingerprint = HEXLOWER.decode(self.fingerprint.as_bytes()).ok()?;
        Some(NewEvent {
            id: self.id,
            tenant: place.tenant.clone(),
            topic: place.topic.clone(),
            key: place.key.clone(),
            kseq: self.sequence,
            numbering: Numbering::Consecutive,
            event_type: self.event_type.into(),
            schema: self.schema,
            time: self.at,
            fingerprint: fingerprint.try_into().ok()?,
            trace: match &self.traceparent {
                Some(text) => Some(TraceContext::parse(text.as_bytes())?),
                None => None,
            },
            payload: BASE64.decode(self.payload.as_bytes()).ok()?.into(),
        })
    }
}

/// The route of a log.
pub fn router(logs: Logs) -> Router {
    Router::new().route(LOG_PATH, post(range)).with_state(logs)
}

async fn range(State(logs): State<Logs>, body: Bytes) -> Result<Response, ApiError> {
    let range: Range<'_> = admin::read(&body)?;
    let log = logs().ok_or_else(absent)?;
    let place = Place {
        tenant: range.tenant,
        topic: range.topic.into_owned().into(),
        key: range.key.into_owned(),
    };
    let most = ReadLimit::default();
    let limit = ReadLimit {
        rows: range.rows.min(most.rows),
        bytes: range.bytes.min(most.bytes),
    };
    let found = log.range(&place, range.first..=range.last, limit).await;
    let events = found.map_err(problem)?.iter().map(Line::from).collect();
    Ok(axum::Json(Lines { events }).into_response())
}

/// The log of the service that listens at `socket`.
#[derive(Debug, Clone)]
pub struct SocketLog {
    /// Where it listens.
    pub socket: PathBuf,
}

impl Log for SocketLog {
    fn range<'a>(
        &'a self,
        place: &'a Place,
        numbers: RangeInclusive<u64>,
        limit: ReadLimit,
    ) -> BoxFuture<'a, Result<Vec<NewEvent>, Error>> {
        Box::pin(async move {
            let range = Range {
                tenant: place.tenant.clone(),
                topic: place.topic.as_ref().into(),
                key: place.key.as_str().into(),
                first: *numbers.start(),
                last: *numbers.end(),
                rows: limit.rows,
                bytes: limit.bytes,
            };
            let body = serde_json::to_vec(&range).expect("a struct of strings and numbers serialises");
            let request = http::Request::post(LOG_PATH)
                .header(http::header::CONTENT_TYPE, "application/json")
                .body(Bytes::from(body))
                .map_err(|error| unanswered(&error.to_string()))?;
            let answer = uds::call(&self.socket, request, ASK_TIME_MAX)
                .await
                .map_err(|error| unanswered(&error.to_string()))?;
            if !answer.status().is_success() {
                return Err(unanswered(&format!("it answered {}", answer.status())));
            }
            let lines: Lines =
                serde_json::from_slice(answer.body()).map_err(|error| unanswered(&error.to_string()))?;
            let events = lines.events.into_iter().map(|line| line.into_event(place));
            events
                .collect::<Option<Vec<_>>>()
                .ok_or_else(|| unanswered("its answer is not understood"))
        })
    }
}

/// A log that did not answer is asked again: its service may be starting.
fn unanswered(why: &str) -> Error {
    let retry_after = rc_store::error::UNAVAILABLE_RETRY;
    let text = format!("the log that may have missing events cannot be read: {why}");
    rc_store::Error::new(ErrorKind::Unavailable { retry_after }, text).into()
}

#[cfg(test)]
mod tests;
