//! The read model's contract. Both stores pass one suite.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use rc_events::consumer::KeyAt;
use rc_events::{Applied, Batch, Books, Place};
use rc_model::TenantId;
use rc_store::{Database, Error};

use super::model::{Delete, Page, Plan, Put, Search, Stored};
use crate::document::TOPIC;

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

    /// The database behind it, to be looked at; none while it is not open.
    fn database(&self) -> Option<Database>;
}

/// What one generation of the read model gives to the next: how far a key is, and its document if it has one.
#[derive(Debug, Clone, PartialEq)]
pub struct Given {
    pub key: KeyAt,
    pub document: Option<Stored>,
}

/// A read model beside which another one can be built that takes its place.
pub trait Generation: DocsStore {
    /// The next keys behind `after`, in order, at most `rows`.
    fn keys_after(&self, after: Option<Place>, rows: i64) -> BoxFuture<'_, Result<Vec<KeyAt>, Error>>;

    /// Those of `keys` that are not as far here.
    fn behind(&self, keys: Vec<KeyAt>) -> BoxFuture<'_, Result<Vec<Place>, Error>>;

    /// `places` as they are here, as of one moment; those that were never seen are left out.
    fn give(&self, places: Vec<Place>) -> BoxFuture<'_, Result<Vec<Given>, Error>>;

    /// Takes over, in one transaction, what another generation has given: documents and how far their keys are.
    /// Letters of these keys up to there are settled.
    fn take(&self, given: Vec<Given>) -> BoxFuture<'_, Result<(), Error>>;

    /// Ends all work on it: it is about to be thrown away.
    fn close(&self) -> BoxFuture<'_, ()>;
}

/// The documents of `given` as changes: a key without a document has none any more.
pub(super) fn plan_of(given: &[Given]) -> Plan {
    let mut plan = Plan::default();
    for Given { key, document } in given.iter().filter(|given| given.key.place.topic == TOPIC) {
        let tenant = key.place.tenant.clone();
        match document {
            Some(stored) => plan.puts.push(Put {
                tenant,
                stored: stored.clone(),
            }),
            None => plan.deletes.push(Delete {
                tenant,
                id: key.place.key.clone(),
                version: key.last,
            }),
        }
    }
    // As a batch of the bus has them.
    plan.puts
        .sort_by(|a, b| (&a.tenant, &a.stored.document.id).cmp(&(&b.tenant, &b.stored.document.id)));
    plan
}
