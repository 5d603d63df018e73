//! `rc docs`: single documents.

use clap::Subcommand;

use crate::cx::Cx;
use crate::fault::Outcome;

mod get;

/// Look at single documents.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Get(get::Args),
}

pub(crate) async fn run(cx: &Cx, args: Args) -> Result<Outcome, miette::Report> {
    match args.verb {
        Verb::Get(args) => get::run(cx, args).await,
    }
}
