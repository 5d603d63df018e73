//! The texts that are in force, kept beside the running platform's sockets. A process that starts anew while
//! the user's files are broken goes on with what all the others have.

use std::io::{self, Write as _};
use std::path::Path;

use fs_err::os::unix::fs::OpenOptionsExt as _;

use super::{FILES, Model, Sources};
use crate::layout::Layout;
use crate::source::Diagnostic;
use crate::yaml::FILE_BYTES_MAX;

/// Largest file of kept texts: all of them, with every byte escaped.
const KEPT_BYTES_MAX: u64 = 6 * 3 * FILE_BYTES_MAX as u64;

impl Sources {
    /// Keeps the texts in one file, for its owner only: a store's URL may hold a password. Whoever reads
    /// it at the same time sees the old ones or these.
    ///
    /// # Errors
    /// What the disk says.
    pub fn keep(&self, path: &Path) -> io::Result<()> {
        let fresh = path.with_extension("new");
        let mut file = fs_err::OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&fresh)?;
        file.write_all(&serde_json::to_vec(&self.texts())?)?;
        drop(file);
        fs_err::rename(&fresh, path)
    }

    /// The kept texts; `None` when there are none, or they are damaged.
    #[must_use]
    pub fn kept(path: &Path) -> Option<Self> {
        if fs_err::metadata(path).ok()?.len() > KEPT_BYTES_MAX {
            return None;
        }
        let texts: [Option<String>; FILES.len()] = serde_json::from_slice(&fs_err::read(path).ok()?).ok()?;
        let [project, catalog, tenants] = &texts;
        Some(Self::from_texts(
            project.as_deref(),
            catalog.as_deref(),
            tenants.as_deref(),
        ))
    }
}

impl Model {
    /// What the project's files say; when they have faults, what is in force, together with the faults.
    ///
    /// # Errors
    /// The faults, when nothing is in force.
    pub fn read_or_in_force(layout: &Layout) -> Result<(Self, Vec<Diagnostic>), Vec<Diagnostic>> {
        let faults = match Self::read(&Sources::from_dir(layout.project())) {
            Ok(model) => return Ok((model, Vec::new())),
            Err(faults) => faults,
        };
        let kept = Sources::kept(&layout.in_force_file()).and_then(|sources| Self::read(&sources).ok());
        match kept {
            Some(model) => Ok((model, faults)),
            None => Err(faults),
        }
    }
}

#[cfg(test)]
mod tests;
