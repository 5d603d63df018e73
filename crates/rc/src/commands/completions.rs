//! `rc completions`: the script that teaches a shell our commands.

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::commands::{Cli, Outcome};
use crate::cx::Cx;

/// Print the completion script of a shell
///
/// For bash: `rc completions bash > ~/.local/share/bash-completion/completions/rc`
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The shell
    shell: Shell,
}

pub(crate) fn run(cx: &Cx, args: &Args) -> Outcome {
    cx.say(script(args.shell).trim_end());
    Outcome::Done
}

/// The completion script for `shell`.
pub(crate) fn script(shell: Shell) -> String {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "rc", &mut text);
    String::from_utf8_lossy(&text).into_owned()
}
