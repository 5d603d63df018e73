//! `rc-chaos check FILES`: judges histories. Prints what is wrong, and exits 1 when something is.
#![expect(clippy::print_stdout, reason = "what it prints is its result")]

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use rc_chaos::failure::Result;
use rc_chaos::fault::{Fault, Plan, Planned};
use rc_chaos::run::Options;
use rc_chaos::world::{BusKind, Combination, SourceKind};
use rc_chaos::{checker, history, matrix, power, role};
use rc_events::Numbering;

#[derive(Debug, Parser)]
#[command(about = "Breaks the event engine, and checks what became of the events")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Judge histories (NDJSON) as one
    Check {
        /// The files, each after the other
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Run one combination, and judge it
    Run {
        source: SourceKind,
        bus: BusKind,
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Acknowledged events at least
        #[arg(long, default_value_t = 20_000)]
        events: u64,
        /// Faults at least
        #[arg(long, default_value_t = 30)]
        faults: u64,
        /// Events a second at most; 0: as many as can be
        #[arg(long, default_value_t = 2_000)]
        rate: u64,
        /// A mistake for the roles to make
        #[arg(long)]
        mutate: Vec<String>,
        /// The only faults are power losses, on a disk that is made for it; needs root
        #[arg(long)]
        power_loss: bool,
        /// The only faults are a full disk, of all roles and servers; needs root
        #[arg(long, conflicts_with = "power_loss")]
        disk_full: bool,
        /// With `--power-loss`: servers do not wait for the disk. Shows that the disk forgets
        #[arg(long, requires = "power_loss")]
        unsafe_sync: bool,
        /// This process has its own mounts already
        #[arg(long, hide = true)]
        own_mounts: bool,
        /// An empty folder that is kept; without it, a temporary one
        #[arg(long)]
        folder: Option<PathBuf>,
    },
    /// Print what a seed does to a combination: faults, how long after the one before, how long they last
    Plan {
        source: SourceKind,
        bus: BusKind,
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// How many
        #[arg(long, default_value_t = 30)]
        faults: usize,
    },
    /// Run every combination, keep each result, and write the report
    Matrix(matrix::Args),
    /// Cut the power under SQLite with `synchronous=full`, `normal` or `off`; prints commits acknowledged and kept
    Sqlite {
        synchronous: String,
        /// This process has its own mounts already
        #[arg(long, hide = true)]
        own_mounts: bool,
    },
    /// Be one of the processes of a run
    #[command(hide = true)]
    Role(role::Args),
}

fn main() -> Result<ExitCode> {
    match Cli::parse().command {
        Command::Check { files } => check(&files),
        Command::Plan {
            source,
            bus,
            seed,
            faults,
        } => {
            for Planned { fault, lasts, after } in Plan::new(seed, Combination { source, bus }).take(faults) {
                println!("{:4} ms  {fault}  {} ms", after.as_millis(), lasts.as_millis());
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::Matrix(args) => {
            let whole = matrix::run(&args)?;
            Ok(if whole {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            })
        }
        Command::Role(args) => role::run(args).map(|()| ExitCode::SUCCESS),
        Command::Sqlite {
            own_mounts: false, ..
        } => with_own_mounts(),
        Command::Sqlite { synchronous, .. } => {
            let folder = tempfile::tempdir()?;
            let (acknowledged, kept) = power::sqlite(&std::env::current_exe()?, folder.path(), &synchronous)?;
            println!("{acknowledged} {kept}");
            Ok(ExitCode::SUCCESS)
        }
        Command::Run {
            source,
            bus,
            seed,
            events,
            faults,
            rate,
            mutate,
            power_loss,
            disk_full,
            unsafe_sync,
            own_mounts,
            folder,
        } => {
            let disk = power_loss || disk_full;
            if disk && !own_mounts {
                return with_own_mounts();
            }
            let scratch = tempfile::tempdir()?;
            let options = Options {
                program: std::env::current_exe()?,
                folder: folder.unwrap_or_else(|| scratch.path().to_owned()),
                combination: Combination { source, bus },
                seed,
                events,
                faults,
                rate,
                payload_bytes: 300,
                batch: 20,
                oversize: false,
                poison: false,
                prune: false,
                only: match (power_loss, disk_full) {
                    (true, _) => Some(vec![Fault::PowerLoss]),
                    (_, true) => Some(vec![Fault::DiskFull]),
                    (false, false) => None,
                },
                mutations: mutate,
                drain_time: rc_chaos::run::DRAIN_TIME_MAX,
                disk,
                sync: !unsafe_sync,
            };
            fs_err::create_dir_all(&options.folder)?;
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            let outcome = runtime.block_on(rc_chaos::run::run(&options))?;
            println!("{}", serde_json::to_string_pretty(&outcome)?);
            Ok(if outcome.is_whole() {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            })
        }
    }
}

fn check(files: &[PathBuf]) -> Result<ExitCode> {
    let mut reader = history::Reader::default();
    for file in files {
        reader.read(file)?;
    }
    let verdict = checker::check(&reader.history(), Numbering::Consecutive);
    for finding in &verdict.examples {
        println!("{finding}");
    }
    let whole = verdict.is_whole();
    println!(
        "{} events, {}",
        verdict.expected,
        if whole { "whole" } else { "NOT whole" }
    );
    Ok(if whole {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// This program again, in a namespace of mounts that ends with it.
fn with_own_mounts() -> Result<ExitCode> {
    let status = std::process::Command::new("unshare")
        .args(["-m", "--"])
        .arg(std::env::current_exe()?)
        .args(std::env::args_os().skip(1))
        .arg("--own-mounts")
        .status()?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
