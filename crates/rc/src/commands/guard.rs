//! `rc __guard`: the process between the supervisor and a user's own command. See [`rc_runtime::guard`].

use std::ffi::OsString;
use std::time::Duration;

use rc_runtime::guard::{GuardOptions, guard};

use crate::commands::Outcome;
use crate::cx::Cx;
use crate::fault::Fault;

/// Run a command so that nothing it starts outlives it or the supervisor
#[derive(Debug, clap::Args)]
#[command(hide = true)]
pub(crate) struct Args {
    /// How long everything gets to end after SIGTERM
    #[arg(long, value_name = "MS")]
    drain_ms: u64,
    /// The command
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

pub(crate) async fn run(_cx: &Cx, args: Args) -> Result<Outcome, miette::Report> {
    let options = GuardOptions {
        command: args.command,
        drain: Duration::from_millis(args.drain_ms),
    };
    match guard(options).await {
        Ok(code) => Ok(Outcome::Code(code)),
        Err(error) => Err(
            Fault::world("RC-UP-007", "a command cannot be guarded on this system")
                .because(error)
                .into(),
        ),
    }
}
