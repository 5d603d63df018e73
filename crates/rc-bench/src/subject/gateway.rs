//! The gateway beside nginx and HAProxy: CPU time of one proxied request, then [`isolation`], then [`surge`].
//!
//! All have one worker on the same core and the same service behind them; load generator and service have
//! the other core. Rounds alternate, so that whatever else the machine does meets all alike, and a ratio
//! is taken within a round.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use super::isolation::{self, Rig};
use super::{Options, surge};
use crate::failure::{Failure, Result};
use crate::figures::{Figures, Measured, Unit};
use crate::haproxy::{self, Haproxy};
use crate::load::{self, Arrivals, Load, Mark, Report, Same};
use crate::nginx::{self, Nginx};
use crate::platform::{Platform, Project, free_port};
use crate::procs::{Cores, CpuTime};
use crate::rig::Rules;
use crate::rig::tenants::request;

/// Keep-alive connections of the generator.
const CONNECTIONS: usize = 64;

/// Open-loop rates; saturation comes after them.
const RATES: [f64; 2] = [10_000.0, 30_000.0];

/// Rounds of everything.
const ROUNDS: usize = 8;

/// A round at saturation in which nginx itself used this much more than in its best one says more about the
/// machine than about the proxies: it is measured again, at most as often as there are rounds.
const NGINX_UNSTEADY: f64 = 1.15;

/// Highest ratio to nginx with `limit_req`, and to HAProxy with a stick table.
const RATIO_MAX: f64 = 0.95;
const HAPROXY_RATIO_MAX: f64 = 1.0;

/// The path that leads to the service.
const PATH: &str = "/echo";

/// Proxies as figures call them.
const GATEWAY: &str = "gateway";
const SILENT: &str = "gateway, telemetry off";
const NGINX: &str = "nginx with `limit_req`";
const HAPROXY: &str = "HAProxy with a stick table";

/// Someone who proxies.
struct Proxy {
    name: &'static str,
    address: SocketAddr,
    /// The processes whose time counts.
    processes: BTreeSet<u32>,
    request: Vec<u8>,
}

/// What one proxy did in one round.
struct Turn {
    /// CPU time a request.
    micros: f64,
    report: Report,
}

pub(super) fn measure(options: &Options) -> Result<Measured> {
    let all = Cores::all()?;
    let (subject, rest) = Cores::split()?;
    rest.pin()?;
    let mut figures = Figures::default();
    let cpu = measure_cpu(options, (&subject, &rest), &mut figures)?;
    let rig = Rig {
        options,
        subject: &subject,
        rest: &rest,
    };
    let isolation = isolation::measure(&rig, &mut figures)?;
    let mut method = format!("{cpu} {isolation}");
    if let Some(former) = &options.former {
        all.pin()?;
        surge::measure(options, former, &mut figures)?;
        method.push_str(
            " Reads and searches under surge: both builds run beside each other and are measured in turn.",
        );
    }
    Ok(Measured {
        method,
        rounds_min: isolation::ROUNDS,
        figures: figures.into_rows(),
    })
}

