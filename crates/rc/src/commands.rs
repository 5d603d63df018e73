//! The command tree: one variant and one file a command.
//!
//! To add a command: write `commands/<name>.rs` with `Args` and `run`, add its `mod` line, its variant in
//! [`Command`] and its arm in [`run`].

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::cx::{Cx, Output};
pub(crate) use crate::fault::Outcome;

mod audit;
mod catalog;
mod completions;
mod db;
mod docs;
mod doctor;
mod down;
mod events;
mod explain;
mod gateway;
mod generate;
mod guard;
mod ingest;
mod init;
mod judge;
mod logs;
mod migrate;
mod platform;
mod ramp;
mod schema;
mod search;
mod serve;
mod status;
mod tenant;
mod trace;
mod up;

/// From commit to production for multi-tenant services, in one binary.
#[derive(Debug, Parser)]
#[command(
    name = "rc",
    version,
    max_term_width = 110,
    disable_help_subcommand = true,
    propagate_version = true
)]
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

/// What can be done, in the order in which people meet it.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Init(init::Args),
    Up(up::Args),
    Status(status::Args),
    Logs(logs::Args),
    Trace(trace::Args),
    Down(down::Args),
    Ingest(ingest::Args),
    Search(search::Args),
    Docs(docs::Args),
    Tenant(tenant::Args),
    Ramp(ramp::Args),
    Audit(audit::Args),
    Events(events::Args),
    Db(db::Args),
    Gateway(gateway::Args),
    Judge(judge::Args),
    Catalog(catalog::Args),
    Schema(schema::Args),
    Migrate(migrate::Args),
    Doctor(doctor::Args),
    Explain(explain::Args),
    Completions(completions::Args),
    Serve(serve::Args),
    #[command(name = "__guard", hide = true)]
    Guard(guard::Args),
    #[command(name = "__gen", hide = true)]
    Generate(generate::Args),
}

impl Command {
    /// The runtime that the command needs: services get two workers, the rest one thread.
    pub(crate) fn runtime(&self) -> std::io::Result<tokio::runtime::Runtime> {
        match self {
            Self::Serve(_) => two_workers(),
            Self::Events(args) if args.keeps_running() => two_workers(),
            Self::Gateway(args) if args.keeps_running() => two_workers(),
            Self::Init(_)
            | Self::Up(_)
            | Self::Status(_)
            | Self::Logs(_)
            | Self::Trace(_)
            | Self::Down(_)
            | Self::Ingest(_)
            | Self::Search(_)
            | Self::Docs(_)
            | Self::Tenant(_)
            | Self::Ramp(_)
            | Self::Audit(_)
            | Self::Events(_)
            | Self::Db(_)
            | Self::Gateway(_)
            | Self::Judge(_)
            | Self::Catalog(_)
            | Self::Schema(_)
            | Self::Migrate(_)
            | Self::Doctor(_)
            | Self::Explain(_)
            | Self::Completions(_)
            | Self::Guard(_)
            | Self::Generate(_) => tokio::runtime::Builder::new_current_thread().enable_all().build(),
        }
    }
}

/// The runtime of a process that serves.
fn two_workers() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
}

/// Runs one command to its end.
pub(crate) async fn run(cx: &Cx, command: Command) -> Result<Outcome, miette::Report> {
    match command {
        Command::Init(args) => init::run(cx, args).await,
        Command::Up(args) => up::run(cx, args).await,
        Command::Status(args) => status::run(cx, args).await,
        Command::Logs(args) => logs::run(cx, args).await,
        Command::Trace(args) => trace::run(cx, args).await,
        Command::Down(args) => down::run(cx, args).await,
        Command::Ingest(args) => ingest::run(cx, args).await,
        Command::Search(args) => search::run(cx, args).await,
        Command::Docs(args) => docs::run(cx, args).await,
        Command::Tenant(args) => tenant::run(cx, args).await,
        Command::Ramp(args) => ramp::run(cx, args).await,
        Command::Audit(args) => audit::run(cx, args).await,
        Command::Events(args) => events::run(cx, args).await,
        Command::Db(args) => db::run(cx, args).await,
        Command::Gateway(args) => gateway::run(cx, args).await,
        Command::Judge(args) => judge::run(cx, &args),
        Command::Catalog(args) => catalog::run(cx, args).await,
        Command::Schema(args) => schema::run(cx, args).await,
        Command::Migrate(args) => migrate::run(cx, args).await,
        Command::Doctor(args) => doctor::run(cx, args).await,
        Command::Explain(args) => explain::run(cx, args).await,
        Command::Completions(args) => Ok(completions::run(cx, &args)),
        Command::Serve(args) => serve::run(cx, args).await,
        Command::Guard(args) => guard::run(cx, args).await,
        Command::Generate(args) => generate::run(cx, &args),
    }
}
