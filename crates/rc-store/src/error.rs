//! What can go wrong in a store, by what the caller can do about it.
//!
//! The kind is a closed enum because callers branch on it; everything else is text and a source chain.

mod postgres;
mod sqlite;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub(crate) use sqlite::code as sqlite_code;

/// How long to wait before asking a store again that cannot be reached or is failing over.
pub const UNAVAILABLE_RETRY: Duration = Duration::from_secs(1);

/// What the caller can do about an [`Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// A bounded queue is full; the work was not started. Retry after the wait.
    Busy { retry_after: Duration },
    /// The store cannot be reached, is starting, stopping, or gave up. Whether the work happened is
    /// unknown when the connection broke during a commit.
    Unavailable { retry_after: Duration },
    /// A concurrent transaction won. Run the whole transaction again.
    Conflict,
    /// A constraint of the schema refused the data. Retrying the same data cannot help.
    Constraint,
    /// The statement ran longer than its limit and was stopped.
    Timeout,
    /// The file or page is damaged.
    Corrupt,
    /// The store accepts no writes.
    ReadOnly,
    /// The disk, or the space granted, is full.
    DiskFull,
    /// Another process holds the writer's place.
    WriterTaken,
    /// The file is not one of ours, or of a newer format.
    Foreign,
    /// Stored migrations and the binary's do not fit together.
    Migration,
    /// The URL or an option of it.
    Url,
    /// The caller's own job gave up; see [`Error::downcast_ref`].
    Aborted,
    /// A mistake in our code: wrong SQL, a panic in a job.
    Bug,
}

impl ErrorKind {
    /// The stable error code.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Busy { .. } => "RC-STO-001",
            Self::Unavailable { .. } => "RC-STO-002",
            Self::Conflict => "RC-STO-003",
            Self::Constraint => "RC-STO-004",
            Self::Timeout => "RC-STO-005",
            Self::Corrupt => "RC-STO-006",
            Self::ReadOnly => "RC-STO-007",
            Self::DiskFull => "RC-STO-008",
            Self::WriterTaken => "RC-STO-009",
            Self::Foreign => "RC-STO-010",
            Self::Migration => "RC-STO-011",
            Self::Url => "RC-STO-012",
            Self::Aborted => "RC-STO-013",
            Self::Bug => "RC-STO-014",
        }
    }
}

/// A store's error: one pointer wide, cheap to clone (all jobs of a failed group get the same).
#[derive(Clone)]
pub struct Error(Arc<Inner>);

struct Inner {
    kind: ErrorKind,
    /// What was tried and what happened; never holds bound values or passwords.
    what: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error without a cause of its own.
    #[must_use]
    pub fn new(kind: ErrorKind, what: impl Into<String>) -> Self {
        Self(Arc::new(Inner {
            kind,
            what: what.into(),
            source: None,
        }))
    }

    /// An error with its cause.
    #[must_use]
    pub fn caused(
        kind: ErrorKind,
        what: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self(Arc::new(Inner {
            kind,
            what: what.into(),
            source: Some(source.into()),
        }))
    }

    /// The way for a job to roll itself back with an error of its own kind, which the caller of the
    /// write gets back by [`Error::downcast_ref`].
    #[must_use]
    pub fn abort(source: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::caused(ErrorKind::Aborted, "the job gave up", source)
    }

    /// What the caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The stable error code, `RC-STO-...`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.0.kind.code()
    }

    /// How long to wait before a retry can succeed; `None` when waiting does not help.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self.0.kind {
            ErrorKind::Busy { retry_after } | ErrorKind::Unavailable { retry_after } => Some(retry_after),
            ErrorKind::Conflict => Some(Duration::ZERO),
            ErrorKind::Constraint
            | ErrorKind::Timeout
            | ErrorKind::Corrupt
            | ErrorKind::ReadOnly
            | ErrorKind::DiskFull
            | ErrorKind::WriterTaken
            | ErrorKind::Foreign
            | ErrorKind::Migration
            | ErrorKind::Url
            | ErrorKind::Aborted
            | ErrorKind::Bug => None,
        }
    }

    /// The job's own error, where it gave up by [`Error::abort`].
    #[must_use]
    pub fn downcast_ref<E: std::error::Error + 'static>(&self) -> Option<&E> {
        self.0.source.as_deref().and_then(|source| source.downcast_ref())
    }

    /// The same error with what was tried in front of its text.
    #[must_use]
    pub fn context(self, tried: impl fmt::Display) -> Self {
        let kind = self.kind();
        Self(Arc::new(Inner {
            kind,
            what: tried.to_string(),
            source: Some(Box::new(self)),
        }))
    }

    pub(crate) fn bug(what: impl Into<String>) -> Self {
        Self::new(ErrorKind::Bug, what)
    }

    pub(crate) fn closed() -> Self {
        Self::new(
            ErrorKind::Unavailable {
                retry_after: UNAVAILABLE_RETRY,
            },
            "the store is closed",
        )
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.what)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}: {}", self.code(), self.kind(), self.0.what)?;
        let mut cause = std::error::Error::source(self);
        while let Some(source) = cause {
            write!(f, ": {source}")?;
            cause = source.source();
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0
            .source
            .as_deref()
            .map(|source| source as &(dyn std::error::Error + 'static))
    }
}

#[cfg(test)]
mod tests;
