//! The pass over all entries: hash, compare with every tile, compare roots.

use std::path::Path;

use super::sources::Sources;
use super::{Fault, FaultKind, Report, Trust, files};
use crate::disk::Files;
use crate::log::CHECKPOINT;
use crate::note::{NOTE_BYTES_MAX, Note};
use crate::reader::{BUNDLE_BYTES_MAX, read_tile, width_at};
use crate::tile::{self, Row, Tile, WIDTH};
use crate::tree::{self, Edge};
use crate::{Checkpoint, Entry, Error, Hash};

pub(super) fn run(files: &dyn Files, dir: &Path, trust: &Trust) -> Result<Report, Error> {
    let mut report = Report::new();
    let Some(signed_root) = checkpoint(files, dir, trust, &mut report)? else {
        return Ok(report);
    };
    let older = older(trust, &mut report);
    let mut pass = Pass {
        files,
        edge: Edge::default(),
        sources: Sources::new(trust.clock_back_max),
        older,
        report,
    };
    pass.older_here();
    pass.bundles()?;
    let mut report = pass.report;
    report.root = pass.edge.root();
    if report.root != signed_root {
        report.add(Fault::new(
            FaultKind::Root,
            format!("the {} entries do not have the root that was signed", report.size),
        ));
    }
    report.sources = pass.sources.count();
    files::write_ahead(files, &mut report)?;
    files::others(files, &mut report)?;
    Ok(report)
}

/// Reads the checkpoint: its root, or `None` when there is none that a trusted key signed.
fn checkpoint(
    files: &dyn Files,
    dir: &Path,
    trust: &Trust,
    report: &mut Report,
) -> Result<Option<Hash>, Error> {
    let bytes = match files.read(CHECKPOINT, NOTE_BYTES_MAX) {
        Ok(Some(bytes)) => bytes,
        Ok(None) => {
            if files.list("tile")?.is_empty() && files.list("wal")?.is_empty() {
                return Err(Error::NoLog(dir.to_owned()));
            }
            report.add(Fault::file(FaultKind::Checkpoint, CHECKPOINT, "it is missing"));
            return Ok(None);
        }
        Err(Error::Damaged { what, .. }) => {
            report.add(Fault::file(FaultKind::Checkpoint, CHECKPOINT, what));
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    report.files += 1;
    let text = String::from_utf8_lossy(&bytes);
    let note = match Note::parse(&text) {
        Ok(note) => note,
        Err(error) => {
            report.add(Fault::file(FaultKind::Checkpoint, CHECKPOINT, error.to_string()));
            return Ok(None);
        }
    };
    note.origin.clone_into(&mut report.origin);
    match note.verify(&trust.vkeys) {
        Ok(at_s) => {
            report.signed_at_s = at_s;
            report.size = note.size;
            Ok(Some(note.root))
        }
        Err(error) => {
            report.add(Fault::file(FaultKind::Checkpoint, CHECKPOINT, error.to_string()));
            Ok(None)
        }
    }
}

/// Older checkpoints that the log can contain, the largest first.
fn older<'a>(trust: &'a Trust, report: &mut Report) -> Vec<&'a Checkpoint> {
    let mut older = Vec::new();
    for checkpoint in &trust.older {
        if checkpoint.origin != report.origin {
            report.add(Fault::new(
                FaultKind::Older,
                format!("an older checkpoint is of the log `{}`", checkpoint.origin),
            ));
        } else if checkpoint.size > report.size {
            report.add(Fault::new(
                FaultKind::Older,
                format!(
                    "the log has {} entries, and {} were signed before",
                    report.size, checkpoint.size
                ),
            ));
        } else {
            older.push(checkpoint);
        }
    }
    older.sort_by_key(|checkpoint| std::cmp::Reverse(checkpoint.size));
    older
}

