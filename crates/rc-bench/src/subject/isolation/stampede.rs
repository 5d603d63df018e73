//! A thousand requests at once for one answer that nobody has yet: how many reach the service.

use std::time::Duration;

use super::world::{Build, GATEWAY, Peers, Plan, World};
use super::{PATH, Rig};
use crate::backend::Capacity;
use crate::failure::Result;
use crate::figures::{Figures, Unit};
use crate::load::{Arrivals, Same};
use crate::rig::tenants::{Tenants, request};
use crate::rig::{self, Rules, Span, Stream};

const GROUP: &str = "a thousand concurrent misses of one key";

/// Requests, each over its own connection.
const MISSES: usize = 1_000;

/// The service takes long enough for all of them to arrive meanwhile.
const SERVICE: Capacity = Capacity {
    slots: MISSES,
    time: Duration::from_millis(500),
};

pub(super) fn measure(rig: &Rig<'_>, build: &Build, figures: &mut Figures) -> Result<()> {
    let mut tenants = Tenants::default();
    tenants.push("reader", "gold", 1_000_000);
    let reader = tenants.key("reader")?;
    // HAProxy's cache lets every miss through.
    let plan = Plan {
        name: "stampede",
        capacity: SERVICE,
        tenants,
        gateway_caches: build.has_cache,
        rules: Rules {
            cache: true,
            ..Rules::default()
        },
        peers: Peers {
            haproxy: false,
            ..Peers::default()
        },
    };
    let world = World::start(rig, plan)?;
    let span = Span {
        warm_up: Duration::ZERO,
        measured: Duration::from_millis(100),
    };
    let rounds = rig.rounds();
    for round in 0..rounds {
        crate::say(&format!("stampede, round {} of {rounds}", round + 1));
        for turn in 0..world.proxies.len() {
            let proxy = &world.proxies[(turn + round) % world.proxies.len()];
            let name = proxy.name;
            if name == GATEWAY && !build.has_cache {
                figures.unsupported(GROUP, &format!("calls of the service, {name}"), Unit::Count);
                continue;
            }
            let misses = Stream {
                // All of them within the window.
                arrivals: Arrivals::Rate(MISSES as f64 / span.measured.as_secs_f64()),
                ..Stream::noise(MISSES, Same(request(&reader, &format!("{PATH}?round={round}"))))
            };
            world.service.take()?;
            let seen = rig::window(proxy, &world.service, span, None, vec![misses], &mut || Ok(()))?;
            let calls = seen.account.calls + world.service.take()?.calls;
            let figure = figures.push(
                GROUP,
                &format!("calls of the service, {name}"),
                Unit::Count,
                calls as f64,
            );
            if name == GATEWAY {
                figure.keyed("stampede_calls").at_most(1.0);
                figure.judged_by_worst();
            }
            let answered = seen.noise[0]
                .classes
                .iter()
                .filter_map(|class| class.statuses.get(&200));
            let answered = answered.sum::<u64>() as f64;
            let figure = figures.push(GROUP, &format!("answered, {name}"), Unit::Count, answered);
            if name == GATEWAY {
                figure.at_least(MISSES as f64);
                figure.judged_by_worst();
            }
        }
    }
    world.stop()
}
