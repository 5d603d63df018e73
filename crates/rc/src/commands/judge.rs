//! `rc judge`: rollouts judged again, and how often the judge is wrong.

use clap::Subcommand;

use crate::cx::Cx;
use crate::fault::Outcome;

mod bench;
mod replay;

/// The judge of releases: judge a recorded rollout again, and measure the judge itself.
///
/// Neither command needs a running platform. `docs/delivery.md` says how the judge decides.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Replay(replay::Args),
    Bench(bench::Args),
}

pub(crate) fn run(cx: &Cx, args: &Args) -> Result<Outcome, miette::Report> {
    match &args.verb {
        Verb::Replay(args) => replay::run(cx, args),
        Verb::Bench(args) => bench::run(cx, args),
    }
}
