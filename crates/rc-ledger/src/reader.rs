//! Reading a log's folder at one checkpoint, while its writer is at work or without one.
//!
//! It refuses to vouch for entries: [`verify()`](crate::verify()) does, or an inclusion proof for one of them.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use crate::disk::{Files, Folder};
use crate::log::{CHECKPOINT, ENTRY_BYTES_MAX};
use crate::note::NOTE_BYTES_MAX;
use crate::tile::{self, Row, Tile, WIDTH};
use crate::tree::{self, Nodes};
use crate::{Checkpoint, Error, Hash, Receipt, Vkey};

/// Largest bundle.
pub(crate) const BUNDLE_BYTES_MAX: usize = WIDTH * (2 + ENTRY_BYTES_MAX);

/// A log's folder at one checkpoint. Nothing that it gives is newer.
#[derive(Debug)]
pub struct Reader {
    files: Folder,
    checkpoint: Checkpoint,
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
        let files = Folder::new(dir);
        let text = files.read(CHECKPOINT, NOTE_BYTES_MAX)?;
        let text = text.ok_or_else(|| Error::NoLog(dir.to_owned()))?;
        let text = String::from_utf8(text)
            .map_err(|error| Error::Untrusted(format!("the checkpoint is not text: {error}")))?;
        Ok(Self {
            files,
            checkpoint: Checkpoint::open(&text, keys)?,
        })
    }

    /// The checkpoint that was read when this was opened.
    #[must_use]
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// Entries with their indices, in order; `range` is cut to the checkpoint's size. Entries are given as they
    /// are on disk: [`verify()`](crate::verify()) checks them, or an inclusion proof does.
    pub fn entries(&self, range: Range<u64>) -> Entries<'_> {
        Entries::new(&self.files, self.checkpoint.size, range)
    }

    /// Proves that the entry at `index` is in the log.
    ///
    /// # Errors
    /// [`Error::Proof`] when there is no such entry, [`Error::Damaged`], [`Error::Io`].
    pub fn inclusion_proof(&self, index: u64) -> Result<InclusionProof, Error> {
        let size = self.checkpoint.size;
        if index >= size {
            return Err(Error::Proof(format!(
                "the log has {size} entries, none at {index}"
            )));
        }
        Ok(InclusionProof {
            index,
            size,
            hashes: tree::inclusion_proof(&mut self.tiles(), index, size)?,
        })
    }

    /// Proves that the tree of `new` entries begins with the tree of `old` entries.
    ///
    /// # Errors
    /// [`Error::Proof`] when `old <= new <= size` does not hold, [`Error::Damaged`], [`Error::Io`].
    pub fn consistency_proof(&self, old: u64, new: u64) -> Result<Vec<Hash>, Error> {
        let size = self.checkpoint.size;
        if old > new || new > size {
            return Err(Error::Proof(format!(
                "no proof from {old} to {new} in a log of {size} entries"
            )));
        }
        tree::consistency_proof(&mut self.tiles(), old, new)
    }

    /// The root of the first `size` entries.
    ///
    /// # Errors
    /// [`Error::Proof`] when the log is shorter, [`Error::Damaged`], [`Error::Io`].
    pub fn root_at(&self, size: u64) -> Result<Hash, Error> {
        if size > self.checkpoint.size {
            let have = self.checkpoint.size;
            return Err(Error::Proof(format!("the log has {have} entries, not {size}")));
        }
        tree::root_at(&mut self.tiles(), size)
    }

    /// A portable proof that the entry at `index` is in the log: its text stands alone.
    ///
    /// # Errors
    /// Those of [`Reader::inclusion_proof`].
    pub fn receipt(&self, index: u64) -> Result<Receipt, Error> {
        Ok(Receipt::new(
            self.inclusion_proof(index)?,
            self.checkpoint.clone(),
        ))
    }

    fn tiles(&self) -> Tiles<'_> {
        Tiles {
            files: &self.files,
            size: self.checkpoint.size,
            read: BTreeMap::new(),
        }
    }
}

/// Hashes from the tiles of a tree of `size`, each read once. Lives for one proof, which needs few of them.
struct Tiles<'a> {
    files: &'a dyn Files,
    size: u64,
    read: BTreeMap<(u8, u64), Vec<Hash>>,
}

