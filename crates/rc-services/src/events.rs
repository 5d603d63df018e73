//! The event engine as services and `rc events` run it: what `/ready` and `/metrics` say of a relay, a bus and
//! a consumer.
//!
//! It moves no events itself and decides nothing about them.

pub mod watch;
