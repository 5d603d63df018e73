//! What a noisy tenant costs its neighbours, at the gateway and at its peers.
//!
//! Twenty victims send at a steady rate; their latency alone is the base, measured in the same round at the same
//! proxy just before. Then a neighbour floods, holds every slot, or shakes hands, and their latency is taken
//! again. The scenarios are those of the bars in [`Scenario`]; three more have figures of their own: [`weights`],
//! [`reloads`] and [`stampede`].

mod reloads;
mod stampede;
mod weights;
mod world;

use std::time::Duration;

use super::Options;
use crate::backend::Capacity;
use crate::failure::Result;
use crate::figures::{Figures, Unit};
use crate::load::Same;
use crate::procs::Cores;
use crate::rig::tenants::{InTurn, Tenants, request};
use crate::rig::{self, Limit, Proxy, Rules, Seen, Span, Stream, answered, refused, tls};
use world::{Build, Peers, Plan, World};

/// Rounds of everything.
pub(super) const ROUNDS: usize = 5;

/// The path that leads to the service.
const PATH: &str = "/echo";

/// Tenants that send at a steady rate.
const VICTIMS: usize = 20;

/// Connections of a noisy tenant.
const NOISE_CONNECTIONS: usize = 256;

/// Requests a second of the tenant that is over its quota, and of the one that stays inside.
const CAPPED_RPS: u32 = 100;
const NOISY_RPS: u32 = 5_000;

/// Handshakes a second of one source.
const HANDSHAKES: u64 = 1_000;

/// The service that takes a while.
const SLOW_SERVICE: Capacity = Capacity {
    slots: 32,
    time: Duration::from_millis(20),
};

/// The service that answers at once.
const FAST_SERVICE: Capacity = Capacity {
    slots: usize::MAX,
    time: Duration::ZERO,
};

/// What all scenarios are told.
pub(super) struct Rig<'a> {
    pub(super) options: &'a Options,
    /// The proxies' core.
    pub(super) subject: &'a Cores,
    /// The core of everything else, where this thread is already.
    pub(super) rest: &'a Cores,
}

impl Rig<'_> {
    fn rounds(&self) -> usize {
        if self.options.quick { 1 } else { ROUNDS }
    }

    /// The usual window.
    fn span(&self) -> Span {
        self.span_of(Duration::from_secs(8), Duration::from_millis(500))
    }

    /// A window of `measured` after a second, or of `quick`.
    fn span_of(&self, measured: Duration, quick: Duration) -> Span {
        match self.options.quick {
            true => Span {
                warm_up: Duration::from_millis(200),
                measured: quick,
            },
            false => Span {
                warm_up: Duration::from_secs(1),
                measured,
            },
        }
    }
}

/// What disturbs the victims.
#[derive(Debug, Clone, Copy)]
enum Noise {
    /// A tenant's requests, as many as answers come.
    Flood {
        tenant: &'static str,
        target: &'static str,
    },
    /// One source that shakes hands and does nothing else.
    Handshakes,
}

/// One disturbance and what it may cost.
struct Scenario {
    id: &'static str,
    title: &'static str,
    noise: Noise,
    /// Whether the gateway needs seats for it.
    needs_seats: bool,
    /// Most of the victims' p99 to their idle one.
    ratio_max: f64,
    /// Most of a core that the gateway uses.
    cores_max: Option<f64>,
    /// Least of all answers to those of nginx.
    goodput_min: Option<f64>,
    /// Whether a victim may be refused.
    victims_may_be_refused: bool,
}

impl Scenario {
    const fn new(id: &'static str, title: &'static str, noise: Noise, ratio_max: f64) -> Self {
        Self {
            id,
            title,
            noise,
            needs_seats: false,
            ratio_max,
            cores_max: None,
            goodput_min: None,
            victims_may_be_refused: true,
        }
    }

    fn group(&self) -> String {
        format!("{}: {}", self.id, self.title)
    }
}

const CAPPED: Noise = Noise::Flood {
    tenant: "capped",
    target: PATH,
};

const A: Scenario = Scenario {
    cores_max: Some(10.0),
    ..Scenario::new(
        "A",
        "a tenant floods over its quota of 100 a second",
        CAPPED,
        1.35,
    )
};

const A20: Scenario = Scenario::new("A20", "the same before a service of 20 ms", CAPPED, 1.05);

const C: Scenario = Scenario {
    needs_seats: true,
    goodput_min: Some(0.97),
    ..Scenario::new(
        "C",
        "a tenant inside its quota has 256 requests in flight",
        Noise::Flood {
            tenant: "noisy",
            target: PATH,
        },
        1.8,
    )
};

const B: Scenario = Scenario {
    needs_seats: true,
    victims_may_be_refused: false,
    ..Scenario::new(
        "B",
        "a tenant inside its quota sends requests of 1 s",
        Noise::Flood {
            tenant: "noisy",
            target: "/echo?us=1000000",
        },
        2.0,
    )
};

