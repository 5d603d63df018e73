//! From files back to lines, while they are being written and rotated.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::rotated;

/// How much is read at once, backwards or forwards.
const BLOCK_BYTES: usize = 64 << 10;
/// The most that one look at the end of a file reads, so that `-n` with a huge number stays bounded.
const TAIL_BYTES_MAX: u64 = 32 << 20;
/// The most that one poll of a [`Follower`] reads.
const POLL_BYTES_MAX: usize = 1 << 20;

/// The last `count` lines of the journal in `path`, oldest first, going back into the rotated file where the
/// newer one has too few, and a [`Follower`] that goes on right behind them.
///
/// # Errors
/// When a file that exists cannot be read.
pub fn last_lines(path: &Path, count: usize) -> io::Result<(Vec<String>, Follower)> {
    let mut follower = Follower::at_end(path)?;
    let mut lines = match &mut follower.file {
        Some(file) => {
            let (lines, partial) = tail(file, follower.offset, count)?;
            follower.partial = partial;
            lines
        }
        None => Vec::new(),
    };
    if lines.len() < count
        && let Some(mut older) = open(&rotated(path))?
    {
        let length = older.metadata()?.len();
        let (mut all, _) = tail(&mut older, length, count - lines.len())?;
        all.append(&mut lines);
        lines = all;
    }
    Ok((lines, follower))
}

fn open(path: &Path) -> io::Result<Option<File>> {
    match fs_err::File::open(path) {
        Ok(file) => Ok(Some(file.into_parts().0)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The last `count` complete lines before `end`, and the unfinished one behind them.
fn tail(file: &mut File, end: u64, count: usize) -> io::Result<(Vec<String>, Vec<u8>)> {
    let mut bytes: Vec<u8> = Vec::new();
    let (mut start, mut newlines) = (end, 0);
    // One newline more than lines: the one that ends the line before the first wanted.
    while start > 0 && newlines <= count && end - start < TAIL_BYTES_MAX {
        let length = start.min(BLOCK_BYTES as u64);
        start -= length;
        let mut block = vec![0; usize::try_from(length).unwrap_or(BLOCK_BYTES)];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(&mut block)?;
        newlines += memchr::memchr_iter(b'\n', &block).count();
        block.extend_from_slice(&bytes);
        bytes = block;
    }
    let complete = memchr::memrchr(b'\n', &bytes).map_or(0, |last| last + 1);
    let partial = bytes.split_off(complete);
    let text = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    if complete == 0 || count == 0 {
        return Ok((Vec::new(), partial));
    }
    let mut lines: Vec<String> = text.split(|byte| *byte == b'\n').map(to_text).collect();
    lines.drain(..lines.len().saturating_sub(count));
    Ok((lines, partial))
}

fn to_text(line: &[u8]) -> String {
    String::from_utf8_lossy(line).into_owned()
}

/// Reads what is added to a journal, through rotations, for as long as it is polled.
#[derive(Debug)]
pub struct Follower {
    path: PathBuf,
    file: Option<File>,
    offset: u64,
    partial: Vec<u8>,
}

impl Follower {
    /// Follows from the present end of `path`, which need not exist yet.
    ///
    /// # Errors
    /// When the file exists and cannot be opened.
    pub fn at_end(path: &Path) -> io::Result<Self> {
        let file = open(path)?;
        let offset = match &file {
            Some(file) => file.metadata()?.len(),
            None => 0,
        };
        Ok(Self {
            path: path.to_owned(),
            file,
            offset,
            partial: Vec::new(),
        })
    }

    /// The lines that were completed since the last poll; at most about a megabyte of them, and `true` when
    /// there is more to read at once.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn poll(&mut self) -> io::Result<(Vec<String>, bool)> {
        let mut lines = Vec::new();
        let mut more = self.read(&mut lines)?;
        if !more && self.was_rotated()? {
            // The old file is read to its end, so nothing between the two is missed.
            more = self.read(&mut lines)?;
            if !more {
                if !self.partial.is_empty() {
                    lines.push(to_text(&std::mem::take(&mut self.partial)));
                }
                self.file = open(&self.path)?;
                self.offset = 0;
                more = self.read(&mut lines)?;
            }
        }
        Ok((lines, more))
    }

    /// Whether `path` leads to another file than the one that is open.
    fn was_rotated(&self) -> io::Result<bool> {
        let there = match fs_err::metadata(&self.path) {
            Ok(meta) => meta,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        let Some(file) = &self.file else {
            return Ok(true);
        };
        let here = file.metadata()?;
        Ok((here.ino(), here.dev()) != (there.ino(), there.dev()))
    }

    /// Reads on in the open file; `true` when it stopped at the bound and not at the end.
    fn read(&mut self, lines: &mut Vec<String>) -> io::Result<bool> {
        let Some(file) = &mut self.file else {
            return Ok(false);
        };
        if file.metadata()?.len() < self.offset {
            // Somebody emptied the file: begin anew.
            self.offset = 0;
            self.partial.clear();
        }
        file.seek(SeekFrom::Start(self.offset))?;
        let mut block = vec![0; BLOCK_BYTES];
        let mut total = 0;
        while total < POLL_BYTES_MAX {
            let length = file.read(&mut block)?;
            if length == 0 {
                return Ok(false);
            }
            total += length;
            self.offset += length as u64;
            self.partial.extend_from_slice(&block[..length]);
            if let Some(last) = memchr::memrchr(b'\n', &self.partial) {
                lines.extend(self.partial[..last].split(|byte| *byte == b'\n').map(to_text));
                self.partial.drain(..=last);
            }
        }
        Ok(true)
    }
}
