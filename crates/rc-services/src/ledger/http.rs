//! The ledger's socket: deliveries in, the checkpoint and the log's own files out.
//!
//! Only the owner of the process can open it. The files are those of C2SP tlog-tiles, so that a client that
//! reads such logs over HTTP can read this one.

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path as UrlPath, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::header;
use rc_model::Problem;
use rc_serve::ApiError;

use super::refusal::Refusal;
use super::sequencer::Handle;
use crate::audit::wire::{BODY_BYTES_MAX, CHECKPOINT_PATH, Delivery, ENTRIES_PATH};

/// Largest file that is served: an entry bundle of 256 entries of 65,535 bytes with their lengths.
const FILE_BYTES_MAX: u64 = 256 * (65_535 + 2);

/// What handlers share.
pub(super) struct App {
    pub(super) sequencer: Handle,
    pub(super) log: PathBuf,
}

pub(super) fn router(app: Arc<App>) -> Router {
    Router::new()
        .route(ENTRIES_PATH, post(entries))
        .route(CHECKPOINT_PATH, get(checkpoint))
        .route("/-/log/{*file}", get(file))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(app)
}

async fn entries(State(app): State<Arc<App>>, body: Bytes) -> Result<Response, ApiError> {
    let delivery: Delivery = match serde_json::from_slice(&body) {
        Ok(delivery) => delivery,
        Err(error) => {
            let refusal = Refusal::malformed(error.to_string());
            app.sequencer.refused(&refusal);
            return Err(refusal.problem().into());
        }
    };
    let receipt = app.sequencer.deliver(delivery).await;
    let receipt = receipt.map_err(|refusal| ApiError::from(refusal.problem()))?;
    Ok(axum::Json(receipt).into_response())
}

async fn checkpoint(State(app): State<Arc<App>>) -> Response {
    text(app.sequencer.checkpoint())
}

/// `GET /-/log/checkpoint` and `GET /-/log/tile/…`: the files as they are on disk.
async fn file(State(app): State<Arc<App>>, UrlPath(file): UrlPath<String>) -> Result<Response, ApiError> {
    let absent = || ApiError::from(Problem::new(404, "RC-SRV-001", "no such path"));
    if !is_of_the_log(&file) {
        return Err(absent());
    }
    let path = app.log.join(&file);
    let read = tokio::task::spawn_blocking(move || read(&path)).await;
    match read {
        Ok(Ok(bytes)) if file == "checkpoint" => {
            Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], bytes).into_response())
        }
        Ok(Ok(bytes)) => Ok((
            [
                (header::CONTENT_TYPE, "application/octet-stream"),
                (header::CACHE_CONTROL, "max-age=604800, immutable"),
            ],
            bytes,
        )
            .into_response()),
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::NotFound => Err(absent()),
        Ok(Err(error)) => {
            let problem = Problem::new(503, "RC-LED-012", "a file of the log cannot be read");
            Err(problem.detail(error.to_string()).into())
        }
        Err(error) => Err(Problem::new(500, "RC-SRV-003", "the service has a bug")
            .detail(error.to_string())
            .into()),
    }
}

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let found = fs_err::metadata(path)?;
    if !found.is_file() || found.len() > FILE_BYTES_MAX {
        return Err(std::io::Error::from(std::io::ErrorKind::NotFound));
    }
    fs_err::read(path)
}

/// The checkpoint and tiles, and nothing else that lies in the folder.
fn is_of_the_log(file: &str) -> bool {
    let plain = Path::new(file)
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    let letters = file
        .bytes()
        .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'/' | b'.'));
    let whole = !file.split('/').any(str::is_empty);
    plain && letters && whole && (file == "checkpoint" || file.starts_with("tile/"))
}

fn text(body: String) -> Response {
    let plain = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
    (plain, body).into_response()
}

#[cfg(test)]
mod tests;
