//! `cargo xtask bench`: the figures that README and docs/benchmarks.md show, measured on a release build
//! through the command line, as a user would meet them.
//!
//! Each figure is the median of several rounds; every round starts in an empty project. Results are JSON in
//! `bench/results`; the page is made from them and from nothing else.

mod documents;
mod memory;
mod page;
mod platform;
mod tree;

use serde::{Deserialize, Serialize};

use crate::cx::Cx;
use crate::process::{self, Stop};
use crate::suite;

/// The generated page.
pub(crate) const PAGE: &str = "docs/benchmarks.md";

/// Where results are kept, one file for each subject.
const RESULTS: &str = "bench/results";

/// Fewest rounds whose median we publish.
const ROUNDS_MIN: usize = 5;

/// What to measure.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Rounds of each measurement
    #[arg(long, default_value_t = ROUNDS_MIN)]
    rounds: usize,
    /// Also measure the build: a clean clone to a running platform, and `cargo check` after a change
    /// (many minutes)
    #[arg(long)]
    build: bool,
    /// Measure this program instead of a release build; prints, and writes nothing
    #[arg(long, value_name = "PROGRAM", conflicts_with = "build")]
    rc: Option<std::path::PathBuf>,
    /// Measure nothing; write the page from the results that are there
    #[arg(long, conflicts_with_all = ["build", "rc"])]
    page_only: bool,
}

/// Everything that one run measured about one subject.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Results {
    subject: String,
    /// How it was measured, in a sentence or two.
    method: String,
    /// The command that does it again.
    command: String,
    commit: String,
    machine: Machine,
    figures: Vec<Figure>,
}

/// What the numbers depend on.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Machine {
    cores: usize,
    memory_gib: u64,
    processor: String,
    kernel: String,
}

/// One measured quantity.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Figure {
    name: String,
    unit: Unit,
    /// The value that must not be passed, when there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    at_most: Option<f64>,
    median: f64,
    /// One value a round, in the order of measurement.
    values: Vec<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Unit {
    #[serde(rename = "s")]
    Seconds,
    #[serde(rename = "MiB")]
    Mebibytes,
}

impl Unit {
    fn symbol(self) -> &'static str {
        match self {
            Self::Seconds => "s",
            Self::Mebibytes => "MiB",
        }
    }
}

impl Figure {
    fn new(name: &str, unit: Unit, at_most: Option<f64>, values: Vec<f64>) -> Self {
        let values: Vec<f64> = values
            .into_iter()
            .map(|value| (value * 1000.0).round() / 1000.0)
            .collect();
        Self {
            name: name.to_owned(),
            unit,
            at_most,
            median: median(&values),
            values,
        }
    }
}

/// The middle value; of an even number of values, the mean of the middle two.
fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        even if even % 2 == 0 => f64::midpoint(sorted[middle - 1], sorted[middle]),
        _ => sorted[middle],
    }
}

pub(crate) fn run(cx: &Cx, args: &Args) -> Result<(), Stop> {
    if let Some(rc) = &args.rc {
        let results = platform::measure(cx, args.rounds, &fs_err::canonicalize(rc)?)?;
        println!("{}", page::render(&[results]));
        return Ok(());
    }
    if !args.page_only {
        if args.rounds < ROUNDS_MIN {
            return Err(Stop::usage(format!(
                "a median of fewer than {ROUNDS_MIN} rounds is not published"
            )));
        }
        save(
            cx,
            &platform::measure(cx, args.rounds, &suite::build_rc_release(cx)?)?,
        )?;
        if args.build {
            save(cx, &tree::measure(cx, args.rounds)?)?;
        }
    }
    let page = page(cx)?.ok_or_else(|| Stop::usage(format!("there are no results in {RESULTS}")))?;
    fs_err::write(cx.root.join(PAGE), &page)?;
    println!("{page}");
    Ok(())
}

/// The page as it follows from the results; `None` when there are none.
pub(crate) fn page(cx: &Cx) -> Result<Option<String>, Stop> {
    let folder = cx.root.join(RESULTS);
    if !folder.is_dir() {
        return Ok(None);
    }
    let mut all = Vec::new();
    let mut files: Vec<_> = fs_err::read_dir(&folder)?.collect::<Result<_, _>>()?;
    files.sort_by_key(fs_err::DirEntry::path);
    for file in files {
        let path = file.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            let results: Results = serde_json::from_str(&fs_err::read_to_string(&path)?)
                .map_err(|error| Stop::usage(format!("{}: {error}", path.display())))?;
            all.push(results);
        }
    }
    Ok((!all.is_empty()).then(|| page::render(&all)))
}

fn save(cx: &Cx, results: &Results) -> Result<(), Stop> {
    fs_err::create_dir_all(cx.root.join(RESULTS))?;
    let text = serde_json::to_string_pretty(results).map_err(|error| Stop::world(error.to_string()))?;
    fs_err::write(
        cx.root.join(RESULTS).join(format!("{}.json", results.subject)),
        text + "\n",
    )?;
    Ok(())
}

fn machine() -> Result<Machine, Stop> {
    let cpuinfo = fs_err::read_to_string("/proc/cpuinfo")?;
    let field = |text: &str, name: &str| {
        text.lines().find_map(|line| {
            line.strip_prefix(name)?
                .trim_start()
                .strip_prefix(':')
                .map(str::trim)
                .map(str::to_owned)
        })
    };
    let meminfo = fs_err::read_to_string("/proc/meminfo")?;
    let kib: u64 = field(&meminfo, "MemTotal")
        .and_then(|value| value.strip_suffix(" kB")?.parse().ok())
        .ok_or_else(|| Stop::world("/proc/meminfo has no MemTotal"))?;
    Ok(Machine {
        cores: std::thread::available_parallelism()?.get(),
        memory_gib: kib.div_ceil(1 << 20),
        processor: field(&cpuinfo, "model name").unwrap_or_else(|| "unknown".to_owned()),
        kernel: kernel_series(&fs_err::read_to_string("/proc/sys/kernel/osrelease")?),
    })
}

/// `6.1.0-30-amd64` to `6.1`: what a reader compares.
fn kernel_series(release: &str) -> String {
    release
        .trim()
        .split(['.', '-'])
        .take(2)
        .collect::<Vec<_>>()
        .join(".")
}

/// The commit that was measured, marked when the work tree differs from it.
fn commit(cx: &Cx) -> Result<String, Stop> {
    let mut command = std::process::Command::new("git");
    command
        .current_dir(&cx.root)
        .args(["describe", "--always", "--dirty", "--abbrev=10"]);
    Ok(process::output(&mut command)?.trim().to_owned())
}

#[cfg(test)]
mod tests;
