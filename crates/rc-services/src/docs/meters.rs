//! What docs-api counts, besides the requests that the edge counts.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use rc_serve::Metrics;
use rc_serve::metrics::duration_histogram;

/// Handles to docs-api's metrics. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Meters {
    /// Events on the bus that are not in the read model.
    pub(super) lag: Gauge,
    /// Events that took effect.
    pub(super) applied: Counter,
    /// Events that had taken effect before.
    pub(super) duplicates: Counter,
    /// Missing events that the log had.
    pub(super) fetched: Counter,
    /// Events on the bus that a generation that is being built has not read.
    pub(super) rebuild_lag: Gauge,
    /// Time from an event to its effect.
    pub(super) delay: Histogram,
    /// Reads that took another's answer.
    pub(super) shared: Counter,
}

impl Meters {
    pub(super) fn register(metrics: &Metrics) -> Self {
        let meters = Self {
            lag: Gauge::default(),
            applied: Counter::default(),
            duplicates: Counter::default(),
            fetched: Counter::default(),
            rebuild_lag: Gauge::default(),
            delay: duration_histogram(),
            shared: Counter::default(),
        };
        metrics.with_registry(|registry| {
            let Self {
                lag,
                applied,
                duplicates,
                fetched,
                rebuild_lag,
                delay,
                shared,
            } = meters.clone();
            registry.register(
                "rc_docs_index_lag_events",
                "Events that are not in the read model yet",
                lag,
            );
            registry.register(
                "rc_docs_events_applied",
                "Events that took effect in the read model",
                applied,
            );
            registry.register("rc_docs_events_duplicate", "Events that came again", duplicates);
            registry.register(
                "rc_docs_events_fetched",
                "Events that the bus did not have and the log had",
                fetched,
            );
            registry.register(
                "rc_docs_rebuild_lag_events",
                "Events that a read model that is being built has not read; 0 while none is built",
                rebuild_lag,
            );
            registry.register(
                "rc_docs_index_delay_seconds",
                "Time from the acceptance of a document to its being searchable",
                delay,
            );
            registry.register(
                "rc_docs_reads_shared",
                "Reads that took the answer of an equal one",
                shared,
            );
        });
        meters
    }
}
