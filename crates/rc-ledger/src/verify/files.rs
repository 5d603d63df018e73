//! Files beside those that the pass reads: the write-ahead log, partial files of earlier sizes, and what does
//! not belong there.

use super::{Fault, FaultKind, Report};
use crate::disk::{Files, LOCK};
use crate::reader::{BUNDLE_BYTES_MAX, read_tile, width_at};
use crate::tile::{self, Row, Tile, WIDTH};
use crate::tree::leaf_hash;
use crate::{Error, Hash, wal};

/// Deepest folder below `tile/` that a name of ours has: 7 parts of an index, its row, its partial folder.
const DEPTH_MAX: usize = 9;

/// How often the write-ahead log is looked for again when its writer has just moved it on.
const MOVED_TRIES: usize = 5;

/// The write-ahead log has the entries that tiles say, up to the checkpoint.
pub(super) fn write_ahead(files: &dyn Files, report: &mut Report) -> Result<(), Error> {
    match newest_segment(files) {
        Ok(Some((base, bytes))) => segment(files, base, &wal::path(base), &bytes, report),
        Ok(None) => {
            let what = "there is no write-ahead log: nothing can be appended";
            report.add(Fault::file(FaultKind::File, wal::FOLDER, what));
            Ok(())
        }
        Err(Error::Damaged { file: path, what }) => {
            report.add(Fault::file(FaultKind::File, &path, what));
            Ok(())
        }
        Err(error) => Err(error),
    }
}

/// The segment that the writer appends to, with its base.
fn newest_segment(files: &dyn Files) -> Result<Option<(u64, Vec<u8>)>, Error> {
    for _ in 0..MOVED_TRIES {
        let Some(base) = wal::bases(files)?.pop() else {
            return Ok(None);
        };
        if let Some(bytes) = files.read(&wal::path(base), wal::SEGMENT_BYTES_MAX)? {
            return Ok(Some((base, bytes)));
        }
    }
    Ok(None)
}

fn segment(files: &dyn Files, base: u64, path: &str, bytes: &[u8], report: &mut Report) -> Result<(), Error> {
    report.files += 1;
    let parsed = match wal::parse(base, bytes) {
        Ok(parsed) => parsed,
        Err(error) => {
            report.add(Fault::file(FaultKind::File, path, error.to_string()));
            return Ok(());
        }
    };
    let mut index = base;
    let mut tile: Option<(u64, Vec<Hash>)> = None;
    for record in &parsed.records {
        let mut bundle = record.bundle;
        while let Some(entry) = tile::next_entry(&mut bundle, path)? {
            if index < report.size {
                let number = index / WIDTH as u64;
                if tile.as_ref().is_none_or(|(held, _)| *held != number) {
                    tile = Some((number, leaves(files, report.size, number)?));
                }
                let at = (index % WIDTH as u64) as usize;
                let held = tile.as_ref().and_then(|(_, hashes)| hashes.get(at));
                // A tile that cannot be read was told by the pass.
                if held.is_some_and(|held| *held != leaf_hash(entry)) {
                    let what = "its entry is not the one that the tile has";
                    report.add(Fault::file(FaultKind::File, path, what).at(index));
                }
            }
            index += 1;
        }
    }
    if !parsed.records.is_empty() {
        report.unsettled_from = Some(base);
    }
    if parsed.end < report.size {
        let what = format!("it ends at entry {}, before the checkpoint", parsed.end);
        report.add(Fault::file(FaultKind::File, path, what));
    } else if parsed.bytes < bytes.len() {
        // A group that was not acknowledged.
        report.unfinished += 1;
    }
    Ok(())
}

/// What a tile of leaves says; nothing when it cannot be read, which the pass has found already.
fn leaves(files: &dyn Files, size: u64, index: u64) -> Result<Vec<Hash>, Error> {
    let wanted = Tile::new(Row::Level(0), index, width_at(size, 0, index));
    let bytes = match read_tile(files, wanted, WIDTH * 32) {
        Ok(found) => found.map(|(_, bytes)| bytes).unwrap_or_default(),
        Err(Error::Damaged { .. }) => Vec::new(),
        Err(error) => return Err(error),
    };
    Ok(tile::hashes(&bytes, wanted.width).unwrap_or_default())
}

/// The last bundle of which entries or hashes are there.
pub(super) fn last_bundle(files: &dyn Files) -> Result<Option<u64>, Error> {
    let mut last = None;
    for row in ["tile/entries", "tile/0"] {
        walk(files, row, DEPTH_MAX - 1, &mut |path, _| {
            last = last.max(Tile::parse(path).map(|tile| tile.index));
            Ok(())
        })?;
    }
    Ok(last)
}

