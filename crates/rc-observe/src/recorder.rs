//! The sink of a process: spans are encoded into bounded buffers, and a task carries them on.
//!
//! Recording takes one encoding and one lock that hardly anybody else wants; it allocates nothing once the
//! buffers have grown. A full buffer drops the span and counts it. It refuses to wait, and to fail.

use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use rc_model::telemetry::{Span, TelemetrySink};
use rc_serve::Metrics;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::complaint::Complaint;
use crate::exporter::Queue;
use crate::otlp;
use crate::ring::{BLOCK_HEAD_BYTES, Ring};

/// Buffers, so that threads seldom meet: a power of two above the threads that record much.
const SHARDS: usize = 8;
/// Bytes of spans that a buffer holds between two flushes: at 300 bytes a span, 2,600 of them.
const SHARD_BYTES_MAX: usize = 768 << 10;
/// Bytes after which the flush does not wait for its time.
const SHARD_BYTES_PRESSING: usize = SHARD_BYTES_MAX / 2;
/// Capacity that a buffer keeps while little happens.
const SHARD_BYTES_KEPT: usize = 64 << 10;
/// Longest time from the first span in a buffer to its flush: what `kill -9` can take.
const FLUSH_EVERY: Duration = Duration::from_millis(100);

/// Labels of the counter of dropped spans.
#[derive(Debug, Clone, PartialEq, Eq, Hash, prometheus_client::encoding::EncodeLabelSet)]
pub(crate) struct Dropped {
    /// One of [`REASONS`].
    reason: &'static str,
}

/// Why a span was dropped: its buffer was full, the disk took nothing; the queue to the receiver was full,
/// the receiver could not be reached, or did not want it.
const REASONS: [&str; 5] = ["buffer", "disk", "queue", "export", "rejected"];

/// What becomes of spans, counted.
#[derive(Debug, Clone, Default)]
pub(crate) struct Counters {
    recorded: Counter,
    dropped: Family<Dropped, Counter>,
    pub(crate) exported: Counter,
}

impl Counters {
    pub(crate) fn register(metrics: &Metrics) -> Self {
        let counters = Self::default();
        for reason in REASONS {
            // A series that appears with its first loss hides that loss from whoever looks at rates.
            drop(counters.dropped.get_or_create(&Dropped { reason }));
        }
        metrics.with_registry(|registry| {
            let help = "Spans written to the store of recent traces";
            registry.register("rc_telemetry_spans_recorded", help, counters.recorded.clone());
            let help = "Spans that were not kept (buffer, disk) or not exported (queue, export, rejected)";
            registry.register("rc_telemetry_spans_dropped", help, counters.dropped.clone());
            let help = "Spans that the OTLP receiver took";
            registry.register("rc_telemetry_spans_exported", help, counters.exported.clone());
        });
        counters
    }

    pub(crate) fn drop_spans(&self, reason: &'static str, count: u64) {
        if count > 0 {
            self.dropped.get_or_create(&Dropped { reason }).inc_by(count);
        }
    }

    #[cfg(test)]
    pub(crate) fn dropped(&self, reason: &'static str) -> u64 {
        self.dropped.get_or_create(&Dropped { reason }).get()
    }

    #[cfg(test)]
    pub(crate) fn recorded(&self) -> u64 {
        self.recorded.get()
    }
}

/// Where the spans of a process go.
#[derive(Debug)]
pub struct Recorder {
    shards: [Shard; SHARDS],
    /// A span came since the flush took what was there.
    fresh: AtomicBool,
    filled: Notify,
    pressing: Notify,
}

/// On a cache line of its own: its neighbours are locked by other threads.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Shard(Mutex<Buffer>);

#[derive(Debug, Default)]
struct Buffer {
    /// A block's head, and spans as fields of `ScopeSpans`.
    block: Vec<u8>,
    spans: u64,
    dropped: u64,
}

impl Buffer {
    fn is_empty(&self) -> bool {
        self.spans == 0 && self.dropped == 0
    }
}

thread_local! {
    static ENCODED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    static SHARD: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// The shard of the calling thread: threads are dealt out in turn.
fn shard_index() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let taken = SHARD.try_with(|shard| {
        if shard.get() == usize::MAX {
            shard.set(NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS);
        }
        shard.get()
    });
    // A thread that ends has no storage of its own any more.
    taken.unwrap_or(0)
}

impl TelemetrySink for Recorder {
    fn span(&self, span: &Span<'_>) {
        // Fails only on a thread that ends; there is nobody left to whom that span would matter.
        let _ = ENCODED.try_with(|encoded| {
            let Ok(mut encoded) = encoded.try_borrow_mut() else {
                return;
            };
            encoded.clear();
            otlp::encode(span, &mut encoded);
            self.push(&encoded);
        });
    }
}

