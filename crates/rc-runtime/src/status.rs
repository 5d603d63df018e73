//! What is known about each service at one moment.

use std::collections::BTreeMap;
use std::fmt;

use rc_model::{ServiceId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::exit::Exit;

/// Where a service stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Not started: it waits for the services it needs.
    Waiting,
    /// An instance runs and has not been ready.
    Starting,
    /// It can serve.
    Ready,
    /// It was ready, runs, and says that it cannot serve.
    Unready,
    /// It ended and will be started again after a pause.
    BackingOff,
    /// It ended too often in a short time and is left alone.
    CrashLooped,
    /// It was asked to end and finishes its work.
    Stopping,
    /// It ended because it was asked to.
    Stopped,
}

impl State {
    /// The name on the wire and on the screen.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Unready => "unready",
            Self::BackingOff => "backing-off",
            Self::CrashLooped => "crash-looped",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One service at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceStatus {
    /// Where it stands.
    pub state: State,
    /// Since when it stands there.
    pub since: Timestamp,
    /// The process, where the target has such a thing and an instance runs.
    pub pid: Option<u32>,
    /// When the running instance was started.
    pub started: Option<Timestamp>,
    /// How long the running instance took to become ready, in milliseconds.
    pub ready_after_ms: Option<u64>,
    /// How often it was started again after it had ended by itself.
    pub restarts: u32,
    /// How its last instance ended, if one did.
    pub last_exit: Option<Exit>,
    /// Why it is not ready, in words.
    pub reason: Option<String>,
    /// Where it answers.
    pub address: String,
    /// What it printed last; only while it is backing off or crash-looped.
    pub last_lines: Vec<String>,
}

/// All services at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Board {
    /// By name.
    pub services: BTreeMap<ServiceId, ServiceStatus>,
}

impl Board {
    /// Whether every service is ready. An empty board is.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.services.values().all(|status| status.state == State::Ready)
    }

    /// Whether every one of `ids` is ready.
    #[must_use]
    pub fn all_ready(&self, ids: &[ServiceId]) -> bool {
        let ready = |id| {
            self.services
                .get(id)
                .is_some_and(|status: &ServiceStatus| status.state == State::Ready)
        };
        ids.iter().all(ready)
    }

    /// The services that are crash-looped.
    pub fn crash_looped(&self) -> impl Iterator<Item = (&ServiceId, &ServiceStatus)> {
        self.services
            .iter()
            .filter(|(_, status)| status.state == State::CrashLooped)
    }

    /// Whether nothing is left to wait for: each service is ready or crash-looped, or waits for one that
    /// will not become ready by itself.
    #[must_use]
    pub fn settled(&self) -> bool {
        let moving = |state| matches!(state, State::Starting | State::BackingOff | State::Stopping);
        let mut states = self.services.values().map(|status| status.state);
        self.ready() || (self.crash_looped().next().is_some() && !states.any(moving))
    }
}
