//! Ingest beside plain inserts and binary `COPY`, on both stores.
//!
//! Every measurement starts on empty tables: the platform's own in a fresh project, the peers in a database
//! that `rc migrate` has just prepared. All use all cores.

use std::sync::Arc;
use std::time::Duration;

use rc_model::clock::monotonic_ns;
use rc_test::Postgres;

use super::{Options, require_real_disk};
use crate::client::Client;
use crate::failure::{Failure, Result};
use crate::figures::{Figures, Measured, Unit};
use crate::load::{self, Arrivals, Load, Report};
use crate::naive::postgres::Way;
use crate::naive::{postgres, sqlite};
use crate::platform::{Platform, Project, migrate};
use crate::requests::{Documents, ingest_requests, post};
use crate::text::{SEED, Texts};

/// Rounds of everything.
const ROUNDS: usize = 5;

/// Connections of the naive peer, and of our own singles.
const SINGLES: usize = 16;

/// More of our own singles.
const SINGLES_MANY: usize = 64;

/// Documents in a batch.
const ITEMS: usize = 500;

/// Connections that send batches.
const BATCHES: usize = 4;

/// Gateway and ingest without docs-api: log and document table alone.
pub(in crate::subject) const WITHOUT_SEARCH: &str = "  gateway:\n    tier: gold\n    owner: bench\n  ingest:\n    tier: silver\n    \
                                         owner: bench\n";

/// Least of batches to naive singles, to our own coalesced singles, and to `COPY`.
const TIMES_SINGLES_MIN: f64 = 10.0;
const TIMES_COALESCED_MIN: f64 = 2.0;
const OF_COPY_MIN: f64 = 0.5;

/// Where a round stores.
#[derive(Clone, Copy)]
enum Store<'s> {
    Sqlite,
    Postgres(&'s Postgres),
}

/// One round on one store.
struct Round<'r> {
    options: &'r Options,
    texts: &'r Arc<Texts>,
    store: Store<'r>,
    span: Duration,
    number: usize,
    figures: &'r mut Figures,
}

pub(super) fn measure(options: &Options) -> Result<Measured> {
    // PostgreSQL's files are in the one, SQLite's in the other.
    require_real_disk(&std::env::temp_dir())?;
    require_real_disk(&options.scratch)?;
    let texts = Arc::new(Texts::new(SEED));
    let server = Postgres::start_durable();
    let rounds = if options.quick { 1 } else { ROUNDS };
    let mut figures = Figures::default();
    for store in [Store::Sqlite, Store::Postgres(&server)] {
        for number in 0..rounds {
            let name = store.name();
            crate::say(&format!("ingest on {name}, round {} of {rounds}", number + 1));
            Round {
                options,
                texts: &texts,
                store,
                span: Duration::from_millis(if options.quick { 1_200 } else { 3_000 }),
                number,
                figures: &mut figures,
            }
            .run()?;
        }
    }
    Ok(Measured {
        method: format!(
            "Documents of 600 bytes of text from the generator in `bench/documents.md`, durable when acknowledged: a \
             wait for the disk at every commit. Ours go through the gateway, with keys, limits, validation, \
             idempotency and the relay to the bus; batches have {ITEMS} documents over {BATCHES} connections. The \
             naive peer writes one document and its outbox row a transaction over {SINGLES} connections; `COPY` is \
             binary, {ITEMS} documents a transaction, as a superuser; both write into the tables that `rc migrate` \
             made, with the same indexes, and do nothing else. Medians of {rounds} rounds of {span} s, each on empty \
             tables. Without search, docs-api does not run; with search, a third of \
             that time is sent, and the clock stops when the last document can be found.",
            span = if options.quick { 1.2 } else { 3.0 },
        ),
        rounds_min: ROUNDS,
        figures: figures.into_rows(),
    })
}

impl Store<'_> {
    fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "SQLite",
            Self::Postgres(_) => "PostgreSQL",
        }
    }
}

/// What a round measures, each on stores of its own.
#[derive(Debug, Clone, Copy)]
enum Step {
    Naive,
    /// SQLite has one writer: connections that wait for each other may be slower than a single one.
    NaiveAlone,
    Singles(usize),
    Batches,
    Searchable,
    Copy(usize),
    CopyAndIndex,
}

/// The rates of one round, documents a second.
#[derive(Debug, Default)]
struct Rates {
    naive: f64,
    naive_alone: f64,
    coalesced: Vec<(usize, f64)>,
    batches: f64,
    generator_cpu: f64,
    searchable: f64,
    copy: f64,
    copy_alone: f64,
    copy_and_index: f64,
}

