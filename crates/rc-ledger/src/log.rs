//! The one writer of a log.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rc_model::Clock;

use crate::{Checkpoint, Entries, Error, Signer};

/// Longest entry, in bytes: bundles have two bytes for a length.
pub const ENTRY_BYTES_MAX: usize = 65_535;

/// Most entries in one group.
pub const GROUP_ENTRIES_MAX: usize = 4_096;

/// Most bytes in one group, entries only.
pub const GROUP_BYTES_MAX: usize = 32 * 1024 * 1024;

/// What an append came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    /// Index of the group's first entry; the others follow it.
    pub first_index: u64,
    /// The checkpoint that covers them, published and on disk.
    pub checkpoint: Checkpoint,
}

/// The one writer of a log's folder.
#[derive(Debug)]
pub struct Log {
    dir: PathBuf,
    signer: Signer,
    clock: Arc<dyn Clock>,
    checkpoint: Checkpoint,
}

impl Log {
    /// Whether a log was ever begun in this folder, finished or damaged: then [`Log::open`] is the right call.
    ///
    /// # Errors
    /// [`Error::Io`] when the folder cannot be read.
    pub fn exists(dir: &Path) -> Result<bool, Error> {
        let _ = dir;
        Err(Error::Stopped)
    }

    /// Makes an empty log, and signs that it is empty.
    ///
    /// # Errors
    /// [`Error::Exists`] when a log is there, or when `last_known`, kept in a second place, says that there was
    /// one; [`Error::Locked`]; what the disk says.
    pub fn create(
        dir: &Path,
        signer: Signer,
        last_known: Option<&Checkpoint>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Error> {
        let _ = (dir, signer, last_known, clock);
        Err(Error::Stopped)
    }

    /// Opens a log and finishes what its last process left half done: a torn group is cut off, one that was
    /// durable but not yet acknowledged is kept, tiles are built again from entries.
    ///
    /// # Errors
    /// [`Error::NoLog`], [`Error::Locked`]; [`Error::RolledBack`] and [`Error::Forked`] when the entries are not
    /// those that the last checkpoint or `last_known`, kept in a second place, were signed for;
    /// [`Error::Untrusted`] when another key signed them; [`Error::Damaged`]; what the disk says.
    pub fn open(
        dir: &Path,
        signer: Signer,
        last_known: Option<&Checkpoint>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Error> {
        let _ = (dir, signer, last_known, clock);
        Err(Error::Stopped)
    }

    /// Appends a group: all of it or nothing, also across a crash. When this returns, the entries, and a
    /// checkpoint that covers them, are on disk. An empty group changes nothing.
    ///
    /// # Errors
    /// [`Error::TooLarge`] before anything is written. After any other error it is not known whether the group
    /// will be there: call [`Log::recover`], then look at [`Log::size`] and, where it grew, at the entries.
    pub fn append(&mut self, entries: &[Vec<u8>]) -> Result<Appended, Error> {
        let _ = entries;
        Err(Error::Stopped)
    }

    /// After a failed append: reads again what is on disk, as [`Log::open`] does, and takes entries again.
    ///
    /// # Errors
    /// Those of [`Log::open`]. The log stays stopped, and this can be called again.
    pub fn recover(&mut self) -> Result<(), Error> {
        Err(Error::Stopped)
    }

    /// Entries that were appended, all of them covered by [`Log::checkpoint`].
    #[must_use]
    pub fn size(&self) -> u64 {
        self.checkpoint.size()
    }

    /// The newest checkpoint, to be kept in a second place too.
    #[must_use]
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The log's folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The log's keys, to be given to who checks it.
    #[must_use]
    pub fn signer(&self) -> &Signer {
        &self.signer
    }

    /// Entries with their indices, in order; `range` is cut to the log's size.
    pub fn entries(&self, range: Range<u64>) -> Entries<'_> {
        let _ = (range, &self.clock);
        Entries::default()
    }

    /// Moves everything out of the write-ahead log, so that the next opening has nothing to do. A log that is
    /// dropped without it loses nothing.
    ///
    /// # Errors
    /// What the disk says.
    pub fn close(self) -> Result<(), Error> {
        Ok(())
    }
}
