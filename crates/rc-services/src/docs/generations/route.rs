//! The routes of rebuilds, on the service's owner-only socket.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use rc_serve::ApiError;
use serde::{Deserialize, Serialize};

use super::Generations;
use crate::events::admin;

/// The path on the service's socket.
pub const REBUILD_PATH: &str = "/-/rebuild";

/// What is asked.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub enum RebuildWish {
    /// Build the read model anew from history, beside the one that serves, and let it take over.
    Begin { reason: String },
    /// End that and throw away what was built.
    Abort { reason: String },
}

pub(in crate::docs) fn router(generations: Arc<Generations>) -> Router {
    Router::new()
        .route(REBUILD_PATH, get(status).post(wish))
        .with_state(generations)
}

async fn status(State(generations): State<Arc<Generations>>) -> Result<Response, ApiError> {
    Ok(axum::Json(generations.status().await?).into_response())
}

async fn wish(State(generations): State<Arc<Generations>>, request: Request) -> Result<Response, ApiError> {
    let (parts, wish) = admin::read_request::<RebuildWish>(request).await?;
    match wish {
        RebuildWish::Begin { reason } => generations.begin(&admin::asked(&parts, reason)?).await?,
        RebuildWish::Abort { reason } => generations.abort(&admin::asked(&parts, reason)?).await?,
    }
    Ok(axum::Json(generations.status().await?).into_response())
}
