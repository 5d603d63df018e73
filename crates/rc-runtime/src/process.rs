//! The local process target: one child process an instance.
//!
//! What keeps a child from becoming an orphan: its standard input is a pipe that only this process can
//! write to. When this process is gone, our own services drain and end by themselves, and guards end the
//! commands that they guard. Each child also carries a mark in its environment, by which the next supervisor
//! finds and ends what even that left behind ([`sweep_leftovers`]).

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rc_model::{Clock, ServiceId};
use rustix::process::{Pid, Signal};
use tokio::process::{Child, ChildStdin, Command};
use tokio_util::sync::CancellationToken;

use crate::exit::Cause;
use crate::journal::{self, Journal, JournalOptions, Shared};
use crate::probe::{NotReady, probe};
use crate::procfs;
use crate::spec::{Kind, ServiceSpec};
use crate::target::{BoxFuture, Instance, StartError, Target};

/// The variable in each child's environment that says whose it is: `<scope>#<service>#<number>`.
pub const MARK: &str = "RC_INSTANCE";
/// After an instance has ended, its last output is waited for no longer than this.
const LAST_OUTPUT_MAX: Duration = Duration::from_millis(500);
/// How often leftovers are looked at.
const SWEEP_EVERY: Duration = Duration::from_millis(20);

/// What all children of one supervisor have in common.
#[derive(Debug, Clone)]
pub struct ProcessOptions {
    /// Names the project; two supervisors that must not touch each other's children have different ones.
    pub scope: String,
    /// The variables that children get from the supervisor's own environment. Nothing else is passed on.
    pub inherited_env: BTreeMap<OsString, OsString>,
    /// Program and first arguments of the guard; the drain in milliseconds, `--` and the command follow.
    pub guard: Vec<OsString>,
    /// Bounds of the journals.
    pub journal: JournalOptions,
}

/// Runs services as child processes of this process.
pub struct ProcessTarget {
    options: ProcessOptions,
    clock: Arc<dyn Clock>,
    /// One journal a service, over all its instances.
    journals: Mutex<HashMap<ServiceId, Shared>>,
    started: AtomicU64,
}

impl ProcessTarget {
    /// A target without instances.
    #[must_use]
    pub fn new(options: ProcessOptions, clock: Arc<dyn Clock>) -> Self {
        Self {
            options,
            clock,
            journals: Mutex::new(HashMap::new()),
            started: AtomicU64::new(0),
        }
    }

    fn journal(&self, spec: &ServiceSpec) -> Shared {
        let mut journals = self.journals.lock().unwrap_or_else(PoisonError::into_inner);
        let open = || Arc::new(Mutex::new(Journal::new(&spec.log_file, self.options.journal)));
        Arc::clone(journals.entry(spec.id.clone()).or_insert_with(open))
    }

    fn command(&self, spec: &ServiceSpec, mark: &str) -> Result<Command, StartError> {
        let mut command = match spec.kind {
            Kind::Ours => {
                let mut command = Command::new(&spec.program);
                command.args(&spec.args);
                command
            }
            Kind::Guarded => {
                let [guard, arguments @ ..] = self.options.guard.as_slice() else {
                    return Err(StartError("no guard is set".to_owned()));
                };
                let mut command = Command::new(guard);
                command
                    .args(arguments)
                    .arg(spec.drain.as_millis().to_string())
                    .arg("--");
                command.arg(&spec.program).args(&spec.args);
                command
            }
        };
        command
            .env_clear()
            .envs(&self.options.inherited_env)
            .envs(&spec.env)
            .env(MARK, mark)
            .current_dir(&spec.cwd)
            .stdin(Stdio::piped())
            // A group of its own: Ctrl-C at the terminal is for the supervisor, which stops in good order.
            .process_group(0);
        Ok(command)
    }

    fn spawn(&self, spec: &ServiceSpec) -> Result<ProcessInstance, StartError> {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let mark = format!(
            "{}#{}#{}-{number}",
            self.options.scope,
            spec.id,
            std::process::id()
        );
        let failed = |what: &str, error: std::io::Error| StartError(format!("{what}: {error}"));
        if !spec.cwd.is_dir() {
            return Err(StartError(format!(
                "the folder {} does not exist",
                spec.cwd.display()
            )));
        }
        // One pipe for both outputs keeps their lines in order.
        let (reader, writer) = std::io::pipe().map_err(|error| failed("no pipe", error))?;
        let mut command = self.command(spec, &mark)?;
        let second = writer.try_clone().map_err(|error| failed("no pipe", error))?;
        command.stdout(writer).stderr(second);
        let program = command.as_std().get_program().to_string_lossy().into_owned();
        let mut child = command.spawn().map_err(|error| failed(&program, error))?;
        // Our copies of the write end go with it, so that the pipe ends with the child.
        drop(command);
        let journal = self.journal(spec);
        journal::with(&journal, |journal| journal.clear_tail());
        let captured = journal::capture(spec.id.as_str(), reader, journal, Arc::clone(&self.clock))
            .map_err(|error| failed("no thread for its output", error))?;
        Ok(ProcessInstance {
            stdin: child.stdin.take(),
            child,
            kind: spec.kind,
            mark,
            captured,
            ended: None,
        })
    }
}

impl Target for ProcessTarget {
    fn start<'a>(&'a self, spec: &'a ServiceSpec) -> BoxFuture<'a, Result<Box<dyn Instance>, StartError>> {
        Box::pin(async move {
            let instance = self.spawn(spec)?;
            Ok(Box::new(instance) as Box<dyn Instance>)
        })
    }

    fn probe<'a>(&'a self, spec: &'a ServiceSpec) -> BoxFuture<'a, Result<(), NotReady>> {
        Box::pin(probe(&spec.ready))
    }

