//! What can go wrong with logical replication beyond a lost connection.

use std::time::Duration;

use super::Lsn;

/// A failure of logical replication.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// PostgreSQL refuses a step.
    #[error("{tried}: {message} (SQLSTATE {state})")]
    Refused {
        /// What was tried.
        tried: &'static str,
        /// The five letters that programs branch on.
        state: String,
        /// The server's text.
        message: String,
    },
    /// What came is not what the protocol says.
    #[error("{why}")]
    Stream {
        /// What came.
        why: Box<str>,
    },
    /// Changes between what the bus has and what the slot has are gone.
    #[error("the capture `{capture}` cannot go on without a gap: {why}")]
    CaptureLost {
        /// Its name.
        capture: String,
        /// What happened to its slot.
        why: String,
    },
    /// The server took over without what the bus has already.
    #[error("the bus has events up to {published}, and this server branched off at {branched}")]
    Diverged {
        /// The last commit that was published.
        published: Lsn,
        /// Where the server's history left the one that was published.
        branched: Lsn,
    },
    /// A table cannot be captured as asked.
    #[error("table `{table}`: {why}")]
    NotCapturable {
        /// Which table.
        table: String,
        /// Why, and what to do.
        why: String,
    },
}

impl Failure {
    /// The stable error code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Refused { .. } => "RC-EVT-030",
            Self::Stream { .. } => "RC-EVT-031",
            Self::CaptureLost { .. } => "RC-EVT-032",
            Self::Diverged { .. } => "RC-EVT-033",
            Self::NotCapturable { .. } => "RC-EVT-034",
        }
    }

    /// How long to wait before a retry can succeed; `None` when only a person can help.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            // No connection, no room, shutting down, in use: these pass.
            Self::Refused { state, .. } => ["08", "53", "55006", "57"]
                .iter()
                .any(|class| state.starts_with(class))
                .then_some(rc_store::error::UNAVAILABLE_RETRY),
            Self::Stream { .. } => Some(rc_store::error::UNAVAILABLE_RETRY),
            Self::CaptureLost { .. } | Self::Diverged { .. } | Self::NotCapturable { .. } => None,
        }
    }

    /// Whether the server refused with one of these states.
    pub(crate) fn is_state(&self, states: &[&str]) -> bool {
        matches!(self, Self::Refused { state, .. } if states.contains(&state.as_str()))
    }
}
