//! Spans to a receiver: OTLP over HTTP with binary protocol buffers
//! (<https://opentelemetry.io/docs/specs/otlp/#otlphttp>).
//!
//! What waits is bounded, every exchange has a deadline, and what a receiver does not take in a few
//! attempts is dropped and counted: a slow receiver costs spans, never requests. It refuses to decode spans.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::complaint::Complaint;
use crate::endpoint::{Endpoint, Headers};
use crate::otlp;
use crate::recorder::Counters;
use crate::resource::Resource;

mod channel;

use channel::{Channel, Outcome};

/// Bytes of spans that wait to be sent: about 25,000 spans.
const QUEUE_BYTES_MAX: usize = 8 << 20;
/// Bytes of spans in one request, unless one flush alone brought more. Collectors take 20 MiB by default.
const BATCH_BYTES_MAX: usize = 1 << 20;
/// How long spans wait for others to travel with.
const BATCH_EVERY: Duration = Duration::from_secs(1);
/// Attempts for one batch.
const ATTEMPTS_MAX: u32 = 5;
/// The first pause between attempts; each is twice the one before, give or take a half.
const BACKOFF_FIRST: Duration = Duration::from_millis(500);
/// Longest pause that a receiver can ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);

/// A receiver of spans.
#[derive(Debug, Clone)]
pub struct OtlpConfig {
    pub endpoint: Endpoint,
    /// Fields for every request.
    pub headers: Headers,
    /// Longest time of one attempt, from the connection to the end of the answer.
    pub timeout: Duration,
    /// Certificate authorities (PEM) to believe instead of the system's.
    pub ca: Option<PathBuf>,
}

/// Why spans cannot be sent at all.
#[derive(Debug, thiserror::Error)]
#[error("TLS to {endpoint} cannot be set up")]
pub(crate) struct SetupError {
    endpoint: String,
    #[source]
    source: Box<rc_serve::tls::TlsError>,
}

/// Spans of one flush.
#[derive(Debug)]
struct Chunk {
    /// Fields of `ScopeSpans`.
    spans: Bytes,
    count: u64,
}

/// Spans that wait to be sent.
#[derive(Debug)]
pub(crate) struct Queue {
    waiting: Mutex<Waiting>,
    filled: Notify,
    pressing: Notify,
    counters: Counters,
}

#[derive(Debug, Default)]
struct Waiting {
    chunks: VecDeque<Chunk>,
    bytes: usize,
}

impl Queue {
    pub(crate) fn new(counters: Counters) -> Self {
        Self {
            waiting: Mutex::default(),
            filled: Notify::new(),
            pressing: Notify::new(),
            counters,
        }
    }

    /// Adds `count` spans; what does not fit is dropped, because what waits is older and nearer to its turn.
    pub(crate) fn push(&self, spans: Bytes, count: u64) {
        let bytes = {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            if waiting.bytes + spans.len() > QUEUE_BYTES_MAX {
                drop(waiting);
                self.counters.drop_spans("queue", count);
                return;
            }
            waiting.bytes += spans.len();
            waiting.chunks.push_back(Chunk { spans, count });
            waiting.bytes
        };
        self.filled.notify_one();
        if bytes >= BATCH_BYTES_MAX {
            self.pressing.notify_one();
        }
    }

    /// Spans for one request; `None` when nothing waits.
    fn take(&self) -> Option<Batch> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let mut batch = Batch::default();
        while let Some(chunk) = waiting.chunks.front()
            && (batch.bytes == 0 || batch.bytes + chunk.spans.len() <= BATCH_BYTES_MAX)
        {
            batch.bytes += chunk.spans.len();
            batch.count += chunk.count;
            batch
                .chunks
                .extend(waiting.chunks.pop_front().map(|chunk| chunk.spans));
        }
        waiting.bytes -= batch.bytes;
        (batch.count > 0).then_some(batch)
    }
}

#[derive(Debug, Default)]
struct Batch {
    chunks: Vec<Bytes>,
    bytes: usize,
    count: u64,
}

