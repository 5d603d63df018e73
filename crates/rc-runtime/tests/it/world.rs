//! A scratch project for one test: a folder, a port that is open, a supervisor that runs in the background.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rc_model::{ServiceId, SystemClock};
use rc_runtime::journal::JournalOptions;
use rc_runtime::machine::Policy;
use rc_runtime::{
    Board, Handle, Kind, Probe, ProcessOptions, ProcessTarget, ServiceSpec, ServiceStatus, State, Summary,
    Supervisor, procfs,
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::roles;

/// Longer than anything that works takes, also on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct World {
    pub(crate) dir: tempfile::TempDir,
    /// Something accepts connections here, so a service that is probed at it is ready at once.
    open: TcpListener,
}

pub(crate) fn id(name: &str) -> ServiceId {
    ServiceId::new(name).unwrap()
}

/// A service that runs `script` with `sh` in `dir` and is ready when `port` is open.
pub(crate) fn spec(dir: &Path, name: &str, kind: Kind, port: u16, script: &str) -> ServiceSpec {
    ServiceSpec {
        id: id(name),
        program: "sh".into(),
        args: ["-c", script].map(OsString::from).to_vec(),
        env: BTreeMap::new(),
        cwd: dir.to_owned(),
        ready: Probe::TcpOpen { port },
        ready_timeout: Duration::from_secs(20),
        needs: Vec::new(),
        outlived_by: Vec::new(),
        drain: Duration::from_millis(500),
        log_file: dir.join(format!("{name}.log")),
        kind,
        address: format!("127.0.0.1:{port}"),
    }
}

impl World {
    pub(crate) fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            open: TcpListener::bind("127.0.0.1:0").unwrap(),
        }
    }

    pub(crate) fn open_port(&self) -> u16 {
        self.open.local_addr().unwrap().port()
    }

    pub(crate) fn spec(&self, name: &str, kind: Kind, script: &str) -> ServiceSpec {
        spec(self.dir.path(), name, kind, self.open_port(), script)
    }

    pub(crate) fn options(dir: &Path) -> ProcessOptions {
        ProcessOptions {
            scope: dir.to_str().unwrap().to_owned(),
            inherited_env: [("PATH".into(), "/usr/local/bin:/usr/bin:/bin".into())].into(),
            guard: roles::command("guard_role"),
            journal: JournalOptions {
                file_bytes_max: 1 << 20,
                tail_lines: 20,
            },
        }
    }

    pub(crate) fn start(&self, specs: Vec<ServiceSpec>) -> Running {
        let clock = SystemClock::shared();
        let target = Arc::new(ProcessTarget::new(Self::options(self.dir.path()), clock.clone()));
        let (supervisor, handle) = Supervisor::new(target, clock, Policy::default());
        let stop = CancellationToken::new();
        let stopping = stop.clone();
        #[expect(clippy::disallowed_methods, reason = "a test needs no task tree")]
        let task = tokio::spawn(async move { supervisor.run(specs, stopping).await.unwrap() });
        Running { handle, stop, task }
    }

    pub(crate) fn read(&self, file: &str) -> String {
        fs_err::read_to_string(self.dir.path().join(file)).unwrap_or_default()
    }

    /// The process ids in `file`, once it has `count` of them.
    pub(crate) async fn pids(&self, file: &str, count: usize) -> Vec<u32> {
        eventually(&format!("{count} process ids in {file}"), || {
            let pids: Vec<u32> = self
                .read(file)
                .lines()
                .filter_map(|line| line.trim().parse().ok())
                .collect();
            (pids.len() >= count).then_some(pids)
        })
        .await
    }
}

pub(crate) struct Running {
    pub(crate) handle: Handle,
    pub(crate) stop: CancellationToken,
    task: JoinHandle<Summary>,
}

impl Running {
    /// Waits until the board is as `wanted`.
    pub(crate) async fn until(&self, what: &str, wanted: impl Fn(&Board) -> bool) -> Board {
        let mut board = self.handle.watch();
        let reached = tokio::time::timeout(PATIENCE, board.wait_for(|board| wanted(board))).await;
        match reached {
            Ok(board) => board.unwrap().clone(),
            Err(_) => panic!("not {what}: {:#?}", self.handle.board()),
        }
    }

    pub(crate) async fn state(&self, name: &str, state: State) -> ServiceStatus {
        let is = |board: &Board| {
            board
                .services
                .get(&id(name))
                .is_some_and(|status| status.state == state)
        };
        self.until(&format!("{name} {state}"), is).await.services[&id(name)].clone()
    }

    pub(crate) async fn ready(&self, count: usize) -> Board {
        self.until("ready", |board| board.services.len() == count && board.ready())
            .await
    }

    /// Drops the supervisor in the middle of its work.
    pub(crate) fn abort(self) {
        self.task.abort();
    }

    pub(crate) async fn stop(self) -> Summary {
        self.stop.cancel();
        self.ended().await
    }

    pub(crate) async fn ended(self) -> Summary {
        let summary = tokio::time::timeout(PATIENCE, self.task)
            .await
            .expect("the stop is bounded")
            .unwrap();
        assert_eq!(summary.left, []);
        summary
    }
}

/// Polls until `look` gives something.
pub(crate) async fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let polling = async {
        loop {
            if let Some(found) = look() {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, polling)
        .await
        .unwrap_or_else(|_| panic!("never: {what}"))
}

pub(crate) fn alive(pid: u32) -> bool {
    procfs::process(pid).is_some_and(|process| !process.zombie)
}

pub(crate) async fn all_dead(pids: &[u32]) {
    eventually(&format!("end of {pids:?}"), || {
        pids.iter().all(|pid| !alive(*pid)).then_some(())
    })
    .await;
}

pub(crate) fn kill_minus_nine(pid: u32) {
    let process = procfs::process(pid).unwrap();
    procfs::signal(&process, rustix::process::Signal::KILL);
}
