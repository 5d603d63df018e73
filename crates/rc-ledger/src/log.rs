//! The one writer of a log: a group of entries becomes durable, then visible, then acknowledged.
//!
//! The order is what a crash at any point is survived by. A group is written to the write-ahead log and synced:
//! from here on it will be in the log. Its bundles and tiles are written beside and renamed. The checkpoint is
//! written, synced, renamed, and its name synced: from here on the group is acknowledged. Bundles and tiles are
//! synced once a segment of the write-ahead log, before that segment goes; until then they can be made again.
//!
//! It refuses to know what entries say, to retry, and to go on after a failed write without reading the disk.

mod recover;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rc_model::Clock;

use crate::disk::{Disk, Files, Folder, LockedFolder};
use crate::tile::{self, Row, Tile, WIDTH};
use crate::tree::{self, Edge};
use crate::wal::{self, Segment};
use crate::{Checkpoint, Entries, Error, Hash, Signer};

/// Longest entry, in bytes: bundles have two bytes for a length.
pub const ENTRY_BYTES_MAX: usize = 65_535;

/// Most entries in one group: what one append holds in memory and one crash may leave to be read again.
pub const GROUP_ENTRIES_MAX: usize = 4_096;

/// Most bytes in one group, entries only.
pub const GROUP_BYTES_MAX: usize = 32 * 1024 * 1024;

/// The signed tree head, as a file.
pub(crate) const CHECKPOINT: &str = "checkpoint";

/// What an append came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    /// Index of the group's first entry; the others follow it.
    pub first_index: u64,
    /// The checkpoint that covers them, published and on disk.
    pub checkpoint: Checkpoint,
}

/// The one writer of a log's folder. It blocks on the disk: three syncs an append.
#[derive(Debug)]
pub struct Log {
    dir: PathBuf,
    disk: Box<dyn Disk>,
    signer: Signer,
    clock: Arc<dyn Clock>,
    state: State,
    /// A write failed: what is on disk must be read before anything else is written.
    stopped: bool,
}

/// What the writer keeps in memory; all of it can be read from the disk.
#[derive(Debug)]
struct State {
    checkpoint: Checkpoint,
    edge: Edge,
    /// Entries of the bundle that is not full yet.
    open: Vec<u8>,
    /// Where groups ended in the open bundle: entries, and bytes of `open`.
    ends: Vec<(usize, usize)>,
    /// Of each level of tiles, how many hashes there were when its partial tile was last written.
    written: Vec<u64>,
    segment: Segment,
}

impl Log {
    /// Whether a log was ever begun in this folder, whole or damaged: then [`Log::open`] is the right call.
    ///
    /// # Errors
    /// [`Error::Io`] when the folder cannot be read.
    pub fn exists(dir: &Path) -> Result<bool, Error> {
        exists(&Folder::new(dir))
    }

