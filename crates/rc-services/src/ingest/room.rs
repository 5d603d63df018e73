//! Whether there is room for what a write leaves behind: on the disk, and between the bus and its readers.
//!
//! Both are looked at once a second and not at every write: the reserve is what a second of writing, and the
//! projection of everything that waits, may still take. So a disk that fills up refuses new documents while
//! those that were acknowledged can still become searchable, and a consumer that does not come back refuses
//! them before the bus gives up waiting for it, because what the bus drops then is in no other place.
//!
//! It never looks at a document, and deletes are not its business: they are how room is made.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use prometheus_client::metrics::gauge::Gauge;
use rc_model::Problem;
use rc_model::units::ByteSize;
use rc_serve::Tree;
use rc_serve::readiness::Component;

use super::backend::Backend;
use super::fault;
use crate::service::Deps;

/// What of the disk is kept free: one part of so many of its size, ...
const DISK_RESERVE_PART: u64 = 20;

/// ... and no more than this: half a minute of writing at full speed, with log, bus and index.
const DISK_RESERVE_BYTES_MAX: u64 = 512 << 20;

/// Room must come back by a quarter of the reserve before writes are taken again, so that the two states do
/// not change places every second.
const DISK_RESERVE_BACK: u64 = 4;

/// Events that may wait for the slowest reader, in outbox and bus. Below
/// [`rc_events::bus::CONSUMER_LAG_MAX`], where the bus stops waiting for a reader: a second of writing at
/// full speed is a third of the distance.
const WAITING_EVENTS_MAX: u64 = rc_events::bus::CONSUMER_LAG_MAX - 100_000;

/// How often room is looked for.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long a look may take before the last one counts on.
const LOOK_TIME_MAX: Duration = Duration::from_secs(2);

/// What a refused client is told to wait: somebody has to make room first.
const DISK_RETRY: Duration = Duration::from_secs(10);

/// Readers catch up by themselves.
const WAITING_RETRY: Duration = Duration::from_secs(2);

/// Bounds of the room; tests make them small.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) waiting_events_max: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            waiting_events_max: WAITING_EVENTS_MAX,
        }
    }
}

/// What there is too little of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Shortage {
    /// The disk has less than the reserve.
    Disk { free: u64, wanted: u64 },
    /// More waits for a reader than may.
    Readers { waiting: u64, who: String },
}

impl Shortage {
    fn problem(&self) -> Problem {
        let (kind, retry_after) = match self {
            Self::Disk { .. } => (fault::DISK_LOW, DISK_RETRY),
            Self::Readers { .. } => (fault::READERS_BEHIND, WAITING_RETRY),
        };
        Problem::new(kind.status, kind.code, kind.title)
            .detail("new documents are refused; nothing that was acknowledged is touched")
            .retry_after(retry_after)
    }
}

impl std::fmt::Display for Shortage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Disk { free, wanted } => write!(
                f,
                "{}: {} are free, {} are kept for what was acknowledged",
                fault::DISK_LOW.code,
                ByteSize::new(*free),
                ByteSize::new(*wanted)
            ),
            Self::Readers { waiting, who } => write!(
                f,
                "{}: {waiting} events wait for {who}",
                fault::READERS_BEHIND.code
            ),
        }
    }
}

/// Whether writes are taken. Cheap to clone; written by the watch, read by every write.
#[derive(Debug, Clone, Default)]
pub(crate) struct Room(Arc<ArcSwapOption<Shortage>>);

impl Room {
    /// Whether a write may come in.
    ///
    /// # Errors
    /// The problem that its client gets.
    pub(crate) fn admit(&self) -> Result<(), Box<Problem>> {
        match &*self.0.load() {
            None => Ok(()),
            Some(shortage) => Err(Box::new(shortage.problem())),
        }
    }

    /// Looks once a second until the tree stops. `folder` is where the store's files are, when it has files.
    pub(crate) fn watch(
        &self,
        tree: &Tree,
        folder: Option<PathBuf>,
        backend: &Arc<ArcSwapOption<Backend>>,
        deps: &Deps,
        bounds: Bounds,
    ) {
        let free = Gauge::<i64>::default();
        deps.metrics.with_registry(|registry| {
            let help = "Room on the disk of the write store";
            registry.register("rc_ingest_disk_free_bytes", help, free.clone());
        });
        let watch = Watch {
            room: self.clone(),
            folder,
            backend: Arc::clone(backend),
            bounds,
            ready: deps.readiness.component("room"),
            free,
        };
        let stopping = tree.stopping();
        tree.spawn("ingest/room", async move {
            stopping.run_until_cancelled(watch.run()).await;
        });
    }

