//! Disks that are small, read-only, or fail: for one process tree, and gone with it.
//!
//! Small and read-only ones are mounts in a namespace of the process's own, which needs root or a kernel that
//! lets users make namespaces. A failing one needs nothing: a limit on the size of files, set from outside
//! while the process runs, makes every write fail.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::{Pid, Resource, Rlimit};

/// What is mounted at a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disk {
    /// An empty one of so many MiB, in memory.
    Small { mib: u32 },
    /// The folder as it is, but nothing can be written.
    ReadOnly,
}

/// `$1` folder, then the program. The mounts are the namespace's own: nobody else sees them.
const SMALL: &str = r#"mount -t tmpfs -o "size=$1" rc-test "$2" && shift 2 && exec "$@""#;
const READ_ONLY: &str = r#"mount --bind "$2" "$2" && mount -o remount,bind,ro "$2" && shift 2 && exec "$@""#;

/// A command whose process, and all that it starts, finds `disk` at `folder`.
#[must_use]
pub fn command_on(disk: Disk, folder: &Path, program: impl AsRef<OsStr>) -> Command {
    let (script, size) = match disk {
        Disk::Small { mib } => (SMALL, format!("{mib}m")),
        Disk::ReadOnly => (READ_ONLY, String::new()),
    };
    let mut command = Command::new("unshare");
    command
        .arg(namespaces())
        .args(["--", "/bin/sh", "-c", script, "rc-test-disk", &size])
        .arg(folder)
        .arg(program);
    command
}

/// Why [`command_on`] does not work here; `None` when it does.
#[must_use]
pub fn refused() -> Option<String> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut command = command_on(Disk::Small { mib: 1 }, folder.path(), "true");
    match command.stdin(Stdio::null()).output() {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Some(format!("`unshare` cannot be run: {error}")),
    }
}

/// A mount namespace; who is not root makes it inside a user namespace, where they are.
fn namespaces() -> &'static str {
    if rustix::process::geteuid().is_root() {
        "-m"
    } else {
        "-Urm"
    }
}

/// `path` as the process `pid` sees it, for those outside its namespace.
#[must_use]
pub fn seen_by(pid: u32, path: &Path) -> PathBuf {
    let path = path.strip_prefix("/").unwrap_or(path);
    Path::new("/proc").join(pid.to_string()).join("root").join(path)
}

/// A command that can be given a failing disk by [`fail_writes`]: a write beyond the limit is an error to it,
/// and to all that it starts, and not the signal that ends a process.
#[must_use]
pub fn command_that_can_fail(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("/bin/sh");
    // Ignored signals are inherited.
    command
        .args(["-c", r#"trap '' XFSZ; exec "$0" "$@""#])
        .arg(program);
    command
}

/// Makes every write of the process into a file fail, or lets them succeed again.
///
/// # Panics
/// When the process is gone or not ours.
pub fn fail_writes(pid: u32, fail: bool) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let limits = rustix::process::getrlimit(Resource::Fsize);
    let wanted = Rlimit {
        current: fail.then_some(0),
        maximum: limits.maximum,
    };
    rustix::process::prlimit(pid, Resource::Fsize, wanted).expect("a process of ours");
}

#[cfg(test)]
mod tests;
