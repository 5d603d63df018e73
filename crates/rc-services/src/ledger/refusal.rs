//! Why a delivery was not taken, and what the sender is told.

use std::time::Duration;

use rc_model::Problem;

/// When a sender may try again that met a full disk or a busy ledger.
const RETRY: Duration = Duration::from_secs(1);

/// Why a delivery was not taken. Nothing of it was appended, or what was will be recognized.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is not what a delivery must be.
    #[error("{0}")]
    Malformed(String),
    /// Entries before it are missing.
    #[error("entry {expected} of `{outbox}` comes next, and {first} came")]
    Gap {
        outbox: String,
        expected: u64,
        first: u64,
    },
    /// The log has another entry in this place.
    #[error("the log has another entry {seq} of `{outbox}`")]
    Conflict { outbox: String, seq: u64 },
    /// The queue is full.
    #[error("too many deliveries wait")]
    Busy,
    /// The disk, the log or its database failed.
    #[error("{text}")]
    Failed { code: &'static str, text: String },
}

impl Refusal {
    /// It is not what a delivery must be.
    pub(super) fn malformed(what: impl Into<String>) -> Self {
        Self::Malformed(what.into())
    }

    /// The stable error code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "RC-LED-023",
            Self::Gap { .. } => "RC-LED-024",
            Self::Conflict { .. } => "RC-LED-025",
            Self::Busy => "RC-LED-021",
            Self::Failed { code, .. } => code,
        }
    }

    /// The word in metrics.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::Gap { .. } => "gap",
            Self::Conflict { .. } => "conflict",
            Self::Busy => "busy",
            Self::Failed { .. } => "failed",
        }
    }

    /// What the sender is told.
    #[must_use]
    pub fn problem(&self) -> Problem {
        let (status, title) = match self {
            Self::Malformed(_) => (400, "malformed delivery of audit entries"),
            Self::Gap { .. } => (409, "audit entries are missing before these"),
            Self::Conflict { .. } => (409, "the ledger has another entry in this place"),
            Self::Busy | Self::Failed { .. } => (503, "the ledger cannot append"),
        };
        let problem = Problem::new(status, self.code(), title).detail(self.to_string());
        if status == 503 {
            problem.retry_after(RETRY)
        } else {
            problem
        }
    }
}

impl From<rc_ledger::Error> for Refusal {
    fn from(error: rc_ledger::Error) -> Self {
        Self::Failed {
            code: error.code(),
            text: error.to_string(),
        }
    }
}

impl From<rc_store::Error> for Refusal {
    fn from(error: rc_store::Error) -> Self {
        Self::Failed {
            code: error.code(),
            text: format!("the ledger's database: {error:?}"),
        }
    }
}
