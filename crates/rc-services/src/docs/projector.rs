//! The projector: events from the bus become documents, in order, each once.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rc_events::{Applied, Batch, Books, BoxFuture, Error, Mode, Projection, Seq, Wake};
use rc_model::{Clock, Timestamp};
use rc_serve::uds;
use rc_store::ErrorKind;
use serde::Deserialize;

use super::meters::Meters;
use super::progress::Progress;
use super::store::{CONSUMER, DocsStore};

/// The longest poll: ingest finishes open exchanges before it ends, and should not wait long for this one.
const WAKE_TIME_MAX: Duration = Duration::from_secs(1);

/// How much longer than its own timeout a long poll may take.
const WAKE_GRACE: Duration = Duration::from_secs(2);

/// The read model as a consumer of the bus.
pub(super) struct DocsProjection {
    pub(super) store: Arc<dyn DocsStore>,
    pub(super) progress: Progress,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) meters: Meters,
}

impl Projection for DocsProjection {
    fn name(&self) -> &str {
        CONSUMER
    }

    fn books(&self) -> Arc<dyn Books> {
        self.store.books()
    }

    fn apply(&self, batch: Batch) -> BoxFuture<'_, Result<Applied, Error>> {
        Box::pin(async move {
            // A replay repairs old documents: their age is not the projector's delay.
            let live = batch.mode() == Mode::Live;
            let times: Vec<Timestamp> = batch.events().iter().map(|event| event.time).collect();
            let done = self.store.apply(batch).await?;
            // After the commit: whoever is woken finds the documents.
            self.progress.advance();
            self.meters.applied.inc_by(done.applied);
            self.meters.duplicates.inc_by(done.duplicates);
            if live {
                let now = self.clock.now();
                for time in times {
                    self.meters.delay.observe(now.since(time).as_secs_f64());
                }
            }
            Ok(done)
        })
    }
}

/// Wakes the consumer by a long poll of the process that writes the bus, and tells it by the same call
/// how far the consumer is.
pub(super) struct IngestWake {
    pub(super) socket: PathBuf,
}

#[derive(Deserialize)]
struct Tail {
    tail: Seq,
}

impl Wake for IngestWake {
    fn wait(&self, after: Seq, timeout: Duration) -> BoxFuture<'_, Result<Seq, Error>> {
        let timeout = timeout.min(WAKE_TIME_MAX);
        let target = format!(
            "/-/bus/wait?after={after}&timeout_ms={}&consumer={CONSUMER}",
            timeout.as_millis()
        );
        Box::pin(async move {
            let request = http::Request::get(target)
                .body(Bytes::new())
                .map_err(|error| failed(&error.to_string()))?;
            let answer = uds::call(&self.socket, request, timeout + WAKE_GRACE)
                .await
                .map_err(|error| failed(&error.to_string()))?;
            if !answer.status().is_success() {
                return Err(failed(&format!("ingest answered {}", answer.status())));
            }
            let tail: Tail =
                serde_json::from_slice(answer.body()).map_err(|error| failed(&error.to_string()))?;
            Ok(tail.tail)
        })
    }
}

/// A wake-up that did not come; the consumer polls until one does.
fn failed(why: &str) -> Error {
    let retry_after = rc_store::error::UNAVAILABLE_RETRY;
    rc_store::Error::new(ErrorKind::Unavailable { retry_after }, why).into()
}

#[cfg(test)]
mod tests;
