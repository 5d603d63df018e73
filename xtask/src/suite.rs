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

/// Most failed tests that are looked at a second time. More are no accident.
const UNSTEADY_MAX: usize = 3;

/// How one run of test programs went.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Ran {
    pub(crate) tally: Tally,
    /// The names of the tests that failed.
    failed: Vec<String>,
    /// Of those, the ones that passed when they were run again, alone.
    pub(crate) unsteady: Vec<String>,
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
    let ran = run(cx, &borrowed)?;
    println!("{}", ran.tally);
    ran.tally.verdict()
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

/// As [`run`], and looks a second time at the few that failed: machines that many share stand still for longer than
/// a test has patience. Those that pass then are named in the report, because each of them is a fault, of the test or
/// of the product, that somebody has to find.
pub(crate) fn run_and_look_again(cx: &Cx, args: &[&str]) -> Result<Ran, Stop> {
    let first = run(cx, args)?;
    if !first.deserves_a_second_look() {
        return Ok(first);
    }
    println!("\nonce more, alone: {}", first.failed.join(", "));
    let mut again = args.to_vec();
    again.extend(["--", "--exact", "--test-threads=1"]);
    again.extend(first.failed.iter().map(String::as_str));
    let second = run(cx, &again)?;
    Ok(first.after(&second))
}

/// Runs the test programs, all of them even when one fails.
pub(crate) fn run(cx: &Cx, args: &[&str]) -> Result<Ran, Stop> {
    let selection = args.split(|arg| *arg == "--").next().unwrap_or_default();
    let mut command = process::cargo(cx, &["test", "--no-fail-fast"]);
    command.args(scope(selection)).args(args);
    let mut ran = Ran::default();
    let succeeded = process::lines(&mut command, |line| {
        println!("{line}");
        ran.add(line);
    })?;
    if !succeeded && ran.tally.failed == 0 {
        return Err(Stop::no("`cargo test` failed outside the tests"));
    }
    Ok(ran)
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

impl Ran {
    /// Takes one line of a test program: how one test ended, or how all did.
    fn add(&mut self, line: &str) {
        self.tally.add(line);
        let ended = line
            .strip_prefix("test ")
            .and_then(|rest| rest.strip_suffix(" ... FAILED"));
        self.failed.extend(ended.map(str::to_owned));
    }

    /// Whether every failure has a name and there are few.
    fn deserves_a_second_look(&self) -> bool {
        let failed = self.failed.len();
        (1..=UNSTEADY_MAX).contains(&failed) && self.tally.failed == failed as u64
    }

    /// What is left of the failures after the second look.
    fn after(mut self, second: &Self) -> Self {
        // A program that ended in the middle has not counted all of them.
        if second.tally.passed + second.tally.failed < self.tally.failed {
            return self;
        }
        let (failed, unsteady) = self
            .failed
            .into_iter()
            .partition(|name| second.failed.contains(name));
        (self.failed, self.unsteady) = (failed, unsteady);
        let changed = self.unsteady.len() as u64;
        self.tally.failed -= changed;
        self.tally.passed += changed;
        self
    }
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
