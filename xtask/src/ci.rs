//! `cargo xtask ci`: everything that CI runs, with the time of each step, ending in the tests' count.

use crate::cx::Cx;
use crate::process::{Stop, Stopwatch};
use crate::{checks, generate, setup, suite};

/// The steps so far.
#[derive(Default)]
struct Report {
    steps: Vec<Step>,
}

struct Step {
    name: &'static str,
    seconds: f64,
    failure: Option<String>,
}

impl Report {
    /// Runs one step and notes how it went. `None` when it failed.
    fn step<T>(&mut self, name: &'static str, work: impl FnOnce() -> Result<T, Stop>) -> Option<T> {
        println!("\n== {name}");
        let watch = Stopwatch::start();
        let outcome = work();
        let seconds = watch.seconds();
        let (value, failure) = match outcome {
            Ok(value) => (Some(value), None),
            Err(stop) => {
                eprintln!("error: {}", stop.message);
                (None, Some(stop.message))
            }
        };
        self.steps.push(Step {
            name,
            seconds,
            failure,
        });
        value
    }

    fn failed(&self) -> Vec<&'static str> {
        self.steps
            .iter()
            .filter(|step| step.failure.is_some())
            .map(|step| step.name)
            .collect()
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "\n{:<12} {:>8}  outcome", "step", "seconds")?;
        for Step {
            name,
            seconds,
            failure,
        } in &self.steps
        {
            let outcome = failure
                .as_deref()
                .map_or("ok", |message| message.lines().next().unwrap_or("failed"));
            writeln!(f, "{name:<12} {seconds:>8.1}  {outcome}")?;
        }
        let total: f64 = self.steps.iter().map(|step| step.seconds).sum();
        writeln!(f, "{:<12} {total:>8.1}", "total")
    }
}

/// Runs every step that can still run, so that one submission shows all that is wrong with it.
pub(crate) fn run(cx: &Cx) -> Result<(), Stop> {
    let mut report = Report::default();
    let ready = report.step("setup", || setup::run(cx));
    if ready.is_none() {
        println!("{report}");
        return Err(Stop::world("this machine lacks what the tests need"));
    }
    for (name, check) in checks::ALL {
        report.step(name, || check(cx));
    }
    let (mut tally, mut unsteady) = (None, Vec::new());
    if let Some(built) = report.step("build", || suite::build(cx, &["--locked"])) {
        report.step("generated", || {
            let rc = built
                .rc
                .ok_or_else(|| Stop::usage("the build of the workspace made no `rc`"))?;
            generate::check_with(cx, &rc)
        });
        report.step("tests", || {
            let ran = suite::run_and_look_again(cx, &["--locked"])?;
            tally = Some(ran.tally);
            unsteady = ran.unsteady;
            ran.tally.verdict()
        });
    }
    println!("{report}");
    for name in unsteady {
        println!("unsteady: {name} failed, and passed alone: find out why");
    }
    if let Some(tally) = tally {
        // The last line on standard output, in the form that test runners close with.
        println!("{tally}");
    }
    let failed = report.failed();
    if failed.is_empty() {
        Ok(())
    } else {
        Err(Stop::no(format!("ci: {}", failed.join(", "))))
    }
}
