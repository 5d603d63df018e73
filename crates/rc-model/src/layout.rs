//! Where a project keeps what it needs while it runs: the `.royalcrown/` folder.
//!
//! Pure arithmetic on paths; nothing here touches the disk.

use std::path::{Path, PathBuf};

use crate::id::ServiceId;

/// The folder's name inside the project.
pub const STATE_DIR: &str = ".royalcrown";

/// Paths of one project's state. Safe to delete when nothing runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    project: PathBuf,
}

impl Layout {
    /// The layout of the project in `project` (an absolute path).
    #[must_use]
    pub fn new(project: &Path) -> Self {
        Self {
            project: project.to_owned(),
        }
    }

    /// The project's folder, where the user's files are.
    #[must_use]
    pub fn project(&self) -> &Path {
        &self.project
    }

    /// `.royalcrown/`
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.project.join(STATE_DIR)
    }

    /// The lock that says a supervisor runs.
    #[must_use]
    pub fn lock_file(&self) -> PathBuf {
        self.state().join("lock")
    }

    /// Databases of `service`; only that service writes there.
    #[must_use]
    pub fn data(&self, service: &ServiceId) -> PathBuf {
        self.state().join("data").join(service.as_str())
    }

    /// The key under which users get their names in logs; made once, never sent anywhere.
    #[must_use]
    pub fn installation_key(&self) -> PathBuf {
        self.state().join("data").join("installation.key")
    }

    /// Recent spans, one folder a service.
    #[must_use]
    pub fn traces(&self) -> PathBuf {
        self.state().join("traces")
    }

    /// The tamper-evident log of the ledger: C2SP tlog-tiles, one folder.
    #[must_use]
    pub fn ledger_log(&self) -> PathBuf {
        self.ledger_data().join("log")
    }

    /// The ledger's signing key.
    #[must_use]
    pub fn ledger_key(&self) -> PathBuf {
        self.ledger_data().join("key")
    }

    /// The ledger's own database: what commitments stand for, and the second copy of the last checkpoint.
    #[must_use]
    pub fn ledger_db(&self) -> PathBuf {
        self.ledger_data().join("ledger.db")
    }

    /// Everything of the ledger.
    #[must_use]
    pub fn ledger_data(&self) -> PathBuf {
        self.data(&crate::catalog::Builtin::ProvLedger.id())
    }

    /// The gateway's database, where the store is `sqlite:`.
    #[must_use]
    pub fn gateway_db(&self) -> PathBuf {
        self.data(&crate::catalog::Builtin::Gateway.id())
            .join("gateway.db")
    }

    /// What `service` has to tell the ledger, where that is not in its store.
    #[must_use]
    pub fn audit_db(&self, service: &ServiceId) -> PathBuf {
        self.data(service).join("audit.db")
    }

    /// What the supervisor has to tell the ledger.
    #[must_use]
    pub fn supervisor_db(&self) -> PathBuf {
        self.state().join("data").join("rc-up").join("audit.db")
    }

    /// The log of `service`.
    #[must_use]
    pub fn log_file(&self, service: &ServiceId) -> PathBuf {
        self.state().join("logs").join(format!("{service}.log"))
    }

    /// The supervisor's own log when it runs detached.
    #[must_use]
    pub fn supervisor_log(&self) -> PathBuf {
        self.state().join("logs").join("rc-up.log")
    }

    /// Unix sockets and the endpoint table; mode 0700.
    #[must_use]
    pub fn run(&self) -> PathBuf {
        self.state().join("run")
    }

    /// The Unix socket that `service` listens on.
    #[must_use]
    pub fn socket(&self, service: &ServiceId) -> PathBuf {
        self.run().join(format!("{service}.sock"))
    }

    /// The supervisor's control socket.
    #[must_use]
    pub fn control_socket(&self) -> PathBuf {
        self.run().join("rc-up.sock")
    }

    /// The texts of the configuration that is in force, kept by the supervisor for services that start anew.
    #[must_use]
    pub fn in_force_file(&self) -> PathBuf {
        self.run().join("in-force.json")
    }

    /// Which service answers where, written by the supervisor and read by the gateway.
    #[must_use]
    pub fn endpoints_file(&self) -> PathBuf {
        self.run().join("endpoints.json")
    }
}
