//! The embedded store under a steady stream: how much for a minute, and how far the search falls behind.
//!
//! One run is cut into slices, and every slice must reach what is promised: a mean over a minute would hide
//! a pause.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rc_model::clock::{monotonic_ns, unix_ns};
use rusqlite::{Connection, OpenFlags, OptionalExtension as _};

use super::ingest::{WITHOUT_SEARCH, wait_until_indexed};
use super::{Options, require_real_disk};
use crate::client::Client;
use crate::failure::{Failure, Result};
use crate::figures::{Figures, Measured, Unit};
use crate::load::{self, Arrivals, Load, Mark, Report, Requests};
use crate::platform::{Platform, Project};
use crate::procs::CpuTime;
use crate::requests::{Batches, Documents, post, search};
use crate::text::{SEED, Texts};

/// Documents in a batch.
const ITEMS: usize = 500;

/// Connections that carry them.
const CONNECTIONS: usize = 8;

/// Slices of one run.
const SLICES: usize = 5;

/// Documents a second with search, and into log and document table alone.
const WITH_SEARCH: f64 = 12_000.0;
const LOG_ALONE: f64 = 20_000.0;

/// What is sent is this much more, so that a slice in which one batch less ends still has its rate.
const OFFERED: f64 = 1.02;

/// How far the search may be behind, in seconds.
const BEHIND_MAX: f64 = 1.0;

/// How often it is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// From a document's acknowledgement until it is found, 99th percentile, at half load.
const SEARCHABLE_MS_MAX: f64 = 300.0;

/// Connections that write a document and then search for it until it is there.
const PROBES: usize = 2;

/// Time between two such searches: the resolution of the figure.
const PROBE_EVERY: Duration = Duration::from_millis(5);

/// A probe writes its documents this far apart.
const PROBE_INTERVAL: Duration = Duration::from_millis(40);

pub(super) fn measure(options: &Options) -> Result<Measured> {
    require_real_disk(&options.scratch)?;
    let texts = Arc::new(Texts::new(SEED));
    let seconds = if options.quick { 2 } else { 60 };
    let minute = Duration::from_secs(seconds);
    // A short run is also made of builds that are not optimised.
    let share = if options.quick { 0.1 } else { 1.0 };
    let (with_search, log_alone) = (WITH_SEARCH * share, LOG_ALONE * share);
    let mut figures = Figures::default();

    crate::say(&format!(
        "{with_search} documents a second with search, {seconds} s"
    ));
    let platform = Platform::start(&options.rc, &options.scratch.join("search"), &Project::default())?;
    let group = format!("{with_search} documents a second, with search");
    let slices = stream(
        &platform,
        &texts,
        with_search,
        minute,
        Some(Index::open(&platform)?),
    )?;
    slices.push(&group, with_search, &mut figures);
    wait_until_indexed(&platform)?;
    platform.stop()?;

    crate::say(&format!(
        "{log_alone} documents a second without search, {seconds} s"
    ));
    let project = Project {
        services: Some(WITHOUT_SEARCH.to_owned()),
        ..Project::default()
    };
    let platform = Platform::start(&options.rc, &options.scratch.join("log"), &project)?;
    let group = format!("{log_alone} documents a second, log and document table alone");
    let slices = stream(&platform, &texts, log_alone, minute, None)?;
    slices.push(&group, log_alone, &mut figures);
    platform.stop()?;

    let half = with_search / 2.0;
    let span = minute / 2;
    crate::say(&format!(
        "ingested to searchable at {half} documents a second, {} s",
        span.as_secs()
    ));
    let platform = Platform::start(&options.rc, &options.scratch.join("half"), &Project::default())?;
    searchable(&platform, &texts, half, span, &mut figures)?;
    platform.stop()?;

    Ok(Measured {
        method: format!(
            "Batches of {ITEMS} documents of 600 bytes of text at a fixed rate (open loop, 2 % above the one that is named) over {CONNECTIONS} \
             connections for {seconds} s, through the gateway into the embedded store with a wait for the disk at \
             every commit; values are of {SLICES} slices of that time, and the worst one counts. The search is \
             behind by the age of the oldest document that docs-api has not committed to its index, read from the \
             stores' own files every {look} ms. Searchable: from the acknowledgement of a single document, sent \
             into the stream, until a search finds it, asked every {ask} ms.",
            look = LOOK_EVERY.as_millis(),
            ask = PROBE_EVERY.as_millis(),
        ),
        rounds_min: SLICES,
        figures: figures.into_rows(),
    })
}

