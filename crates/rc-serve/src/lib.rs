//! Running a process well: supervised tasks and drain, HTTP edges on our own sockets, readiness, metrics,
//! logs, and TLS settings.
//!
//! It refuses to know what a service does, which tenants exist, and how the command line looks.
//!
//! Read first: [`tree::Tree`] (every task has a name and an end), [`edge::Edge`] (what each service
//! gets around its own routes), [`context::RequestContext`] (who asks, in which trace).

pub mod blocking;
pub mod context;
pub mod edge;
pub mod logging;
pub mod memory;
pub mod metrics;
pub mod pseudonym;
pub mod readiness;
pub mod tls;
pub mod tree;
pub mod uds;

pub use blocking::off_thread;
pub use context::RequestContext;
pub use edge::{ApiError, Edge};
pub use logging::{DataVersion, Marks};
pub use metrics::Metrics;
pub use pseudonym::{Pseudonym, Pseudonymizer};
pub use readiness::Readiness;
pub use tree::Tree;
