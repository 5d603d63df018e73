//! Why an instance is no more.

use std::fmt;
use std::time::Duration;

use rc_model::Timestamp;
use serde::{Deserialize, Serialize};

/// Why an instance ended, or never came to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// It ended by itself with this exit status.
    Status(i32),
    /// A signal ended it.
    Signal(i32),
    /// It could not be started.
    NotStarted(String),
    /// It was stopped because it did not become ready in time, with what the last probe said.
    NotReady { after_ms: u64, reason: String },
}

impl Cause {
    /// Not ready within `after`.
    #[must_use]
    pub fn not_ready(after: Duration, reason: &str) -> Self {
        Self::NotReady {
            after_ms: u64::try_from(after.as_millis()).unwrap_or(u64::MAX),
            reason: reason.to_owned(),
        }
    }

    /// Reads a shell's way of saying "ended by signal N": exit status 128 + N, which the guard uses too.
    #[must_use]
    pub fn from_shell_status(status: i32) -> Self {
        /// The highest signal number on Linux.
        const SIGNAL_MAX: i32 = 64;
        match status - 128 {
            signal @ 1..=SIGNAL_MAX => Self::Signal(signal),
            _ => Self::Status(status),
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "ended with exit status {status}"),
            Self::Signal(signal) => match signal_name(*signal) {
                Some(name) => write!(f, "ended by {name}"),
                None => write!(f, "ended by signal {signal}"),
            },
            Self::NotStarted(error) => write!(f, "could not be started: {error}"),
            Self::NotReady { after_ms, reason } if reason.is_empty() => {
                write!(f, "was not ready within {}", seconds(*after_ms))
            }
            Self::NotReady { after_ms, reason } => {
                write!(f, "was not ready within {}: {reason}", seconds(*after_ms))
            }
        }
    }
}

fn seconds(ms: u64) -> String {
    if ms.is_multiple_of(1000) {
        format!("{} s", ms / 1000)
    } else {
        format!("{ms} ms")
    }
}

/// The names that people know.
fn signal_name(signal: i32) -> Option<&'static str> {
    use rustix::process::Signal;
    let named = [
        (Signal::HUP, "SIGHUP"),
        (Signal::INT, "SIGINT"),
        (Signal::QUIT, "SIGQUIT"),
        (Signal::ILL, "SIGILL"),
        (Signal::TRAP, "SIGTRAP"),
        (Signal::ABORT, "SIGABRT"),
        (Signal::BUS, "SIGBUS"),
        (Signal::FPE, "SIGFPE"),
        (Signal::KILL, "SIGKILL"),
        (Signal::USR1, "SIGUSR1"),
        (Signal::SEGV, "SIGSEGV"),
        (Signal::USR2, "SIGUSR2"),
        (Signal::PIPE, "SIGPIPE"),
        (Signal::ALARM, "SIGALRM"),
        (Signal::TERM, "SIGTERM"),
        (Signal::XCPU, "SIGXCPU"),
        (Signal::XFSZ, "SIGXFSZ"),
        (Signal::SYS, "SIGSYS"),
    ];
    named
        .iter()
        .find(|(known, _)| known.as_raw() == signal)
        .map(|(_, name)| *name)
}

/// An end and its moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// When the supervisor saw it.
    pub at: Timestamp,
    /// Why.
    pub cause: Cause,
    /// The cause in words.
    pub text: String,
}

impl Exit {
    /// An end at `at` for the reason `cause`.
    #[must_use]
    pub fn new(at: Timestamp, cause: Cause) -> Self {
        let text = cause.to_string();
        Self { at, cause, text }
    }
}

#[cfg(test)]
mod tests;