/// What was seen in one run.
struct Slices {
    /// Acknowledged documents a second.
    rates: Vec<f64>,
    /// How far the search was behind at most, in seconds; without an index, nothing.
    behind: Vec<f64>,
    report: Report,
    /// CPU seconds of all processes.
    cpu: f64,
}

impl Slices {
    fn push(self, group: &str, rate: f64, figures: &mut Figures) {
        for value in &self.rates {
            let figure = figures.push(group, "acknowledged documents", Unit::PerSecond, *value);
            figure.at_least(rate);
            figure.judged_by_worst();
        }
        for value in &self.behind {
            let figure = figures.push(group, "the search is behind by at most", Unit::Seconds, *value);
            figure.at_most(BEHIND_MAX);
            figure.judged_by_worst();
        }
        for (name, quantile) in [("p50", 0.5), ("p99", 0.99)] {
            let name = format!("a batch until its acknowledgement, {name}");
            figures.push(
                group,
                &name,
                Unit::Milliseconds,
                self.report.latency_ms(0, quantile),
            );
        }
        let documents = self.report.completed as f64 * ITEMS as f64;
        let micros = self.cpu * 1e6 / documents;
        figures.push(
            group,
            "CPU of the platform, a document",
            Unit::Microseconds,
            micros,
        );
        let micros = self.report.generator_cpu * 1e6 / documents;
        figures.push(
            group,
            "the generator's own CPU, a document",
            Unit::Microseconds,
            micros,
        );
        let late = self.report.lateness_us_p99();
        figures.push(
            group,
            "the generator's own lateness, p99",
            Unit::Microseconds,
            late,
        );
    }
}

/// Counts what was acknowledged.
struct Counted<'c> {
    inner: Batches,
    documents: &'c AtomicU64,
}

impl Requests for Counted<'_> {
    fn next(&mut self, out: &mut Vec<u8>) -> usize {
        self.inner.next(out)
    }

    fn answered(&mut self, _class: usize, status: u16, _body: &[u8]) {
        if status == 202 {
            self.documents
                .fetch_add(self.inner.items as u64, Ordering::Relaxed);
        }
    }
}

/// Sends `rate` documents a second for `span` and looks on.
fn stream(
    platform: &Platform,
    texts: &Arc<Texts>,
    rate: f64,
    span: Duration,
    index: Option<Index>,
) -> Result<Slices> {
    let load = Load {
        target: platform.address,
        connections: CONNECTIONS,
        arrivals: Arrivals::Rate(rate * OFFERED / ITEMS as f64),
        warm_up: Duration::from_secs(1),
        measured: span,
    };
    let documents = AtomicU64::new(0);
    let mut requests = Counted {
        inner: Batches::new(&platform.key, Documents::new(texts, "doc"), ITEMS),
        documents: &documents,
    };
    let processes = platform.processes()?;
    let (measuring, over) = (AtomicBool::new(false), AtomicBool::new(false));
    let (report, looks, cpu) = std::thread::scope(|scope| {
        let watcher = scope.spawn(|| watch(index, &documents, &measuring, &over));
        let mut cpu = Vec::new();
        let report = load::run(&load, &mut requests, &mut |mark| {
            measuring.store(mark == Mark::Begin, Ordering::Relaxed);
            cpu.push(CpuTime::of(&processes));
        });
        over.store(true, Ordering::Relaxed);
        let looks = watcher.join();
        (report, looks, cpu)
    });
    let report = report?;
    report.expect(&[202])?;
    let looks = looks.map_err(|_panic| Failure::new("the watcher panicked"))??;
    let [begin, end] = <[_; 2]>::try_from(cpu).map_err(|_e| Failure::new("a run has two marks"))?;
    let (mut rates, mut behind) = (Vec::new(), Vec::new());
    for slice in looks.chunks_exact((looks.len() / SLICES).max(2)).take(SLICES) {
        if let [first, .., last] = slice {
            let seconds = (last.at - first.at) as f64 / 1e9;
            rates.push((last.documents - first.documents) as f64 / seconds);
            let worst = slice.iter().filter_map(|look| look.behind).reduce(f64::max);
            behind.extend(worst);
        }
    }
    Ok(Slices {
        rates,
        behind,
        report,
        cpu: end?.seconds_since(&begin?),
    })
}

