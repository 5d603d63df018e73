//! The read model that serves, whichever generation it is.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use rc_events::{Applied, Batch, Books};
use rc_model::TenantId;
use rc_store::{Database, Error, ErrorKind};

use super::record::Slot;
use crate::docs::model::{Page, Search, Stored};
use crate::docs::store::{DocsStore, Generation};

/// What readers are given. Each read goes to one generation from beginning to end; none before the first is open.
#[derive(Default)]
pub(in crate::docs) struct Serving(ArcSwapOption<(Slot, Arc<dyn Generation>)>);

impl Serving {
    /// What serves.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] before anything does.
    pub(super) fn now(&self) -> Result<Arc<dyn Generation>, Error> {
        let now = self.0.load_full().ok_or_else(|| {
            let retry_after = rc_store::error::UNAVAILABLE_RETRY;
            Error::new(
                ErrorKind::Unavailable { retry_after },
                "the read model is not open yet",
            )
        })?;
        Ok(Arc::clone(&now.1))
    }

    /// Where it is.
    pub(super) fn slot(&self) -> Option<Slot> {
        Some(self.0.load().as_ref()?.0)
    }

    /// Reads that begin from now on go to `next`, which is in `slot`; gives back what served until now, which may still
    /// have some.
    pub(super) fn switch(&self, slot: Slot, next: Arc<dyn Generation>) -> Option<Arc<dyn Generation>> {
        let former = self.0.swap(Some(Arc::new((slot, next))))?;
        Some(Arc::clone(&former.1))
    }
}

impl DocsStore for Serving {
    fn get<'s>(&'s self, tenant: &'s TenantId, id: &'s str) -> BoxFuture<'s, Result<Option<Stored>, Error>> {
        async move { self.now()?.get(tenant, id).await }.boxed()
    }

    fn search<'s>(&'s self, tenant: &'s TenantId, search: &'s Search) -> BoxFuture<'s, Result<Page, Error>> {
        async move { self.now()?.search(tenant, search).await }.boxed()
    }

    fn missing<'s>(
        &'s self,
        tenant: &'s TenantId,
        wanted: Vec<(String, u64)>,
    ) -> BoxFuture<'s, Result<Vec<(String, u64)>, Error>> {
        async move { self.now()?.missing(tenant, wanted).await }.boxed()
    }

    fn books(&self) -> Arc<dyn Books> {
        self.now()
            .expect("a consumer belongs to a generation that is open")
            .books()
    }

    fn apply(&self, batch: Batch) -> BoxFuture<'_, Result<Applied, Error>> {
        async move { self.now()?.apply(batch).await }.boxed()
    }

    fn tidy(&self) -> BoxFuture<'_, Result<bool, Error>> {
        async move { self.now()?.tidy().await }.boxed()
    }

    fn ping(&self) -> BoxFuture<'_, Result<(), Error>> {
        async move { self.now()?.ping().await }.boxed()
    }

    fn database(&self) -> Option<Database> {
        self.now().ok()?.database()
    }
}
