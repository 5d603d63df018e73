//! `cargo xtask bench`: the figures that README and docs/benchmarks.md show, measured on a release build
//! from outside, as a user would meet it.
//!
//! What a person times with a clock (start, memory, the command line, builds) is measured here. Load, peers
//! and CPU time are measured by the program `rc-bench`, which this builds and runs; it prints figures, and
//! this adds where and when. Results are JSON in `bench/results`; the page is made from them and from nothing
//! else.

mod documents;
mod former;
mod judge;
mod load;
mod memory;
mod page;
mod peers;
mod picture;
mod platform;
mod scratch;
mod subject;
mod tree;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::cx::Cx;
use crate::process::{self, Stop};
use crate::suite;
use subject::Subject;

/// The generated page.
pub(crate) const PAGE: &str = "docs/benchmarks.md";

/// The picture of isolation, made from the gateway's results.
pub(crate) const PICTURE: &str = "docs/isolation.svg";

/// Where results are kept, one file for each subject.
const RESULTS: &str = "bench/results";

/// Fewest rounds whose median we publish.
const ROUNDS_MIN: usize = 5;

/// What to measure.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What to measure; without any, everything but `build`, `events`, `kept`, `statements`, `gateway` and `judge`
    subjects: Vec<Subject>,
    /// One short round of each: shows that everything works; prints, and writes nothing
    #[arg(long)]
    quick: bool,
    /// Measure this program instead of a release build; prints, and writes nothing
    #[arg(long, value_name = "PROGRAM")]
    rc: Option<PathBuf>,
    /// The unpacked Debezium Server that `events` compares with
    #[arg(long, value_name = "FOLDER")]
    debezium: Option<PathBuf>,
    /// The commit that `statements` compares with, and `gateway` under surge: it is built in a work tree of its own
    #[arg(long, value_name = "COMMIT")]
    against: Option<String>,
    /// `kept` after this many events instead of 10^7; prints, and writes nothing
    #[arg(long, value_name = "EVENTS")]
    kept: Option<u64>,
    /// Measure nothing; write the page from the results that are there
    #[arg(long, conflicts_with_all = ["quick", "rc", "kept", "subjects"])]
    page_only: bool,
}

/// What is measured, and what measures.
struct Programs {
    rc: PathBuf,
    /// `rc-bench`; absent when no subject needs it.
    bench: Option<PathBuf>,
    /// The folder of Debezium Server, when there is one.
    debezium: Option<PathBuf>,
    /// `rc` of the commit to compare with, when there is one.
    former: Option<PathBuf>,
    /// After how many events the outbox is looked at; `None`: as many as the page shows.
    kept: Option<u64>,
}

/// What measuring a subject gives.
#[derive(Debug, Deserialize)]
struct Measured {
    /// How it was measured, in a sentence or two.
    method: String,
    /// Fewest values of a figure with a target.
    rounds_min: usize,
    figures: Vec<Figure>,
}

/// Everything that one run measured about one subject.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Results {
    subject: Subject,
    /// How it was measured, in a sentence or two.
    method: String,
    /// The command that does it again.
    command: String,
    commit: String,
    machine: Machine,
    figures: Vec<Figure>,
    /// Medians of single figures, for programs that read the results.
    #[serde(flatten)]
    summary: Map<String, Value>,
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Figure {
    /// The table it belongs to; empty where a subject has only one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    group: String,
    name: String,
    unit: Unit,
    /// The value that must not be passed, when there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    at_most: Option<f64>,
    /// The value that must be reached, when there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    at_least: Option<f64>,
    /// The target is held against the worst value; else against the median.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    worst: bool,
    /// Where its median stands in the results for other programs: names from the outermost object inwards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    /// In the results, and not on the page.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    aside: bool,
    #[serde(default, skip_serializing_if = "is_nan")]
    median: f64,
    /// One value a round, in the order of measurement; none where this build cannot do what would be measured.
    values: Vec<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Unit {
    #[serde(rename = "s")]
    Seconds,
    #[serde(rename = "ms")]
    Milliseconds,
    #[serde(rename = "us")]
    Microseconds,
    #[serde(rename = "MiB")]
    Mebibytes,
    #[serde(rename = "x")]
    Times,
    #[serde(rename = "%")]
    Percent,
    #[serde(rename = "/s")]
    PerSecond,
    #[serde(rename = "")]
    Count,
}

impl Unit {
    /// What stands behind the number.
    fn symbol(self) -> &'static str {
        match self {
            Self::Seconds => " s",
            Self::Milliseconds => " ms",
            Self::Microseconds => " µs",
            Self::Mebibytes => " MiB",
            Self::Times => "x",
            Self::Percent => " %",
            Self::PerSecond => "/s",
            Self::Count => "",
        }
    }
}

