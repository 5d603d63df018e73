//! The HTTP face: `/docs/{id}`, `/search`, and the platform's own `/-/indexed` and `/-/sizes`.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use data_encoding::HEXLOWER;
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use rc_model::{Problem, TenantId, Timestamp};
use rc_serve::{ApiError, RequestContext};
use rc_store::Error;

use super::conditional::{is_current, last_modified};
use super::cursor::{self, Scope};
use super::fault;
use super::flight::{Flights, Key};
use super::model::{Search, Stored};
use super::params::{LIMIT_DEFAULT, Params};
use super::progress::{Progress, WaitFault};
use super::store::DocsStore;
use super::wire::{DocumentAnswer, Sizes, SizesWanted, WaitAnswer, WaitRequest, body, search_body};
use crate::document::check_id;
use crate::text::Query;

/// How long a read may take when the caller sets no deadline.
const READ_TIME_MAX: Duration = Duration::from_secs(5);

/// Where the platform asks how large documents are.
pub(crate) const SIZES_PATH: &str = "/-/sizes";

/// Documents that one call of `/-/indexed` may wait for: the items of a batch.
pub const WAIT_DOCS_MAX: usize = 1_000;

/// The longest wait of `/-/indexed`.
pub const WAIT_TIME_MAX: Duration = Duration::from_secs(30);

/// Largest body of `/-/indexed`: ids of 200 bytes, every byte escaped.
const WAIT_BODY_BYTES_MAX: usize = 2 << 20;

/// Pages whose texts are larger than this are rendered off the async threads.
const OFFLOAD_BYTES: usize = 32 << 10;

/// A caller's own copy may be kept, and is asked about each time: documents change.
const CACHE: HeaderValue = HeaderValue::from_static("private, no-cache");

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// What the handlers share.
pub(super) struct Api {
    pub(super) store: Arc<dyn DocsStore>,
    pub(super) progress: Progress,
    pub(super) flights: Flights<Read>,
}

/// What a read gave; shared between callers of the same tenant that asked for the same at the same time.
type Read = Result<Option<Arc<Representation>>, ReadFault>;

/// Why a read gave nothing.
#[derive(Debug, Clone)]
pub(super) enum ReadFault {
    Store(Error),
    /// Our own code panicked while rendering.
    Rendering,
}

/// A representation, ready to send.
#[derive(Debug)]
pub(super) struct Representation {
    body: Bytes,
    etag: HeaderValue,
    modified: Option<Timestamp>,
}

/// The routes of docs-api.
pub(super) fn router(api: Arc<Api>) -> Router {
    let wait = post(indexed).layer(DefaultBodyLimit::max(WAIT_BODY_BYTES_MAX));
    let sizes = post(sizes).layer(DefaultBodyLimit::max(WAIT_BODY_BYTES_MAX));
    Router::new()
        .route("/docs/{id}", get(document))
        .route("/search", get(search))
        .route("/-/indexed", wait)
        .route(SIZES_PATH, sizes)
        .route(
            "/openapi.json",
            get(|| std::future::ready(axum::Json(super::api::document()))),
        )
        .with_state(api)
}

async fn document(
    State(api): State<Arc<Api>>,
    context: RequestContext,
    uri: Uri,
    id: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let tenant = tenant_of(&context)?;
    // The path was decoded once, by the router: `%2F` in it is part of the id.
    let Path(id) = id.map_err(|rejection| fault::bad_id(&rejection.body_text()))?;
    check_id(&id).map_err(|why| fault::bad_id(&why))?;
    let work = async {
        let stored = api.store.get(tenant, &id).await.map_err(ReadFault::Store)?;
        Ok(stored.map(|stored| Arc::new(represent(&stored))))
    };
    let found = api.read(tenant, &uri, &context, work).await?;
    let found = found.ok_or_else(fault::not_found)?;
    Ok(answer(&found, &headers))
}

async fn search(
    State(api): State<Arc<Api>>,
    context: RequestContext,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let tenant = tenant_of(&context)?;
    let params = Params::parse(uri.query().unwrap_or_default()).map_err(fault::bad_parameter)?;
    let search = to_search(tenant, &params)?;
    let work = async {
        let page = api
            .store
            .search(tenant, &search)
            .await
            .map_err(ReadFault::Store)?;
        let bytes: usize = page.hits.iter().map(|hit| hit.stored.document.text.len()).sum();
        let (tenant, search, params) = (tenant.clone(), search.clone(), params.clone());
        let render = move || search_body(scope(&tenant, &params), &search, &page);
        let body = if bytes > OFFLOAD_BYTES {
            tokio::task::spawn_blocking(render).await.map_err(|error| {
                tracing::error!(%error, "rendering a page failed");
                ReadFault::Rendering
            })?
        } else {
            render()
        };
        let hash = blake3::hash(&body);
        let etag = etag(&HEXLOWER.encode(&hash.as_bytes()[..16]));
        Ok(Some(Arc::new(Representation {
            body,
            etag,
            modified: None,
        })))
    };
    let found = api.read(tenant, &uri, &context, work).await?;
    let found = found.ok_or_else(fault::not_found)?;
    Ok(answer(&found, &headers))
}

