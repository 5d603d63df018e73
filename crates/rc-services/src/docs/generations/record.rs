//! Which generation serves, and what is being built beside it: all that must survive the end of the process.

use rc_events::Seq;
use rc_model::Timestamp;
use serde::{Deserialize, Serialize};

/// One of the two places of the read model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Slot {
    /// Where the first one is.
    #[default]
    A,
    /// Where the next one is built while `A` serves.
    B,
}

impl Slot {
    /// Where a rebuild goes while this one serves.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

/// What is stored. It changes as a whole, and only from the revision that the writer has read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::docs) struct Record {
    pub(super) revision: u64,
    /// Which one serves.
    pub(in crate::docs) live: Slot,
    pub(super) building: Option<Building>,
    pub(super) last: Option<Ended>,
}

/// A rebuild that goes on, also after the process has started anew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Building {
    pub number: u64,
    pub reason: String,
    /// Who asked for it.
    pub uid: Option<u32>,
    pub began_at: Timestamp,
    /// The place before the first event that the bus kept when it began.
    pub first: Seq,
}

/// How a rebuild ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// What it built serves.
    Switched,
    /// A person ended it.
    Aborted,
    /// It could not go on.
    Failed,
}

/// The last rebuild.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ended {
    pub number: u64,
    pub reason: String,
    pub began_at: Timestamp,
    pub ended_at: Timestamp,
    pub outcome: Outcome,
    /// Why, where it was not switched: in words, and the code of the error if there was one.
    pub why: Option<String>,
    pub code: Option<String>,
    /// Keys taken over from the generation before, because history no longer has them or a person had decided about
    /// one of their events.
    pub taken_over: u64,
}

impl Record {
    /// The number of the next rebuild.
    pub(super) fn next_number(&self) -> u64 {
        self.last.as_ref().map_or(1, |last| last.number + 1)
    }

    /// Whether this rebuild goes on.
    pub(super) fn builds(&self, number: u64) -> bool {
        self.building
            .as_ref()
            .is_some_and(|building| building.number == number)
    }

    /// The record after this rebuild ended.
    pub(super) fn ended(&self, live: Slot, ended: Ended) -> Self {
        Self {
            revision: self.revision,
            live,
            building: None,
            last: Some(ended),
        }
    }
}
