//! Running the platform: from the lock to the last stopped service.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rc_model::clock::monotonic_ns;
use rc_model::project::AccessLog;
use rc_model::workspace::{Model, Sources};
use rc_model::{Clock as _, Layout, SystemClock};
use rc_runtime::journal::JournalOptions;
use rc_runtime::lock::{Lock, LockError, Owner};
use rc_runtime::machine::Policy;
use rc_runtime::{
    Handle, ProcessOptions, ProcessTarget, ServiceSpec, Summary, Supervisor, Target, own_program,
    sweep_leftovers,
};
use rc_serve::{Edge, Metrics, Readiness, Tree, edge};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::audit::target::Watched;
use super::audit::{Audit, End as Ending, own_user};
use super::build::{self, Built};
use super::control::{AUDIT, Control, Facts};
use super::failure::{Refusal, already_runs, crashed, late};
use super::keys;
use super::plan::{Ground, Plan, Ports, keep_in_force, prepare_state, try_urls, unusable, write_endpoints};
use super::screen::{Event, Show};
use super::signals::Signals;
use super::watch::Watch;
use super::wire::{ConfigState, ConfigStatus, UpReport};
use crate::cx::Cx;
use crate::fault::{Fault, Outcome};

/// Services of a killed supervisor drain by themselves; they get this on top of their own drain.
const LEFTOVER_GRACE: Duration = Duration::from_secs(3);
/// The control socket finishes open exchanges within this.
const CONTROL_DRAIN_MAX: Duration = Duration::from_secs(1);

/// How `rc up` was called.
pub(super) struct Call {
    pub(super) detached: bool,
    /// How long the platform may take to become ready; only a detached one gives up.
    pub(super) wait: Option<Duration>,
    /// When the command began, on the monotonic clock.
    pub(super) began_ns: u64,
}

/// Reads the files, or tells every problem.
pub(super) fn read_model(cx: &Cx, dir: &std::path::Path) -> Result<Model, Fault> {
    let palette = if cx.color {
        rc_model::source::Palette::COLOR
    } else {
        rc_model::source::Palette::PLAIN
    };
    Model::read(&Sources::from_dir(dir)).map_err(|problems| {
        let errors = problems.iter().filter(|problem| problem.is_error()).count();
        let list: Vec<String> = problems.iter().map(|problem| problem.render(&palette)).collect();
        let noun = if errors == 1 { "problem" } else { "problems" };
        let code = problems
            .iter()
            .find(|problem| problem.is_error())
            .map_or("RC-CFG-001", |problem| problem.code);
        Fault::usage(
            code,
            format!(
                "the project's files have {errors} {noun}\n\n{}",
                list.join("\n").trim_end()
            ),
        )
        .hint("nothing was started; `rc catalog check` checks the files alone")
    })
}

/// Takes the project's lock, or says who has it.
pub(super) fn take_lock(layout: &Layout, detached: bool) -> Result<Lock, Fault> {
    let owner = Owner {
        pid: std::process::id(),
        since: SystemClock.now(),
        detached,
        project: layout.project().to_owned(),
    };
    Lock::acquire(&layout.lock_file(), &owner).map_err(|error| match error {
        LockError::Held(owner) => already_runs(owner.as_ref()),
        LockError::Io { source, .. } => unusable(&layout.state(), source),
    })
}

