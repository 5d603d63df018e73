//! The guard: a small process between the supervisor and a user's own command.
//!
//! The command knows nothing of us and may do anything: fork twice, start a session of its own, ignore
//! SIGTERM. The guard is the reaper of all that descends from it (`PR_SET_CHILD_SUBREAPER`), so nothing can
//! leave its family. When the supervisor is gone or the command has ended, the guard ends whatever is left
//! of the family, and only then itself. It refuses to know what the command is for.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::{self, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Signal, WaitOptions, WaitStatus};
use tokio::signal::unix::{SignalKind, signal};

use crate::deadman;
use crate::procfs;

/// What the guard runs.
#[derive(Debug, Clone)]
pub struct GuardOptions {
    /// The command and its arguments.
    pub command: Vec<OsString>,
    /// How long the family may take to end after SIGTERM before it is killed.
    pub drain: Duration,
}

/// A shell's exit status for a command that is not there.
const NOT_FOUND: u8 = 127;
/// A shell's exit status for a command that cannot be run.
const NOT_RUNNABLE: u8 = 126;
/// How often the family is looked at while it ends: new members appear, and some end unseen.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Runs the command to its end and gives the exit status to end with: the command's own, or 128 + N when
/// signal N ended it. Must be called on the process's only runtime, and nothing else may start processes.
///
/// # Errors
/// When the operating system refuses what the guard needs.
pub async fn guard(options: GuardOptions) -> io::Result<u8> {
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    // Registered before the command starts, so that no end goes unseen.
    let mut children = signal(SignalKind::child())?;
    let mut stop = [
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
        signal(SignalKind::hangup())?,
    ];
    let gone = deadman::supervisor_gone()?;
    let main = match start(&options.command) {
        Ok(pid) => pid,
        Err(error) => return Ok(explain(&options.command, &error)),
    };

    let mut family = Family { main, status: None };
    let [terminate, interrupt, hang_up] = &mut stop;
    while family.reap() && family.status.is_none() {
        tokio::select! {
            _ = children.recv() => {}
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hang_up.recv() => break,
            () = gone.cancelled() => break,
        }
    }

    let drain = tokio::time::sleep(options.drain);
    tokio::pin!(drain);
    let mut asked = BTreeSet::new();
    let mut patience = true;
    while family.reap() {
        for process in procfs::descendants(std::process::id()) {
            if !patience {
                procfs::signal(&process, Signal::KILL);
            } else if asked.insert((process.pid, process.start_ticks)) {
                procfs::signal(&process, Signal::TERM);
                // A stopped process would sleep through it.
                procfs::signal(&process, Signal::CONT);
            }
        }
        tokio::select! {
            _ = children.recv() => {}
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = &mut drain, if patience => patience = false,
        }
    }
    Ok(family.status.map_or(0, shell_status))
}

/// Starts the command in a process group of its own, and away from the supervisor's pipe.
fn start(command: &[OsString]) -> io::Result<u32> {
    let [program, arguments @ ..] = command else {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "no command was given",
        ));
    };
    let child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .process_group(0)
        .spawn()?;
    // Its end is seen by `Family::reap`, which waits for every child alike.
    Ok(child.id())
}

fn explain(command: &[OsString], error: &io::Error) -> u8 {
    let name = command
        .first()
        .map(|program| program.to_string_lossy().into_owned())
        .unwrap_or_default();
    // The guard's standard error is the service's log; its reader may be gone.
    let _ = writeln!(io::stderr(), "rc: `{name}` cannot be started: {error}");
    if error.kind() == io::ErrorKind::NotFound {
        NOT_FOUND
    } else {
        NOT_RUNNABLE
    }
}

fn shell_status(status: WaitStatus) -> u8 {
    let code = status
        .exit_status()
        .or_else(|| status.terminating_signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}

/// The command and all that descends from it.
struct Family {
    main: u32,
    /// How the command itself ended.
    status: Option<WaitStatus>,
}

impl Family {
    /// Takes in every member that has ended; `false` when none is left at all.
    fn reap(&mut self) -> bool {
        loop {
            match rustix::process::wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) => {
                    if u32::try_from(pid.as_raw_nonzero().get()) == Ok(self.main) {
                        self.status = Some(status);
                    }
                }
                Ok(None) => return true,
                Err(rustix::io::Errno::INTR) => {}
                // No children: as the reaper of all descendants, we know that none is left.
                Err(_) => return false,
            }
        }
    }
}
