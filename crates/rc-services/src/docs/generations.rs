//! Generations of the read model: one serves, and a second one can be built beside it from history and take its place.
//!
//! What is built has its own store, its own position and its own letters; nothing of it is seen before the switch, and
//! everything of the former is thrown away after it. Which one serves stands in one record that changes as a whole, so
//! that the end of the process at any point leaves one that serves and, perhaps, one that is gone on with.

mod gauge;
mod handover;
mod rebuild;
mod record;
mod route;
mod serving;
mod shelf;

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use rc_events::{ConsumerOptions, Policy};
use rc_serve::Tree;
use rc_store::Error;
use tokio_util::sync::CancellationToken;

use gauge::Gauge;
pub use gauge::{BuildingLine, StatusLine};
use rebuild::Running;
pub(super) use record::Record;
pub use record::{Building, Ended, Outcome, Slot};
pub(super) use route::router;
pub use route::{REBUILD_PATH, RebuildWish};
pub(super) use serving::Serving;
pub(super) use shelf::{Files, Schemas, Shelf};

use super::follow::{Follower, Projector, Reading};
use super::store::Generation;
use crate::events::acts::Acts;

/// Pause between attempts at a store that is away.
const AGAIN: Duration = Duration::from_secs(1);

/// How long reads that began before a switch may take before their generation is thrown away.
const RETIRE_TIME_MAX: Duration = Duration::from_secs(30);
const RETIRE_LOOK_EVERY: Duration = Duration::from_millis(50);

/// How long a generation is kept for processes that have not noticed the switch; they look once a second.
const NOTICE_TIME: Duration = Duration::from_secs(4);

/// Owns the generations of this process's read model.
pub(super) struct Generations {
    shelf: Arc<dyn Shelf>,
    serving: Arc<Serving>,
    projector: Projector,
    tree: Tree,
    /// As it is stored. Whoever changes it holds it until the change is known to be stored or not.
    record: tokio::sync::Mutex<Option<Record>>,
    /// The consumer of what serves; none while generations change places.
    follower: tokio::sync::Mutex<Option<Follower>>,
    /// None before there is a bus.
    reading: OnceLock<Reading>,
    /// Where acts are recorded; none when that could not be opened.
    acts: OnceLock<Option<Acts>>,
    running: Mutex<Option<Running>>,
}

impl Generations {
    pub(super) fn new(shelf: Arc<dyn Shelf>, projector: Projector, tree: Tree) -> Arc<Self> {
        Arc::new(Self {
            shelf,
            serving: Arc::default(),
            projector,
            tree,
            record: tokio::sync::Mutex::default(),
            follower: tokio::sync::Mutex::default(),
            reading: OnceLock::new(),
            acts: OnceLock::new(),
            running: Mutex::default(),
        })
    }

    /// What readers are given.
    pub(super) fn serving(&self) -> Arc<Serving> {
        Arc::clone(&self.serving)
    }

    /// Where a rebuild is recorded; before that nobody can ask for one.
    pub(super) fn record_in(&self, acts: Option<Acts>) {
        let _once = self.acts.set(acts);
    }

    /// Reads which generation serves, and opens it. Does nothing when it is open.
    ///
    /// # Errors
    /// As the store says.
    pub(super) async fn open(&self) -> Result<(), Error> {
        let mut held = self.record.lock().await;
        if held.is_some() {
            return Ok(());
        }
        let record = self.shelf.load().await?;
        self.serving
            .switch(record.live, self.shelf.open(record.live).await?);
        *held = Some(record);
        Ok(())
    }

