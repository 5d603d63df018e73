//! The telemetry of one process: started before its services, finished after them.

use std::sync::Arc;
use std::time::Duration;

use rc_model::telemetry::TelemetrySink;
use rc_serve::{Metrics, Tree};

use crate::exporter::{Exporter, OtlpConfig, Queue};
use crate::recorder::{Counters, Flush, Recorder};
use crate::resource::Resource;
use crate::ring::{Ring, RingConfig};

/// What a process does with its spans.
#[derive(Debug)]
pub struct TelemetryConfig {
    /// Who says that it is the source.
    pub resource: Resource,
    /// Where recent spans are kept.
    pub ring: RingConfig,
    /// Where they are sent. `None`: nowhere, and no connection is made.
    pub otlp: Option<OtlpConfig>,
}

/// The tasks that keep and send spans.
///
/// They stand on trees of their own, because they must outlive everything that records: what happens while
/// a service drains belongs to its traces.
#[derive(Debug)]
pub struct Telemetry {
    recorder: Arc<Recorder>,
    flush: Tree,
    export: Tree,
}

impl Telemetry {
    /// Starts keeping spans. It cannot fail: what does not work is logged, and spans are dropped and counted.
    #[must_use]
    pub fn start(config: TelemetryConfig, metrics: &Metrics) -> Self {
        let counters = Counters::register(metrics);
        let recorder = Arc::new(Recorder::new());
        let (flush, export) = (Tree::new(), Tree::new());
        let queue = config.otlp.and_then(|otlp| {
            let queue = Arc::new(Queue::new(counters.clone()));
            let exporter = Exporter::new(otlp, &config.resource, Arc::clone(&queue), counters.clone());
            match exporter {
                Ok(exporter) => {
                    export.spawn("telemetry/export", exporter.run(export.stopping()));
                    Some(queue)
                }
                Err(error) => {
                    tracing::error!(code = "RC-TEL-002", %error, "spans are kept here and not sent");
                    None
                }
            }
        });
        let work = Flush {
            recorder: Arc::clone(&recorder),
            ring: Ring::new(config.ring),
            queue,
            counters,
        };
        flush.spawn("telemetry/flush", work.run(flush.stopping()));
        Self {
            recorder,
            flush,
            export,
        }
    }

    /// Where spans go.
    #[must_use]
    pub fn sink(&self) -> Arc<dyn TelemetrySink> {
        Arc::<Recorder>::clone(&self.recorder)
    }

    /// Writes and sends what is left, for at most `deadline`. Spans that come later are lost.
    pub async fn finish(self, deadline: Duration) {
        let by = tokio::time::Instant::now() + deadline;
        if self.flush.drain(deadline).await.is_err() {
            tracing::warn!(code = "RC-TEL-001", "the last spans were not written in time");
        }
        let left = by.saturating_duration_since(tokio::time::Instant::now());
        if self.export.drain(left).await.is_err() {
            tracing::warn!(code = "RC-TEL-002", "the last spans were not sent in time");
        }
    }
}
