//! The rules of the house that no compiler checks. They run as `cargo xtask tidy` and as a test.
//!
//! A rule reads the repository and returns faults; it never changes a file. What clippy or rustc can say,
//! they say (see `clippy.toml` and the workspace lints).

mod docs;
mod house;
mod layers;
mod lexer;
mod lock;
mod manifests;
mod sources;
mod texts;
mod workspace;

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use walkdir::WalkDir;

pub(crate) use house::makefile_targets;

use crate::cx::Cx;
use crate::process::{self, Stop};

/// Something that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Fault {
    file: String,
    /// From 1; 0 when the whole file is meant.
    line: usize,
    message: String,
}

impl Fault {
    fn at(file: &str, line: usize, message: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            line,
            message: message.into(),
        }
    }

    fn file(file: &str, message: impl Into<String>) -> Self {
        Self::at(file, 0, message)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file, self.message),
            line => write!(f, "{}:{line}: {}", self.file, self.message),
        }
    }
}

/// A text file that git would commit.
#[derive(Debug)]
struct Source {
    /// Its path from the root, with `/`.
    path: String,
    text: String,
}

impl Source {
    fn has_extension(&self, extensions: &[&str]) -> bool {
        self.path
            .rsplit_once('.')
            .is_some_and(|(_, found)| extensions.contains(&found))
    }

    fn below(&self, folder: &str) -> bool {
        self.path
            .strip_prefix(folder)
            .is_some_and(|rest| rest.starts_with('/'))
    }
}

/// The repository as rules see it.
#[derive(Debug)]
struct Tree {
    root: PathBuf,
    /// Text files that are tracked or would be added, in the order of their paths.
    files: Vec<Source>,
}

impl Tree {
    fn read(root: &Path) -> Result<Self, Stop> {
        let mut paths = match tracked(root) {
            Some(paths) => paths,
            None => walked(root)?,
        };
        paths.sort();
        paths.dedup();
        let mut files = Vec::with_capacity(paths.len());
        for path in paths {
            let absolute = root.join(&path);
            // A file that git still lists and that is gone from the work tree; links are read at their target.
            if !absolute.is_file() || absolute.is_symlink() {
                continue;
            }
            if let Ok(text) = String::from_utf8(fs_err::read(&absolute)?) {
                files.push(Source { path, text });
            }
        }
        Ok(Self {
            root: root.to_owned(),
            files,
        })
    }

    fn get(&self, path: &str) -> Option<&Source> {
        self.files.iter().find(|file| file.path == path)
    }

    fn text(&self, path: &str) -> Option<&str> {
        self.get(path).map(|file| file.text.as_str())
    }
}

/// What git tracks or would add. `None` without git or without a repository, as in an unpacked release.
fn tracked(root: &Path) -> Option<Vec<String>> {
    let mut command = Command::new("git");
    command
        .current_dir(root)
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    let listed = process::output(&mut command).ok()?;
    Some(listed.split_terminator('\0').map(str::to_owned).collect())
}

/// Folders that are never part of the repository.
const SKIPPED: &[&str] = &[".git", "target", ".royalcrown"];

fn walked(root: &Path) -> Result<Vec<String>, Stop> {
    let mut paths = Vec::new();
    let entries = WalkDir::new(root)
        .into_iter()
        .filter_entry(|entry| !SKIPPED.iter().any(|name| entry.file_name() == *name));
    for entry in entries {
        let entry = entry.map_err(|error| Stop::world(error.to_string()))?;
        if entry.file_type().is_file() {
            let below = entry
                .path()
                .strip_prefix(root)
                .expect("the walk stays below its root");
            paths.push(below.to_string_lossy().into_owned());
        }
    }
    Ok(paths)
}

/// All faults of the repository, in the order of files and lines.
pub(crate) fn check(cx: &Cx) -> Result<Vec<Fault>, Stop> {
    let tree = Tree::read(&cx.root)?;
    let workspace = workspace::read(cx, &tree)?;
    let mut faults = Vec::new();
    faults.extend(layers::check(&workspace));
    faults.extend(manifests::check(&tree, &workspace));
    faults.extend(sources::check(&tree));
    faults.extend(texts::check(&tree));
    faults.extend(lock::check(&tree)?);
    faults.extend(lock::check_product(&workspace::product(cx)?));
    faults.extend(docs::check(&tree));
    faults.extend(house::check(&tree, &workspace));
    faults.sort();
    faults.dedup();
    Ok(faults)
}

#[cfg(test)]
mod tests;
