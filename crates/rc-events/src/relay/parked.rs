//! Events that the bus refuses: they are set aside beside the outbox, with all later ones of their keys, and
//! everything else goes on.
//!
//! An event is set aside before the rest of its batch is published, and stays known, as gone, until its row in
//! the outbox is gone: a relay that dies in between reads the same rows again and treats them the same. People
//! release letters under an origin of their own on the bus ([`origin_of`]), whose cursor names the last release,
//! so that a release that died between the publish and its note is not repeated.

pub(crate) mod postgres;
pub(crate) mod sqlite;

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use rc_model::{Clock, Timestamp};
use uuid::Uuid;

use crate::bus::{Bus, Cursor, Publish, Record};
use crate::error::Refused;
use crate::event::Place;
use crate::letters::{
    CLASS_BEHIND, Edit, KEY_LETTERS_MAX, LETTERS_MAX, Letter, LetterCounts, LetterFailed, LetterFilter,
    LetterState, Letters, ReplayLetters, ReplayedLetters, SAME_ERROR_MAX, error_fingerprint, patch,
};
use crate::{BoxFuture, Error, faults};

/// The type of the event that passes in the place of one that was given up: the number goes by, without effect.
const VOID: &str = "rc.void.v1";

/// Under which origin the letters of `origin` are published.
#[must_use]
pub fn origin_of(origin: &str) -> String {
    format!("{origin}/parked")
}

/// Where a relay sets events aside: the store of its outbox.
pub trait Parked: Send + Sync {
    /// Whether it has rows, also gone ones.
    fn any(&self) -> BoxFuture<'_, Result<bool, Error>>;

    /// Sets aside, in one transaction, the event that was refused and all whose key has a letter; returns the
    /// others. What was set aside before is not given back.
    ///
    /// # Errors
    /// [`Error::Full`] when there is no room for another letter.
    fn hold_back(
        &self,
        records: Vec<Record>,
        refused: Option<Refused>,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<Vec<Record>, Error>>;

    /// Letters that match, by number; with their payloads if `whole`.
    fn letters<'a>(
        &'a self,
        filter: &'a LetterFilter,
        whole: bool,
    ) -> BoxFuture<'a, Result<Vec<Letter>, Error>>;

    /// The first letter of a place.
    fn first<'a>(&'a self, place: &'a Place) -> BoxFuture<'a, Result<Option<Letter>, Error>>;

    /// Notes, before it is tried, that the publish `token` has the letter; whether it is still there.
    fn claim<'a>(&'a self, number: i64, token: &'a str) -> BoxFuture<'a, Result<bool, Error>>;

    /// The publish `token` has happened: its letter is gone.
    fn settle<'a>(&'a self, token: &'a str, now: Timestamp) -> BoxFuture<'a, Result<(), Error>>;

    /// Writes what may change of a letter: its state, error, counts and edit.
    fn update<'a>(&'a self, letter: &'a Letter) -> BoxFuture<'a, Result<(), Error>>;

    /// Forgets gone letters whose rows in the outbox are gone.
    fn sweep(&self) -> BoxFuture<'_, Result<(), Error>>;
}

/// What became of a record in a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It may be published.
    Publish,
    /// It was set aside before.
    Known,
    /// It is the one that was refused.
    Refuse,
    /// Its key has a letter.
    Wait,
}

/// Decides for each record of a batch. `known`: numbers of places that have rows; `held`: places with letters.
pub(crate) fn fates(
    records: &[Record],
    refused: Option<usize>,
    known: &HashSet<(Place, u64)>,
    held: &HashSet<Place>,
) -> Vec<Fate> {
    let mut held = held.clone();
    let decide = |(index, record): (usize, &Record)| {
        let place = record.event.place();
        let at = (place, record.event.kseq);
        if known.contains(&at) {
            return Fate::Known;
        }
        if refused == Some(index) {
            held.insert(at.0);
            return Fate::Refuse;
        }
        if held.contains(&at.0) && !faults::mutated("relay.park_only_row") {
            return Fate::Wait;
        }
        Fate::Publish
    };
    records.iter().enumerate().map(decide).collect()
}

/// Class, code and text of a letter by its fate.
pub(crate) fn reason(
    fate: Fate,
    refused: Option<&Refused>,
) -> (LetterState, &'static str, &'static str, String) {
    match refused {
        Some(refused) if fate == Fate::Refuse => (
            LetterState::Parked,
            refused.class,
            refused.code,
            refused.why.clone(),
        ),
        Some(_) | None => {
            let why = "an earlier event of its key was refused".to_owned();
            (LetterState::Waiting, CLASS_BEHIND, "RC-EVT-010", why)
        }
    }
}

