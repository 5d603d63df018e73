//! `rc serve`: one service in the foreground. `rc up` starts its children with it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rc_model::catalog::Builtin;
use rc_model::{Clock, SystemClock};
use rc_observe::Telemetry;
use rc_serve::logging::{self, LogConfig, LogFormat};
use rc_serve::{DataVersion, Marks, Metrics, Pseudonymizer, Readiness, Tree, tree};
use rc_services::{Deps, ServiceConfig, StartError, docs, gateway, ingest, ledger};

use rustix::process::{Resource, getrlimit, setrlimit};

use crate::bus;
use crate::commands::Outcome;
use crate::cx::Cx;
use crate::fault::Fault;
use crate::schemas;

mod telemetry;

/// Run one of the platform's own services in the foreground
///
/// `rc up` starts every service this way. By hand it is useful under another supervisor. The service
/// reads the project's files, serves on its Unix socket (the gateway also on TCP) and ends on SIGTERM
/// or SIGINT after it has finished its work.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The service: `gateway`, `ingest`, `docs-api` or `prov-ledger`
    #[arg(value_parser = builtin)]
    service: Builtin,
    /// The gateway's public address, instead of the one in `royalcrown.yaml`
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    /// End when stdin is closed: the supervisor holds the other end
    #[arg(long, hide = true)]
    supervised: bool,
}

fn builtin(name: &str) -> Result<Builtin, String> {
    Builtin::from_name(name)
        .ok_or_else(|| "known services are `gateway`, `ingest`, `docs-api` and `prov-ledger`".to_owned())
}

/// Time that the parts of a process get after their sockets were closed, when the catalog says nothing.
const DRAIN_MAX: Duration = Duration::from_secs(10);

/// On top of the drain, before a service whose supervisor is gone is killed.
const LAST_RESORT_GRACE: Duration = Duration::from_secs(1);

pub(crate) async fn run(cx: &Cx, args: Args) -> Result<Outcome, miette::Report> {
    let layout = cx.layout();
    let (model, problems) = if args.supervised {
        cx.model_in_force()?
    } else {
        (cx.model()?, Vec::new())
    };
    let format = if cx.progress && !args.supervised {
        LogFormat::Pretty { color: cx.color }
    } else {
        LogFormat::Json
    };
    let data_version = DataVersion::default();
    data_version.set_configuration(model.digest);
    logging::init(LogConfig {
        format,
        level: model.project.logs.level,
        service: args.service.name(),
        data_version: data_version.clone(),
    });
    for problem in problems.iter().filter(|problem| problem.is_error()) {
        tracing::warn!(%problem, "the project's files have a problem; what is in force stays");
    }
    let users = Pseudonymizer::open(&layout.installation_key())
        .inspect_err(|error| tracing::warn!(%error, "log lines name no users"))
        .ok();

    raise_descriptors();
    let drain = model
        .catalog
        .services
        .get(&args.service.id())
        .map_or(DRAIN_MAX, |service| service.drain.duration());
    if args.supervised {
        // Should draining hang after the supervisor is gone, the service must not stay as an orphan.
        rc_runtime::deadman::last_resort(drain + LAST_RESORT_GRACE).map_err(|error| {
            Fault::world("RC-SRV-007", "the watch on the supervisor did not start").because(error)
        })?;
    }
    let tree = Tree::new();
    let metrics = Metrics::new();
    let telemetry = telemetry::start(
        &model.project,
        &cx.env.otel,
        &args.service.id(),
        &layout,
        &metrics,
    );
    let clock: Arc<dyn Clock> = SystemClock::shared();
    let bus = cx.env.bus_url.as_ref().or(model.project.bus.url.as_ref());
    let bus = bus.map(|url| bus::open(url, &clock)).transpose()?;
    let deps = Deps {
        tree: tree.clone(),
        clock,
        metrics,
        readiness: Readiness::new(),
        telemetry: telemetry.as_ref().map(Telemetry::sink),
        marks: Marks { users, data_version },
    };
    let config = ServiceConfig {
        store_url: cx
            .env
            .store_url
            .clone()
            .unwrap_or_else(|| model.project.store.url.clone()),
        bus,
        consumers: model.project.events.consumers.clone(),
        schemas: Arc::new(schemas::registry(&layout)?),
        access: model.project.logs.access,
        layout,
    };
    let started = match args.service {
        Builtin::Gateway => {
            gateway::run(
                config,
                gateway::Options {
                    listen: args.listen,
                    drain,
                },
                deps,
            )
            .await
        }
        Builtin::Ingest => ingest::run(config, deps).await,
        Builtin::DocsApi => docs::run(config, deps).await,
        Builtin::ProvLedger => ledger::run(config, deps).await,
    };
    if let Err(error) = started {
        // What did start must end before the message, or its own last words come after it.
        let _ = tree.drain(Duration::from_secs(1)).await;
        return Err(start_fault(error).into());
    }
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        pid = std::process::id(),
        "serving"
    );

    let failed = tree.stopping();
    let gone = async {
        if args.supervised {
            tree::parent_gone().await
        } else {
            std::future::pending().await
        }
    };
    tokio::select! {
        signal = tree::terminated() => {
            signal.map_err(|error| Fault::world("RC-SRV-006", "signals cannot be received").because(error))?;
            tracing::info!("asked to stop");
        }
        () = gone => tracing::warn!("the supervisor is gone, stopping"),
        () = failed.cancelled() => {}
    }
    let by = tokio::time::Instant::now() + drain;
    let drained = tree.drain(drain).await;
    if let Some(telemetry) = telemetry {
        // After everything that records spans; the supervisor's patience is what it was.
        let left = by.saturating_duration_since(tokio::time::Instant::now());
        telemetry
            .finish(left.clamp(telemetry::FINISH_MIN, telemetry::FINISH_MAX))
            .await;
    }
    ended(&tree, drained)
}

/// Connections are descriptors; whoever set the soft limit did not have a server in mind.
pub(super) fn raise_descriptors() {
    let mut descriptors = getrlimit(Resource::Nofile);
    descriptors.current = descriptors.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, descriptors) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}

/// How a process that served has ended, after its tree was drained.
pub(super) fn ended(tree: &Tree, drained: Result<(), Vec<String>>) -> Result<Outcome, miette::Report> {
    match drained {
        Ok(()) if tree.has_failed() => {
            Err(Fault::world("RC-SRV-009", "a part of the service failed; the log says which").into())
        }
        Ok(()) => {
            tracing::info!("stopped");
            Ok(Outcome::Done)
        }
        Err(tasks) => {
            tracing::error!(tasks = tasks.join(", "), "some work did not end in time");
            Ok(Outcome::No)
        }
    }
}

pub(super) fn start_fault(error: StartError) -> Fault {
    let mut fault = Fault::world(error.code, error.message);
    if let Some(hint) = error.hint {
        fault = fault.hint(hint);
    }
    match error.source {
        Some(source) => fault.because(source),
        None => fault,
    }
}
