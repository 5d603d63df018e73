//! Adapters to what platforms with more than one machine have already: a NATS server as the bus.
//!
//! It holds no decisions: what a bus promises stands in `rc-events`, and the suite there proves it here.
//!
//! Read first: [`NatsBus`], [`NatsOptions`].

pub mod nats;

pub use nats::{NatsBus, NatsOptions};
