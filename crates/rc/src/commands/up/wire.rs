//! What the control socket and `--output json` show: stable shapes.

use std::path::PathBuf;

use rc_model::{ServiceId, TenantId, TierId, Timestamp};
use rc_runtime::{Exit, State};
use serde::{Deserialize, Serialize};

/// Where the platform as a whole stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum PlatformState {
    /// Every service is ready.
    Ready,
    /// Not every service has been ready yet.
    Starting,
    /// Some service is not ready: it crashed, or says that it cannot serve.
    Degraded,
    /// It was asked to end.
    Stopping,
    /// Nothing runs.
    Stopped,
}

impl PlatformState {
    /// The name on the wire and on the screen.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Starting => "starting",
            Self::Degraded => "degraded",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
        }
    }
}

/// `GET /v1/status`, and `rc status --output json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct PlatformStatus {
    pub(crate) state: PlatformState,
    /// The project's folder.
    pub(crate) project: PathBuf,
    /// The supervisor's process.
    pub(crate) pid: Option<u32>,
    /// Since when the supervisor runs.
    pub(crate) since: Option<Timestamp>,
    /// Whether it runs in the background.
    pub(crate) detached: bool,
    /// The supervisor's version.
    pub(crate) version: String,
    /// Where the platform answers.
    pub(crate) url: Option<String>,
    /// Resident memory of everything, the supervisor included.
    pub(crate) memory_bytes: u64,
    pub(crate) config: ConfigStatus,
    /// Why the audit log refuses what the supervisor has to tell it.
    #[serde(default)]
    pub(crate) audit: Option<String>,
    pub(crate) services: Vec<ServiceLine>,
}

/// Whether the files are in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ConfigStatus {
    pub(crate) state: ConfigState,
    /// Since when.
    pub(crate) since: Option<Timestamp>,
    /// Names what is in force.
    pub(crate) digest: Option<String>,
    /// Why the newest files are not: the first problem.
    pub(crate) problem: Option<String>,
    /// How many problems there are.
    pub(crate) problems: usize,
}

/// Whether the newest files are in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ConfigState {
    Applied,
    /// The files have problems; what was in force stays in force.
    Refused,
}

/// One service.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ServiceLine {
    pub(crate) service: ServiceId,
    pub(crate) state: State,
    pub(crate) tier: Option<TierId>,
    pub(crate) pid: Option<u32>,
    pub(crate) restarts: u32,
    /// Since when it stands there.
    pub(crate) since: Timestamp,
    /// How long its process runs.
    pub(crate) uptime_s: Option<u64>,
    /// How long its process took to become ready.
    pub(crate) ready_after_ms: Option<u64>,
    pub(crate) address: String,
    /// Resident memory of its process and all that descends from it.
    pub(crate) memory_bytes: Option<u64>,
    /// Why it is not ready.
    pub(crate) reason: Option<String>,
    pub(crate) last_exit: Option<Exit>,
    /// What it printed last, when it is in trouble.
    pub(crate) last_lines: Vec<String>,
}

/// A key that `rc up` made for a demo tenant. The only place where it is shown.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct DemoKey {
    pub(crate) tenant: TenantId,
    pub(crate) tier: Option<TierId>,
    pub(crate) key_id: String,
    pub(crate) key: String,
}

/// What `rc up --output json` prints when the platform is ready.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct UpReport {
    #[serde(flatten)]
    pub(crate) status: PlatformStatus,
    /// From the command to ready.
    pub(crate) took_ms: u64,
    pub(crate) keys: Vec<DemoKey>,
    /// Paths of services of one's own that answer a GET through the gateway, as URLs.
    #[serde(default)]
    pub(crate) try_urls: Vec<String>,
}

/// `POST /v1/down`
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct DownRequest {
    /// Do not let services finish their work.
    #[serde(default)]
    pub(crate) now: bool,
    /// The user who asks.
    #[serde(default)]
    pub(crate) uid: Option<u32>,
}