const D: Scenario = Scenario::new(
    "D",
    "one source shakes hands 1,000 times a second",
    Noise::Handshakes,
    1.5,
);

/// Measures all scenarios; how, in a few sentences.
pub(super) fn measure(rig: &Rig<'_>, figures: &mut Figures) -> Result<String> {
    let build = Build::of(&rig.options.rc)?;
    let mut real_time = true;
    let usual = usual_tenants();
    let plan = Plan {
        name: "fast",
        capacity: FAST_SERVICE,
        rules: usual_rules(&usual)?,
        tenants: usual.clone(),
        gateway_caches: false,
        peers: Peers::default(),
    };
    real_time &= disturb(rig, plan, &[A], (50, "idle"), &build, figures)?;
    let plan = Plan {
        name: "slow",
        capacity: SLOW_SERVICE,
        rules: usual_rules(&usual)?,
        tenants: usual.clone(),
        gateway_caches: false,
        peers: Peers {
            limit_conn: true,
            ..Peers::default()
        },
    };
    real_time &= disturb(
        rig,
        plan,
        &[A20, C, B],
        (20, "idle before a service of 20 ms"),
        &build,
        figures,
    )?;
    let (files, transport) = tls::make(&rig.options.scratch.join("certificate"))?;
    let mut plan = Plan {
        name: "tls",
        capacity: FAST_SERVICE,
        rules: usual_rules(&usual)?,
        tenants: usual,
        gateway_caches: false,
        peers: Peers {
            transport,
            ..Peers::default()
        },
    };
    plan.rules.tls = Some(files);
    real_time &= disturb(rig, plan, &[D], (50, "idle over TLS"), &build, figures)?;
    weights::measure(rig, &build, figures)?;
    reloads::measure(rig, figures)?;
    stampede::measure(rig, &build, figures)?;
    Ok(method(rig, real_time))
}

fn method(rig: &Rig<'_>, real_time: bool) -> String {
    let priority = if real_time {
        "Service and victims have real-time priority (`SCHED_FIFO`)"
    } else {
        "This machine gives service and victims no real-time priority, so the noise's own work makes them late"
    };
    let span = rig.span();
    format!(
        "Isolation: {VICTIMS} victims with 50 requests a second each (20 before the service of 20 ms, which has \
         {slots} slots), open loop, latency from the intended time of sending; noise has {NOISE_CONNECTIONS} \
         connections in a closed loop; {measured} s after {warm_up} s, {rounds} rounds in alternating order. Idle is \
         the same proxy in the same round without noise. {priority}. HAProxy has `maxconn {slots}` to the service \
         of 20 ms.",
        slots = SLOW_SERVICE.slots,
        measured = span.measured.as_secs_f64(),
        warm_up = span.warm_up.as_secs_f64(),
        rounds = rig.rounds(),
    )
}

fn usual_tenants() -> Tenants {
    let mut tenants = Tenants::default();
    tenants.push_many("victim", VICTIMS, "silver", 1_000);
    tenants.push("capped", "silver", CAPPED_RPS);
    tenants.push("noisy", "silver", NOISY_RPS);
    tenants
}

/// The quotas of [`usual_tenants`], for the peers.
fn usual_rules(tenants: &Tenants) -> Result<Rules> {
    let mut rules = Rules::default();
    for (name, rps) in [("capped", CAPPED_RPS), ("noisy", NOISY_RPS)] {
        let key = tenants.key(name)?;
        rules.rates.push(Limit { key, rps });
    }
    Ok(rules)
}

/// All rounds of some scenarios at one service; whether victims had their priority in all.
fn disturb(
    rig: &Rig<'_>,
    plan: Plan,
    scenarios: &[Scenario],
    (rps, idle): (u32, &str),
    build: &Build,
    figures: &mut Figures,
) -> Result<bool> {
    let tenants = plan.tenants.clone();
    let world = World::start(rig, plan)?;
    let mut real_time = true;
    let victims = || {
        let keys = tenants.keys("victim-");
        Some(Stream::victims(
            f64::from(rps) * VICTIMS as f64,
            InTurn::new(&keys, PATH),
        ))
    };
    let rounds = rig.rounds();
    for round in 0..rounds {
        crate::say(&format!("victims, {idle}, round {} of {rounds}", round + 1));
        let mut goodputs = vec![vec![f64::NAN; world.proxies.len()]; scenarios.len()];
        for turn in 0..world.proxies.len() {
            let place = (turn + round) % world.proxies.len();
            let proxy = &world.proxies[place];
            let alone = rig::window(
                proxy,
                &world.service,
                rig.span(),
                victims(),
                Vec::new(),
                &mut || Ok(()),
            )?;
            alone.of_victims()?.expect(&[200])?;
            push_latency(figures, idle, proxy, &alone)?;
            real_time &= alone.real_time;
            for (scenario, goodputs) in scenarios.iter().zip(&mut goodputs) {
                if scenario.needs_seats && !build.has_seats && proxy.name == world::GATEWAY {
                    let name = format!("victims, p99 to idle, {}", proxy.name);
                    figures.unsupported(&scenario.group(), &name, Unit::Times);
                    continue;
                }
                let beside = beside(rig, &world, proxy, scenario, &tenants, victims(), figures)?;
                goodputs[place] = push(figures, scenario, proxy, &alone, &beside)?;
            }
        }
        for (scenario, goodputs) in scenarios.iter().zip(&goodputs) {
            let of = |name| world.place_of(name).map(|place| goodputs[place]);
            if let (Some(min), Some(gateway), Some(nginx)) =
                (scenario.goodput_min, of(world::GATEWAY), of(world::NGINX))
                && gateway.is_finite()
            {
                let figure = figures.push(
                    &scenario.group(),
                    "all that was answered, gateway to nginx",
                    Unit::Times,
                    gateway / nginx,
                );
                figure.at_least(min);
            }
        }
    }
    world.stop()?;
    Ok(real_time)
}

