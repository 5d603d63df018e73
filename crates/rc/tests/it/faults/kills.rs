//! `kill -9` of every process while documents come in.

use std::collections::BTreeMap;
use std::process::{Child, Stdio};
use std::time::Duration;

use rc_model::clock::monotonic_ns;
use rc_model::{Clock as _, SystemClock};
use rc_test::Rng;
use serde_json::Value;

use super::documents::{INGEST_MAX, Set};
use super::processes::{kill, left, pid, ready, running, services};
use crate::world::{World, eventually};

/// Runs of `rc ingest`; in each, every process is killed once, the supervisor too. `RC_FAULT_ROUNDS` overrides.
const ROUNDS: u64 = 50;

/// Rounds in one project: the files grow, and a new project begins small again.
const ROUNDS_A_WORLD: u64 = 10;

/// Documents of one round.
const DOCUMENTS: usize = 10_000;

/// Longest pause before the next kill. Undisturbed, a round's documents take about a second.
const PAUSE_MAX: Duration = Duration::from_millis(120);

/// Of the kills of one process, at least so many in a hundred must hit a run that is under way.
const DURING_PERCENT_MIN: u64 = 60;

/// How long nothing may be left of a platform whose supervisor was killed.
const GONE_MAX: Duration = Duration::from_secs(15);

/// Kills of one process.
#[derive(Debug, Default)]
struct Kills {
    all: u64,
    /// Those that hit while `rc ingest` was running.
    during: u64,
}

#[test]
fn slow_kill_9_of_every_process_during_ingest_loses_and_doubles_nothing() {
    let rounds = setting("RC_FAULT_ROUNDS").unwrap_or(ROUNDS);
    let seed = setting("RC_FAULT_SEED").unwrap_or_else(|| SystemClock.now().unix_ms().unsigned_abs());
    let began = monotonic_ns();
    println!("kills: seed {seed} (RC_FAULT_SEED={seed} makes the same choices)");
    let mut rng = Rng::new(seed);
    let mut kills: BTreeMap<String, Kills> = BTreeMap::new();
    let mut round = 0;
    while round < rounds {
        let world = World::new();
        world.up();
        for _ in 0..ROUNDS_A_WORLD.min(rounds - round) {
            one_round(&world, round, &mut rng, &mut kills);
            round += 1;
        }
        world.ok(&["down"]);
        assert_eq!(left(&world), [], "round {round}: something was left behind");
        let verified = world.ok(&["audit", "verify"]);
        let hashed = verified
            .lines()
            .find(|line| line.contains("hashed"))
            .unwrap_or_default();
        println!(
            "kills: the audit log after round {round} is whole: {}",
            hashed.trim()
        );
    }
    let seconds = Duration::from_nanos(monotonic_ns() - began).as_secs();
    for (name, kills) in &kills {
        println!(
            "kills: {name:<12} {} times, {} of them during an ingest",
            kills.all, kills.during
        );
    }
    let documents = rounds * DOCUMENTS as u64;
    println!(
        "kills: {rounds} rounds, {documents} documents acknowledged, each searchable and on the bus once, {seconds} s"
    );
    for (name, kills) in &kills {
        assert!(
            kills.during * 100 >= kills.all * DURING_PERCENT_MIN,
            "{name}: too few kills hit an ingest: {kills:?}"
        );
    }
}

fn one_round(world: &World, round: u64, rng: &mut Rng, kills: &mut BTreeMap<String, Kills>) {
    let set = Set::new(&format!("r{round}"), DOCUMENTS);
    let file = set.file(world);
    let mut victims = services(world);
    victims.push("rc-up".to_owned());
    rng.shuffle(&mut victims);
    let mut ingest = ingest(world, &file);
    let mut killed = Vec::new();
    for victim in &victims {
        std::thread::sleep(rng.up_to(PAUSE_MAX));
        let target = running(world, victim);
        let during = ingest.try_wait().unwrap().is_none();
        kill(target);
        killed.push(target);
        let counted = kills.entry(victim.clone()).or_default();
        counted.all += 1;
        counted.during += u64::from(during);
        if victim == "rc-up" {
            expect_gone(world, round);
            world.up();
        }
    }
    let answer = finish(ingest, round);
    let documents = &answer["documents"];
    let stored = documents["accepted"].as_u64().unwrap() + documents["duplicate"].as_u64().unwrap();
    assert_eq!(
        (stored, &documents["rejected"]),
        (DOCUMENTS as u64, &Value::from(0)),
        "round {round}: {answer:#}"
    );
    for (victim, dead) in victims.iter().zip(&killed) {
        eventually(&format!("round {round}: {victim} is back"), || {
            pid(world, victim).filter(|pid| pid != dead)
        });
    }
    ready(world);
    let key = world.key("acme");
    set.expect_searchable(world, &key);
    set.expect_once_on_bus(world);
    fs_err::remove_file(file).unwrap();
}

fn ingest(world: &World, file: &std::path::Path) -> Child {
    world
        // Few lanes, so that the run lasts.
        .command(&[
            "ingest",
            file.to_str().unwrap(),
            "--concurrency",
            "2",
            "--output",
            "json",
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// What `rc ingest` printed at its end, which must be a good one.
fn finish(mut ingest: Child, round: u64) -> Value {
    let until = monotonic_ns() + u64::try_from(INGEST_MAX.as_nanos()).unwrap();
    while ingest.try_wait().unwrap().is_none() && monotonic_ns() < until {
        std::thread::sleep(Duration::from_millis(20));
    }
    let _ended_or_late = ingest.kill();
    let output = ingest.wait_with_output().unwrap();
    assert!(
        output.status.success(),
        "round {round}: {}",
        crate::world::told(&output)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Nothing that the killed supervisor started goes on.
fn expect_gone(world: &World, round: u64) {
    let until = monotonic_ns() + u64::try_from(GONE_MAX.as_nanos()).unwrap();
    loop {
        let left = left(world);
        if left.is_empty() {
            return;
        }
        assert!(monotonic_ns() < until, "round {round}: left behind: {left:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A number from the environment, for people who look for a fault.
#[expect(
    clippy::disallowed_methods,
    reason = "a switch of this test, not of the product"
)]
fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|error| panic!("{name}={text}: {error}")),
    )
}

#[test]
fn a_killed_rc_ingest_goes_on_where_it_was_and_doubles_nothing() {
    let world = World::new();
    world.up();
    let set = Set::new("client", DOCUMENTS);
    let file = set.file(&world);
    let mut killed = 0;
    for pause_ms in [150, 300, 450] {
        let mut first = ingest(&world, &file);
        std::thread::sleep(Duration::from_millis(pause_ms));
        killed += u32::from(first.try_wait().unwrap().is_none());
        let _maybe_done = first.kill();
        first.wait().unwrap();
    }
    assert!(killed > 0, "no kill hit");
    let answer = finish(ingest(&world, &file), 0);
    assert_eq!(answer["documents"]["rejected"], 0, "{answer:#}");
    let key = world.key("acme");
    set.expect_searchable(&world, &key);
    set.expect_once_on_bus(&world);
}
