//! What can go wrong with events; each kind is something a caller handles in its own way.

use std::fmt;
use std::time::Duration;

use uuid::Uuid;

use crate::bus::Cursor;
use crate::event::{NewEvent, Place, Seq};
use crate::replication::Failure;

/// An events error. Cheap to clone.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// Numbers are missing before these events, one a key; see [`Gap`].
    #[error("{}", first_of(.0))]
    Gap(Box<[Gap]>),
    /// Two different events have the same place in a key.
    #[error("event {} of {} has another id than the one that was applied", .0.found, .0.place)]
    Mismatch(Box<Gap>),
    /// The event cannot be written.
    #[error("{0}")]
    Invalid(Box<str>),
    /// The events after this position are no longer on the bus.
    #[error("the consumer is at {after}; the bus starts at {first}")]
    Pruned {
        /// Where the consumer is.
        after: Seq,
        /// The oldest event that is kept.
        first: Seq,
    },
    /// The bus is not where the relay thought: somebody else has published.
    #[error("the bus is at `{}` for `{}`, not at `{}`", .0.actual, .0.origin, .0.expected)]
    Fenced(Box<Fenced>),
    /// The outbox was restored into a cluster whose transaction numbers are lower.
    #[error("the outbox has transaction {stored}, and the cluster is at {current}")]
    Restored {
        /// The highest transaction number in the outbox or the cursor.
        stored: u64,
        /// The next transaction number of the cluster.
        current: u64,
    },
    /// The consumer's stored position is not where this process left it.
    #[error("the consumer `{}` is at {}, not at {}", .0.consumer, .0.stored, .0.expected)]
    Moved(Box<Moved>),
    /// The bus will never take this event: it is too large, or its name is not one there.
    #[error("the bus refuses {}: {}", .0.place, .0.why)]
    Refused(Box<Refused>),
    /// A consumer can never apply these events; it may have stopped looking at the first.
    #[error("{}", first_of(.0))]
    Poison(Box<[Poison]>),
    /// A bus that is not a store of ours cannot be reached, or did not answer in time.
    #[error("{tried}: {why}")]
    Unreachable {
        /// What was tried.
        tried: &'static str,
        /// What the client said.
        why: Box<str>,
    },
    /// There is no room for another dead letter.
    #[error("{0}")]
    Full(Box<str>),
    /// Too many events fail for it to be their fault: the consumer halts instead of setting more aside.
    #[error("{0}")]
    Breaker(Box<str>),
    /// A dead letter is not there, or cannot be treated like this.
    #[error("{0}")]
    Letter(Box<str>),
    /// A replay of history is not there, or cannot start or go on.
    #[error("{0}")]
    Job(Box<str>),
    /// Who has to do this does not run in this process, or did not answer.
    #[error("{0}")]
    Halted(Box<str>),
    /// Logical replication failed.
    #[error("{0}")]
    Replication(Box<Failure>),
    /// The server that carries the bus says no, or is not one that may carry it; the code says which.
    #[error("{}", .0.what)]
    Server(Box<ServerFault>),
    /// Stored data contradicts itself.
    #[error("{0}")]
    Damaged(Box<str>),
    /// The store failed.
    #[error("{tried}: {source}")]
    Store {
        /// What was tried.
        tried: &'static str,
        /// The store's own error.
        source: rc_store::Error,
    },
}

/// A consumer expected one number of a key and met another.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("event {found} of {place} came after {last}")]
pub struct Gap {
    /// Whose order is broken.
    pub place: Place,
    /// The event that came.
    pub id: Uuid,
    /// The last number that was applied; 0 for none.
    pub last: u64,
    /// The number that came.
    pub found: u64,
}

/// One event of a publish that the bus will never take. The others could go without it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Its place in the publish: 0 for the first.
    pub index: usize,
    /// `tenant/topic/key number`
    pub place: String,
    /// A word for the kind of fault, as in [`Poison::class`].
    pub class: &'static str,
    /// The stable code of the fault.
    pub code: &'static str,
    /// Why.
    pub why: String,
}

/// The code of a bus that was there and is gone: nothing but a person makes it anew.
pub const BUS_GONE: &str = "RC-EVT-041";

/// Why a server of others does not carry the bus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerFault {
    /// The kind, which is a code of its own: too old, not durable, full, the stream is gone.
    pub code: &'static str,
    /// What is wrong, and with which server.
    pub what: String,
    /// How long to wait before a retry can succeed; `None` when a person has to do something first.
    pub retry_after: Option<Duration>,
}