/// One window with noise.
fn beside(
    rig: &Rig<'_>,
    world: &World,
    proxy: &Proxy,
    scenario: &Scenario,
    tenants: &Tenants,
    victims: Option<Stream>,
    figures: &mut Figures,
) -> Result<Seen> {
    let span = rig.span();
    match scenario.noise {
        Noise::Flood { tenant, target } => {
            let flood = Same(request(&tenants.key(tenant)?, target));
            let noise = vec![Stream::noise(NOISE_CONNECTIONS, flood)];
            rig::window(proxy, &world.service, span, victims, noise, &mut || Ok(()))
        }
        Noise::Handshakes => {
            let mut opened = 0;
            let seen = rig::window(proxy, &world.service, span, victims, Vec::new(), &mut || {
                opened = tls::shake_hands(proxy.address, &proxy.transport, HANDSHAKES, span.measured)?;
                Ok(())
            })?;
            let row = format!("handshakes, {}", proxy.name);
            let rate = opened as f64 / span.measured.as_secs_f64();
            figures.push(&scenario.group(), &row, Unit::PerSecond, rate);
            Ok(seen)
        }
    }
}

/// The latency of a window's victims.
fn push_latency(figures: &mut Figures, group: &str, proxy: &Proxy, seen: &Seen) -> Result<()> {
    let victims = seen.of_victims()?;
    for (label, quantile) in [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)] {
        let name = format!("victims, {label}, {}", proxy.name);
        let latency = victims.latency_ms(0, quantile);
        let figure = figures.push(group, &name, Unit::Milliseconds, latency);
        if label != "p99" {
            figure.aside();
        }
    }
    let name = format!("the victims' own lateness, p99, {}", proxy.name);
    let late = victims.lateness_us_p99();
    figures.push(group, &name, Unit::Microseconds, late).aside();
    Ok(())
}

/// The figures of one window with noise; all that was answered a second.
fn push(
    figures: &mut Figures,
    scenario: &Scenario,
    proxy: &Proxy,
    alone: &Seen,
    beside: &Seen,
) -> Result<f64> {
    let group = scenario.group();
    let (name, ours) = (proxy.name, proxy.name == world::GATEWAY);
    push_latency(figures, &group, proxy, beside)?;
    let victims = beside.of_victims()?;
    let ratio = victims.latency_ms(0, 0.99) / alone.of_victims()?.latency_ms(0, 0.99);
    let row = format!("victims, p99 to idle, {name}");
    let figure = figures.push(&group, &row, Unit::Times, ratio);
    if ours {
        let key = format!("scenarios.{}.victims_p99_ratio", scenario.id);
        figure.keyed(key).at_most(scenario.ratio_max);
    }
    let row = format!("victims refused, {name}");
    let figure = figures.push(&group, &row, Unit::PerSecond, refused(victims));
    if ours && !scenario.victims_may_be_refused {
        figure.at_most(0.0);
        figure.judged_by_worst();
    }
    let row = format!("CPU of one core, {name}");
    let figure = figures.push(&group, &row, Unit::Percent, beside.cores * 100.0);
    if let (true, Some(cores_max)) = (ours, scenario.cores_max) {
        figure.at_most(cores_max);
    }
    let mut goodput = answered(victims, 200);
    for noise in &beside.noise {
        goodput += answered(noise, 200);
        let row = format!("noise refused, {name}");
        figures.push(&group, &row, Unit::PerSecond, refused(noise));
    }
    let row = format!("all that was answered, {name}");
    figures.push(&group, &row, Unit::PerSecond, goodput);
    let row = format!("most that waited inside the service, {name}");
    let waiting = beside.account.waiting_max as f64;
    figures.push(&group, &row, Unit::Count, waiting).aside();
    Ok(goodput)
}
