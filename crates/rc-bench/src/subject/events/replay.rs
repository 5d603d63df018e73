//! What an embedded log gives back: to a consumer that counts, and to the document projector.

use std::sync::Arc;
use std::time::Duration;

use rc_events::bus::ReadLimit;
use rc_events::{Bus as _, SqliteBus};
use rc_model::clock::{SystemClock, monotonic_ns};

use super::seconds_since;
use crate::failure::{Failure, Result};
use crate::figures::{Figures, Unit};
use crate::load::{self, Arrivals, Load};
use crate::platform::{Platform, Project};
use crate::procs;
use crate::requests::{Documents, ingest_requests};
use crate::subject::Options;
use crate::subject::ingest::{WITHOUT_SEARCH, wait_until_indexed};
use crate::text::{SEED, Texts};

/// The table of these figures.
const REPLAY: &str = "Replay from the embedded log";

const COUNTED_MIN: f64 = 100_000.0;
const PROJECTED_MIN: f64 = 10_000.0;

/// Documents in a batch, and connections that send them.
const ITEMS: usize = 500;
const CONNECTIONS: usize = 4;

/// A second of load at a time, until there are enough events.
const SLICE: Duration = Duration::from_secs(1);

pub(super) fn round(options: &Options, wanted: u64, number: usize, figures: &mut Figures) -> Result<()> {
    let folder = options.scratch.join(format!("replay-{number}"));
    let mut project = Project {
        services: Some(WITHOUT_SEARCH.to_owned()),
        ..Project::default()
    };
    let events = fill(options, &folder, &project, wanted)?;

    let file = folder.join(".royalcrown/data/ingest/bus.db");
    let start = monotonic_ns();
    let before = procs::resident_mib(std::process::id())?;
    let counted = count(&file)?;
    let rate = counted as f64 / seconds_since(start);
    let memory = procs::resident_mib(std::process::id())? - before;
    if counted < events {
        return Err(Failure::new(format!(
            "{events} events were taken in, and the log has {counted}"
        )));
    }
    let name = "a consumer that counts, events";
    figures
        .push(REPLAY, name, Unit::PerSecond, rate)
        .at_least(COUNTED_MIN);
    figures.push(REPLAY, "its memory", Unit::Mebibytes, memory.max(0.0));

    // The same log, and a projector that has seen nothing of it.
    project.services = None;
    fs_err::remove_file(folder.join("service-catalog.yaml"))?;
    let start = monotonic_ns();
    let platform = Platform::start(&options.rc, &folder, &project)?;
    wait_until_indexed(&platform)?;
    let rate = events as f64 / seconds_since(start);
    let name = "the document projector, with the start of the platform, events";
    figures
        .push(REPLAY, name, Unit::PerSecond, rate)
        .at_least(PROJECTED_MIN);
    let mut memory = 0.0;
    for pid in platform.processes()? {
        memory += procs::resident_mib(pid)?;
    }
    figures.push(REPLAY, "memory of the platform after it", Unit::Mebibytes, memory);
    platform.stop()?;
    fs_err::remove_dir_all(&folder)?;
    Ok(())
}

/// Takes documents in until the log has about `wanted` events; how many were acknowledged.
fn fill(options: &Options, folder: &std::path::Path, project: &Project, wanted: u64) -> Result<u64> {
    let platform = Platform::start(&options.rc, folder, project)?;
    let texts = Arc::new(Texts::new(SEED));
    let (mut events, mut slice) = (0, 0);
    while events < wanted {
        let documents = Documents::new(&texts, &format!("replay{slice}"));
        let mut requests = ingest_requests(&platform.key, documents, ITEMS);
        let load = Load {
            target: platform.address,
            connections: CONNECTIONS,
            arrivals: Arrivals::Saturation,
            warm_up: Duration::ZERO,
            measured: SLICE,
        };
        let report = load::run(&load, requests.as_mut(), &mut |_| {})?;
        report.expect(&[202])?;
        events += report.completed * ITEMS as u64;
        slice += 1;
    }
    // The relay empties the outbox before it ends.
    std::thread::sleep(Duration::from_secs(1));
    platform.stop()?;
    Ok(events)
}

/// Reads a log from its start; how many events it has. The bus has checked that none is missing.
fn count(file: &std::path::Path) -> Result<u64> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let failed = |error: rc_events::Error| Failure::new(error.to_string());
    runtime.block_on(async {
        let bus = SqliteBus::open(file, SystemClock::shared())
            .await
            .map_err(failed)?;
        let (mut after, mut counted) = (0, 0);
        loop {
            let events = bus.read(after, ReadLimit::default()).await.map_err(failed)?;
            let Some(last) = events.last() else {
                return Ok(counted);
            };
            after = last.pos;
            counted += events.len() as u64;
        }
    })
}
