//! `rc gateway`: the gateway as a tool of its own, and questions about what it does.

use std::path::PathBuf;

use clap::Subcommand;
use rc_model::gateway::GatewayModel;

use crate::cx::{self, Cx};
use crate::fault::{Fault, Outcome};

mod check;
mod diff;
mod explain;
mod files;
mod key;
mod run;

/// Run a gateway on its own, check and compare what it is told, and explain what it does
///
/// `rc gateway run` needs one file, `gateway.yaml`, and nothing else: no store, no supervisor, no other service. The
/// other commands are about such a file with `--config`, and about the platform's own files without.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Run(run::Args),
    Check(check::Args),
    Diff(diff::Args),
    Explain(explain::Args),
    Key(key::Args),
}

impl Args {
    /// Whether it serves until it is stopped.
    pub(crate) fn keeps_running(&self) -> bool {
        matches!(self.verb, Verb::Run(_))
    }
}

/// The file of a gateway on its own.
#[derive(Debug, clap::Args)]
struct ConfigArg {
    /// The `gateway.yaml` of a gateway on its own; without it, the files of the project
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

pub(crate) async fn run(cx: &Cx, args: Args) -> Result<Outcome, miette::Report> {
    match args.verb {
        Verb::Run(args) => run::run(cx, args).await,
        Verb::Check(args) => check::run(cx, args).await,
        Verb::Diff(args) => diff::run(cx, args).await,
        Verb::Explain(args) => explain::run(cx, args).await,
        Verb::Key(args) => key::run(cx, args),
    }
}

/// Reads the file of a gateway on its own.
fn model(cx: &Cx, config: &std::path::Path) -> Result<GatewayModel, Fault> {
    GatewayModel::from_file(&cx.cwd.join(config)).map_err(|problems| {
        cx::told(&problems, "the gateway's file has problems")
            .hint("`rc gateway check --config FILE` shows them all")
    })
}
