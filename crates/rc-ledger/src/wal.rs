//! The write-ahead log: entries since the last full tile that is known to be on disk, one record a group.
//!
//! A group is durable when its record is; tiles and bundles are made from it and can be made again. A record
//! is `length u32 | SHA-256 of the body, first 8 bytes | body`, a body is `first index u64 | entries as in a
//! bundle`. A segment begins with its magic, its base and a checksum of both, and is named by its base, which
//! is a multiple of 256: no entry before the base is needed to write the tile that is open.

use sha2::{Digest as _, Sha256};

use crate::Error;
use crate::disk::{Disk, Files};
use crate::log::{ENTRY_BYTES_MAX, GROUP_BYTES_MAX, GROUP_ENTRIES_MAX};
use crate::tile::{self, WIDTH};

/// Where new files are written before they are moved to their names.
pub(crate) const TMP: &str = "wal/tmp";

/// Where segments are.
pub(crate) const FOLDER: &str = "wal";

const SUFFIX: &str = ".wal";

const MAGIC: &[u8; 8] = b"RCWAL01\n";

const SUM_BYTES: usize = 8;

/// Magic, base, checksum.
const HEADER_BYTES: usize = MAGIC.len() + 8 + SUM_BYTES;

/// Length and checksum of a record.
const PREFIX_BYTES: usize = 4 + SUM_BYTES;

/// Bytes of groups after which a segment is put away: what an opening after a crash has to read again.
pub(crate) const SEGMENT_BYTES: usize = 16 * 1024 * 1024;

/// Entries after which a segment is put away.
pub(crate) const SEGMENT_ENTRIES: u64 = 65_536;

/// Largest segment: an open tile that was carried over, a nearly full segment, and one more group, with the
/// lengths of their entries and records.
pub(crate) const SEGMENT_BYTES_MAX: usize = HEADER_BYTES
    + (WIDTH + SEGMENT_ENTRIES as usize) * (PREFIX_BYTES + 8)
    + WIDTH * (2 + ENTRY_BYTES_MAX)
    + SEGMENT_BYTES
    + 2 * GROUP_ENTRIES_MAX
    + GROUP_BYTES_MAX;

/// A segment that is being written.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) path: String,
    /// Index of its first entry.
    pub(crate) base: u64,
    /// Bytes of groups, without those carried over from the segment before.
    pub(crate) bytes: usize,
}

/// One group of a segment that was read. It follows the one before it.
#[derive(Debug)]
pub(crate) struct Record<'a> {
    /// Entries as in a bundle.
    pub(crate) bundle: &'a [u8],
}

/// What a segment's bytes say.
#[derive(Debug)]
pub(crate) struct Parsed<'a> {
    pub(crate) records: Vec<Record<'a>>,
    /// Index after the last entry of a whole record.
    pub(crate) end: u64,
    /// Bytes up to there; what follows is torn.
    pub(crate) bytes: usize,
}

/// The record of a group.
pub(crate) fn record(first: u64, bundle: &[u8]) -> Vec<u8> {
    let len = u32::try_from(8 + bundle.len()).expect("a group has at most 32 MiB");
    let mut record = Vec::with_capacity(PREFIX_BYTES + 8 + bundle.len());
    record.extend_from_slice(&len.to_be_bytes());
    record.extend_from_slice(&[0; SUM_BYTES]);
    record.extend_from_slice(&first.to_be_bytes());
    record.extend_from_slice(bundle);
    let sum = sum(&record[PREFIX_BYTES..]);
    record[4..PREFIX_BYTES].copy_from_slice(&sum);
    record
}

/// Makes a new segment that begins with `records`; it is on disk under its name when this returns.
pub(crate) fn begin(disk: &mut dyn Disk, base: u64, records: &[Vec<u8>]) -> Result<Segment, Error> {
    let path = path(base);
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&base.to_be_bytes());
    let sum = sum(&bytes);
    bytes.extend_from_slice(&sum);
    for record in records {
        bytes.extend_from_slice(record);
    }
    replace(disk, &path, &bytes)?;
    Ok(Segment { path, base, bytes: 0 })
}

/// Makes the file at `path` hold `bytes`; it is on disk under its name when this returns.
pub(crate) fn replace(disk: &mut dyn Disk, path: &str, bytes: &[u8]) -> Result<(), Error> {
    disk.write(TMP, bytes)?;
    disk.sync(TMP)?;
    disk.rename(TMP, path)?;
    disk.sync_folder(FOLDER)
}

/// Bases of the segments that there are, in order.
pub(crate) fn bases(files: &(impl Files + ?Sized)) -> Result<Vec<u64>, Error> {
    let names = files.list(FOLDER)?;
    Ok(names.iter().filter_map(|name| base(&name.name)).collect())
}

/// The base that a file in the folder is named by, when it is a segment.
pub(crate) fn base(name: &str) -> Option<u64> {
    let base: u64 = name.strip_suffix(SUFFIX)?.parse().ok()?;
    (path(base).strip_prefix("wal/") == Some(name)).then_some(base)
}

pub(crate) fn path(base: u64) -> String {
    format!("{FOLDER}/{base:020}{SUFFIX}")
}

/// Reads a segment's bytes, up to the first record that is not whole.
pub(crate) fn parse(base: u64, bytes: &[u8]) -> Result<Parsed<'_>, Error> {
    let (start, own) = bytes
        .split_at_checked(HEADER_BYTES)
        .map_or((&[][..], &[][..]), |(header, _)| {
            header.split_at(HEADER_BYTES - SUM_BYTES)
        });
    let says = start
        .strip_prefix(MAGIC)
        .and_then(|base| <[u8; 8]>::try_from(base).ok());
    if says != Some(base.to_be_bytes()) || sum(start) != *own || !base.is_multiple_of(WIDTH as u64) {
        return Err(Error::damaged(path(base), "it does not begin as a segment"));
    }
    let mut parsed = Parsed {
        records: Vec::new(),
        end: base,
        bytes: HEADER_BYTES,
    };
    let mut rest = &bytes[HEADER_BYTES..];
    while let Some((record, count, after)) = next(rest, parsed.end) {
        parsed.bytes += rest.len() - after.len();
        parsed.end += count;
        parsed.records.push(record);
        rest = after;
    }
    Ok(parsed)
}

/// The whole record at the front, how many entries it has, and what follows.
fn next(bytes: &[u8], end: u64) -> Option<(Record<'_>, u64, &[u8])> {
    let (len, rest) = bytes.split_first_chunk()?;
    let (own, rest) = rest.split_at_checked(SUM_BYTES)?;
    let (body, rest) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*len)).ok()?)?;
    if sum(body) != *own {
        return None;
    }
    let (first, bundle) = body.split_first_chunk()?;
    let first = u64::from_be_bytes(*first);
    let mut left = bundle;
    let mut count = 0;
    while tile::next_entry(&mut left, "").ok()?.is_some() {
        count += 1;
    }
    (first == end && count > 0).then_some((Record { bundle }, count, rest))
}

fn sum(bytes: &[u8]) -> [u8; SUM_BYTES] {
    let digest = Sha256::digest(bytes);
    std::array::from_fn(|at| digest[at])
}

#[cfg(test)]
mod tests;