/// Walks through all files: partial ones of earlier sizes are compared, unknown ones are named.
pub(super) fn others(files: &dyn Files, report: &mut Report) -> Result<(), Error> {
    let newest = wal::bases(files)?.pop();
    for name in files.list(wal::FOLDER)? {
        let base = wal::base(&name.name).filter(|_| !name.folder);
        let path = format!("{}/{}", wal::FOLDER, name.name);
        if base.is_some() {
            // An older one was put away, and a crash kept it from going. A later one than the newest of a
            // moment ago is the writer's.
            report.unfinished += u64::from(base < newest);
        } else if name.folder || ![LOCK, wal::TMP].contains(&&*path) {
            report.add(Fault::file(FaultKind::Unpublished, &path, "not a file of a log"));
        }
    }
    let mut beyond = Vec::new();
    walk(files, "tile", DEPTH_MAX, &mut |path, folder| {
        match Tile::parse(path).filter(|_| !folder) {
            Some(tile) if tile.width > width_at(report.size, row(tile), tile.index) => beyond.push(tile),
            Some(tile) => known(files, tile, path, report)?,
            None => report.add(Fault::file(FaultKind::Unpublished, path, "not a file of a log")),
        }
        Ok(())
    })?;
    if beyond.is_empty() {
        return Ok(());
    }
    // The writer's order: write-ahead log, tiles, checkpoint. Read after the files were seen, it has what they
    // have, whether a writer is at work or a crash left them.
    let written = match newest_segment(files) {
        Ok(Some((base, bytes))) => wal::parse(base, &bytes).map_or(0, |parsed| parsed.end),
        // Told by the check of it.
        Ok(None) | Err(Error::Damaged { .. }) => 0,
        Err(error) => return Err(error),
    };
    for tile in beyond {
        if end(tile).is_some_and(|end| end <= written) {
            report.unfinished += 1;
        } else {
            let what = "beyond the checkpoint and the write-ahead log";
            report.add(Fault::file(FaultKind::Unpublished, &tile.path(), what));
        }
    }
    Ok(())
}

fn row(tile: Tile) -> u8 {
    match tile.row {
        Row::Entries => 0,
        Row::Level(row) => row,
    }
}

/// The index after the last entry that a tile speaks of.
fn end(tile: Tile) -> Option<u64> {
    let hashes = tile
        .index
        .checked_mul(WIDTH as u64)?
        .checked_add(tile.width as u64)?;
    hashes.checked_mul(1_u64.checked_shl(8 * u32::from(row(tile)))?)
}

/// Gives every file below `folder`, and every folder that is too deep to be one of ours.
fn walk(
    files: &dyn Files,
    folder: &str,
    depth: usize,
    visit: &mut dyn FnMut(&str, bool) -> Result<(), Error>,
) -> Result<(), Error> {
    for name in files.list(folder)? {
        let path = format!("{folder}/{}", name.name);
        if name.folder && depth > 0 {
            walk(files, &path, depth - 1, visit)?;
        } else {
            visit(&path, name.folder)?;
        }
    }
    Ok(())
}

/// A file with the name of one of ours, which the pass may have read already.
fn known(files: &dyn Files, tile: Tile, path: &str, report: &mut Report) -> Result<(), Error> {
    let width = width_at(report.size, row(tile), tile.index);
    if tile.width == width {
        return Ok(());
    }
    let whole = Tile::new(tile.row, tile.index, width);
    let part = match files.read(path, BUNDLE_BYTES_MAX) {
        Ok(Some(part)) => part,
        // Removed since it was listed.
        Ok(None) => return Ok(()),
        Err(Error::Damaged { what, .. }) => {
            report.add(Fault::file(FaultKind::File, path, what));
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    let whole = match read_tile(files, whole, BUNDLE_BYTES_MAX) {
        Ok(Some((_, whole))) => whole,
        // The pass has found that already.
        Ok(None) | Err(Error::Damaged { .. }) => return Ok(()),
        Err(error) => return Err(error),
    };
    report.files += 1;
    let len = match tile.row {
        Row::Entries => bundle_bytes(&whole, tile.width),
        Row::Level(_) => Some(tile.width * 32),
    };
    if len.is_none_or(|len| whole.get(..len) != Some(part.as_slice())) {
        let what = "it is not the beginning of the larger one";
        report.add(Fault::file(FaultKind::File, path, what));
    }
    Ok(())
}

/// Bytes of the first `count` entries of a bundle.
fn bundle_bytes(bundle: &[u8], count: usize) -> Option<usize> {
    let mut rest = bundle;
    for _ in 0..count {
        tile::next_entry(&mut rest, "").ok()??;
    }
    Some(bundle.len() - rest.len())
}