    /// Makes an empty log, and signs that it is empty.
    ///
    /// # Errors
    /// [`Error::Exists`] when a log is there, or when `last_known`, kept in a second place, says that there was
    /// one; [`Error::Locked`]; what the disk says.
    pub fn create(
        dir: &Path,
        signer: Signer,
        last_known: Option<&Checkpoint>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Error> {
        if let Some(known) = last_known {
            return Err(Error::Exists {
                dir: dir.to_owned(),
                what: format!("a checkpoint of {} entries is known", known.size),
            });
        }
        let disk = LockedFolder::take(dir, true)?;
        Self::create_on(dir, Box::new(disk), signer, clock)
    }

    /// Opens a log and finishes what its last process left half done: a torn group is cut off, one that was
    /// durable but not yet acknowledged is kept, tiles are made again from entries.
    ///
    /// # Errors
    /// [`Error::NoLog`], [`Error::Locked`]; [`Error::RolledBack`] and [`Error::Forked`] when the entries are not
    /// those that the last checkpoint or `last_known`, kept in a second place, were signed for;
    /// [`Error::Untrusted`] when another key signed them; [`Error::Damaged`]; what the disk says.
    pub fn open(
        dir: &Path,
        signer: Signer,
        last_known: Option<&Checkpoint>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Error> {
        let disk = LockedFolder::take(dir, false)?;
        Self::open_on(dir, Box::new(disk), signer, last_known, clock)
    }

    fn create_on(
        dir: &Path,
        mut disk: Box<dyn Disk>,
        signer: Signer,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Error> {
        if exists(disk.as_ref())? {
            return Err(Error::Exists {
                dir: dir.to_owned(),
                what: "it has the files of a log".to_owned(),
            });
        }
        disk.remove(wal::TMP)?;
        let segment = wal::begin(disk.as_mut(), 0, &[])?;
        let checkpoint = signer.sign(0, tree::empty_root(), now_s(&*clock));
        publish(disk.as_mut(), &checkpoint)?;
        Ok(Self {
            dir: dir.to_owned(),
            disk,
            signer,
            clock,
            state: State {
                checkpoint,
                edge: Edge::default(),
                open: Vec::new(),
                ends: Vec::new(),
                written: Vec::new(),
                segment,
            },
            stopped: false,
        })
    }

    fn open_on(
        dir: &Path,
        mut disk: Box<dyn Disk>,
        signer: Signer,
        last_known: Option<&Checkpoint>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Error> {
        let known = last_known.map(|checkpoint| (recover::SECOND_PLACE, checkpoint));
        let state = recover::recover(dir, disk.as_mut(), &signer, known, &*clock)?;
        Ok(Self {
            dir: dir.to_owned(),
            disk,
            signer,
            clock,
            state,
            stopped: false,
        })
    }

    /// Appends a group: all of it or nothing, also across a crash. When this returns, the entries, and a
    /// checkpoint that covers them, are on disk. An empty group changes nothing.
    ///
    /// # Errors
    /// [`Error::TooLarge`] before anything is written. After any other error it is not known whether the group
    /// will be there: call [`Log::recover`], then look at [`Log::size`] and, where it grew, at the entries.
    pub fn append(&mut self, entries: &[Vec<u8>]) -> Result<Appended, Error> {
        if self.stopped {
            return Err(Error::Stopped);
        }
        check_group(entries)?;
        let first_index = self.state.edge.size();
        if !entries.is_empty() {
            // Cleared when everything has gone well: `?` leaves the log stopped.
            self.stopped = true;
            self.append_group(first_index, entries)?;
            self.stopped = false;
        }
        Ok(Appended {
            first_index,
            checkpoint: self.state.checkpoint.clone(),
        })
    }

    fn append_group(&mut self, first: u64, entries: &[Vec<u8>]) -> Result<(), Error> {
        let mut group = Vec::with_capacity(entries.iter().map(|entry| entry.len() + 2).sum());
        for entry in entries {
            tile::push_entry(&mut group, entry);
        }
        let record = wal::record(first, &group);
        let state = &mut self.state;
        self.disk.append(&state.segment.path, &record)?;
        self.disk.sync(&state.segment.path)?;
        state.segment.bytes += record.len();

        let mut full = Vec::new();
        for entry in entries {
            state.push(entry, &mut full);
        }
        state.end_group();
        for (tile, bytes) in &full {
            write_full(self.disk.as_mut(), *tile, bytes)?;
        }
        let (size, root) = (state.edge.size(), state.edge.root());
        state.write_partials(self.disk.as_mut(), size, put)?;
        let checkpoint = self.signer.sign(size, root, now_s(&*self.clock));
        publish(self.disk.as_mut(), &checkpoint)?;
        state.checkpoint = checkpoint;
        // Partial files of a full tile are not needed by any reader: it looks for the full one then.
        for (tile, _) in &full {
            self.disk.remove_folder(&tile.partials())?;
        }
        if state.segment.bytes >= wal::SEGMENT_BYTES || size - state.segment.base >= wal::SEGMENT_ENTRIES {
            state.settle(self.disk.as_mut())?;
        }
        Ok(())
    }

    /// After a failed append: reads again what is on disk, as [`Log::open`] does, and takes entries again.
    ///
    /// # Errors
    /// Those of [`Log::open`]. The log stays stopped, and this can be called again.
    pub fn recover(&mut self) -> Result<(), Error> {
        self.stopped = true;
        let known = Some((recover::THIS_PROCESS, &self.state.checkpoint));
        let state = recover::recover(&self.dir, self.disk.as_mut(), &self.signer, known, &*self.clock)?;
        self.state = state;
        self.stopped = false;
        Ok(())
    }

    /// Entries that were appended, all of them covered by [`Log::checkpoint`].
    #[must_use]
    pub fn size(&self) -> u64 {
        self.state.checkpoint.size()
    }

    /// The newest checkpoint, to be kept in a second place too.
    #[must_use]
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.state.checkpoint
    }

    /// The log's folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The log's keys, whose public halves are given to who checks it.
    #[must_use]
    pub fn signer(&self) -> &Signer {
        &self.signer
    }

    /// Entries with their indices, in order; `range` is cut to the log's size.
    pub fn entries(&self, range: Range<u64>) -> Entries<'_> {
        let files: &dyn Files = self.disk.as_ref();
        Entries::new(files, self.size(), range)
    }

    /// Moves everything out of the write-ahead log, so that the next opening has nothing to do. A log that is
    /// dropped without it loses nothing.
    ///
    /// # Errors
    /// What the disk says.
    pub fn close(mut self) -> Result<(), Error> {
        if self.stopped {
            return Err(Error::Stopped);
        }
        self.state.settle(self.disk.as_mut())
    }
}

impl State {
    /// Adds an entry in memory; `full` gets the files that it fills.
    fn push(&mut self, entry: &[u8], full: &mut Vec<(Tile, Vec<u8>)>) {
        tile::push_entry(&mut self.open, entry);
        let leaf = tree::leaf_hash(entry);
        let pushed: Result<(), std::convert::Infallible> =
            self.edge.push(leaf, |level, index, hashes: &[Hash]| {
                if level == 0 {
                    let bundle = std::mem::take(&mut self.open);
                    full.push((Tile::full(Row::Entries, index), bundle));
                    self.ends.clear();
                }
                full.push((Tile::full(Row::Level(level), index), tile::join(hashes)));
                Ok(())
            });
        let Ok(()) = pushed;
    }

    /// A group ended: this size will be signed.
    fn end_group(&mut self) {
        let width = self.edge.open(0).len();
        if width > 0 {
            self.ends.push((width, self.open.len()));
        }
    }

    /// Writes the partial files of this size, but not those that are there since the last one, nor those of
    /// tiles that are full at `later`, the size that the log is about to have.
    fn write_partials(
        &mut self,
        disk: &mut dyn Disk,
        later: u64,
        put: impl Fn(&mut dyn Disk, &str, &[u8]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let size = self.edge.size();
        self.written.resize(self.edge.levels(), 0);
        for (number, written) in (0_u8..).zip(&mut self.written) {
            let hashes = self.edge.open(number.into());
            let count = size >> (8 * u32::from(number));
            let index = count / WIDTH as u64;
            let filled = later >> (8 * u32::from(number)) >= (index + 1) * WIDTH as u64;
            if hashes.is_empty() || *written == count || filled {
                continue;
            }
            if number == 0 {
                let bundle = Tile::new(Row::Entries, index, hashes.len());
                put(disk, &bundle.path(), &self.open)?;
            }
            let tile = Tile::new(Row::Level(number), index, hashes.len());
            put(disk, &tile.path(), &tile::join(hashes))?;
            *written = count;
        }
        Ok(())
    }

    /// Everything that was written is on disk; the write-ahead log goes back to the open tile.
    fn settle(&mut self, disk: &mut dyn Disk) -> Result<(), Error> {
        let size = self.edge.size();
        let base = size - size % WIDTH as u64;
        disk.sync_all()?;
        if base == self.segment.base {
            return Ok(());
        }
        let mut records = Vec::new();
        let (mut entries, mut bytes) = (0, 0);
        for (entries_end, bytes_end) in &self.ends {
            records.push(wal::record(base + entries, &self.open[bytes..*bytes_end]));
            (entries, bytes) = (*entries_end as u64, *bytes_end);
        }
        let old = std::mem::replace(&mut self.segment, wal::begin(disk, base, &records)?);
        disk.remove(&old.path)
    }
}

/// Whether the folder has anything of a log. A write-ahead log without a record is left by a creation that was
/// cut short, and is nothing yet.
fn exists(files: &(impl Files + ?Sized)) -> Result<bool, Error> {
    if files.read(CHECKPOINT, crate::note::NOTE_BYTES_MAX)?.is_some() || !files.list("tile")?.is_empty() {
        return Ok(true);
    }
    for base in wal::bases(files)? {
        let bytes = files.read(&wal::path(base), wal::SEGMENT_BYTES_MAX)?;
        let records = bytes
            .is_some_and(|bytes| wal::parse(base, &bytes).map_or(true, |parsed| !parsed.records.is_empty()));
        if base > 0 || records {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether a log takes this group.
fn check_group(entries: &[Vec<u8>]) -> Result<(), Error> {
    if entries.len() > GROUP_ENTRIES_MAX {
        return Err(Error::TooLarge(format!(
            "the group has {} entries: more than {GROUP_ENTRIES_MAX}",
            entries.len()
        )));
    }
    let mut bytes = 0;
    for (number, entry) in entries.iter().enumerate() {
        bytes += entry.len();
        if entry.len() > ENTRY_BYTES_MAX {
            return Err(Error::TooLarge(format!(
                "entry {number} of the group has {} bytes: more than {ENTRY_BYTES_MAX}",
                entry.len()
            )));
        }
    }
    if bytes > GROUP_BYTES_MAX {
        return Err(Error::TooLarge(format!(
            "the group has {bytes} bytes: more than {GROUP_BYTES_MAX}"
        )));
    }
    Ok(())
}

/// A file whose content appears at once.
fn put(disk: &mut dyn Disk, path: &str, bytes: &[u8]) -> Result<(), Error> {
    disk.write(wal::TMP, bytes)?;
    disk.rename(wal::TMP, path)
}

/// Writes a full file, which is never written with other bytes.
fn write_full(disk: &mut dyn Disk, tile: Tile, bytes: &[u8]) -> Result<(), Error> {
    let path = tile.path();
    match disk.read(&path, bytes.len())? {
        None => put(disk, &path, bytes),
        Some(there) if there == bytes => Ok(()),
        Some(_) => Err(Error::damaged(
            path,
            "a full tile is there already, with other bytes",
        )),
    }
}

/// The checkpoint is on disk, under its name.
fn publish(disk: &mut dyn Disk, checkpoint: &Checkpoint) -> Result<(), Error> {
    disk.write(wal::TMP, checkpoint.text.as_bytes())?;
    disk.sync(wal::TMP)?;
    disk.rename(wal::TMP, CHECKPOINT)?;
    disk.sync_folder("")
}

fn now_s(clock: &dyn Clock) -> u64 {
    u64::try_from(clock.now().unix_ms() / 1000).unwrap_or(0)
}

#[cfg(test)]
pub(crate) mod tests;
