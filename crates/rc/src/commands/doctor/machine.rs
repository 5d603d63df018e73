//! The machine: program, kernel, limits, clock.

use rc_model::{Clock as _, SystemClock, Timestamp};
use rustix::process::{PidfdFlags, Resource, getpid, getrlimit, pidfd_open};

use super::Check;

/// Connections, files and sockets of a busy gateway fit below this.
const OPEN_FILES_GOOD: u64 = 4_096;
/// Below this the services do not even start.
const OPEN_FILES_MIN: u64 = 256;
/// `pidfd_send_signal` is from 5.1, `pidfd_open` from 5.3.
const KERNEL_MIN: (u32, u32) = (5, 3);

pub(super) fn checks() -> Vec<Check> {
    vec![
        program(),
        kernel(),
        processes(),
        open_files(),
        clock(SystemClock.now()),
    ]
}

fn program() -> Check {
    let version = env!("CARGO_PKG_VERSION");
    match std::env::current_exe() {
        Ok(path) if path.exists() => Check::ok("rc", format!("{version} at {}", path.display())),
        Ok(path) => Check::warn(
            "rc",
            format!(
                "{version}; its file {} was replaced while it runs",
                path.display()
            ),
            "run the command again",
        ),
        Err(error) => Check::warn(
            "rc",
            format!("{version}; its own path is unknown: {error}"),
            "is /proc mounted?",
        ),
    }
}

fn kernel() -> Check {
    let release = fs_err::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let release = release.trim();
    match version(release) {
        None => Check::warn("kernel", "its version is unknown", "is /proc mounted?"),
        Some(version) if version < KERNEL_MIN => Check::fail(
            "kernel",
            format!("Linux {release}"),
            format!(
                "at least {}.{} is needed to stop processes safely",
                KERNEL_MIN.0, KERNEL_MIN.1
            ),
        ),
        Some(_) => Check::ok("kernel", format!("Linux {release}")),
    }
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// What supervision without orphans stands on.
fn processes() -> Check {
    const NAME: &str = "processes";
    let hint = "a sandbox may forbid it; the supervisor then falls back to plain process ids";
    if let Err(error) = pidfd_open(getpid(), PidfdFlags::empty()) {
        return Check::warn(NAME, format!("no process descriptors: {error}"), hint);
    }
    if rc_runtime::procfs::process(std::process::id()).is_none() {
        return Check::fail(
            NAME,
            "/proc does not show this process",
            "mount /proc: what services leave behind cannot be found without it",
        );
    }
    Check::ok(NAME, "process descriptors and /proc work")
}

fn open_files() -> Check {
    const NAME: &str = "open files";
    let limit = getrlimit(Resource::Nofile);
    let show = |limit: Option<u64>| limit.map_or_else(|| "unlimited".to_owned(), |limit| limit.to_string());
    let detail = format!("limit {}, at most {}", show(limit.current), show(limit.maximum));
    let hint = format!("`ulimit -n {OPEN_FILES_GOOD}` before `rc up`");
    match limit.current {
        Some(current) if current < OPEN_FILES_MIN => Check::fail(NAME, detail, hint),
        Some(current) if current < OPEN_FILES_GOOD => Check::warn(NAME, detail, hint),
        Some(_) | None => Check::ok(NAME, detail),
    }
}

/// Certificates, keys that expire and the order of documents trust the clock.
fn clock(now: Timestamp) -> Check {
    const BUILT_AFTER: &str = "2026-01-01T00:00:00Z";
    const SURELY_BEFORE: &str = "2100-01-01T00:00:00Z";
    let at = |text: &str| Timestamp::parse(text);
    if at(BUILT_AFTER).is_some_and(|past| now < past) || at(SURELY_BEFORE).is_some_and(|future| now > future)
    {
        return Check::fail(
            "clock",
            format!("{now} cannot be"),
            "set the clock; certificates and expiring keys depend on it",
        );
    }
    Check::ok("clock", now.to_string())
}

#[cfg(test)]
mod tests;
