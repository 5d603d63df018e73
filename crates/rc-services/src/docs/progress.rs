//! How far the read model is, and who waits for it.

use std::sync::Arc;
use std::time::Duration;

use rc_model::TenantId;
use rc_store::Error;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use super::store::DocsStore;

/// Callers that may wait for documents to become searchable; each holds one request open.
pub const WAITERS_MAX: usize = 1_024;

/// How often a waiter looks by itself: on PostgreSQL another process may be the one that applies.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How long the first look may take, whatever the caller's limit.
const LOOK_TIME_MAX: Duration = Duration::from_secs(1);

/// Counts what becomes visible. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Progress {
    generation: Arc<watch::Sender<u64>>,
    slots: Arc<Semaphore>,
    /// Ends all waits: a service that stops must not wait for those who wait.
    stopping: CancellationToken,
}

/// Why a wait did not begin or did not go on.
#[derive(Debug)]
pub(super) enum WaitFault {
    /// All places are taken.
    Full,
    /// The store could not be asked.
    Store(Error),
}

impl From<Error> for WaitFault {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}

impl Progress {
    /// Nothing is visible yet; waits end when `stopping` is cancelled.
    pub(super) fn new(stopping: CancellationToken) -> Self {
        Self {
            stopping,
            generation: Arc::new(watch::Sender::new(0)),
            slots: Arc::new(Semaphore::new(WAITERS_MAX)),
        }
    }

    /// Something became visible: call after the commit.
    pub(super) fn advance(&self) {
        self.generation.send_modify(|generation| *generation += 1);
    }

    /// Changes with everything that becomes visible.
    pub(super) fn subscribe(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
    }

    /// Grows with everything that becomes visible.
    pub(super) fn generation(&self) -> u64 {
        *self.generation.borrow()
    }

    /// Waits until `store` has reached all of `wanted` (id, version); `false` when `limit` passes first.
    pub(super) async fn wait(
        &self,
        store: &dyn DocsStore,
        tenant: &TenantId,
        wanted: Vec<(String, u64)>,
        limit: Duration,
    ) -> Result<bool, WaitFault> {
        let Ok(_slot) = self.slots.try_acquire() else {
            return Err(WaitFault::Full);
        };
        let mut changed = self.generation.subscribe();
        // The first look is always taken: a caller that does not want to wait still gets the truth.
        let look = tokio::time::timeout(limit.max(LOOK_TIME_MAX), store.missing(tenant, wanted));
        let Ok(missing) = look.await else {
            return Ok(false);
        };
        let reached = reach(&mut changed, store, tenant, missing?);
        let reached = tokio::time::timeout(limit, self.stopping.run_until_cancelled(reached));
        let Ok(Some(reached)) = reached.await else {
            return Ok(false);
        };
        reached?;
        // On PostgreSQL another process may have applied: reads that begin now must not join flights that
        // began before.
        self.advance();
        Ok(true)
    }
}

/// Waits until nothing is missing. `changed` was subscribed before `missing` was looked up.
async fn reach(
    changed: &mut watch::Receiver<u64>,
    store: &dyn DocsStore,
    tenant: &TenantId,
    mut missing: Vec<(String, u64)>,
) -> Result<(), Error> {
    // Documents come in the order in which they were sent: while the last one is missing, asking for the
    // others is work for nothing.
    while let Some(last) = missing.last().cloned() {
        // Neither outcome matters here: the store is asked again either way.
        let _ = tokio::time::timeout(LOOK_EVERY, changed.changed()).await;
        if store.missing(tenant, vec![last]).await?.is_empty() {
            missing = store.missing(tenant, missing).await?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
