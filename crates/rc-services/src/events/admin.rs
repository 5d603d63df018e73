//! The routes of a service's dead letters, on its owner-only socket.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, DefaultBodyLimit, Path, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::request::Parts;
use rc_events::Error;
use rc_events::event::PAYLOAD_BYTES_MAX;
use rc_events::letters::{LetterFilter, Letters};
use rc_model::Problem;
use rc_serve::uds::CallerUid;
use rc_serve::{ApiError, RequestContext};
use serde::de::DeserializeOwned;
use serde_json::json;

use super::acts::{Acts, Asked};
use super::wire::{Change, Changed, Counts, LetterLine, LetterView, Listed, Selection, What};
use crate::audit::{Action, Actor, Reason, Resource};

/// The path of the letters on a service's socket.
pub const LETTERS_PATH: &str = "/-/letters";

/// Largest body: an edited payload, every byte escaped, and what is around it.
const BODY_BYTES_MAX: usize = 6 * PAYLOAD_BYTES_MAX + (64 << 10);

/// What the routes work on.
#[derive(Clone)]
pub struct Admin {
    /// The letters; none while their store is not there.
    pub letters: Arc<dyn Fn() -> Option<Arc<dyn Letters>> + Send + Sync>,
    /// Where acts are recorded; none when that could not be opened, and then no act happens.
    pub acts: Option<Acts>,
}

/// The routes.
pub fn router(admin: Admin) -> Router {
    Router::new()
        .route(LETTERS_PATH, post(change))
        .route("/-/letters/list", post(list))
        .route("/-/letters/count", post(count))
        .route("/-/letters/{number}", get(show))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(Arc::new(admin))
}

async fn list(State(admin): State<Arc<Admin>>, body: Bytes) -> Result<Response, ApiError> {
    let filter = selection(&read(&body)?)?;
    let letters = admin.letters()?;
    let found = letters.list(&filter).await.map_err(problem)?;
    let all = LetterFilter {
        after: 0,
        limit: 0,
        ..filter
    };
    let total = letters.count(&all).await.map_err(problem)?.letters;
    let letters = found.iter().map(LetterLine::from).collect();
    Ok(axum::Json(Listed { letters, total }).into_response())
}

async fn count(State(admin): State<Arc<Admin>>, body: Bytes) -> Result<Response, ApiError> {
    let filter = selection(&read(&body)?)?;
    let letters = admin.letters()?;
    let counts = letters.count(&filter).await.map_err(problem)?;
    Ok(axum::Json(Counts::of(letters.holder(), counts)).into_response())
}

async fn show(State(admin): State<Arc<Admin>>, Path(number): Path<i64>) -> Result<Response, ApiError> {
    let letter = admin.letters()?.get(number).await.map_err(problem)?;
    let letter = letter.ok_or_else(|| unknown(number))?;
    Ok(axum::Json(LetterView::from(&letter)).into_response())
}

async fn change(State(admin): State<Arc<Admin>>, request: Request) -> Result<Response, ApiError> {
    let (parts, change) = read_request::<Change>(request).await?;
    let asked = asked(&parts, change.reason)?;
    let changed = admin.change(&asked, change.dry_run, change.what).await?;
    Ok(axum::Json(changed).into_response())
}

/// The head of a request, and its body as JSON.
pub(crate) async fn read_request<T: DeserializeOwned>(request: Request) -> Result<(Parts, T), ApiError> {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, BODY_BYTES_MAX)
        .await
        .map_err(|error| malformed(error.to_string()))?;
    let value = read(&body)?;
    Ok((parts, value))
}

/// Who asks, and why. Only the owner of the process (and root) can open the socket; the kernel says who.
pub(crate) fn asked(parts: &Parts, reason: String) -> Result<Asked, ApiError> {
    Reason::check(&reason).map_err(|what| malformed(format!("`reason`: {what}")))?;
    let caller = parts.extensions.get::<ConnectInfo<CallerUid>>();
    let uid = caller.and_then(|ConnectInfo(CallerUid(uid))| *uid);
    let context = parts.extensions.get::<RequestContext>();
    Ok(Asked {
        actor: Actor::OsUser(uid.unwrap_or_else(|| rustix::process::getuid().as_raw())),
        reason,
        trace: context.map_or_else(
            || RequestContext::from_headers(&parts.headers).trace,
            |context| context.trace,
        ),
    })
}

/// Where acts are recorded; without that there are none.
pub(crate) fn acts(acts: Option<&Acts>) -> Result<&Acts, ApiError> {
    acts.ok_or_else(|| {
        Problem::new(
            503,
            "RC-LED-020",
            "the audit outbox cannot be opened, so nothing was done",
        )
        .into()
    })
}