impl Figure {
    fn new(name: &str, unit: Unit, at_most: Option<f64>, values: Vec<f64>) -> Self {
        Self {
            group: String::new(),
            name: name.to_owned(),
            unit,
            at_most,
            at_least: None,
            worst: false,
            key: None,
            aside: false,
            median: f64::NAN,
            values,
        }
        .rounded()
    }

    /// With values of three decimals and their median.
    fn rounded(mut self) -> Self {
        for value in &mut self.values {
            *value = (*value * 1000.0).round() / 1000.0;
        }
        self.median = median(&self.values);
        self
    }

    /// Whether this build can do what is measured.
    fn is_supported(&self) -> bool {
        !self.values.is_empty()
    }

    fn lowest(&self) -> f64 {
        self.values.iter().copied().fold(f64::INFINITY, f64::min)
    }

    fn highest(&self) -> f64 {
        self.values.iter().copied().fold(f64::NEG_INFINITY, f64::max)
    }

    /// Whether the target is met; `None` without one, and without a value.
    fn met(&self) -> Option<bool> {
        if !self.is_supported() {
            return None;
        }
        if let Some(most) = self.at_most {
            let judged = if self.worst { self.highest() } else { self.median };
            return Some(judged <= most);
        }
        let judged = if self.worst { self.lowest() } else { self.median };
        self.at_least.map(|least| judged >= least)
    }
}

/// Without a value there is no median, and JSON has no word for it.
fn is_nan(median: &f64) -> bool {
    median.is_nan()
}

