//! What a tenant's surge does to another one's reads and searches, in this build and in a former one.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::Options;
use super::mixed::{RUN, fill};
use crate::failure::{Failure, Result};
use crate::figures::{Figures, Unit};
use crate::load::{self, Arrivals, Load, Report};
use crate::platform::{Platform, Project};
use crate::requests::{Documents, GET, Mix, SEARCH, Searches, Shares};
use crate::rig::joined;
use crate::rig::tenants::Tenants;
use crate::text::{SEED, Texts};

const GROUP: &str = "reads and searches of a tenant while another one surges";

/// Rounds of both builds.
const ROUNDS: usize = 5;

/// Documents of each of the two tenants.
const LOADED: u64 = 20_000;

/// Requests a second of the tenant that is measured: three reads for each search.
const RPS: f64 = 200.0;
const SHARES: Shares = Shares { get: 75, search: 25 };

/// Connections of the tenant that surges, each with a search at all times.
const SURGE_CONNECTIONS: usize = 64;

/// Most of this build's p99 to the former one's.
const RATIO_MAX: f64 = 0.9;

/// Whom the measured requests belong to.
const STEADY: &str = "steady";

/// Measures both builds in turn, in real surroundings: all processes on all cores.
pub(super) fn measure(options: &Options, former: &Path, figures: &mut Figures) -> Result<()> {
    let texts = Arc::new(Texts::new(SEED));
    let loaded = if options.quick { 500 } else { LOADED };
    let builds = [
        (
            "this build",
            Surged::start(&options.rc, &options.scratch.join("surge"), &texts, loaded)?,
        ),
        (
            "the former build",
            Surged::start(former, &options.scratch.join("surge-former"), &texts, loaded)?,
        ),
    ];
    let rounds = if options.quick { 1 } else { ROUNDS };
    for round in 0..rounds {
        crate::say(&format!("surge, round {} of {rounds}", round + 1));
        let mut reports: [Option<Report>; 2] = [None, None];
        for turn in 0..builds.len() {
            let place = (turn + round) % builds.len();
            reports[place] = Some(builds[place].1.one(&texts, loaded, round, options.quick)?);
        }
        let [Some(ours), Some(before)] = reports else {
            return Err(Failure::new("a round has both builds"));
        };
        for (what, class) in [("`GET /docs/{id}`", GET), ("`GET /search`", SEARCH)] {
            let latencies = [&ours, &before].map(|report| report.latency_ms(class, 0.99));
            for ((build, _), latency) in builds.iter().zip(latencies) {
                let row = format!("{what}, p99, {build}");
                figures.push(GROUP, &row, Unit::Milliseconds, latency);
            }
            let row = format!("{what}, p99 to the former build's");
            let figure = figures.push(GROUP, &row, Unit::Times, latencies[0] / latencies[1]);
            figure.at_most(RATIO_MAX);
        }
    }
    for (_, surged) in builds {
        surged.platform.stop()?;
    }
    Ok(())
}

/// A platform with two tenants and their documents.
struct Surged {
    platform: Platform,
    steady: String,
    surging: String,
}

impl Surged {
    fn start(rc: &Path, folder: &Path, texts: &Arc<Texts>, loaded: u64) -> Result<Self> {
        let mut tenants = Tenants::default();
        tenants.push(STEADY, "gold", 1_000_000);
        let project = Project {
            tenants,
            ..Project::default()
        };
        let mut platform = Platform::start(rc, folder, &project)?;
        fill(&platform, texts, loaded)?;
        let made = platform.rc(&["tenant", "key", "create", STEADY])?;
        let key = made["key"].as_str().map(str::to_owned);
        let steady = key.ok_or_else(|| Failure::new("`rc tenant key create` printed no key"))?;
        let surging = std::mem::replace(&mut platform.key, steady.clone());
        fill(&platform, texts, loaded)?;
        Ok(Self {
            platform,
            steady,
            surging,
        })
    }

    /// What the steady tenant saw in one window.
    fn one(&self, texts: &Arc<Texts>, loaded: u64, round: usize, quick: bool) -> Result<Report> {
        let queries = texts.queries(SEED);
        let searches = |key: &str| Searches {
            key: key.to_owned(),
            queries: queries.clone(),
            next: 0,
        };
        let load = |connections, arrivals| Load {
            target: self.platform.address,
            connections,
            arrivals,
            warm_up: Duration::from_millis(if quick { 100 } else { 1_000 }),
            measured: Duration::from_millis(if quick { 500 } else { 10_000 }),
        };
        std::thread::scope(|scope| {
            let surge = scope.spawn(|| {
                let load = load(SURGE_CONNECTIONS, Arrivals::Saturation);
                load::run(&load, &mut searches(&self.surging), &mut |_| {})
            });
            let fresh = Documents::new(texts, &format!("surge{round}"));
            let mut mix = Mix::new(SHARES, searches(&self.steady), fresh, (RUN, loaded), round as u64);
            let report = load::run(&load(32, Arrivals::Rate(RPS)), &mut mix, &mut |_| {})?;
            joined(surge)?;
            report.expect(&[200])?;
            Ok(report)
        })
    }
}