    fn set(&self, shortage: Option<Shortage>, ready: &Component) {
        let before = self.0.load();
        match (&*before, &shortage) {
            (None, Some(shortage)) => tracing::error!(%shortage, "new documents are refused"),
            (Some(_), None) => tracing::info!("there is room again; documents are taken"),
            (None, None) | (Some(_), Some(_)) => {}
        }
        match &shortage {
            None => ready.set_ready(),
            Some(shortage) => ready.set_down(shortage.to_string()),
        }
        self.0.store(shortage.map(Arc::new));
    }

    fn is_short_of_disk(&self) -> bool {
        matches!(self.0.load().as_deref(), Some(Shortage::Disk { .. }))
    }
}

/// Owned by its task.
struct Watch {
    room: Room,
    folder: Option<PathBuf>,
    backend: Arc<ArcSwapOption<Backend>>,
    bounds: Bounds,
    ready: Component,
    free: Gauge<i64>,
}

impl Watch {
    async fn run(self) {
        loop {
            // A look that gives nothing leaves things as they are: the store's own state is told elsewhere.
            if let Ok(found) = tokio::time::timeout(LOOK_TIME_MAX, self.look()).await {
                self.room.set(found, &self.ready);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn look(&self) -> Option<Shortage> {
        if let Some(folder) = self.folder.clone() {
            // A network file system may take its time.
            let space = tokio::task::spawn_blocking(move || space(&folder)).await;
            if let Some((free, size)) = space.ok().flatten() {
                self.free.set(i64::try_from(free).unwrap_or(i64::MAX));
                if let Some(shortage) = disk(free, size, self.room.is_short_of_disk()) {
                    return Some(shortage);
                }
            }
        }
        let backend = self.backend.load_full()?;
        let (tail, consumers) = tokio::try_join!(backend.bus.tail(), backend.bus.consumers()).ok()?;
        let outbox = backend.relay.borrow().backlog.map_or(0, |backlog| backlog.rows);
        let slowest = consumers
            .iter()
            .filter(|consumer| !consumer.lost)
            .min_by_key(|consumer| consumer.seq);
        let behind = slowest.map_or(0, |slowest| tail.saturating_sub(slowest.seq));
        let waiting = outbox.saturating_add(u64::try_from(behind).unwrap_or(0));
        let who = slowest
            .filter(|_| behind > 0)
            .map_or("the relay", |consumer| consumer.name.as_str());
        readers(waiting, who, self.bounds)
    }
}

/// Whether the disk that holds `folder` would be short after `more` bytes; a disk that does not say has room.
pub(crate) fn shortage(folder: &Path, more: u64) -> Option<Shortage> {
    let (free, size) = space(folder)?;
    disk(free.saturating_sub(more), size, false)
}

/// Free bytes that we may use, and the size, of the disk that holds `folder`.
fn space(folder: &Path) -> Option<(u64, u64)> {
    let stat = rustix::fs::statvfs(folder).ok()?;
    Some((
        stat.f_bavail.saturating_mul(stat.f_frsize),
        stat.f_blocks.saturating_mul(stat.f_frsize),
    ))
}

/// Whether a disk with `free` of `size` bytes is short, when it was or was not a moment ago.
fn disk(free: u64, size: u64, was_short: bool) -> Option<Shortage> {
    let reserve = (size / DISK_RESERVE_PART).min(DISK_RESERVE_BYTES_MAX);
    let wanted = if was_short {
        reserve + reserve / DISK_RESERVE_BACK
    } else {
        reserve
    };
    (free < wanted).then_some(Shortage::Disk { free, wanted })
}

fn readers(waiting: u64, who: &str, bounds: Bounds) -> Option<Shortage> {
    (waiting > bounds.waiting_events_max).then(|| Shortage::Readers {
        waiting,
        who: who.to_owned(),
    })
}

#[cfg(test)]
mod tests;