impl Round<'_> {
    fn run(&mut self) -> Result<()> {
        let mut steps = vec![
            Step::Naive,
            Step::NaiveAlone,
            Step::Singles(SINGLES),
            Step::Singles(SINGLES_MANY),
            Step::Batches,
            Step::Searchable,
        ];
        if matches!(self.store, Store::Postgres(_)) {
            steps.extend([Step::Copy(BATCHES), Step::Copy(1), Step::CopyAndIndex]);
        }
        // Another one goes first in each round: whoever comes later finds caches and checkpoints of the others.
        let first = self.number * 2 % steps.len();
        steps.rotate_left(first);
        let mut rates = Rates::default();
        for step in steps {
            self.step(step, &mut rates)?;
        }
        self.push(&rates);
        Ok(())
    }

    fn step(&self, step: Step, rates: &mut Rates) -> Result<()> {
        let items = ITEMS;
        match step {
            Step::Naive => rates.naive = self.naive(Way::Singles, SINGLES)?,
            Step::NaiveAlone => rates.naive_alone = self.naive(Way::Singles, 1)?,
            Step::Singles(connections) => {
                let rate = self.ours(false, connections, 1)?.rate;
                rates.coalesced.push((connections, rate));
                rates.coalesced.sort_by_key(|(connections, _)| *connections);
            }
            Step::Batches => {
                let batches = self.ours(false, BATCHES, items)?;
                rates.batches = batches.rate;
                rates.generator_cpu = batches.generator_cpu;
            }
            Step::Searchable => rates.searchable = self.ours(true, BATCHES, items)?.searchable,
            Step::Copy(1) => rates.copy_alone = self.naive(Way::Copy { items }, 1)?,
            Step::Copy(connections) => rates.copy = self.naive(Way::Copy { items }, connections)?,
            Step::CopyAndIndex => rates.copy_and_index = self.naive(Way::CopyAndIndex { items }, BATCHES)?,
        }
        Ok(())
    }

    fn push(&mut self, rates: &Rates) {
        let group = self.store.name();
        let mut push = |name: &str, unit: Unit, value: f64| {
            self.figures.push(group, name, unit, value);
        };
        let name = format!("naive singles, one commit each, {SINGLES} connections");
        push(&name, Unit::PerSecond, rates.naive);
        let name = "naive singles, one commit each, 1 connection";
        push(name, Unit::PerSecond, rates.naive_alone);
        let mut coalesced = 0.0_f64;
        for (connections, rate) in &rates.coalesced {
            let name = format!("our coalesced singles, {connections} connections");
            push(&name, Unit::PerSecond, *rate);
            coalesced = coalesced.max(*rate);
        }
        push(&format!("our batches of {ITEMS}"), Unit::PerSecond, rates.batches);
        let name = "our batches with search, until the last one can be found";
        push(name, Unit::PerSecond, rates.searchable);
        let name = "the generator's own CPU a document of a batch";
        push(name, Unit::Microseconds, rates.generator_cpu * 1e6);
        let name = "our batches to our coalesced singles";
        let ratio = rates.batches / coalesced;
        let figure = self.figures.push(group, name, Unit::Times, ratio);
        figure.at_least(TIMES_COALESCED_MIN);
        // The better of the peers, however many connections it has.
        let name = "our batches to naive singles";
        let naive = rates.naive.max(rates.naive_alone);
        let ratio = self.figures.push(group, name, Unit::Times, rates.batches / naive);
        ratio.at_least(TIMES_SINGLES_MIN);
        if matches!(self.store, Store::Postgres(_)) {
            self.push_copies(rates);
        }
    }

    /// `COPY` with as many connections as ours; what one connection does is printed beside.
    fn push_copies(&mut self, rates: &Rates) {
        let group = self.store.name();
        let mut push = |name: &str, rate: f64| {
            self.figures.push(group, name, Unit::PerSecond, rate);
        };
        let name = format!("binary `COPY` in batches of {ITEMS}, {BATCHES} connections");
        push(&name, rates.copy);
        let name = format!("binary `COPY` in batches of {ITEMS}, 1 connection");
        push(&name, rates.copy_alone);
        let name = "binary `COPY`, and `to_tsvector` into the search's tables";
        push(name, rates.copy_and_index);
        let name = "our batches to binary `COPY`";
        let best = rates.copy.max(rates.copy_alone);
        let ratio = self.figures.push(group, name, Unit::Times, rates.batches / best);
        ratio.at_least(OF_COPY_MIN);
        let name = "our batches to binary `COPY`, both with search";
        let ratio = rates.searchable / rates.copy_and_index;
        self.figures.push(group, name, Unit::Times, ratio);
    }

    /// A peer on tables of its own.
    fn naive(&self, way: Way, connections: usize) -> Result<f64> {
        let folder = self.options.scratch.join(format!("naive-{}", self.number));
        let done = match self.store {
            Store::Sqlite => {
                // The embedded store's tables are made by the service that owns them.
                let project = Project {
                    services: Some(WITHOUT_SEARCH.to_owned()),
                    ..Project::default()
                };
                Platform::start(&self.options.rc, &folder, &project)?.stop()?;
                let file = folder.join(".royalcrown/data/ingest/ingest.db");
                sqlite::singles(&file, connections, self.span, self.texts)?
            }
            Store::Postgres(server) => {
                let database = server.fresh_database();
                let project = Project {
                    store_url: Some(database.url.clone()),
                    ..Project::default()
                };
                migrate(&self.options.rc, &folder, &project)?;
                let url = server.url("postgres", &database.name);
                let done = postgres::write(&url, way, connections, self.span, self.texts)?;
                forget(server, &database);
                done
            }
        };
        fs_err::remove_dir_all(&folder)?;
        Ok(done.rate())
    }

    /// The platform in a project of its own; `items` of 1 are singles.
    fn ours(&self, search: bool, connections: usize, items: usize) -> Result<Ours> {
        let folder = self.options.scratch.join(format!("ours-{}", self.number));
        let mut project = Project {
            services: (!search).then(|| WITHOUT_SEARCH.to_owned()),
            ..Project::default()
        };
        let database = match self.store {
            Store::Sqlite => None,
            Store::Postgres(server) => {
                let database = server.fresh_database();
                project.store_url = Some(database.url.clone());
                migrate(&self.options.rc, &folder, &project)?;
                Some((server, database))
            }
        };
        let platform = Platform::start(&self.options.rc, &folder, &project)?;
        let documents = Documents::new(self.texts, "doc");
        let mut requests = ingest_requests(&platform.key, documents, items);
        let load = Load {
            target: platform.address,
            connections,
            arrivals: Arrivals::Saturation,
            warm_up: Duration::ZERO,
            // What is sent in this time has to be indexed as well, and that takes longer.
            measured: if search { self.span / 3 } else { self.span },
        };
        let start = monotonic_ns();
        let report = load::run(&load, requests.as_mut(), &mut |_| {})?;
        report.expect(&[202])?;
        let mut ours = Ours::of(&report, items);
        if search {
            wait_until_indexed(&platform)?;
            let seconds = (monotonic_ns() - start) as f64 / 1e9;
            ours.searchable = report.classes[0].latency_us.len() as f64 * items as f64 / seconds;
        }
        platform.stop()?;
        if let Some((server, database)) = database {
            forget(server, &database);
        }
        fs_err::remove_dir_all(&folder)?;
        Ok(ours)
    }
}

