//! Rollouts from seeds: how often the judge is wrong, and how soon it is right, beside what others use.
//!
//! Seconds are those of real rollouts (10 % for 2 minutes, 30 % for 5, then 60 %), asked about after each one. A rollout
//! that passes goes on, so that a healthy one has all of its half hour to be blamed in. A second is closed at its end;
//! where requests take longer, add the time that they take.

mod draw;
mod peers;
mod world;

use serde::Serialize;

use crate::judge::Judge;
use crate::rules::{Rules, RulesError};
use crate::sample::{Finished, SampleError};
use peers::{FixedThreshold, MannWhitney};
use world::{Change, Traffic, World};

/// Seconds at which the weights of a rollout change, and the weights.
const STEPS: [(u64, f64); 3] = [(0, 0.1), (120, 0.3), (420, 0.6)];

/// How long a healthy release is watched, and one that is not.
const HEALTHY_SECONDS: u64 = 1_800;
const WORSE_SECONDS: u64 = 1_020;

/// What is simulated.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cell {
    /// The traffic, and the change if there is one.
    pub name: &'static str,
    pub requests_per_second: f64,
    pub promise: Promise,
    traffic: Traffic,
    change: Change,
}

/// What the judge has to hold in one cell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Promise {
    /// At most so many percent are taken back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub taken_back_percent_max: Option<f64>,
    /// At least so many percent are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub taken_back_percent_min: Option<f64>,
    /// The median time until then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds_max: Option<f64>,
    /// The median of the canary's requests that failed until then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed_requests_max: Option<f64>,
}

/// A promise that nothing is promised.
const NOTHING: Promise = Promise {
    taken_back_percent_max: None,
    taken_back_percent_min: None,
    seconds_max: None,
    failed_requests_max: None,
};

/// Every one is found, in this time.
const fn found_in(seconds: f64) -> Promise {
    Promise {
        taken_back_percent_min: Some(100.0),
        seconds_max: Some(seconds),
        ..NOTHING
    }
}

const fn healthy(name: &'static str, requests_per_second: f64, traffic: Traffic) -> Cell {
    Cell {
        name,
        requests_per_second,
        promise: Promise {
            taken_back_percent_max: Some(1.0),
            ..NOTHING
        },
        traffic,
        change: Change::Healthy,
    }
}

const fn worse(
    name: &'static str,
    requests_per_second: f64,
    traffic: Traffic,
    change: Change,
    promise: Promise,
) -> Cell {
    Cell {
        name,
        requests_per_second,
        promise,
        traffic,
        change,
    }
}

/// Everything that is simulated, in the order of the table.
pub const CELLS: [Cell; 25] = [
    healthy("quiet", 2.0, Traffic::Quiet),
    healthy("quiet", 20.0, Traffic::Quiet),
    healthy("quiet", 200.0, Traffic::Quiet),
    healthy("60 s shared outage", 2.0, Traffic::Outage),
    healthy("60 s shared outage", 20.0, Traffic::Outage),
    healthy("60 s shared outage", 200.0, Traffic::Outage),
    healthy("errors in clumps of 10", 20.0, Traffic::Clumps(10)),
    healthy("errors in clumps of 10", 200.0, Traffic::Clumps(10)),
    healthy("one bad stable replica of 5", 200.0, Traffic::SickReplica),
    healthy("error rates that drift", 200.0, Traffic::Drift),
    healthy("20 tenants looked at", 200.0, Traffic::Tenants),
    healthy("latencies looked at", 200.0, Traffic::Timed),
    healthy("cold canary", 200.0, Traffic::ColdCanary),
    healthy("sticky split", 200.0, Traffic::Sticky { drift: 0.0 }),
    healthy(
        "sticky split, tenants that drift",
        200.0,
        Traffic::Sticky { drift: 0.5 },
    ),
    worse(
        "2x errors",
        200.0,
        Traffic::Quiet,
        Change::Errors(2.0),
        found_in(150.0),
    ),
    worse(
        "5x errors",
        200.0,
        Traffic::Quiet,
        Change::Errors(5.0),
        found_in(20.0),
    ),
    worse(
        "10x errors",
        200.0,
        Traffic::Quiet,
        Change::Errors(10.0),
        found_in(8.0),
    ),
    worse(
        "10x errors",
        20.0,
        Traffic::Quiet,
        Change::Errors(10.0),
        found_in(75.0),
    ),
    worse("10x errors", 2.0, Traffic::Quiet, Change::Errors(10.0), NOTHING),
    worse(
        "100x errors",
        20.0,
        Traffic::Quiet,
        Change::Errors(100.0),
        Promise {
            failed_requests_max: Some(5.0),
            ..NOTHING
        },
    ),
    worse(
        "every request fails",
        200.0,
        Traffic::Quiet,
        Change::Errors(1e9),
        Promise {
            failed_requests_max: Some(60.0),
            ..found_in(3.0)
        },
    ),
    worse(
        "20 % slower",
        200.0,
        Traffic::Timed,
        Change::Slower(1.2),
        found_in(300.0),
    ),
    worse(
        "20x errors of one tenant of 20",
        200.0,
        Traffic::Tenants,
        Change::OneTenant(20.0),
        NOTHING,
    ),
    worse(
        "5x errors, sticky split",
        200.0,
        Traffic::Sticky { drift: 0.0 },
        Change::Errors(5.0),
        NOTHING,
    ),
];

