//! The running platform: start, memory, ingest, search.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::scratch::{self, Watchdog};
use super::{Figure, Measured, ROUNDS_MIN, Unit, documents, memory};
use crate::cx::Cx;
use crate::process::{self, Stop, Stopwatch};

/// Time for the platform to settle before its memory is read.
const SETTLE: Duration = Duration::from_secs(3);

/// Longest wait for the last document to be found.
const SEARCHABLE_MAX: Duration = Duration::from_secs(60);

/// How often the search is asked again; also the resolution of the figure.
const SEARCH_EVERY: Duration = Duration::from_millis(10);

/// One round's figures.
#[derive(Debug, Default)]
struct Rounds {
    cold: Vec<f64>,
    warm: Vec<f64>,
    idle: Vec<f64>,
    ingest: Vec<f64>,
    searchable: Vec<f64>,
    loaded: Vec<f64>,
}

pub(super) fn measure(cx: &Cx, rounds: usize, program: &Path) -> Result<Measured, Stop> {
    let scratch = scratch::folder(cx)?;
    let rc = scratch.path().join("rc");
    // A copy of its own: processes are found by their program, and other projects may run on this machine.
    fs_err::copy(program, &rc)?;
    let input = scratch.path().join("documents.ndjson");
    documents::write(cx, &input)?;
    let mut all = Rounds::default();
    for round in 1..=rounds {
        eprintln!("bench: platform, round {round} of {rounds}");
        let project = scratch.path().join(format!("project-{round}"));
        fs_err::create_dir(&project)?;
        let platform = Platform {
            _watchdog: Watchdog::start(&rc, &project)?,
            rc: rc.clone(),
            project,
        };
        one_round(&platform, &input, &mut all)?;
    }
    let s = Unit::Seconds;
    Ok(Measured {
        method: format!(
            "Medians of {rounds} rounds, each in an empty project on the embedded store. Memory is \
             the proportional set size of all processes. The documents are {} pieces of about 2 KB, cut from manual \
             pages, changelogs and licences of Debian packages; `rc ingest` has ended when all are durable.",
            documents::COUNT
        ),
        rounds_min: ROUNDS_MIN,
        figures: vec![
            Figure::new("`rc up` to ready, no state yet", s, Some(3.0), all.cold),
            Figure::new("`rc up` to ready, state from before", s, Some(1.0), all.warm),
            Figure::new(
                "memory of the idle platform",
                Unit::Mebibytes,
                Some(150.0),
                all.idle,
            ),
            Figure::new("`rc ingest` of 5,000 documents", s, Some(3.0), all.ingest),
            Figure::new(
                "from its end until the last one is found",
                s,
                Some(1.0),
                all.searchable,
            ),
            Figure::new("memory after the ingest", Unit::Mebibytes, None, all.loaded),
        ],
    })
}

fn one_round(platform: &Platform, input: &Path, all: &mut Rounds) -> Result<(), Stop> {
    all.cold.push(platform.up()?);
    platform.down()?;
    all.warm.push(platform.up()?);
    std::thread::sleep(SETTLE);
    all.idle.push(memory::of_program(&platform.rc)?);
    let watch = Stopwatch::start();
    platform.call(&["ingest", &input.to_string_lossy()])?;
    all.ingest.push(watch.seconds());
    all.searchable.push(platform.wait_until_found(documents::MARKER)?);
    all.loaded.push(memory::of_program(&platform.rc)?);
    platform.down()
}

/// A project and the program that runs it. Stopped when dropped, so that a failed round leaves nothing.
struct Platform {
    rc: PathBuf,
    project: PathBuf,
    /// Stops it also when this process is killed.
    _watchdog: Watchdog,
}

impl Platform {
    fn call(&self, args: &[&str]) -> Result<String, Stop> {
        process::output(Command::new(&self.rc).current_dir(&self.project).args(args))
    }

    /// Starts, and tells how long it took until ready.
    fn up(&self) -> Result<f64, Stop> {
        let watch = Stopwatch::start();
        // Not through pipes: what runs on would keep them open.
        let status = Command::new(&self.rc)
            .current_dir(&self.project)
            .args(["up", "--detach"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status()?;
        let seconds = watch.seconds();
        if !status.success() {
            return Err(Stop::world(format!("`rc up --detach` failed: {status}")));
        }
        let state: Value =
            serde_json::from_str(&self.call(&["status", "--output", "json"])?).map_err(|error| {
                Stop::world(format!(
                    "`rc status --output json` printed something else: {error}"
                ))
            })?;
        if state["state"] == "ready" {
            Ok(seconds)
        } else {
            Err(Stop::world(format!(
                "`rc up --detach` returned and the state is {}",
                state["state"]
            )))
        }
    }

    fn down(&self) -> Result<(), Stop> {
        self.call(&["down"])?;
        match memory::processes_of(&self.rc)?.len() {
            0 => Ok(()),
            left => Err(Stop::world(format!("`rc down` left {left} processes"))),
        }
    }

    /// Asks for `word` until there is a hit, and tells how long that took.
    fn wait_until_found(&self, word: &str) -> Result<f64, Stop> {
        let watch = Stopwatch::start();
        while watch.elapsed() < SEARCHABLE_MAX {
            let answer = self.call(&["search", word, "--output", "json"])?;
            let seconds = watch.seconds();
            let answer: Value = serde_json::from_str(&answer).map_err(|error| {
                Stop::world(format!(
                    "`rc search --output json` printed something else: {error}"
                ))
            })?;
            if answer["hits"].as_array().is_some_and(|hits| !hits.is_empty()) {
                return Ok(seconds);
            }
            std::thread::sleep(SEARCH_EVERY);
        }
        Err(Stop::world(format!(
            "`{word}` was not found within {} s",
            SEARCHABLE_MAX.as_secs()
        )))
    }
}

impl Drop for Platform {
    fn drop(&mut self) {
        let running = memory::processes_of(&self.rc).is_ok_and(|found| !found.is_empty());
        if running && let Err(stop) = self.call(&["down"]) {
            eprintln!(
                "bench: the platform may still run in {}: {}",
                self.project.display(),
                stop.message
            );
        }
    }
}
