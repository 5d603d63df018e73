//! The supervisor: one task a service, a board on which all of them write, and a stop in good order.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rc_model::{Clock, ServiceId};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::machine::Policy;
use crate::order::{self, SpecError, Specs};
use crate::spec::ServiceSpec;
use crate::status::Board;
use crate::target::Target;
use crate::tend::{Desired, STOP_GRACE, Surroundings, tend};

/// Requests of handles that wait for the supervisor.
const COMMANDS_MAX: usize = 16;
/// A killed process that is not gone after this hangs in the kernel; waiting longer does not help.
const KILLED_WAIT_MAX: Duration = Duration::from_secs(5);

/// Runs a set of services. Created with its [`Handle`], then consumed by [`Supervisor::run`].
pub struct Supervisor {
    target: Arc<dyn Target>,
    clock: Arc<dyn Clock>,
    policy: Policy,
    board: watch::Sender<Board>,
    commands: mpsc::Receiver<Command>,
    stop_now: CancellationToken,
}

/// Watches and steers a running supervisor. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Handle {
    board: watch::Receiver<Board>,
    commands: mpsc::Sender<Command>,
    stop_now: CancellationToken,
}

#[derive(Debug)]
enum Command {
    Apply {
        specs: Vec<ServiceSpec>,
        reply: oneshot::Sender<Result<Changes, SpecError>>,
    },
}

/// What a new set of specs changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Services that are new.
    pub added: Vec<ServiceId>,
    /// Services that are gone.
    pub removed: Vec<ServiceId>,
    /// Services that are started anew.
    pub changed: Vec<ServiceId>,
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// The services as they were when they stopped.
    pub board: Board,
    /// Services that did not end even after SIGKILL.
    pub left: Vec<ServiceId>,
}

impl Supervisor {
    /// A supervisor over `target`. Each service's own timeouts replace those of `policy`.
    #[must_use]
    pub fn new(target: Arc<dyn Target>, clock: Arc<dyn Clock>, policy: Policy) -> (Self, Handle) {
        let (board, watch_board) = watch::channel(Board::default());
        let (sender, commands) = mpsc::channel(COMMANDS_MAX);
        let stop_now = CancellationToken::new();
        let handle = Handle {
            board: watch_board,
            commands: sender,
            stop_now: stop_now.clone(),
        };
        let supervisor = Self {
            target,
            clock,
            policy,
            board,
            commands,
            stop_now,
        };
        (supervisor, handle)
    }

