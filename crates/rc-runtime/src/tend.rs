//! The task that tends one service: it feeds what happens into the [`Machine`] and does what it says.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use rc_model::{Clock, ServiceId, Timestamp};
use tokio::sync::watch;

use crate::exit::{Cause, Exit};
use crate::machine::{Effect, Input, Machine, Policy};
use crate::probe::NotReady;
use crate::spec::ServiceSpec;
use crate::status::{Board, ServiceStatus, State};
use crate::target::{Instance, Target};

/// On top of a service's own drain, before it is killed: for the signal to arrive and the end to be seen.
pub(crate) const STOP_GRACE: Duration = Duration::from_secs(1);

/// A starting service is probed this often: the supervisor should add nothing one can notice to a start.
const PROBE_STARTING: Duration = Duration::from_millis(15);
/// A service that takes its time is probed less often from `STARTING_SLOW_AFTER` on.
const PROBE_STARTING_SLOW: Duration = Duration::from_millis(100);
const STARTING_SLOW_AFTER: Duration = Duration::from_secs(3);
/// A ready service is probed this often.
const PROBE_READY: Duration = Duration::from_secs(1);
/// An unready one, which may be back at any moment.
const PROBE_UNREADY: Duration = Duration::from_millis(250);

/// What the supervisor wants of a service.
#[derive(Debug, Clone)]
pub(crate) enum Desired {
    /// Run it as specified; a changed specification restarts it.
    Run(Arc<ServiceSpec>),
    /// Stop it and forget it.
    Remove,
    /// Stop it once these have stopped.
    Stop { after: BTreeSet<ServiceId> },
    /// Kill it.
    StopNow,
}

/// What one service needs of its surroundings.
pub(crate) struct Surroundings {
    pub(crate) target: Arc<dyn Target>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) policy: Policy,
    pub(crate) board: watch::Sender<Board>,
}

/// Everything here is owned by the service's task.
struct Tended {
    around: Surroundings,
    board: watch::Receiver<Board>,
    spec: Arc<ServiceSpec>,
    machine: Machine,
    instance: Option<Box<dyn Instance>>,
    /// A stop that waits for others to stop first.
    stop_after: Option<BTreeSet<ServiceId>>,
    forget: bool,
    since: Timestamp,
    started: Option<(Timestamp, u64)>,
    ready_after_ms: Option<u64>,
    last_exit: Option<Exit>,
}

enum Event {
    Desired,
    Input(Input),
    OthersStopped,
}

/// Tends the service until it is stopped.
pub(crate) async fn tend(
    around: Surroundings,
    spec: Arc<ServiceSpec>,
    mut desired: watch::Receiver<Desired>,
) {
    let seed = around.clock.monotonic_ns() ^ u64::from(std::process::id()) << 32;
    let mut tended = Tended {
        board: around.board.subscribe(),
        machine: Machine::new(policy(&around.policy, &spec), seed),
        since: around.clock.now(),
        around,
        spec,
        instance: None,
        stop_after: None,
        forget: false,
        started: None,
        ready_after_ms: None,
        last_exit: None,
    };
    // The sender may have changed its mind before the task first ran.
    let now_desired = desired.borrow_and_update().clone();
    tended.desired(now_desired).await;
    loop {
        tended.publish();
        if tended.machine.state() == State::Stopped {
            break;
        }
        match tended.next(&mut desired).await {
            Event::Desired => {
                let now_desired = desired.borrow_and_update().clone();
                tended.desired(now_desired).await;
            }
            Event::Input(input) => tended.input(input).await,
            Event::OthersStopped => tended.input(Input::Stop).await,
        }
    }
    if tended.forget {
        let id = &tended.spec.id;
        tended
            .around
            .board
            .send_modify(|board| drop(board.services.remove(id)));
        tended.around.target.forget(id);
    }
}

fn policy(base: &Policy, spec: &ServiceSpec) -> Policy {
    Policy {
        ready_timeout: spec.ready_timeout,
        drain: spec.drain + STOP_GRACE,
        ..*base
    }
}

impl Tended {
    /// Waits for whatever happens first.
    async fn next(&mut self, desired: &mut watch::Receiver<Desired>) -> Event {
        let pause = self.probe_pause();
        let until_deadline = self
            .machine
            .deadline()
            .map(|deadline| Duration::from_nanos(deadline.saturating_sub(self.around.clock.monotonic_ns())));
        let state = self.machine.state();
        let mut others = self.board.clone();
        let Self {
            spec,
            around,
            instance,
            board,
            stop_after,
            ..
        } = self;
        tokio::select! {
            biased;
            Ok(()) = desired.changed() => Event::Desired,
            cause = ended(instance) => Event::Input(Input::Ended(cause)),
            () = ready(board, &spec.needs), if state == State::Waiting => Event::Input(Input::NeedsReady),
            () = stopped(&mut others, stop_after) => Event::OthersStopped,
            answer = ask(pause, &*around.target, spec) => Event::Input(match answer {
                Ok(()) => Input::ProbeOk,
                Err(NotReady(reason)) => Input::ProbeFailed(reason),
            }),
            () = sleep(until_deadline) => Event::Input(Input::Tick),
        }
    }

