//! The event engine as services and `rc events` run it: what `/ready` and `/metrics` say of it, and what people
//! do with dead letters, each time recorded before it takes effect.
//!
//! It moves no events itself and decides nothing about them.

pub mod acts;
pub mod admin;
pub mod history;
pub mod log;
pub mod status;
pub mod verify;
pub mod watch;
pub mod wire;
