//! Asking the supervisor of this project.

use std::time::Duration;

use bytes::Bytes;
use rc_model::Layout;
use rc_runtime::lock::{self, Owner};
use rc_serve::uds::{self, CallError};

use super::plan::unusable;
use super::wire::{DownRequest, PlatformStatus};
use crate::fault::Fault;

/// The supervisor answers from memory and `/proc`.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// What is known about the project's supervisor.
#[derive(Debug)]
pub(crate) enum Found {
    /// Nobody holds the lock.
    Nothing,
    /// Somebody holds it and does not answer (yet).
    Silent { owner: Option<Owner>, error: CallError },
    /// It answers.
    Running(Box<PlatformStatus>),
}

/// Looks for the supervisor of the project and asks how things stand.
pub(crate) async fn find(layout: &Layout) -> Result<Found, Fault> {
    // The socket first: a supervisor that answers needs no look at the lock.
    let request = http::Request::get("/v1/status").body(Bytes::new());
    let request = request.map_err(|error| Fault::world("RC-UP-006", error.to_string()))?;
    match uds::call(&layout.control_socket(), request, ANSWER_MAX).await {
        Ok(answer) if answer.status().is_success() => {
            let status = serde_json::from_slice(answer.body()).map_err(|error| {
                Fault::world("RC-UP-006", "the supervisor's answer cannot be read")
                    .because(error)
                    .hint(
                        "it may be of another version: `rc down` with the `rc` that started it, then `rc up`",
                    )
            })?;
            Ok(Found::Running(Box::new(status)))
        }
        Ok(answer) => Err(Fault::world(
            "RC-UP-006",
            format!("the supervisor answered {}", answer.status()),
        )),
        Err(error) => match held(layout)? {
            Some(owner) => Ok(Found::Silent {
                owner: Some(owner),
                error,
            }),
            None => Ok(Found::Nothing),
        },
    }
}

/// Who holds the project's lock.
pub(crate) fn held(layout: &Layout) -> Result<Option<Owner>, Fault> {
    lock::holder(&layout.lock_file()).map_err(|error| match error {
        lock::LockError::Io { source, .. } => unusable(&layout.state(), source),
        held @ lock::LockError::Held(_) => Fault::world("RC-UP-006", held.to_string()),
    })
}

/// Asks the supervisor to end.
pub(crate) async fn ask_down(layout: &Layout, now: bool) -> Result<(), CallError> {
    let uid = Some(rustix::process::getuid().as_raw());
    let body = serde_json::to_vec(&DownRequest { now, uid }).unwrap_or_default();
    let mut request = http::Request::new(Bytes::from(body));
    *request.method_mut() = http::Method::POST;
    *request.uri_mut() = http::Uri::from_static("/v1/down");
    let json = http::HeaderValue::from_static("application/json");
    request.headers_mut().insert(http::header::CONTENT_TYPE, json);
    uds::call(&layout.control_socket(), request, ANSWER_MAX)
        .await
        .map(drop)
}
