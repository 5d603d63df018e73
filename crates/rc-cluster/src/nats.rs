//! The bus in a JetStream stream of NATS 2.14 or later.
//!
//! A batch is one atomic publish whose first message says where the stream must end and whose last one
//! carries the origin's new cursor: what the embedded bus does in one transaction. The client is our own,
//! some hundred lines for the few requests that a bus needs: no task in the background, no buffer that
//! outlives a request, a deadline on each.

mod bus;
mod connection;
mod durability;
mod jetstream;
mod key;
mod message;
mod state;
mod url;
mod wire;

pub use bus::NatsBus;
pub use url::{Durability, NatsOptions};