/// What the platform did in one measurement.
struct Ours {
    /// Documents a second, acknowledged.
    rate: f64,
    /// Documents a second, searchable; 0 where nobody searches.
    searchable: f64,
    /// The generator's CPU seconds a document.
    generator_cpu: f64,
}

impl Ours {
    fn of(report: &Report, items: usize) -> Self {
        Self {
            rate: report.rate() * items as f64,
            searchable: 0.0,
            generator_cpu: report.generator_cpu / (report.completed as f64 * items as f64),
        }
    }
}

/// Returns when everything that was acknowledged can be found: the bus keeps the order of commits.
pub(in crate::subject) fn wait_until_indexed(platform: &Platform) -> Result<()> {
    /// A platform that needs more repeats of half a minute is not catching up.
    const TRIES: usize = 20;
    let mut client = Client::connect(platform.address)?;
    for number in 0..TRIES {
        let mut request = Vec::new();
        let id = format!("last-{}-{number}", monotonic_ns());
        let body = format!("{{\"id\":\"{id}\",\"text\":\"last\"}}");
        let path = "/ingest?wait=indexed&timeout=30s";
        post(&platform.key, path, "application/json", &id, &body, &mut request);
        match client.call(&request)? {
            (200, _) => return Ok(()),
            (202, _) => {}
            (status, body) => {
                let body = String::from_utf8_lossy(&body).into_owned();
                return Err(Failure::new(format!("the last document got {status}: {body}")));
            }
        }
    }
    Err(Failure::new("the search index does not catch up"))
}

/// Drops a database, so that a run does not fill the disk.
fn forget(server: &Postgres, database: &rc_test::Database) {
    server.admin(&[&format!("DROP DATABASE {} WITH (FORCE)", database.name)]);
}
