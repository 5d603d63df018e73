//! All lanes of a consumer as its own task sees them: each gets its share, and the consumer is where the last
//! of them is.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::batch::Lane;
use super::core::Core;
use super::lane::{Chunk, LaneAt, LaneTask};
use super::{CHUNKS_MAX, PROGRESS_PAUSE};
use crate::Error;
use crate::bus::BusId;
use crate::event::{Event, Seq};

/// The lanes, which end when this is dropped or one of them fails.
pub(super) struct Lanes {
    tasks: JoinSet<Result<(), Error>>,
    chunks: Vec<mpsc::Sender<Chunk>>,
    at: watch::Receiver<Vec<LaneAt>>,
}

impl Lanes {
    pub(super) fn spawn(core: &Arc<Core>, bus: &BusId, positions: &[Seq], halt: &CancellationToken) -> Self {
        let at: Vec<LaneAt> = positions
            .iter()
            .map(|seq| LaneAt {
                seen: *seq,
                stored: *seq,
            })
            .collect();
        let (at, seen) = watch::channel(at);
        let (mut tasks, mut chunks) = (JoinSet::new(), Vec::new());
        let at = Arc::new(at);
        for (index, stored) in (0_u16..).zip(positions) {
            let (sender, receiver) = mpsc::channel(CHUNKS_MAX);
            let lane = LaneTask {
                core: Arc::clone(core),
                bus: bus.clone(),
                lane: Lane {
                    index,
                    of: core.lanes(),
                },
                at: Arc::clone(&at),
                stored: *stored,
                halt: halt.clone(),
            };
            tasks.spawn(lane.run(receiver));
            chunks.push(sender);
        }
        Self {
            tasks,
            chunks,
            at: seen,
        }
    }

    /// Gives each lane its share. A lane that has ended is noticed where its task is awaited.
    pub(super) async fn send(&self, events: Vec<Event>, upto: Seq, stop: &CancellationToken) {
        let send = async {
            let lanes = u16::try_from(self.chunks.len()).unwrap_or(1);
            if lanes == 1 {
                let events = Arc::new(events);
                let _ended = self.chunks[0].send(Chunk { events, upto }).await;
                return;
            }
            let mut shares: Vec<Vec<Event>> = self.chunks.iter().map(|_| Vec::new()).collect();
            for event in events {
                shares[usize::from(Lane::of_event(&event, lanes))].push(event);
            }
            for (lane, share) in self.chunks.iter().zip(shares) {
                let events = Arc::new(share);
                let _ended = lane.send(Chunk { events, upto }).await;
            }
        };
        stop.run_until_cancelled(send).await;
    }

    /// Waits until every lane has applied everything up to `at`; `false` when `stop` came first.
    pub(super) async fn drained(
        &mut self,
        core: &Core,
        told: &mut Told,
        at: Seq,
        stop: &CancellationToken,
    ) -> Result<bool, Error> {
        loop {
            if self.at.borrow_and_update().iter().all(|lane| lane.seen >= at) {
                return Ok(true);
            }
            tokio::select! {
                () = stop.cancelled() => return Ok(false),
                Some(ended) = self.tasks.join_next() => return Err(Self::error_of(ended)),
                Ok(()) = self.at.changed() => {}
                () = tokio::time::sleep_until(told.next()) => told.tell(core, self).await,
            }
        }
    }

    /// Waits until a lane ends, and says why.
    pub(super) async fn failed(&mut self) -> Error {
        match self.tasks.join_next().await {
            Some(ended) => Self::error_of(ended),
            None => std::future::pending().await,
        }
    }

    /// Waits until every lane has finished what it is applying. They were told to.
    pub(super) async fn ended(mut self) {
        self.chunks.clear();
        while self.tasks.join_next().await.is_some() {}
    }

    fn error_of(ended: Result<Result<(), Error>, tokio::task::JoinError>) -> Error {
        match ended {
            Ok(Err(error)) => error,
            Ok(Ok(())) => Error::Halted("a lane stopped".into()),
            Err(panicked) => Error::damaged(format!("a lane broke: {panicked}")),
        }
    }
}

/// What the bus and the wake-up were told of the consumer's progress.
#[derive(Default)]
pub(super) struct Told {
    last: Option<(Seq, Instant)>,
}

impl Told {
    fn next(&self) -> Instant {
        self.last.map_or_else(Instant::now, |(_, at)| at + PROGRESS_PAUSE)
    }

    /// Tells it, if something changed and the last time is long enough ago.
    pub(super) async fn tell(&mut self, core: &Core, lanes: &Lanes) {
        if self.last.is_some_and(|(_, at)| at.elapsed() < PROGRESS_PAUSE) {
            return;
        }
        let stored = {
            let at = lanes.at.borrow();
            at.iter().map(|lane| lane.stored).min().unwrap_or(0)
        };
        let first = self.last.is_none();
        if !core.options.rebuilds && self.last.is_none_or(|(seq, _)| seq != stored) {
            // Retention waits a little longer when this fails; that is no reason to stop.
            if let Err(error) = core.bus.progress(&core.name, stored).await {
                tracing::debug!(consumer = &*core.name, %error, "progress was not noted");
            }
        }
        if !first {
            core.tell(stored).await;
        }
        self.last = Some((stored, Instant::now()));
    }
}
