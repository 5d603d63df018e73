//! `rc events`: events on their way, inside a project and beside services that know nothing of Royalcrown.

use clap::Subcommand;

use crate::commands::tenant::table;
use crate::cx::Cx;
use crate::fault::Outcome;

pub(crate) mod ask;
mod capture;
mod install;
mod letters;
mod place;
mod rebase;
mod rebuild;
mod relay;
mod replay;
mod schema;
mod status;
mod verify;

/// Events: move them, watch them, check them, and decide about those that cannot be applied.
///
/// Inside a project these commands speak of the platform's own events. `relay`, `capture`, `install`, `rebase` and
/// `verify` also work without a project, beside a service that keeps an outbox in its own database.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Status(status::Args),
    Dlq(letters::Args),
    Replay(replay::Args),
    Rebuild(rebuild::Args),
    Verify(verify::Args),
    Relay(relay::Args),
    Capture(capture::Args),
    Install(install::Args),
    Rebase(rebase::Args),
    Schema(schema::Args),
}

impl Args {
    /// Whether the command runs until it is ended, rather than answering.
    pub(crate) fn keeps_running(&self) -> bool {
        match &self.verb {
            Verb::Relay(_) | Verb::Capture(_) => true,
            Verb::Status(_)
            | Verb::Dlq(_)
            | Verb::Replay(_)
            | Verb::Rebuild(_)
            | Verb::Verify(_)
            | Verb::Install(_)
            | Verb::Rebase(_)
            | Verb::Schema(_) => false,
        }
    }
}

pub(crate) async fn run(cx: &Cx, args: Args) -> Result<Outcome, miette::Report> {
    match args.verb {
        Verb::Status(args) => status::run(cx, args).await,
        Verb::Dlq(args) => letters::run(cx, args).await,
        Verb::Replay(args) => replay::run(cx, args).await,
        Verb::Rebuild(args) => rebuild::run(cx, args).await,
        Verb::Verify(args) => verify::run(cx, args).await,
        Verb::Relay(args) => relay::run(cx, args).await,
        Verb::Capture(args) => capture::run(cx, args).await,
        Verb::Install(args) => install::run(cx, args).await,
        Verb::Rebase(args) => rebase::run(cx, args).await,
        Verb::Schema(args) => schema::run(cx, args).await,
    }
}
