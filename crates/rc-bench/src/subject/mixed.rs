//! Reads, searches and writes together at 100,000 documents, on both stores; and searches alone.

use std::sync::Arc;
use std::time::Duration;

use rc_test::Postgres;

use super::ingest::wait_until_indexed;
use super::{Options, require_real_disk};
use crate::client::Client;
use crate::failure::{Failure, Result};
use crate::figures::{Figures, Measured, Unit};
use crate::load::{self, Arrivals, Load, Report, Requests};
use crate::platform::{Platform, Project, migrate};
use crate::procs::CpuTime;
use crate::requests::{Batches, Documents, GET, INGEST, MIXED, Mix, SEARCH, Searches};
use crate::text::{SEED, Texts};

/// Documents that are there before anything is measured.
pub(super) const LOADED: u64 = 100_000;

/// What their ids begin with.
pub(crate) const RUN: &str = "doc";

/// Rounds of everything.
const ROUNDS: usize = 5;

/// Requests a second of the mixed load.
const RPS: f64 = 500.0;

/// Connections that carry any load here.
const CONNECTIONS: usize = 32;

/// 99th percentile of each kind of request, embedded.
const P99_MS_MAX: f64 = 20.0;

/// Searches a second when they are alone.
const SEARCH_RPS: f64 = 50.0;

/// Connections that search as fast as they get answers.
const SEARCHERS: usize = 8;

pub(super) fn measure(options: &Options) -> Result<Measured> {
    // PostgreSQL's files are in the one, SQLite's in the other.
    require_real_disk(&std::env::temp_dir())?;
    require_real_disk(&options.scratch)?;
    let texts = Arc::new(Texts::new(SEED));
    let mut figures = Figures::default();

    crate::say("mixed, on SQLite");
    let folder = options.scratch.join("sqlite");
    let platform = Platform::start(&options.rc, &folder, &Project::default())?;
    on_store(options, &platform, &texts, "SQLite", &mut figures)?;
    platform.stop()?;

    crate::say("mixed, on PostgreSQL");
    let server = Postgres::start_durable();
    let database = server.fresh_database();
    let project = Project {
        store_url: Some(database.url),
        ..Project::default()
    };
    let folder = options.scratch.join("postgres");
    migrate(&options.rc, &folder, &project)?;
    let platform = Platform::start(&options.rc, &folder, &project)?;
    on_store(options, &platform, &texts, "PostgreSQL", &mut figures)?;
    platform.stop()?;
    drop(server);

    Ok(Measured {
        method: format!(
            "{loaded} documents of 600 bytes of text, loaded before; then {RPS} requests a second (open loop) over \
             {CONNECTIONS} connections: 70 % `GET /docs/{{id}}` of any of them, 20 % `GET /search` from the list in \
             `bench/queries.txt` (by turns two words that must both be there, and a phrase of two), 10 % `POST \
             /ingest` of a new one, durable when acknowledged. {ROUNDS} rounds of {span} s. Searches alone: \
             {SEARCH_RPS} a second (open loop) from that list, the same list with `OR` between the words of each \
             pair, where every match is ranked, phrases of any two neighbours, and \
             {SEARCHERS} connections as fast as answers come. All \
             processes and the generator share all cores; CPU is of the platform's own processes, without those \
             of PostgreSQL.",
            loaded = documents(options),
            span = span(options).as_secs_f64(),
        ),
        rounds_min: ROUNDS,
        figures: figures.into_rows(),
    })
}

fn documents(options: &Options) -> u64 {
    if options.quick { 2_000 } else { LOADED }
}

fn span(options: &Options) -> Duration {
    Duration::from_millis(if options.quick { 500 } else { 10_000 })
}

