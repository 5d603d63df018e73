//! `cargo xtask chaos`: the long form of the event engine's proof. Builds `rc-chaos` with optimisations, runs it, and
//! lets it write its report into docs/reliability.md.

use std::process::Command;

use crate::cx::Cx;
use crate::process::{self, Stop};
use crate::{bench, setup, suite};

/// The page that has the report between two marks.
const PAGE: &str = "docs/reliability.md";

/// Where results are kept, one file for each combination; a run that was stopped goes on from them.
const RESULTS: &str = "bench/chaos";

/// What `rc-chaos matrix` is given.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Arguments of `rc-chaos matrix`: `--events N --faults N --seed N --anew`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

pub(crate) fn run(cx: &Cx, args: &Args) -> Result<(), Stop> {
    setup::run(cx)?;
    let program = suite::build_perf(cx, "rc-chaos")?;
    let mut command = Command::new(program);
    command
        .current_dir(&cx.root)
        .args(["matrix", "--results", RESULTS, "--page", PAGE])
        .args(["--commit", &bench::commit(cx)?])
        .args(&args.args);
    process::run(&mut command)
}
