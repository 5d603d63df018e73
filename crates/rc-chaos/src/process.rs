//! A role's process, seen from outside: what it last said, and how it ends.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::process::{Pid, Signal};

use crate::failure::Result;
use crate::role::Status;

/// A running role. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    orders: Option<ChildStdin>,
    said: Arc<Mutex<Status>>,
}

impl Process {
    /// Starts `program role ARGS`; what it complains goes to `log`.
    pub(crate) fn start(program: &Path, args: &[String], log: &Path) -> Result<Self> {
        let complaints = fs_err::OpenOptions::new().create(true).append(true).open(log)?;
        // A disk that fails is an error to it, not a signal: see `rc_test::disk`.
        let mut command: Command = rc_test::disk::command_that_can_fail(program);
        let mut child = command
            .arg("role")
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(complaints.into_parts().0)
            .spawn()?;
        let said = Arc::new(Mutex::new(Status::default()));
        let (orders, output) = (child.stdin.take(), child.stdout.take());
        let hears = Arc::clone(&said);
        let listen = move || {
            for line in output
                .into_iter()
                .flat_map(|output| BufReader::new(output).lines())
            {
                let status = line.ok().and_then(|line| serde_json::from_str(&line).ok());
                if let Some(status) = status {
                    *hears.lock().unwrap_or_else(PoisonError::into_inner) = status;
                }
            }
        };
        std::thread::Builder::new()
            .name("hears".to_owned())
            .spawn(listen)?;
        Ok(Self { child, orders, said })
    }

    /// What it last said.
    pub(crate) fn status(&self) -> Status {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How it ended, if it did.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// `kill -9`, and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        // One that ended meanwhile is what we want.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Whether it is stopped, by itself or by [`Self::pause`].
    pub(crate) fn is_stopped(&self) -> bool {
        let stat = fs_err::read_to_string(format!("/proc/{}/stat", self.child.id()));
        // `pid (name) state ...`
        stat.is_ok_and(|stat| stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T')))
    }

    /// SIGSTOP or SIGCONT.
    pub(crate) fn pause(&self, pause: bool) {
        let signal = if pause { Signal::STOP } else { Signal::CONT };
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ended_meanwhile = rustix::process::kill_process(pid, signal);
        }
    }

    /// Puts its clock wrong by so many seconds.
    pub(crate) fn step_clock(&mut self, seconds: i64) {
        if let Some(orders) = &mut self.orders {
            let _ended_meanwhile = writeln!(orders, "clock {seconds}");
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.pause(false);
        self.kill();
    }
}
