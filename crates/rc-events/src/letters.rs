//! Dead letters: events that were set aside, with the reason, and what people do with them.
//!
//! A letter belongs to the one that set it aside: a consumer that could not apply it, or a relay whose bus
//! refused it. Both keep the order of the event's key: later events wait behind it as letters of their own.

pub mod patch;

use std::borrow::Cow;
use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use bytes::Bytes;
use rc_model::{TenantId, Timestamp};
use serde_json::Value;

use crate::event::{NewEvent, Seq};
use crate::{BoxFuture, Error};

/// Letters of one holder, beyond which it halts instead of setting more aside.
pub const LETTERS_MAX: u64 = 10_000;

/// Letters of one key.
pub const KEY_LETTERS_MAX: u64 = 1_000;

/// Replays of a letter that may fail with the same error; after that it is stuck.
pub const SAME_ERROR_MAX: u32 = 3;

/// Letters in one answer.
pub const LIST_MAX: usize = 1_000;

/// The class of an event whose number comes before one that is missing.
pub const CLASS_GAP: &str = "gap";

/// The class of an event that waits behind another one of its key.
pub const CLASS_BEHIND: &str = "behind";

/// The class of an event that failed again and again, and nobody knows why.
pub const CLASS_UNKNOWN: &str = "unknown";

/// The class of an event that the bus refuses.
pub const CLASS_REFUSED: &str = "refused";

/// What holds a letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LetterState {
    /// It failed; its key waits for it.
    Parked,
    /// It came behind a parked one of its key and was not tried.
    Waiting,
    /// It failed and its key went on without it.
    Skipped,
    /// A person gave it up: its number passes without an effect as soon as its turn comes.
    Dropped,
    /// It failed with the same error too often to be tried again without force.
    Stuck,
}

impl LetterState {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Parked,
        Self::Waiting,
        Self::Skipped,
        Self::Dropped,
        Self::Stuck,
    ];

    /// Its word, in columns and for people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Parked => "parked",
            Self::Waiting => "waiting",
            Self::Skipped => "skipped",
            Self::Dropped => "dropped",
            Self::Stuck => "stuck",
        }
    }

    /// The state of a word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }
}

impl fmt::Display for LetterState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An event that was set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// Its number with its holder: what people call it by. Never reused.
    pub number: i64,
    /// The consumer's name, or the relay's origin.
    pub holder: String,
    /// The event as it came.
    pub event: NewEvent,
    /// Where it was on the bus, or in the outbox.
    pub pos: Seq,
    /// The payload to apply instead, when a person has edited it.
    pub edited: Option<Bytes>,
    /// What holds it.
    pub state: LetterState,
    /// The kind of fault: `decode`, `schema`, [`CLASS_GAP`], [`CLASS_BEHIND`], [`CLASS_UNKNOWN`], ...
    pub class: Cow<'static, str>,
    /// The stable code of the last error.
    pub code: String,
    /// The last error's text.
    pub why: String,
    /// How often it was tried before it was set aside.
    pub attempts: u32,
    /// How often it was tried since.
    pub replays: u32,
    /// Of these, how many of the last ones failed with the same error.
    pub same_error: u32,
    /// When it was set aside.
    pub first: Timestamp,
    /// When it last changed.
    pub last: Timestamp,
}

impl Letter {
    /// The event to apply: with the edited payload, if there is one.
    #[must_use]
    pub fn current(&self) -> NewEvent {
        let mut event = self.event.clone();
        if let Some(edited) = &self.edited {
            event.payload = edited.clone();
        }
        event
    }
}

/// Which letters. Everything that is set must hold; the default is all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LetterFilter {
    /// One of these numbers; empty for any.
    pub numbers: Vec<i64>,
    /// Of this tenant.
    pub tenant: Option<TenantId>,
    /// Of this topic.
    pub topic: Option<String>,
    /// Of this key.
    pub key: Option<String>,
    /// Of this type.
    pub event_type: Option<String>,
    /// Of this class.
    pub class: Option<String>,
    /// In this state.
    pub state: Option<LetterState>,
    /// Set aside at this time or later.
    pub since: Option<Timestamp>,
    /// Set aside before this time.
    pub until: Option<Timestamp>,
    /// With a number above this one: the next page.
    pub after: i64,
    /// At most so many, and never more than [`LIST_MAX`]; 0 for that.
    pub limit: usize,
}

impl LetterFilter {
    /// The letter `number`, or all letters.
    #[must_use]
    pub fn one(number: i64) -> Self {
        Self {
            numbers: vec![number],
            ..Self::default()
        }
    }