/// Runs the platform until somebody ends it.
pub(super) async fn run(
    cx: &Cx,
    layout: Layout,
    model: Model,
    call: Call,
    show: &mut dyn Show,
) -> Result<Outcome, Fault> {
    let mut signals = Signals::new().map_err(|error| cannot("signals cannot be received", error))?;
    let _lock = take_lock(&layout, call.detached)?;
    let scope = layout.state().display().to_string();
    sweep(&scope, &model, show).await;

    let program = own_program().map_err(|error| cannot("this program's own path is unknown", error))?;
    let ground = Ground {
        layout: layout.clone(),
        program: program.clone(),
        store_url: cx.env.store_url.clone(),
        bus_url: cx.env.bus_url.clone(),
        build_env: cx.build_env(),
        otel: cx.env.otel.clone(),
    };
    let watch = Watch::new(layout.project());
    let mut ports = Ports::default();
    let mut plan = ground.plan(&model, &mut ports)?;
    write_endpoints(&layout, &plan.endpoints)?;
    keep_in_force(&layout, &Sources::from_dir(layout.project()), &model)?;
    for text in plan.notes.clone() {
        show.show(&Event::Note { text });
    }
    for warning in &model.warnings {
        show.show(&Event::Warning {
            text: format!("{}:{}: {}", warning.file, warning.line, warning.message),
        });
    }

    let metrics = Metrics::new();
    let readiness = Readiness::new();
    let audit = Audit::open(&layout, &metrics, readiness.component(AUDIT)).await?;
    for text in audit.notes() {
        show.show(&Event::Warning { text: text.clone() });
    }
    let target = ProcessTarget::new(options(cx, scope, program), SystemClock::shared());
    let target = Arc::new(Watched::new(target, audit.facts()));
    let services: Arc<dyn Target> = Arc::clone(&target) as _;
    let (supervisor, handle) = Supervisor::new(services, SystemClock::shared(), Policy::default());
    let control = control(&layout, &model, &plan, &call, handle.clone(), readiness.clone());
    let tree = Tree::new();
    let edge = Edge {
        service: "rc-up",
        router: control.clone().router(),
        readiness,
        metrics,
        access: AccessLog::Off,
        sink: None,
        marks: rc_serve::Marks::default(),
    };
    edge::serve_uds(&layout.control_socket(), edge, &tree)
        .map_err(|error| unusable(&layout.state(), error))?;
    let stop = control.stop.clone();
    let interrupted = async {
        tokio::select! {
            () = signals.next() => {}
            () = stop.cancelled() => {}
        }
    };
    let built = build::run(target.unwatched(), &plan.builds, interrupted, show).await;
    if !matches!(built, Ok(Built::All)) {
        leave(&layout, &tree).await;
        return built.map(|_| Outcome::No);
    }
    if !plan.builds.is_empty() {
        // Ports that were free before the builds may be taken by now.
        ports = Ports::default();
        let again = ground.plan(&model, &mut ports);
        match again.and_then(|plan| write_endpoints(&layout, &plan.endpoints).map(|()| plan)) {
            Ok(again) => plan = again,
            Err(fault) => {
                leave(&layout, &tree).await;
                return Err(fault);
            }
        }
        control.set(|facts| facts.url.clone_from(&plan.url));
    }
    audit.started(&model, call.detached).await?;

    let (ended, mut end) = oneshot::channel();
    tree.spawn("supervisor", async move {
        // The receiver lives as long as `run` does.
        let _ = ended.send(supervisor.run(plan.specs, stop).await);
    });
    let mut platform = Platform {
        layout: &layout,
        model,
        ground,
        ports,
        watch,
        target,
        builds: plan.builds,
        control,
        handle,
        call,
        audit,
    };
    let result = platform.supervise(&mut signals, &mut end, show).await;
    platform.recorded(&result, show).await;
    leave(&layout, &tree).await;
    result
}

/// Ends what serves the control socket, and removes what says that a platform runs here.
async fn leave(layout: &Layout, tree: &Tree) {
    // Whatever held on to the socket is told to go; the file goes last.
    let _ = tree.drain(CONTROL_DRAIN_MAX).await;
    let left = [
        layout.control_socket(),
        layout.endpoints_file(),
        layout.in_force_file(),
    ];
    for path in left {
        // A leftover is replaced by the next start.
        let _ = fs_err::remove_file(path);
    }
}

async fn sweep(scope: &str, model: &Model, show: &mut dyn Show) {
    let longest = model
        .catalog
        .services
        .values()
        .map(|service| service.drain.duration())
        .max()
        .unwrap_or_default();
    let killed = sweep_leftovers(scope, longest + LEFTOVER_GRACE).await;
    for command in killed {
        show.show(&Event::Warning {
            text: format!("ended what a killed supervisor left behind: {command}"),
        });
    }
}

