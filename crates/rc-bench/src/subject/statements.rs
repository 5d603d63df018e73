//! The slowest statements of a build beside those of a former one, on PostgreSQL: each request here is as slow as the
//! one statement that it is about.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rc_test::Postgres;

use super::mixed::{RUN, fill};
use super::{Options, require_real_disk};
use crate::failure::{Failure, Result};
use crate::figures::{Figures, Measured, Unit};
use crate::load::{self, Arrivals, Load, Requests};
use crate::platform::{Platform, Project, migrate};
use crate::requests::{Batches, Documents, Searches, ingest_requests};
use crate::text::{SEED, Texts};

/// Documents that are there before anything is measured.
const LOADED: u64 = 50_000;

const ROUNDS: usize = 5;

/// How long each kind of request is sent to each build in a round.
const SPAN: Duration = Duration::from_secs(4);

/// p95 to the former build's.
const RATIO_MAX: f64 = 0.85;

/// Items of a batch whose end is waited for: the projector applies it as one.
const ITEMS: usize = 500;

pub(super) fn measure(options: &Options) -> Result<Measured> {
    require_real_disk(&std::env::temp_dir())?;
    require_real_disk(&options.scratch)?;
    let former = options
        .former
        .as_deref()
        .ok_or_else(|| Failure::new("`statements` needs `--former`, a build to compare with"))?;
    let texts = Arc::new(Texts::new(SEED));
    let loaded = if options.quick { 2_000 } else { LOADED };
    let server = Postgres::start_durable();
    let start = |rc: &Path, name: &str| -> Result<Platform> {
        crate::say(&format!("{loaded} documents for the {name} build"));
        let project = Project {
            store_url: Some(server.fresh_database().url),
            ..Project::default()
        };
        let folder = options.scratch.join(name);
        migrate(rc, &folder, &project)?;
        let platform = Platform::start(rc, &folder, &project)?;
        fill(&platform, &texts, loaded)?;
        Ok(platform)
    };
    let builds = [start(former, "former")?, start(&options.rc, "new")?];
    let (rounds, span) = match options.quick {
        true => (1, SPAN / 8),
        false => (ROUNDS, SPAN),
    };
    let mut figures = Figures::default();
    for round in 0..rounds {
        crate::say(&format!("round {} of {rounds}", round + 1));
        for kind in Kind::ALL {
            let mut p95 = [0.0; 2];
            // The one that comes first has a colder cache: it is another one in each round.
            for turn in 0..2 {
                let build = (round + turn) % 2;
                let mut requests = kind.requests(&builds[build], &texts, round);
                p95[build] = one(&builds[build], span, requests.as_mut())?;
            }
            let [before, after] = p95;
            let group = kind.name();
            figures.push(group, "p95, the former build", Unit::Milliseconds, before);
            figures.push(group, "p95", Unit::Milliseconds, after);
            figures
                .push(group, "p95 to the former build's", Unit::Times, after / before)
                .at_most(RATIO_MAX);
        }
    }
    for build in builds {
        build.stop()?;
    }
    Ok(Measured {
        method: format!(
            "Two builds, each with {loaded} documents of 600 bytes of text in a database of its own on one PostgreSQL, \
             by turns: {rounds} rounds of {} s for each kind of request and each build, over one connection as fast \
             as answers come. Each kind is as slow as the statement that its title names; ratios are taken within a \
             round.",
            span.as_secs_f64()
        ),
        rounds_min: ROUNDS,
        figures: figures.into_rows(),
    })
}

/// What is asked, by the statement that answers it.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Phrase,
    Ranked,
    Pairs,
    Batch,
    Single,
}

impl Kind {
    const ALL: [Self; 5] = [Self::Phrase, Self::Ranked, Self::Pairs, Self::Batch, Self::Single];

    fn name(self) -> &'static str {
        match self {
            Self::Phrase => "`SELECT search`: a phrase with the commonest words",
            Self::Ranked => "`SELECT search`: two words with `OR`, every match ranked",
            Self::Pairs => "`SELECT search`: two words that must both be there, and phrases of rarer ones",
            Self::Batch => "`INSERT search`: 500 documents until they can be found",
            Self::Single => "`INSERT documents`: one document, durable",
        }
    }

    fn requests(self, platform: &Platform, texts: &Arc<Texts>, round: usize) -> Box<dyn Requests> {
        let searches = |queries: Vec<String>| -> Box<dyn Requests> {
            Box::new(Searches {
                key: platform.key.clone(),
                queries,
                next: 0,
            })
        };
        match self {
            Self::Phrase => searches(texts.common_phrases(SEED)),
            Self::Ranked => {
                let pairs = texts
                    .queries(SEED)
                    .into_iter()
                    .filter(|query| !query.starts_with('"'));
                searches(pairs.map(|query| query.replace(' ', " OR ")).collect())
            }
            Self::Pairs => searches(texts.queries(SEED)),
            Self::Batch => {
                let documents = Documents::new(texts, &format!("{RUN}-batch{round}"));
                Box::new(Batches::new(&platform.key, documents, ITEMS).until_found())
            }
            Self::Single => {
                let documents = Documents::new(texts, &format!("{RUN}-single{round}"));
                ingest_requests(&platform.key, documents, 1)
            }
        }
    }
}

/// The 95th percentile of one kind of request, in milliseconds.
fn one(platform: &Platform, measured: Duration, requests: &mut dyn Requests) -> Result<f64> {
    let load = Load {
        target: platform.address,
        connections: 1,
        arrivals: Arrivals::Saturation,
        warm_up: measured / 10,
        measured,
    };
    let report = load::run(&load, requests, &mut |_| {})?;
    report.expect(&[200, 202])?;
    Ok(report.latency_ms(0, 0.95))
}
