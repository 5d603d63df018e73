//! What goes over the ledger's socket: `POST /-/entries`.

use serde::{Deserialize, Serialize};

use super::outbox::{Batch, Limit};
use super::seal::{Row, Text, base64};

/// Where entries are delivered.
pub const ENTRIES_PATH: &str = "/-/entries";
/// Where the last checkpoint is read.
pub const CHECKPOINT_PATH: &str = "/-/checkpoint";
/// Largest body of a delivery.
pub const BODY_BYTES_MAX: usize = 4 << 20;
/// What one delivery holds at most.
pub const BATCH: Limit = Limit {
    rows: 256,
    bytes: 2 << 20,
};

/// Entries of one source, in the order of their numbers and without a gap.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delivery {
    /// `<service>/<32 hex digits>`
    pub source: String,
    /// The number of the first entry.
    pub first: u64,
    pub entries: Vec<Delivered>,
}

/// One entry on its way.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delivered {
    /// Canonical CBOR.
    #[serde(with = "base64")]
    pub entry: Vec<u8>,
    /// What its commitments stand for.
    pub texts: Vec<Text>,
}

/// The entries are in the log, durably.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The number that the source must send next.
    pub next: u64,
    /// How many entries the log has.
    pub size: u64,
}

impl Delivery {
    /// The delivery of `batch`; `None` when it is empty.
    #[must_use]
    pub fn of(batch: Batch) -> Option<Self> {
        let first = batch.rows.first()?.seq;
        Some(Self {
            source: batch.source,
            first,
            entries: batch
                .rows
                .into_iter()
                .map(|Row { entry, texts, .. }| Delivered { entry, texts })
                .collect(),
        })
    }

    /// The number of the last entry.
    #[must_use]
    pub fn last(&self) -> u64 {
        let count = u64::try_from(self.entries.len()).unwrap_or(u64::MAX);
        self.first.saturating_add(count).saturating_sub(1)
    }
}
