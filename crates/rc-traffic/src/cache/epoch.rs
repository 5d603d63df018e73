//! Writes: what was asked before one is worth nothing after it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts owners.
static OWNERS: AtomicU64 = AtomicU64::new(0);

/// Counts the writes of one owner, in its lower half. Answers from before the present epoch are not given. The upper half
/// tells owners apart, so that one that was removed and added again cannot come by an earlier epoch.
#[derive(Debug)]
pub(crate) struct Epoch(AtomicU64);

/// A write under way. Its owner's epoch ends when the write is answered, before the client can know, or given up.
#[derive(Debug)]
pub(crate) struct Write(Arc<Epoch>);

impl Default for Epoch {
    fn default() -> Self {
        Self(AtomicU64::new(OWNERS.fetch_add(1, Ordering::Relaxed) << 32))
    }
}

impl Epoch {
    pub(super) fn now(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    fn end(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Write {
    pub(super) fn of(owner: &Arc<Epoch>) -> Self {
        Self(Arc::clone(owner))
    }
}

impl Drop for Write {
    fn drop(&mut self) {
        self.0.end();
    }
}
