//! Batches: documents packed line by line, bounded by count and bytes.

use std::ops::Range;

use bytes::Bytes;
use rc_model::Digest;

/// Documents in a batch: half of what ingest takes, so that a batch's latency stays low.
pub(super) const BATCH_ITEMS_MAX: usize = 500;

/// Bytes of a batch, before its last document. A single document may be larger.
pub(super) const BATCH_BYTES_MAX: usize = 1 << 20;

/// Documents that travel together.
#[derive(Debug, Clone)]
pub(super) struct Batch {
    /// One JSON document a line.
    pub(super) body: Bytes,
    pub(super) items: Vec<Item>,
    /// It holds a document that an earlier batch holds too: it waits until those are stored.
    pub(super) after_all: bool,
}

/// One document of a batch.
#[derive(Debug, Clone)]
pub(super) struct Item {
    /// The file, with the line where there is one.
    pub(super) origin: String,
    /// Its line in the body, without the line break.
    range: Range<usize>,
}

impl Batch {
    /// Names the batch's content: equal content, equal name.
    pub(super) fn digest(&self) -> String {
        Digest::of(&self.body).to_string().split_off("sha256:".len())
    }

    /// A batch of those documents whose places are in `indexes` (ascending).
    pub(super) fn pick(&self, indexes: &[usize]) -> Self {
        let mut batcher = Batcher::default();
        for index in indexes {
            if let Some(item) = self.items.get(*index) {
                batcher.push(&self.body[item.range.clone()], item.origin.clone());
            }
        }
        let mut picked = batcher.take().unwrap_or_else(|| Self {
            body: Bytes::new(),
            items: Vec::new(),
            after_all: false,
        });
        picked.after_all = self.after_all;
        picked
    }

    /// Both halves, for a platform that takes only smaller bodies. `None` for a single document.
    pub(super) fn halves(&self) -> Option<(Self, Self)> {
        if self.items.len() < 2 {
            return None;
        }
        let places: Vec<usize> = (0..self.items.len()).collect();
        let (first, second) = places.split_at(places.len() / 2);
        Some((self.pick(first), self.pick(second)))
    }
}

/// Packs documents.
#[derive(Debug, Default)]
pub(super) struct Batcher {
    body: Vec<u8>,
    items: Vec<Item>,
    after_all: bool,
}

impl Batcher {
    /// Whether a document of `bytes` still belongs into this batch.
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        self.items.is_empty()
            || (self.items.len() < BATCH_ITEMS_MAX && self.body.len() + bytes < BATCH_BYTES_MAX)
    }

    pub(super) fn push(&mut self, line: &[u8], origin: String) {
        let start = self.body.len();
        self.body.extend_from_slice(line);
        self.items.push(Item {
            origin,
            range: start..self.body.len(),
        });
        self.body.push(b'\n');
    }

    /// This batch must wait until all earlier ones are stored.
    pub(super) fn after_all(&mut self) {
        self.after_all = true;
    }

    /// What is packed, if anything.
    pub(super) fn take(&mut self) -> Option<Batch> {
        if self.items.is_empty() {
            return None;
        }
        let batch = Batch {
            body: Bytes::from(std::mem::take(&mut self.body)),
            items: std::mem::take(&mut self.items),
            after_all: std::mem::take(&mut self.after_all),
        };
        Some(batch)
    }
}
