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
use crate::load::{self, Arrivals, Load, Report, Requests};
use crate::naive::postgres::Way;
use crate::naive::{postgres, sqlite};
use crate::platform::{Platform, Project, migrate};
use crate::requests::{Batches, Documents, Singles, post};
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
pub(super) const WITHOUT_SEARCH: &str = "  gateway:\n    tier: gold\n    owner: bench\n  ingest:\n    tier: silver\n    \
                                         owner: bench\n";

/// Least of batches to naive singles, and of batches to `COPY`.
const TIMES_SINGLES_MIN: f64 = 5.0;
const OF_COPY_MIN: f64 = 0.4;

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
    require_real_disk(&std::env::temp_dir())?;
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
                span: Duration::from_millis(if options.quick { 400 } else { 3_000 }),
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
             tables. Without search, docs-api does not run; with search, a third of that time is sent and the clock stops when the last \
             document can be found.",
            span = if options.quick { 0.4 } else { 3.0 },
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

impl Round<'_> {
    fn run(&mut self) -> Result<()> {
        let group = self.store.name();
        let naive = self.naive(Way::Singles, SINGLES)?;
        let name = format!("naive singles, one commit each, {SINGLES} connections");
        self.figures.push(group, &name, Unit::PerSecond, naive);

        let mut coalesced = 0.0_f64;
        for connections in [SINGLES, SINGLES_MANY] {
            let rate = self.ours(false, connections, 1)?.rate;
            let name = format!("our coalesced singles, {connections} connections");
            self.figures.push(group, &name, Unit::PerSecond, rate);
            coalesced = coalesced.max(rate);
        }
        let batches = self.ours(false, BATCHES, ITEMS)?;
        let name = format!("our batches of {ITEMS}");
        self.figures.push(group, &name, Unit::PerSecond, batches.rate);
        let ratio = "our batches to naive singles";
        let ratio = self.figures.push(group, ratio, Unit::Times, batches.rate / naive);
        ratio.at_least(TIMES_SINGLES_MIN);
        let ratio = "our batches to our coalesced singles";
        self.figures
            .push(group, ratio, Unit::Times, batches.rate / coalesced);

        let searchable = self.ours(true, BATCHES, ITEMS)?;
        let name = "our batches with search, until the last one can be found";
        self.figures
            .push(group, name, Unit::PerSecond, searchable.searchable);
        if matches!(self.store, Store::Postgres(_)) {
            self.copies(batches.rate, searchable.searchable)?;
        }
        let name = "the generator's own CPU a document of a batch";
        let micros = batches.generator_cpu * 1e6;
        self.figures.push(group, name, Unit::Microseconds, micros);
        Ok(())
    }

    /// `COPY` with as many connections as ours; what one connection does is printed beside.
    fn copies(&mut self, batches: f64, searchable: f64) -> Result<()> {
        let group = self.store.name();
        let items = ITEMS;
        let plain = self.naive(Way::Copy { items }, BATCHES)?;
        let alone = self.naive(Way::Copy { items }, 1)?;
        let indexed = self.naive(Way::CopyAndIndex { items }, BATCHES)?;
        let mut push = |name: String, rate| {
            self.figures.push(group, &name, Unit::PerSecond, rate);
        };
        push(
            format!("binary `COPY` in batches of {ITEMS}, {BATCHES} connections"),
            plain,
        );
        push(
            format!("binary `COPY` in batches of {ITEMS}, 1 connection"),
            alone,
        );
        push(
            "binary `COPY`, and `to_tsvector` into the search's tables".to_owned(),
            indexed,
        );
        let name = "our batches to binary `COPY`";
        let ratio = self
            .figures
            .push(group, name, Unit::Times, batches / plain.max(alone));
        ratio.at_least(OF_COPY_MIN);
        let name = "our batches to binary `COPY`, both with search";
        self.figures.push(group, name, Unit::Times, searchable / indexed);
        Ok(())
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
        let mut requests: Box<dyn Requests> = if items == 1 {
            Box::new(Singles::new(&platform.key, documents))
        } else {
            Box::new(Batches::new(&platform.key, documents, items))
        };
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
pub(super) fn wait_until_indexed(platform: &Platform) -> Result<()> {
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
