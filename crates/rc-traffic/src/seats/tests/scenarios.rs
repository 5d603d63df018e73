//! The isolation scenarios of `make bench-gateway`, in virtual time.

use super::super::Bounds;
use super::claim;
use super::simulation::{Client, MS, Pattern, SECOND, World, quantile_ms};

const BOUNDS: Bounds = Bounds {
    floor: 4,
    ceiling: 1_000,
    initial: 64,
};
const FOREVER: u64 = u64::MAX;

fn victims(world: &mut World, count: u32, per_second: f64) {
    for slot in 1..=count {
        world.clients.push(Client {
            claim: claim(slot, 1),
            pattern: Pattern::Open { per_second },
            from_ns: 0,
            until_ns: FOREVER,
        });
    }
}

fn closed(slot: u32, weight: u32, connections: usize, from_ns: u64) -> Client {
    Client {
        claim: claim(slot, weight),
        pattern: Pattern::Closed { connections },
        from_ns,
        until_ns: FOREVER,
    }
}

/// Scenario C: 20 victims of 20 requests a second, and one with 256 connections, at 32 slots of 20 ms.
fn scenario_c(initial: u32, noisy_from_ns: u64, unlimited: bool) -> (f64, usize, u32) {
    let mut world = World::new(Bounds { initial, ..BOUNDS }, Box::new(|_, _, _| (32, 20 * MS)));
    world.unlimited = unlimited;
    victims(&mut world, 20, 20.0);
    world.clients.push(closed(99, 1, 256, noisy_from_ns));
    world.run(20 * SECOND);
    let (from_ns, to_ns) = (10 * SECOND, 20 * SECOND);
    let goodput = world
        .ended(|_| true, from_ns, to_ns)
        .filter(|done| done.turned.is_none())
        .count();
    let refused = world
        .ended(|client| client < 20, 0, to_ns)
        .filter(|done| done.turned.is_some())
        .count();
    assert_eq!(refused, 0, "no victim is refused");
    let p99 = quantile_ms(world.ended(|client| client < 20, from_ns, to_ns), 0.99);
    (p99, goodput, world.limit())
}

#[test]
fn a_tenant_inside_its_rate_does_not_slow_others_and_the_limit_finds_itself() {
    let (unlimited_p99, unlimited, _) = scenario_c(64, 2 * SECOND, true);
    assert!(unlimited_p99 > 150.0, "{unlimited_p99}");
    let starts = [(64, 2), (16, 2), (64, 0), (256, 0), (500, 2), (8, 0)];
    for (initial, noisy_from) in starts {
        let (p99, goodput, limit) = scenario_c(initial, noisy_from * SECOND, false);
        assert!(p99 <= 1.8 * 23.0, "{initial}: p99 {p99} ms");
        assert!(
            goodput as f64 >= 0.97 * unlimited as f64,
            "{initial}: {goodput} of {unlimited}"
        );
        assert!((30..=44).contains(&limit), "{initial}: {limit}");
    }
}

/// Scenario E: tenants of weights 8, 4 and 1 (two of each), all with more than there is, while capacity halves for 10 s
/// by `halved`.
fn scenario_e(nature: fn(bool) -> (usize, u64)) {
    let halved = |now_ns: u64| (10 * SECOND..20 * SECOND).contains(&now_ns);
    let mut world = World::new(BOUNDS, Box::new(move |now_ns, _, _| nature(halved(now_ns))));
    for (slot, weight) in [(1, 8), (2, 4), (3, 1), (4, 8), (5, 4), (6, 1)] {
        world.clients.push(closed(slot, weight, 64, 0));
    }
    world.run(30 * SECOND);
    for (from, to) in [(5, 10), (12, 20), (22, 30)] {
        let served: Vec<f64> = (0..6)
            .map(|client| {
                let ended = world.ended(|other| other == client, from * SECOND, to * SECOND);
                ended.filter(|done| done.turned.is_none()).count() as f64
            })
            .collect();
        let total: f64 = served.iter().sum();
        for (client, weight) in [(0, 8.0), (1, 4.0), (2, 1.0), (3, 8.0), (4, 4.0), (5, 1.0)] {
            let share = served[client] / total / (weight / 26.0);
            assert!((0.95..=1.05).contains(&share), "{from}: {served:?}");
        }
        for (one, other) in [(0, 3), (1, 4), (2, 5)] {
            let (one, other) = (served[one], served[other]);
            let jain = (one + other).powi(2) / (2.0 * (one * one + other * other));
            assert!(jain >= 0.99, "{from}: {served:?}");
        }
        // Work is conserved: at most 3 % below what the service can do.
        let (slots, takes_ns) = nature(from == 12);
        let capacity = slots as f64 * 1e9 / takes_ns as f64 * (to - from) as f64;
        assert!(total >= 0.97 * capacity, "{from}: {total} of {capacity}");
    }
    let gold = world.ended(|client| client % 3 == 0, 0, FOREVER);
    assert_eq!(
        gold.filter(|done| done.turned.is_some()).count(),
        0,
        "gold is not shed"
    );
    if nature(true).0 < 32 {
        // Between two probes the limit is near the slots, 2 s after each change.
        for (from, to, near) in [(12, 20, 16), (22, 30, 32)] {
            let settled = world
                .limits
                .iter()
                .filter(|(at, _)| (from * SECOND..to * SECOND).contains(at));
            for (at, limit) in settled {
                assert!((near / 2..=near + 16).contains(limit), "{limit} at {at}");
            }
        }
    }
}

