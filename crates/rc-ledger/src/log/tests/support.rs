//! Logs in memory, for the tests of the log and of the check.

use std::path::{Path, PathBuf};

use crate::Log;
use crate::disk::tests::memory::Memory;
use crate::tests::{clock, signer};
use crate::{Checkpoint, Signer, Vkey};

/// A key that every process of a test loads again.
#[derive(Debug, Clone)]
pub(crate) struct Keys(std::sync::Arc<(tempfile::TempDir, PathBuf)>);

impl Keys {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        signer().store(&path).unwrap();
        Self(std::sync::Arc::new((folder, path)))
    }

    pub(crate) fn signer(&self) -> Signer {
        Signer::load(&self.0.1).unwrap()
    }
}

/// A log that was written and closed.
pub(crate) struct Built {
    pub(crate) disk: Memory,
    pub(crate) keys: Keys,
    pub(crate) vkeys: Vec<Vkey>,
    pub(crate) checkpoints: Vec<Checkpoint>,
}

pub(crate) fn build(groups: &[&[Vec<u8>]]) -> Built {
    build_with(&Keys::new(), groups)
}

pub(crate) fn build_with(keys: &Keys, groups: &[&[Vec<u8>]]) -> Built {
    let disk = Memory::default();
    let boxed = Box::new(disk.clone());
    let mut log = Log::create_on(Path::new("log"), boxed, keys.signer(), clock()).unwrap();
    let mut checkpoints = vec![log.checkpoint().clone()];
    for group in groups {
        checkpoints.push(log.append(group).unwrap().checkpoint);
    }
    Built {
        disk,
        keys: keys.clone(),
        vkeys: log.signer().vkeys().to_vec(),
        checkpoints,
    }
}
