//! The nouns of Royalcrown: typed ids, units, tenants, tiers, services, and the files that users write.
//!
//! It refuses to know about async, the network, the command line and process state. It reads text that
//! the caller hands in (with source spans) and gives back values or diagnostics.
//!
//! Read first: [`id`] (names that cannot be swapped), [`units`] (rates, sizes, durations),
//! [`workspace::Model`] (what a project says, or everything that is wrong with it),
//! [`problem::Problem`] (what an error looks like on the wire).

pub mod catalog;
mod check;
pub mod clock;
pub mod code;
mod consistency;
pub mod digest;
pub mod endpoints;
pub mod gateway;
pub mod id;
pub mod layout;
pub mod problem;
pub mod project;
pub mod resilience;
pub mod rollout;
pub mod schema;
pub mod source;
pub mod split;
pub mod telemetry;
pub mod tenants;
pub mod trace;
pub mod units;
pub mod workspace;
pub mod yaml;

pub use check::suggest::closest;
pub use clock::{Clock, SystemClock, Timestamp};
pub use digest::Digest;
pub use id::{DocId, KeyId, OwnerId, RegionId, RolloutId, ServiceId, TenantId, TierId, VersionId};
pub use layout::Layout;
pub use problem::Problem;
pub use source::{Diagnostic, Severity};
pub use telemetry::TelemetrySink;
pub use trace::TraceContext;
pub use units::{ByteSize, Rate, Span};
pub use workspace::{Model, Sources};