/// What the pass holds: the right edge of the tree, never the tree.
struct Pass<'a> {
    files: &'a dyn Files,
    edge: Edge,
    sources: Sources,
    /// Still to be met, the largest first.
    older: Vec<&'a Checkpoint>,
    report: Report,
}

impl Pass<'_> {
    /// Checks all bundles, as far as there are files, and the tiles that they leave open.
    fn bundles(&mut self) -> Result<(), Error> {
        let mut last = None;
        for index in 0..self.report.size.div_ceil(WIDTH as u64) {
            if self.bundle(index)? {
                continue;
            }
            let last = match last {
                Some(last) => last,
                None => *last.insert(files::last_bundle(self.files)?),
            };
            if last.is_none_or(|last| index >= last) {
                let upto = (index + 1).saturating_mul(WIDTH as u64);
                if upto < self.report.size {
                    let what = format!("there are no files of the entries from {upto} on");
                    self.report.add(Fault::new(FaultKind::File, what).at(upto));
                    return Ok(());
                }
            }
        }
        self.open_tiles()
    }

    /// Checks one bundle, its entries, and the tiles that it fills; `false` when its file is not there.
    fn bundle(&mut self, index: u64) -> Result<bool, Error> {
        let width = width_at(self.report.size, 0, index);
        let wanted = Tile::new(Row::Entries, index, width);
        let mut full = Vec::new();
        let read = read(self.files, wanted, BUNDLE_BYTES_MAX, &mut self.report)?;
        let there = read.is_some();
        let leaves = read.and_then(|(path, bytes)| self.entries(wanted, &path, &bytes));
        // Without the entries, the pass goes on with what the tile says that their hashes are.
        let leaves = match leaves {
            Some(leaves) => leaves,
            None => tile_hashes(self.files, index, width)?,
        };
        for leaf in leaves {
            let pushed: Result<(), std::convert::Infallible> =
                self.edge.push(leaf, |level, index, hashes| {
                    full.push((Tile::full(Row::Level(level), index), hashes.to_vec()));
                    Ok(())
                });
            let Ok(()) = pushed;
            self.older_here();
        }
        for (tile, hashes) in full {
            self.compare(tile, &hashes)?;
        }
        Ok(there)
    }

    /// The leaf hashes of a bundle; `None` when it cannot be taken apart.
    fn entries(&mut self, wanted: Tile, path: &str, bytes: &[u8]) -> Option<Vec<Hash>> {
        let mut rest = bytes;
        let mut leaves = Vec::with_capacity(wanted.width);
        let first = wanted.index * WIDTH as u64;
        let mut fault = None;
        let partial_of_full = !wanted.is_full() && path != wanted.path();
        loop {
            match tile::next_entry(&mut rest, path) {
                // A full bundle that stands in for a partial one has more than this checkpoint speaks of.
                Ok(Some(_)) if partial_of_full && leaves.len() == wanted.width => break,
                Ok(Some(entry)) => {
                    if leaves.len() == wanted.width {
                        fault = Some("it has more entries than it should".to_owned());
                        break;
                    }
                    self.entry(path, first + leaves.len() as u64, entry);
                    leaves.push(tree::leaf_hash(entry));
                }
                Ok(None) if leaves.len() < wanted.width => {
                    fault = Some(format!("it has {} entries, not {}", leaves.len(), wanted.width));
                    break;
                }
                Ok(None) => break,
                Err(error) => {
                    fault = Some(error.to_string());
                    break;
                }
            }
        }
        let Some(fault) = fault else { return Some(leaves) };
        let at = first + leaves.len() as u64;
        self.report.add(Fault::file(FaultKind::File, path, fault).at(at));
        None
    }

    fn entry(&mut self, path: &str, index: u64, bytes: &[u8]) {
        let report = &mut self.report;
        report.entries += 1;
        report.entry_bytes += bytes.len() as u64;
        match Entry::decode(bytes) {
            Ok(entry) => {
                report.first_at_ms = report.first_at_ms.or(Some(entry.at_ms));
                report.last_at_ms = Some(entry.at_ms);
                for (kind, text) in self.sources.see(&entry.source, entry.at_ms) {
                    report.add(Fault::file(kind, path, text).at(index));
                }
            }
            Err(error) => report.add(Fault::file(FaultKind::Entry, path, error.to_string()).at(index)),
        }
    }

    /// Compares a tile with the hashes that it must have.
    fn compare(&mut self, tile: Tile, hashes: &[Hash]) -> Result<(), Error> {
        let Some((path, bytes)) = read(self.files, tile, WIDTH * 32, &mut self.report)? else {
            return Ok(());
        };
        let exact = if path == tile.path() { tile.width } else { WIDTH };
        let there = tile::hashes(&bytes, tile.width).filter(|_| bytes.len() == exact * 32);
        let Some(there) = there else {
            let what = format!("it does not have {exact} hashes");
            self.report.add(Fault::file(FaultKind::File, &path, what));
            return Ok(());
        };
        let Row::Level(level) = tile.row else {
            return Ok(());
        };
        for (at, _) in there.iter().zip(hashes).enumerate().filter(|(_, (a, b))| a != b) {
            let number = tile.index * WIDTH as u64 + at as u64;
            let first = number << (8 * u32::from(level));
            let what = if level == 0 {
                format!("hash {at} is not that of entry {first}")
            } else {
                format!("hash {at} is not that of the entries from {first} on")
            };
            self.report
                .add(Fault::file(FaultKind::File, &path, what).at(first));
        }
        Ok(())
    }

    /// The tiles that the last entries left open.
    fn open_tiles(&mut self) -> Result<(), Error> {
        let edge = self.edge.clone();
        for level in 0..edge.levels() {
            let hashes = edge.open(level);
            if hashes.is_empty() {
                continue;
            }
            let number = u8::try_from(level).expect("a tree has at most 8 levels of tiles");
            let index = (edge.size() >> (8 * level)) / WIDTH as u64;
            self.compare(Tile::new(Row::Level(number), index, hashes.len()), hashes)?;
        }
        Ok(())
    }

    /// Older checkpoints of exactly this size have this root.
    fn older_here(&mut self) {
        while let Some(checkpoint) = self
            .older
            .pop_if(|checkpoint| checkpoint.size == self.edge.size())
        {
            if checkpoint.root == self.edge.root() {
                self.report.older_contained += 1;
            } else {
                let size = checkpoint.size;
                self.report.add(Fault::new(
                    FaultKind::Older,
                    format!("the first {size} entries do not have the root that was signed for them"),
                ));
            }
        }
    }
}

