//! What a consumer keeps in its own store beside its effects: positions, letters, replays of history. The
//! effects' own transactions go through [`super::sqlite::admit`] and [`super::postgres::admit`]; this is the
//! rest, which needs no effect.

use bytes::Bytes;
use rc_model::Timestamp;

use super::batch::Condemned;
use crate::bus::BusId;
use crate::event::{Place, Seq};
use crate::letters::{Letter, LetterCounts, LetterFailed, LetterFilter};
use crate::replay::{Job, JobState, NewJob};
use crate::{BoxFuture, Error};

/// Keys whose letters go by themselves, found by one look.
pub(crate) const READY_MAX: i64 = 1_000;

/// Replays of history in one answer.
pub(crate) const JOBS_MAX: i64 = 100;

/// Where a consumer begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entered {
    /// The position of each lane.
    pub positions: Vec<Seq>,
    /// The bus that it read before, if that was another one: it begins at the start of this one.
    pub former: Option<BusId>,
}

/// The first letter of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// It.
    pub letter: Letter,
    /// The key's last number.
    pub last: u64,
}

/// A consumer's store as the engine uses it: [`super::SqliteBooks`], [`super::PostgresBooks`].
pub trait Books: Send + Sync {
    /// The consumer's name.
    fn consumer(&self) -> &str;

    /// Makes the positions fit this bus and this number of lanes, and returns them. After a change of the
    /// number all lanes begin at the lowest place; at the very first, and on another bus, they begin at `start`.
    fn enter<'a>(&'a self, bus: &'a BusId, lanes: u16, start: Seq) -> BoxFuture<'a, Result<Entered, Error>>;

    /// The lowest position, and the bus it belongs to; `None` before the first start.
    fn position(&self) -> BoxFuture<'_, Result<Option<(BusId, Seq)>, Error>>;

    /// As [`crate::Letters::list`].
    fn list<'a>(&'a self, filter: &'a LetterFilter) -> BoxFuture<'a, Result<Vec<Letter>, Error>>;

    /// As [`crate::Letters::get`].
    fn get(&self, number: i64) -> BoxFuture<'_, Result<Option<Letter>, Error>>;

    /// As [`crate::Letters::count`].
    fn count<'a>(&'a self, filter: &'a LetterFilter) -> BoxFuture<'a, Result<LetterCounts, Error>>;

    /// The first open letter of a key.
    fn head<'a>(&'a self, place: &'a Place) -> BoxFuture<'a, Result<Option<Head>, Error>>;

    /// Keys whose first letter goes without a person, at most [`READY_MAX`].
    fn ready(&self) -> BoxFuture<'_, Result<Vec<Place>, Error>>;

    /// Sets the payload to apply, or the original again; `false` when the letter is not as it was at `last`.
    fn set_edited(
        &self,
        number: i64,
        last: Timestamp,
        edited: Option<Bytes>,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<bool, Error>>;

    /// Notes that a replayed letter failed. The same error too often makes it stuck.
    fn failed<'a>(
        &'a self,
        number: i64,
        why: &'a Condemned,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<LetterFailed, Error>>;

    /// Gives letters up: open ones pass when their turn comes, skipped ones are gone. How many.
    fn give_up<'a>(&'a self, filter: &'a LetterFilter, now: Timestamp) -> BoxFuture<'a, Result<u64, Error>>;

    /// Starts a replay of history.
    ///
    /// # Errors
    /// [`Error::Job`] when another one runs.
    fn start<'a>(&'a self, job: &'a NewJob, now: Timestamp) -> BoxFuture<'a, Result<Job, Error>>;

    /// The newest replays, at most [`JOBS_MAX`].
    fn jobs(&self) -> BoxFuture<'_, Result<Vec<Job>, Error>>;

    /// Ends a running replay; `false` when it does not run.
    fn end<'a>(
        &'a self,
        number: i64,
        state: JobState,
        why: &'a str,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<bool, Error>>;
}
