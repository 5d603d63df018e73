//! What ingest counts, besides the requests that the edge counts.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use rc_serve::Metrics;

use super::admission::Admission;
use super::store::Counts;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Code {
    code: String,
}

/// Handles to ingest's metrics. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Meters {
    items: Family<Outcome, Counter>,
    replays: Counter,
    refused: Family<Code, Counter>,
    queue_bytes: Gauge,
    quota_shadowed: Counter,
}

impl Meters {
    pub(crate) fn register(metrics: &Metrics) -> Self {
        let meters = Self::default();
        metrics.with_registry(|registry| {
            registry.register(
                "rc_ingest_items",
                "Items by what became of them",
                meters.items.clone(),
            );
            registry.register(
                "rc_ingest_replays",
                "Requests answered from their idempotency key",
                meters.replays.clone(),
            );
            registry.register(
                "rc_ingest_refused",
                "Requests that were refused, by error code",
                meters.refused.clone(),
            );
            registry.register(
                "rc_ingest_queue_bytes",
                "Bytes of bodies in work",
                meters.queue_bytes.clone(),
            );
            registry.register(
                "rc_ingest_quota_shadowed",
                "Writes that a storage quota in shadow mode would have refused",
                meters.quota_shadowed.clone(),
            );
        });
        meters
    }

    /// Counts the items of a fresh counts.
    pub(crate) fn answered(&self, counts: Counts) {
        for (outcome, count) in [
            ("accepted", counts.accepted),
            ("duplicate", counts.duplicates),
            ("rejected", counts.rejected),
        ] {
            let count = u64::try_from(count).unwrap_or(u64::MAX);
            self.items.get_or_create(&Outcome { outcome }).inc_by(count);
        }
        if counts.beyond_quota {
            self.quota_shadowed.inc();
        }
    }

    pub(crate) fn replayed(&self) {
        self.replays.inc();
    }

    /// Counts a request that was refused; `code` is one of ours, so their number is bounded.
    pub(crate) fn refused(&self, code: &str) {
        let code = code.to_owned();
        self.refused.get_or_create(&Code { code }).inc();
    }

    pub(crate) fn queue(&self, admission: &Admission) {
        self.queue_bytes
            .set(i64::try_from(admission.bytes()).unwrap_or(i64::MAX));
    }
}
