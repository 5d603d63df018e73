//! The program of another commit, to be measured beside this one.

use std::path::PathBuf;
use std::process::Command;

use crate::cx::Cx;
use crate::process::{self, Stop};

/// Builds `rc` of `commit` in the release profile, in a work tree and a target folder that a later run finds again:
/// only what differs between two such commits is built twice.
pub(super) fn build(cx: &Cx, commit: &str) -> Result<PathBuf, Stop> {
    let tree = cx.target.join("former");
    let git = |args: &[&str]| {
        let mut git = Command::new("git");
        git.current_dir(&cx.root).args(args);
        git
    };
    if tree.is_dir() {
        process::output(
            Command::new("git")
                .current_dir(&tree)
                .args(["checkout", "--quiet", "--detach", commit]),
        )?;
    } else {
        // A tree that was removed by hand is still known, and would be refused.
        process::output(&mut git(&["worktree", "prune"]))?;
        process::output(
            git(&["worktree", "add", "--quiet", "--detach"])
                .arg(&tree)
                .arg(commit),
        )?;
    }
    let target = tree.join("target");
    let mut build = Command::new(&cx.cargo);
    build
        .current_dir(&tree)
        .args(["build", "--release", "--package", "rc"])
        .env("CARGO_TARGET_DIR", &target);
    process::run(&mut build)?;
    Ok(target.join("release/rc"))
}
