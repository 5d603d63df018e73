//! Runs services and keeps them running: starts them in the order of their needs, probes them, restarts
//! them with backoff, captures what they print, and stops them without leaving anything behind.
//!
//! It knows no command line, no catalog file and no HTTP framework; whoever composes it says what to run as
//! [`ServiceSpec`]s. Where services run is behind [`Target`]; the local [`ProcessTarget`] is the first one.
//!
//! Read first: [`ServiceSpec`] (what to run), [`machine::Machine`] (every decision, without input or
//! output), [`Supervisor`] (the thin shell around it).

pub mod deadman;
mod exit;
pub mod guard;
pub mod journal;
pub mod lock;
pub mod machine;
mod order;
mod probe;
mod process;
pub mod procfs;
mod spec;
mod status;
mod supervisor;
mod target;
mod tend;

pub use exit::{Cause, Exit};
pub use order::SpecError;
pub use probe::{NotReady, probe};
pub use process::{MARK, ProcessOptions, ProcessTarget, own_program, sweep_leftovers};
pub use spec::{Kind, Probe, ServiceSpec};
pub use status::{Board, ServiceStatus, State};
pub use supervisor::{Changes, Handle, Summary, Supervisor};
pub use target::{BoxFuture, Instance, StartError, Target};
