//! The command tree: one variant and one file a command.
//!
//! To add a command: write `commands/<name>.rs` with `Args` and `run`, add its `mod` line, its variant in
//! [`Command`] and its arm in [`run`].

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::cx::{Cx, Output};
pub(crate) use crate::fault::Outcome;

mod serve;

/// From commit to production for multi-tenant services, in one binary.
#[derive(Debug, Parser)]
#[command(name = "rc", version, max_term_width = 110, disable_help_subcommand = true, propagate_version = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options that every command takes.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// How results are printed
    #[arg(long, global = true, value_enum, default_value = "text")]
    pub(crate) output: Output,
    /// The project's folder; without it, the nearest one upwards
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) project: Option<PathBuf>,
}

/// What can be done.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Serve(serve::Args),
}

impl Command {
    /// The runtime that the command needs: services get two workers, the rest one thread.
    pub(crate) fn runtime(&self) -> std::io::Result<tokio::runtime::Runtime> {
        match self {
            Self::Serve(_) => tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build(),
        }
    }
}

/// Runs one command to its end.
pub(crate) async fn run(cx: &Cx, command: Command) -> Result<Outcome, miette::Report> {
    match command {
        Command::Serve(args) => serve::run(cx, args).await,
    }
}