/// One event of a batch that a consumer can never apply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("event {id} (`{event_type}`) of {place} cannot be applied: {why}")]
pub struct Poison {
    /// Which event.
    pub id: Uuid,
    /// Its type.
    pub event_type: String,
    /// Whose order it is part of.
    pub place: Place,
    /// A word for the kind of fault, for counting and choosing: `decode`, `schema`.
    pub class: &'static str,
    /// The stable code of a finer error, where there is one; else [`Error::code`].
    pub code: &'static str,
    /// What is wrong with it.
    pub why: String,
}

impl Poison {
    /// The fault `why` of class `class` in `event`.
    #[must_use]
    pub fn of(event: &NewEvent, class: &'static str, why: impl Into<String>) -> Self {
        Self {
            id: event.id,
            event_type: event.event_type.clone().into_owned(),
            place: event.place(),
            class,
            code: "RC-EVT-011",
            why: why.into(),
        }
    }
}

/// The first of several, and how many more there are.
fn first_of<T: fmt::Display>(all: &[T]) -> String {
    match all {
        [] => "no event".to_owned(),
        [one] => one.to_string(),
        [first, rest @ ..] => format!("{first}; and {} more", rest.len()),
    }
}

/// Where the bus is and where the relay thought it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fenced {
    /// Whose outbox.
    pub origin: String,
    /// What the relay thought.
    pub expected: Cursor,
    /// What the bus says.
    pub actual: Cursor,
}

/// Where a consumer is and where its process thought it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// Its name.
    pub consumer: String,
    /// The position this process read before.
    pub expected: Seq,
    /// The position in the store.
    pub stored: Seq,
}

impl Error {
    /// The stable error code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Gap(_) => "RC-EVT-001",
            Self::Mismatch(_) => "RC-EVT-002",
            Self::Invalid(_) => "RC-EVT-003",
            Self::Pruned { .. } => "RC-EVT-004",
            Self::Fenced(_) => "RC-EVT-005",
            Self::Restored { .. } => "RC-EVT-006",
            Self::Moved(_) => "RC-EVT-007",
            Self::Damaged(_) => "RC-EVT-008",
            Self::Store { .. } => "RC-EVT-009",
            Self::Refused(refused) => refused.code,
            Self::Poison(_) => "RC-EVT-011",
            Self::Unreachable { .. } => "RC-EVT-012",
            Self::Server(fault) => fault.code,
            Self::Full(_) => "RC-EVT-013",
            Self::Breaker(_) => "RC-EVT-014",
            Self::Letter(_) => "RC-EVT-015",
            Self::Job(_) => "RC-EVT-016",
            Self::Halted(_) => "RC-EVT-017",
            Self::Replication(failure) => failure.code(),
        }
    }

    /// How long to wait before a retry can succeed; `None` when only a person can help.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Store { source, .. } => source.retry_after(),
            Self::Fenced(_) | Self::Moved(_) => Some(Duration::ZERO),
            Self::Unreachable { .. } => Some(rc_store::error::UNAVAILABLE_RETRY),
            Self::Replication(failure) => failure.retry_after(),
            Self::Server(fault) => fault.retry_after,
            Self::Gap(_)
            | Self::Mismatch(_)
            | Self::Invalid(_)
            | Self::Pruned { .. }
            | Self::Restored { .. }
            | Self::Refused(_)
            | Self::Poison(_)
            | Self::Full(_)
            | Self::Breaker(_)
            | Self::Letter(_)
            | Self::Job(_)
            | Self::Halted(_)
            | Self::Damaged(_) => None,
        }
    }

    pub(crate) fn invalid(what: impl Into<String>) -> Self {
        Self::Invalid(what.into().into())
    }

    pub(crate) fn stream(why: impl Into<Box<str>>) -> Self {
        Self::from(Failure::Stream { why: why.into() })
    }

    pub(crate) fn damaged(what: impl Into<String>) -> Self {
        Self::Damaged(what.into().into())
    }

    pub(crate) fn letter(what: impl Into<String>) -> Self {
        Self::Letter(what.into().into())
    }

    pub(crate) fn job(what: impl Into<String>) -> Self {
        Self::Job(what.into().into())
    }

    /// Wraps a store's error; gives an events error back that travelled through a job.
    pub(crate) fn from_store(tried: &'static str) -> impl FnOnce(rc_store::Error) -> Self {
        move |source| match source.downcast_ref::<Self>() {
            Some(own) => own.clone(),
            None => Self::Store { tried, source },
        }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        Self::Replication(Box::new(failure))
    }
}

impl From<rc_store::Error> for Error {
    fn from(source: rc_store::Error) -> Self {
        Self::from_store("the store failed")(source)
    }
}

impl From<Error> for rc_store::Error {
    /// Inside a store's job: an events error rolls the job back and comes out whole at the other side.
    fn from(error: Error) -> Self {
        match error {
            Error::Store { source, .. } => source,
            own => Self::abort(own),
        }
    }
}

#[cfg(test)]
mod tests;
