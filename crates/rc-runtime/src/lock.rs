//! One supervisor a project: an advisory lock that the kernel releases with its owner, however it ends.

use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use rc_model::Timestamp;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

/// Who holds the lock; written into the lock file for whoever comes second.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The supervisor's process.
    pub pid: u32,
    /// Since when.
    pub since: Timestamp,
    /// Whether it runs in the background.
    pub detached: bool,
    /// The project's folder.
    pub project: PathBuf,
}

impl Owner {
    /// Whether the process exists.
    #[must_use]
    pub fn alive(&self) -> bool {
        crate::procfs::process(self.pid).is_some_and(|process| !process.zombie)
    }
}

/// See [`Lock::acquire`].
const LOOKS_MAX: u32 = 10;
const LOOK_PAUSE: rustix::event::Timespec = rustix::event::Timespec {
    tv_sec: 0,
    tv_nsec: 10_000_000,
};

/// The lock, held until it is dropped or the process ends.
#[derive(Debug)]
pub struct Lock {
    _file: std::fs::File,
}

/// Why the lock could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Somebody else has it. The owner is absent in the moment between locking and writing.
    #[error("another supervisor runs")]
    Held(Option<Owner>),
    #[error("failed to lock {path}")]
    Io {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
}

impl Lock {
    /// Takes the lock at `path` and writes `owner` into it.
    ///
    /// # Errors
    /// When somebody else has it, or the file cannot be used.
    pub fn acquire(path: &Path, owner: &Owner) -> Result<Self, LockError> {
        let failed = |source: std::io::Error| LockError::Io {
            path: path.to_owned(),
            source,
        };
        let mut file = open(path).map_err(failed)?;
        let mut tries = 0;
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => break,
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    let owner = read(&mut file);
                    tries += 1;
                    // Somebody who looks, as `holder` does, has the lock for a moment without being a
                    // supervisor; the name in the file is then an old one.
                    if tries >= LOOKS_MAX || owner.as_ref().is_some_and(Owner::alive) {
                        return Err(LockError::Held(owner));
                    }
                    rustix::event::poll(&mut [], Some(&LOOK_PAUSE)).ok();
                }
                Err(error) => return Err(failed(error.into())),
            }
        }
        let text = serde_json::to_string(owner)
            .map_err(std::io::Error::other)
            .map_err(failed)?;
        let written = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(text.as_bytes()));
        written.map_err(failed)?;
        Ok(Self { _file: file })
    }
}

/// Who holds the lock at `path`; `None` when nobody does.
///
/// # Errors
/// When the file exists and cannot be used.
pub fn holder(path: &Path) -> Result<Option<Owner>, LockError> {
    let failed = |source: std::io::Error| LockError::Io {
        path: path.to_owned(),
        source,
    };
    let mut file = match fs_err::File::open(path) {
        Ok(file) => file.into_parts().0,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        // Closing the file gives the shared lock back.
        Ok(()) => Ok(None),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(read(&mut file)),
        Err(error) => Err(failed(error.into())),
    }
}

fn open(path: &Path) -> std::io::Result<std::fs::File> {
    let mut options = fs_err::OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    fs_err::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    Ok(options.open(path)?.into_parts().0)
}

fn read(file: &mut std::fs::File) -> Option<Owner> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

#[cfg(test)]
mod tests;
