//! The long form: every combination in turn, each with its share of events and faults, power losses, full disks.
//!
//! Each result is a file. A combination that has one for the same seed and size is not run again, so that a run that
//! was stopped goes on where it was.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

use crate::failure::{Failure, Result};
use crate::report;
use crate::run::{self, DRAIN_TIME_MAX, Options, Outcome};
use crate::world::{BusKind, Combination, SourceKind};

/// Power losses, or full disks, of each run that has nothing else.
const DISK_FAULTS: u64 = 10;

/// How much, and where to.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Events in total, divided among the combinations
    #[arg(long, default_value_t = 10_000_000)]
    events: u64,
    /// Faults in total at least, divided among the combinations
    #[arg(long, default_value_t = 560)]
    faults: u64,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Run everything, also what has a result
    #[arg(long)]
    anew: bool,
    /// Only these parts, such as `faults-poll-nats`; the report has whatever has a result
    #[arg(long)]
    part: Vec<String>,
    /// Where results are kept
    #[arg(long)]
    results: PathBuf,
    /// The page that has the report between two marks
    #[arg(long)]
    page: PathBuf,
    /// What is run, for the record
    #[arg(long, default_value = "")]
    commit: String,
}

/// A result, and what it is the result of.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Kept {
    /// The revision that was run.
    pub commit: String,
    /// Events that were asked for.
    pub events: u64,
    /// Faults that were asked for.
    pub faults: u64,
    /// What was run.
    pub part: Part,
    /// What became of it.
    pub outcome: Outcome,
}

/// One run of the matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// All faults but the loss of power.
    Faults(Combination),
    /// Nothing but losses of power.
    Power(Combination),
    /// The same on servers that do not wait for the disk: it must lose something.
    Forgetful(Combination),
    /// Nothing but a disk that is full, and has room again.
    Full(Combination),
}

const fn pair(source: SourceKind, bus: BusKind) -> Combination {
    Combination { source, bus }
}

/// What is run where the power is lost, or the disk is full: each store and each bus once.
const POWERED: [Combination; 3] = [
    pair(SourceKind::Sqlite, BusKind::Sqlite),
    pair(SourceKind::Poll, BusKind::Postgres),
    pair(SourceKind::Sqlite, BusKind::Nats),
];

/// Where "does not wait" is a setting of the server.
const FORGETFUL: [Combination; 2] = [
    pair(SourceKind::Poll, BusKind::Postgres),
    pair(SourceKind::Sqlite, BusKind::Nats),
];

impl Part {
    fn all() -> Vec<Self> {
        let faults = Combination::ALL.into_iter().map(Self::Faults);
        let power = POWERED.into_iter().map(Self::Power);
        faults
            .chain(power)
            .chain(POWERED.into_iter().map(Self::Full))
            .chain(FORGETFUL.into_iter().map(Self::Forgetful))
            .collect()
    }

    fn name(self) -> String {
        let (kind, Combination { source, bus }) = match self {
            Self::Faults(of) => ("faults", of),
            Self::Power(of) => ("power", of),
            Self::Forgetful(of) => ("forgetful", of),
            Self::Full(of) => ("full", of),
        };
        format!("{kind}-{}-{}", word(&source), word(&bus))
    }
}

/// The word of a value on the command line.
fn word<T: clap::ValueEnum>(value: &T) -> String {
    let possible = value.to_possible_value();
    possible
        .map(|value| value.get_name().to_owned())
        .unwrap_or_default()
}

