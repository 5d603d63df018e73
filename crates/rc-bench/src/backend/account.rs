//! What the service counts.

use serde::{Deserialize, Serialize};

/// What the service saw between two moments.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Account {
    /// Requests that arrived.
    pub(crate) calls: u64,
    /// Most that were served at one time.
    pub(crate) serving_max: usize,
    /// Most that waited for a slot at one time.
    pub(crate) waiting_max: usize,
    /// From the beginning until the last moment at which more than half as many as there are slots waited.
    pub(crate) crowded_ms: u64,
    #[serde(skip)]
    since_ns: u64,
}

impl Account {
    pub(super) fn new(now: u64) -> Self {
        Self {
            since_ns: now,
            ..Self::default()
        }
    }

    /// Takes the present state into account.
    pub(super) fn saw(&mut self, serving: usize, waiting: usize, slots: usize, now: u64) {
        self.serving_max = self.serving_max.max(serving);
        self.waiting_max = self.waiting_max.max(waiting);
        if waiting > slots / 2 {
            self.crowded_ms = (now - self.since_ns) / 1_000_000;
        }
    }

    pub(super) fn to_json(&self) -> String {
        serde_json::to_string(self).expect("numbers are JSON")
    }
}
