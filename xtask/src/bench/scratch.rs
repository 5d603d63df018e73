//! Folders on the disk that builds use, and the end of what runs in them, however this process ends.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::cx::Cx;
use crate::process::Stop;

/// Where the folders are, below cargo's target folder.
const PARENT: &str = "bench";

/// A folder on the disk that builds use: a memory file system would make every fsync free.
pub(crate) fn folder(cx: &Cx) -> Result<tempfile::TempDir, Stop> {
    let parent = cx.target.join(PARENT);
    fs_err::create_dir_all(&parent)?;
    let mine = format!("{}-", std::process::id());
    Ok(tempfile::Builder::new().prefix(&mine).tempdir_in(parent)?)
}

/// Removes the folders of runs that were killed.
pub(super) fn sweep(cx: &Cx) -> Result<(), Stop> {
    let parent = cx.target.join(PARENT);
    if !parent.is_dir() {
        return Ok(());
    }
    for entry in fs_err::read_dir(parent)? {
        let path = entry?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let owner = name.split_once('-').and_then(|(pid, _)| pid.parse::<u32>().ok());
        if owner.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists()) {
            fs_err::remove_dir_all(path)?;
        }
    }
    Ok(())
}

/// `$1` program, `$2` project: stops the platform at the end of standard input.
const WATCHDOG: &str = r#"
cat >/dev/null
cd "$2" 2>/dev/null && "$1" down --now >/dev/null 2>&1
"#;

/// Stops the platform of a project when this process ends, killed or not.
#[derive(Debug)]
pub(super) struct Watchdog(Child);

impl Watchdog {
    pub(super) fn start(rc: &Path, project: &Path) -> Result<Self, Stop> {
        use std::os::unix::process::CommandExt as _;
        let child = Command::new("/bin/sh")
            .args(["-c", WATCHDOG, "rc-bench-watchdog"])
            .arg(rc)
            .arg(project)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Ctrl-C at the terminal goes to this process; the shell follows when it has ended.
            .process_group(0)
            .spawn()?;
        Ok(Self(child))
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        if let Err(error) = self.0.wait() {
            eprintln!("bench: the watchdog cannot be waited for: {error}");
        }
    }
}