    /// Follows the bus with the generation that serves, and goes on with a rebuild that was under way.
    pub(super) async fn follow(self: &Arc<Self>, reading: Reading, stopping: &CancellationToken) {
        while let Err(error) = self.open().await {
            tracing::warn!(code = error.code(), ?error, "the read model cannot be opened yet");
            if stopping
                .run_until_cancelled(tokio::time::sleep(AGAIN))
                .await
                .is_none()
            {
                return;
            }
        }
        let _once = self.reading.set(reading);
        let building = {
            let mut follower = self.follower.lock().await;
            *follower = self.follow_serving();
            self.record
                .lock()
                .await
                .as_ref()
                .and_then(|record| record.building.clone())
        };
        match building {
            Some(building) => {
                tracing::info!(
                    rebuild = building.number,
                    "going on with a rebuild of the read model"
                );
                self.start(building);
            }
            None => self.clear_spare().await,
        }
    }

    /// Serves what another process on the same database has switched to. It keeps the former for [`NOTICE_TIME`].
    ///
    /// # Errors
    /// As the store says.
    pub(super) async fn adopt(&self) -> Result<(), Error> {
        if self.running().is_some() {
            return Ok(());
        }
        // In the order of a switch.
        let mut follower = self.follower.lock().await;
        let mut held = self.record.lock().await;
        let Some(record) = held.as_mut() else {
            return Ok(());
        };
        let stored = self.shelf.load().await?;
        if self.serving.slot() != Some(stored.live) {
            tracing::info!("another process has switched to another read model");
            if let Some(former) = follower.take() {
                former.stop().await;
            }
            let next = self.shelf.open(stored.live).await?;
            self.serving.switch(stored.live, next);
            self.projector.progress.advance();
            *follower = self.follow_serving();
        }
        *record = stored;
        Ok(())
    }

    /// The consumer of what serves.
    fn follow_serving(&self) -> Option<Follower> {
        let (reading, serving) = (self.reading.get()?, self.serving.now().ok()?);
        Some(self.projector.follow(serving, reading, &self.tree))
    }

    /// Throws away what a process that ended has left in the other slot.
    async fn clear_spare(&self) {
        let record = self.record.lock().await;
        if let Some(record) = &*record
            && let Err(error) = self.clear(record.live.other()).await
        {
            tracing::warn!(
                code = error.code(),
                ?error,
                "what is left of a former read model was not removed"
            );
        }
    }

    /// Waits for the reads of a generation that no longer serves, and throws it away.
    async fn retire(&self, former: Arc<dyn Generation>, slot: Slot) {
        let read = async {
            while Arc::strong_count(&former) > 1 {
                tokio::time::sleep(RETIRE_LOOK_EVERY).await;
            }
        };
        let stopping = self.tree.stopping();
        if self.shelf.is_shared() {
            let _stopped = stopping
                .run_until_cancelled(tokio::time::sleep(NOTICE_TIME))
                .await;
        }
        let read = stopping.run_until_cancelled(tokio::time::timeout(RETIRE_TIME_MAX, read));
        if let Some(Err(_elapsed)) = read.await {
            tracing::warn!("reads of the former read model have not ended; they fail");
        }
        self.discard(former, slot).await;
    }

    /// Closes a generation that does not serve and throws it away. What is left is removed at the next start, or before
    /// the next rebuild.
    async fn discard(&self, generation: Arc<dyn Generation>, slot: Slot) {
        generation.close().await;
        drop(generation);
        if let Err(error) = self.clear(slot).await {
            tracing::warn!(
                code = error.code(),
                ?error,
                "a read model that does not serve was not removed"
            );
        }
    }

    /// Empties a slot, unless another process has switched to it.
    async fn clear(&self, slot: Slot) -> Result<(), Error> {
        if self.shelf.load().await?.live == slot {
            tracing::warn!("another process serves from where a read model was to be removed: it stays");
            return Ok(());
        }
        self.shelf.clear(slot).await
    }

    /// How a consumer behaves that builds a generation: what it cannot apply it sets aside, and the handover decides.
    fn rebuild_options(&self) -> ConsumerOptions {
        ConsumerOptions {
            rebuilds: true,
            policy: Policy::Park,
            telemetry: None,
            ..self.projector.options.clone()
        }
    }

    fn running(&self) -> std::sync::MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn gauge(&self) -> Option<Arc<Gauge>> {
        self.running().as_ref().map(|running| Arc::clone(&running.gauge))
    }
}