/// The medians of all figures with a key, nested as their keys say.
fn summary(figures: &[Figure]) -> Map<String, Value> {
    let mut summary = Map::new();
    for figure in figures.iter().filter(|figure| figure.is_supported()) {
        let Some(key) = &figure.key else { continue };
        let mut names: Vec<&str> = key.split('.').collect();
        let last = names.pop().unwrap_or_default();
        let mut object = &mut summary;
        for name in names {
            let inner = object.entry(name).or_insert_with(|| json!({}));
            object = inner
                .as_object_mut()
                .expect("a key's names are of objects but the last");
        }
        object.insert(last.to_owned(), json!(figure.median));
    }
    summary
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

/// A folder on the disk for what a measurement writes.
pub(crate) use scratch::folder as scratch_folder;

pub(crate) fn run(cx: &Cx, args: &Args) -> Result<(), Stop> {
    let mut failed = Vec::new();
    if !args.page_only {
        scratch::sweep(cx)?;
        let subjects = args.subjects();
        let names: Vec<&str> = subjects.iter().map(|subject| subject.name()).collect();
        let minutes: f64 = subjects.iter().map(|subject| subject.minutes()).sum();
        match args.quick {
            true => eprintln!(
                "bench: {}; about a minute, and the builds before it",
                names.join(", ")
            ),
            false => eprintln!(
                "bench: {}; about {minutes:.0} minutes, and the builds before it",
                names.join(", ")
            ),
        }
        if subjects.contains(&Subject::Statements) && args.against.is_none() {
            return Err(Stop::usage(
                "`statements` needs `--against COMMIT`, the one to compare with",
            ));
        }
        let rc = match &args.rc {
            Some(rc) => fs_err::canonicalize(rc)?,
            // Simulated seconds are the same in every build, and this one is there sooner.
            None if subjects == [Subject::Judge] => suite::build_rc(cx)?,
            None => suite::build_rc_release(cx)?,
        };
        let programs = Programs {
            rc,
            bench: match subjects.iter().any(|subject| subject.is_load()) {
                true => Some(suite::build_release(cx, "rc-bench")?),
                false => None,
            },
            debezium: args.debezium.as_deref().map(fs_err::canonicalize).transpose()?,
            former: match &args.against {
                Some(commit) => Some(former::build(cx, commit)?),
                None => None,
            },
            kept: args.kept,
        };
        let publish = !args.quick && args.rc.is_none() && args.kept.is_none();
        for subject in subjects {
            // One that fails must not cost those that took minutes before it and those after it.
            if let Err(stop) = one(cx, subject, &programs, args.quick, publish) {
                eprintln!("bench: {}: {}", subject.name(), stop.message);
                failed.push(subject.name());
            }
        }
        if !publish {
            return verdict(&failed);
        }
    }
    let pages = pages(cx)?;
    let page = pages.get(PAGE);
    println!(
        "{}",
        page.ok_or_else(|| Stop::usage(format!("there are no results in {RESULTS}")))?
    );
    for (path, text) in &pages {
        fs_err::write(cx.root.join(path), text)?;
    }
    verdict(&failed)
}

fn verdict(failed: &[&str]) -> Result<(), Stop> {
    if failed.is_empty() {
        return Ok(());
    }
    Err(Stop::no(format!("could not be measured: {}", failed.join(", "))))
}

/// Measures one subject and keeps or prints what it gave.
fn one(cx: &Cx, subject: Subject, programs: &Programs, quick: bool, publish: bool) -> Result<(), Stop> {
    let measured = subject.measure(cx, programs, quick)?;
    if publish {
        publishable(&measured)?;
    }
    let figures: Vec<Figure> = measured.figures.into_iter().map(Figure::rounded).collect();
    let results = Results {
        subject,
        method: measured.method,
        command: subject.command(),
        commit: commit(cx)?,
        machine: machine()?,
        summary: summary(&figures),
        figures,
    };
    if publish {
        return save(cx, &results);
    }
    println!("{}", page::render(std::slice::from_ref(&results)));
    println!("{}", Value::Object(results.summary.clone()));
    if let Some(svg) = picture::render(&results) {
        let file = cx.target.join("bench/isolation.svg");
        fs_err::write(&file, svg)?;
        eprintln!("bench: the picture is {}", file.display());
    }
    Ok(())
}

/// Refuses a median of too few rounds.
fn publishable(measured: &Measured) -> Result<(), Stop> {
    let least = measured.rounds_min.max(ROUNDS_MIN);
    let few = |figure: &&Figure| figure.met().is_some() && figure.values.len() < least;
    match measured.figures.iter().find(few) {
        None => Ok(()),
        Some(figure) => Err(Stop::no(format!(
            "`{}` has {} values; with fewer than {least} it is not published",
            figure.name,
            figure.values.len()
        ))),
    }
}

impl Args {
    fn subjects(&self) -> Vec<Subject> {
        let mut subjects = self.subjects.clone();
        if subjects.is_empty() {
            subjects.extend(Subject::USUAL);
        }
        subjects.sort();
        subjects.dedup();
        subjects
    }
}

/// The page and its picture as they follow from the results, by their paths; nothing when there are none.
pub(crate) fn pages(cx: &Cx) -> Result<BTreeMap<&'static str, String>, Stop> {
    let folder = cx.root.join(RESULTS);
    if !folder.is_dir() {
        return Ok(BTreeMap::new());
    }
    let mut all = Vec::new();
    for file in fs_err::read_dir(&folder)? {
        let path = file?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            let results: Results = serde_json::from_str(&fs_err::read_to_string(&path)?)
                .map_err(|error| Stop::usage(format!("{}: {error}", path.display())))?;
            all.push(results);
        }
    }
    all.sort_by_key(|results| results.subject);
    let mut pages = BTreeMap::new();
    if !all.is_empty() {
        pages.insert(PAGE, page::render(&all));
    }
    pages.extend(
        all.iter()
            .find_map(picture::render)
            .map(|picture| (PICTURE, picture)),
    );
    Ok(pages)
}

fn save(cx: &Cx, results: &Results) -> Result<(), Stop> {
    fs_err::create_dir_all(cx.root.join(RESULTS))?;
    let text = serde_json::to_string_pretty(results).map_err(|error| Stop::world(error.to_string()))?;
    fs_err::write(
        cx.root
            .join(RESULTS)
            .join(format!("{}.json", results.subject.name())),
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

/// The commit that was measured, marked when the work tree differs from it. What the subjects before
/// have just written does not count: it is not measured.
pub(crate) fn commit(cx: &Cx) -> Result<String, Stop> {
    let git = |args: &[&str]| {
        let mut command = std::process::Command::new("git");
        command.current_dir(&cx.root).args(args);
        process::output(&mut command)
    };
    let head = git(&["rev-parse", "--short=10", "HEAD"])?;
    let changed = git(&[
        "diff",
        "--name-only",
        "HEAD",
        "--",
        ".",
        ":(exclude)bench/results",
        ":(exclude)docs/benchmarks.md",
    ])?;
    let dirty = if changed.trim().is_empty() { "" } else { "-dirty" };
    Ok(format!("{}{dirty}", head.trim()))
}

#[cfg(test)]
mod tests;
