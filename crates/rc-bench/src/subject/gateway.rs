//! The gateway beside nginx: CPU time of one proxied request.
//!
//! Both have one worker on the same core and the same service behind them; load generator and service have
//! the other core. Rounds alternate, so that whatever else the machine does meets both alike, and a ratio
//! is taken within a round.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use super::Options;
use crate::failure::{Failure, Result};
use crate::figures::{Figures, Measured, Unit};
use crate::load::{self, Arrivals, Load, Mark, Same};
use crate::nginx::{self, Nginx};
use crate::platform::{Platform, Project, free_port};
use crate::procs::{Cores, CpuTime};

/// Keep-alive connections of the generator.
const CONNECTIONS: usize = 64;

/// Open-loop rates; saturation comes after them.
const RATES: [f64; 2] = [10_000.0, 30_000.0];

/// Rounds of everything.
const ROUNDS: usize = 8;

/// Highest ratio to nginx.
const RATIO_MAX: f64 = 1.2;

/// The path that leads to the service.
const PATH: &str = "/echo";

/// Someone who proxies.
struct Proxy {
    name: &'static str,
    address: SocketAddr,
    /// The processes whose time counts.
    processes: BTreeSet<u32>,
    request: Vec<u8>,
}

pub(super) fn measure(options: &Options) -> Result<Measured> {
    let (subject, rest) = Cores::split()?;
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
    let nginx = Nginx::start(&options.nginx, &options.scratch.join("nginx"), port, &subject)?;
    let request = |key: &str| {
        format!(
            "GET {PATH} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\nAccept: */*\r\n\r\n"
        )
        .into_bytes()
    };
    let proxies = [
        Proxy {
            name: "nginx with `limit_req`",
            address: nginx.address,
            processes: nginx.processes()?,
            request: request(&traced.key),
        },
        Proxy {
            name: "gateway",
            address: traced.address,
            processes: traced.processes()?,
            request: request(&traced.key),
        },
        Proxy {
            name: "gateway, telemetry off",
            address: silent.address,
            processes: silent.processes()?,
            request: request(&silent.key),
        },
    ];
    rest.pin()?;
    let rounds = if options.quick { 1 } else { ROUNDS };
    let mut figures = Figures::default();
    for arrivals in RATES
        .map(Arrivals::Rate)
        .into_iter()
        .chain([Arrivals::Saturation])
    {
        for round in 0..rounds {
            crate::say(&format!("gateway, {arrivals:?}, round {} of {rounds}", round + 1));
            one_round(&proxies, arrivals, round, options.quick, &mut figures)?;
        }
    }
    let version = nginx::version(&options.nginx)?;
    drop(nginx);
    traced.stop()?;
    silent.stop()?;
    Ok(Measured {
        method: format!(
            "{version} with one worker, keep-alive to the service and `limit_req` keyed by the API key, access log \
             off, beside the gateway as `rc up` runs it, with keys, limits, its rate limit fields and one worker, \
             access log off. Both on one core, load generator and service (128 bytes, TCP) on another; {CONNECTIONS} \
             keep-alive connections; {rounds} rounds in alternating order, ratios taken within a round. CPU time \
             is user and system time of all processes: master and worker, gateway and supervisor."
        ),
        rounds_min: ROUNDS,
        figures: figures.into_rows(),
    })
}

/// Measures every proxy once, beginning with another one each round.
fn one_round(
    proxies: &[Proxy],
    arrivals: Arrivals,
    round: usize,
    quick: bool,
    figures: &mut Figures,
) -> Result<()> {
    let group = match arrivals {
        Arrivals::Rate(rate) => format!("{rate} requests a second (open loop)"),
        Arrivals::Saturation => "saturation (closed loop)".to_owned(),
    };
    let mut micros = vec![f64::NAN; proxies.len()];
    let mut reports = Vec::new();
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
        micros[place] = end?.seconds_since(&begin?) * 1e6 / report.completed as f64;
        reports.push((place, report));
    }
    reports.sort_by_key(|(place, _)| *place);
    for (proxy, micros) in proxies.iter().zip(&micros) {
        let name = format!("CPU a request, {}", proxy.name);
        figures.push(&group, &name, Unit::Microseconds, *micros);
    }
    for (proxy, value) in proxies.iter().zip(&micros).skip(1) {
        let name = format!("CPU a request, {} to nginx", proxy.name);
        let ratio = figures.push(&group, &name, Unit::Times, value / micros[0]);
        ratio.at_most(RATIO_MAX);
    }
    for (proxy, (_, report)) in proxies.iter().zip(&reports) {
        let name = proxy.name;
        figures.push(
            &group,
            &format!("answers, {name}"),
            Unit::PerSecond,
            report.rate(),
        );
        if matches!(arrivals, Arrivals::Rate(_)) {
            for (label, quantile) in [("p50", 0.5), ("p99", 0.99)] {
                let row = format!("latency {label}, {name}");
                figures.push(&group, &row, Unit::Milliseconds, report.latency_ms(0, quantile));
            }
        }
    }
    let cpu: f64 = reports.iter().map(|(_, report)| report.generator_cpu).sum();
    let completed: u64 = reports.iter().map(|(_, report)| report.completed).sum();
    let per_request = cpu * 1e6 / completed as f64;
    figures.push(
        &group,
        "the generator's own CPU a request",
        Unit::Microseconds,
        per_request,
    );
    if matches!(arrivals, Arrivals::Rate(_)) {
        let late = reports.iter().map(|(_, report)| report.lateness_us_p99());
        let late = late.fold(0.0, f64::max);
        figures.push(
            &group,
            "the generator's own lateness, p99",
            Unit::Microseconds,
            late,
        );
    }
    Ok(())
}
