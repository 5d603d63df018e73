//! How far the read model is, and who waits for it.

use std::sync::Arc;
use std::time::Duration;

use rc_model::TenantId;
use rc_store::Error;
use tokio::sync::{Semaphore, watch};

use super::store::DocsStore;

/// Callers that may wait for documents to become searchable; each holds one request open.
pub const WAITERS_MAX: usize = 1_024;

/// How often a waiter looks by itself: on PostgreSQL another process may be the one that applies.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Counts what becomes visible. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Progress {
    generation: Arc<watch::Sender<u64>>,
    slots: Arc<Semaphore>,
}

/// All places are taken.
#[derive(Debug)]
pub(super) struct TooManyWaiters;

impl Progress {
    pub(super) fn new() -> Self {
        Self {
            generation: Arc::new(watch::Sender::new(0)),
            slots: Arc::new(Semaphore::new(WAITERS_MAX)),
        }
    }

    /// Something became visible: call after the commit.
    pub(super) fn advance(&self) {
        self.generation.send_modify(|generation| *generation += 1);
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
    ) -> Result<Result<bool, Error>, TooManyWaiters> {
        let Ok(_slot) = self.slots.try_acquire() else {
            return Err(TooManyWaiters);
        };
        let reached = self.reach(store, tenant, wanted);
        match tokio::time::timeout(limit, reached).await {
            Ok(Ok(())) => Ok(Ok(true)),
            Ok(Err(error)) => Ok(Err(error)),
            Err(_elapsed) => Ok(Ok(false)),
        }
    }

    async fn reach(
        &self,
        store: &dyn DocsStore,
        tenant: &TenantId,
        wanted: Vec<(String, u64)>,
    ) -> Result<(), Error> {
        let mut changed = self.generation.subscribe();
        let mut missing = wanted;
        loop {
            changed.mark_unchanged();
            missing = store.missing(tenant, missing).await?;
            // Documents come in the order in which they were sent: while the last one is missing, asking
            // for the others is work for nothing.
            while let Some(last) = missing.last().cloned() {
                // Neither outcome matters here: the store is asked again either way.
                let _ = tokio::time::timeout(LOOK_EVERY, changed.changed()).await;
                if store.missing(tenant, vec![last]).await?.is_empty() {
                    break;
                }
            }
            if missing.is_empty() {
                // On PostgreSQL another process may have applied: reads that begin now must not join
                // flights that began before.
                self.advance();
                return Ok(());
            }
        }
    }
}

