//! What can go wrong with a log; each kind is something a caller handles in its own way.

use std::io;
use std::path::{Path, PathBuf};

/// A ledger error.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process appends to this log.
    #[error("the log in `{}` already has a writer", .0.display())]
    Locked(PathBuf),
    /// There is no log in the folder, or its checkpoint is gone.
    #[error("there is no log in `{}`: it has no checkpoint", .0.display())]
    NoLog(PathBuf),
    /// A log cannot be made where one is, or is known to have been.
    #[error("no new log is made in `{}`: {what}", dir.display())]
    Exists {
        /// The folder.
        dir: PathBuf,
        /// What says that there is or was a log.
        what: String,
    },
    /// The log is shorter than one that it has shown before.
    #[error("the log holds {have} entries, and {known} were signed before ({place})")]
    RolledBack {
        /// Entries that can be read.
        have: u64,
        /// Entries of the checkpoint that was signed before.
        known: u64,
        /// Which place knows it.
        place: &'static str,
    },
    /// The entries are not those of a checkpoint that was signed before.
    #[error("the entries differ from the checkpoint of {size} entries ({place})")]
    Forked {
        /// Size of the checkpoint that does not fit.
        size: u64,
        /// Which place knows it.
        place: &'static str,
    },
    /// A file of the log does not say what it must.
    #[error("`{file}` is damaged: {what}")]
    Damaged {
        /// The file, below the log's folder.
        file: String,
        /// What is wrong with it.
        what: String,
    },
    /// The key file cannot be used.
    #[error("the key file `{}` cannot be used: {what}", path.display())]
    Key {
        /// The key file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A checkpoint is not signed by the keys that are trusted, or a key's text is malformed.
    #[error("{0}")]
    Untrusted(String),
    /// An entry is not one, or not in its one canonical form.
    #[error("malformed entry: {0}")]
    Entry(String),
    /// An entry or a group is larger than a log takes.
    #[error("{0}")]
    TooLarge(String),
    /// The disk is full or the quota used up.
    #[error("failed to {tried} `{}`: {source}", path.display())]
    DiskFull {
        /// What was tried.
        tried: &'static str,
        /// With which file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A file of the log cannot be read or written.
    #[error("failed to {tried} `{}`: {source}", path.display())]
    Io {
        /// What was tried.
        tried: &'static str,
        /// With which file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// An earlier write failed half way; [`Log::recover`](crate::Log::recover) reads again what is on disk.
    #[error("the log takes no entries since a write failed")]
    Stopped,
    /// A proof or receipt does not hold.
    #[error("the proof does not hold: {0}")]
    Proof(String),
}

impl Error {
    /// The stable error code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Locked(_) => "RC-LED-001",
            Self::NoLog(_) => "RC-LED-002",
            Self::Exists { .. } => "RC-LED-003",
            Self::RolledBack { .. } => "RC-LED-004",
            Self::Forked { .. } => "RC-LED-005",
            Self::Damaged { .. } => "RC-LED-006",
            Self::Key { .. } => "RC-LED-007",
            Self::Untrusted(_) => "RC-LED-008",
            Self::Entry(_) => "RC-LED-009",
            Self::TooLarge(_) => "RC-LED-010",
            Self::DiskFull { .. } => "RC-LED-011",
            Self::Io { .. } => "RC-LED-012",
            Self::Stopped => "RC-LED-013",
            Self::Proof(_) => "RC-LED-014",
        }
    }

    /// Whether the same call can succeed later, after [`Log::recover`](crate::Log::recover); the others need
    /// a person, or another call.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Locked(_) | Self::DiskFull { .. } | Self::Io { .. } | Self::Stopped => true,
            Self::NoLog(_)
            | Self::Exists { .. }
            | Self::RolledBack { .. }
            | Self::Forked { .. }
            | Self::Damaged { .. }
            | Self::Key { .. }
            | Self::Untrusted(_)
            | Self::Entry(_)
            | Self::TooLarge(_)
            | Self::Proof(_) => false,
        }
    }

    /// The system's error while something was tried with a file.
    pub(crate) fn io(tried: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::DiskFull { tried, path, source }
            }
            _ => Self::Io { tried, path, source },
        }
    }

    pub(crate) fn damaged(file: impl Into<String>, what: impl Into<String>) -> Self {
        Self::Damaged {
            file: file.into(),
            what: what.into(),
        }
    }
}
