//! Who asks, in which trace, until when: read from the headers that the gateway sets.
//!
//! These headers are trusted because only the owner of the process can open its socket; the gateway
//! strips them from what clients send.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use http::HeaderMap;
use rc_model::{KeyId, TenantId, TierId, TraceContext};

/// The tenant that the caller was proved to be.
pub const TENANT_HEADER: &str = "x-rc-tenant";
/// That tenant's tier.
pub const TIER_HEADER: &str = "x-rc-tier";
/// What that tenant may store in bytes, where it is limited; `;shadow` behind it: only to be counted.
pub const STORAGE_HEADER: &str = "x-rc-storage";
/// The id of the key that the caller showed.
pub const USER_HEADER: &str = "x-rc-user";
/// Milliseconds that are left of the caller's deadline.
pub const DEADLINE_HEADER: &str = "x-rc-deadline-ms";
/// The request's id, kept from the client when it is sane.
pub const REQUEST_ID_HEADER: &str = "x-request-id";
/// W3C Trace Context.
pub const TRACEPARENT_HEADER: &str = "traceparent";

/// Longest request id that is kept.
pub const REQUEST_ID_BYTES_MAX: usize = 128;

/// What a handler may know about a request's origin.
#[derive(Debug, Clone)]
pub struct RequestContext {
    /// This service's own span in the caller's trace.
    pub trace: TraceContext,
    /// The id of the caller's span; absent when the trace begins here.
    pub parent: Option<u64>,
    /// The request's id, the same in every service it passes.
    pub request_id: Arc<str>,
    /// The caller's tenant; absent on calls of the platform itself.
    pub tenant: Option<TenantId>,
    /// The caller's tier.
    pub tier: Option<TierId>,
    /// The caller's key.
    pub user: Option<KeyId>,
    /// When the caller stops waiting.
    pub deadline: Option<tokio::time::Instant>,
}

impl RequestContext {
    /// Reads the trusted headers. What is missing or malformed is left out or made.
    #[must_use]
    pub fn from_headers(headers: &HeaderMap) -> Self {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let caller = text(TRACEPARENT_HEADER).and_then(|value| TraceContext::parse(value.as_bytes()));
        let trace = caller.map_or_else(|| TraceContext::start(random), |parent| parent.child(random));
        let request_id = text(REQUEST_ID_HEADER)
            .filter(|id| is_request_id(id))
            .map_or_else(|| Arc::from(format!("{:032x}", trace.trace_id())), Arc::from);
        let deadline = text(DEADLINE_HEADER)
            .and_then(|ms| ms.parse().ok())
            .map(|ms: u32| tokio::time::Instant::now() + Duration::from_millis(u64::from(ms)));
        Self {
            trace,
            parent: caller.map(TraceContext::span_id),
            request_id,
            tenant: text(TENANT_HEADER).and_then(|id| TenantId::new(id).ok()),
            tier: text(TIER_HEADER).and_then(|id| TierId::new(id).ok()),
            user: text(USER_HEADER).and_then(|id| KeyId::new(id).ok()),
            deadline,
        }
    }

    /// The time that is left; `fallback` when the caller set no deadline.
    #[must_use]
    pub fn time_left(&self, fallback: Duration) -> Duration {
        self.deadline.map_or(fallback, |at| {
            at.saturating_duration_since(tokio::time::Instant::now())
        })
    }
}

/// 64 random bits for span ids; they identify and protect nothing.
fn random() -> u64 {
    fastrand::u64(..)
}

/// Whether `id` may go into logs and answers as it is: 1 to 128 visible ASCII characters.
#[must_use]
pub fn is_request_id(id: &str) -> bool {
    (1..=REQUEST_ID_BYTES_MAX).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic())
}

impl<S: Sync> FromRequestParts<S> for RequestContext {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(parts
            .extensions
            .get::<Self>()
            .cloned()
            .unwrap_or_else(|| Self::from_headers(&parts.headers)))
    }
}

#[cfg(test)]
mod tests;
