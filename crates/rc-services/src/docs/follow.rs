//! The projector as it runs: on which bus, with which state in `/ready`, and how it is stopped.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use rc_events::consumer::ConsumerHandle;
use rc_events::{Bus, Consumer, ConsumerOptions, ConsumerState, ConsumerStatus, SqliteBus, Wake};
use rc_model::Clock;
use rc_serve::Tree;
use rc_serve::readiness::Component;
use rc_store::ErrorKind;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::meters::Meters;
use super::progress::Progress;
use super::projector::DocsProjection;
use super::store::DocsStore;

/// Pause between looks for a bus that ingest has not made yet.
const BUS_LOOK_EVERY: Duration = Duration::from_millis(50);

/// How long the bus may be missing before the service says that it is not whole: docs-api starts first.
const BUS_MISSING_MAX: Duration = Duration::from_secs(15);

/// Failures of the projector in a row after which the service says that it is not whole.
const PROJECTOR_FAILURES: u32 = 3;

/// The running projector's handle.
pub(super) type Following = Arc<ArcSwapOption<ConsumerHandle>>;

/// Where a projector reads, and how it learns that there is something.
#[derive(Clone)]
pub(super) struct Reading {
    pub(super) bus: Arc<dyn Bus>,
    pub(super) wake: Arc<dyn Wake>,
}

/// What every projector of this process is made of.
#[derive(Clone)]
pub(super) struct Projector {
    pub(super) following: Following,
    pub(super) progress: Progress,
    pub(super) meters: Meters,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) ready: Component,
    pub(super) options: ConsumerOptions,
}

impl Projector {
    /// Follows the bus with the read model that serves.
    pub(super) fn follow(&self, store: Arc<dyn DocsStore>, reading: &Reading, tree: &Tree) -> Follower {
        let projection = DocsProjection {
            store,
            progress: self.progress.clone(),
            clock: Arc::clone(&self.clock),
            meters: self.meters.clone(),
        };
        let (bus, wake) = (Arc::clone(&reading.bus), Arc::clone(&reading.wake));
        let consumer = Consumer::with_options(bus, wake, Arc::new(projection), self.options.clone());
        let mut status = consumer.status();
        self.following.store(Some(Arc::new(consumer.handle())));
        let (ready, lag) = (self.ready.clone(), self.meters.lag.clone());
        let (fetched, mut counted) = (self.meters.fetched.clone(), 0);
        Follower::spawn("docs-api/projector", tree, async move |stopping| {
            let watch = async {
                while status.changed().await.is_ok() {
                    let now = status.borrow_and_update().clone();
                    lag.set(i64::try_from(now.lag()).unwrap_or(i64::MAX));
                    fetched.inc_by(now.fetched - counted);
                    counted = now.fetched;
                    report(&ready, &now);
                }
            };
            tokio::select! {
                () = consumer.run(stopping) => {}
                () = watch => {}
            }
        })
    }
}

/// A consumer that can be ended before its service is.
pub(super) struct Follower {
    stop: CancellationToken,
    ended: oneshot::Receiver<()>,
}

impl Follower {
    pub(super) fn spawn<R, F>(name: &'static str, tree: &Tree, run: R) -> Self
    where
        R: FnOnce(CancellationToken) -> F,
        F: Future<Output = ()> + Send + 'static,
    {
        let stop = tree.stopping().child_token();
        let (alive, ended) = oneshot::channel();
        let run = run(stop.clone());
        tree.spawn(name, async move {
            run.await;
            drop(alive);
        });
        Self { stop, ended }
    }

    /// Ends it after the batch that is under way.
    pub(super) async fn stop(self) {
        self.stop.cancel();
        // Nothing is ever sent: the other side is dropped when it has ended.
        let _ended = self.ended.await;
    }
}

fn report(ready: &Component, status: &ConsumerStatus) {
    match &status.state {
        // It is ready when it has applied a batch, or has seen that there is none.
        ConsumerState::Starting => {}
        ConsumerState::Following => ready.set_ready(),
        ConsumerState::Retrying {
            code,
            error,
            failures,
        } => {
            if *failures >= PROJECTOR_FAILURES {
                ready.set_down(format!("{code}: {error}"));
            }
        }
        ConsumerState::Stuck { code, error } => ready.set_down(format!("{code}: {error}")),
    }
}

/// The embedded bus, which ingest makes when it starts.
pub(super) struct BusFile {
    pub(super) path: PathBuf,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) ready: Component,
}

impl BusFile {
    /// Nothing is late before ingest has written anything. Where there is a bus, the projector itself says
    /// when it has looked at it: what it finds may be beyond it.
    pub(super) fn report_missing(&self) {
        if !self.path.exists() {
            self.ready.set_ready();
        }
    }

    /// Waits for the file; `None` when the service stops first.
    pub(super) async fn open(&self, stopping: &CancellationToken) -> Option<Arc<dyn Bus>> {
        let began = tokio::time::Instant::now();
        loop {
            // Opening reads a page of the file: microseconds.
            match SqliteBus::open_readonly(&self.path, Arc::clone(&self.clock)) {
                Ok(bus) => return Some(Arc::new(bus)),
                Err(error) => {
                    let passing = matches!(
                        &error,
                        rc_events::Error::Store { source, .. }
                            if matches!(source.kind(), ErrorKind::Unavailable { .. })
                    );
                    if !passing || began.elapsed() > BUS_MISSING_MAX {
                        self.ready.set_down(format!("{}: {error}", error.code()));
                    }
                }
            }
            stopping
                .run_until_cancelled(tokio::time::sleep(BUS_LOOK_EVERY))
                .await?;
        }
    }
}