/// Reads a file of the log; what is missing or too long is a fault.
fn read(
    files: &dyn Files,
    tile: Tile,
    bytes_max: usize,
    report: &mut Report,
) -> Result<Option<(String, Vec<u8>)>, Error> {
    let what = match read_tile(files, tile, bytes_max) {
        Ok(Some(found)) => {
            report.files += 1;
            return Ok(Some(found));
        }
        Ok(None) => "it is missing".to_owned(),
        Err(Error::Damaged { what, .. }) => what,
        Err(error) => return Err(error),
    };
    report.add(Fault::file(FaultKind::File, &tile.path(), what));
    Ok(None)
}

/// What a level 0 tile says; zeros where it says nothing, which no entry hashes to.
fn tile_hashes(files: &dyn Files, index: u64, width: usize) -> Result<Vec<Hash>, Error> {
    let tile = Tile::new(Row::Level(0), index, width);
    let bytes = match read_tile(files, tile, WIDTH * 32) {
        Ok(found) => found.map(|(_, bytes)| bytes),
        Err(Error::Damaged { .. }) => None,
        Err(error) => return Err(error),
    };
    let hashes = bytes.and_then(|bytes| tile::hashes(&bytes, width));
    Ok(hashes.unwrap_or_else(|| vec![[0; 32]; width]))
}
