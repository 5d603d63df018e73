//! Recent spans on disk: numbered segments of checksummed blocks, the oldest removed when there are too many.
//!
//! A block is written by one call after its bytes are complete. A process that is killed in the middle
//! leaves a torn block at a segment's end, which readers see by its checksum and pass over; nothing is ever
//! written behind it, because every process begins a segment of its own. Nothing is synced: spans are no
//! evidence, and the page cache outlives `kill -9`. It refuses to know what blocks hold.

use std::collections::VecDeque;
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use fs_err::os::unix::fs::OpenOptionsExt as _;

/// What a segment begins with: the format and its version.
const MAGIC: &[u8; 8] = b"RCSPANS1";
/// What a block begins with, so that a reader finds the next one behind damage.
const MARK: [u8; 4] = [0xf5, b'R', b'C', b'b'];
/// [`MARK`], the length of what follows, and its CRC-32 (IEEE 802.3), both little-endian.
pub(crate) const BLOCK_HEAD_BYTES: usize = 12;
/// Longest block that a reader believes in.
pub(crate) const BLOCK_BYTES_MAX: usize = 4 << 20;
/// The file name's ending.
const EXTENSION: &str = "spans";
/// Into how many segments a full ring is divided: what goes at one time is one of them.
const SEGMENTS: u64 = 8;
/// Most segments, also when restarts made many small ones.
const SEGMENTS_MAX: usize = 64;
/// The least that a ring keeps: one segment must hold a whole block.
pub const KEEP_BYTES_MIN: u64 = SEGMENTS * (BLOCK_BYTES_MAX as u64) / 4;

/// Where a process keeps its spans, and how many.
#[derive(Debug, Clone)]
pub struct RingConfig {
    /// `.royalcrown/traces/<service>`; made when it is not there.
    pub folder: PathBuf,
    /// Most bytes in the folder; at least [`KEEP_BYTES_MIN`].
    pub keep_bytes: u64,
}

/// The writing end. Owned by the flush task.
#[derive(Debug)]
pub(crate) struct Ring {
    config: RingConfig,
    /// Those that are complete, oldest first.
    closed: VecDeque<Segment>,
    open: Option<Open>,
    next: u64,
}

#[derive(Debug)]
struct Segment {
    number: u64,
    bytes: u64,
}

#[derive(Debug)]
struct Open {
    file: fs_err::File,
    segment: Segment,
}

impl Ring {
    /// A ring over what is in the folder. Nothing is written before the first block.
    pub(crate) fn new(mut config: RingConfig) -> Self {
        config.keep_bytes = config.keep_bytes.max(KEEP_BYTES_MIN);
        Self {
            config,
            closed: VecDeque::new(),
            open: None,
            next: 0,
        }
    }

    /// Appends a block whose first [`BLOCK_HEAD_BYTES`] are free for its head.
    pub(crate) fn append(&mut self, block: &mut [u8]) -> io::Result<()> {
        seal(block);
        let len = block.len() as u64;
        let segment_max = self.config.keep_bytes / SEGMENTS;
        let replaced = |open: &mut Open| {
            // Somebody removed the folder to get rid of old traces: what is written there is lost.
            open.file.metadata().is_ok_and(|found| found.nlink() == 0)
        };
        if let Some(open) = &mut self.open {
            if replaced(open) {
                self.open = None;
            } else if open.segment.bytes + len > segment_max {
                self.closed.extend(self.open.take().map(|open| open.segment));
            }
        }
        let open = match &mut self.open {
            Some(open) => open,
            None => {
                let opened = self.begin()?;
                self.open.insert(opened)
            }
        };
        let written = open.file.write_all(block);
        match written {
            Ok(()) => {
                open.segment.bytes += len;
                self.trim();
                Ok(())
            }
            Err(error) => {
                // Half a block would hide what comes behind it: take it back, or begin anew.
                if open.file.set_len(open.segment.bytes).is_err() {
                    self.closed.extend(self.open.take().map(|open| open.segment));
                }
                Err(error)
            }
        }
    }

