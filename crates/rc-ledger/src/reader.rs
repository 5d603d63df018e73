//! Reading a log's folder, while its writer is at work or without one.

use std::ops::Range;
use std::path::Path;

use crate::{Checkpoint, Error, Hash, Receipt, Vkey};

/// A log's folder at one checkpoint. Nothing that it gives is newer.
#[derive(Debug)]
pub struct Reader {
    checkpoint: Checkpoint,
}

/// Entries in order, with their indices; reads one bundle at a time.
#[derive(Debug, Default)]
pub struct Entries<'a> {
    _dir: std::marker::PhantomData<&'a Path>,
}

impl Iterator for Entries<'_> {
    type Item = Result<(u64, Vec<u8>), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        None
    }
}

/// That an entry is in the tree of a checkpoint; [`verify_inclusion`](crate::verify_inclusion) checks it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InclusionProof {
    /// Index of the entry.
    pub index: u64,
    /// Size of the tree.
    pub size: u64,
    /// Hashes from the leaf's sibling up.
    pub hashes: Vec<Hash>,
}

impl Reader {
    /// Reads the newest checkpoint of a folder, which every one of `keys` must have signed.
    ///
    /// # Errors
    /// [`Error::NoLog`], [`Error::Untrusted`], [`Error::Io`].
    pub fn open(dir: &Path, keys: &[Vkey]) -> Result<Self, Error> {
        let _ = (dir, keys);
        Err(Error::Stopped)
    }

    /// The checkpoint that was read when this was opened.
    #[must_use]
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// Entries with their indices, in order; `range` is cut to the checkpoint's size. Entries are given as they
    /// are on disk: [`verify()`](crate::verify()) checks them, or an inclusion proof does.
    pub fn entries(&self, range: Range<u64>) -> Entries<'_> {
        let _ = range;
        Entries::default()
    }

    /// Proves that the entry at `index` is in the log.
    ///
    /// # Errors
    /// [`Error::Proof`] when there is no such entry, [`Error::Damaged`], [`Error::Io`].
    pub fn inclusion_proof(&self, index: u64) -> Result<InclusionProof, Error> {
        let _ = index;
        Err(Error::Stopped)
    }

    /// Proves that the tree of `new` entries begins with the tree of `old` entries.
    ///
    /// # Errors
    /// [`Error::Proof`] when `old <= new <= size` does not hold, [`Error::Damaged`], [`Error::Io`].
    pub fn consistency_proof(&self, old: u64, new: u64) -> Result<Vec<Hash>, Error> {
        let _ = (old, new);
        Err(Error::Stopped)
    }

    /// The root of the first `size` entries.
    ///
    /// # Errors
    /// [`Error::Proof`] when the log is shorter, [`Error::Damaged`], [`Error::Io`].
    pub fn root_at(&self, size: u64) -> Result<Hash, Error> {
        let _ = size;
        Err(Error::Stopped)
    }

    /// A portable proof that the entry at `index` is in the log: its text stands alone.
    ///
    /// # Errors
    /// Those of [`Reader::inclusion_proof`].
    pub fn receipt(&self, index: u64) -> Result<Receipt, Error> {
        let _ = index;
        Err(Error::Stopped)
    }
}