impl Admin {
    fn letters(&self) -> Result<Arc<dyn Letters>, ApiError> {
        (self.letters)().ok_or_else(|| absent().into())
    }

    async fn change(&self, asked: &Asked, dry_run: bool, what: What) -> Result<Changed, ApiError> {
        let letters = self.letters()?;
        if dry_run && let What::Replay { select, .. } | What::Drop { select } = &what {
            let counts = letters.count(&selection(select)?).await.map_err(problem)?;
            return Ok(Changed::Would(Counts::of(letters.holder(), counts)));
        }
        let (action, filter, detail) = match &what {
            What::Replay { select, force, rate } => (
                Action::LetterReplay,
                selection(select)?,
                json!({ "select": select, "force": force, "rate": rate }),
            ),
            What::Drop { select } => (
                Action::LetterDrop,
                selection(select)?,
                json!({ "select": select }),
            ),
            What::Patch { number, patch } => (
                Action::LetterEdit,
                LetterFilter::one(*number),
                json!({ "patch": patch }),
            ),
            What::Payload { number, payload } => {
                let text = payload.to_string();
                let hash = blake3::hash(text.as_bytes()).to_string();
                let detail = json!({ "payload_blake3": hash, "bytes": text.len() });
                (Action::LetterEdit, LetterFilter::one(*number), detail)
            }
            What::Original { number } => (
                Action::LetterEdit,
                LetterFilter::one(*number),
                json!({ "original": true }),
            ),
        };
        if let What::Patch { number, .. } | What::Payload { number, .. } | What::Original { number } = &what {
            let found = letters.get(*number).await.map_err(problem)?;
            found.ok_or_else(|| unknown(*number))?;
        }
        let act = what.apply(letters.as_ref());
        self.act(asked, action, &letters, &filter, detail, act).await
    }

    /// Does `action` with its entry, which says how many letters it is about.
    async fn act(
        &self,
        asked: &Asked,
        action: Action,
        letters: &Arc<dyn Letters>,
        filter: &LetterFilter,
        mut detail: serde_json::Value,
        act: impl Future<Output = Result<Changed, Error>>,
    ) -> Result<Changed, ApiError> {
        let acts = acts(self.acts.as_ref())?;
        let counts = letters.count(filter).await.map_err(problem)?;
        detail["letters"] = counts.letters.into();
        detail["keys"] = counts.keys.into();
        let resource = Resource {
            kind: "letter",
            id: match filter.numbers.as_slice() {
                [number] => format!("{}/{number}", letters.holder()),
                _ => format!("{}/*", letters.holder()),
            },
            tenant: filter.tenant.clone(),
        };
        acts.act(asked, action, &resource, fitting(detail), act).await
    }
}

/// A detail that an entry can hold: a patch that is too long is named by its hash.
fn fitting(mut detail: serde_json::Value) -> serde_json::Value {
    let text = detail.to_string();
    if text.len() <= crate::audit::DETAIL_BYTES_MAX {
        return detail;
    }
    for part in ["patch", "select"] {
        if let Some(long) = detail.get_mut(part) {
            *long = json!({ "blake3": blake3::hash(long.to_string().as_bytes()).to_string() });
        }
    }
    detail
}

pub(crate) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice(body).map_err(|error| malformed(error.to_string()).into())
}

fn selection(select: &Selection) -> Result<LetterFilter, ApiError> {
    select.filter().map_err(|why| malformed(why).into())
}

fn malformed(detail: String) -> Problem {
    Problem::new(400, "RC-EVT-051", "a request about events is malformed").detail(detail)
}

fn unknown(number: i64) -> Problem {
    Problem::new(404, "RC-EVT-052", "there is no such dead letter").detail(format!(
        "there is no letter {number} here; it may have been replayed"
    ))
}

/// What holds the events is not there.
pub(crate) fn absent() -> Problem {
    Problem::new(503, "RC-EVT-017", "the consumer does not run here")
        .detail("its store is not there; `/ready` says why")
}

/// What the engine says, as an answer.
pub(crate) fn problem(error: Error) -> Problem {
    let code = error.code();
    let title = rc_model::code::lookup(code).map_or("the event engine failed", |known| known.title);
    let status = match &error {
        Error::Letter(_) | Error::Job(_) => 409,
        Error::Invalid(_) => 400,
        _ => 503,
    };
    let problem = Problem::new(status, code, title).detail(error.to_string());
    match error.retry_after() {
        Some(after) if status == 503 => problem.retry_after(after),
        _ => problem,
    }
}

#[cfg(test)]
mod tests;
