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
    for _ in 0..MOVED_TRIES {
        let Some(base) = wal::bases(files)?.pop() else {
            break;
        };
        let path = wal::path(base);
        match files.read(&path, wal::SEGMENT_BYTES_MAX) {
            Ok(Some(bytes)) => return segment(files, base, &path, &bytes, report),
            Ok(None) => {}
            Err(Error::Damaged { what, .. }) => {
                report.add(Fault::file(FaultKind::File, &path, what));
                return Ok(());
            }
            Err(error) => return Err(error),
        }
    }
    let what = "there is no write-ahead log: nothing can be appended";
    report.add(Fault::file(FaultKind::File, wal::FOLDER, what));
    Ok(())
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
                if held != Some(&leaf_hash(entry)) {
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
        let what = format!(
            "{} bytes of a group that was not acknowledged",
            bytes.len() - parsed.bytes
        );
        report.add(Fault::file(FaultKind::Unpublished, path, what));
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

/// Walks through all files: partial ones of earlier sizes are compared, unknown ones are named.
pub(super) fn others(files: &dyn Files, report: &mut Report) -> Result<(), Error> {
    let newest = wal::bases(files)?.pop();
    for name in files.list(wal::FOLDER)? {
        let base = wal::base(&name.name);
        // A later segment than the newest of a moment ago is the writer's.
        let path = format!("{}/{}", wal::FOLDER, name.name);
        if name.folder || (![LOCK, wal::TMP].contains(&&*path) && (base.is_none() || base < newest)) {
            report.add(Fault::file(
                FaultKind::Unpublished,
                &path,
                "left by a crash, or not ours",
            ));
        }
    }
    walk(files, "tile", DEPTH_MAX, report)
}

fn walk(files: &dyn Files, folder: &str, depth: usize, report: &mut Report) -> Result<(), Error> {
    for name in files.list(folder)? {
        let path = format!("{folder}/{}", name.name);
        if name.folder && depth > 0 {
            walk(files, &path, depth - 1, report)?;
            continue;
        }
        match Tile::parse(&path).filter(|_| !name.folder) {
            Some(tile) => known(files, tile, &path, report)?,
            None => report.add(Fault::file(FaultKind::Unpublished, &path, "not a file of a log")),
        }
    }
    Ok(())
}

/// A file with the name of one of ours, which the pass may have read already.
fn known(files: &dyn Files, tile: Tile, path: &str, report: &mut Report) -> Result<(), Error> {
    let row = match tile.row {
        Row::Entries => 0,
        Row::Level(row) => row,
    };
    let width = width_at(report.size, row, tile.index);
    if tile.width > width {
        // A writer at work, or a crash before the checkpoint.
        report.add(Fault::file(
            FaultKind::Unpublished,
            path,
            "beyond the checkpoint: being appended, or cut off by a crash",
        ));
        return Ok(());
    }
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