fn options(cx: &Cx, scope: String, program: PathBuf) -> ProcessOptions {
    ProcessOptions {
        scope,
        inherited_env: cx.child_env(),
        guard: vec![program.into_os_string(), "__guard".into(), "--drain-ms".into()],
        journal: JournalOptions::default(),
    }
}

fn control(
    layout: &Layout,
    model: &Model,
    plan: &Plan,
    call: &Call,
    handle: Handle,
    readiness: Readiness,
) -> Control {
    let now = SystemClock.now();
    Control {
        handle,
        readiness,
        clock: SystemClock::shared(),
        project: layout.project().to_owned(),
        since: now,
        detached: call.detached,
        stop: CancellationToken::new(),
        facts: Arc::new(Mutex::new(Facts {
            url: plan.url.clone(),
            tiers: plan.tiers.clone(),
            config: applied(model),
            was_ready: false,
            ending: None,
        })),
    }
}

fn applied(model: &Model) -> ConfigStatus {
    ConfigStatus {
        state: ConfigState::Applied,
        since: Some(SystemClock.now()),
        digest: Some(model.digest.to_string()),
        problem: None,
        problems: 0,
    }
}

fn cannot(what: &str, error: std::io::Error) -> Fault {
    Fault::world("RC-UP-007", format!("the supervisor cannot start: {what}")).because(error)
}

/// The running platform. Owned by the task that runs the command.
struct Platform<'a> {
    layout: &'a Layout,
    model: Model,
    ground: Ground,
    ports: Ports,
    watch: Watch,
    /// Where services run, and their builds.
    target: Arc<Watched<ProcessTarget>>,
    /// What was built for the files that are in force.
    builds: Vec<ServiceSpec>,
    control: Control,
    handle: Handle,
    call: Call,
    audit: Audit,
}

type End = oneshot::Receiver<Result<Summary, rc_runtime::SpecError>>;

