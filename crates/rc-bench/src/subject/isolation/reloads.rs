//! Scenario F: ten thousand tenants, and a thousand reloads in a minute.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use rc_model::clock::monotonic_ns;

use super::world::{GATEWAY, Peers, Plan, World};
use super::{CAPPED_RPS, FAST_SERVICE, PATH, Rig};
use crate::client::Client;
use crate::failure::{Failure, Result};
use crate::figures::{Figures, Unit};
use crate::load::{Arrivals, Same};
use crate::nginx::Nginx;
use crate::platform::write_tenants;
use crate::procs::resident_mib;
use crate::rig::tenants::{ByZipf, Tenants, request};
use crate::rig::{self, Limit, Proxy, Rules, Seen, Span, Stream, answered, refused};

const GROUP: &str = "F: 10,000 tenants and 1,000 reloads in a minute";

/// Tenants beside the one with a quota.
const TENANTS: usize = 10_000;

/// Reloads in a minute.
const A_MINUTE: usize = 1_000;

/// Requests a second of all of them.
const RPS: f64 = 1_000.0;

/// Requests a second of the tenant with a quota, three times what it may.
const CAPPED_SENDS: f64 = 3.0 * CAPPED_RPS as f64;

/// Most of the victims' p99 to the one without reloads.
const RATIO_MAX: f64 = 1.2;

/// Most that the tenant with a quota gets: a bucket that a reload fills again would give it more.
const ADMITTED_MAX: f64 = 1.1 * CAPPED_RPS as f64;

/// Memory of the gateway's process.
const MEMORY_MIB_MAX: f64 = 60.0;

/// What changes from reload to reload: the quota of a tenant that sends nothing.
const CHANGING: &str = "changing";

pub(super) fn measure(rig: &Rig<'_>, figures: &mut Figures) -> Result<()> {
    let tenants = tenants(1);
    let capped = tenants.key("capped")?;
    let world = World::start(
        rig,
        Plan {
            name: "reloads",
            capacity: FAST_SERVICE,
            rules: Rules {
                rates: vec![Limit {
                    key: capped.clone(),
                    rps: CAPPED_RPS,
                }],
                ..Rules::default()
            },
            tenants: tenants.clone(),
            gateway_caches: false,
            peers: Peers {
                haproxy: false,
                ..Peers::default()
            },
        },
    )?;
    let keys = tenants.keys("tenant-");
    let rounds = rig.rounds();
    for round in 0..rounds {
        crate::say(&format!("reloads, round {} of {rounds}", round + 1));
        for turn in 0..world.proxies.len() {
            let place = (turn + round) % world.proxies.len();
            let proxy = Proxy {
                // nginx changes its worker at every reload.
                processes: BTreeSet::new(),
                ..world.proxies[place].clone()
            };
            let victims = || Some(Stream::victims(RPS, ByZipf::new(&keys, PATH, round as u64)));
            let still = rig::window(
                &proxy,
                &world.service,
                rig.span(),
                victims(),
                Vec::new(),
                &mut || Ok(()),
            )?;
            let span = rig.span_of(Duration::from_secs(60), Duration::from_secs(1));
            let noise = Stream {
                arrivals: Arrivals::Rate(CAPPED_SENDS),
                ..Stream::noise(16, Same(request(&capped, PATH)))
            };
            let mut reloads = 0;
            let moving = rig::window(&proxy, &world.service, span, victims(), vec![noise], &mut || {
                reloads = match proxy.name {
                    GATEWAY => reload_gateway(&world, span)?,
                    _ => reload_nginx(&world, span)?,
                };
                Ok(())
            })?;
            push(figures, proxy.name, (&still, &moving), reloads, span)?;
        }
        let resident = resident_mib(world.platform.gateway()?)?;
        let row = format!("memory with 10,000 tenants, {GATEWAY}");
        let figure = figures.push(GROUP, &row, Unit::Mebibytes, resident);
        figure.keyed("memory_mib_10000_tenants").at_most(MEMORY_MIB_MAX);
    }
    world.stop()
}