    /// How long to wait before the next probe; `None` when there is nothing to probe.
    fn probe_pause(&self) -> Option<Duration> {
        match self.machine.state() {
            State::Starting if self.instance.is_some() => {
                let started = self.started.map_or(0, |(_, ns)| ns);
                let age = Duration::from_nanos(self.around.clock.monotonic_ns().saturating_sub(started));
                Some(if age < STARTING_SLOW_AFTER {
                    PROBE_STARTING
                } else {
                    PROBE_STARTING_SLOW
                })
            }
            State::Ready => Some(PROBE_READY),
            State::Unready => Some(PROBE_UNREADY),
            State::Starting
            | State::Waiting
            | State::BackingOff
            | State::CrashLooped
            | State::Stopping
            | State::Stopped => None,
        }
    }

    async fn desired(&mut self, desired: Desired) {
        match desired {
            Desired::Run(spec) => {
                if spec.runs_like(&self.spec) {
                    self.spec = spec;
                } else {
                    self.note("info", "its entry in the catalog changed: it is started anew");
                    self.machine.set_policy(policy(&self.around.policy, &spec));
                    self.last_exit = None;
                    // The running instance is drained under its own terms; the next one gets the new ones.
                    self.input(Input::Replace).await;
                    self.spec = spec;
                }
            }
            Desired::Remove => {
                self.forget = true;
                self.input(Input::Stop).await;
            }
            Desired::Stop { after } => match self.machine.state() {
                State::Waiting | State::BackingOff | State::CrashLooped => self.input(Input::Stop).await,
                State::Starting | State::Ready | State::Unready | State::Stopping | State::Stopped => {
                    self.stop_after = Some(after);
                }
            },
            Desired::StopNow => self.input(Input::StopNow).await,
        }
    }

    async fn input(&mut self, input: Input) {
        let before = self.machine.state();
        let now = self.around.clock.monotonic_ns();
        if let Input::Ended(cause) = &input {
            self.instance = None;
            self.last_exit = Some(Exit::new(self.around.clock.now(), cause.clone()));
            if self.stop_after.is_some() {
                // It was about to be stopped: its end is as good as that, and nothing is started again.
                self.machine.step(Input::Stop, now);
            }
        }
        if matches!(input, Input::Stop) {
            self.stop_after = None;
        }
        let effect = self.machine.step(input, now);
        match effect {
            Some(Effect::Start) => self.start().await,
            Some(Effect::Terminate) => {
                if let Some(instance) = &mut self.instance {
                    instance.terminate();
                }
            }
            Some(Effect::Kill) => {
                self.note("warn", "it did not end in time and is killed");
                if let Some(instance) = &mut self.instance {
                    instance.kill();
                }
            }
            None => {}
        }
        self.tell(before);
    }

    async fn start(&mut self) {
        self.started = Some((self.around.clock.now(), self.around.clock.monotonic_ns()));
        self.ready_after_ms = None;
        match self.around.target.start(&self.spec).await {
            Ok(instance) => {
                let pid = instance
                    .pid()
                    .map(|pid| format!(", pid {pid}"))
                    .unwrap_or_default();
                self.instance = Some(instance);
                self.note("info", &format!("started{pid}"));
            }
            Err(error) => {
                let cause = Cause::NotStarted(error.0);
                self.last_exit = Some(Exit::new(self.around.clock.now(), cause.clone()));
                self.machine
                    .step(Input::Ended(cause), self.around.clock.monotonic_ns());
            }
        }
    }

    /// Writes a change of state into the service's log.
    fn tell(&mut self, before: State) {
        let state = self.machine.state();
        if state == before {
            return;
        }
        self.since = self.around.clock.now();
        if before == State::Stopping || state == State::CrashLooped {
            // A late service was stopped by us; the machine knows the true reason.
            self.correct_exit();
        }
        let reason = self
            .machine
            .last_cause()
            .map(ToString::to_string)
            .unwrap_or_default();
        match state {
            State::Ready => {
                if before == State::Starting {
                    let started = self.started.map_or(0, |(_, ns)| ns);
                    let took = self.around.clock.monotonic_ns().saturating_sub(started) / 1_000_000;
                    self.ready_after_ms = Some(took);
                    self.note("info", &format!("ready after {took} ms"));
                } else {
                    self.note("info", "ready again");
                }
            }
            State::Unready => self.note("warn", &format!("not ready: {}", self.machine.last_probe())),
            State::BackingOff => self.note("warn", &format!("{reason}; {}", self.next_start())),
            State::CrashLooped => {
                let Policy {
                    crash_exits,
                    crash_window,
                    ..
                } = self.around.policy;
                let window = crash_window.as_secs();
                self.note(
                    "error",
                    &format!("{reason}; {crash_exits} times within {window} s: left alone"),
                );
            }
            State::Stopping => self.note("info", "asked to stop"),
            State::Stopped => self.note("info", "stopped"),
            // A fresh start under a new specification has a clean record.
            State::Waiting => self.last_exit = None,
            State::Starting => {}
        }
    }

