//! The gateway engine: says whose request it is, admits it or tells when to come back, and carries it to
//! a service and the answer back.
//!
//! It refuses to know about the command line, files, stores and web frameworks. Policy arrives as a
//! compiled [`Snapshot`], keys as a [`KeyTable`]; both can be replaced at any moment without a request
//! noticing.
//!
//! Read first: [`gateway::Gateway`] (bind, run, install), [`snapshot::Snapshot`] (what the data path
//! reads), [`config::GatewayConfig`] (what is fixed at start). On the data path: `h1` and `h2` speak to
//! clients, `admission` decides, `cache` answers what is kept, `exchange` carries, `upstream` speaks to services.

pub mod config;
pub mod gateway;
pub mod hooks;
pub mod key;
pub mod levels;
pub mod limit;
pub mod snapshot;
pub mod versions;

mod access;
mod admission;
mod answer;
mod cache;
mod connection;
mod crowd;
mod exchange;
mod exemplar;
mod forward;
mod h1;
mod h2;
mod health;
mod io;
mod latency;
mod local;
mod metrics;
mod pace;
mod path;
mod request;
mod retry;
mod seats;
mod span;
mod state;
mod upstream;
mod waiting;
mod wire;
mod worker;

pub use config::{ConnectionLimits, GatewayConfig, Listener, Tracing};
pub use gateway::{BindError, Bound, BoundAddress, Gateway, Stopped};
pub use hooks::{AdminFuture, AdminHandler, CallerUid, Hooks};
pub use key::{ApiKey, KeyEntry, KeySet, KeyTable, KeysUnknown, NoKeys, SecretHash};
pub use levels::{Levels, RateLevel, RouteLevel};
pub use snapshot::{
    AnonymousPolicy, BuildError, BuildFault, Endpoint, RouteSpec, Snapshot, SnapshotSpec, TenantSpec,
    UpstreamSpec,
};
pub use versions::{RolloutSpec, VersionSpec, VersionsSpec};
