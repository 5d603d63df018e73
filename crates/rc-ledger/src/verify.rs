//! Checking a whole log, with nothing but its folder and the public keys.
//!
//! It refuses to change anything, to take the writer's lock, and to stop at the first fault.

mod check;
mod files;
mod sources;

use std::path::Path;
use std::time::Duration;

use crate::disk::{Files, Folder};
use crate::{Checkpoint, Error, Hash, Vkey};

/// Faults and warnings that are listed, each; the others are counted.
const LISTED_MAX: usize = 100;

/// What a check starts from.
#[derive(Debug, Clone)]
pub struct Trust {
    /// Keys that must have signed the checkpoint, every one of them.
    pub vkeys: Vec<Vkey>,
    /// Checkpoints of the same log that were kept elsewhere: the log must contain each of them.
    pub older: Vec<Checkpoint>,
    /// How far the clock of one source may go back from one entry to the next without a warning.
    pub clock_back_max: Duration,
}

impl Trust {
    /// Trust in these keys, without older checkpoints, and clocks that go back by at most 10 s.
    #[must_use]
    pub fn new(vkeys: &[Vkey]) -> Self {
        Self {
            vkeys: vkeys.to_vec(),
            older: Vec::new(),
            clock_back_max: Duration::from_secs(10),
        }
    }
}

/// What is wrong with a log, or strange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// The checkpoint is missing, malformed or not signed by a trusted key.
    Checkpoint,
    /// The entries do not have the root that was signed.
    Root,
    /// An older checkpoint is not contained in the log: it was shortened or rewritten.
    Older,
    /// A file is missing or does not hold what its name says.
    File,
    /// An entry is not one, or not canonical.
    Entry,
    /// The numbers of a source have a gap or a repetition.
    Sequence,
    /// Warning: the clock of a source went back.
    Clock,
    /// Warning: a file that is no part of the log, and that its writer cannot have left there either.
    Unpublished,
}

impl FaultKind {
    /// `checkpoint`, `root`, `older`, `file`, `entry`, `sequence`, `clock`, `unpublished`
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Checkpoint => "checkpoint",
            Self::Root => "root",
            Self::Older => "older",
            Self::File => "file",
            Self::Entry => "entry",
            Self::Sequence => "sequence",
            Self::Clock => "clock",
            Self::Unpublished => "unpublished",
        }
    }
}

/// One fault or warning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Of which kind.
    pub kind: FaultKind,
    /// In which file, below the log's folder.
    pub file: Option<String>,
    /// At which entry.
    pub index: Option<u64>,
    /// What is wrong: lower case, no full stop.
    pub text: String,
}

impl Fault {
    fn new(kind: FaultKind, text: impl Into<String>) -> Self {
        Self {
            kind,
            file: None,
            index: None,
            text: text.into(),
        }
    }

    fn file(kind: FaultKind, file: &str, text: impl Into<String>) -> Self {
        Self {
            file: Some(file.to_owned()),
            ..Self::new(kind, text)
        }
    }

    fn at(mut self, index: u64) -> Self {
        self.index = Some(index);
        self
    }
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The log's name; empty when there is no checkpoint that can be read.
    pub origin: String,
    /// Entries that the checkpoint speaks of.
    pub size: u64,
    /// The root over the entries that were read.
    pub root: Hash,
    /// When the checkpoint was signed, in seconds since the Unix epoch.
    pub signed_at_s: Option<u64>,
    /// Entries that were read and hashed.
    pub entries: u64,
    /// Their bytes.
    pub entry_bytes: u64,
    /// Files that were read and compared.
    pub files: u64,
    /// Sources that entries came from.
    pub sources: u64,
    /// Times of the first and the last entry, in milliseconds since the Unix epoch.
    pub first_at_ms: Option<u64>,
    /// See `first_at_ms`.
    pub last_at_ms: Option<u64>,
    /// Older checkpoints that are contained.
    pub older_contained: u64,
    /// From which entry on files may not be on disk after a power failure until the log is opened again: its
    /// write-ahead log has them. `None` when it has none.
    pub unsettled_from: Option<u64>,
    /// Files of a group that is being appended, or that a crash cut off: the writer completes or removes them.
    pub unfinished: u64,
    /// The first faults; a log without any is whole.
    pub faults: Vec<Fault>,
    /// All faults, also those that are not listed.
    pub faults_total: u64,
    /// The first things that are strange but break no promise.
    pub warnings: Vec<Fault>,
    /// All of them.
    pub warnings_total: u64,
}

impl Report {
    /// Whether the log is whole.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.faults_total == 0
    }

    fn new() -> Self {
        Self {
            origin: String::new(),
            size: 0,
            root: [0; 32],
            signed_at_s: None,
            entries: 0,
            entry_bytes: 0,
            files: 0,
            sources: 0,
            first_at_ms: None,
            last_at_ms: None,
            older_contained: 0,
            unsettled_from: None,
            unfinished: 0,
            faults: Vec::new(),
            faults_total: 0,
            warnings: Vec::new(),
            warnings_total: 0,
        }
    }

    fn add(&mut self, fault: Fault) {
        let (list, total) = match fault.kind {
            FaultKind::Clock | FaultKind::Unpublished => (&mut self.warnings, &mut self.warnings_total),
            FaultKind::Checkpoint
            | FaultKind::Root
            | FaultKind::Older
            | FaultKind::File
            | FaultKind::Entry
            | FaultKind::Sequence => (&mut self.faults, &mut self.faults_total),
        };
        *total += 1;
        if list.len() < LISTED_MAX {
            list.push(fault);
        }
    }
}

/// Checks a log: every entry and every tile is hashed again up to the root that was signed, older checkpoints
/// are looked for in it, and the numbers of every source must be 1, 2, 3, ... It reads one bundle at a time, and
/// while a writer is at work it checks the log as of the checkpoint that it found. A checkpoint that no trusted
/// key signed ends it: what such a one says of the log, its size first of all, is not worth following.
///
/// # Errors
/// [`Error::NoLog`] when the folder has nothing of a log, [`Error::Io`] when something cannot be read. What can
/// be read and is wrong is in the report.
pub fn verify(dir: &Path, trust: &Trust) -> Result<Report, Error> {
    verify_files(&Folder::new(dir), dir, trust)
}

pub(crate) fn verify_files(files: &dyn Files, dir: &Path, trust: &Trust) -> Result<Report, Error> {
    check::run(files, dir, trust)
}

#[cfg(test)]
mod tests;
