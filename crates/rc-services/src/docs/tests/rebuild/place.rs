//! Where generations live, and what may go wrong there.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use rc_store::{Error, ErrorKind};

use crate::docs::generations::{Record, Shelf, Slot};
use crate::docs::store::Generation;

/// Where generations live, and what goes wrong there.
pub(super) struct Place {
    pub(super) shelf: Arc<dyn Shelf>,
    /// Nothing but what serves can be opened.
    pub(super) gate: AtomicBool,
    /// The disk is full for a second generation.
    pub(super) full: AtomicBool,
    /// Records cannot be stored, and how often it was tried.
    pub(super) stuck: AtomicBool,
    pub(super) refused: AtomicU64,
}

impl Shelf for Place {
    fn load(&self) -> BoxFuture<'_, Result<Record, Error>> {
        self.shelf.load()
    }

    fn save<'a>(&'a self, record: &'a Record) -> BoxFuture<'a, Result<bool, Error>> {
        if self.stuck.load(Ordering::Relaxed) {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return std::future::ready(Err(Error::new(ErrorKind::DiskFull, "the disk is full"))).boxed();
        }
        self.shelf.save(record)
    }

    fn open(&self, slot: Slot) -> BoxFuture<'_, Result<Arc<dyn Generation>, Error>> {
        async move {
            if self.gate.load(Ordering::Relaxed) && self.shelf.load().await?.live != slot {
                let retry_after = Duration::from_millis(10);
                return Err(Error::new(
                    ErrorKind::Unavailable { retry_after },
                    "the gate is closed",
                ));
            }
            self.shelf.open(slot).await
        }
        .boxed()
    }

    fn clear(&self, slot: Slot) -> BoxFuture<'_, Result<(), Error>> {
        self.shelf.clear(slot)
    }

    fn is_shared(&self) -> bool {
        self.shelf.is_shared()
    }

    fn shortage(&self, _live: Slot, _begun: bool) -> Option<String> {
        self.full
            .load(Ordering::Relaxed)
            .then(|| "there is no room".to_owned())
    }
}
