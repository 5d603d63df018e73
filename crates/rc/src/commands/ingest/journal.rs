//! The journal: which batches of a run are stored, so that an interrupted run continues where it was.
//!
//! A batch is passed over when the journal says that it is stored. That is right only while the platform still
//! holds what the run stored, so a journal is believed only when
//!
//! - every file that is read has the size and times that it had when the run began,
//! - no other `rc ingest` that keeps its journals in the same folder ran beside the run or since (see
//!   [`super::runs`]),
//! - it was written within the last hour, in a run that began within the last day.
//!
//! Otherwise the run starts over, which costs time and nothing else: what is stored already is a duplicate.
//! Standard input cannot be told from another one, so its runs keep no journal.
//!
//! Not seen are writes by others than `rc ingest`, or from another machine, between the interruption and the
//! continuation. They stand, as they would after a run without an interruption: a document that somebody
//! deletes or replaces after its batch was stored stays as they left it.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rc_client::IdempotencyKey;
use rc_model::clock::monotonic_ns;
use rc_model::{Digest, Timestamp};
use serde::{Deserialize, Serialize};

use super::awaited::Awaited;

/// How long after its last write a journal is believed. The longer a run rests, the more others may have
/// written.
const RESTED_MAX: Duration = Duration::from_secs(3600);

/// How long after its run's beginning a journal is believed: as long as the platform remembers idempotency
/// keys.
const BEGUN_MAX: Duration = Duration::from_secs(24 * 3600);

/// How often the journal is written while batches are stored.
const WRITE_EVERY: Duration = Duration::from_millis(500);

/// The shape's version.
const VERSION: u32 = 2;

/// Largest journal that is read: a hundred thousand batches.
const JOURNAL_BYTES_MAX: u64 = 32 << 20;

/// The file.
#[derive(Debug, Serialize, Deserialize)]
struct File {
    version: u32,
    /// Names the run in the idempotency keys of its batches.
    run: String,
    started_at: Timestamp,
    /// When this was written.
    written_at: Timestamp,
    /// The run among all others, see [`super::runs`].
    entered_as: String,
    /// The files as they were, see [`super::walk::fingerprint`].
    sources: String,
    /// What was typed, for people.
    command: Vec<String>,
    /// Stored batches by their content.
    stored: BTreeMap<String, Stored>,
    /// Batches that tell when all of these can be found, see [`Awaited`].
    awaited: Vec<String>,
}

/// What became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stored {
    pub(super) accepted: u64,
    pub(super) duplicates: u64,
}

/// What a run knows of itself and of the others when it opens its journal.
#[derive(Debug, Clone, Copy)]
pub(super) struct Circumstances<'a> {
    /// The files as they are; `None` when that cannot be known.
    pub(super) sources: Option<&'a str>,
    /// This run's name among all others, when it is alone.
    pub(super) alone: Option<&'a str>,
    /// The run that entered before this one.
    pub(super) before: Option<&'a str>,
    /// Somebody asked to start over.
    pub(super) fresh: bool,
    pub(super) now: Timestamp,
}

/// Where a run starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// At the beginning: there is nothing to continue.
    Beginning,
    /// Where an interrupted run was.
    Resumed,
    /// At the beginning, although a run was interrupted; the reason is for people.
    Over(&'static str),
}

/// The journal of one run. Owned by the sending loop.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    file: File,
    start: Start,
    /// Nobody could believe it later, so it is not written.
    kept: bool,
    unwritten: bool,
    opened_ns: u64,
    opened_at: Timestamp,
    /// Absent: not yet.
    written_ns: Option<u64>,
}