fn tenants(changing_rps: u32) -> Tenants {
    let mut tenants = Tenants::default();
    tenants.push("capped", "bronze", CAPPED_RPS);
    tenants.push(CHANGING, "bronze", changing_rps);
    tenants.push_many("tenant", TENANTS, "bronze", 1_000);
    tenants
}

/// How many fit into a window, and the time from one to the next.
fn interval(span: Span) -> (usize, Duration) {
    let count = (span.measured.as_secs_f64() / 60.0 * A_MINUTE as f64) as usize;
    (count, Duration::from_secs(60) / A_MINUTE as u32)
}

/// Does `reload` at its times, or as soon as the one before has ended; how many applied something until the
/// window's end.
fn in_time(span: Span, mut reload: impl FnMut(usize) -> Result<bool>) -> Result<u64> {
    let (count, interval) = interval(span);
    let begin = monotonic_ns();
    let elapsed = || Duration::from_nanos(monotonic_ns() - begin);
    let mut applied = 0;
    for number in 0..count {
        if elapsed() >= span.measured {
            break;
        }
        applied += u64::from(reload(number)?);
        std::thread::sleep((interval * (number as u32 + 1)).saturating_sub(elapsed()));
    }
    Ok(applied)
}

fn reload_gateway(world: &World, span: Span) -> Result<u64> {
    let socket = world.platform.gateway_socket();
    let mut client = Client::connect_unix(&socket)?;
    let mut in_force = 0;
    in_time(span, |number| {
        change(world.platform.folder(), number)?;
        let (status, body) =
            client.call(b"POST /-/reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")?;
        let report: serde_json::Value = serde_json::from_slice(&body)?;
        if status != 200 || !report["refused"].is_null() {
            return Err(Failure::new(format!("a reload got {status}: {report}")));
        }
        let version = report["version"].as_u64().unwrap_or_default();
        let before = std::mem::replace(&mut in_force, version);
        Ok(version > before)
    })
}

/// Writes `tenants.yaml` so that it differs from what it was, whole at every moment.
fn change(folder: &Path, number: usize) -> Result<()> {
    let aside = folder.join("aside");
    fs_err::create_dir_all(&aside)?;
    write_tenants(&aside, &tenants(1 + number as u32 % 1_000))?;
    Ok(fs_err::rename(
        aside.join("tenants.yaml"),
        folder.join("tenants.yaml"),
    )?)
}

fn reload_nginx(world: &World, span: Span) -> Result<u64> {
    in_time(span, |_| {
        world.nginx.first().map_or(Ok(()), Nginx::reload)?;
        Ok(true)
    })
}

fn push(
    figures: &mut Figures,
    name: &str,
    (still, moving): (&Seen, &Seen),
    reloads: u64,
    span: Span,
) -> Result<()> {
    let ours = name == GATEWAY;
    let (still, victims) = (still.of_victims()?, moving.of_victims()?);
    for (label, report) in [("without reloads", still), ("with reloads", victims)] {
        let row = format!("p99 {label}, {name}");
        figures.push(GROUP, &row, Unit::Milliseconds, report.latency_ms(0, 0.99));
    }
    let row = format!("p99 with to without reloads, {name}");
    let ratio = victims.latency_ms(0, 0.99) / still.latency_ms(0, 0.99);
    let figure = figures.push(GROUP, &row, Unit::Times, ratio);
    if ours {
        figure.keyed("scenarios.F.victims_p99_ratio").at_most(RATIO_MAX);
    }
    let row = format!("reloads in a minute, {name}");
    let a_minute = reloads as f64 / span.measured.as_secs_f64() * 60.0;
    let figure = figures.push(GROUP, &row, Unit::Count, a_minute);
    if ours {
        figure.at_least(A_MINUTE as f64);
    }
    let row = format!("requests refused or cut off, {name}");
    let figure = figures.push(GROUP, &row, Unit::PerSecond, refused(victims));
    if ours {
        figure.at_most(0.0);
        figure.judged_by_worst();
    }
    let row = format!("admitted of a tenant with a quota of {CAPPED_RPS}, {name}");
    let figure = figures.push(GROUP, &row, Unit::PerSecond, answered(&moving.noise[0], 200));
    if ours {
        figure.at_most(ADMITTED_MAX);
    }
    Ok(())
}
