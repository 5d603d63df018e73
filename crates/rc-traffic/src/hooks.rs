//! What the owner of a gateway hands to it besides policy.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rc_serve::Readiness;

/// Largest body of a request to the admin handler.
pub const ADMIN_BODY_BYTES_MAX: u64 = 1 << 20;

/// Longest time that an admin request may take.
pub const ADMIN_TIMEOUT: Duration = Duration::from_secs(30);

/// What the owner of a gateway hands to it besides policy.
#[derive(Clone)]
pub struct Hooks {
    /// What `/ready` answers from; never limited, on every listener.
    pub readiness: Readiness,
    /// Who answers `/metrics` and `/-/…` on the trusted listeners. Absent: 404.
    pub admin: Option<Arc<dyn AdminHandler>>,
}

/// The user at the other end of a trusted connection, by the kernel's word (`SO_PEERCRED`, unix(7)). An
/// extension of each admin request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallerUid(pub u32);

/// The answer of an [`AdminHandler`], on its way.
pub type AdminFuture = Pin<Box<dyn Future<Output = http::Response<Bytes>> + Send>>;

/// Answers `/metrics` and paths under `/-/` on the trusted listeners.
pub trait AdminHandler: Send + Sync {
    /// Answers one request. Its body has at most [`ADMIN_BODY_BYTES_MAX`] bytes; after
    /// [`ADMIN_TIMEOUT`] the future is dropped and the client gets `504`. It runs on a worker thread:
    /// it must not block.
    fn call(&self, request: http::Request<Bytes>) -> AdminFuture;
}