/// CPU time of a request, and how it was measured.
fn measure_cpu(
    options: &Options,
    (subject, rest): (&Cores, &Cores),
    figures: &mut Figures,
) -> Result<String> {
    let bench = std::env::current_exe()?;
    let start = |folder: &str, traces: Option<bool>| {
        let port = free_port()?;
        let services = format!(
            "  echo:\n    tier: gold\n    owner: bench\n    command: [\"{}\", backend, --port, \"{port}\", --cores, \
             \"{}\"]\n    port: {port}\n    routes:\n      - path: {PATH}\n  gateway:\n    tier: gold\n    owner: bench\n",
            bench.display(),
            rest.list(),
        );
        let project = Project {
            workers: Some(1),
            traces,
            services: Some(services),
            cores: Some(subject.clone()),
            ..Project::default()
        };
        let platform = Platform::start(&options.rc, &options.scratch.join(folder), &project)?;
        Ok::<_, Failure>((platform, port))
    };
    let (traced, port) = start("traced", None)?;
    let (silent, _) = start("silent", Some(false))?;
    let rules = Rules::default();
    let proxy = |name, address, processes, key: &str| Proxy {
        name,
        address,
        processes,
        request: request(key, PATH),
    };
    let mut proxies = Vec::new();
    let mut peers = Vec::new();
    let mut nginx = None;
    if let Some(program) = &options.nginx {
        let started = Nginx::start(program, &options.scratch.join("nginx"), port, &rules, subject)?;
        proxies.push(proxy(NGINX, started.address, started.processes()?, &traced.key));
        peers.push(format!(
            "{} with one worker, keep-alive to the service and `limit_req` keyed by the API key",
            nginx::version(program)?
        ));
        nginx = Some(started);
    }
    let mut haproxy = None;
    if let Some(program) = &options.haproxy {
        let started = Haproxy::start(program, &options.scratch.join("haproxy"), port, &rules, subject)?;
        proxies.push(proxy(HAPROXY, started.address, started.processes()?, &traced.key));
        peers.push(format!(
            "{} with one thread and a stick table of rates by API key",
            haproxy::version(program)?
        ));
        haproxy = Some(started);
    }
    proxies.push(proxy(GATEWAY, traced.address, traced.processes()?, &traced.key));
    proxies.push(proxy(SILENT, silent.address, silent.processes()?, &silent.key));
    for arrivals in RATES
        .map(Arrivals::Rate)
        .into_iter()
        .chain([Arrivals::Saturation])
    {
        for round in rounds(&proxies, arrivals, options.quick)? {
            push(&proxies, arrivals, &round, figures);
        }
    }
    drop((nginx, haproxy));
    traced.stop()?;
    silent.stop()?;
    Ok(format!(
        "CPU time: {}, access logs off, beside the gateway as `rc up` runs it, with keys, limits, its rate limit \
         fields, trace context and one worker, access log off. Proxies on one core, load generator and service (128 \
         bytes, TCP) on another; {CONNECTIONS} keep-alive connections; {ROUNDS} rounds in alternating order, ratios \
         taken within a round; at saturation, rounds in which nginx used more than {NGINX_UNSTEADY} times its least are \
         measured again. CPU time is user and system time of all processes: master and worker, gateway and supervisor.",
        peers.join(", and ")
    ))
}

/// All rounds at one load; without those in which the machine was unsteady.
fn rounds(proxies: &[Proxy], arrivals: Arrivals, quick: bool) -> Result<Vec<Vec<Turn>>> {
    let wanted = if quick { 1 } else { ROUNDS };
    let mut rounds: Vec<Vec<Turn>> = Vec::new();
    for number in 0..2 * wanted {
        crate::say(&format!(
            "gateway, {arrivals:?}, round {} of {wanted}",
            number + 1
        ));
        rounds.push(one_round(proxies, arrivals, number, quick)?);
        let steady = steady(&rounds, arrivals);
        if steady.iter().filter(|steady| **steady).count() == wanted {
            let kept = rounds.into_iter().zip(steady).filter(|(_, steady)| *steady);
            return Ok(kept.map(|(round, _)| round).collect());
        }
    }
    Err(Failure::new(format!(
        "in {} of {} rounds nginx used more than {NGINX_UNSTEADY} times its least CPU time: this machine does something else",
        2 * wanted - steady(&rounds, arrivals).iter().filter(|steady| **steady).count(),
        2 * wanted,
    )))
}

/// For each round, whether nginx used about as much as in its best one.
fn steady(rounds: &[Vec<Turn>], arrivals: Arrivals) -> Vec<bool> {
    let nginx = |round: &Vec<Turn>| round.first().map_or(f64::NAN, |turn| turn.micros);
    let least = rounds.iter().map(nginx).fold(f64::INFINITY, f64::min);
    let judged = arrivals == Arrivals::Saturation;
    rounds
        .iter()
        .map(|round| !judged || nginx(round) <= least * NGINX_UNSTEADY)
        .collect()
}

