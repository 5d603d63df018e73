//! From a pipe into files. A child that floods its output is slowed to the disk's pace; it fills neither
//! memory nor disk, and it is never left blocked for ever: what cannot be written is dropped and counted.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{PipeReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rc_model::Clock;
use tokio_util::sync::CancellationToken;

use super::line::has_own_time;
use super::rotated;

/// Bounds of a journal.
#[derive(Debug, Clone, Copy)]
pub struct JournalOptions {
    /// The file is rotated when it would grow beyond this; one older file is kept.
    pub file_bytes_max: u64,
    /// So many of the last lines are kept in memory.
    pub tail_lines: usize,
}

impl Default for JournalOptions {
    fn default() -> Self {
        Self {
            file_bytes_max: 16 << 20,
            tail_lines: 20,
        }
    }
}

/// A longer line is cut into several.
const LINE_BYTES_MAX: usize = 64 << 10;
/// A line kept in memory is shortened to this.
const TAIL_LINE_BYTES_MAX: usize = 2 << 10;
/// How much is read from the pipe at once; the size of a pipe's buffer.
const CHUNK_BYTES: usize = 64 << 10;

/// The journal of one service, over all its instances.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    options: JournalOptions,
    /// `None` when the file could not be opened; tried again with every write.
    file: Option<File>,
    file_bytes: u64,
    tail: VecDeque<String>,
    /// Bytes that could not be written.
    lost_bytes: u64,
}

/// A journal that the capturing thread and the supervisor share. Held for one write at a time.
pub type Shared = Arc<Mutex<Journal>>;

impl Journal {
    /// The journal in the file `path`, which is continued when it exists. Never fails: a file that cannot be
    /// opened is tried again with each write.
    #[must_use]
    pub fn new(path: &Path, options: JournalOptions) -> Self {
        let mut journal = Self {
            path: path.to_owned(),
            options,
            file: None,
            file_bytes: 0,
            tail: VecDeque::new(),
            lost_bytes: 0,
        };
        journal.open();
        journal
    }

    fn open(&mut self) {
        self.file = None;
        let mut options = fs_err::OpenOptions::new();
        options.create(true).append(true);
        // Logs may name documents and tenants: for the owner only.
        fs_err::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        if let Ok(file) = options.open(&self.path) {
            let file = file.into_parts().0;
            self.file_bytes = file.metadata().map_or(0, |meta| meta.len());
            self.file = Some(file);
        }
    }

    /// What the present instance printed last, oldest first.
    #[must_use]
    pub fn tail(&self) -> Vec<String> {
        self.tail.iter().cloned().collect()
    }

    /// Forgets the last lines: what comes now is another instance's.
    pub fn clear_tail(&mut self) {
        self.tail.clear();
    }

    /// Bytes that could not be written so far.
    #[must_use]
    pub fn lost_bytes(&self) -> u64 {
        self.lost_bytes
    }

    /// Writes one line that carries its own time and is not the service's: a remark of the supervisor.
    pub fn note(&mut self, line: &str) {
        let mut text = line.replace('\n', " ").into_bytes();
        text.push(b'\n');
        self.write(&text);
    }

