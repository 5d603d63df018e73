//! `cargo xtask gen`: files that the product writes about itself, and the benchmark page.
//!
//! `rc __gen --out DIR` writes `cli.md`, `completions/*`, `man/*` and `apis/*.yaml` into an empty folder;
//! this module only carries them to their places or compares.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use walkdir::WalkDir;

use crate::bench;
use crate::cx::Cx;
use crate::process::{self, Stop};
use crate::suite;

/// Where the product's output belongs: its name in the output, its place in the repository.
const PLACES: &[(&str, &str)] = &[
    ("cli.md", "docs/reference/cli.md"),
    ("completions", "completions"),
    ("man", "man"),
    ("apis", "apis"),
];

/// Builds `rc`, then writes the generated files, or only compares when `check`.
pub(crate) fn run(cx: &Cx, check: bool) -> Result<(), Stop> {
    let rc = suite::build_rc(cx)?;
    if check {
        return check_with(cx, &rc);
    }
    let wanted = wanted(cx, &rc)?;
    let changes = differences(&cx.root, &wanted)?;
    for change in &changes {
        match change {
            Change::Write(file) => {
                let path = cx.root.join(file);
                fs_err::create_dir_all(path.parent().expect("a generated file lies in a folder"))?;
                fs_err::write(path, &wanted[file])?;
            }
            Change::Remove(file) => fs_err::remove_file(cx.root.join(file))?,
        }
        println!("{change}");
    }
    println!("gen: {} of {} files changed", changes.len(), wanted.len());
    Ok(())
}

/// Compares the repository with what `rc` writes.
pub(crate) fn check_with(cx: &Cx, rc: &Path) -> Result<(), Stop> {
    let wanted = wanted(cx, rc)?;
    let changes = differences(&cx.root, &wanted)?;
    for change in &changes {
        println!("{change}");
        if let Change::Write(file) = change {
            let found = fs_err::read(cx.root.join(file)).unwrap_or_default();
            println!("{}", first_difference(&found, &wanted[file]));
        }
    }
    if changes.is_empty() {
        println!("gen: {} files are as the product writes them", wanted.len());
        Ok(())
    } else {
        Err(Stop::no(format!(
            "{} generated files differ\n  hint: run `make gen`",
            changes.len()
        )))
    }
}

/// What has to be done to a file of the repository.
#[derive(Debug, PartialEq, Eq)]
enum Change {
    Write(PathBuf),
    Remove(PathBuf),
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Write(file) => write!(f, "differs: {}", file.display()),
            Self::Remove(file) => write!(f, "no longer written: {}", file.display()),
        }
    }
}

/// Every generated file by its path in the repository.
type Files = BTreeMap<PathBuf, Vec<u8>>;

fn wanted(cx: &Cx, rc: &Path) -> Result<Files, Stop> {
    let out = tempfile::tempdir()?;
    let mut command = Command::new(rc);
    process::output(
        command
            .current_dir(&cx.root)
            .args(["__gen", "--out"])
            .arg(out.path()),
    )?;
    let mut files = collect(out.path())?;
    for (path, text) in bench::pages(cx)? {
        files.insert(path.into(), text.into_bytes());
    }
    Ok(files)
}

/// Reads the product's output and gives each file its place. An output that lacks a part is refused: a
/// check against nothing would pass.
fn collect(out: &Path) -> Result<Files, Stop> {
    let mut files = Files::new();
    for (name, place) in PLACES {
        let from = out.join(name);
        let before = files.len();
        for entry in WalkDir::new(&from).sort_by_file_name() {
            let entry = entry.map_err(|error| Stop::world(format!("`rc __gen` wrote no {name}: {error}")))?;
            if entry.file_type().is_file() {
                let below = entry
                    .path()
                    .strip_prefix(&from)
                    .expect("the walk stays below its root");
                let place = if below.as_os_str().is_empty() {
                    PathBuf::from(place)
                } else {
                    Path::new(place).join(below)
                };
                files.insert(place, fs_err::read(entry.path())?);
            }
        }
        if files.len() == before {
            return Err(Stop::world(format!("`rc __gen` wrote no {name}")));
        }
    }
    Ok(files)
}

/// What differs between the repository and the wanted files, leftovers in generated folders included.
fn differences(root: &Path, wanted: &Files) -> Result<Vec<Change>, Stop> {
    let mut changes = Vec::new();
    for (file, content) in wanted {
        if !fs_err::read(root.join(file)).is_ok_and(|found| &found == content) {
            changes.push(Change::Write(file.clone()));
        }
    }
    for (_, place) in PLACES {
        let folder = root.join(place);
        if !folder.is_dir() {
            continue;
        }
        for entry in WalkDir::new(&folder).sort_by_file_name() {
            let entry = entry.map_err(|error| Stop::world(error.to_string()))?;
            let file = entry
                .path()
                .strip_prefix(root)
                .expect("the walk stays below the root");
            if entry.file_type().is_file() && !wanted.contains_key(file) {
                changes.push(Change::Remove(file.to_owned()));
            }
        }
    }
    Ok(changes)
}

/// The first line that differs, both ways.
fn first_difference(found: &[u8], wanted: &[u8]) -> String {
    let (found, wanted) = (String::from_utf8_lossy(found), String::from_utf8_lossy(wanted));
    let (mut left, mut right) = (found.lines(), wanted.lines());
    for number in 1.. {
        match (left.next(), right.next()) {
            (None, None) => break,
            (a, b) if a == b => {}
            (a, b) => {
                let show = |line: Option<&str>| line.unwrap_or("(end of file)").to_owned();
                return format!("  line {number}\n  - {}\n  + {}", show(a), show(b));
            }
        }
    }
    "  only the line ends differ".to_owned()
}

#[cfg(test)]
mod tests;
