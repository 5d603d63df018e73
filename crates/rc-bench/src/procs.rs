//! Processes: started so that they end with us, pinned to a core, and asked for the CPU time they used.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rc_model::clock::monotonic_ns;
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::failure::{Failure, Result};

/// Longest start of a peer.
pub(crate) const PEER_START_MAX: Duration = Duration::from_secs(10);

/// Runs `"$@"`, says its process id, and ends it at the end of standard input: however the bench ends, the
/// kernel closes the other side. A program that does not end upon SIGTERM is killed.
const WATCHDOG: &str = r#"
"$@" </dev/null >&2 &
child=$!
echo $child
cat >/dev/null
kill -TERM $child 2>/dev/null
for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    kill -0 $child 2>/dev/null || exit 0
    sleep 0.5
done
kill -KILL $child 2>/dev/null
"#;

/// A program of ours or of a peer; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Process {
    watchdog: Child,
    /// The program's own id.
    pub(crate) pid: u32,
}

impl Process {
    /// Starts `program` on the cores `cores`; its output goes to the file `log`.
    pub(crate) fn start(program: &Path, args: &[&str], cores: &Cores, log: &Path) -> Result<Self> {
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", WATCHDOG, "rc-bench-watchdog"])
            .arg(program)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(fs_err::File::create(log)?.into_parts().0)
            // Ctrl-C at the terminal goes to the bench; this group follows when the bench has ended.
            .process_group(0);
        let mut watchdog = cores.during(|| command.spawn())??;
        let mut line = String::new();
        let stdout = watchdog.stdout.take().expect("standard output is piped");
        BufReader::new(stdout).read_line(&mut line)?;
        let pid = line.trim().parse();
        let pid = pid.map_err(|_e| Failure::new(format!("{} did not start", program.display())))?;
        Ok(Self { watchdog, pid })
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| Failure::new("a process id is not negative"))?;
        Ok(kill_process(pid, signal)?)
    }

    /// Asks it to end and waits until it has.
    pub(crate) fn stop(mut self) -> Result<()> {
        self.end()
    }

    fn end(&mut self) -> Result<()> {
        drop(self.watchdog.stdin.take());
        self.watchdog.wait()?;
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // At a second call there is nothing left to wait for.
        let _ = self.end();
    }
}

/// Some of the machine's cores.
#[derive(Debug, Clone)]
pub(crate) struct Cores(Vec<usize>);

impl Cores {
    /// All that this process may use.
    pub(crate) fn all() -> Result<Self> {
        let set = sched_getaffinity(None)?;
        Ok(Self(
            (0..CpuSet::MAX_CPU).filter(|core| set.is_set(*core)).collect(),
        ))
    }

    /// The subject's core, and the core of everything else. A machine with one core has them share it.
    pub(crate) fn split() -> Result<(Self, Self)> {
        let Self(all) = Self::all()?;
        let (Some(first), Some(last)) = (all.first(), all.last()) else {
            return Err(Failure::new("this process may use no core"));
        };
        Ok((Self(vec![*first]), Self(vec![*last])))
    }

    /// As one argument of a program: `0,1`.
    pub(crate) fn list(&self) -> String {
        let list: Vec<String> = self.0.iter().map(usize::to_string).collect();
        list.join(",")
    }

    /// What [`Self::list`] wrote.
    pub(crate) fn parse(list: &str) -> Result<Self> {
        let numbers: std::result::Result<Vec<usize>, _> = list.split(',').map(str::parse).collect();
        numbers
            .map(Self)
            .map_err(|_e| Failure::new(format!("`{list}` is no list of cores")))
    }

    /// Moves this thread there for good.
    pub(crate) fn pin(&self) -> Result<()> {
        let mut set = CpuSet::new();
        for core in &self.0 {
            set.set(*core);
        }
        Ok(sched_setaffinity(None, &set)?)
    }

    /// Runs `what` there; processes that it starts stay there.
    fn during<T>(&self, what: impl FnOnce() -> T) -> Result<T> {
        let before = sched_getaffinity(None)?;
        self.pin()?;
        let done = what();
        sched_setaffinity(None, &before)?;
        Ok(done)
    }
}

