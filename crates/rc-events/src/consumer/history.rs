//! A replay of history as the running consumer carries it out: one bounded step between two batches.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use tokio::time::Instant;

use super::batch::{Condemned, Lane, Step};
use super::core::{Blame, Core, Work, blame};
use crate::bus::BusId;
use crate::event::{Event, Seq};
use crate::replay::{Job, JobState};
use crate::{Error, faults};

/// A replay that goes on.
pub(super) struct Running {
    pub(super) job: Job,
    /// When its next step may begin.
    pub(super) due: Instant,
    attempts: u32,
}

impl Core {
    /// The replay that goes on, if there is one.
    pub(super) async fn running(&self) -> Result<Option<Running>, Error> {
        let jobs = self.books.jobs().await?;
        Ok(jobs
            .into_iter()
            .find(|job| job.state == JobState::Running)
            .map(|job| Running {
                job,
                due: Instant::now(),
                attempts: 0,
            }))
    }

    /// One step of a replay; gives it back while it goes on.
    pub(super) async fn replay_some(
        &self,
        bus: &BusId,
        mut running: Running,
    ) -> Result<Option<Running>, Error> {
        let job = &running.job;
        if job.plan.bus != *bus {
            return self.fail(job, "the bus it was planned on is gone").await;
        }
        if job.at >= job.plan.upto {
            self.end(job, JobState::Done, "").await?;
            return Ok(None);
        }
        let read = match self.bus.read(job.at, job.limit()).await {
            Ok(read) => read,
            Err(error @ Error::Pruned { .. }) => return self.fail(job, &error.to_string()).await,
            Err(error) => return Err(error),
        };
        let inside = read.iter().take_while(|event| event.pos <= job.plan.upto);
        let upto = inside.last().map_or(job.plan.upto, |last| last.pos);
        let matching: Vec<Event> = read
            .into_iter()
            .filter(|event| event.pos <= upto && job.filter.matches(event))
            .collect();
        let count = matching.len();
        match self.replay_all(bus, &mut running, matching, upto).await {
            Ok(()) => {}
            // Somebody ended it meanwhile.
            Err(Error::Job(_)) => return Ok(None),
            Err(error) if blame(&error) == Blame::Events => {
                return self.fail(&running.job, &error.to_string()).await;
            }
            Err(error) => return Err(error),
        }
        faults::point("replay.after_step");
        running.due = Instant::now() + running.job.pause(count);
        Ok(Some(running))
    }

    /// Applies what matched, in as many transactions as its faults demand. An event that is named as poison is
    /// left out and counted; one that fails alone without a name stops the replay.
    async fn replay_all(
        &self,
        bus: &BusId,
        running: &mut Running,
        matching: Vec<Event>,
        upto: Seq,
    ) -> Result<(), Error> {
        let mut work = Work {
            events: Arc::new(matching),
            ..Work::default()
        };
        self.upcast_leaving_out(&mut work);
        let (mut at, mut rows) = (0, work.events.len().max(1));
        loop {
            let end = work.events.len().min(at + rows);
            let next = if end == work.events.len() {
                upto
            } else {
                work.events[end - 1].pos
            };
            match self.replay_range(bus, &running.job, &work, at..end, next).await {
                Ok((applied, failed)) => {
                    running.job.at = next;
                    running.job.applied += applied;
                    running.job.failed += failed;
                    (at, running.attempts) = (end, 0);
                    rows = rows.saturating_mul(2);
                    if at == work.events.len() {
                        return Ok(());
                    }
                }
                Err(Error::Poison(poisons)) => {
                    let known = work.condemned.len();
                    let condemned = Arc::make_mut(&mut work.condemned);
                    for poison in &poisons {
                        condemned.insert(poison.id, Condemned::of_poison(poison));
                    }
                    if work.condemned.len() == known {
                        return Err(Error::Poison(poisons));
                    }
                }
                Err(error) if blame(&error) == Blame::World => return Err(error),
                Err(_) if end - at > 1 => rows = (end - at) / 2,
                Err(error) => {
                    running.attempts += 1;
                    if running.attempts >= self.options.attempts_max {
                        return Err(error);
                    }
                    tokio::time::sleep(crate::relay::retry_pause(running.attempts, &error)).await;
                }
            }
        }
    }

    async fn replay_range(
        &self,
        bus: &BusId,
        job: &Job,
        work: &Work,
        range: Range<usize>,
        upto: Seq,
    ) -> Result<(u64, u64), Error> {
        let failed = work.events[range.clone()]
            .iter()
            .filter(|event| work.condemned.contains_key(&event.id))
            .count() as u64;
        let step = Step::History {
            job: job.number,
            from: job.at,
            upto,
            failed,
        };
        let applied = self.apply(self.batch(bus, Lane::ALL, step, work, range)).await?;
        Ok((applied.applied, failed))
    }

    fn upcast_leaving_out(&self, work: &mut Work) {
        let Some(upcast) = &self.options.upcast else {
            return;
        };
        let (mut newest, mut condemned) = (HashMap::new(), HashMap::new());
        for event in &*work.events {
            match upcast.upcast(event) {
                Ok(None) => {}
                Ok(Some(upcast)) => {
                    let (pos, event_id) = (event.pos, event.id);
                    newest.insert(event_id, Event { pos, event: upcast });
                }
                Err(poison) => {
                    condemned.insert(event.id, Condemned::of_poison(&poison));
                }
            }
        }
        (work.upcast, work.condemned) = (Arc::new(newest), Arc::new(condemned));
    }

    async fn fail(&self, job: &Job, why: &str) -> Result<Option<Running>, Error> {
        tracing::warn!(
            consumer = &*self.name,
            job = job.number,
            why,
            "a replay of history cannot go on"
        );
        self.end(job, JobState::Failed, why).await?;
        Ok(None)
    }

    async fn end(&self, job: &Job, state: JobState, why: &str) -> Result<(), Error> {
        if self.books.end(job.number, state, why, self.now()).await? && state == JobState::Done {
            tracing::info!(
                consumer = &*self.name,
                job = job.number,
                applied = job.applied,
                failed = job.failed,
                "a replay of history is done"
            );
        }
        Ok(())
    }
}
