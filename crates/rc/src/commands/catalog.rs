//! `rc catalog`: the files that describe what runs.

use clap::Subcommand;

use crate::commands::Outcome;
use crate::cx::Cx;

pub(crate) mod check;

/// Look at the files that describe what runs, and for whom
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Check(check::Args),
}

pub(crate) async fn run(cx: &Cx, args: Args) -> Result<Outcome, miette::Report> {
    match args.command {
        Command::Check(args) => check::run(cx, args).await,
    }
}