impl Platform<'_> {
    async fn supervise(
        &mut self,
        signals: &mut Signals,
        end: &mut End,
        show: &mut dyn Show,
    ) -> Result<Outcome, Fault> {
        let mut boards = self.handle.watch();
        let (mut up, mut told) = (false, false);
        let mut failure: Option<Fault> = None;
        let stop = self.control.stop.clone();
        let wait = self.call.wait.filter(|_| self.call.detached);
        let deadline = tokio::time::sleep(wait.unwrap_or(Duration::MAX));
        tokio::pin!(deadline);
        let summary = loop {
            tokio::select! {
                ended = &mut *end => break ended,
                Ok(()) = boards.changed() => {
                    let board = boards.borrow_and_update().clone();
                    show.show(&Event::Board { board: board.clone() });
                    if !up && !stop.is_cancelled() && !board.services.is_empty() && board.ready() {
                        up = true;
                        let report = self.report(show).await;
                        show.show(&Event::Up { report: Box::new(report) });
                    }
                    if !up && !told && !stop.is_cancelled() && board.settled() && !board.ready() {
                        told = true;
                        let fault = crashed(&board);
                        if self.call.detached {
                            failure = Some(fault);
                            stop.cancel();
                        } else {
                            // The one who fixes it sits right here, and the rest is worth having.
                            let text = format!("{fault}; mend it and save `service-catalog.yaml`, or press Ctrl-C");
                            show.show(&Event::Warning { text });
                        }
                    }
                }
                () = signals.next() => {
                    if stop.is_cancelled() {
                        show.show(&Event::Note { text: "not waiting any longer".to_owned() });
                        self.handle.stop_now();
                    } else {
                        show.show(&Event::Note { text: "stopping; once more to stop without waiting".to_owned() });
                        self.control.set(|facts| facts.ending = Some((own_user(), "signal")));
                        stop.cancel();
                    }
                }
                () = &mut deadline, if !up && wait.is_some() && failure.is_none() => {
                    failure = Some(late(&self.handle.board(), wait.unwrap_or_default()));
                    stop.cancel();
                }
                changed = self.watch.changed(), if !stop.is_cancelled() => {
                    if let Some(sources) = changed {
                        self.reload(&sources, signals, show).await;
                    }
                }
            }
        };
        match summary {
            Ok(Ok(summary)) => self.ended(&summary, up, failure, show),
            Ok(Err(error)) => Err(Fault::usage("RC-CFG-012", error.to_string())),
            Err(_gone) => Err(Fault::world("RC-UP-007", "the supervisor ended without a word")),
        }
    }

    /// What is there, with fresh keys.
    async fn report(&mut self, show: &mut dyn Show) -> UpReport {
        self.control.set(|facts| facts.was_ready = true);
        let status = self.control.status();
        let has_gateway = status.url.is_some();
        let keys = if has_gateway {
            keys::create(self.layout, &self.model.tenants).await
        } else {
            Ok(Vec::new())
        };
        let keys = keys.unwrap_or_else(|reason| {
            show.show(&Event::Warning {
                text: format!("no keys for the demo tenants: {reason}"),
            });
            Vec::new()
        });
        let took_ms = monotonic_ns().saturating_sub(self.call.began_ns) / 1_000_000;
        let try_urls = status
            .url
            .as_deref()
            .map_or_else(Vec::new, |url| try_urls(&self.model, url));
        UpReport {
            status,
            took_ms,
            keys,
            try_urls,
        }
    }

    /// The files changed: all of it holds, or nothing changes.
    async fn reload(&mut self, sources: &Sources, signals: &mut Signals, show: &mut dyn Show) {
        match self.apply(sources, signals, show).await {
            Ok(Some(text)) => {
                tracing::info!(digest = %self.model.digest, "the files changed: {text}");
                show.show(&Event::Note {
                    text: format!("the files changed: {text}"),
                });
            }
            Ok(None) => {}
            Err(Refusal { detail, lines }) => {
                let (problem, problems) = (lines.first().cloned(), lines.len());
                self.audit.refused(self.model.digest, sources.digest(), lines);
                tracing::warn!(problems, "the changed files are refused: {detail}");
                show.show(&Event::Warning {
                    text: format!("the changed files are refused, what was in force stays:\n{detail}"),
                });
                let digest = Some(self.model.digest.to_string());
                let since = Some(SystemClock.now());
                let config = ConfigStatus {
                    state: ConfigState::Refused,
                    since,
                    digest,
                    problem,
                    problems,
                };
                self.control.set(|facts| facts.config = config);
            }
        }
    }

    async fn apply(
        &mut self,
        sources: &Sources,
        signals: &mut Signals,
        show: &mut dyn Show,
    ) -> Result<Option<String>, Refusal> {
        let model = Model::read(sources).map_err(|problems| Refusal::of_files(&problems))?;
        if model.digest == self.model.digest {
            // Back to what is in force, perhaps after a refusal.
            self.control.set(|facts| facts.config = applied(&model));
            return Ok(None);
        }
        let plan = self
            .ground
            .plan(&model, &mut self.ports)
            .map_err(|fault| Refusal::new(fault.to_string()))?;
        // Services take what the libraries take, and a running platform does not end by a line in a file.
        rc_store::StoreUrl::parse(&model.project.store.url)
            .map_err(|error| Refusal::new(format!("`store.url` cannot be used: {error}")))?;
        if let Some(url) = &model.project.bus.url {
            crate::bus::open(url, &self.control.clock)
                .map_err(|fault| Refusal::new(format!("`bus.url` cannot be used: {fault}")))?;
        }
        if self.build(&plan.builds, signals, show).await? == Built::Stopped {
            return Ok(None);
        }
        let recorded = self.audit.applying(self.model.digest, &model).await;
        recorded.map_err(Refusal::new)?;
        // New services are in the table before the gateway looks for them.
        write_endpoints(self.layout, &plan.endpoints).map_err(|fault| Refusal::new(fault.to_string()))?;
        keep_in_force(self.layout, sources, &model).map_err(|fault| Refusal::new(fault.to_string()))?;
        let changes = self
            .handle
            .apply(plan.specs)
            .await
            .map_err(|error| Refusal::new(error.to_string()))?;
        self.model = model;
        self.builds = plan.builds;
        self.control.set(|facts| {
            facts.url = plan.url;
            facts.tiers = plan.tiers;
            facts.config = applied(&self.model);
        });
        let list = |what: &str, ids: &[rc_model::ServiceId]| {
            let ids: Vec<&str> = ids.iter().map(rc_model::ServiceId::as_str).collect();
            (!ids.is_empty()).then(|| format!("{what} {}", ids.join(", ")))
        };
        let parts = [
            list("starting", &changes.added),
            list("stopping", &changes.removed),
            list("starting anew", &changes.changed),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().chain(plan.notes).collect();
        Ok(Some(if parts.is_empty() {
            "no service is touched".to_owned()
        } else {
            parts.join("; ")
        }))
    }

    /// Builds what was not built yet; a signal meanwhile ends the platform.
    async fn build(
        &self,
        builds: &[ServiceSpec],
        signals: &mut Signals,
        show: &mut dyn Show,
    ) -> Result<Built, Refusal> {
        let new: Vec<ServiceSpec> = builds
            .iter()
            .filter(|build| !self.builds.contains(build))
            .cloned()
            .collect();
        let stop = &self.control.stop;
        let interrupted = async {
            tokio::select! {
                () = signals.next() => self.control.set(|facts| {
                    facts.ending = facts.ending.or_else(|| Some((own_user(), "signal")));
                }),
                () = stop.cancelled() => {}
            }
        };
        let built = build::run(self.target.unwatched(), &new, interrupted, show)
            .await
            .map_err(|fault| Refusal::new(fault.to_string()))?;
        if built == Built::Stopped {
            stop.cancel();
        }
        Ok(built)
    }

    /// The last entry of the audit log.
    async fn recorded(self, result: &Result<Outcome, Fault>, show: &mut dyn Show) {
        let ending = self.control.facts().ending;
        let (actor, reason) = ending.unwrap_or_else(|| (own_user(), "failed"));
        let board = self.handle.board();
        let restarts: u32 = board.services.values().map(|status| status.restarts).sum();
        let ran = SystemClock.now().since(self.control.since).as_secs();
        let problem = result.as_ref().err().map(ToString::to_string);
        let end = Ending {
            actor,
            reason,
            outcome: if problem.is_none() {
                rc_services::audit::Outcome::Done
            } else {
                rc_services::audit::Outcome::Failed
            },
            detail: serde_json::json!({ "ran_s": ran, "restarts": restarts, "problem": problem }),
        };
        if let Some(text) = self.audit.ended(&self.model, end).await {
            show.show(&Event::Warning { text });
        }
    }

    fn ended(
        &self,
        summary: &Summary,
        up: bool,
        failure: Option<Fault>,
        show: &mut dyn Show,
    ) -> Result<Outcome, Fault> {
        if !summary.left.is_empty() {
            let names: Vec<&str> = summary.left.iter().map(rc_model::ServiceId::as_str).collect();
            let text = format!("these did not end even after SIGKILL: {}", names.join(", "));
            return Err(Fault::world("RC-UP-010", text)
                .hint("they hang in the kernel; `ps` with state D shows where"));
        }
        if let Some(fault) = failure {
            return Err(fault);
        }
        let restarts: u32 = summary
            .board
            .services
            .values()
            .map(|status| status.restarts)
            .sum();
        let ran = SystemClock.now().since(self.control.since).as_secs();
        let count = summary.board.services.len();
        let text =
            format!("{count} services stopped, nothing is left running ({restarts} restarts in {ran} s)");
        tracing::info!("{text}");
        show.show(&Event::Note { text });
        Ok(if up { Outcome::Done } else { Outcome::No })
    }
}

/// Makes the state folder ready and gives the project's layout, by its true path.
pub(super) fn open_project(cx: &Cx) -> Result<Layout, Fault> {
    let dir = cx.project_dir();
    let dir = fs_err::canonicalize(&dir).map_err(|error| {
        Fault::usage(
            "RC-UP-003",
            format!("{} is not a project's folder", dir.display()),
        )
        .because(error)
        .hint("make the folder first, or give another one with `--project`")
    })?;
    let layout = Layout::new(&dir);
    prepare_state(&layout)?;
    Ok(layout)
}