/// Sends what waits in the queue. Owned by its task.
pub(crate) struct Exporter {
    queue: Arc<Queue>,
    channel: Channel,
    resource: Vec<u8>,
    scope: Vec<u8>,
    counters: Counters,
    complaint: Complaint,
}

impl Exporter {
    pub(crate) fn new(
        config: OtlpConfig,
        resource: &Resource,
        queue: Arc<Queue>,
        counters: Counters,
    ) -> Result<Self, SetupError> {
        let endpoint = config.endpoint.to_string();
        let channel = Channel::new(config, &resource.version).map_err(|source| SetupError {
            endpoint,
            source: Box::new(source),
        })?;
        Ok(Self {
            queue,
            channel,
            resource: resource.encode(),
            scope: otlp::encode_scope("royalcrown", &resource.version),
            counters,
            complaint: Complaint::default(),
        })
    }

    /// Runs until `stopping`; then sends what is left, each batch once. Whoever waits for that end has the
    /// deadline.
    pub(crate) async fn run(mut self, stopping: CancellationToken) {
        loop {
            let queue = Arc::clone(&self.queue);
            let wait = async {
                queue.filled.notified().await;
                tokio::select! {
                    () = tokio::time::sleep(BATCH_EVERY) => {}
                    () = queue.pressing.notified() => {}
                }
            };
            let stopped = stopping.run_until_cancelled(wait).await.is_none();
            while let Some(batch) = self.queue.take() {
                self.send(batch, &stopping).await;
            }
            if stopped {
                return;
            }
        }
    }

    async fn send(&mut self, batch: Batch, stopping: &CancellationToken) {
        let body = self.body(&batch);
        for attempt in 1..=ATTEMPTS_MAX {
            let wait = match self.channel.post(body.clone()).await {
                Outcome::Taken(partial) => {
                    let rejected = partial.rejected.min(batch.count);
                    self.counters.exported.inc_by(batch.count - rejected);
                    self.counters.drop_spans("rejected", rejected);
                    if rejected > 0 || !partial.message.is_empty() {
                        let said = short(&partial.message);
                        self.complain(format!("the receiver rejected {rejected} spans: {said}"));
                    }
                    return;
                }
                Outcome::Refused(why) => {
                    self.counters.drop_spans("rejected", batch.count);
                    self.complain(why);
                    return;
                }
                Outcome::Later { why, after } => {
                    if attempt == ATTEMPTS_MAX || stopping.is_cancelled() {
                        self.counters.drop_spans("export", batch.count);
                        self.complain(why);
                        return;
                    }
                    after.map_or_else(|| backoff(attempt), |after| after.min(RETRY_AFTER_MAX))
                }
            };
            // At the end of the process there is one more attempt, at once.
            stopping
                .run_until_cancelled(tokio::time::sleep(wait))
                .await
                .unwrap_or_default();
        }
    }

    fn body(&self, batch: &Batch) -> Bytes {
        let mut body = otlp::request_head(&self.resource, &self.scope, batch.bytes);
        body.reserve_exact(batch.bytes);
        for chunk in &batch.chunks {
            body.extend_from_slice(chunk);
        }
        body.into()
    }

    fn complain(&mut self, why: String) {
        if self.complaint.due() {
            let endpoint = self.channel.endpoint();
            tracing::warn!(code = "RC-TEL-002", %endpoint, why, "spans are not taken and are dropped");
        }
    }
}

/// The pause after a failed attempt, spread so that many processes do not come back at one moment.
fn backoff(attempt: u32) -> Duration {
    BACKOFF_FIRST.mul_f64(f64::from(1_u32 << (attempt - 1)) * (0.5 + fastrand::f64()))
}

/// What a receiver says goes into a log line: one line, and not a long one.
fn short(text: &str) -> String {
    const CHARS_MAX: usize = 200;
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().take(CHARS_MAX).map(plain).collect()
}

#[cfg(test)]
mod tests;
