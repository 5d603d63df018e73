//! The read model's contract. Both stores pass one suite.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use rc_events::{Applied, Batch, Books};
use rc_model::TenantId;
use rc_store::Error;

use super::model::{Page, Search, Stored};

/// The read model's name as a consumer of the bus.
pub(super) const CONSUMER: &str = "docs-api";

/// Hits are counted exactly up to here; beyond, a store may stop counting.
pub const TOTAL_EXACT_MAX: u64 = 1_000;

/// Documents and their search index. Every read names its tenant and sees nothing else.
pub trait DocsStore: Send + Sync {
    /// The document `id` of `tenant`.
    fn get<'s>(&'s self, tenant: &'s TenantId, id: &'s str) -> BoxFuture<'s, Result<Option<Stored>, Error>>;

    /// One page of the documents that match, best first. Where more than [`TOTAL_EXACT_MAX`] match, a store
    /// may rank the newest ones of them only; then nothing follows the last of these.
    fn search<'s>(&'s self, tenant: &'s TenantId, search: &'s Search) -> BoxFuture<'s, Result<Page, Error>>;

    /// Which of `wanted` (id, version) cannot be found by a search yet; a delete is there when the document
    /// is gone.
    fn missing<'s>(
        &'s self,
        tenant: &'s TenantId,
        wanted: Vec<(String, u64)>,
    ) -> BoxFuture<'s, Result<Vec<(String, u64)>, Error>>;

    /// What the projector keeps beside the documents: its position, its dead letters, its replays.
    fn books(&self) -> Arc<dyn Books>;

    /// Applies a batch of the bus in one transaction. An error of [`rc_events`] comes inside the store's.
    fn apply(&self, batch: Batch) -> BoxFuture<'_, Result<Applied, Error>>;

    /// One bounded step of index maintenance, for idle times; whether more is left to do.
    fn tidy(&self) -> BoxFuture<'_, Result<bool, Error>>;

    /// Whether the store answers.
    fn ping(&self) -> BoxFuture<'_, Result<(), Error>>;
}