    fn correct_exit(&mut self) {
        if let (Some(exit), Some(cause)) = (&mut self.last_exit, self.machine.last_cause()) {
            *exit = Exit::new(exit.at, cause.clone());
        }
    }

    fn next_start(&self) -> String {
        let now = self.around.clock.monotonic_ns();
        let wait = self.machine.deadline().map_or(0, |at| at.saturating_sub(now)) / 1_000_000;
        format!("starts again in {wait} ms")
    }

    fn note(&self, level: &'static str, text: &str) {
        self.around.target.note(&self.spec, level, text);
        let service = self.spec.id.as_str();
        match level {
            "error" => tracing::error!(about = service, "{text}"),
            "warn" => tracing::warn!(about = service, "{text}"),
            _ => tracing::info!(about = service, "{text}"),
        }
    }

    fn publish(&self) {
        let state = self.machine.state();
        let troubled = matches!(state, State::BackingOff | State::CrashLooped);
        let pid = self.instance.as_ref().and_then(|instance| instance.pid());
        let status = ServiceStatus {
            state,
            since: self.since,
            pid,
            started: self.started.map(|(at, _)| at).filter(|_| pid.is_some()),
            ready_after_ms: self.ready_after_ms,
            restarts: self.machine.restarts(),
            last_exit: self.last_exit.clone(),
            reason: self.reason(state),
            address: self.spec.address.clone(),
            last_lines: if troubled {
                self.around.target.last_lines(&self.spec.id)
            } else {
                Vec::new()
            },
        };
        self.around.board.send_if_modified(|board| {
            let same = board.services.get(&self.spec.id) == Some(&status);
            if !same {
                board.services.insert(self.spec.id.clone(), status);
            }
            !same
        });
    }

    fn reason(&self, state: State) -> Option<String> {
        let reason = match state {
            State::Waiting => {
                let board = self.board.borrow();
                let missing = self
                    .spec
                    .needs
                    .iter()
                    .filter(|need| !board.all_ready(std::slice::from_ref(*need)));
                let missing: Vec<&str> = missing.map(ServiceId::as_str).collect();
                format!("waits for {}", missing.join(", "))
            }
            State::Starting | State::Unready => self.machine.last_probe().to_owned(),
            State::BackingOff => {
                format!(
                    "{}; starts again soon",
                    self.machine
                        .last_cause()
                        .map(ToString::to_string)
                        .unwrap_or_default()
                )
            }
            State::CrashLooped => self
                .machine
                .last_cause()
                .map(ToString::to_string)
                .unwrap_or_default(),
            State::Ready | State::Stopping | State::Stopped => String::new(),
        };
        (!reason.is_empty()).then_some(reason)
    }
}

async fn ended(instance: &mut Option<Box<dyn Instance>>) -> Cause {
    match instance {
        Some(instance) => instance.ended().await,
        None => std::future::pending().await,
    }
}

/// Resolves when all of `needs` are ready.
async fn ready(board: &mut watch::Receiver<Board>, needs: &[ServiceId]) {
    if board.wait_for(|board| board.all_ready(needs)).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Resolves when all of `after` have stopped; never without a stop.
async fn stopped(board: &mut watch::Receiver<Board>, after: &Option<BTreeSet<ServiceId>>) {
    let Some(after) = after else {
        return std::future::pending().await;
    };
    let gone = |board: &Board| {
        let state = |id| board.services.get(id).map(|status: &ServiceStatus| status.state);
        after
            .iter()
            .all(|id| matches!(state(id), None | Some(State::Stopped)))
    };
    if board.wait_for(gone).await.is_err() {
        std::future::pending::<()>().await;
    }
}

async fn ask(pause: Option<Duration>, target: &dyn Target, spec: &ServiceSpec) -> Result<(), NotReady> {
    let Some(pause) = pause else {
        return std::future::pending().await;
    };
    tokio::time::sleep(pause).await;
    target.probe(spec).await
}

async fn sleep(span: Option<Duration>) {
    match span {
        Some(span) => tokio::time::sleep(span).await,
        None => std::future::pending().await,
    }
}
