//! The generated half of `docs/query-profile.md`: a load that runs every statement of ingest and docs-api, and what
//! `rc db profile` and `rc db advise` say afterwards, on both stores.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rc_test::Postgres;

use crate::failure::Result;
use crate::load::{self, Arrivals, Load, Requests};
use crate::platform::{Platform, Project, migrate};
use crate::requests::{Documents, MIXED, Mix, Searches};
use crate::subject::mixed::{RUN, fill};
use crate::text::{SEED, Texts};

/// Documents that are ingested, in batches.
const LOADED: u64 = 20_000;

/// How long each kind of request is sent.
const SPAN: Duration = Duration::from_secs(5);

const CONNECTIONS: usize = 4;

/// Statements that are shown of each store, with their plans.
const SHOWN: &str = "12";

pub(crate) fn page(rc: &Path, scratch: &Path) -> Result<String> {
    let server = Postgres::start_durable();
    let mut page = String::new();
    for (name, store_url) in [
        ("PostgreSQL", Some(server.fresh_database().url)),
        ("SQLite", None),
    ] {
        crate::say(name);
        let folder = scratch.join(name);
        let project = Project {
            store_url,
            ..Project::default()
        };
        if project.store_url.is_some() {
            migrate(rc, &folder, &project)?;
        }
        let platform = Platform::start(rc, &folder, &project)?;
        use_it(&platform)?;
        let profile = platform.text(&["db", "profile", "--plans", "--markdown", "--top", SHOWN])?;
        let advice = platform.text(&["db", "advise"])?;
        write!(
            page,
            "\n### {name}\n\n{}\n\n#### Advice\n\n```text\n{}\n```\n",
            profile.trim_end(),
            advice.trim_end()
        )
        .expect("writing to a string cannot fail");
        platform.stop()?;
    }
    Ok(page)
}

fn use_it(platform: &Platform) -> Result<()> {
    let texts = Arc::new(Texts::new(SEED));
    fill(platform, &texts, LOADED)?;
    let queries = texts.queries(SEED);
    let searches = |queries: Vec<String>| Searches {
        key: platform.key.clone(),
        queries,
        next: 0,
    };
    let pairs = queries.iter().filter(|query| !query.starts_with('"'));
    let ranked = pairs.map(|query| query.replace(' ', " OR ")).collect();
    let fresh = Documents::new(&texts, "fresh");
    let mut mix = Mix::new(MIXED, searches(queries.clone()), fresh, (RUN, LOADED), 0);
    let (mut ranked, mut phrases) = (searches(ranked), searches(texts.common_phrases(SEED)));
    let kinds: [&mut dyn Requests; 3] = [&mut mix, &mut ranked, &mut phrases];
    for requests in kinds {
        let load = Load {
            target: platform.address,
            connections: CONNECTIONS,
            arrivals: Arrivals::Saturation,
            warm_up: Duration::ZERO,
            measured: SPAN,
        };
        load::run(&load, requests, &mut |_| {})?.expect(&[200, 202])?;
    }
    Ok(())
}
