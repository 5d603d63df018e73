//! `rc db`: what the services' statements cost, and what their stores say about their indexes.

use clap::Subcommand;

use crate::cx::Cx;
use crate::fault::Outcome;

mod advise;
mod profile;

/// The services' stores: what their statements cost, and which indexes are missing or unused.
///
/// Both commands ask the running services, ingest and docs-api, and change nothing.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Profile(profile::Args),
    Advise(advise::Args),
}

pub(crate) async fn run(cx: &Cx, args: Args) -> Result<Outcome, miette::Report> {
    match args.verb {
        Verb::Profile(args) => profile::run(cx, &args).await,
        Verb::Advise(args) => advise::run(cx, args).await,
    }
}

/// A text on one line.
fn one_line(text: &str) -> String {
    crate::commands::search::printable(text)
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}