/// Measures every proxy once, beginning with another one each round; in the order of the proxies.
fn one_round(proxies: &[Proxy], arrivals: Arrivals, round: usize, quick: bool) -> Result<Vec<Turn>> {
    let mut turns = Vec::new();
    for turn in 0..proxies.len() {
        let place = (turn + round) % proxies.len();
        let proxy = &proxies[place];
        let load = Load {
            target: proxy.address,
            connections: CONNECTIONS,
            arrivals,
            warm_up: Duration::from_millis(if quick { 100 } else { 400 }),
            measured: Duration::from_millis(if quick { 300 } else { 2_000 }),
        };
        let mut cpu = Vec::new();
        let mut mark = |_: Mark| cpu.push(CpuTime::of(&proxy.processes));
        let report = load::run(&load, &mut Same(proxy.request.clone()), &mut mark)?;
        report.expect(&[200])?;
        let [begin, end] = <[_; 2]>::try_from(cpu).map_err(|_e| Failure::new("a run has two marks"))?;
        let micros = end?.seconds_since(&begin?) * 1e6 / report.completed as f64;
        turns.push((place, Turn { micros, report }));
    }
    turns.sort_by_key(|(place, _)| *place);
    Ok(turns.into_iter().map(|(_, turn)| turn).collect())
}

/// The figures of one round.
fn push(proxies: &[Proxy], arrivals: Arrivals, turns: &[Turn], figures: &mut Figures) {
    let group = match arrivals {
        Arrivals::Rate(rate) => format!("{rate} requests a second (open loop)"),
        Arrivals::Saturation => "saturation (closed loop)".to_owned(),
    };
    let by_name = || proxies.iter().map(|proxy| proxy.name).zip(turns);
    for (name, turn) in by_name() {
        let row = format!("CPU a request, {name}");
        figures.push(&group, &row, Unit::Microseconds, turn.micros);
    }
    let micros_of = |wanted: &str| {
        by_name()
            .find(|(name, _)| *name == wanted)
            .map(|(_, turn)| turn.micros)
    };
    for ours in [GATEWAY, SILENT] {
        for (peer, most, key) in [
            (NGINX, RATIO_MAX, "cpu_ratio_nginx_limit_req"),
            (HAPROXY, HAPROXY_RATIO_MAX, "cpu_ratio_haproxy"),
        ] {
            let (Some(own), Some(theirs)) = (micros_of(ours), micros_of(peer)) else {
                continue;
            };
            let short = peer.split(' ').next().unwrap_or(peer);
            let row = format!("CPU a request, {ours} to {short}");
            let figure = figures.push(&group, &row, Unit::Times, own / theirs);
            figure.at_most(most);
            if ours == GATEWAY && arrivals == Arrivals::Saturation {
                figure.keyed(key);
            }
        }
    }
    for (name, turn) in by_name() {
        let row = format!("answers, {name}");
        figures.push(&group, &row, Unit::PerSecond, turn.report.rate());
        if matches!(arrivals, Arrivals::Rate(_)) {
            for (label, quantile) in [("p50", 0.5), ("p99", 0.99)] {
                let row = format!("latency {label}, {name}");
                let latency = turn.report.latency_ms(0, quantile);
                figures.push(&group, &row, Unit::Milliseconds, latency);
            }
        }
    }
    let cpu: f64 = turns.iter().map(|turn| turn.report.generator_cpu).sum();
    let completed: u64 = turns.iter().map(|turn| turn.report.completed).sum();
    let own = cpu * 1e6 / completed as f64;
    figures.push(
        &group,
        "the generator's own CPU a request",
        Unit::Microseconds,
        own,
    );
    if matches!(arrivals, Arrivals::Rate(_)) {
        let late = turns.iter().map(|turn| turn.report.lateness_us_p99());
        let late = late.fold(0.0, f64::max);
        figures.push(
            &group,
            "the generator's own lateness, p99",
            Unit::Microseconds,
            late,
        );
    }
}

#[cfg(test)]
mod tests;
