//! `rc gateway run`: a gateway on its own.

use std::path::PathBuf;
use std::time::Duration;

use rc_model::SystemClock;
use rc_serve::logging::{self, LogConfig, LogFormat};
use rc_serve::{DataVersion, Marks, Metrics, Readiness, Tree, tree};
use rc_services::Deps;
use rc_services::gateway::alone;

use crate::commands::serve::{ended, raise_descriptors, start_fault};
use crate::cx::Cx;
use crate::fault::{Fault, Outcome};

/// Run a gateway in front of any HTTP service
///
/// The file says where it listens, which services are behind it, and what tenants may do; `rc schema gateway` is its
/// grammar. A changed file is read within half a second, and at once on SIGHUP; one with faults is refused, and the one
/// before it stays in force. Limits keep what was used. Listeners, workers and logs are read at the start only.
///
/// SIGTERM or SIGINT: no new connections, requests under way get the time of `drain`, then it ends.
///
/// The administration answers on a Unix socket that only the owner can open, `gateway.sock` for `gateway.yaml`:
/// `GET` and `PUT /-/config` (with `If-Match`), `POST /-/reload`, `GET /-/levels?tenant=`, `GET /metrics`.
///
/// Exit codes: 0 it ended as asked, 1 some work did not end in time, 2 the file has faults, 3 it could not start.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Its configuration
    #[arg(long, value_name = "FILE", default_value = rc_model::gateway::GATEWAY_FILE)]
    config: PathBuf,
}

pub(crate) async fn run(cx: &Cx, args: Args) -> Result<Outcome, miette::Report> {
    let model = super::model(cx, &args.config)?;
    let format = if cx.progress {
        LogFormat::Pretty { color: cx.color }
    } else {
        LogFormat::Json
    };
    let data_version = DataVersion::default();
    data_version.set_configuration(model.digest);
    logging::init(LogConfig {
        format,
        level: model.file.logs.level,
        service: "gateway",
        data_version: data_version.clone(),
    });
    for warning in &model.warnings {
        tracing::warn!(%warning, "the file is used; this is probably not meant");
    }
    raise_descriptors();
    let drain = model.file.drain.duration();
    let tree = Tree::new();
    let deps = Deps {
        tree: tree.clone(),
        clock: SystemClock::shared(),
        metrics: Metrics::new(),
        readiness: Readiness::new(),
        telemetry: None,
        marks: Marks {
            users: None,
            data_version,
        },
    };
    if let Err(error) = alone::run(model, deps).await {
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
    tokio::select! {
        signal = tree::terminated() => {
            signal.map_err(|error| Fault::world("RC-SRV-006", "signals cannot be received").because(error))?;
            tracing::info!("asked to stop");
        }
        () = failed.cancelled() => {}
    }
    let drained = tree.drain(drain).await;
    ended(&tree, drained)
}
