//! Opening a log: what the last process left is made whole, or refused.
//!
//! Nothing is written before the entries were shown to be those of every checkpoint that is known. A log that
//! is shorter or other than one that it has signed is never signed again.

use std::path::Path;

use rc_model::Clock;

use super::{CHECKPOINT, State, now_s, publish, put};
use crate::disk::{Disk, Files};
use crate::note::NOTE_BYTES_MAX;
use crate::tile::{self, Row, Tile, WIDTH};
use crate::tree::{self, Edge, Nodes};
use crate::wal::{self, Parsed, Segment};
use crate::{Checkpoint, Error, Hash, Signer};

const OWN_PLACE: &str = "the log's own checkpoint";

/// The name of the place that a caller keeps a checkpoint in.
pub(super) const SECOND_PLACE: &str = "the checkpoint of the second place";

/// The checkpoint that this process signed last.
pub(super) const THIS_PROCESS: &str = "the last checkpoint of this process";

/// A checkpoint and who kept it.
type Known<'a> = (&'static str, &'a Checkpoint);

pub(super) fn recover(
    dir: &Path,
    disk: &mut dyn Disk,
    signer: &Signer,
    second: Option<Known<'_>>,
    clock: &dyn Clock,
) -> Result<State, Error> {
    let text = disk.read(CHECKPOINT, NOTE_BYTES_MAX)?;
    let text = text.ok_or_else(|| Error::NoLog(dir.to_owned()))?;
    let text = String::from_utf8(text)
        .map_err(|error| Error::Untrusted(format!("the checkpoint is not text: {error}")))?;
    let own = Checkpoint::open(&text, signer.vkeys())?;
    let known: Vec<Known<'_>> = [Some((OWN_PLACE, &own)), second].into_iter().flatten().collect();
    for (place, checkpoint) in &known {
        if checkpoint.origin != signer.origin() {
            return Err(Error::Untrusted(format!(
                "{place} is of the log `{}`, not of `{}`",
                checkpoint.origin,
                signer.origin()
            )));
        }
    }
    let bases = wal::bases(disk)?;
    let base = *bases
        .last()
        .ok_or_else(|| Error::damaged(wal::FOLDER, "the write-ahead log is missing"))?;
    let path = wal::path(base);
    let bytes = disk.read(&path, wal::SEGMENT_BYTES_MAX)?;
    let bytes = bytes.ok_or_else(|| Error::damaged(&path, "it is gone"))?;
    let parsed = wal::parse(base, &bytes)?;

    let start = edge_at(disk, base)?;
    check(disk, &start, &parsed, &known)?;

    // The process before may have ended between a rename and the sync of its folder.
    disk.sync_folder("")?;
    disk.sync_folder(wal::FOLDER)?;
    disk.remove(wal::TMP)?;
    if parsed.bytes < bytes.len() || parsed.end > own.size {
        // What was read may be in memory alone: the process before ended ahead of its sync, or the sync failed,
        // after which the kernel takes the pages for clean. Nothing is signed that is not written anew.
        wal::replace(disk, &path, &bytes[..parsed.bytes])?;
    }
    let segment = Segment {
        path,
        base,
        bytes: parsed.bytes,
    };
    let mut state = State {
        checkpoint: own,
        edge: start,
        open: Vec::new(),
        ends: Vec::new(),
        written: Vec::new(),
        segment,
    };
    rebuild(disk, &mut state, &parsed)?;
    if state.edge.size() > state.checkpoint.size {
        let (size, root) = (state.edge.size(), state.edge.root());
        state.checkpoint = signer.sign(size, root, now_s(clock));
        publish(disk, &state.checkpoint)?;
    }
    for base in &bases[..bases.len() - 1] {
        disk.remove(&wal::path(*base))?;
    }
    Ok(state)
}

