//! What tenants store, for people who ask on the service's socket; and the sizes of documents from before they were
//! kept, which docs-api knows.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use http::header;
use rc_model::TenantId;
use rc_serve::{ApiError, uds};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::backend::Backend;
use super::http::{store_down, store_problem};
use super::receive::Refused;
use super::storage::{Reservations, Unmeasured};
use super::{fault, limits};
use crate::audit::{Action, Resource};
use crate::docs::{SIZES_PATH, Sizes, SizesWanted};
use crate::events::acts::Acts;
use crate::events::admin;

/// The path on ingest's socket of what a tenant (`?tenant=`) stores.
pub const USAGE_PATH: &str = "/-/storage";

/// Where a recount is asked for, on ingest's socket.
pub const RECOUNT_PATH: &str = "/-/storage/recount";

/// How long docs-api may take to tell some sizes.
const SIZES_TIME_MAX: Duration = Duration::from_secs(10);

/// What a tenant stores.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageLine {
    /// Bytes of documents: their current versions as JSON.
    pub used_bytes: u64,
    /// What writes under way add at most.
    pub reserved_bytes: u64,
    /// Documents whose size is not known yet; they count as nothing until it is.
    pub unmeasured_documents: u64,
}

/// Asks for a recount.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecountWish {
    pub tenant: TenantId,
    /// For the audit log, in the caller's words.
    pub reason: String,
}

/// What a recount found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecountLine {
    /// As the ledger had it.
    pub used_bytes_before: u64,
    /// As the documents are, and the ledger from now on.
    pub used_bytes: u64,
}

/// What the routes work on.
#[derive(Clone)]
pub(crate) struct UsageAdmin {
    pub(crate) backend: Arc<ArcSwapOption<Backend>>,
    pub(crate) reservations: Reservations,
    /// Where acts are recorded; none when that could not be opened, and then nothing is repaired.
    pub(crate) acts: Option<Acts>,
}

/// The routes.
pub(crate) fn router(admin: UsageAdmin) -> Router {
    Router::new()
        .route(USAGE_PATH, get(usage))
        .route(RECOUNT_PATH, post(recount))
        .with_state(Arc::new(admin))
}

#[derive(Deserialize)]
struct Asked {
    tenant: TenantId,
}

async fn usage(
    State(admin): State<Arc<UsageAdmin>>,
    query: Result<Query<Asked>, QueryRejection>,
) -> Result<Response, Refused> {
    let Query(Asked { tenant }) =
        query.map_err(|rejection| Refused::kind(fault::BAD_QUERY, rejection.body_text()))?;
    let backend = admin.backend.load_full();
    let backend = backend.ok_or_else(|| Refused::new(store_down()))?;
    let usage = backend.store.usage(&tenant).await;
    let usage = usage.map_err(|error| store_problem(&error))?;
    let line = UsageLine {
        used_bytes: usage.used,
        reserved_bytes: admin.reservations.of(&tenant),
        unmeasured_documents: usage.unmeasured,
    };
    Ok(axum::Json(line).into_response())
}

async fn recount(State(admin): State<Arc<UsageAdmin>>, request: Request) -> Result<Response, ApiError> {
    let (parts, RecountWish { tenant, reason }) = admin::read_request(request).await?;
    let asked = admin::asked(&parts, reason)?;
    let acts = admin::acts(admin.acts.as_ref())?;
    let backend = admin.backend.load_full().ok_or_else(store_down)?;
    let resource = Resource {
        kind: "storage",
        id: tenant.to_string(),
        tenant: Some(tenant.clone()),
    };
    let work = async {
        let counted = backend.store.recount(&tenant).await;
        counted.map_err(rc_events::Error::from)
    };
    let found = acts
        .act(&asked, Action::StorageRecount, &resource, json!({}), work)
        .await?;
    let detail = json!({ "before": found.before, "counted": found.counted });
    acts.result(&asked, Action::StorageRecount, &resource, detail)
        .await?;
    let line = RecountLine {
        used_bytes_before: found.before,
        used_bytes: found.counted,
    };
    if line.used_bytes_before != line.used_bytes {
        tracing::warn!(
            %tenant,
            before = line.used_bytes_before,
            counted = line.used_bytes,
            "the storage ledger was wrong and is repaired"
        );
    }
    Ok(axum::Json(line).into_response())
}

/// Asks docs-api for the sizes of documents from before they were kept, until all are known.
pub(crate) async fn measure(
    backend: Arc<ArcSwapOption<Backend>>,
    docs_socket: PathBuf,
    stopping: CancellationToken,
) {
    loop {
        if let Some(backend) = backend.load_full() {
            match stopping
                .run_until_cancelled(measure_once(&backend, &docs_socket))
                .await
            {
                None => return,
                Some(Ok(0)) => return,
                Some(Ok(left)) => tracing::debug!(left, "documents whose size docs-api does not know yet"),
                Some(Err(why)) => tracing::debug!(why, "sizes of documents are not known yet"),
            }
        }
        let pause = tokio::time::sleep(limits::MEASURE_EVERY);
        if stopping.run_until_cancelled(pause).await.is_none() {
            return;
        }
    }
}

/// One look at all documents without a size; how many are left.
async fn measure_once(backend: &Backend, docs_socket: &std::path::Path) -> Result<usize, String> {
    let (mut after, mut left) = (None, 0);
    loop {
        let found = backend.store.unmeasured(after.take()).await;
        let found = found.map_err(|error| error.to_string())?;
        let Some(last) = found.last() else {
            return Ok(left);
        };
        after = Some(last.clone());
        for of_tenant in found.chunk_by(|one, next| one.tenant == next.tenant) {
            let tenant = &of_tenant[0].tenant;
            let sizes = ask_sizes(docs_socket, tenant, of_tenant).await?;
            let known: Vec<(String, u64, u64)> = sizes
                .into_iter()
                .filter(|(id, version, _)| {
                    let same = |one: &Unmeasured| one.id == *id && one.version == *version;
                    of_tenant.iter().any(same)
                })
                .collect();
            left += of_tenant.len() - known.len();
            if !known.is_empty() {
                let noted = backend.store.measure(tenant, known).await;
                noted.map_err(|error| error.to_string())?;
            }
        }
    }
}

async fn ask_sizes(
    socket: &std::path::Path,
    tenant: &TenantId,
    documents: &[Unmeasured],
) -> Result<Vec<(String, u64, u64)>, String> {
    let wanted = SizesWanted {
        tenant: tenant.clone(),
        ids: documents.iter().map(|document| document.id.clone()).collect(),
    };
    let body = serde_json::to_vec(&wanted).expect("requests have only string keys");
    let request = http::Request::post(SIZES_PATH)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Bytes::from(body))
        .expect("a constant path and header are valid");
    let answer = uds::call(socket, request, SIZES_TIME_MAX)
        .await
        .map_err(|error| error.to_string())?;
    if !answer.status().is_success() {
        return Err(format!("docs-api answered {}", answer.status()));
    }
    let sizes: Sizes = serde_json::from_slice(answer.body()).map_err(|error| error.to_string())?;
    Ok(sizes.sizes)
}