impl Journal {
    /// The journal in `folder` of runs with the same `identity` (what was named, and as whom); the one of an
    /// interrupted run is taken up when it can be believed.
    pub(super) fn open(folder: &Path, identity: &[String], run: Circumstances<'_>) -> Self {
        let name = Digest::of(identity.join("\0").as_bytes()).short();
        let path = folder.join(format!("{name}.json"));
        let found = if run.fresh { None } else { read(&path) };
        let doubt = found.as_ref().and_then(|file| doubt(file, run));
        let start = match (&found, doubt) {
            (None, _) => Start::Beginning,
            (Some(_), None) => Start::Resumed,
            (Some(_), Some(reason)) => Start::Over(reason),
        };
        let mut file = found.filter(|_| doubt.is_none()).unwrap_or_else(|| File {
            version: VERSION,
            run: IdempotencyKey::random().as_str().to_owned(),
            started_at: run.now,
            written_at: run.now,
            entered_as: String::new(),
            sources: run.sources.unwrap_or_default().to_owned(),
            command: identity.to_vec(),
            stored: BTreeMap::new(),
            awaited: Vec::new(),
        });
        run.alone.unwrap_or_default().clone_into(&mut file.entered_as);
        Self {
            path,
            file,
            start,
            kept: run.alone.is_some() && run.sources.is_some(),
            // Its name among the runs is new: what is on disk cannot be believed any more.
            unwritten: start == Start::Resumed,
            opened_ns: monotonic_ns(),
            opened_at: run.now,
            written_ns: None,
        }
    }

    /// Where the run starts.
    pub(super) fn start(&self) -> Start {
        self.start
    }

    /// Whether the run can be continued when it is interrupted.
    pub(super) fn kept(&self) -> bool {
        self.kept
    }

    /// Batches of the interrupted run that tell when all of it can be found.
    pub(super) fn awaited(&self) -> &[String] {
        &self.file.awaited
    }

    /// Names the run.
    pub(super) fn run(&self) -> &str {
        &self.file.run
    }

    /// What became of the batch with this content, if it is stored already.
    pub(super) fn stored(&self, digest: &str) -> Option<Stored> {
        self.file.stored.get(digest).copied()
    }

    /// Notes that a batch is stored, and what tells that all can be found; written to disk at most every half
    /// second.
    pub(super) fn note(&mut self, digest: String, stored: Stored, awaited: &Awaited) -> io::Result<()> {
        self.file.stored.insert(digest, stored);
        self.unwritten = true;
        let due = u64::try_from(WRITE_EVERY.as_nanos()).unwrap_or(u64::MAX);
        let fresh = self
            .written_ns
            .is_some_and(|written| monotonic_ns().saturating_sub(written) < due);
        if fresh { Ok(()) } else { self.write(awaited) }
    }

    /// Writes what is not written yet.
    pub(super) fn write(&mut self, awaited: &Awaited) -> io::Result<()> {
        if !self.unwritten || !self.kept {
            return Ok(());
        }
        self.file.awaited = awaited.names();
        let open_for = Duration::from_nanos(monotonic_ns().saturating_sub(self.opened_ns));
        self.file.written_at = self.opened_at.plus(open_for);
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

/// The journal at `path`, when there is one that can be read.
fn read(path: &Path) -> Option<File> {
    if fs_err::metadata(path).ok()?.len() > JOURNAL_BYTES_MAX {
        return None;
    }
    let file: File = serde_json::from_slice(&fs_err::read(path).ok()?).ok()?;
    (file.version == VERSION && IdempotencyKey::new(&file.run).is_ok()).then_some(file)
}

/// Why the journal cannot be believed; `None` when it can.
fn doubt(file: &File, run: Circumstances<'_>) -> Option<&'static str> {
    // A clock that was set back says nothing about how long ago it was.
    let rested = run.now.since(file.written_at);
    if run.now < file.written_at || rested >= RESTED_MAX || run.now.since(file.started_at) >= BEGUN_MAX {
        Some("the interrupted run is too long ago")
    } else if run.sources != Some(file.sources.as_str()) {
        Some("files have changed since the interrupted run")
    } else if run.alone.is_none() || run.before != Some(file.entered_as.as_str()) {
        Some("another `rc ingest` ran since the interrupted one")
    } else {
        None
    }
}

#[cfg(test)]
mod tests;