impl Nodes for Tiles<'_> {
    fn node(&mut self, level: u32, index: u64) -> Result<Hash, Error> {
        let row = u8::try_from(level / 8).expect("a tree has at most 8 levels of tiles");
        let first = index << (level % 8);
        let tile = first / WIDTH as u64;
        let hashes = match self.read.entry((row, tile)) {
            std::collections::btree_map::Entry::Occupied(there) => there.into_mut(),
            std::collections::btree_map::Entry::Vacant(place) => {
                let wanted = Tile::new(Row::Level(row), tile, width_at(self.size, row, tile));
                let (path, bytes) = read_tile(self.files, wanted, WIDTH * 32)?
                    .ok_or_else(|| Error::damaged(wanted.path(), "it is missing"))?;
                let hashes = tile::hashes(&bytes, wanted.width)
                    .ok_or_else(|| Error::damaged(path, "its size is not that of a tile"))?;
                place.insert(hashes)
            }
        };
        let at = (first % WIDTH as u64) as usize;
        let perfect = hashes.get(at..at + (1 << (level % 8)));
        let perfect = perfect.expect("proofs ask for nodes inside of the tree");
        Ok(tree::perfect_root(perfect))
    }
}

/// How many hashes a tile has in a tree of `size`; `index` is a tile of that tree.
pub(crate) fn width_at(size: u64, row: u8, index: u64) -> usize {
    let count = size.checked_shr(8 * u32::from(row)).unwrap_or(0);
    let before = index * WIDTH as u64;
    usize::try_from(count.saturating_sub(before))
        .unwrap_or(WIDTH)
        .min(WIDTH)
}

/// Reads a file, or for a partial one that has gone since the full one. Gives the path that it read.
pub(crate) fn read_tile(
    files: &(impl Files + ?Sized),
    tile: Tile,
    bytes_max: usize,
) -> Result<Option<(String, Vec<u8>)>, Error> {
    let path = tile.path();
    if let Some(bytes) = files.read(&path, bytes_max)? {
        return Ok(Some((path, bytes)));
    }
    if tile.is_full() {
        return Ok(None);
    }
    let path = Tile::full(tile.row, tile.index).path();
    Ok(files.read(&path, bytes_max)?.map(|bytes| (path, bytes)))
}

/// Entries in order, with their indices; reads one bundle at a time. Ends after an error.
#[derive(Debug)]
pub struct Entries<'a> {
    files: &'a dyn Files,
    size: u64,
    next: u64,
    end: u64,
    bundle: std::vec::IntoIter<Vec<u8>>,
}

impl<'a> Entries<'a> {
    pub(crate) fn new(files: &'a dyn Files, size: u64, range: Range<u64>) -> Self {
        Self {
            files,
            size,
            next: range.start,
            end: range.end.min(size),
            bundle: Vec::new().into_iter(),
        }
    }

    /// Reads the bundle of the next entry and skips what is before it.
    fn load(&mut self) -> Result<(), Error> {
        let index = self.next / WIDTH as u64;
        let wanted = Tile::new(Row::Entries, index, width_at(self.size, 0, index));
        let (path, bytes) = read_tile(self.files, wanted, BUNDLE_BYTES_MAX)?
            .ok_or_else(|| Error::damaged(wanted.path(), "it is missing"))?;
        let mut rest = bytes.as_slice();
        let mut entries = Vec::with_capacity(wanted.width);
        while let Some(entry) = tile::next_entry(&mut rest, &path)? {
            entries.push(entry.to_vec());
        }
        if entries.len() < wanted.width {
            let what = format!("it has {} entries, not {}", entries.len(), wanted.width);
            return Err(Error::damaged(path, what));
        }
        entries.truncate(wanted.width);
        entries.drain(..(self.next % WIDTH as u64) as usize);
        self.bundle = entries.into_iter();
        Ok(())
    }
}

impl Iterator for Entries<'_> {
    type Item = Result<(u64, Vec<u8>), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next >= self.end {
            return None;
        }
        if self.bundle.len() == 0
            && let Err(error) = self.load()
        {
            self.end = 0;
            return Some(Err(error));
        }
        let entry = self
            .bundle
            .next()
            .expect("a bundle has the entry that it was read for");
        let index = self.next;
        self.next += 1;
        Some(Ok((index, entry)))
    }
}

#[cfg(test)]
mod tests;