/// Puts this thread before everything that has no such priority (`SCHED_FIFO`); `false` where that is not
/// permitted. By `chrt` of util-linux: the call itself is not in safe Rust.
pub(crate) fn real_time(priority: u8) -> bool {
    let thread = rustix::thread::gettid().as_raw_nonzero().to_string();
    let mut command = Command::new("chrt");
    command
        .args(["--fifo", "--pid", &priority.to_string(), &thread])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Ids of all processes that run the file `program`.
pub(crate) fn that_run(program: &Path) -> Result<BTreeSet<u32>> {
    let mut found = BTreeSet::new();
    for entry in fs_err::read_dir("/proc")? {
        let folder = entry?.path();
        // Processes come and go while we look, and kernel threads have no program.
        if fs_err::read_link(folder.join("exe")).is_ok_and(|exe| exe == program)
            && let Some(pid) = folder.file_name().and_then(|name| name.to_str()?.parse().ok())
        {
            found.insert(pid);
        }
    }
    Ok(found)
}

/// `pid` and its living descendants.
pub(crate) fn family(pid: u32) -> Result<BTreeSet<u32>> {
    let mut family = BTreeSet::from([pid]);
    let mut open = vec![pid];
    while let Some(pid) = open.pop() {
        let Ok(tasks) = fs_err::read_dir(format!("/proc/{pid}/task")) else {
            continue;
        };
        for task in tasks {
            let children = fs_err::read_to_string(task?.path().join("children")).unwrap_or_default();
            for child in children.split_ascii_whitespace() {
                let child = child
                    .parse()
                    .map_err(|_e| Failure::new("/proc names a child that is no number"))?;
                if family.insert(child) {
                    open.push(child);
                }
            }
        }
    }
    Ok(family)
}

/// CPU time that a set of processes had used at one moment.
///
/// From the scheduler's own account of each thread, which `utime + stime` of `/proc/PID/stat` are a rounding
/// of: that one counts in hundredths of a second, too coarse for runs of a few seconds. It alone counts
/// threads that have ended, so it is kept beside.
#[derive(Debug)]
pub(crate) struct CpuTime(BTreeMap<u32, Used>);

/// One process's part.
#[derive(Debug, Default)]
struct Used {
    /// Nanoseconds by thread.
    threads: BTreeMap<String, u64>,
    /// User and system time of all threads, also of those that have ended.
    ticks: u64,
}

/// Ticks a second in `/proc` (`USER_HZ`, the same on every architecture that Rust's std runs on).
const TICKS: f64 = 100.0;

impl CpuTime {
    /// Reads it. A process that has ended is an error: a subject must not.
    pub(crate) fn of(pids: &BTreeSet<u32>) -> Result<Self> {
        let mut all = BTreeMap::new();
        for pid in pids {
            let mut used = Used {
                ticks: ticks(&fs_err::read_to_string(format!("/proc/{pid}/stat"))?)?,
                threads: BTreeMap::new(),
            };
            for task in fs_err::read_dir(format!("/proc/{pid}/task"))? {
                let task = task?;
                // A thread may end between the listing and the reading.
                let Ok(text) = fs_err::read_to_string(task.path().join("schedstat")) else {
                    continue;
                };
                let on_cpu = text.split_ascii_whitespace().next();
                let on_cpu = on_cpu.and_then(|first| first.parse::<u64>().ok());
                let on_cpu = on_cpu.ok_or_else(|| Failure::new("this kernel keeps no schedstat"))?;
                let name = task.file_name().to_string_lossy().into_owned();
                used.threads.insert(name, on_cpu);
            }
            all.insert(*pid, used);
        }
        Ok(Self(all))
    }

    /// Seconds used since `before`, which was of the same processes.
    pub(crate) fn seconds_since(&self, before: &Self) -> f64 {
        let none = Used::default();
        self.0
            .iter()
            .map(|(pid, used)| used.seconds_since(before.0.get(pid).unwrap_or(&none)))
            .sum()
    }
}

impl Used {
    fn seconds_since(&self, before: &Self) -> f64 {
        let nanoseconds: u64 = self
            .threads
            .iter()
            .map(|(thread, used)| used.saturating_sub(before.threads.get(thread).copied().unwrap_or(0)))
            .sum();
        let fine = nanoseconds as f64 / 1e9;
        let coarse = self.ticks.saturating_sub(before.ticks) as f64 / TICKS;
        // More than the rounding of both ends: a thread has ended and took its account with it.
        if coarse > fine * 1.01 + 2.0 / TICKS {
            coarse
        } else {
            fine
        }
    }
}

/// `utime + stime` of a line of `/proc/PID/stat`. The program's name may hold anything, so fields are counted
/// from its closing parenthesis.
fn ticks(stat: &str) -> Result<u64> {
    let fields = stat.rsplit_once(')').map(|(_, fields)| fields);
    let mut fields = fields.into_iter().flat_map(str::split_ascii_whitespace).skip(11);
    let mut next = || fields.next().and_then(|field| field.parse::<u64>().ok());
    match (next(), next()) {
        (Some(user), Some(system)) => Ok(user + system),
        _ => Err(Failure::new("/proc/PID/stat has other fields than expected")),
    }
}

/// Waits until `holds`; `what` is for the error.
pub(crate) fn wait_until(limit: Duration, what: &str, mut holds: impl FnMut() -> Result<bool>) -> Result<()> {
    /// Between two looks.
    const PAUSE: Duration = Duration::from_millis(5);
    let until = monotonic_ns() + limit.as_nanos() as u64;
    while !holds()? {
        if monotonic_ns() > until {
            return Err(Failure::new(format!("not within {limit:?}: {what}")));
        }
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

/// Memory of a process that is in RAM, its share of what is shared.
pub(crate) fn resident_mib(pid: u32) -> Result<f64> {
    let rollup = fs_err::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let kib = rollup.lines().find_map(|line| {
        line.strip_prefix("Pss:")?
            .trim()
            .strip_suffix("kB")?
            .trim()
            .parse::<f64>()
            .ok()
    });
    kib.map(|kib| kib / 1024.0)
        .ok_or_else(|| Failure::new(format!("process {pid} has no `Pss`")))
}

/// The end of a log, for an error message.
pub(crate) fn tail(log: &Path) -> String {
    /// Enough for the last lines.
    const BYTES: usize = 2_000;
    let mut text = String::new();
    if let Ok(mut file) = fs_err::File::open(log) {
        let _ = file.read_to_string(&mut text);
    }
    let from = text.len().saturating_sub(BYTES);
    let from = (from..text.len()).find(|at| text.is_char_boundary(*at));
    from.map_or_else(String::new, |from| text[from..].to_owned())
}

#[cfg(test)]
mod tests;