/// Whether `letters` more letters have room, of all and of the fullest key.
pub(crate) fn check_room(all: u64, of_key: u64) -> Result<(), Error> {
    if all <= LETTERS_MAX && of_key <= KEY_LETTERS_MAX {
        return Ok(());
    }
    Err(Error::Full(
        format!(
            "the relay has {all} events set aside, {of_key} of one key; {LETTERS_MAX} and {KEY_LETTERS_MAX} are \
             allowed: replay or drop them"
        )
        .into(),
    ))
}

/// The letters of a relay, for people. Works beside the relay and without it.
pub struct ParkedLetters {
    origin: String,
    parked: Arc<dyn Parked>,
    bus: Arc<dyn Bus>,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for ParkedLetters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ParkedLetters")
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}

/// How far a key is released.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Far {
    /// Everything is tried; with force, what is stuck too.
    All { force: bool },
    /// Only what nobody has to decide: what was given up, and what waits behind nothing.
    Passing,
}

/// How the release of one letter went.
enum Released {
    Done,
    Failed(LetterFailed),
    /// The bus was elsewhere, or somebody else released the letter.
    Again,
}

impl ParkedLetters {
    /// The letters that the relay of `origin` has set aside in `parked`, to be released to `bus`.
    #[must_use]
    pub fn new(origin: &str, parked: Arc<dyn Parked>, bus: Arc<dyn Bus>, clock: Arc<dyn Clock>) -> Self {
        Self {
            origin: origin.to_owned(),
            parked,
            bus,
            clock,
        }
    }

    /// Lets go what nobody has to decide, after a release that died half way. For the relay, now and then.
    pub(crate) async fn go_on(&self) -> Result<(), Error> {
        self.settle().await?;
        let mut outcome = ReplayedLetters::default();
        for place in self.places(&LetterFilter::default()).await? {
            self.release(&place, Far::Passing, ReplayLetters::default(), &mut outcome)
                .await?;
        }
        self.parked.sweep().await
    }

    /// Notes what the bus has, and returns its cursor.
    async fn settle(&self) -> Result<Cursor, Error> {
        let cursor = self.bus.cursor(&origin_of(&self.origin)).await?;
        if !cursor.as_str().is_empty() {
            self.parked.settle(cursor.as_str(), self.clock.now()).await?;
        }
        Ok(cursor)
    }

    /// Whose letters match, each place once.
    async fn places(&self, filter: &LetterFilter) -> Result<Vec<Place>, Error> {
        let mut seen = HashSet::new();
        let letters = self.parked.letters(filter, false).await?;
        Ok(letters
            .iter()
            .map(|letter| letter.event.place())
            .filter(|place| seen.insert(place.clone()))
            .collect())
    }

    async fn release(
        &self,
        place: &Place,
        far: Far,
        how: ReplayLetters,
        outcome: &mut ReplayedLetters,
    ) -> Result<(), Error> {
        loop {
            let cursor = self.settle().await?;
            let Some(letter) = self.parked.first(place).await? else {
                return Ok(());
            };
            let passes = matches!(letter.state, LetterState::Dropped | LetterState::Waiting);
            match far {
                Far::Passing if !passes => return Ok(()),
                Far::All { force: false } if letter.state == LetterState::Stuck => {
                    outcome.stuck_keys += 1;
                    return Ok(());
                }
                Far::Passing | Far::All { .. } => {}
            }
            match self.publish(&letter, cursor).await? {
                Released::Done if letter.state == LetterState::Dropped => outcome.passed += 1,
                Released::Done => outcome.applied += 1,
                Released::Failed(failed) => {
                    outcome.failed.push(failed);
                    return Ok(());
                }
                Released::Again => {}
            }
            tokio::time::sleep(how.pause()).await;
        }
    }

    async fn publish(&self, letter: &Letter, expected: Cursor) -> Result<Released, Error> {
        let token = Uuid::now_v7().to_string();
        if !self.parked.claim(letter.number, &token).await? {
            return Ok(Released::Again);
        }
        let mut event = letter.current();
        if letter.state == LetterState::Dropped {
            event.event_type = Cow::Borrowed(VOID);
            event.payload = Bytes::from_static(b"{}");
        }
        let publish = Publish {
            origin: origin_of(&self.origin),
            expected,
            cursor: Cursor::new(&*token),
            records: vec![Record {
                origin_pos: letter.pos,
                event,
            }],
        };
        match self.bus.publish(publish).await {
            Ok(_) => {
                faults::point("relay.after_release");
                self.parked.settle(&token, self.clock.now()).await?;
                Ok(Released::Done)
            }
            Err(Error::Fenced(_)) => Ok(Released::Again),
            Err(Error::Refused(refused)) => self.refused_again(letter, &refused).await,
            Err(error) => Err(error),
        }
    }

