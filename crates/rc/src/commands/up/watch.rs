//! Notices that the project's files changed. A look at three files a second costs nothing that can be
//! measured, works on every file system, and needs no limits of the kernel.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rc_model::Digest;
use rc_model::workspace::{FILES, Sources};

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Files that were not touched for so long are complete.
const REST: Duration = Duration::from_millis(150);
/// Files that never rest are read all the same.
const RESTLESS_LOOKS_MAX: u32 = 20;

/// What a look at one file sees.
type Stamp = Option<(u64, u64, i64, i64)>;

/// The files as they were last seen.
pub(super) struct Watch {
    dir: PathBuf,
    stamps: [Stamp; 3],
    digest: Digest,
    look_every: Duration,
    rest: Duration,
}

impl Watch {
    /// Begins with the files as they are.
    pub(super) fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            stamps: stamps(dir),
            digest: Sources::from_dir(dir).digest(),
            look_every: LOOK_EVERY,
            rest: REST,
        }
    }

    /// Waits for the next look. The files' texts when they differ from the last ones seen. Cancel safe.
    pub(super) async fn changed(&mut self) -> Option<Sources> {
        tokio::time::sleep(self.look_every).await;
        let mut seen = stamps(&self.dir);
        if seen == self.stamps {
            return None;
        }
        // An editor may be in the middle of writing, and half a file may well be valid: wait until it rests.
        for _ in 0..RESTLESS_LOOKS_MAX {
            tokio::time::sleep(self.rest).await;
            let before = std::mem::replace(&mut seen, stamps(&self.dir));
            if before == seen {
                break;
            }
        }
        self.stamps = seen;
        let sources = Sources::from_dir(&self.dir);
        let before = std::mem::replace(&mut self.digest, sources.digest());
        (before != self.digest).then_some(sources)
    }
}

fn stamps(dir: &Path) -> [Stamp; 3] {
    FILES.map(|name| {
        let meta = fs_err::metadata(dir.join(name)).ok()?;
        Some((meta.ino(), meta.len(), meta.mtime(), meta.mtime_nsec()))
    })
}

#[cfg(test)]
mod tests;