/// The entries are those of every checkpoint that is known, or nothing is done.
fn check(disk: &dyn Disk, start: &Edge, parsed: &Parsed<'_>, known: &[Known<'_>]) -> Result<(), Error> {
    let base = start.size();
    for (place, checkpoint) in known {
        let size = checkpoint.size;
        if size > parsed.end {
            return Err(Error::RolledBack {
                have: parsed.end,
                known: size,
                place,
            });
        }
        if size <= base {
            let mut nodes = FullTiles {
                files: disk,
                size: base,
            };
            let proof = tree::consistency_proof(&mut nodes, size, base)?;
            tree::verify_consistency(size, &checkpoint.root, base, &start.root(), &proof)
                .map_err(|_fork| Error::Forked { size, place })?;
        }
    }
    let mut edge = start.clone();
    for record in &parsed.records {
        let mut bundle = record.bundle;
        while let Some(entry) = tile::next_entry(&mut bundle, wal::FOLDER)? {
            edge.push(tree::leaf_hash(entry), |_, _, _| Ok::<(), Error>(()))?;
            let size = edge.size();
            for (place, checkpoint) in known {
                if checkpoint.size == size && checkpoint.root != edge.root() {
                    return Err(Error::Forked { size, place });
                }
            }
        }
    }
    Ok(())
}

/// Writes what is missing or torn of the files from the segment's base on, and of every size that was signed.
fn rebuild(disk: &mut dyn Disk, state: &mut State, parsed: &Parsed<'_>) -> Result<(), Error> {
    for record in &parsed.records {
        let mut full = Vec::new();
        let mut bundle = record.bundle;
        while let Some(entry) = tile::next_entry(&mut bundle, wal::FOLDER)? {
            state.push(entry, &mut full);
        }
        state.end_group();
        for (tile, bytes) in full {
            put_unless_there(disk, &tile.path(), &bytes)?;
            disk.remove_folder(&tile.partials())?;
        }
        state.write_partials(disk, parsed.end, put_unless_there)?;
    }
    Ok(())
}

fn put_unless_there(disk: &mut dyn Disk, path: &str, bytes: &[u8]) -> Result<(), Error> {
    // A longer file is damaged too: it is written again.
    match disk.read(path, bytes.len()) {
        Ok(Some(there)) if there == bytes => Ok(()),
        Ok(_) | Err(Error::Damaged { .. }) => put(disk, path, bytes),
        Err(error) => Err(error),
    }
}

/// The open tiles at `size`, a multiple of 256, from full tiles alone: those are on disk, where partial ones may
/// have gone since.
fn edge_at(disk: &dyn Disk, size: u64) -> Result<Edge, Error> {
    let mut nodes = FullTiles { files: disk, size };
    let mut levels = Vec::new();
    let mut count = size;
    let mut level = 0;
    while count > 0 {
        let open = count % WIDTH as u64;
        let hashes = (count - open..count).map(|index| nodes.node(8 * level, index));
        levels.push(hashes.collect::<Result<Vec<Hash>, Error>>()?);
        count /= WIDTH as u64;
        level += 1;
    }
    Ok(Edge::new(size, levels))
}

/// Hashes of a tree whose size is a multiple of 256, read from its full tiles.
struct FullTiles<'a> {
    files: &'a dyn Disk,
    size: u64,
}

impl FullTiles<'_> {
    fn tile(&self, level: u32, index: u64) -> Result<Vec<Hash>, Error> {
        let number = u8::try_from(level).expect("a tree has at most 8 levels of tiles");
        let path = Tile::full(Row::Level(number), index).path();
        let files: &dyn Files = self.files;
        let bytes = files
            .read(&path, WIDTH * 32)?
            .ok_or_else(|| Error::damaged(&path, "it is missing"))?;
        tile::hashes(&bytes, WIDTH).ok_or_else(|| Error::damaged(&path, "it does not have 256 hashes"))
    }
}

impl Nodes for FullTiles<'_> {
    fn node(&mut self, level: u32, index: u64) -> Result<Hash, Error> {
        let row = level / 8;
        let first = index << (level % 8);
        let len = 1_u64 << (level % 8);
        let tile = first / WIDTH as u64;
        if (tile + 1) << (8 * (row + 1)) <= self.size {
            let hashes = self.tile(row, tile)?;
            let at = (first % WIDTH as u64) as usize;
            return Ok(tree::perfect_root(&hashes[at..at + len as usize]));
        }
        // The tile of this row is not full: its hashes are the roots of full tiles below.
        let hashes = (first..first + len)
            .map(|index| Ok(tree::perfect_root(&self.tile(row - 1, index)?)))
            .collect::<Result<Vec<Hash>, Error>>()?;
        Ok(tree::perfect_root(&hashes))
    }
}
