//! A stream of a real server.

use std::net::SocketAddr;

use rc_model::clock::SystemClock;
use rc_test::nats::PAYLOAD_BYTES_MAX;

use super::*;

/// A stream of its own on a server that is shared, or not.
pub(super) struct World {
    options: NatsOptions,
    bus: NatsBus,
}

impl World {
    /// A stream on the server of this test process.
    pub(super) async fn shared() -> Self {
        Self::on(Nats::start(), Nats::start().address())
    }

    /// A stream on `server`, which is reached at `address`.
    pub(super) fn on(server: &Nats, address: SocketAddr) -> Self {
        Self::with(server, address, "&max_bytes=100000000")
    }

    /// As [`Self::on`], with more options.
    pub(super) fn with(server: &Nats, address: SocketAddr, options: &str) -> Self {
        let url = format!(
            "nats://{address}/{}?monitor={}{options}",
            server.fresh_name(),
            server.monitor()
        );
        let options = NatsOptions::parse(&url).unwrap();
        let bus = NatsBus::new(options.clone(), SystemClock::shared());
        Self { options, bus }
    }

    /// Another process.
    pub(super) fn process(&self) -> NatsBus {
        NatsBus::new(self.options.clone(), SystemClock::shared())
    }
}

impl contract::World for World {
    fn bus(&self) -> Arc<dyn Bus> {
        Arc::new(self.bus.clone())
    }

    fn another(&self) -> BoxFuture<'_, Arc<dyn Bus>> {
        Box::pin(async { Arc::new(self.process()) as Arc<dyn Bus> })
    }

    fn pass(&self, time: Duration) -> BoxFuture<'_, ()> {
        Box::pin(tokio::time::sleep(time))
    }

    fn long(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn kept_bytes<'a>(&'a self, _events: &'a [Event]) -> BoxFuture<'a, u64> {
        Box::pin(async { self.bus.stream_state().await.unwrap().bytes })
    }

    fn oversize(&self) -> Option<usize> {
        Some(PAYLOAD_BYTES_MAX + 1)
    }
}
