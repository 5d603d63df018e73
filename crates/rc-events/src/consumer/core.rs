//! What all parts of a running consumer share: where events come from and go to, and how one batch is tried.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rc_model::Timestamp;
use rc_store::ErrorKind;
use tokio::sync::watch;
use tokio::time::Instant;
use uuid::Uuid;

use super::batch::{Applied, Batch, Condemned, Lane, Mode, Step, place_hash};
use super::books::Books;
use super::breaker::Breaker;
use super::options::{ConsumerOptions, Policy};
use super::{ConsumerState, ConsumerStatus, Projection, Wake};
use crate::bus::{Bus, BusId, ReadLimit};
use crate::error::Gap;
use crate::event::{Event, NewEvent, Place, Seq};
use crate::spans::Applying;
use crate::{Error, faults};

/// Missing events of one key that are fetched from the log; more are a gap for a person.
pub const GAP_EVENTS_MAX: u64 = 2_000;

/// What the tasks of a consumer share.
pub(super) struct Core {
    pub(super) bus: Arc<dyn Bus>,
    pub(super) wake: Arc<dyn Wake>,
    pub(super) projection: Arc<dyn Projection>,
    pub(super) books: Arc<dyn Books>,
    pub(super) name: Arc<str>,
    pub(super) options: ConsumerOptions,
    pub(super) status: watch::Sender<ConsumerStatus>,
    /// Failures of the consumer in a row.
    pub(super) failures: AtomicU32,
    breaker: Mutex<Breaker>,
}

/// Events to be applied together, and what is known of them.
#[derive(Debug, Clone, Default)]
pub(super) struct Work {
    pub(super) events: Arc<Vec<Event>>,
    pub(super) upcast: Arc<HashMap<Uuid, Event>>,
    pub(super) condemned: Arc<HashMap<Uuid, Condemned>>,
}

/// Whose fault an error is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Blame {
    /// One of the events', or of what the projection does with it.
    Events,
    /// The world's, or it needs a person: no event is set aside for it.
    World,
}

pub(super) fn blame(error: &Error) -> Blame {
    match error {
        Error::Gap(_) | Error::Poison(_) | Error::Invalid(_) => Blame::Events,
        Error::Store { source, .. } => match source.kind() {
            ErrorKind::Constraint | ErrorKind::Timeout | ErrorKind::Aborted | ErrorKind::Bug => Blame::Events,
            ErrorKind::Busy { .. }
            | ErrorKind::Unavailable { .. }
            | ErrorKind::Conflict
            | ErrorKind::Corrupt
            | ErrorKind::ReadOnly
            | ErrorKind::DiskFull
            | ErrorKind::WriterTaken
            | ErrorKind::Foreign
            | ErrorKind::Migration
            | ErrorKind::Url => Blame::World,
        },
        Error::Mismatch(_)
        | Error::Pruned { .. }
        | Error::Fenced(_)
        | Error::Restored { .. }
        | Error::Moved(_)
        | Error::Refused(_)
        | Error::Unreachable { .. }
        | Error::Server(_)
        | Error::Replication(_)
        | Error::Full(_)
        | Error::Breaker(_)
        | Error::Letter(_)
        | Error::Job(_)
        | Error::Halted(_)
        | Error::Damaged(_) => Blame::World,
    }
}

