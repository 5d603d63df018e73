//! The side of a consumer that people and other tasks talk to.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rc_model::Clock;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot, watch};

use super::ConsumerStatus;
use super::books::Books;
use super::rules;
use crate::bus::Bus;
use crate::event::PAYLOAD_BYTES_MAX;
use crate::letters::{
    Edit, Letter, LetterCounts, LetterFilter, LetterState, Letters, ReplayLetters, ReplayedLetters, patch,
};
use crate::replay::{self, Job, JobState, NewJob, Plan, Replay};
use crate::{BoxFuture, Error};

/// Requests that wait for the consumer.
pub const COMMANDS_MAX: usize = 16;

/// How long a replay of letters may take, from the request to the answer; it goes on without being waited for.
pub const REPLAY_TIME_MAX: Duration = Duration::from_secs(600);

/// What only the running consumer can do.
pub(super) enum Command {
    Replay {
        filter: Box<LetterFilter>,
        how: ReplayLetters,
        answer: oneshot::Sender<Result<ReplayedLetters, Error>>,
    },
    /// Letters were given up, or a replay of history was started or ended: look.
    Look,
    /// Failing events really are bad: set them aside.
    Resume,
}

/// A consumer's handle: cheap to clone. Looking, editing and giving up work on the consumer's store whether
/// it runs or not; replaying needs the running consumer.
#[derive(Clone)]
pub struct ConsumerHandle {
    pub(super) bus: Arc<dyn Bus>,
    pub(super) books: Arc<dyn Books>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) status: watch::Receiver<ConsumerStatus>,
}

impl std::fmt::Debug for ConsumerHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConsumerHandle")
            .field("name", &self.books.consumer())
            .finish_non_exhaustive()
    }
}

impl ConsumerHandle {
    /// The handle of a consumer that does not run in this process.
    #[must_use]
    pub fn offline(bus: Arc<dyn Bus>, books: Arc<dyn Books>, clock: Arc<dyn Clock>) -> Self {
        Self {
            bus,
            books,
            clock,
            commands: mpsc::channel(1).0,
            status: watch::channel(ConsumerStatus::default()).1,
        }
    }

    /// The consumer's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.books.consumer()
    }

    /// Where it is.
    #[must_use]
    pub fn status(&self) -> ConsumerStatus {
        self.status.borrow().clone()
    }

    /// Lets a consumer that halted because too much failed set events aside again.
    ///
    /// # Errors
    /// [`Error::Halted`] when it does not run here.
    pub async fn resume(&self) -> Result<(), Error> {
        self.send(Command::Resume).await
    }

    /// What a replay of history would do.
    ///
    /// # Errors
    /// As [`replay::plan`].
    pub async fn plan(&self, replay: &Replay) -> Result<Plan, Error> {
        replay::plan(&*self.bus, &*self.books, replay).await
    }

    /// Starts a replay of history. It goes on when the consumer runs, and after it started anew.
    ///
    /// # Errors
    /// [`Error::Job`] when another one runs, or what would be done is no longer the plan that was shown.
    pub async fn start(&self, replay: Replay) -> Result<Job, Error> {
        let plan = self.plan(&replay).await?;
        let job = self
            .books
            .start(&NewJob { replay, plan }, self.clock.now())
            .await?;
        self.look();
        Ok(job)
    }

    /// The newest replays of history.
    ///
    /// # Errors
    /// What the store says.
    pub async fn jobs(&self) -> Result<Vec<Job>, Error> {
        self.books.jobs().await
    }

    /// Ends a replay of history where it is.
    ///
    /// # Errors
    /// [`Error::Job`] when it does not run.
    pub async fn cancel(&self, number: i64, reason: &str) -> Result<(), Error> {
        let now = self.clock.now();
        if !self.books.end(number, JobState::Cancelled, reason, now).await? {
            return Err(Error::job(format!(
                "consumer `{}` has no replay {number} that runs",
                self.name()
            )));
        }
        self.look();
        Ok(())
    }

    /// A consumer that does not run, or has much to do, looks by itself later.
    fn look(&self) {
        let _full_or_gone = self.commands.try_send(Command::Look);
    }

    async fn send(&self, command: Command) -> Result<(), Error> {
        let sent = tokio::time::timeout(REPLAY_TIME_MAX, self.commands.send(command)).await;
        match sent {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(self.halted("does not run here")),
        }
    }

    fn halted(&self, why: &str) -> Error {
        Error::Halted(format!("consumer `{}` {why}", self.name()).into())
    }
}

/// `letter`'s payload after `edit`; `None`: the original.
fn edited(letter: &Letter, edit: Edit) -> Result<Option<Bytes>, Error> {
    let payload = match edit {
        Edit::Original => return Ok(None),
        Edit::Payload(payload) => {
            serde_json::from_slice::<Value>(&payload)
                .map_err(|error| Error::letter(format!("the payload is not JSON: {error}")))?;
            payload
        }
        Edit::Patch(operations) => {
            let current: Value = serde_json::from_slice(&letter.current().payload)
                .map_err(|error| Error::letter(format!("only JSON can be patched: {error}")))?;
            patch::apply(&current, &operations)?.to_string().into()
        }
    };
    if payload.len() > PAYLOAD_BYTES_MAX {
        return Err(Error::letter(format!(
            "the payload has {} bytes; {PAYLOAD_BYTES_MAX} are allowed",
            payload.len()
        )));
    }
    Ok(Some(payload))
}

impl Letters for ConsumerHandle {
    fn holder(&self) -> &str {
        self.books.consumer()
    }

    fn list<'a>(&'a self, filter: &'a LetterFilter) -> BoxFuture<'a, Result<Vec<Letter>, Error>> {
        self.books.list(filter)
    }

    fn get(&self, number: i64) -> BoxFuture<'_, Result<Option<Letter>, Error>> {
        self.books.get(number)
    }

    fn count<'a>(&'a self, filter: &'a LetterFilter) -> BoxFuture<'a, Result<LetterCounts, Error>> {
        self.books.count(filter)
    }

    fn edit(&self, number: i64, edit: Edit) -> BoxFuture<'_, Result<Letter, Error>> {
        Box::pin(async move {
            let gone = || Error::letter(format!("`{}` has no dead letter {number}", self.name()));
            let letter = self.books.get(number).await?.ok_or_else(gone)?;
            if letter.state == LetterState::Dropped {
                return Err(Error::letter(format!("dead letter {number} was given up")));
            }
            let edited = edited(&letter, edit)?;
            let now = self.clock.now();
            if !self.books.set_edited(number, letter.last, edited, now).await? {
                return Err(rules::letter_changed(number));
            }
            self.books.get(number).await?.ok_or_else(gone)
        })
    }

    fn replay<'a>(
        &'a self,
        filter: &'a LetterFilter,
        how: ReplayLetters,
    ) -> BoxFuture<'a, Result<ReplayedLetters, Error>> {
        Box::pin(async move {
            let (answer, answered) = oneshot::channel();
            let filter = Box::new(filter.clone());
            self.send(Command::Replay { filter, how, answer }).await?;
            match tokio::time::timeout(REPLAY_TIME_MAX, answered).await {
                Ok(Ok(outcome)) => outcome,
                Ok(Err(_)) => Err(self.halted("stopped before it was done")),
                Err(_) => Err(self.halted("is still replaying; look again later")),
            }
        })
    }

    fn drop<'a>(&'a self, filter: &'a LetterFilter) -> BoxFuture<'a, Result<u64, Error>> {
        Box::pin(async move {
            let dropped = self.books.give_up(filter, self.clock.now()).await?;
            self.look();
            Ok(dropped)
        })
    }
}
