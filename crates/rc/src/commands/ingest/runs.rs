//! Which run was the last, and whether another one goes on: what a journal must know to be believed.
//!
//! All runs that keep their journals in one folder enter here, whatever platform and tenant they write to: an
//! API key does not say whose it is, so two callers may be one tenant. A run writes its name as the latest
//! and holds a shared lock until it ends. A run that entered alone, and whose name is still the latest, had
//! no other run beside it or after it.

use std::io;
use std::path::Path;
use std::time::Duration;

use rc_client::IdempotencyKey;
use rc_model::clock::monotonic_ns;
use rustix::fs::{FlockOperation, flock};

/// Held only to enter, so that two runs cannot both find themselves alone.
const GATE: &str = "entering.lock";

/// Held shared as long as a run goes on.
const RUNNING: &str = "running.lock";

/// The name of the run that entered last.
const LATEST: &str = "latest";

/// How long to wait for somebody else who enters: that takes a few milliseconds, unless they are stopped.
const ENTER_DEADLINE: Duration = Duration::from_secs(2);

/// How often to look whether they are through.
const ENTER_POLL: Duration = Duration::from_millis(10);

/// This run among the others; others see it until it is dropped.
#[derive(Debug)]
pub(super) struct Runs {
    /// The run that entered before this one.
    pub(super) before: Option<String>,
    /// This run's name, when no other one was going on.
    pub(super) alone: Option<String>,
    _running: fs_err::File,
}

impl Runs {
    /// Enters. Blocks for [`ENTER_DEADLINE`] at most.
    ///
    /// # Errors
    /// When `folder` cannot be written.
    pub(super) fn enter(folder: &Path) -> io::Result<Self> {
        fs_err::create_dir_all(folder)?;
        let gate = open(&folder.join(GATE))?;
        let within = locked(&gate, FlockOperation::NonBlockingLockExclusive)?;
        let running = open(&folder.join(RUNNING))?;
        let mut alone = flock(running.file(), FlockOperation::NonBlockingLockExclusive).is_ok();
        // From exclusive to shared there is a moment without a lock; the gate keeps the others out of it.
        alone &= locked(&running, FlockOperation::NonBlockingLockShared)? && within;
        let latest = folder.join(LATEST);
        let before = fs_err::read_to_string(&latest).ok();
        let name = IdempotencyKey::random().as_str().to_owned();
        // Torn by a crash, it is nobody's name, and no journal is believed.
        fs_err::write(&latest, &name)?;
        Ok(Self {
            before,
            alone: alone.then_some(name),
            _running: running,
        })
    }
}

fn open(path: &Path) -> io::Result<fs_err::File> {
    fs_err::OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
}

/// Whether the lock could be taken in time.
fn locked(file: &fs_err::File, how: FlockOperation) -> io::Result<bool> {
    let started = monotonic_ns();
    let within = u64::try_from(ENTER_DEADLINE.as_nanos()).unwrap_or(u64::MAX);
    loop {
        match flock(file.file(), how) {
            Ok(()) => return Ok(true),
            Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        if monotonic_ns().saturating_sub(started) > within {
            return Ok(false);
        }
        std::thread::sleep(ENTER_POLL);
    }
}

#[cfg(test)]
mod tests;