/// Runs what has no result yet, and writes the page. Whether every promise was kept, and every disk that should
/// forget did.
///
/// # Errors
/// When results cannot be kept. A part that cannot be run does not keep the others from it; it is said, and missing.
pub fn run(args: &Args) -> Result<bool> {
    fs_err::create_dir_all(&args.results)?;
    let share = |total: u64| total.div_ceil(u64::try_from(Combination::ALL.len()).unwrap_or(1));
    let (events, faults) = (share(args.events), share(args.faults));
    let mut failed = false;
    let chosen = |part: &Part| args.part.is_empty() || args.part.contains(&part.name());
    for part in Part::all().into_iter().filter(chosen) {
        let path = args.results.join(format!("{}.json", part.name()));
        let kept = read(&path).filter(|kept| {
            let same = kept.outcome.seed == args.seed && kept.part == part;
            let powered = !matches!(part, Part::Faults(_));
            same && (powered || (kept.events == events && kept.faults == faults)) && !args.anew
        });
        if kept.is_some() {
            continue;
        }
        let began = tokio::time::Instant::now();
        let outcome = match part {
            Part::Faults(combination) => with_faults(combination, args.seed, events, faults),
            Part::Power(combination) => on_a_disk(combination, args.seed, &["--power-loss"]),
            Part::Forgetful(combination) => {
                on_a_disk(combination, args.seed, &["--power-loss", "--unsafe-sync"])
            }
            Part::Full(combination) => on_a_disk(combination, args.seed, &["--disk-full"]),
        };
        match outcome {
            Ok(outcome) => {
                say(&format!(
                    "{}: {} events, {} faults, {} s",
                    part.name(),
                    outcome.events,
                    outcome.faults(),
                    began.elapsed().as_secs()
                ));
                let kept = Kept {
                    commit: args.commit.clone(),
                    events,
                    faults,
                    part,
                    outcome,
                };
                fs_err::write(&path, serde_json::to_string_pretty(&kept)? + "\n")?;
            }
            Err(failure) => {
                failed = true;
                say(&format!("{}: could not be run: {failure}", part.name()));
            }
        }
    }
    let all = Part::all();
    let path = |part: &Part| args.results.join(format!("{}.json", part.name()));
    let kept: Vec<Kept> = all.iter().filter_map(|part| read(&path(part))).collect();
    let page = fs_err::read_to_string(&args.page)?;
    fs_err::write(&args.page, report::insert(&page, &report::text(&kept))?)?;
    Ok(!failed && kept.len() == all.len() && kept.iter().all(report::is_right))
}

fn read(path: &Path) -> Option<Kept> {
    serde_json::from_str(&fs_err::read_to_string(path).ok()?).ok()
}

#[expect(clippy::print_stderr, reason = "how far a run of half an hour is")]
fn say(line: &str) {
    eprintln!("chaos: {line}");
}

fn with_faults(combination: Combination, seed: u64, events: u64, faults: u64) -> Result<Outcome> {
    let folder = tempfile::tempdir()?;
    let options = Options {
        program: std::env::current_exe()?,
        folder: folder.path().to_owned(),
        combination,
        seed,
        events,
        faults,
        rate: 0,
        payload_bytes: 300,
        batch: 100,
        oversize: false,
        poison: false,
        prune: false,
        only: None,
        mutations: Vec::new(),
        drain_time: DRAIN_TIME_MAX * 4,
        disk: false,
        sync: true,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let outcome = runtime.block_on(run::run(&options))?;
    if !outcome.is_whole() {
        say(&format!("the history is kept in {}", folder.keep().display()));
    }
    Ok(outcome)
}

/// In a process of its own, which has its own mounts.
fn on_a_disk(combination: Combination, seed: u64, fault: &[&str]) -> Result<Outcome> {
    let folder = tempfile::tempdir()?;
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args(["run", &word(&combination.source), &word(&combination.bus)])
        .args(fault)
        .args(["--events", "20000", "--rate", "2000"])
        .args(["--faults", &DISK_FAULTS.to_string(), "--seed", &seed.to_string()])
        .arg("--folder")
        .arg(folder.path());
    let output = command.stderr(Stdio::inherit()).output()?;
    serde_json::from_slice(&output.stdout).map_err(|error| Failure::new(format!("{command:?}: {error}")))
}
