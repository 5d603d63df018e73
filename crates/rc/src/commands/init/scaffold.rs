//! Writing a folder of files so that it is there whole, or not at all.
//!
//! The files are written into a hidden folder beside the wanted one, made durable, and moved into place by one
//! rename, which the kernel refuses when something is there by then. What a killed run leaves is hidden, and
//! removed by the next one.

use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use rc_runtime::procfs;

use super::templates::File;
use crate::fault::Fault;

/// The name of a folder that is being written: `.orders.rc-init-PID`.
const STAGE: &str = ".rc-init-";
/// So many things in the way are named, when none of them is a file of ours.
const NAMED_MAX: usize = 5;

/// Where a service is written: a folder that was not there, or empty, a moment ago.
#[derive(Debug)]
pub(super) struct Place {
    target: PathBuf,
    parent: PathBuf,
}

impl Place {
    /// Looks whether `files` can be written to `target`.
    ///
    /// # Errors
    /// When something is in the way, which is named, or there is no folder to make `target` in.
    pub(super) fn new(target: &Path, files: &[File]) -> Result<Self, Fault> {
        in_the_way(target, files)?;
        // `a/..` and the like have a name only once they are resolved, and are in the way then.
        let parent = target.parent().filter(|_| target.file_name().is_some());
        let parent = parent.ok_or_else(|| {
            Fault::usage("RC-INI-002", format!("{} cannot be made", target.display()))
                .hint("name a folder that is not there yet")
        })?;
        if !parent.is_dir() {
            return Err(
                Fault::usage("RC-INI-004", format!("there is no folder {}", parent.display()))
                    .hint("make it first, or give another `--dir`"),
            );
        }
        Ok(Self {
            target: target.to_owned(),
            parent: parent.to_owned(),
        })
    }

    /// Writes `files`: all of them, or nothing.
    pub(super) fn write(&self, files: &[File]) -> Result<(), Fault> {
        let name = self.target.file_name().unwrap_or_default().to_string_lossy();
        let prefix = format!(".{name}{STAGE}");
        remove_leftovers(&self.parent, &prefix);
        let stage = Stage(self.parent.join(format!("{prefix}{}", std::process::id())));
        let written = stage.fill(files);
        written.map_err(|error| {
            Fault::world(
                "RC-INI-004",
                "the service could not be written; nothing was left behind",
            )
            .because(error)
            .hint("is there room on the disk, and may this user write here?")
        })?;
        if let Err(error) = fs_err::rename(&stage.0, &self.target) {
            // Perhaps somebody was faster.
            in_the_way(&self.target, files)?;
            return Err(Fault::world(
                "RC-INI-004",
                "the service could not be moved into place; nothing was left behind",
            )
            .because(error));
        }
        // It is there; a disk that fails now shows it to whoever reads it.
        let _ = fs_err::File::open(&self.parent).and_then(|folder| folder.sync_all());
        Ok(())
    }
}

/// A folder that is being written. Removed with all that is in it, unless it was moved away.
struct Stage(PathBuf);

impl Stage {
    fn fill(&self, files: &[File]) -> std::io::Result<()> {
        fs_err::create_dir(&self.0)?;
        for file in files {
            let path = self.0.join(file.path);
            if let Some(folder) = path.parent() {
                fs_err::create_dir_all(folder)?;
            }
            let mut out = fs_err::File::create_new(&path)?;
            out.write_all(file.text.as_bytes())?;
            out.sync_all()?;
        }
        fs_err::File::open(&self.0)?.sync_all()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // It is gone when all went well; else the next run tries again.
        let _ = fs_err::remove_dir_all(&self.0);
    }
}

/// Says what is in the way of `files` in `target`.
fn in_the_way(target: &Path, files: &[File]) -> Result<(), Fault> {
    let meta = match fs_err::symlink_metadata(target) {
        Ok(meta) => meta,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => {
            return Err(Fault::world("RC-INI-004", "the folder cannot be looked at").because(error));
        }
    };
    let refused = |what: String| {
        Fault::usage("RC-INI-002", what)
            .hint("nothing is overwritten: choose another name or `--dir`, or move what is there away")
    };
    if !meta.is_dir() {
        return Err(refused(format!(
            "{} is there and is not a folder",
            target.display()
        )));
    }
    let ours: Vec<&str> = files
        .iter()
        .map(|file| file.path)
        .filter(|path| target.join(path).symlink_metadata().is_ok())
        .collect();
    if !ours.is_empty() {
        let list = ours.join("\n  ");
        return Err(refused(format!(
            "{} has these already:\n  {list}",
            target.display()
        )));
    }
    let entries = fs_err::read_dir(target)
        .map_err(|error| Fault::world("RC-INI-004", "the folder cannot be looked at").because(error))?;
    let mut others: Vec<String> = entries
        .filter_map(Result::ok)
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    if others.is_empty() {
        return Ok(());
    }
    others.sort();
    let more = others.len().saturating_sub(NAMED_MAX);
    others.truncate(NAMED_MAX);
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    Err(refused(format!(
        "{} is not empty: {}{more}",
        target.display(),
        others.join(", ")
    )))
}

/// Removes what runs that were killed have left.
fn remove_leftovers(parent: &Path, prefix: &str) {
    let Ok(entries) = fs_err::read_dir(parent) else {
        return;
    };
    for entry in entries.filter_map(Result::ok) {
        let name = entry.file_name();
        let pid = name
            .to_str()
            .and_then(|name| name.strip_prefix(prefix)?.parse().ok());
        let own = std::process::id();
        if pid.is_some_and(|pid: u32| pid == own || procfs::process(pid).is_none()) {
            // It is hidden and harms nobody; whoever may remove it will.
            let _ = fs_err::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests;
