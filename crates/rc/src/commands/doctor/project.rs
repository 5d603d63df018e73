//! The project: its files and its state folder.

use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use rc_model::workspace::{Model, Sources};
use rc_model::{Clock as _, Layout, SystemClock};

use super::Check;
use crate::cx::Cx;

/// Less free disk than this is a reason to look.
const FREE_BYTES_GOOD: u64 = 2 << 30;
/// Less than this, and writes will soon be refused.
const FREE_BYTES_MIN: u64 = 200 << 20;
/// The disk's clock (a file server's, perhaps) and ours differ by less than this.
const CLOCK_SKEW_MS_MAX: i64 = 2_000;

/// The files, and what they say if they can be used.
pub(super) fn files(cx: &Cx) -> (Option<Model>, Vec<Check>) {
    let dir = cx.project_dir();
    let sources = Sources::from_dir(&dir);
    let found = match sources.present().as_slice() {
        [] => Check::ok(
            "folder",
            format!("{}: no files, so everything has its default", dir.display()),
        ),
        names => Check::ok("folder", format!("{}: {}", dir.display(), names.join(", "))),
    };
    let hint = "`rc catalog check` shows them with their lines";
    match Model::read(&sources) {
        Ok(model) => {
            let counts = format!(
                "{} services, {} tenants, version {}",
                model.catalog.services.len(),
                model.tenants.tenants.len(),
                model.digest.to_string().chars().take(19).collect::<String>()
            );
            let check = match model.warnings.first() {
                Some(first) => Check::warn(
                    "files",
                    format!("{counts}; {}: {}", first.file, first.message),
                    hint,
                ),
                None => Check::ok("files", counts),
            };
            (Some(model), vec![found, check])
        }
        Err(problems) => {
            let errors = problems.iter().filter(|problem| problem.is_error()).count();
            let first = problems.iter().find(|problem| problem.is_error());
            let first =
                first.map(|first| format!(", the first: {}:{}: {}", first.file, first.line, first.message));
            let detail = format!("{errors} problems{}", first.unwrap_or_default());
            (None, vec![found, Check::fail("files", detail, hint)])
        }
    }
}

/// The state folder: whose, how open, how much room.
pub(super) fn state(layout: &Layout) -> Vec<Check> {
    let state = layout.state();
    let mut checks = Vec::new();
    let there = match fs_err::metadata(&state) {
        Ok(meta) => {
            checks.push(ownership(&state, &meta));
            state.as_path()
        }
        Err(_) => {
            checks.push(Check::ok(
                "state",
                format!("{} is made by the first `rc up`", state.display()),
            ));
            layout.project()
        }
    };
    checks.push(writable(there));
    checks.push(room(there));
    checks
}

fn ownership(state: &Path, meta: &std::fs::Metadata) -> Check {
    let mode = meta.permissions().mode() & 0o777;
    let own = rustix::process::geteuid().as_raw();
    if !meta.is_dir() {
        return Check::fail(
            "state",
            format!("{} is not a folder", state.display()),
            "move it away",
        );
    }
    if meta.uid() != own && own != 0 {
        let hint = "run as its owner, or remove it when nothing runs";
        return Check::fail(
            "state",
            format!("{} belongs to user {}", state.display(), meta.uid()),
            hint,
        );
    }
    if mode & 0o077 != 0 {
        let hint = format!("`chmod 700 {}`; `rc up` does it too", state.display());
        return Check::warn(
            "state",
            format!("{} is open to others (mode {mode:o})", state.display()),
            hint,
        );
    }
    Check::ok("state", format!("{}, for its owner only", state.display()))
}

/// Writes a small file and looks at the time that the disk gave it.
fn writable(dir: &Path) -> Check {
    const NAME: &str = "disk writes";
    let path = dir.join(format!(".rc-doctor-{}", std::process::id()));
    let before = SystemClock.now().unix_ms();
    let written = fs_err::File::create(&path).and_then(|mut file| {
        file.write_all(b"x")?;
        file.sync_all()?;
        file.metadata()
    });
    // It may not be there.
    let _ = fs_err::remove_file(&path);
    match written {
        Ok(meta) => {
            let stamp = meta.mtime() * 1_000 + meta.mtime_nsec() / 1_000_000;
            let took = SystemClock.now().unix_ms() - before;
            if (stamp - before).abs() > CLOCK_SKEW_MS_MAX + took {
                let hint = "synchronise the clocks of this machine and of the file server";
                return Check::warn(
                    NAME,
                    format!("the disk's clock differs by {} ms", stamp - before),
                    hint,
                );
            }
            Check::ok(NAME, format!("durable in {took} ms"))
        }
        Err(error) => Check::fail(
            NAME,
            error.to_string(),
            "the folder must be writable; is the disk full or read-only?",
        ),
    }
}

fn room(dir: &Path) -> Check {
    let stat = match rustix::fs::statvfs(dir) {
        Ok(stat) => stat,
        Err(error) => return Check::warn("disk room", format!("unknown: {error}"), "does the folder exist?"),
    };
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    let detail = format!(
        "{} GiB free",
        format_args!("{}.{}", free >> 30, (free >> 20) % 1024 * 10 / 1024)
    );
    let hint = "make room: a full disk stops all writes";
    match free {
        0..FREE_BYTES_MIN => Check::fail("disk room", detail, hint),
        FREE_BYTES_MIN..FREE_BYTES_GOOD => Check::warn("disk room", detail, hint),
        _ => Check::ok("disk room", detail),
    }
}