/// How often one rule took the canary back, and when.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Outcome {
    pub taken_back_percent: f64,
    /// Medians of those that were taken back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// Requests of the canary that failed until then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed_requests: Option<f64>,
}

/// One cell's figures.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    pub name: &'static str,
    pub requests_per_second: f64,
    pub healthy: bool,
    pub promise: Promise,
    pub judge: Outcome,
    pub fixed_threshold: Outcome,
    pub mann_whitney: Outcome,
    /// What is promised, and not held: empty when all is.
    pub missed: Vec<String>,
}

/// Why a simulation stopped: both are bugs of ours.
#[derive(Debug, thiserror::Error)]
pub enum SimulationError {
    #[error(transparent)]
    Rules(#[from] RulesError),
    #[error(transparent)]
    Sample(#[from] SampleError),
}

/// When each rule took one canary back, and how many requests of it had failed.
#[derive(Debug, Clone, Copy, Default)]
struct Taken {
    judge: Option<(u64, u64)>,
    fixed_threshold: Option<(u64, u64)>,
    mann_whitney: Option<(u64, u64)>,
}

/// Simulates `runs` rollouts of one cell. The same seed gives the same row.
///
/// # Errors
/// A bug: the generator made what the judge refuses.
pub fn run(cell: &Cell, runs: u64, seed: u64) -> Result<Row, SimulationError> {
    let mut taken = Vec::new();
    for run in 0..runs {
        taken.push(rollout(cell, seed.wrapping_mul(1_000_003).wrapping_add(run))?);
    }
    let row = Row {
        name: cell.name,
        requests_per_second: cell.requests_per_second,
        healthy: cell.is_healthy(),
        promise: cell.promise,
        judge: outcome(&taken, |taken| taken.judge),
        fixed_threshold: outcome(&taken, |taken| taken.fixed_threshold),
        mann_whitney: outcome(&taken, |taken| taken.mann_whitney),
        missed: Vec::new(),
    };
    Ok(Row {
        missed: cell.promise.missed(&row.judge),
        ..row
    })
}

fn rollout(cell: &Cell, seed: u64) -> Result<Taken, SimulationError> {
    let mut world = World::new(cell.requests_per_second, cell.traffic, cell.change, seed);
    let rules = Rules {
        sticky: matches!(cell.traffic, Traffic::Sticky { .. }),
        ..Rules::default()
    };
    let mut judge = Judge::new(&rules, &world.baseline())?;
    let (mut fixed_threshold, mut mann_whitney) = (FixedThreshold::default(), MannWhitney::default());
    let seconds = match cell.is_healthy() {
        true => HEALTHY_SECONDS,
        false => WORSE_SECONDS,
    };
    let mut taken = Taken::default();
    let mut failed = 0;
    for at in 0..seconds {
        let second = world.second(at, weight(at));
        failed += second.canary.failures().bad;
        let now = Some((at + 1, failed));
        if taken.judge.is_none() {
            judge.observe_finished(&Finished {
                stable: second.stable.failures(),
                canary: second.canary.failures(),
            })?;
            judge.observe(&second)?;
            taken.judge = judge.failed().and(now);
        }
        if taken.fixed_threshold.is_none() && fixed_threshold.observe(&second) {
            taken.fixed_threshold = now;
        }
        let step_ends = at + 1 == seconds || STEPS.iter().any(|(begin, _)| *begin == at + 1);
        if taken.mann_whitney.is_none() && mann_whitney.observe(&second, step_ends) {
            taken.mann_whitney = now;
        }
        if taken.judge.is_some() && taken.fixed_threshold.is_some() && taken.mann_whitney.is_some() {
            break;
        }
    }
    Ok(taken)
}

fn weight(at: u64) -> f64 {
    STEPS
        .iter()
        .rev()
        .find(|(begin, _)| *begin <= at)
        .map_or(0.0, |(_, weight)| *weight)
}

fn outcome(taken: &[Taken], of: impl Fn(&Taken) -> Option<(u64, u64)>) -> Outcome {
    let found: Vec<(u64, u64)> = taken.iter().filter_map(of).collect();
    Outcome {
        taken_back_percent: 100.0 * found.len() as f64 / taken.len().max(1) as f64,
        seconds: median(found.iter().map(|(seconds, _)| *seconds)),
        failed_requests: median(found.iter().map(|(_, failed)| *failed)),
    }
}

fn median(values: impl Iterator<Item = u64>) -> Option<f64> {
    let mut sorted: Vec<u64> = values.collect();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).map(|value| *value as f64)
}

impl Cell {
    fn is_healthy(&self) -> bool {
        self.change == Change::Healthy
    }
}

impl Promise {
    /// What of it `outcome` does not hold.
    fn missed(&self, outcome: &Outcome) -> Vec<String> {
        let percent = outcome.taken_back_percent;
        let above = |what: &str, value: Option<f64>, most: Option<f64>| {
            let (value, most) = (value?, most?);
            (value > most).then(|| format!("{what}: {value:.2}, more than {most}"))
        };
        let least = self.taken_back_percent_min.filter(|least| percent < *least);
        [
            above("taken back, %", Some(percent), self.taken_back_percent_max),
            least.map(|least| format!("taken back, %: {percent:.2}, less than {least}")),
            above("seconds", outcome.seconds, self.seconds_max),
            above(
                "failed requests",
                outcome.failed_requests,
                self.failed_requests_max,
            ),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

#[cfg(test)]
mod tests;
