//! How these commands speak with the services that hold events.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, header};
use rc_client::RawRequest;
use rc_model::catalog::Builtin;
use rc_model::{Clock as _, Span, SystemClock, Timestamp};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::commands::platform;
pub(crate) use crate::commands::platform::reason;
use crate::cx::Cx;
use crate::fault::Fault;

/// A replay of letters goes on for as long as this before the service stops waiting for it.
const ACT_TIME_MAX: Duration = Duration::from_secs(620);

/// Who can hold dead letters: the reader of events, and the relay inside their writer.
pub(super) const HOLDERS: [Builtin; 2] = [Builtin::DocsApi, Builtin::Ingest];

/// Reads something of `service`.
pub(crate) async fn get<T: DeserializeOwned>(cx: &Cx, service: Builtin, target: &str) -> Result<T, Fault> {
    send(cx, service, Method::GET, target, Bytes::new(), true).await
}

/// Reads something of `service` that `body` describes.
pub(super) async fn find<T: DeserializeOwned>(
    cx: &Cx,
    service: Builtin,
    target: &str,
    body: &impl Serialize,
) -> Result<T, Fault> {
    send(cx, service, Method::POST, target, encode(body), true).await
}

/// Has something done by `service`; an answer that is lost is not asked for again.
pub(crate) async fn act<T: DeserializeOwned>(
    cx: &Cx,
    service: Builtin,
    target: &str,
    body: &impl Serialize,
) -> Result<T, Fault> {
    send(cx, service, Method::POST, target, encode(body), false).await
}

fn encode(body: &impl Serialize) -> Bytes {
    Bytes::from(serde_json::to_vec(body).expect("requests have only string keys"))
}

async fn send<T: DeserializeOwned>(
    cx: &Cx,
    service: Builtin,
    method: Method,
    target: &str,
    body: Bytes,
    idempotent: bool,
) -> Result<T, Fault> {
    let client = platform::service(cx, service).await?;
    let json = (header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let request = RawRequest {
        method,
        target: target.to_owned(),
        resource: "events",
        headers: vec![json],
        body,
        idempotent,
        deadline: (!idempotent).then_some(ACT_TIME_MAX),
    };
    let answer = client.raw(&request).await.map_err(platform::fault)?;
    serde_json::from_slice(&answer.value.body).map_err(|error| {
        Fault::world(
            "RC-CLI-018",
            format!("the answer of {} is not understood", service.name()),
        )
        .because(error)
    })
}

/// A moment: a time, or a span back from now.
#[derive(Debug, Clone, Copy)]
pub(super) enum Moment {
    At(Timestamp),
    Ago(Span),
}

impl Moment {
    /// For options such as `--since`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if let Some(at) = Timestamp::parse(text) {
            return Ok(Self::At(at));
        }
        Span::parse(text).map(Self::Ago).map_err(|error| {
            format!("{error}; a time is RFC 3339 such as `2026-11-21T10:00:00Z`, a span is such as `2h`")
        })
    }

    pub(super) fn at(self) -> Timestamp {
        match self {
            Self::At(at) => at,
            Self::Ago(span) => {
                let ago = i64::try_from(span.duration().as_millis()).unwrap_or(i64::MAX);
                Timestamp::from_unix_ms(SystemClock.now().unix_ms().saturating_sub(ago))
            }
        }
    }
}