fn on_store(
    options: &Options,
    platform: &Platform,
    texts: &Arc<Texts>,
    store: &str,
    figures: &mut Figures,
) -> Result<()> {
    let loaded = documents(options);
    fill(platform, texts, loaded)?;
    let queries = texts.queries(SEED);
    // Phrases stay as they are in the list, and are left out of this one.
    let ranked = queries
        .iter()
        .filter(|query| !query.starts_with('"'))
        .map(|query| query.replace(' ', " OR "));
    let ranked: Vec<String> = ranked.collect();
    let common = texts.common_phrases(SEED);
    let searches = |queries: &[String]| Searches {
        key: platform.key.clone(),
        queries: queries.to_vec(),
        next: 0,
    };
    let rounds = if options.quick { 1 } else { ROUNDS };
    let (all, short) = (span(options), span(options) / 3);
    for round in 0..rounds {
        crate::say(&format!("round {} of {rounds}", round + 1));
        let fresh = Documents::new(texts, &format!("fresh{round}"));
        let mut mix = Mix::new(MIXED, searches(&queries), fresh, (RUN, loaded), round as u64);
        let (report, cpu) = run(platform, Arrivals::Rate(RPS), CONNECTIONS, all, &mut mix)?;
        let group = format!("{RPS} mixed requests a second, {store}");
        for (name, class) in [
            ("`GET /docs/{id}`", GET),
            ("`GET /search`", SEARCH),
            ("`POST /ingest`", INGEST),
        ] {
            let row = format!("{name}, p50");
            figures.push(&group, &row, Unit::Milliseconds, report.latency_ms(class, 0.5));
            let row = format!("{name}, p99");
            let figure = figures.push(&group, &row, Unit::Milliseconds, report.latency_ms(class, 0.99));
            if store == "SQLite" {
                figure.at_most(P99_MS_MAX);
            }
        }
        figures.push(&group, "answers", Unit::PerSecond, report.rate());
        push_cpu(figures, &group, &report, cpu);

        for (name, list) in [
            ("of the list", &queries),
            ("with `OR`, ranked", &ranked),
            ("for phrases with the commonest words", &common),
        ] {
            let arrivals = Arrivals::Rate(SEARCH_RPS);
            let (report, cpu) = run(platform, arrivals, CONNECTIONS, short, &mut searches(list))?;
            let group = format!("{SEARCH_RPS} searches a second {name}, {store}");
            for (row, quantile) in [("p50", 0.5), ("p99", 0.99)] {
                figures.push(&group, row, Unit::Milliseconds, report.latency_ms(0, quantile));
            }
            push_cpu(figures, &group, &report, cpu);
        }
        let group = format!("searches alone at saturation (closed loop), {store}");
        let (report, cpu) = run(
            platform,
            Arrivals::Saturation,
            SEARCHERS,
            short,
            &mut searches(&queries),
        )?;
        figures.push(&group, "answers", Unit::PerSecond, report.rate());
        push_cpu(figures, &group, &report, cpu);
    }
    Ok(())
}

fn push_cpu(figures: &mut Figures, group: &str, report: &Report, cpu: f64) {
    let micros = |seconds: f64| seconds * 1e6 / report.completed as f64;
    figures.push(
        group,
        "CPU of the platform, a request",
        Unit::Microseconds,
        micros(cpu),
    );
    let own = micros(report.generator_cpu);
    figures.push(
        group,
        "the generator's own CPU, a request",
        Unit::Microseconds,
        own,
    );
}

/// One load on a platform: what was seen, and the CPU seconds of all its processes.
pub(super) fn run(
    platform: &Platform,
    arrivals: Arrivals,
    connections: usize,
    measured: Duration,
    requests: &mut dyn Requests,
) -> Result<(Report, f64)> {
    let load = Load {
        target: platform.address,
        connections,
        arrivals,
        warm_up: measured / 10,
        measured,
    };
    let processes = platform.processes()?;
    let mut cpu = Vec::new();
    let report = load::run(&load, requests, &mut |_| cpu.push(CpuTime::of(&processes)))?;
    report.expect(&[200, 202])?;
    let [begin, end] = <[_; 2]>::try_from(cpu).map_err(|_e| Failure::new("a run has two marks"))?;
    Ok((report, end?.seconds_since(&begin?)))
}

/// Loads the documents of [`RUN`] and returns when all can be found.
pub(crate) fn fill(platform: &Platform, texts: &Arc<Texts>, count: u64) -> Result<()> {
    /// Documents in a batch.
    const ITEMS: usize = 500;
    let mut client = Client::connect(platform.address)?;
    let mut batches = Batches::new(&platform.key, Documents::new(texts, RUN), ITEMS);
    while batches.documents.next < count {
        let mut request = Vec::new();
        batches.next(&mut request);
        let (status, body) = client.call(&request)?;
        if status != 202 {
            let body = String::from_utf8_lossy(&body).into_owned();
            return Err(Failure::new(format!("a batch got {status}: {body}")));
        }
    }
    wait_until_indexed(platform)
}
