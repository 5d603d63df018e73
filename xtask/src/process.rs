//! Running other programs, and the one kind of failure that commands end with.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::cx::Cx;

/// How often a running program with a deadline is looked at.
const POLL: Duration = Duration::from_millis(50);

/// Why a command ends early, with the exit code for the shell.
#[derive(Debug)]
pub(crate) struct Stop {
    pub(crate) exit: u8,
    pub(crate) message: String,
}

impl Stop {
    /// The answer is no: a check failed.
    pub(crate) fn no(message: impl Into<String>) -> Self {
        Self {
            exit: 1,
            message: message.into(),
        }
    }

    /// The command or a file of the repository is wrong.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self {
            exit: 2,
            message: message.into(),
        }
    }

    /// Something outside is missing or down.
    pub(crate) fn world(message: impl Into<String>) -> Self {
        Self {
            exit: 3,
            message: message.into(),
        }
    }
}

impl From<std::io::Error> for Stop {
    fn from(error: std::io::Error) -> Self {
        Self::world(error.to_string())
    }
}

/// A cargo command in the repository's root.
pub(crate) fn cargo(cx: &Cx, args: &[&str]) -> Command {
    let mut command = Command::new(&cx.cargo);
    command.current_dir(&cx.root).args(args).stdin(Stdio::null());
    command
}

/// The command as a person would type it, without its environment.
pub(crate) fn shown(command: &Command) -> String {
    let program = std::path::Path::new(command.get_program());
    let name = program
        .file_name()
        .unwrap_or(program.as_os_str())
        .to_string_lossy();
    command.get_args().fold(name.into_owned(), |line, arg| {
        format!("{line} {}", arg.to_string_lossy())
    })
}

/// Runs to the end with output passed through. A non-zero exit is [`Stop::no`].
pub(crate) fn run(command: &mut Command) -> Result<(), Stop> {
    let line = shown(command);
    eprintln!("$ {line}");
    let status = command
        .status()
        .map_err(|error| Stop::world(format!("failed to start `{line}`: {error}")))?;
    if status.success() {
        Ok(())
    } else {
        Err(Stop::no(format!("`{line}` failed: {status}")))
    }
}

/// Runs to the end and returns standard output. Standard error is part of the message on failure.
pub(crate) fn output(command: &mut Command) -> Result<String, Stop> {
    let line = shown(command);
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| Stop::world(format!("failed to start `{line}`: {error}")))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(Stop::world(format!(
            "`{line}` failed: {}\n{}",
            output.status,
            said.trim_end()
        )));
    }
    String::from_utf8(output.stdout)
        .map_err(|error| Stop::world(format!("`{line}` printed something that is not UTF-8: {error}")))
}

/// Runs with standard output handed to `each` line by line, and tells whether it succeeded.
pub(crate) fn lines(command: &mut Command, mut each: impl FnMut(&str)) -> Result<bool, Stop> {
    let line = shown(command);
    eprintln!("$ {line}");
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| Stop::world(format!("failed to start `{line}`: {error}")))?;
    let stdout = child.stdout.take().expect("standard output is piped");
    for text in BufReader::new(stdout).split(b'\n') {
        each(&String::from_utf8_lossy(&text?));
    }
    Ok(child.wait()?.success())
}

/// Runs for at most `deadline`, output passed through; `false` when it failed or was stopped.
pub(crate) fn succeeds_within(command: &mut Command, deadline: Duration) -> Result<bool, Stop> {
    let line = shown(command);
    let mut child = command
        .stdin(Stdio::null())
        .spawn()
        .map_err(|error| Stop::world(format!("failed to start `{line}`: {error}")))?;
    let watch = Stopwatch::start();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status.success());
        }
        if watch.elapsed() > deadline {
            child.kill()?;
            child.wait()?;
            return Ok(false);
        }
        std::thread::sleep(POLL);
    }
}

/// Whether the program starts and exits with success; its output is dropped.
pub(crate) fn probe(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Wall-clock time since a moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stopwatch(std::time::Instant);

impl Stopwatch {
    #[expect(
        clippy::disallowed_methods,
        reason = "xtask measures; nothing depends on what it reads"
    )]
    pub(crate) fn start() -> Self {
        Self(std::time::Instant::now())
    }

    pub(crate) fn elapsed(self) -> Duration {
        self.0.elapsed()
    }

    /// Seconds since the start.
    pub(crate) fn seconds(self) -> f64 {
        self.elapsed().as_secs_f64()
    }
}