impl Recorder {
    pub(crate) fn new() -> Self {
        Self {
            shards: std::array::from_fn(|_| Shard::default()),
            fresh: AtomicBool::new(false),
            filled: Notify::new(),
            pressing: Notify::new(),
        }
    }

    fn push(&self, span: &[u8]) {
        let len = {
            let shard = &self.shards[shard_index()];
            let mut buffer = shard.0.lock().unwrap_or_else(PoisonError::into_inner);
            if buffer.block.is_empty() {
                buffer.block.resize(BLOCK_HEAD_BYTES, 0);
            }
            if buffer.block.len() + span.len() > SHARD_BYTES_MAX {
                buffer.dropped += 1;
            } else {
                buffer.block.extend_from_slice(span);
                buffer.spans += 1;
            }
            buffer.block.len()
        };
        // The load first: a swap at every span would pass one cache line between all threads.
        if !self.fresh.load(Ordering::Relaxed) && !self.fresh.swap(true, Ordering::AcqRel) {
            self.filled.notify_one();
        }
        if len > SHARD_BYTES_PRESSING && len - span.len() <= SHARD_BYTES_PRESSING {
            self.pressing.notify_one();
        }
    }

    /// Takes what is in the buffers, and leaves `spare` ones there.
    fn take(&self, spare: &mut Vec<Vec<u8>>) -> Vec<Buffer> {
        // Before looking: a span that comes behind this look wakes the next one.
        self.fresh.store(false, Ordering::Release);
        let take = |shard: &Shard| {
            let mut buffer = shard.0.lock().unwrap_or_else(PoisonError::into_inner);
            if buffer.is_empty() {
                return None;
            }
            let fresh = Buffer {
                block: spare.pop().unwrap_or_default(),
                ..Buffer::default()
            };
            Some(std::mem::replace(&mut *buffer, fresh))
        };
        self.shards.iter().filter_map(take).collect()
    }
}

/// Carries spans from the buffers to the disk and to the exporter.
pub(crate) struct Flush {
    pub(crate) recorder: Arc<Recorder>,
    pub(crate) ring: Ring,
    pub(crate) queue: Option<Arc<Queue>>,
    pub(crate) counters: Counters,
}

impl Flush {
    /// Runs until `stopping`, and once more then. Sleeps while nothing is recorded.
    pub(crate) async fn run(self, stopping: CancellationToken) {
        let Self {
            recorder,
            ring,
            queue,
            counters,
        } = self;
        let mut spare = Vec::new();
        let mut writer = Some(Writer {
            ring,
            counters: counters.clone(),
            complaint: Complaint::default(),
        });
        loop {
            let wait = async {
                recorder.filled.notified().await;
                tokio::select! {
                    () = tokio::time::sleep(FLUSH_EVERY) => {}
                    () = recorder.pressing.notified() => {}
                }
            };
            let stopped = stopping.run_until_cancelled(wait).await.is_none();
            let mut taken = recorder.take(&mut spare);
            for buffer in &mut taken {
                counters.drop_spans("buffer", std::mem::take(&mut buffer.dropped));
                if let Some(queue) = &queue
                    && buffer.spans > 0
                {
                    let spans = Bytes::copy_from_slice(&buffer.block[BLOCK_HEAD_BYTES..]);
                    queue.push(spans, buffer.spans);
                }
            }
            if let Some(mut work) = writer.take() {
                // Writing may wait for a disk; a thread that may wait does it.
                let written = tokio::task::spawn_blocking(move || {
                    work.write(&mut taken);
                    (work, taken)
                });
                match written.await {
                    Ok((work, buffers)) => {
                        writer = Some(work);
                        spare.extend(buffers.into_iter().map(|mut buffer| {
                            buffer.block.clear();
                            buffer.block.shrink_to(SHARD_BYTES_KEPT);
                            buffer.block
                        }));
                        spare.truncate(SHARDS);
                    }
                    Err(error) => tracing::error!(%error, "spans are no longer written to disk"),
                }
            } else {
                counters.drop_spans("disk", taken.iter().map(|buffer| buffer.spans).sum());
            }
            if stopped {
                return;
            }
        }
    }
}

/// The side of the flush that touches the disk.
struct Writer {
    ring: Ring,
    counters: Counters,
    complaint: Complaint,
}

impl Writer {
    fn write(&mut self, buffers: &mut [Buffer]) {
        for buffer in buffers.iter_mut().filter(|buffer| buffer.spans > 0) {
            match self.ring.append(&mut buffer.block) {
                Ok(()) => {
                    self.counters.recorded.inc_by(buffer.spans);
                }
                Err(error) => {
                    self.counters.drop_spans("disk", buffer.spans);
                    self.complain(&error);
                }
            }
        }
    }

    fn complain(&mut self, error: &std::io::Error) {
        if self.complaint.due() {
            tracing::warn!(code = "RC-TEL-001", %error, "spans cannot be written and are dropped");
        }
    }
}

#[cfg(test)]
mod tests;