    /// Adds captured lines, none of which has its newline.
    fn push<'a>(&mut self, lines: impl Iterator<Item = &'a [u8]>, clock: &dyn Clock, out: &mut Vec<u8>) {
        out.clear();
        let stamp = clock.now().to_string();
        for line in lines {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if !has_own_time(line) {
                out.extend_from_slice(stamp.as_bytes());
                out.push(b' ');
            }
            out.extend_from_slice(line);
            out.push(b'\n');
            self.keep(line);
        }
        self.write(out);
    }

    fn keep(&mut self, line: &[u8]) {
        if self.options.tail_lines == 0 {
            return;
        }
        if self.tail.len() >= self.options.tail_lines {
            self.tail.pop_front();
        }
        let shown = &line[..line.len().min(TAIL_LINE_BYTES_MAX)];
        self.tail.push_back(String::from_utf8_lossy(shown).into_owned());
    }

    fn write(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let length = bytes.len() as u64;
        if self.file.is_none() {
            self.open();
        }
        if self.file_bytes > 0 && self.file_bytes + length > self.options.file_bytes_max {
            // When the old file cannot be moved away, it is emptied: the bound holds in any case.
            if fs_err::rename(&self.path, rotated(&self.path)).is_ok() {
                self.open();
            } else if let Some(file) = &self.file
                && file.set_len(0).is_ok()
            {
                self.file_bytes = 0;
            }
        }
        let written = self
            .file
            .as_mut()
            .is_some_and(|file| file.write_all(bytes).is_ok());
        if written {
            self.file_bytes += length;
        } else {
            // A full disk, mostly. The next write tries anew, so the journal goes on once there is room.
            self.lost_bytes += length;
        }
    }
}

/// Runs `f` on the shared journal. A thread that panicked while it wrote leaves at worst half a line.
pub(crate) fn with<T>(journal: &Shared, f: impl FnOnce(&mut Journal) -> T) -> T {
    f(&mut journal.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Captures what comes out of `pipe` until its last writer is gone, on a thread of its own: a slow disk
/// holds up the child that writes, nobody else. The token is cancelled when everything was written.
///
/// # Errors
/// When the thread cannot be started.
pub fn capture(
    name: &str,
    mut pipe: PipeReader,
    journal: Shared,
    clock: Arc<dyn Clock>,
) -> std::io::Result<CancellationToken> {
    let done = CancellationToken::new();
    let guard = done.clone().drop_guard();
    std::thread::Builder::new()
        .name(format!("log/{name}"))
        .stack_size(128 << 10)
        .spawn(move || {
            let _done_when_dropped = guard;
            let mut chunk = vec![0; CHUNK_BYTES];
            let mut out = Vec::with_capacity(CHUNK_BYTES);
            let mut splitter = Splitter::default();
            loop {
                match pipe.read(&mut chunk) {
                    Ok(0) => break,
                    Ok(length) => splitter.push(&chunk[..length], |lines| {
                        with(&journal, |journal| journal.push(lines, &*clock, &mut out));
                    }),
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                    Err(_) => break,
                }
            }
            if let Some(rest) = splitter.rest() {
                with(&journal, |journal| {
                    journal.push(std::iter::once(rest), &*clock, &mut out)
                });
            }
        })?;
    Ok(done)
}

/// Cuts a stream of bytes into lines and holds at most one unfinished line.
#[derive(Debug, Default)]
pub(super) struct Splitter {
    partial: Vec<u8>,
}

impl Splitter {
    /// Takes in `bytes` and gives away the lines that are complete.
    pub(super) fn push(&mut self, bytes: &[u8], give: impl FnOnce(&mut dyn Iterator<Item = &[u8]>)) {
        self.partial.extend_from_slice(bytes);
        let complete = match memchr::memrchr(b'\n', &self.partial) {
            Some(last) => last + 1,
            None if self.partial.len() >= LINE_BYTES_MAX => self.partial.len(),
            None => return,
        };
        let text = &self.partial[..complete];
        let text = text.strip_suffix(b"\n").unwrap_or(text);
        let mut lines = text.split(|byte| *byte == b'\n').flat_map(|line| {
            // `chunks` gives nothing for an empty line, which is a line all the same.
            let empty = line.is_empty().then_some(line);
            empty.into_iter().chain(line.chunks(LINE_BYTES_MAX))
        });
        give(&mut lines);
        self.partial.drain(..complete);
    }

    /// The unfinished line, if there is one.
    pub(super) fn rest(&self) -> Option<&[u8]> {
        (!self.partial.is_empty()).then_some(self.partial.as_slice())
    }
}
