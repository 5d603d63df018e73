//! What recording every trace costs: CPU time of all processes, on against off.

use std::sync::Arc;
use std::time::Duration;

use super::mixed::{LOADED, RUN, fill, run};
use super::{Options, require_real_disk};
use crate::failure::Result;
use crate::figures::{Figures, Measured, Unit};
use crate::load::Arrivals;
use crate::platform::{Platform, Project};
use crate::requests::{Documents, MIXED, Mix, Searches, Shares};
use crate::text::{SEED, Texts};

/// Requests a second.
const RPS: f64 = 2_000.0;

/// Connections that carry them.
const CONNECTIONS: usize = 64;

/// Pairs of one run with telemetry and one without.
const PAIRS: usize = 8;

/// Fewest pairs that say anything.
const PAIRS_MIN: usize = 6;

/// Highest cost.
const PERCENT_MAX: f64 = 5.0;

/// Where the machine does not carry [`MIXED`] at [`RPS`].
const MOSTLY_READS: Shares = Shares { get: 94, search: 4 };

/// Least part of the rate that must be answered, and the highest median latency, for a load that is carried.
const CARRIED: f64 = 0.99;
const CARRIED_P50_MS: f64 = 20.0;

pub(super) fn measure(options: &Options) -> Result<Measured> {
    require_real_disk(&options.scratch)?;
    let texts = Arc::new(Texts::new(SEED));
    let loaded = if options.quick { 2_000 } else { LOADED };
    let start = |traces: bool| {
        let folder = options.scratch.join(if traces { "on" } else { "off" });
        let project = Project {
            traces: Some(traces),
            ..Project::default()
        };
        let platform = Platform::start(&options.rc, &folder, &project)?;
        fill(&platform, &texts, loaded)?;
        Ok::<_, crate::failure::Failure>(platform)
    };
    crate::say("telemetry, loading");
    let platforms = [start(false)?, start(true)?];
    let mut round = 0_u64;
    let mut once = |platform: &Platform, shares: Shares, measured: Duration| {
        round += 1;
        let searches = Searches {
            key: platform.key.clone(),
            queries: texts.queries(SEED),
            next: 0,
        };
        let fresh = Documents::new(&texts, &format!("fresh{round}"));
        // Both halves of a pair send the same requests: the trial is number 1, warm-ups are 2 and 3, pairs follow.
        let mut mix = Mix::new(shares, searches, fresh, (RUN, loaded), round / 2);
        run(platform, Arrivals::Rate(RPS), CONNECTIONS, measured, &mut mix)
    };
    let measured = Duration::from_millis(if options.quick { 500 } else { 6_000 });
    let [silent, _] = &platforms;
    let (trial, _) = once(silent, MIXED, measured / 2)?;
    let carried = trial.rate() >= RPS * CARRIED && trial.latency_ms(0, 0.5) <= CARRIED_P50_MS;
    let shares = if carried { MIXED } else { MOSTLY_READS };

    // The first pair pays for what loading left to do, and is not counted.
    for platform in &platforms {
        once(platform, shares, measured)?;
    }

    let mut figures = Figures::default();
    let group = format!("{RPS} requests a second");
    let pairs = if options.quick { 1 } else { PAIRS };
    for pair in 0..pairs {
        crate::say(&format!("telemetry, pair {} of {pairs}", pair + 1));
        let mut micros = [f64::NAN; 2];
        let mut own = 0.0;
        for turn in 0..2 {
            // Off first and on first by turns.
            let place = (turn + pair) % 2;
            let (report, cpu) = once(&platforms[place], shares, measured)?;
            micros[place] = cpu * 1e6 / report.completed as f64;
            own += report.generator_cpu * 1e6 / report.completed as f64 / 2.0;
            let name = ["latency p99, telemetry off", "latency p99, telemetry on"][place];
            let all = report
                .classes
                .iter()
                .map(|class| class.latency_us.value_at_quantile(0.99));
            let worst = all.max().unwrap_or(0) as f64 / 1000.0;
            figures.push(&group, name, Unit::Milliseconds, worst);
        }
        let [off, on] = micros;
        figures.push(
            &group,
            "CPU of the platform a request, telemetry off",
            Unit::Microseconds,
            off,
        );
        figures.push(
            &group,
            "CPU of the platform a request, telemetry on",
            Unit::Microseconds,
            on,
        );
        let cost = figures.push(
            &group,
            "cost of telemetry",
            Unit::Percent,
            (on / off - 1.0) * 100.0,
        );
        cost.at_most(PERCENT_MAX);
        figures.push(
            &group,
            "the generator's own CPU, a request",
            Unit::Microseconds,
            own,
        );
    }
    for platform in platforms {
        platform.stop()?;
    }
    let which = if carried {
        "70 % reads of a document, 20 % searches, 10 % new documents".to_owned()
    } else {
        format!(
            "{get} % reads of a document, {search} % searches and the rest new documents, because this machine does \
             not carry {RPS} a second of the mixed load",
            get = MOSTLY_READS.get,
            search = MOSTLY_READS.search,
        )
    };
    Ok(Measured {
        method: format!(
            "Two platforms with {loaded} documents each, one with `telemetry.traces: on` (every request is traced) \
             and one with `off`; {RPS} requests a second (open loop) over {CONNECTIONS} connections: {which}. \
             CPU time of all processes of the platform, {pairs} pairs, alternating."
        ),
        rounds_min: PAIRS_MIN,
        figures: figures.into_rows(),
    })
}