    /// Opens the next segment. Another process's are never written to.
    fn begin(&mut self) -> io::Result<Open> {
        let folder = &self.config.folder;
        fs_err::create_dir_all(folder)?;
        fs_err::set_permissions(folder, std::fs::Permissions::from_mode(0o700))?;
        let found = segments(folder)?;
        self.next = self.next.max(found.last().map_or(1, |(number, _)| number + 1));
        self.closed = found
            .into_iter()
            .filter_map(|(number, path)| {
                let bytes = fs_err::metadata(path).ok()?.len();
                Some(Segment { number, bytes })
            })
            .collect();
        let number = self.next;
        self.next += 1;
        // Appending writes at the end wherever that is after a cut.
        let mut file = fs_err::OpenOptions::new()
            .append(true)
            .create_new(true)
            .mode(0o600)
            .open(path_of(folder, number))?;
        if let Err(error) = file.write_all(MAGIC) {
            // A full disk may still take names: an empty segment for each attempt would use them up.
            let _ = fs_err::remove_file(path_of(folder, number));
            return Err(error);
        }
        Ok(Open {
            file,
            segment: Segment {
                number,
                bytes: MAGIC.len() as u64,
            },
        })
    }

    /// Removes the oldest segments until the rest is within the bounds.
    fn trim(&mut self) {
        let open = self.open.as_ref().map_or(0, |open| open.segment.bytes);
        let mut total: u64 = open + self.closed.iter().map(|segment| segment.bytes).sum::<u64>();
        while total > self.config.keep_bytes || self.closed.len() >= SEGMENTS_MAX {
            let Some(oldest) = self.closed.pop_front() else {
                return;
            };
            // One that is gone already, or that somebody made unremovable, does not hold up the next.
            let _ = fs_err::remove_file(path_of(&self.config.folder, oldest.number));
            total -= oldest.bytes;
        }
    }
}

/// Fills in the head of a block.
fn seal(block: &mut [u8]) {
    let (head, body) = block.split_at_mut(BLOCK_HEAD_BYTES);
    let len = u32::try_from(body.len()).expect("a block is bounded by its buffer");
    head[..4].copy_from_slice(&MARK);
    head[4..8].copy_from_slice(&len.to_le_bytes());
    head[8..].copy_from_slice(&crc32fast::hash(body).to_le_bytes());
}

fn path_of(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:06}.{EXTENSION}"))
}

/// The segments in `folder`, oldest first. A folder that is not there has none.
pub(crate) fn segments(folder: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let entries = match fs_err::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let number = path
            .file_stem()
            .and_then(|stem| stem.to_str()?.parse::<u64>().ok());
        if let Some(number) = number
            && path.extension().is_some_and(|extension| extension == EXTENSION)
        {
            found.push((number, path));
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// The whole blocks of a segment, in order. Damage is passed over.
#[derive(Debug)]
pub(crate) struct Blocks<'a> {
    rest: &'a [u8],
}

impl<'a> Blocks<'a> {
    pub(crate) fn of(segment: &'a [u8]) -> Self {
        Self {
            rest: segment.strip_prefix(MAGIC).unwrap_or_default(),
        }
    }

    /// The block at the start of what is left.
    fn whole(&self) -> Option<&'a [u8]> {
        let (head, rest) = self.rest.split_at_checked(BLOCK_HEAD_BYTES)?;
        let number = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let len = usize::try_from(number(4))
            .ok()
            .filter(|len| *len <= BLOCK_BYTES_MAX)?;
        let body = rest.get(..len).filter(|_| head[..4] == MARK)?;
        (crc32fast::hash(body) == number(8)).then_some(body)
    }
}

impl<'a> Iterator for Blocks<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<Self::Item> {
        while !self.rest.is_empty() {
            if let Some(body) = self.whole() {
                self.rest = &self.rest[BLOCK_HEAD_BYTES + body.len()..];
                return Some(body);
            }
            let behind = &self.rest[1..];
            let next = behind.windows(MARK.len()).position(|window| window == MARK);
            self.rest = next.map_or(&[], |at| &behind[at..]);
        }
        None
    }
}

#[cfg(test)]
mod tests;
