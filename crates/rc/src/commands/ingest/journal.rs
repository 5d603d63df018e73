//! The journal: which batches of a run are stored, so that an interrupted run continues where it was.
//!
//! It is a convenience and no more: documents have ids and batches have keys, so sending one again has no
//! second effect. Losing the journal costs time, never correctness.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rc_client::IdempotencyKey;
use rc_model::clock::monotonic_ns;
use rc_model::{Digest, Timestamp};
use serde::{Deserialize, Serialize};

/// A journal is believed this long: as long as the platform remembers idempotency keys. Later, documents may
/// have been deleted in between, and a run starts over.
pub(super) const BELIEVED_FOR: Duration = Duration::from_secs(24 * 3600);

/// How often the journal is written while batches are stored.
const WRITE_EVERY: Duration = Duration::from_millis(500);

/// The shape's version.
const VERSION: u32 = 1;

/// Largest journal that is read: a hundred thousand batches.
const JOURNAL_BYTES_MAX: u64 = 32 << 20;

/// The file.
#[derive(Debug, Serialize, Deserialize)]
struct File {
    version: u32,
    /// Names the run in the idempotency keys of its batches.
    run: String,
    started_at: Timestamp,
    /// What was typed, for people.
    command: Vec<String>,
    /// Stored batches by their content.
    stored: BTreeMap<String, Stored>,
}

/// What became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stored {
    pub(super) accepted: u64,
    pub(super) duplicates: u64,
    pub(super) rejected: u64,
}

/// The journal of one run. Owned by the sending loop.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    file: File,
    resumed: bool,
    unwritten: bool,
    /// Absent: not yet.
    written_ns: Option<u64>,
}

impl Journal {
    /// The journal in `folder` of runs with the same `identity` (what was named, and as whom); the one of an
    /// interrupted run is taken up, unless `fresh`.
    pub(super) fn open(folder: &Path, identity: &[String], fresh: bool, now: Timestamp) -> Self {
        let name = Digest::of(identity.join("\0").as_bytes()).short();
        let path = folder.join(format!("{name}.json"));
        let kept = if fresh { None } else { read(&path, now) };
        let resumed = kept.is_some();
        let file = kept.unwrap_or_else(|| File {
            version: VERSION,
            run: IdempotencyKey::random().as_str().to_owned(),
            started_at: now,
            command: identity.to_vec(),
            stored: BTreeMap::new(),
        });
        Self {
            path,
            file,
            resumed,
            unwritten: false,
            written_ns: None,
        }
    }

    /// Whether an interrupted run is taken up.
    pub(super) fn resumed(&self) -> bool {
        self.resumed
    }

    /// Names the run.
    pub(super) fn run(&self) -> &str {
        &self.file.run
    }

    /// What became of the batch with this content, if it is stored already.
    pub(super) fn stored(&self, digest: &str) -> Option<Stored> {
        self.file.stored.get(digest).copied()
    }

    /// Notes that a batch is stored; written to disk at most every half second.
    pub(super) fn note(&mut self, digest: String, stored: Stored) -> io::Result<()> {
        self.file.stored.insert(digest, stored);
        self.unwritten = true;
        let due = u64::try_from(WRITE_EVERY.as_nanos()).unwrap_or(u64::MAX);
        let fresh = self
            .written_ns
            .is_some_and(|written| monotonic_ns().saturating_sub(written) < due);
        if fresh { Ok(()) } else { self.write() }
    }

    /// Writes what is not written yet.
    pub(super) fn write(&mut self) -> io::Result<()> {
        if !self.unwritten {
            return Ok(());
        }
        let folder = self.path.parent().expect("a journal has a folder");
        fs_err::create_dir_all(folder)?;
        // Written beside and renamed, so that a crash leaves the old or the new one, never half.
        let beside = self.path.with_extension(format!("{}.tmp", std::process::id()));
        fs_err::write(
            &beside,
            serde_json::to_vec_pretty(&self.file).map_err(io::Error::other)?,
        )?;
        fs_err::rename(&beside, &self.path)?;
        self.unwritten = false;
        self.written_ns = Some(monotonic_ns());
        Ok(())
    }

    /// The run is complete: the next one starts over.
    pub(super) fn remove(self) -> io::Result<()> {
        match fs_err::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

/// The journal at `path`, when there is one that can be believed.
fn read(path: &Path, now: Timestamp) -> Option<File> {
    if fs_err::metadata(path).ok()?.len() > JOURNAL_BYTES_MAX {
        return None;
    }
    let file: File = serde_json::from_slice(&fs_err::read(path).ok()?).ok()?;
    let believed = file.version == VERSION
        && now.since(file.started_at) < BELIEVED_FOR
        && IdempotencyKey::new(&file.run).is_ok();
    believed.then_some(file)
}

#[cfg(test)]
mod tests;
