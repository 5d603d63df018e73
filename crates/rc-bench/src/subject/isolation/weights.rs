//! Scenario E: tenants that all want more than there is, with weights 8, 4 and 1, while half of the service goes
//! away for a while.

use std::time::Duration;

use super::world::{Build, GATEWAY, Peers, Plan, World};
use super::{PATH, Rig, SLOW_SERVICE};
use crate::failure::Result;
use crate::figures::{Figures, Unit};
use crate::load::Same;
use crate::rig::tenants::{Tenants, request};
use crate::rig::{self, Proxy, Rules, Seen, Service, Span, Stream, answered, refused};

const GROUP: &str = "E: heavy tenants with weights 8, 8, 4 and 1, and half of the service gone for a while";

/// Tenants and their weights: two are equal. The weights are those of the built-in tiers.
const HEAVY: [(&str, &str, f64); 4] = [
    ("gold-a", "gold", 8.0),
    ("gold-b", "gold", 8.0),
    ("silver", "silver", 4.0),
    ("bronze", "bronze", 1.0),
];

/// Connections of each.
const CONNECTIONS: usize = 96;

/// Most that a share may differ from its weight's, in percent.
const DEVIATION_MAX: f64 = 5.0;

/// Least of Jain's index of the two equal tenants.
const JAIN_MIN: f64 = 0.99;

/// Longest time until no crowd stands before the service any more.
const SETTLED_S_MAX: f64 = 2.0;

/// No limit of rates here: requests a second that nobody reaches.
const RPS: u32 = 1_000_000;

pub(super) fn measure(rig: &Rig<'_>, build: &Build, figures: &mut Figures) -> Result<()> {
    let mut tenants = Tenants::default();
    for (name, tier, _) in HEAVY {
        tenants.push(name, tier, RPS);
    }
    let world = World::start(
        rig,
        Plan {
            name: "weights",
            capacity: SLOW_SERVICE,
            tenants: tenants.clone(),
            rules: Rules::default(),
            gateway_caches: false,
            peers: Peers::default(),
        },
    )?;
    let rounds = rig.rounds();
    for round in 0..rounds {
        crate::say(&format!("weights, round {} of {rounds}", round + 1));
        for turn in 0..world.proxies.len() {
            let proxy = &world.proxies[(turn + round) % world.proxies.len()];
            if proxy.name == GATEWAY && !build.has_seats {
                let name = format!("shares off their weights by, {GATEWAY}");
                figures.unsupported(GROUP, &name, Unit::Percent);
                continue;
            }
            one(rig, &world.service, proxy, &tenants, figures)?;
        }
    }
    world.stop()
}

fn one(
    rig: &Rig<'_>,
    service: &Service,
    proxy: &Proxy,
    tenants: &Tenants,
    figures: &mut Figures,
) -> Result<()> {
    // A quarter of the time with all slots, half of it with half of them.
    let span = rig.span_of(Duration::from_secs(20), Duration::from_secs(1));
    let mut streams = Vec::new();
    for (name, ..) in HEAVY {
        let requests = Same(request(&tenants.key(name)?, PATH));
        streams.push(Stream::noise(CONNECTIONS, requests));
    }
    let mut crowded_ms = 0;
    let seen = rig::window(proxy, service, span, None, streams, &mut || {
        std::thread::sleep(span.measured / 4);
        service.set_slots(SLOW_SERVICE.slots / 2)?;
        std::thread::sleep(span.measured / 2);
        crowded_ms = service.set_slots(SLOW_SERVICE.slots)?.crowded_ms;
        Ok(())
    })?;
    push(figures, proxy, span, &seen, crowded_ms);
    Ok(())
}

fn push(figures: &mut Figures, proxy: &Proxy, span: Span, seen: &Seen, crowded_ms: u64) {
    let (name, ours) = (proxy.name, proxy.name == GATEWAY);
    let answered: Vec<f64> = seen.noise.iter().map(|report| answered(report, 200)).collect();
    let row = format!("shares off their weights by, {name}");
    let deviation = deviation(&answered, &HEAVY.map(|(_, _, weight)| weight));
    let figure = figures.push(GROUP, &row, Unit::Percent, deviation);
    if ours {
        figure
            .keyed("scenarios.E.shares_off_percent")
            .at_most(DEVIATION_MAX);
    }
    let row = format!("Jain's index of the two equal ones, {name}");
    let figure = figures.push(GROUP, &row, Unit::Times, jain(&answered[..2]));
    if ours {
        figure.at_least(JAIN_MIN);
    }
    let row = format!("a crowd stood before half of the service for, {name}");
    let settled = (crowded_ms as f64 / 1000.0).min(span.measured.as_secs_f64() / 2.0);
    let figure = figures.push(GROUP, &row, Unit::Seconds, settled);
    if ours {
        figure.at_most(SETTLED_S_MAX);
    }
    let row = format!("gold refused, {name}");
    let gold = refused(&seen.noise[0]) + refused(&seen.noise[1]);
    let figure = figures.push(GROUP, &row, Unit::PerSecond, gold);
    if ours {
        figure.at_most(0.0);
        figure.judged_by_worst();
    }
    let row = format!("all that was answered, {name}");
    figures.push(GROUP, &row, Unit::PerSecond, answered.iter().sum());
}

/// How far the share that is off most is from its weight's, in percent of that.
fn deviation(answered: &[f64], weights: &[f64]) -> f64 {
    let (all, weight) = (answered.iter().sum::<f64>(), weights.iter().sum::<f64>());
    let off = answered.iter().zip(weights).map(|(answered, own)| {
        let (share, due) = (answered / all, own / weight);
        (share / due - 1.0).abs() * 100.0
    });
    off.fold(0.0, f64::max)
}

/// 1 when all are equal, 1/n when one has everything.
fn jain(values: &[f64]) -> f64 {
    let (sum, squares) = (
        values.iter().sum::<f64>(),
        values.iter().map(|value| value * value).sum::<f64>(),
    );
    sum * sum / (values.len() as f64 * squares)
}

#[cfg(test)]
mod tests;