#[test]
fn backlogged_tenants_get_seats_by_weight_when_half_the_slots_are_lost() {
    scenario_e(|halved| (if halved { 16 } else { 32 }, 20 * MS));
}

#[test]
fn backlogged_tenants_get_seats_by_weight_when_each_request_takes_twice_as_long() {
    scenario_e(|halved| (32, if halved { 40 * MS } else { 20 * MS }));
}

#[test]
fn a_service_that_became_slower_keeps_its_seats() {
    let slower = |now_ns: u64| if now_ns < 10 * SECOND { 20 * MS } else { 100 * MS };
    let mut world = World::new(BOUNDS, Box::new(move |now_ns, _, _| (32, slower(now_ns))));
    world.clients.push(closed(1, 1, 256, 0));
    world.run(30 * SECOND);
    let served = world.ended(|_| true, 15 * SECOND, 30 * SECOND);
    let served = served.filter(|done| done.turned.is_none()).count();
    assert!(served as f64 >= 0.95 * 320.0 * 15.0, "{served}");
    let least_ms = world.pool.level().inputs.least_us / 1e3;
    assert!((95.0..120.0).contains(&least_ms), "{least_ms}");
}

#[test]
fn a_hog_with_slow_requests_does_not_starve_quick_ones() {
    let takes = |client: usize| if client == 20 { SECOND } else { 20 * MS };
    let mut world = World::new(BOUNDS, Box::new(move |_, client, _| (32, takes(client))));
    victims(&mut world, 20, 20.0);
    world.clients.push(closed(99, 1, 256, 2 * SECOND));
    world.run(30 * SECOND);
    let victims = || world.ended(|client| client < 20, 12 * SECOND, 30 * SECOND);
    assert_eq!(victims().filter(|done| done.turned.is_some()).count(), 0);
    let p99 = quantile_ms(victims(), 0.99);
    assert!(p99 <= 2.0 * 23.0, "{p99} ms");
}

#[test]
fn a_limit_that_is_not_needed_stays_where_it_is() {
    let mut world = World::new(
        BOUNDS,
        Box::new(|_, _, random| (32, (20e6 * (0.5 + random.unit())) as u64)),
    );
    victims(&mut world, 1, 200.0);
    world.run(60 * SECOND);
    assert_eq!(world.limits.len(), 1, "{:?}", world.limits);
}

#[test]
fn slow_an_hour_of_constant_load_moves_the_limit_neither_up_nor_down() {
    // Times of an exponential distribution, the worst for who looks for the least.
    let mut world = World::new(
        BOUNDS,
        Box::new(|_, _, random| (8, random.exponential(100e6) as u64)),
    );
    world.clients.push(closed(1, 1, 64, 0));
    world.run(3_600 * SECOND);
    let mean = |from: u64, to: u64| {
        let ended = world.ended(|_| true, from * SECOND, to * SECOND);
        ended.filter(|done| done.turned.is_none()).count() as f64 / (to - from) as f64
    };
    let (first, last) = (mean(60, 660), mean(3_000, 3_600));
    assert!(first >= 0.93 * 80.0 && last >= 0.93 * 80.0, "{first} {last}");
    let highest = world
        .limits
        .iter()
        .filter(|(at, _)| *at > 60 * SECOND)
        .map(|(_, limit)| *limit);
    assert!(highest.max().unwrap() < 32, "it drifts");
}

#[test]
fn a_queue_that_stands_serves_the_newest_and_lets_go_of_the_oldest() {
    // Twice what the service can do, and room for 12 s of it.
    let fixed = Bounds {
        floor: 4,
        ceiling: 4,
        initial: 4,
    };
    let mut world = World::new(fixed, Box::new(|_, _, _| (4, 200 * MS)));
    victims(&mut world, 1, 40.0);
    world.run(60 * SECOND);
    let ended = || world.ended(|_| true, 10 * SECOND, 60 * SECOND);
    let served = ended().filter(|done| done.turned.is_none()).count();
    assert!((950..=1_000).contains(&served), "{served}");
    // First in, first out would serve everybody after twelve seconds.
    let half_ms = quantile_ms(ended(), 0.5);
    assert!(half_ms <= 500.0, "{half_ms} ms");
    let refused = || ended().filter(|done| done.turned.is_some());
    let oldest_ms = refused().map(|done| done.took_ns / MS).max().unwrap();
    assert!(oldest_ms <= 1_300, "{oldest_ms} ms");
    assert!(refused().all(|done| done.turned.unwrap().own_excess));
}
