//! A connection to one endpoint, within the time that there is.

use std::future::{Future as _, poll_fn};
use std::task::Poll;

use tokio::time::Instant;

use super::{Broken, Downstream, Fail};
use crate::forward::Forward;
use crate::io::Timer;
use crate::metrics::bump;
use crate::request::Framing;
use crate::upstream::{Connection, Pool};
use crate::worker::Worker;

/// Connects within the shorter of the connect timeout and the deadline. `Err(None)`: this endpoint cannot
/// be reached.
pub(super) async fn connect<D: Downstream>(
    worker: &Worker,
    pool: &Pool,
    client: &mut D,
    forward: &Forward,
    timer: &mut Timer,
) -> Result<Connection, Option<Fail>> {
    let limit = Instant::now() + worker.shared.config.limits.connect_timeout;
    let mut connecting = std::pin::pin!(pool.connect(worker.random()));
    let connected = poll_fn(|cx| {
        if let Poll::Ready(done) = connecting.as_mut().poll(cx) {
            return Poll::Ready(done.map_err(Some));
        }
        if forward.framing == Framing::None && client.poll_gone(cx).is_ready() {
            return Poll::Ready(Err(None));
        }
        timer
            .poll(limit.min(forward.deadline), cx)
            .map(|()| Err(Some(std::io::ErrorKind::TimedOut.into())))
    });
    match connected.await {
        Ok(connection) => {
            bump(&worker.counters().upstream_connects);
            Ok(connection)
        }
        Err(None) => Err(Some(Fail::Client(Broken::Gone))),
        Err(Some(_)) if Instant::now() >= forward.deadline => Err(Some(Fail::Deadline)),
        Err(Some(error)) => {
            bump(&worker.counters().upstream_failures);
            tracing::debug!(endpoint = ?pool.endpoint(), %error, "cannot connect");
            Err(None)
        }
    }
}
