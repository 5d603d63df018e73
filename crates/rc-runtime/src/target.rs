//! Where services run: the seam between deciding (the supervisor) and doing (processes, and whatever else
//! learns to run a service).

use std::future::Future;
use std::pin::Pin;

use rc_model::ServiceId;

use crate::exit::Cause;
use crate::probe::NotReady;
use crate::spec::ServiceSpec;

/// A boxed future; generics stay inside modules.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Why an instance could not be started.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StartError(pub String);

/// A place that can run services.
pub trait Target: Send + Sync {
    /// Starts one instance of `spec`. Dropping the returned future leaves nothing running.
    fn start<'a>(&'a self, spec: &'a ServiceSpec) -> BoxFuture<'a, Result<Box<dyn Instance>, StartError>>;

    /// Asks the service once whether it can serve. It answers within a second or so.
    fn probe<'a>(&'a self, spec: &'a ServiceSpec) -> BoxFuture<'a, Result<(), NotReady>>;

    /// Writes a remark of the supervisor into the service's log.
    fn note(&self, spec: &ServiceSpec, level: &'static str, text: &str);

    /// What the service's last instance printed last, oldest first.
    fn last_lines(&self, service: &ServiceId) -> Vec<String>;

    /// Forgets what is kept for a service that was removed.
    fn forget(&self, service: &ServiceId);
}

/// A running instance. Dropping it tells the instance that nobody watches it any more, upon which it drains
/// and ends by itself.
pub trait Instance: Send {
    /// The process, where there is such a thing.
    fn pid(&self) -> Option<u32>;

    /// Resolves when the instance and all that it started has ended. Cancel safe.
    fn ended(&mut self) -> BoxFuture<'_, Cause>;

    /// Asks the instance to finish its work and end.
    fn terminate(&mut self);

    /// Ends the instance and all that it started, now.
    fn kill(&mut self);
}
