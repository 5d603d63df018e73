//! `rc judge bench`: the judge's error rates, simulated.

use std::fmt::Write as _;

use rc_judge::simulation::{self, CELLS, Outcome as Taken, Row};
use serde::Serialize;

use crate::cx::Cx;
use crate::fault::{Fault, Outcome};

/// Simulate rollouts, and say how often the judge is wrong and how soon it is right
///
/// Healthy and worse releases on quiet and troubled traffic, with the pauses of real rollouts, looked at every second.
/// Beside it stand a fixed threshold (more than 2 % errors in 5 minutes, twice) and Mann and Whitney's test on the
/// minutes of a step. The same seed gives the same table.
///
/// Exit codes: 0 everything that is promised holds, 1 something does not.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Rollouts of each kind
    #[arg(long, value_name = "NUMBER", default_value_t = 2_000, value_parser = clap::value_parser!(u64).range(1..))]
    runs: u64,
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
    /// Only those whose name has this text
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
}

#[derive(Debug, Serialize)]
struct Table {
    runs: u64,
    seed: u64,
    rows: Vec<Row>,
}

pub(super) fn run(cx: &Cx, args: &Args) -> Result<Outcome, miette::Report> {
    let mut rows = Vec::new();
    for cell in CELLS
        .iter()
        .filter(|cell| args.only.as_ref().is_none_or(|only| cell.name.contains(only)))
    {
        let row = simulation::run(cell, args.runs, args.seed)
            .map_err(|error| Fault::world("RC-JDG-003", "the simulation failed").because(error))?;
        if cx.progress {
            cx.note(format!("{}, {} requests/s", row.name, row.requests_per_second));
        }
        rows.push(row);
    }
    if rows.is_empty() {
        return Err(Fault::usage("RC-JDG-003", "nothing of that name is simulated")
            .hint("`rc judge bench` without `--only` shows all names")
            .into());
    }
    let held = rows.iter().all(|row| row.missed.is_empty());
    let table = Table {
        runs: args.runs,
        seed: args.seed,
        rows,
    };
    if cx.json() {
        cx.print_json(&table);
    } else {
        cx.say(render(&table));
    }
    Ok(match held {
        true => Outcome::Done,
        false => Outcome::No,
    })
}

fn render(table: &Table) -> String {
    let mut out = format!(
        "{} rollouts each, seed {}: taken back, median time",
        table.runs, table.seed
    );
    for healthy in [true, false] {
        let title = if healthy { "healthy" } else { "worse" };
        let head = format!(
            "\n\n{title:<34} {:>9}  {:>16}  {:>16}  {:>16}",
            "requests/s", "judge", "fixed threshold", "Mann-Whitney"
        );
        let mut rows = table.rows.iter().filter(|row| row.healthy == healthy).peekable();
        if rows.peek().is_some() {
            out.push_str(&head);
        }
        for row in rows {
            write!(
                out,
                "\n{:<34} {:>9}  {:>16}  {:>16}  {:>16}",
                row.name,
                row.requests_per_second,
                shown(&row.judge, healthy),
                shown(&row.fixed_threshold, healthy),
                shown(&row.mann_whitney, healthy),
            )
            .expect("writing to a string cannot fail");
            for missed in &row.missed {
                write!(out, "\n  missed: {missed}").expect("writing to a string cannot fail");
            }
        }
    }
    out
}

fn shown(taken: &Taken, healthy: bool) -> String {
    let percent = format!("{:.2} %", taken.taken_back_percent);
    match taken.seconds {
        Some(seconds) if !healthy => format!("{percent}, {seconds:.0} s"),
        _ => percent,
    }
}
