//! Where a rollout can be, and which failures lead where.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::PROGRESS_MAX;

/// Where a rollout is. On the way out: gates, start, weights, checks, the guard. On the way back: the release before
/// runs, has the traffic, is the one that serves, and the other one ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case", tag = "phase")]
pub enum Phase {
    Gating {
        tried: Duration,
    },
    Starting {
        tried: Duration,
    },
    Shifting {
        stage: usize,
        tried: Duration,
    },
    Watching {
        stage: usize,
        /// For how long it was watched and could be judged.
        watched: Duration,
        /// For how long both have failed.
        held: Duration,
        /// For how long nothing has been heard.
        blind: Duration,
        /// Somebody does not want to wait for the end of the pause.
        promoted: bool,
    },
    Verifying {
        tried: Duration,
    },
    Adopting {
        tried: Duration,
    },
    Guarding {
        watched: Duration,
    },
    /// The release before is ended.
    Retiring,
    Restarting {
        why: Why,
        /// Whether the coming release may be noted as the one that serves.
        adopted: bool,
    },
    Returning {
        why: Why,
        adopted: bool,
    },
    Restoring {
        why: Why,
    },
    Removing {
        why: Why,
    },
    Ended {
        end: End,
    },
}

/// Why a release goes back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case", tag = "because")]
pub enum Why {
    /// The judge found it worse.
    Judged { what: String },
    /// It ended or was not ready.
    Broken { what: String },
    /// It could not be started.
    NeverReady { what: String },
    /// An effect did not come about in [`PROGRESS_MAX`].
    Stalled { what: String },
    /// The service's checks failed.
    Checks { what: String },
    /// Both versions failed for [`super::HOLD_MAX`].
    HeldTooLong,
    /// Nothing was heard of it for [`super::BLIND_MAX`].
    Blind,
    /// Too few requests to judge it, and its checks failed.
    Unproved,
    /// Somebody wanted it.
    Ordered { by: String, reason: String },
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case", tag = "as")]
pub enum End {
    /// The release has all of the traffic, and the one before is gone.
    Done,
    /// It never came: nothing has changed.
    Refused { what: String },
    /// The release before has all of the traffic.
    RolledBack { why: Why },
}

impl Phase {
    pub(super) fn watching(stage: usize) -> Self {
        Self::Watching {
            stage,
            watched: Duration::ZERO,
            held: Duration::ZERO,
            blind: Duration::ZERO,
            promoted: false,
        }
    }

    /// Whether it is on the way back.
    #[must_use]
    pub fn is_back(&self) -> bool {
        match self {
            Self::Restarting { .. }
            | Self::Returning { .. }
            | Self::Restoring { .. }
            | Self::Removing { .. } => true,
            Self::Gating { .. }
            | Self::Starting { .. }
            | Self::Shifting { .. }
            | Self::Watching { .. }
            | Self::Verifying { .. }
            | Self::Adopting { .. }
            | Self::Guarding { .. }
            | Self::Retiring
            | Self::Ended { .. } => false,
        }
    }

    /// After a try that took `spent` and failed. Forwards patience ends; on the way back there is nowhere else to go.
    pub(super) fn tried(mut self, spent: Duration, failed: String) -> Self {
        let (Self::Gating { tried }
        | Self::Starting { tried }
        | Self::Shifting { tried, .. }
        | Self::Verifying { tried }
        | Self::Adopting { tried }) = &mut self
        else {
            return self;
        };
        *tried += spent;
        if *tried <= PROGRESS_MAX {
            return self;
        }
        match self {
            Self::Gating { .. } => Self::Ended {
                end: End::Refused { what: failed },
            },
            Self::Adopting { .. } => Self::Restarting {
                why: Why::Stalled { what: failed },
                adopted: true,
            },
            _ => Self::Restarting {
                why: Why::Stalled { what: failed },
                adopted: false,
            },
        }
    }

    /// After an effect that will not happen.
    pub(super) fn refused(self, why: String) -> Self {
        let back = |why, adopted| Self::Restarting { why, adopted };
        match self {
            Self::Gating { .. } => Self::Ended {
                end: End::Refused { what: why },
            },
            Self::Starting { .. } => back(Why::NeverReady { what: why }, false),
            Self::Shifting { .. } => back(Why::Stalled { what: why }, false),
            Self::Verifying { .. } => back(Why::Checks { what: why }, false),
            Self::Adopting { .. } => back(Why::Stalled { what: why }, true),
            // The release before cannot be had: better the one that runs than none. It is tried again.
            phase @ (Self::Restarting { .. }
            | Self::Returning { .. }
            | Self::Restoring { .. }
            | Self::Removing { .. }
            | Self::Retiring
            | Self::Watching { .. }
            | Self::Guarding { .. }
            | Self::Ended { .. }) => phase,
        }
    }
}
