//! `cargo xtask`: everything that is done to the repository rather than by the product.
//!
//! It knows cargo, git and the tools that tests need. It knows nothing of how the product works: it runs
//! the built `rc` like any user would.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "xtask is a program for a terminal; what it prints is its result"
)]

mod audit;
mod bench;
mod chaos;
mod checks;
mod ci;
mod cx;
mod generate;
mod process;
mod profile;
mod repo;
mod setup;
mod suite;
mod tidy;

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::cx::Cx;
use crate::process::Stop;

/// What is done to the repository: build, check, test, measure.
#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    disable_help_subcommand = true
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Build the platform (dev profile) and run it: `rc up` with the arguments given
    Up {
        /// Arguments of `rc up`, such as `--detach`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Install what the tests need, then run all tests of the workspace
    Test {
        /// Arguments of `cargo test`, such as `-p rc-store` or `-- slow_`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Everything that CI runs: the checks of `lint`, generated files, and all tests
    Ci,
    /// Formatting, clippy, tidy, licences and bans, secrets
    Lint {
        /// Change what a tool can change by itself (formatting, clippy's safe fixes)
        #[arg(long)]
        fix: bool,
    },
    /// The rules of the house alone; seconds, and needs nothing installed
    Tidy,
    /// Write what is generated from the product: reference, completions, man pages, OpenAPI
    Gen {
        /// Change nothing; exit 1 when a file differs
        #[arg(long)]
        check: bool,
    },
    /// Measure a release build and write `bench/results` and `docs/benchmarks.md`
    Bench(bench::Args),
    /// Load both stores, and write their statements with plans into `docs/query-profile.md`
    Profile,
    /// Break the event engine in every known way, and write the report into `docs/reliability.md`
    Chaos(chaos::Args),
    /// Look every dependency up in the advisory database
    Audit {
        /// Exit 0 even when the database cannot be had (it still says so)
        #[arg(long)]
        allow_missing: bool,
    },
    /// Install what the tests and checks need: Debian packages (as root) and pinned tools
    Setup {
        /// Debezium Server as well, for `bench events --debezium` (450 MB; needs Java and Maven)
        #[arg(long)]
        debezium: bool,
    },
    /// The labels and branch rules of the forge, kept as data in `.github/`
    #[command(subcommand)]
    Repo(repo::Command),
    /// The commands of this program and of the Makefile
    Help,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli.command.unwrap_or(Command::Help)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(stop) => {
            eprintln!("error: {}", stop.message);
            ExitCode::from(stop.exit)
        }
    }
}

fn run(command: Command) -> Result<(), Stop> {
    let cx = Cx::from_environment()?;
    match command {
        Command::Up { args } => suite::up(&cx, &args),
        Command::Test { args } => suite::test(&cx, &args),
        Command::Ci => ci::run(&cx),
        Command::Lint { fix } => checks::lint(&cx, fix),
        Command::Tidy => checks::tidy(&cx),
        Command::Gen { check } => generate::run(&cx, check),
        Command::Bench(args) => bench::run(&cx, &args),
        Command::Profile => profile::run(&cx),
        Command::Chaos(args) => chaos::run(&cx, &args),
        Command::Audit { allow_missing } => audit::run(&cx, allow_missing),
        Command::Setup { debezium } => {
            setup::run(&cx)?;
            if debezium {
                setup::debezium::install(&cx)?;
            }
            Ok(())
        }
        Command::Repo(command) => repo::run(&cx, &command),
        Command::Help => help(&cx),
    }
}

/// The Makefile's targets with their descriptions, and the commands that only xtask has.
fn help(cx: &Cx) -> Result<(), Stop> {
    let mut text = "make TARGET [ARGS=...]\n\n".to_owned();
    for target in tidy::makefile_targets(&cx.read("Makefile")?) {
        text.push_str(&format!("  {:<8} {}\n", target.name, target.about));
    }
    text.push_str(
        "\ncargo xtask COMMAND (each has --help)\n\n  \
         test     install what the tests need, then run all tests: `cargo xtask test -p rc-store`\n  \
         profile  write what statements cost into docs/query-profile.md\n  \
         setup    only install what the tests and checks need; --debezium: a peer for the bench\n  \
         tidy     only the rules of the house\n  \
         repo     the forge's labels and branch rules: `cargo xtask repo labels --check`\n",
    );
    // `make help | head` closes the pipe early; that is no failure.
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
    Ok(())
}
