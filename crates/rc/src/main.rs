//! `rc`: the command line of Royalcrown.
//!
//! This crate parses arguments, reads the environment, wires the engines together and turns their errors
//! into messages and exit codes. It decides nothing about traffic, events or documents.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser as _;

mod bus;
mod commands;
mod cx;
mod fault;
mod schemas;

fn main() -> ExitCode {
    let cli = match commands::Cli::try_parse_from(with_help(std::env::args_os())) {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let cx = match cx::Cx::from_process(&cli.global) {
        Ok(cx) => cx,
        Err(report) => return fault::exit_with(&report, false),
    };
    fault::install_hooks(cx.color);
    let runtime = match cli.command.runtime() {
        Ok(runtime) => runtime,
        Err(error) => {
            return fault::exit_with(
                &fault::Fault::world("RC-SRV-004", format!("the runtime did not start: {error}")).into(),
                cx.json(),
            );
        }
    };
    let result = runtime.block_on(commands::run(&cx, cli.command));
    // A command is over when its future is; a blocking read of stdin must not hold the exit.
    runtime.shutdown_background();
    match result {
        Ok(outcome) => outcome.exit_code(),
        Err(report) => fault::exit_with(&report, cx.json()),
    }
}

/// `rc help audit verify` is `rc audit verify --help`: most people type the first one first. Not a
/// subcommand, which would stand in every list below every noun.
fn with_help(args: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut args: Vec<OsString> = args.collect();
    if args.get(1).is_some_and(|first| first == "help") {
        args.remove(1);
        args.push("--help".into());
    }
    args
}

/// Help and version go to stdout with code 0; a usage error to stderr with code 2.
fn usage(error: &clap::Error) -> ExitCode {
    let code = if error.use_stderr() {
        fault::Exit::Usage
    } else {
        fault::Exit::Done
    };
    // Nothing can be done when the terminal is gone.
    let _ = error.print();
    code.into()
}
