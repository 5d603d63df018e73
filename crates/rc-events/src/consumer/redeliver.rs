//! Letters on their way back: each key from its lowest number on, one transaction a letter.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::batch::{Condemned, Lane, Mode, Step};
use super::core::{Blame, Core, blame};
use super::decide::goes_by_itself;
use super::lane::only_gap;
use crate::bus::BusId;
use crate::event::{Event, Place};
use crate::letters::{
    CLASS_GAP, CLASS_UNKNOWN, Letter, LetterFailed, LetterFilter, LetterState, ReplayLetters, ReplayedLetters,
};
use crate::{Error, faults};

/// Letters that are replayed before the consumer looks at the bus again.
const TURN_LETTERS_MAX: usize = 100;

/// Attempts to replay a letter that somebody else changes meanwhile.
const CHANGED_MAX: usize = 10;

/// What became of a key's first letter.
#[derive(Debug)]
pub(super) enum Redelivered {
    /// Its effect is there.
    Applied,
    /// Its number passed.
    Passed,
    /// It failed, and its key waits on.
    Failed(LetterFailed),
    /// It is stuck and was not tried.
    Stuck,
    /// There is none, or it is not its turn.
    Nothing,
}

/// A replay of letters that somebody asked for.
pub(super) struct Redelivery {
    keys: VecDeque<Place>,
    /// Skipped letters: their numbers have passed, and each goes for itself.
    skipped: VecDeque<i64>,
    how: ReplayLetters,
    report: ReplayedLetters,
    answer: oneshot::Sender<Result<ReplayedLetters, Error>>,
    /// When the next letter may go.
    pub(super) due: Instant,
}

impl Core {
    /// Prepares the replay of the letters that match.
    pub(super) async fn redelivery(
        &self,
        filter: &LetterFilter,
        how: ReplayLetters,
        answer: oneshot::Sender<Result<ReplayedLetters, Error>>,
    ) -> Option<Redelivery> {
        let mut keys = BTreeSet::new();
        let mut skipped = VecDeque::new();
        let mut page = filter.clone();
        loop {
            let letters = match self.books.list(&page).await {
                Ok(letters) => letters,
                Err(error) => {
                    // Whoever asked has gone when this fails.
                    let _gone = answer.send(Err(error));
                    return None;
                }
            };
            let (found, last) = (letters.len(), letters.last().map(|letter| letter.number));
            for letter in letters {
                if letter.state == LetterState::Skipped {
                    skipped.push_back(letter.number);
                } else {
                    keys.insert(letter.event.place());
                }
            }
            match last {
                Some(last) if found == page.rows() && filter.limit == 0 => page.after = last,
                _ => break,
            }
        }
        Some(Redelivery {
            keys: keys.into_iter().collect(),
            skipped,
            how,
            report: ReplayedLetters::default(),
            answer,
            due: Instant::now(),
        })
    }

    /// Replays some letters; gives the replay back when more are left.
    pub(super) async fn redeliver_some(
        &self,
        bus: &BusId,
        mut work: Redelivery,
    ) -> Result<Option<Redelivery>, Error> {
        let pause = work.how.pause();
        for _ in 0..TURN_LETTERS_MAX {
            let outcome = if let Some(place) = work.keys.front() {
                self.redeliver(bus, place, work.how.force, false).await
            } else if let Some(number) = work.skipped.front() {
                self.redeliver_skipped(bus, *number).await
            } else {
                let _gone = work.answer.send(Ok(work.report));
                return Ok(None);
            };
            let outcome = match outcome {
                Ok(outcome) => outcome,
                Err(error) => {
                    let _gone = work.answer.send(Err(error.clone()));
                    return Err(error);
                }
            };
            let in_key = !work.keys.is_empty();
            let ended = match outcome {
                Redelivered::Applied => {
                    work.report.applied += 1;
                    !in_key
                }
                Redelivered::Passed => {
                    work.report.passed += 1;
                    !in_key
                }
                Redelivered::Failed(failed) => {
                    work.report.failed.push(failed);
                    true
                }
                Redelivered::Stuck => {
                    work.report.stuck_keys += 1;
                    true
                }
                Redelivered::Nothing => true,
            };
            if ended && in_key {
                work.keys.pop_front();
            } else if ended {
                work.skipped.pop_front();
            }
            if !pause.is_zero() {
                work.due = Instant::now() + pause;
                break;
            }
        }
        Ok(Some(work))
    }

