//! Building and running the product and its tests through cargo.

use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

use serde::Deserialize;

use crate::cx::Cx;
use crate::process::{self, Stop};
use crate::setup;

/// What the build of all tests left behind.
#[derive(Debug)]
pub(crate) struct Built {
    /// The `rc` that the end-to-end tests run; absent when only other packages were built.
    pub(crate) rc: Option<PathBuf>,
}

/// How many tests ended how, over all test programs of one run.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tally {
    passed: u64,
    failed: u64,
    skipped: u64,
}

/// `cargo run -p rc -- up ARGS`, in place of this process, so that signals reach it as they would `rc`.
pub(crate) fn up(cx: &Cx, args: &[String]) -> Result<(), Stop> {
    let mut command = Command::new(&cx.cargo);
    command
        .current_dir(&cx.root)
        .args(["run", "--package", "rc", "--", "up"])
        .args(args);
    let line = process::shown(&command);
    Err(Stop::world(format!(
        "failed to start `{line}`: {}",
        command.exec()
    )))
}

/// Installs what is missing, builds the tests, runs them.
pub(crate) fn test(cx: &Cx, args: &[String]) -> Result<(), Stop> {
    setup::run(cx)?;
    let borrowed: Vec<&str> = args.iter().map(String::as_str).collect();
    build(cx, &borrowed)?;
    let tally = run(cx, &borrowed)?;
    println!("{tally}");
    tally.verdict()
}

/// Builds the test programs that `args` of `cargo test` select, and the `rc` that they run.
pub(crate) fn build(cx: &Cx, args: &[&str]) -> Result<Built, Stop> {
    let selection = args.split(|arg| *arg == "--").next().unwrap_or_default();
    let mut command = process::cargo(cx, &["test"]);
    command
        .args(scope(selection))
        .args(selection)
        .args(["--no-run", "--message-format=json-render-diagnostics"]);
    let mut rc = None;
    let succeeded = process::lines(&mut command, |line| {
        rc = executable(line, "rc").or_else(|| rc.take())
    })?;
    if succeeded {
        Ok(Built { rc })
    } else {
        Err(Stop::no("the tests do not build"))
    }
}

/// Builds `rc` alone, in the dev profile, and tells where it is.
pub(crate) fn build_rc(cx: &Cx) -> Result<PathBuf, Stop> {
    build_program(cx, "rc", &[])
}

/// Builds `rc` in the release profile, and tells where it is.
pub(crate) fn build_rc_release(cx: &Cx) -> Result<PathBuf, Stop> {
    build_release(cx, "rc")
}

/// Builds the program of the package `name` in the release profile, and tells where it is.
pub(crate) fn build_release(cx: &Cx, name: &str) -> Result<PathBuf, Stop> {
    build_program(cx, name, &["--release"])
}

/// Builds the program of the package `name` with optimisations and without waiting for the linker to find more.
pub(crate) fn build_perf(cx: &Cx, name: &str) -> Result<PathBuf, Stop> {
    build_program(cx, name, &["--profile", "perf"])
}

fn build_program(cx: &Cx, name: &str, args: &[&str]) -> Result<PathBuf, Stop> {
    let mut command = process::cargo(
        cx,
        &[
            "build",
            "--package",
            name,
            "--message-format=json-render-diagnostics",
        ],
    );
    command.args(args);
    let mut program = None;
    let succeeded = process::lines(&mut command, |line| {
        program = executable(line, name).or_else(|| program.take())
    })?;
    match program {
        Some(program) if succeeded => Ok(program),
        Some(_) | None => Err(Stop::no(format!("`{name}` does not build"))),
    }
}

/// Runs the test programs, all of them even when one fails.
pub(crate) fn run(cx: &Cx, args: &[&str]) -> Result<Tally, Stop> {
    let selection = args.split(|arg| *arg == "--").next().unwrap_or_default();
    let mut command = process::cargo(cx, &["test", "--no-fail-fast"]);
    command.args(scope(selection)).args(args);
    let mut tally = Tally::default();
    let succeeded = process::lines(&mut command, |line| {
        println!("{line}");
        tally.add(line);
    })?;
    if !succeeded && tally.failed == 0 {
        return Err(Stop::no("`cargo test` failed outside the tests"));
    }
    Ok(tally)
}

/// `--workspace`, unless the arguments choose packages themselves.
fn scope(selection: &[&str]) -> &'static [&'static str] {
    let chosen = selection
        .iter()
        .any(|arg| arg.starts_with("-p") || arg.starts_with("--package") || *arg == "--workspace");
    if chosen { &[] } else { &["--workspace"] }
}

/// One line of cargo's `--message-format=json`, as far as we read it.
#[derive(Deserialize)]
struct Message {
    reason: String,
    target: Option<Target>,
    profile: Option<Profile>,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

#[derive(Deserialize)]
struct Profile {
    test: bool,
}

/// The path of the program `name`, when `line` says that it was built.
fn executable(line: &str, name: &str) -> Option<PathBuf> {
    let message: Message = serde_json::from_str(line).ok()?;
    let target = message.target?;
    let is_program = message.reason == "compiler-artifact"
        && target.name == name
        && target.kind.iter().any(|kind| kind == "bin")
        && message.profile.is_some_and(|profile| !profile.test);
    message.executable.filter(|_| is_program)
}

impl Tally {
    /// Counts one line, when it is the closing line of a test program:
    /// `test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s`.
    fn add(&mut self, line: &str) {
        let Some((_, counts)) = line
            .trim()
            .strip_prefix("test result: ")
            .and_then(|rest| rest.split_once(". "))
        else {
            return;
        };
        for part in counts.split(';') {
            let Some((count, what)) = part.trim().split_once(' ') else {
                continue;
            };
            let Ok(count) = count.parse::<u64>() else { continue };
            match what {
                "passed" => self.passed += count,
                "failed" => self.failed += count,
                "ignored" => self.skipped += count,
                _ => {}
            }
        }
    }

    /// No test failed, and there was at least one.
    pub(crate) fn verdict(self) -> Result<(), Stop> {
        match self {
            Self {
                failed: 0, passed: 0, ..
            } => Err(Stop::no("no test ran")),
            Self { failed: 0, .. } => Ok(()),
            Self { failed, .. } => Err(Stop::no(format!("{failed} tests failed"))),
        }
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            passed,
            failed,
            skipped,
        } = self;
        write!(f, "{passed} passed, {failed} failed, {skipped} skipped")
    }
}

#[cfg(test)]
mod tests;
