//! What `/proc` tells about processes: who descends from whom, who carries our mark, who holds a port.
//!
//! Everything here is a snapshot; a process that vanishes while it is read is left out.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use rustix::process::{Pid, Signal};

/// One process at one moment.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Process {
    /// Its id.
    pub pid: u32,
    /// Its parent's id.
    pub parent: u32,
    /// When it was started, in clock ticks since boot. With `pid` it names the process for ever.
    pub start_ticks: u64,
    /// It has ended and waits for its parent to look.
    pub zombie: bool,
}

/// All processes that this user may see.
#[must_use]
pub fn processes() -> Vec<Process> {
    let Ok(entries) = fs_err::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(process)
        .collect()
}

/// The process `pid`, if it exists.
#[must_use]
pub fn process(pid: u32) -> Option<Process> {
    parse_stat(pid, &fs_err::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Reads a line of `/proc/<pid>/stat`. The command's name is in parentheses and may itself hold any
/// character, so fields are counted from the last one.
fn parse_stat(pid: u32, stat: &str) -> Option<Process> {
    let fields: Vec<&str> = stat
        .get(stat.rfind(')')? + 1..)?
        .split_ascii_whitespace()
        .collect();
    Some(Process {
        pid,
        zombie: matches!(*fields.first()?, "Z" | "X"),
        parent: fields.get(1)?.parse().ok()?,
        start_ticks: fields.get(19)?.parse().ok()?,
    })
}

/// The live descendants of `pid`, without itself.
#[must_use]
pub fn descendants(pid: u32) -> Vec<Process> {
    let mut children: BTreeMap<u32, Vec<Process>> = BTreeMap::new();
    for process in processes() {
        children.entry(process.parent).or_default().push(process);
    }
    let (mut found, mut to_visit) = (Vec::new(), vec![pid]);
    while let Some(parent) = to_visit.pop() {
        // Removing the entry bounds the walk even if a snapshot taken during forks shows a circle.
        for child in children.remove(&parent).unwrap_or_default() {
            to_visit.push(child.pid);
            if !child.zombie {
                found.push(child);
            }
        }
    }
    found
}

/// Sends `signal` to `process` and to no other: a process id that was taken over by another is left alone.
pub fn signal(process: &Process, signal: Signal) {
    let Some(pid) = i32::try_from(process.pid).ok().and_then(Pid::from_raw) else {
        return;
    };
    // The descriptor pins the process; whether it is the one we mean is checked after it was opened.
    let pinned = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty());
    let same = || self::process(process.pid).is_some_and(|now| now.start_ticks == process.start_ticks);
    // An error means that the process is gone or not ours to signal: in both cases nothing is left to do.
    let _ = match pinned {
        Ok(pinned) if same() => rustix::process::pidfd_send_signal(pinned, signal),
        // Sandboxes refuse pidfd_open; the check alone leaves a window of microseconds.
        Err(rustix::io::Errno::NOSYS | rustix::io::Errno::PERM) if same() => {
            rustix::process::kill_process(pid, signal)
        }
        Ok(_) | Err(_) => Ok(()),
    };
}

/// Live processes whose environment has the variable `name` with a value that starts with `prefix`.
#[must_use]
pub fn marked(name: &str, prefix: &str) -> Vec<Process> {
    let mark = format!("{name}={prefix}").into_bytes();
    let carries = |process: &Process| {
        let environment = fs_err::read(format!("/proc/{}/environ", process.pid)).unwrap_or_default();
        environment
            .split(|byte| *byte == 0)
            .any(|variable| variable.starts_with(&mark))
    };
    processes()
        .into_iter()
        .filter(|process| !process.zombie && carries(process))
        .collect()
}

/// The process and its ancestors.
#[must_use]
pub fn ancestry(pid: u32) -> BTreeSet<u32> {
    let mut ancestry = BTreeSet::new();
    let mut next = Some(pid);
    while let Some(pid) = next {
        if !ancestry.insert(pid) {
            break;
        }
        next = process(pid)
            .map(|process| process.parent)
            .filter(|parent| *parent != 0);
    }
    ancestry
}

/// Resident memory of `pid` and its descendants, in bytes. Shared pages are counted once a process.
#[must_use]
pub fn tree_memory(pid: u32) -> u64 {
    let own = std::iter::once(pid);
    own.chain(descendants(pid).into_iter().map(|process| process.pid))
        .map(memory)
        .sum()
}

/// Resident memory of the process `pid` in bytes; 0 when it is gone.
#[must_use]
pub fn memory(pid: u32) -> u64 {
    let status = fs_err::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let kib = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"));
    kib.and_then(|kib| kib.trim().parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// The command line of `pid`, arguments joined by spaces, at most 120 characters.
#[must_use]
pub fn command_line(pid: u32) -> Option<String> {
    const SHOWN_CHARS_MAX: usize = 120;
    let bytes = fs_err::read(format!("/proc/{pid}/cmdline")).ok()?;
    let text = String::from_utf8_lossy(&bytes)
        .trim_end_matches('\0')
        .replace('\0', " ");
    let text: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    (!text.is_empty()).then(|| text.chars().take(SHOWN_CHARS_MAX).collect())
}

/// Who listens on a TCP address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// The process.
    pub pid: u32,
    /// Its command line.
    pub command: String,
}

/// The process that listens on `address`, or on its port at the unspecified address. `None` when nobody
/// does or the process belongs to somebody else.
#[must_use]
pub fn listener(address: SocketAddr) -> Option<Holder> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"];
    let inodes: Vec<u64> = tables
        .iter()
        .filter_map(|table| fs_err::read_to_string(table).ok())
        .flat_map(|table| listening_inodes(&table, address))
        .collect();
    let targets: Vec<String> = inodes.iter().map(|inode| format!("socket:[{inode}]")).collect();
    if targets.is_empty() {
        return None;
    }
    let holds = |pid: u32| {
        let Ok(links) = fs_err::read_dir(format!("/proc/{pid}/fd")) else {
            return false;
        };
        links.filter_map(Result::ok).any(|link| {
            let target = fs_err::read_link(link.path()).unwrap_or_default();
            targets.iter().any(|wanted| target.as_os_str() == wanted.as_str())
        })
    };
    let pid = processes()
        .into_iter()
        .map(|process| process.pid)
        .find(|pid| holds(*pid))?;
    Some(Holder {
        pid,
        command: command_line(pid).unwrap_or_default(),
    })
}

/// Inodes of sockets in `table` (the format of `/proc/net/tcp`) that listen where `address` is taken.
fn listening_inodes(table: &str, address: SocketAddr) -> Vec<u64> {
    const LISTEN: &str = "0A";
    let inode = |line: &str| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let local = parse_address(fields.get(1)?)?;
        let takes = local.port() == address.port()
            && (local.ip() == address.ip() || local.ip().is_unspecified() || address.ip().is_unspecified());
        (*fields.get(3)? == LISTEN && takes)
            .then(|| fields.get(9)?.parse().ok())
            .flatten()
    };
    table.lines().skip(1).filter_map(inode).collect()
}

/// Reads `0100007F:1F90`: the address as words in the machine's own byte order, the port as a number.
fn parse_address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| {
        Some(
            u32::from_str_radix(ip.get(at * 8..at * 8 + 8)?, 16)
                .ok()?
                .to_ne_bytes(),
        )
    };
    let ip = match ip.len() {
        8 => IpAddr::V4(Ipv4Addr::from(word(0)?)),
        32 => {
            let mut bytes = [0; 16];
            for at in 0..4 {
                bytes[at * 4..at * 4 + 4].copy_from_slice(&word(at)?);
            }
            IpAddr::V6(Ipv6Addr::from(bytes)).to_canonical()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests;