/// One look at a run.
struct Look {
    at: u64,
    documents: u64,
    behind: Option<f64>,
}

fn watch(
    index: Option<Index>,
    documents: &AtomicU64,
    measuring: &AtomicBool,
    over: &AtomicBool,
) -> Result<Vec<Look>> {
    let mut looks = Vec::new();
    while !over.load(Ordering::Relaxed) {
        std::thread::sleep(LOOK_EVERY);
        if measuring.load(Ordering::Relaxed) {
            looks.push(Look {
                behind: index.as_ref().map(Index::behind).transpose()?,
                at: monotonic_ns(),
                documents: documents.load(Ordering::Relaxed),
            });
        }
    }
    Ok(looks)
}

/// The stores' files, read beside their owners.
struct Index {
    docs: Connection,
    bus: Connection,
    outbox: Connection,
}

impl Index {
    fn open(platform: &Platform) -> Result<Self> {
        let open = |file: &str| {
            let path = platform.folder().join(".royalcrown/data").join(file);
            let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let conn = Connection::open_with_flags(path, flags)?;
            conn.busy_timeout(Duration::from_secs(5))?;
            Ok::<_, Failure>(conn)
        };
        Ok(Self {
            docs: open("docs-api/docs.db")?,
            bus: open("ingest/bus.db")?,
            outbox: open("ingest/ingest.db")?,
        })
    }

    /// The age in seconds of the oldest event that is not in the index. Positions of the bus are those of its
    /// one outbox, so what the relay has not moved yet is found there.
    fn behind(&self) -> Result<f64> {
        let next = "SELECT time_ms FROM bus WHERE seq > ?1 ORDER BY seq LIMIT 1";
        let unmoved = "SELECT time_ms FROM outbox WHERE pos > ?1 ORDER BY pos LIMIT 1";
        let position: Option<i64> =
            self.docs
                .query_row("SELECT max(seq) FROM consumer_positions", [], |row| row.get(0))?;
        let position = position.unwrap_or(0);
        let ask = |conn: &Connection, sql: &str| {
            let oldest = conn
                .prepare_cached(sql)?
                .query_row([position], |row| row.get::<_, i64>(0));
            Ok::<_, Failure>(oldest.optional()?)
        };
        let oldest = match ask(&self.bus, next)? {
            Some(oldest) => Some(oldest),
            None => ask(&self.outbox, unmoved)?,
        };
        let now = (unix_ns() / 1_000_000).cast_signed();
        Ok(oldest.map_or(0.0, |oldest| (now - oldest).max(0) as f64 / 1000.0))
    }
}