    /// Replays what goes without a person: what waited for a letter that is gone, and what missed an event
    /// that has come. `lane`: of these keys only.
    pub(super) async fn redeliver_ready(&self, bus: &BusId, lane: Option<Lane>) -> Result<(), Error> {
        loop {
            let mut moved = false;
            for place in self.books.ready().await? {
                if lane.is_some_and(|lane| Lane::of_place(&place, lane.of) != lane.index) {
                    continue;
                }
                while let Redelivered::Applied | Redelivered::Passed =
                    self.redeliver(bus, &place, false, true).await?
                {
                    moved = true;
                }
            }
            if !moved {
                return Ok(());
            }
        }
    }

    /// Replays the first letter of a key. `alone`: only if it goes without a person.
    async fn redeliver(
        &self,
        bus: &BusId,
        place: &Place,
        force: bool,
        alone: bool,
    ) -> Result<Redelivered, Error> {
        for _ in 0..CHANGED_MAX {
            let Some(head) = self.books.head(place).await? else {
                return Ok(Redelivered::Nothing);
            };
            let letter = head.letter;
            if alone && !goes_by_itself(letter.state, &letter.class, head.last, letter.event.kseq) {
                return Ok(Redelivered::Nothing);
            }
            if letter.state == LetterState::Stuck && !force {
                return Ok(Redelivered::Stuck);
            }
            match self.try_letter(bus, &letter, Mode::Live).await {
                // It was edited, dropped or replayed since it was read.
                Err(Error::Letter(_)) => {}
                outcome => return outcome,
            }
        }
        Ok(Redelivered::Nothing)
    }

    async fn redeliver_skipped(&self, bus: &BusId, number: i64) -> Result<Redelivered, Error> {
        match self.books.get(number).await? {
            Some(letter) if letter.state == LetterState::Skipped => {
                self.try_letter(bus, &letter, Mode::Replay).await
            }
            _ => Ok(Redelivered::Nothing),
        }
    }

    async fn try_letter(&self, bus: &BusId, letter: &Letter, mode: Mode) -> Result<Redelivered, Error> {
        faults::point("letters.before_replay");
        let outcome = self.apply_letter(bus, letter, mode).await;
        let why = match outcome {
            Ok(done) => {
                faults::point("letters.after_replay");
                return Ok(done);
            }
            Err(Error::Gap(gaps)) => {
                let error = Error::Gap(gaps.clone());
                if let Some(gap) = only_gap(&gaps)
                    && let Some(missing) = self.fetch(gap).await?
                {
                    self.apply_missing(bus, letter, missing).await?;
                    return Box::pin(self.try_letter(bus, letter, mode)).await;
                }
                Condemned::of_error(&error, CLASS_GAP, 1)
            }
            Err(Error::Poison(poisons)) => match poisons.first() {
                Some(poison) => Condemned::of_poison(poison),
                None => return Err(Error::damaged("poison without an event")),
            },
            Err(error) if blame(&error) == Blame::Events => Condemned::of_error(&error, CLASS_UNKNOWN, 1),
            Err(error) => return Err(error),
        };
        let failed = self.books.failed(letter.number, &why, self.now()).await?;
        Ok(Redelivered::Failed(failed))
    }

    async fn apply_letter(&self, bus: &BusId, letter: &Letter, mode: Mode) -> Result<Redelivered, Error> {
        let event = Event {
            pos: letter.pos,
            event: letter.current(),
        };
        let mut work = super::core::Work {
            events: Arc::new(vec![event]),
            ..super::core::Work::default()
        };
        if letter.state != LetterState::Dropped
            && let Some(upcast) = &self.options.upcast
            && let Some(newest) = upcast
                .upcast(&work.events[0])
                .map_err(|poison| Error::Poison(Box::new([*poison])))?
        {
            let newest = Event {
                pos: letter.pos,
                event: newest,
            };
            work.upcast = Arc::new([(letter.event.id, newest)].into());
        }
        let step = Step::Letter {
            number: letter.number,
            last: letter.last,
        };
        let mut batch = self.batch(bus, self.lane_of(&letter.event.place()), step, &work, 0..1);
        batch.mode = mode;
        let applied = self.apply(batch).await?;
        Ok(if applied.applied > 0 {
            Redelivered::Applied
        } else {
            Redelivered::Passed
        })
    }

    /// Applies events that were missing before a letter.
    async fn apply_missing(
        &self,
        bus: &BusId,
        letter: &Letter,
        missing: Vec<crate::NewEvent>,
    ) -> Result<(), Error> {
        let pos = letter.pos - 1;
        let events = missing.into_iter().map(|event| Event { pos, event }).collect();
        let work = self.prepare(Arc::new(events))?;
        let range = 0..work.events.len();
        let lane = self.lane_of(&letter.event.place());
        self.apply(self.batch(bus, lane, Step::Fill, &work, range))
            .await?;
        Ok(())
    }

    fn lane_of(&self, place: &Place) -> Lane {
        Lane {
            index: Lane::of_place(place, self.lanes()),
            of: self.lanes(),
        }
    }
}