impl Core {
    pub(super) fn new(
        bus: Arc<dyn Bus>,
        wake: Arc<dyn Wake>,
        projection: Arc<dyn Projection>,
        status: watch::Sender<ConsumerStatus>,
        options: ConsumerOptions,
    ) -> Self {
        Self {
            bus,
            wake,
            books: projection.books(),
            name: projection.name().into(),
            projection,
            options,
            status,
            failures: AtomicU32::new(0),
            breaker: Mutex::default(),
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.options.clock.now()
    }

    pub(super) fn lanes(&self) -> u16 {
        self.options.lanes.clamp(1, super::options::LANES_MAX)
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn close_breaker(&self) {
        self.breaker().close();
    }

    /// A batch of `work`.
    pub(super) fn batch(
        &self,
        bus: &BusId,
        lane: Lane,
        step: Step,
        work: &Work,
        range: Range<usize>,
    ) -> Batch {
        Batch {
            consumer: Arc::clone(&self.name),
            bus: bus.clone(),
            lane,
            mode: if matches!(step, Step::History { .. }) {
                Mode::Replay
            } else {
                Mode::Live
            },
            step,
            policy: self.options.policy,
            begins_anywhere: self.options.rebuilds,
            letters_max: self.options.letters_max,
            key_letters_max: self.options.key_letters_max,
            now: self.now(),
            events: Arc::clone(&work.events),
            range,
            upcast: Arc::clone(&work.upcast),
            condemned: Arc::clone(&work.condemned),
        }
    }

    /// Applies a batch in the traces of its events.
    pub(super) async fn apply(&self, mut batch: Batch) -> Result<Applied, Error> {
        faults::point("consumer.before_apply");
        if faults::mutated("consumer.position_apart")
            && matches!(batch.step, Step::Follow { .. })
            && !batch.range.is_empty()
        {
            let mut alone = batch.clone();
            alone.range = 0..0;
            self.projection.apply(alone).await?;
            faults::point("consumer.after_apply");
            batch.step = Step::Fill;
        }
        let again = self.failures.load(Ordering::Relaxed) > 0;
        let applying = self.options.telemetry.as_ref().and_then(|sink| {
            let events = batch.events().iter().map(|event| &event.event);
            Applying::begin(sink, &self.name, events)
        });
        let apply = self.projection.apply(batch);
        let applied = match applying {
            Some(applying) => applying.run(again, apply).await,
            None => apply.await,
        }?;
        faults::point("consumer.after_apply");
        self.failures.store(0, Ordering::Relaxed);
        if applied.applied > 0 {
            self.breaker().applied();
        }
        self.count(applied);
        Ok(applied)
    }

    fn count(&self, applied: Applied) {
        self.status.send_modify(|status| {
            status.applied += applied.applied;
            status.duplicates += applied.duplicates;
            status.parked += applied.parked + applied.waiting;
            status.skipped += applied.skipped;
            status.state = ConsumerState::Following;
        });
    }

    /// `events` in their newest form. One that cannot be brought there is condemned.
    pub(super) fn prepare(&self, events: Arc<Vec<Event>>) -> Result<Work, Error> {
        let hashes = events
            .iter()
            .map(|event| place_hash(event.tenant.as_str(), &event.topic, &event.key));
        self.breaker().saw(hashes, Instant::now());
        let mut work = Work {
            events,
            ..Work::default()
        };
        self.upcast(&mut work)?;
        Ok(work)
    }

    fn upcast(&self, work: &mut Work) -> Result<(), Error> {
        let Some(upcast) = &self.options.upcast else {
            return Ok(());
        };
        let mut newest = HashMap::new();
        let mut poisons = Vec::new();
        for event in &*work.events {
            match upcast.upcast(event) {
                Ok(None) => {}
                Ok(Some(upcast)) => {
                    let upcast = Event {
                        pos: event.pos,
                        event: upcast,
                    };
                    newest.insert(event.id, upcast);
                }
                Err(poison) => poisons.push(*poison),
            }
        }
        work.upcast = Arc::new(newest);
        if poisons.is_empty() {
            Ok(())
        } else {
            self.condemn_all(work, &Error::Poison(poisons.into()))
        }
    }

    /// Condemns the events that `error` names.
    pub(super) fn condemn_all(&self, work: &mut Work, error: &Error) -> Result<(), Error> {
        let Error::Poison(poisons) = error else {
            return Err(error.clone());
        };
        let known = work.condemned.len();
        for poison in poisons {
            let why = Condemned::of_poison(poison);
            self.condemn(work, (poison.id, &poison.place), why, true, error)?;
        }
        if work.condemned.len() == known {
            // It names what it was told to leave out: that is the projection's mistake, and no progress.
            return Err(Error::damaged(format!(
                "the projection does not leave out what it refused: {error}"
            )));
        }
        Ok(())
    }

    /// Condemns one event, if the policy and the breaker allow it. `explained`: somebody named it.
    pub(super) fn condemn(
        &self,
        work: &mut Work,
        (id, place): (Uuid, &Place),
        why: Condemned,
        explained: bool,
        error: &Error,
    ) -> Result<(), Error> {
        if self.options.policy == Policy::Halt {
            return Err(error.clone());
        }
        let key = place_hash(place.tenant.as_str(), &place.topic, &place.key);
        self.breaker()
            .park(key, explained, &why.why, Instant::now())
            .map_err(|open| Error::Breaker(open.into()))?;
        tracing::warn!(
            consumer = &*self.name,
            event = %id,
            place = %place,
            class = &*why.class,
            code = why.code,
            why = why.why,
            attempts = why.attempts,
            policy = self.options.policy.as_str(),
            "an event cannot be applied and is set aside"
        );
        Arc::make_mut(&mut work.condemned).insert(id, why);
        Ok(())
    }

    /// Fetches the events that are missing before `gap` from the log; `None` when it does not have them all.
    pub(super) async fn fetch(&self, gap: &Gap) -> Result<Option<Vec<NewEvent>>, Error> {
        let Some(log) = &self.options.log else {
            return Ok(None);
        };
        let missing = gap.found - gap.last - 1;
        if missing > GAP_EVENTS_MAX {
            return Ok(None);
        }
        let mut found: Vec<NewEvent> = Vec::new();
        while (found.len() as u64) < missing {
            let next = gap.last + 1 + found.len() as u64;
            let more = match log
                .range(&gap.place, next..=gap.found - 1, ReadLimit::default())
                .await
            {
                Ok(more) => more,
                Err(error) if error.retry_after().is_some() => return Err(error),
                Err(error) => {
                    tracing::warn!(consumer = &*self.name, place = %gap.place, %error, "the log does not say");
                    return Ok(None);
                }
            };
            let fits = !more.is_empty()
                && more
                    .iter()
                    .zip(next..)
                    .all(|(event, number)| event.kseq == number && event.place() == gap.place);
            if !fits {
                return Ok(None);
            }
            found.extend(more);
        }
        self.status
            .send_modify(|status| status.fetched += found.len() as u64);
        tracing::info!(
            consumer = &*self.name,
            place = %gap.place,
            events = found.len(),
            "fetched events from the log that the bus does not have"
        );
        Ok(Some(found))
    }

    /// Puts what is missing in front of the events that came too early, or condemns those.
    pub(super) async fn fill(&self, work: &mut Work, gaps: &[Gap], error: &Error) -> Result<(), Error> {
        let mut fetched: HashMap<Uuid, Vec<NewEvent>> = HashMap::new();
        for gap in gaps {
            match self.fetch(gap).await? {
                Some(events) => {
                    fetched.insert(gap.id, events);
                }
                None => {
                    let why = Condemned {
                        class: crate::letters::CLASS_GAP.into(),
                        code: error.code().to_owned(),
                        why: gap.to_string(),
                        attempts: 1,
                    };
                    self.condemn(work, (gap.id, &gap.place), why, true, error)?;
                }
            }
        }
        if fetched.is_empty() {
            return Ok(());
        }
        let mut events = Vec::with_capacity(work.events.len() + fetched.len());
        for event in &*work.events {
            for missing in fetched.remove(&event.id).into_iter().flatten() {
                events.push(Event {
                    // Before the one that it was missing for: a position there does not pass that one.
                    pos: event.pos - 1,
                    event: missing,
                });
            }
            events.push(event.clone());
        }
        work.events = Arc::new(events);
        self.upcast(work)
    }

    /// Notes a failure that the consumer gets over by itself.
    pub(super) fn stumbled(&self, error: &Error) {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        self.status.send_modify(|status| {
            status.state = ConsumerState::Retrying {
                code: error.code(),
                error: error.to_string(),
                failures,
            };
        });
    }

    /// Notes where a lane is; the consumer is where its last lane is.
    pub(super) fn at(&self, position: Seq) {
        self.status.send_modify(|status| {
            status.position = position;
            status.tail = status.tail.max(position);
            status.state = ConsumerState::Following;
        });
    }
}