    fn note(&self, spec: &ServiceSpec, level: &'static str, text: &str) {
        let line = serde_json::json!({
            "ts": self.clock.now(),
            "level": level,
            "service": spec.id,
            "msg": text,
            "target": "supervisor",
        });
        let journal = self.journal(spec);
        journal::with(&journal, |journal| journal.note(&line.to_string()));
    }

    fn last_lines(&self, service: &ServiceId) -> Vec<String> {
        let journal = {
            let journals = self.journals.lock().unwrap_or_else(PoisonError::into_inner);
            journals.get(service).map(Arc::clone)
        };
        journal
            .map(|journal| journal::with(&journal, |journal| journal.tail()))
            .unwrap_or_default()
    }

    fn forget(&self, service: &ServiceId) {
        self.journals
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(service);
    }
}

/// One child. Its fields belong to the task that tends the service.
struct ProcessInstance {
    child: Child,
    /// Held, never written: its end is how the child learns that nobody watches it.
    stdin: Option<ChildStdin>,
    kind: Kind,
    mark: String,
    /// Cancelled when all output was written to the journal.
    captured: CancellationToken,
    ended: Option<Cause>,
}

impl ProcessInstance {
    fn signal(&self, signal: Signal) {
        let Some(pid) = self.pid().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?)) else {
            return;
        };
        // The id is ours until the child was waited for, so it cannot be another process. An error means that
        // the child has ended, which `ended` is about to tell.
        let _ = rustix::process::kill_process(pid, signal);
    }

    fn cause(&self, status: &ExitStatus) -> Cause {
        match (status.code(), status.signal()) {
            (Some(code), _) if self.kind == Kind::Guarded => Cause::from_shell_status(code),
            (Some(code), _) => Cause::Status(code),
            (None, signal) => Cause::Signal(signal.unwrap_or(0)),
        }
    }

    /// Ends what a guard left behind that was itself killed.
    async fn sweep(&self) {
        while let left @ [_, ..] = procfs::marked(MARK, &self.mark).as_slice() {
            for process in left {
                procfs::signal(process, Signal::KILL);
            }
            tokio::time::sleep(SWEEP_EVERY).await;
        }
    }
}

impl Instance for ProcessInstance {
    fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    fn ended(&mut self) -> BoxFuture<'_, Cause> {
        Box::pin(async move {
            if self.ended.is_none() {
                let cause = match self.child.wait().await {
                    Ok(status) => self.cause(&status),
                    Err(error) => Cause::NotStarted(format!("its end cannot be seen: {error}")),
                };
                self.stdin = None;
                self.ended = Some(cause);
            }
            let cause = self.ended.clone().unwrap_or(Cause::Status(0));
            if self.kind == Kind::Guarded && self.child.try_wait().is_ok_and(was_killed) {
                self.sweep().await;
            }
            // The last lines say why it ended; a stray holder of the pipe must not hold up the restart.
            let _ = tokio::time::timeout(LAST_OUTPUT_MAX, self.captured.cancelled()).await;
            cause
        })
    }

    fn terminate(&mut self) {
        self.signal(Signal::TERM);
    }

    fn kill(&mut self) {
        if let (Kind::Guarded, Some(guard)) = (self.kind, self.pid()) {
            for process in procfs::descendants(guard) {
                procfs::signal(&process, Signal::KILL);
            }
        }
        self.signal(Signal::KILL);
    }
}

fn was_killed(status: Option<ExitStatus>) -> bool {
    status.is_some_and(|status| status.signal().is_some())
}

/// Ends what an earlier supervisor of `scope` left running: after `kill -9` its services drain by
/// themselves, so they get `patience` for it, and what is left then is killed. Gives the command lines of
/// what had to be killed. The caller holds the project's lock.
pub async fn sweep_leftovers(scope: &str, patience: Duration) -> Vec<String> {
    let prefix = format!("{scope}#");
    let own = procfs::ancestry(std::process::id());
    let left = || -> Vec<procfs::Process> {
        let marked = procfs::marked(MARK, &prefix);
        marked
            .into_iter()
            .filter(|process| !own.contains(&process.pid))
            .collect()
    };
    let waiting = async {
        while !left().is_empty() {
            tokio::time::sleep(SWEEP_EVERY).await;
        }
    };
    if tokio::time::timeout(patience, waiting).await.is_ok() {
        return Vec::new();
    }
    let mut killed = BTreeMap::new();
    // Bounded: a process that even SIGKILL does not end hangs in the kernel, and waiting will not help.
    for _ in 0..100 {
        let left = left();
        if left.is_empty() {
            break;
        }
        for process in left {
            let command = procfs::command_line(process.pid).unwrap_or_default();
            killed.insert((process.pid, process.start_ticks), command);
            procfs::signal(&process, Signal::KILL);
        }
        tokio::time::sleep(SWEEP_EVERY).await;
    }
    killed.into_values().collect()
}

/// The folder and name of the running program, for starting it again as a child. A binary that was replaced
/// or removed while it runs is reached through `/proc`, so that children are always of the same build.
///
/// # Errors
/// When the operating system does not tell.
pub fn own_program() -> std::io::Result<PathBuf> {
    const SELF: &str = "/proc/self/exe";
    use std::os::unix::fs::MetadataExt as _;
    let path = std::env::current_exe()?;
    let same = |a: &std::fs::Metadata, b: &std::fs::Metadata| (a.ino(), a.dev()) == (b.ino(), b.dev());
    match (fs_err::metadata(&path), fs_err::metadata(SELF)) {
        (Ok(there), Ok(running)) if same(&there, &running) => Ok(path),
        _ => Ok(SELF.into()),
    }
}
