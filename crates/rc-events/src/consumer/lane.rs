//! One lane: applies its share of the bus in order. What is an event's fault is settled here; everything else
//! ends the lane, and the consumer begins anew from the stored positions.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::batch::{Applied, Condemned, Lane, Step};
use super::core::{Blame, Core, Work, blame};
use crate::bus::BusId;
use crate::error::Gap;
use crate::event::{Event, Seq};
use crate::letters::CLASS_UNKNOWN;
use crate::relay::retry_pause;
use crate::{Error, faults};

/// How long a lane without events keeps its position to itself.
const STORE_PAUSE: Duration = Duration::from_secs(1);

/// A lane's share of what was read from the bus.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) events: Arc<Vec<Event>>,
    /// The last place that was read.
    pub(super) upto: Seq,
}

/// Where a lane is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LaneAt {
    /// Everything of its share up to here was applied.
    pub(super) seen: Seq,
    /// So much of that stands in the store.
    pub(super) stored: Seq,
}

/// A lane's task.
pub(super) struct LaneTask {
    pub(super) core: Arc<Core>,
    pub(super) bus: BusId,
    pub(super) lane: Lane,
    pub(super) at: Arc<watch::Sender<Vec<LaneAt>>>,
    pub(super) stored: Seq,
    pub(super) halt: CancellationToken,
}

impl LaneTask {
    pub(super) async fn run(mut self, mut chunks: mpsc::Receiver<Chunk>) -> Result<(), Error> {
        let mut stored_at = tokio::time::Instant::now();
        while let Some(chunk) = chunks.recv().await {
            if self.halt.is_cancelled() {
                break;
            }
            if chunk.upto <= self.stored {
                continue;
            }
            if chunk.events.is_empty() && stored_at.elapsed() < STORE_PAUSE {
                self.tell(chunk.upto);
                continue;
            }
            self.take(chunk).await?;
            stored_at = tokio::time::Instant::now();
        }
        Ok(())
    }

    /// Applies a chunk.
    async fn take(&mut self, chunk: Chunk) -> Result<(), Error> {
        // After another number of lanes, some of it may lie behind this lane.
        let behind = chunk.events.partition_point(|event| event.pos <= self.stored);
        let mut work = self.core.prepare(chunk.events)?;
        let mut at = behind;
        let mut rows = work.events.len().max(1);
        let mut attempts = 0;
        while !self.halt.is_cancelled() {
            let end = work.events.len().min(at + rows);
            let upto = if end == work.events.len() {
                chunk.upto
            } else {
                work.events[end - 1].pos
            };
            let error = match self.step(&work, at..end, upto).await {
                Ok(()) if end == work.events.len() => return Ok(()),
                Ok(()) => {
                    (at, attempts) = (end, 0);
                    rows = rows.saturating_mul(2);
                    continue;
                }
                Err(error) => error,
            };
            match &error {
                Error::Gap(gaps) => self.core.fill(&mut work, gaps, &error).await?,
                Error::Poison(_) => self.core.condemn_all(&mut work, &error)?,
                _ if blame(&error) == Blame::World => return Err(error),
                _ if end - at > 1 => {
                    tracing::debug!(consumer = &*self.core.name, %error, events = end - at, "halving a batch");
                    self.core.stumbled(&error);
                    rows = (end - at) / 2;
                }
                _ => {
                    attempts += 1;
                    self.retry_or_condemn(&mut work, at, attempts, &error).await?;
                }
            }
        }
        Ok(())
    }

    /// The event at `at` failed alone.
    async fn retry_or_condemn(
        &self,
        work: &mut Work,
        at: usize,
        attempts: u32,
        error: &Error,
    ) -> Result<(), Error> {
        let Some(event) = work.events.get(at) else {
            // Only the position was to be written: no event can be at fault.
            return Err(error.clone());
        };
        self.core.stumbled(error);
        if attempts < self.core.options.attempts_max {
            let pause = retry_pause(attempts, error).mul_f64(fastrand::f64());
            self.halt.run_until_cancelled(tokio::time::sleep(pause)).await;
            return Ok(());
        }
        let (id, place) = (event.id, event.place());
        let why = Condemned::of_error(error, CLASS_UNKNOWN, attempts);
        self.core.condemn(work, (id, &place), why, false, error)
    }

    async fn step(&mut self, work: &Work, range: std::ops::Range<usize>, upto: Seq) -> Result<(), Error> {
        let step = Step::Follow {
            from: self.stored,
            upto,
        };
        let batch = self.core.batch(&self.bus, self.lane, step, work, range);
        let applied: Applied = self.core.apply(batch).await?;
        faults::point("consumer.before_progress");
        self.stored = upto;
        self.tell(upto);
        if applied.ready {
            self.core.redeliver_ready(&self.bus, Some(self.lane)).await?;
        }
        Ok(())
    }

    fn tell(&self, seen: Seq) {
        let stored = self.stored;
        let mut lowest = seen;
        self.at.send_modify(|at| {
            at[usize::from(self.lane.index)] = LaneAt { seen, stored };
            lowest = at.iter().map(|lane| lane.seen).min().unwrap_or(seen);
        });
        self.core.at(lowest);
    }
}

/// What is missing before the only event of a batch.
pub(super) fn only_gap(gaps: &[Gap]) -> Option<&Gap> {
    match gaps {
        [gap] => Some(gap),
        _ => None,
    }
}