/// Streams at half load, while probes ask how long single documents take until they are found.
fn searchable(
    platform: &Platform,
    texts: &Arc<Texts>,
    rate: f64,
    span: Duration,
    figures: &mut Figures,
) -> Result<()> {
    let found: Mutex<Vec<(u64, f64)>> = Mutex::new(Vec::new());
    let over = AtomicBool::new(false);
    let start = monotonic_ns();
    let (slices, probes) = std::thread::scope(|scope| {
        let probes: Vec<_> = (0..PROBES)
            .map(|number| {
                let (found, over) = (&found, &over);
                scope.spawn(move || probe(platform, number, found, over))
            })
            .collect();
        let slices = stream(platform, texts, rate, span, None);
        over.store(true, Ordering::Relaxed);
        let probes: Vec<_> = probes
            .into_iter()
            .map(std::thread::ScopedJoinHandle::join)
            .collect();
        (slices, probes)
    });
    let slices = slices?;
    for probe in probes {
        probe.map_err(|_panic| Failure::new("a probe panicked"))??;
    }
    let found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    let group = format!("ingested to searchable at {rate} documents a second");
    let width = (monotonic_ns() - start) / SLICES as u64 + 1;
    for slice in 0..SLICES as u64 {
        let mut values: Vec<f64> = found
            .iter()
            .filter(|(at, _)| (at - start) / width == slice)
            .map(|(_, milliseconds)| *milliseconds)
            .collect();
        values.sort_by(f64::total_cmp);
        let quantile = |share: f64| {
            let place = (values.len() as f64 * share).ceil() as usize;
            values.get(place.saturating_sub(1)).copied()
        };
        let (Some(median), Some(high)) = (quantile(0.5), quantile(0.99)) else {
            continue;
        };
        figures.push(&group, "p50", Unit::Milliseconds, median);
        let figure = figures.push(&group, "p99", Unit::Milliseconds, high);
        figure.at_most(SEARCHABLE_MS_MAX);
        figure.judged_by_worst();
        figures.push(&group, "documents probed", Unit::Count, values.len() as f64);
    }
    for value in slices.rates {
        figures.push(&group, "acknowledged documents", Unit::PerSecond, value);
    }
    Ok(())
}

/// Writes documents with a word of their own and searches for it, until it is `over`.
fn probe(
    platform: &Platform,
    number: usize,
    found: &Mutex<Vec<(u64, f64)>>,
    over: &AtomicBool,
) -> Result<()> {
    let mut client = Client::connect(platform.address)?;
    let mut count = 0_u64;
    while !over.load(Ordering::Relaxed) {
        let id = format!("probe{number}x{count}");
        count += 1;
        let body = format!("{{\"id\":\"{id}\",\"text\":\"probe {id}\"}}");
        let mut write = Vec::new();
        post(
            &platform.key,
            "/ingest",
            "application/json",
            &id,
            &body,
            &mut write,
        );
        let mut ask = Vec::new();
        search(&platform.key, &id, &mut ask);
        let (status, _) = client.call(&write)?;
        if status != 202 {
            return Err(Failure::new(format!("a probe's document got {status}")));
        }
        let acknowledged = monotonic_ns();
        loop {
            let (status, answer) = client.call(&ask)?;
            if status != 200 {
                return Err(Failure::new(format!("a probe's search got {status}")));
            }
            let answer: serde_json::Value = serde_json::from_slice(&answer)?;
            if answer["hits"].as_array().is_some_and(|hits| !hits.is_empty()) {
                break;
            }
            std::thread::sleep(PROBE_EVERY);
        }
        let now = monotonic_ns();
        let took = Duration::from_nanos(now - acknowledged);
        {
            let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
            // Documents that would have come while this one was waited for would have waited too: each counts
            // (the correction for coordinated omission that HdrHistogram makes).
            let mut waited = took;
            loop {
                found.push((now, waited.as_secs_f64() * 1e3));
                match waited.checked_sub(PROBE_INTERVAL) {
                    Some(rest) if !rest.is_zero() => waited = rest,
                    _ => break,
                }
            }
        }
        std::thread::sleep(PROBE_INTERVAL.saturating_sub(took));
    }
    Ok(())
}
