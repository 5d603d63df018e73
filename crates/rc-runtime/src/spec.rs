//! What to run: one [`ServiceSpec`] a service, made by whoever reads the catalog.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use rc_model::ServiceId;

/// Everything a target needs to run one service.
#[derive(Clone, PartialEq, Eq)]
pub struct ServiceSpec {
    /// The service's name in the catalog.
    pub id: ServiceId,
    /// The program: an absolute path, or a name to be found in the child's `PATH`.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Environment variables on top of the target's allow-list. They may hold secrets.
    pub env: BTreeMap<String, String>,
    /// The folder to run in.
    pub cwd: PathBuf,
    /// How to see that the service can serve.
    pub ready: Probe,
    /// How long an instance may take to become ready before it counts as failed.
    pub ready_timeout: Duration,
    /// Services that must be ready before this one starts, and that are stopped after it.
    pub needs: Vec<ServiceId>,
    /// Services to which this one sends work: they start beside it but are stopped after it, so that a
    /// draining front finds its upstreams alive. `needs` wins where the two contradict each other.
    pub outlived_by: Vec<ServiceId>,
    /// How long a stopped instance may take to finish its work before it is killed.
    pub drain: Duration,
    /// Where its output goes.
    pub log_file: PathBuf,
    /// Whose program it is.
    pub kind: Kind,
    /// Where it answers, for people.
    pub address: String,
}

impl ServiceSpec {
    /// Whether an instance of `self` is as good as one of `other`: they differ at most in the order in which
    /// services start and stop.
    #[must_use]
    pub fn runs_like(&self, other: &Self) -> bool {
        let other = Self {
            needs: self.needs.clone(),
            outlived_by: self.outlived_by.clone(),
            ..other.clone()
        };
        *self == other
    }
}

/// Whose program a service is, which decides how it is kept from becoming an orphan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One of ours: it watches its standard input and ends by itself when the supervisor is gone.
    Ours,
    /// A user's own command, which knows nothing of us: it runs under a [`crate::guard`] process.
    Guarded,
}

/// How to see that a service can serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// `GET path` on a Unix socket answers 2xx.
    UnixHttp { socket: PathBuf, path: String },
    /// `GET path` on `127.0.0.1:port` answers 2xx.
    TcpHttp { port: u16, path: String },
    /// Something accepts connections on `127.0.0.1:port`.
    TcpOpen { port: u16 },
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnixHttp { socket, path } => write!(f, "GET {path} on {}", socket.display()),
            Self::TcpHttp { port, path } => write!(f, "GET {path} on port {port}"),
            Self::TcpOpen { port } => write!(f, "a connection to port {port}"),
        }
    }
}

impl fmt::Debug for ServiceSpec {
    /// Shows the names of environment variables, never their values.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceSpec")
            .field("id", &self.id)
            .field("program", &self.program)
            .field("args", &self.args)
            .field("env", &self.env.keys().collect::<Vec<_>>())
            .field("cwd", &self.cwd)
            .field("ready", &self.ready)
            .field("needs", &self.needs)
            .field("drain", &self.drain)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}