/// `{"tenant", "docs": [[id, version], ..], "timeout_ms"}`: comes back when all of them are searchable.
async fn indexed(State(api): State<Arc<Api>>, body: Bytes) -> Result<Response, ApiError> {
    let request: WaitRequest =
        serde_json::from_slice(&body).map_err(|error| fault::bad_wait(error.to_string()))?;
    if request.docs.len() > WAIT_DOCS_MAX {
        return Err(fault::bad_wait(format!("at most {WAIT_DOCS_MAX} documents can be waited for")).into());
    }
    let limit = Duration::from_millis(request.timeout_ms).min(WAIT_TIME_MAX);
    let waited = api
        .progress
        .wait(api.store.as_ref(), &request.tenant, request.docs, limit)
        .await;
    let indexed = waited.map_err(|fault| match fault {
        WaitFault::Full => fault::too_many_waiters(),
        WaitFault::Store(error) => fault::of_store(&error),
    })?;
    Ok(axum::Json(WaitAnswer { indexed }).into_response())
}

/// `{"tenant", "ids": [..]}`: the version of each document that is there, and its bytes as an event carries them.
async fn sizes(State(api): State<Arc<Api>>, body: Bytes) -> Result<Response, ApiError> {
    let wanted: SizesWanted =
        serde_json::from_slice(&body).map_err(|error| fault::bad_wait(error.to_string()))?;
    if wanted.ids.len() > WAIT_DOCS_MAX {
        return Err(fault::bad_wait(format!("at most {WAIT_DOCS_MAX} documents can be asked for")).into());
    }
    let mut sizes = Vec::with_capacity(wanted.ids.len());
    for id in wanted.ids {
        let found = api.store.get(&wanted.tenant, &id).await;
        if let Some(stored) = found.map_err(|error| fault::of_store(&error))? {
            sizes.push((id, stored.version, stored.document.to_payload().len() as u64));
        }
    }
    Ok(axum::Json(Sizes { sizes }).into_response())
}

impl Api {
    /// Runs a read within the caller's deadline, together with equal ones of the same tenant.
    async fn read(
        &self,
        tenant: &TenantId,
        uri: &Uri,
        context: &RequestContext,
        work: impl Future<Output = Read>,
    ) -> Result<Option<Arc<Representation>>, Problem> {
        let key = Key {
            tenant: tenant.clone(),
            target: uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
            generation: self.progress.generation(),
        };
        let limit = context.time_left(READ_TIME_MAX).min(READ_TIME_MAX);
        // The deadline is around the flight: when the leader's passes, one that waited takes over.
        match tokio::time::timeout(limit, self.flights.run(key, work)).await {
            Err(_elapsed) => Err(fault::too_slow()),
            Ok(Ok(found)) => Ok(found),
            Ok(Err(ReadFault::Store(error))) => Err(fault::of_store(&error)),
            Ok(Err(ReadFault::Rendering)) => Err(Problem::new(500, "RC-DOC-013", "a read failed")),
        }
    }
}

fn tenant_of(context: &RequestContext) -> Result<&TenantId, ApiError> {
    context.tenant.as_ref().ok_or_else(|| fault::no_tenant().into())
}

fn scope<'s>(tenant: &'s TenantId, params: &'s Params) -> Scope<'s> {
    Scope {
        tenant,
        query: &params.query,
        filters: &params.filters,
        since: params.since,
        until: params.until,
    }
}

fn to_search(tenant: &TenantId, params: &Params) -> Result<Search, ApiError> {
    let query = Query::parse(&params.query).map_err(|error| fault::bad_query(&error))?;
    let after = match &params.cursor {
        None => None,
        Some(text) => Some(cursor::decode(scope(tenant, params), text).ok_or_else(fault::bad_cursor)?),
    };
    Ok(Search {
        query,
        limit: params.limit.unwrap_or(LIMIT_DEFAULT),
        after,
        filters: params.filters.clone(),
        since: params.since,
        until: params.until,
    })
}

/// The version alone would do until a store is rebuilt from another history: the content is in the tag too.
fn represent(stored: &Stored) -> Representation {
    let tag = format!("{}-{}", stored.version, HEXLOWER.encode(&stored.fingerprint[..8]));
    Representation {
        body: body(&DocumentAnswer::of(stored)),
        etag: etag(&tag),
        modified: Some(stored.updated_at),
    }
}

fn etag(tag: &str) -> HeaderValue {
    HeaderValue::from_str(&format!("\"{tag}\"")).expect("digits and hex are visible ASCII")
}

fn answer(found: &Representation, asked: &HeaderMap) -> Response {
    let mut response = if is_current(asked, &found.etag, found.modified) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let mut response = found.body.clone().into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, JSON);
        response
    };
    let headers = response.headers_mut();
    headers.insert(header::ETAG, found.etag.clone());
    headers.insert(header::CACHE_CONTROL, CACHE);
    if let Some(modified) = found.modified.and_then(last_modified) {
        headers.insert(header::LAST_MODIFIED, modified);
    }
    response
}
