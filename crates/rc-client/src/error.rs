//! What can go wrong with a call, and whether trying again helps.

use std::fmt;
use std::time::Duration;

use rc_model::Problem;

/// What kind of failure it is; callers branch on this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The address, the key or the certificates given to the client cannot be used.
    Config,
    /// No connection: nothing was sent.
    Unreachable,
    /// The connection broke after the request was sent; it may have had its effect.
    Interrupted,
    /// The call's deadline passed.
    Timeout,
    /// The platform answered with an error status; see [`Error::problem`].
    Refused,
    /// The answer is not what the API promises.
    Malformed,
    /// The answer is larger than the client accepts.
    TooLarge,
}

/// Whether the same call can succeed later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// The same bytes will fail again.
    No,
    /// It can, not before this wait.
    After(Duration),
    /// It can, when doing it twice does no harm.
    IfIdempotent,
}

/// Why a call failed, after the client's own retries.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    message: String,
    status: Option<u16>,
    problem: Option<Problem>,
    retry: Retry,
    attempts: u32,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>, retry: Retry) -> Self {
        Self(Box::new(Inner {
            kind,
            message: message.into(),
            status: None,
            problem: None,
            retry,
            attempts: 0,
            source: None,
        }))
    }

    pub(crate) fn config(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Config, message, Retry::No)
    }

    pub(crate) fn malformed(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Malformed, message, Retry::No)
    }

    pub(crate) fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    pub(crate) fn status_of(mut self, status: u16, problem: Option<Problem>) -> Self {
        self.0.status = Some(status);
        self.0.problem = problem;
        self
    }

    pub(crate) fn attempts_made(mut self, attempts: u32) -> Self {
        self.0.attempts = attempts;
        self
    }

    pub(crate) fn note(mut self, note: &str) -> Self {
        self.0.message.push_str(note);
        self
    }

    /// What kind of failure it is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The HTTP status, where there was an answer.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        self.0.status
    }

    /// The problem details that the platform gave.
    #[must_use]
    pub fn problem(&self) -> Option<&Problem> {
        self.0.problem.as_ref()
    }

    /// The stable error code that the platform gave, such as `RC-GW-003`.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        self.0.problem.as_ref().map(|problem| problem.code.as_str())
    }

    /// Whether the same call can succeed later.
    #[must_use]
    pub fn retry(&self) -> Retry {
        self.0.retry
    }

    /// How often the client tried.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.0.attempts
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        if self.0.attempts > 1 {
            write!(f, " (after {} attempts)", self.0.attempts)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("message", &self.0.message)
            .field("status", &self.0.status)
            .field("code", &self.code())
            .field("retry", &self.0.retry)
            .field("attempts", &self.0.attempts)
            .field("source", &self.0.source)
            .finish()
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
