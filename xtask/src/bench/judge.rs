//! The judge of releases, simulated by `rc judge bench`.

use std::path::Path;
use std::process::{Command, Stdio};

use serde::Deserialize;

use super::{Figure, Measured, Unit};
use crate::process::{self, Stop};

/// Rollouts of each kind in one round: 2,000 in five.
const RUNS: u64 = 400;

/// What `rc judge bench --output json` prints, as far as it is shown.
#[derive(Debug, Deserialize)]
struct Table {
    rows: Vec<Row>,
}

#[derive(Debug, Deserialize)]
struct Row {
    name: String,
    requests_per_second: f64,
    healthy: bool,
    promise: Promise,
    judge: Outcome,
    fixed_threshold: Outcome,
    mann_whitney: Outcome,
}

#[derive(Debug, Clone, Copy, Deserialize)]
struct Promise {
    taken_back_percent_max: Option<f64>,
    taken_back_percent_min: Option<f64>,
    seconds_max: Option<f64>,
    failed_requests_max: Option<f64>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
struct Outcome {
    taken_back_percent: f64,
    seconds: Option<f64>,
    failed_requests: Option<f64>,
}

pub(super) fn measure(rounds: usize, rc: &Path, quick: bool) -> Result<Measured, Stop> {
    let runs = if quick { 20 } else { RUNS };
    let mut tables = Vec::new();
    for round in 1..=rounds {
        eprintln!("bench: judge, round {round} of {rounds}");
        tables.push(simulate(rc, runs, round)?);
    }
    Ok(Measured {
        method: format!(
            "Simulated rollouts, {rounds} rounds of {runs} of each kind with seeds of their own: 10 % for 2 minutes, 30 % \
             for 5, then 60 %; errors of a healthy version 0.5 %; looked at every second. Healthy releases are watched \
             for 30 minutes, whether they pass or not, the others for 17. Fixed threshold: more than 2 % errors of the \
             canary in 5 minutes, looked at each minute, the second time. Mann-Whitney: the minutes of a step, at its \
             end, at 98 %. Both are our own implementations. Nothing here depends on the machine."
        ),
        rounds_min: rounds,
        figures: figures(&tables),
    })
}

fn simulate(rc: &Path, runs: u64, seed: usize) -> Result<Table, Stop> {
    let mut command = Command::new(rc);
    command.args(["judge", "bench", "--output", "json"]);
    command.args(["--runs", &runs.to_string(), "--seed", &seed.to_string()]);
    command.stdin(Stdio::null());
    let mut printed = String::new();
    // A promise that does not hold is a figure like any other; whether it ran, its output says.
    let _held = process::lines(&mut command, |line| {
        printed.push_str(line);
        printed.push('\n');
    })?;
    serde_json::from_str(&printed)
        .map_err(|error| Stop::world(format!("`rc judge bench` printed no table: {error}")))
}

/// One figure for each quantity of each row; values in the order of the rounds.
fn figures(tables: &[Table]) -> Vec<Figure> {
    let Some(first) = tables.first() else {
        return Vec::new();
    };
    let mut figures = Vec::new();
    for (place, row) in first.rows.iter().enumerate() {
        let values = |of: &dyn Fn(&Row) -> Option<f64>| -> Vec<f64> {
            tables.iter().filter_map(|table| of(&table.rows[place])).collect()
        };
        let what = format!("{}, {} requests/s", row.name, row.requests_per_second);
        let mut add =
            |group: &str, rule: &str, unit: Unit, values: Vec<f64>, most: Option<f64>, least: Option<f64>| {
                // A rule that never took one back has no time.
                if values.is_empty() {
                    return;
                }
                let name = match rule {
                    "" => what.clone(),
                    rule => format!("{what}: {rule}"),
                };
                figures.push(Figure {
                    group: group.to_owned(),
                    at_least: least,
                    ..Figure::new(&name, unit, most, values)
                });
            };
        let taken = if row.healthy {
            "healthy releases that are taken back"
        } else {
            "worse releases that are taken back"
        };
        let (most, least) = (
            row.promise.taken_back_percent_max,
            row.promise.taken_back_percent_min,
        );
        let percent = Unit::Percent;
        add(
            taken,
            "",
            percent,
            values(&|row| Some(row.judge.taken_back_percent)),
            most,
            least,
        );
        add(
            taken,
            "fixed threshold",
            percent,
            values(&|row| Some(row.fixed_threshold.taken_back_percent)),
            None,
            None,
        );
        add(
            taken,
            "Mann-Whitney",
            percent,
            values(&|row| Some(row.mann_whitney.taken_back_percent)),
            None,
            None,
        );
        if row.healthy {
            continue;
        }
        let (time, s) = ("median time to take a worse release back", Unit::Seconds);
        add(
            time,
            "",
            s,
            values(&|row| row.judge.seconds),
            row.promise.seconds_max,
            None,
        );
        add(
            time,
            "fixed threshold",
            s,
            values(&|row| row.fixed_threshold.seconds),
            None,
            None,
        );
        add(
            time,
            "Mann-Whitney",
            s,
            values(&|row| row.mann_whitney.seconds),
            None,
            None,
        );
        let failed = "requests that a worse release failed until then, median";
        let most = row.promise.failed_requests_max;
        add(
            failed,
            "",
            Unit::Count,
            values(&|row| row.judge.failed_requests),
            most,
            None,
        );
        add(
            failed,
            "fixed threshold",
            Unit::Count,
            values(&|row| row.fixed_threshold.failed_requests),
            None,
            None,
        );
    }
    // Rows of one group beside each other, groups in the order in which they came.
    let mut groups: Vec<String> = Vec::new();
    for figure in &figures {
        if !groups.contains(&figure.group) {
            groups.push(figure.group.clone());
        }
    }
    figures.sort_by_key(|figure| groups.iter().position(|group| *group == figure.group));
    figures
}