    async fn refused_again(&self, letter: &Letter, refused: &Refused) -> Result<Released, Error> {
        let same = error_fingerprint(refused.class, refused.code, &refused.why)
            == error_fingerprint(&letter.class, &letter.code, &letter.why);
        let same_error = if same { letter.same_error + 1 } else { 1 };
        let stuck = same_error >= SAME_ERROR_MAX;
        let changed = Letter {
            state: if stuck {
                LetterState::Stuck
            } else {
                LetterState::Parked
            },
            class: Cow::Borrowed(refused.class),
            code: refused.code.to_owned(),
            why: refused.why.clone(),
            replays: letter.replays + 1,
            same_error,
            last: self.clock.now(),
            ..letter.clone()
        };
        self.parked.update(&changed).await?;
        Ok(Released::Failed(LetterFailed {
            number: letter.number,
            code: refused.code.to_owned(),
            why: refused.why.clone(),
            stuck,
        }))
    }
}

impl Letters for ParkedLetters {
    fn holder(&self) -> &str {
        &self.origin
    }

    fn list<'a>(&'a self, filter: &'a LetterFilter) -> BoxFuture<'a, Result<Vec<Letter>, Error>> {
        self.parked.letters(filter, false)
    }

    fn get(&self, number: i64) -> BoxFuture<'_, Result<Option<Letter>, Error>> {
        Box::pin(async move { Ok(self.parked.letters(&LetterFilter::one(number), true).await?.pop()) })
    }

    fn count<'a>(&'a self, filter: &'a LetterFilter) -> BoxFuture<'a, Result<LetterCounts, Error>> {
        Box::pin(async move {
            let mut counts = LetterCounts::default();
            let mut places = HashSet::new();
            let mut page = LetterFilter {
                limit: 0,
                ..filter.clone()
            };
            // The number of letters is bounded, and so is the number of pages.
            loop {
                let letters = self.parked.letters(&page, false).await?;
                let Some(last) = letters.last() else { break };
                page.after = last.number;
                for letter in &letters {
                    counts.letters += 1;
                    places.insert(letter.event.place());
                    counts.oldest = Some(
                        counts
                            .oldest
                            .map_or(letter.first, |oldest| oldest.min(letter.first)),
                    );
                    let like =
                        |of: &&mut (LetterState, String, u64)| of.0 == letter.state && of.1 == letter.class;
                    match counts.of.iter_mut().find(like) {
                        Some(of) => of.2 += 1,
                        None => counts.of.push((letter.state, letter.class.to_string(), 1)),
                    }
                }
            }
            counts.keys = u64::try_from(places.len()).unwrap_or(u64::MAX);
            Ok(counts)
        })
    }

    fn edit(&self, number: i64, edit: Edit) -> BoxFuture<'_, Result<Letter, Error>> {
        Box::pin(async move {
            let Some(mut letter) = self.get(number).await? else {
                return Err(Error::letter(format!("there is no letter {number}")));
            };
            if letter.state == LetterState::Dropped {
                return Err(Error::letter(format!("letter {number} was given up")));
            }
            letter.edited = match edit {
                Edit::Original => None,
                Edit::Payload(payload) => Some(payload),
                Edit::Patch(operations) => {
                    let current = serde_json::from_slice(&letter.current().payload)
                        .map_err(|error| Error::letter(format!("the payload is not JSON: {error}")))?;
                    Some(Bytes::from(patch::apply(&current, &operations)?.to_string()))
                }
            };
            letter.current().check()?;
            letter.last = self.clock.now();
            self.parked.update(&letter).await?;
            Ok(letter)
        })
    }

    fn replay<'a>(
        &'a self,
        filter: &'a LetterFilter,
        how: ReplayLetters,
    ) -> BoxFuture<'a, Result<ReplayedLetters, Error>> {
        Box::pin(async move {
            let mut outcome = ReplayedLetters::default();
            for place in self.places(filter).await? {
                let far = Far::All { force: how.force };
                self.release(&place, far, how, &mut outcome).await?;
            }
            Ok(outcome)
        })
    }

    fn drop<'a>(&'a self, filter: &'a LetterFilter) -> BoxFuture<'a, Result<u64, Error>> {
        Box::pin(async move {
            let mut dropped = 0;
            for mut letter in self.parked.letters(filter, false).await? {
                letter.state = LetterState::Dropped;
                letter.last = self.clock.now();
                self.parked.update(&letter).await?;
                dropped += 1;
            }
            let mut outcome = ReplayedLetters::default();
            for place in self.places(filter).await? {
                self.release(&place, Far::Passing, ReplayLetters::default(), &mut outcome)
                    .await?;
            }
            Ok(dropped)
        })
    }
}

#[cfg(test)]
mod tests;