    /// Runs `specs` until `stop` is cancelled, then stops them in reverse order of their needs. The stop is
    /// bounded by the longest chain of drains, whatever the services do.
    ///
    /// # Errors
    /// When the specs contradict each other; nothing was started then.
    pub async fn run(
        mut self,
        specs: Vec<ServiceSpec>,
        stop: CancellationToken,
    ) -> Result<Summary, SpecError> {
        let mut running = Running {
            specs: order::check(specs)?,
            tasks: JoinSet::new(),
            desired: BTreeMap::new(),
        };
        let ids: Vec<ServiceId> = running.specs.keys().cloned().collect();
        for id in ids {
            self.begin(&mut running, &id);
        }
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.stop_now.cancelled() => break,
                Some(Command::Apply { specs, reply }) = self.commands.recv() => {
                    let changes = self.apply(&mut running, specs);
                    // The one who asked may have lost interest.
                    let _ = reply.send(changes);
                }
                Some(ended) = running.tasks.join_next() => self.task_ended(&mut running, ended),
            }
        }
        // Requests that are still in the queue get the answer that their sender is dropped.
        self.commands.close();
        self.stop(&mut running).await;
        let left = running.desired.into_keys().collect();
        Ok(Summary {
            board: self.board.borrow().clone(),
            left,
        })
    }

    fn begin(&self, running: &mut Running, id: &ServiceId) {
        let Some(spec) = running.specs.get(id) else {
            return;
        };
        let spec = Arc::new(spec.clone());
        let (sender, receiver) = watch::channel(Desired::Run(Arc::clone(&spec)));
        running.desired.insert(id.clone(), sender);
        let around = Surroundings {
            target: Arc::clone(&self.target),
            clock: Arc::clone(&self.clock),
            policy: self.policy,
            board: self.board.clone(),
        };
        let id = id.clone();
        running.tasks.spawn(async move {
            tend(around, spec, receiver).await;
            id
        });
    }

    fn apply(&self, running: &mut Running, specs: Vec<ServiceSpec>) -> Result<Changes, SpecError> {
        let specs = order::check(specs)?;
        let mut changes = Changes::default();
        for id in running.specs.keys().filter(|id| !specs.contains_key(*id)) {
            running.tell(id, Desired::Remove);
            changes.removed.push(id.clone());
        }
        for (id, spec) in &specs {
            match running.specs.get(id) {
                None => changes.added.push(id.clone()),
                Some(old) if old != spec => {
                    running.tell(id, Desired::Run(Arc::new(spec.clone())));
                    if !old.runs_like(spec) {
                        changes.changed.push(id.clone());
                    }
                }
                Some(_) => {}
            }
        }
        running.specs = specs;
        for id in &changes.added {
            // One that is still being removed begins when its task has ended, see `task_ended`.
            if !running.desired.contains_key(id) {
                self.begin(running, id);
            }
        }
        Ok(changes)
    }

    fn task_ended(&self, running: &mut Running, ended: Result<ServiceId, tokio::task::JoinError>) {
        match ended {
            Ok(id) => {
                running.desired.remove(&id);
                // It was removed and added again while it stopped.
                self.begin(running, &id);
            }
            Err(error) => tracing::error!(%error, "the task that tends a service failed"),
        }
    }

    async fn stop(&self, running: &mut Running) {
        let after = order::stop_after(&running.specs);
        let bound = order::stop_bound(&running.specs, &after, STOP_GRACE * 2);
        for (id, sender) in &running.desired {
            let after = after.get(id).cloned().unwrap_or_default();
            sender.send_replace(Desired::Stop { after });
        }
        tokio::select! {
            () = running.ended() => return,
            () = tokio::time::sleep(bound) => {}
            () = self.stop_now.cancelled() => {}
        }
        for sender in running.desired.values() {
            sender.send_replace(Desired::StopNow);
        }
        // Those that are left after this are named in the summary.
        let _ = tokio::time::timeout(KILLED_WAIT_MAX, running.ended()).await;
    }
}

/// Owned by [`Supervisor::run`].
struct Running {
    specs: Specs,
    tasks: JoinSet<ServiceId>,
    /// One entry a living task.
    desired: BTreeMap<ServiceId, watch::Sender<Desired>>,
}

impl Running {
    fn tell(&self, id: &ServiceId, desired: Desired) {
        if let Some(sender) = self.desired.get(id) {
            sender.send_replace(desired);
        }
    }

    /// Resolves when no task is left.
    async fn ended(&mut self) {
        while let Some(ended) = self.tasks.join_next().await {
            match ended {
                Ok(id) => drop(self.desired.remove(&id)),
                Err(error) => tracing::error!(%error, "the task that tends a service failed"),
            }
        }
    }
}

impl Handle {
    /// All services at this moment.
    #[must_use]
    pub fn board(&self) -> Board {
        self.board.borrow().clone()
    }

    /// The board and its changes.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Board> {
        self.board.clone()
    }

    /// Runs `specs` instead: starts what is new, stops what is gone, starts anew what changed.
    ///
    /// # Errors
    /// When the specs contradict each other (nothing changes then) or the supervisor is stopping.
    pub async fn apply(&self, specs: Vec<ServiceSpec>) -> Result<Changes, SpecError> {
        let (reply, answer) = oneshot::channel();
        let command = Command::Apply { specs, reply };
        // Both ends are dropped only when the supervisor stops.
        if self.commands.send(command).await.is_err() {
            return Err(SpecError::Stopping);
        }
        answer.await.unwrap_or(Err(SpecError::Stopping))
    }

    /// Kills whatever runs, without letting it finish its work.
    pub fn stop_now(&self) {
        self.stop_now.cancel();
    }
}
