//! Scratch worlds for tests: real servers that start in a second, share nothing with the machine, and are
//! gone when the test process is, however it ends.
//!
//! It refuses to skip: what is not installed makes the test fail with the command that installs it.
//!
//! Read first: [`Postgres`] and [`Nats`]; for faults, [`chaos::Proxy`] (networks) and [`disk`] (disks). The clock that moves by hand is `rc_model::clock::ManualClock`.

#![expect(
    clippy::panic,
    clippy::expect_used,
    reason = "a scratch world that cannot be made is a failed test"
)]

pub mod chaos;
pub mod disk;
pub mod nats;
pub mod postgres;
mod rng;
pub mod spans;

use std::time::Duration;

pub use nats::Nats;
pub use postgres::{Database, Postgres};
pub use rng::Rng;

/// A port of the loopback address that was free a moment ago.
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a free port on loopback")
        .port()
}

/// Waits until `what` holds; for things that happen in another task or process.
///
/// # Panics
/// When it does not hold within `limit`.
pub async fn eventually(limit: Duration, what: &str, mut holds: impl AsyncFnMut() -> bool) {
    const PAUSE: Duration = Duration::from_millis(5);
    let until = tokio::time::Instant::now() + limit;
    while !holds().await {
        assert!(
            tokio::time::Instant::now() < until,
            "not within {limit:?}: {what}"
        );
        tokio::time::sleep(PAUSE).await;
    }
}