    /// The rows that one answer has at most.
    #[must_use]
    pub fn rows(&self) -> usize {
        match self.limit {
            0 => LIST_MAX,
            limit => limit.min(LIST_MAX),
        }
    }
}

/// How many letters there are of each state and class.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LetterCounts {
    /// Letters that match.
    pub letters: u64,
    /// Keys that have one of them.
    pub keys: u64,
    /// By state and class, in no order.
    pub of: Vec<(LetterState, String, u64)>,
    /// When the oldest was set aside.
    pub oldest: Option<Timestamp>,
}

/// A change of a letter's payload. The original stays.
#[derive(Debug, Clone, PartialEq)]
pub enum Edit {
    /// RFC 6902, applied to what is there: the earlier edit, or the original.
    Patch(Value),
    /// A whole payload.
    Payload(Bytes),
    /// The original again.
    Original,
}

/// How letters are replayed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReplayLetters {
    /// Also letters that are stuck.
    pub force: bool,
    /// At most so many a second; none: as fast as they go.
    pub rate: Option<NonZeroU32>,
}

impl ReplayLetters {
    /// The pause between two letters.
    #[must_use]
    pub fn pause(self) -> Duration {
        self.rate
            .map_or(Duration::ZERO, |rate| Duration::from_secs(1) / rate.get())
    }
}

/// A letter that failed again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LetterFailed {
    /// Which.
    pub number: i64,
    /// The error's stable code.
    pub code: String,
    /// The error's text.
    pub why: String,
    /// Whether it needs force from now on.
    pub stuck: bool,
}

/// What replaying letters came to. The letters of a key go from its lowest number on, so that those in front
/// of a chosen one go with it; a key whose letter failed keeps the rest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReplayedLetters {
    /// Letters whose effect is there and that are gone.
    pub applied: u64,
    /// Letters that had been given up, and whose number has passed.
    pub passed: u64,
    /// Letters that failed again, one a key.
    pub failed: Vec<LetterFailed>,
    /// Keys whose first letter is stuck and was not tried.
    pub stuck_keys: u64,
}

/// Somebody's dead letters: a consumer's, or a relay's.
pub trait Letters: Send + Sync {
    /// Whose they are.
    fn holder(&self) -> &str;

    /// The letters that match, by number; their payloads are empty: [`Letters::get`] has them.
    fn list<'a>(&'a self, filter: &'a LetterFilter) -> BoxFuture<'a, Result<Vec<Letter>, Error>>;

    /// One letter with its payload.
    fn get(&self, number: i64) -> BoxFuture<'_, Result<Option<Letter>, Error>>;

    /// How many match; for a dry run and for metrics.
    fn count<'a>(&'a self, filter: &'a LetterFilter) -> BoxFuture<'a, Result<LetterCounts, Error>>;

    /// Changes what will be applied; the letter as it is then.
    ///
    /// # Errors
    /// [`Error::Letter`] for a letter that is not there or was given up, and for an edit that does not fit.
    fn edit(&self, number: i64, edit: Edit) -> BoxFuture<'_, Result<Letter, Error>>;

    /// Tries the letters that match again, each key from its first letter on.
    ///
    /// # Errors
    /// [`Error::Halted`] when the holder does not run here. That letters fail is not an error.
    fn replay<'a>(
        &'a self,
        filter: &'a LetterFilter,
        how: ReplayLetters,
    ) -> BoxFuture<'a, Result<ReplayedLetters, Error>>;

    /// Gives the letters that match up: their numbers pass without an effect, and what waits behind them goes
    /// on. How many there were.
    ///
    /// # Errors
    /// As [`Letters::replay`].
    fn drop<'a>(&'a self, filter: &'a LetterFilter) -> BoxFuture<'a, Result<u64, Error>>;
}

/// What tells two errors apart: class, code and text without its numbers, so that a position or a time in the
/// text does not make an equal error another one.
#[must_use]
pub fn error_fingerprint(class: &str, code: &str, why: &str) -> i64 {
    let mut hash = blake3::Hasher::new();
    for part in [class, code] {
        hash.update(part.as_bytes());
        hash.update(&[0]);
    }
    let letters: String = why.chars().filter(|letter| !letter.is_ascii_digit()).collect();
    hash.update(letters.as_bytes());
    let (first, _) = hash
        .finalize()
        .as_bytes()
        .split_first_chunk()
        .map(|(first, rest)| (*first, rest.len()))
        .expect("a hash has 32 bytes");
    i64::from_le_bytes(first)
}

#[cfg(test)]
mod tests;
