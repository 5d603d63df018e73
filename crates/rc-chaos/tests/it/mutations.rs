//! The test of the test: mistakes of our own, each of which a short run must notice.

use rc_chaos::checker::{Channel, Fault as Wrong};
use rc_chaos::fault::Fault;
use rc_chaos::mutation::{HEALED, MUTATIONS, Mutation};

use crate::world::{options, run};

/// Runs with other choices until a mistake counts as one that nothing notices.
const RUNS_MAX: u64 = 8;

/// Two halves, side by side.
#[test]
fn slow_live_every_other_mutation_is_noticed_for_the_right_reason() {
    all_are_noticed(MUTATIONS.iter().step_by(2));
}

#[test]
fn slow_live_the_mutations_between_are_noticed_for_the_right_reason() {
    all_are_noticed(MUTATIONS.iter().skip(1).step_by(2));
}

fn all_are_noticed(mutations: impl Iterator<Item = &'static Mutation>) {
    let mut survived = Vec::new();
    for mutation in mutations {
        // Where two processes must meet, they do not in every run.
        let noticed = (0..RUNS_MAX).any(|seed| is_noticed(mutation, seed));
        if !noticed {
            survived.push(mutation.name);
        }
    }
    assert!(survived.is_empty(), "nothing noticed {survived:?}");
}

#[test]
fn slow_live_a_mistake_that_another_guard_makes_good_changes_nothing() {
    for healed in HEALED {
        let folder = tempfile::tempdir().unwrap();
        let mut options = options(healed.combination, folder.path());
        options.only = Some(healed.faults.to_vec());
        options.faults = u64::try_from(healed.faults.len()).unwrap() * 2;
        options.poison = healed.poison;
        options.events = 2_500;
        options.mutations = vec![healed.name.to_owned()];
        let outcome = run(&options);
        println!("{}: {}: {:?}", healed.name, healed.guard, outcome.found);
        assert!(outcome.faults() > 0, "{}: {outcome:#?}", healed.name);
        // What waits behind an event that cannot be applied has no effect, with the mistake or without.
        let waits = |(fault, channel, _): &(Wrong, Channel, u64)| {
            healed.poison && (*fault, *channel) == (Wrong::Lost, Channel::Effects)
        };
        assert!(outcome.found.iter().all(waits), "{}: {outcome:#?}", healed.name);
        assert_eq!((outcome.stuck, outcome.panics), (None, 0), "{}", healed.name);
    }
}

fn is_noticed(mutation: &Mutation, seed: u64) -> bool {
    let folder = tempfile::tempdir().unwrap();
    let mut options = options(mutation.combination, folder.path());
    options.seed += seed;
    options.only = (!mutation.faults.is_empty()).then(|| mutation.faults.to_vec());
    // A relay past its lease takes long and shows at once.
    let rounds = if matches!(mutation.faults, [Fault::Zombie(_)]) {
        1
    } else {
        2
    };
    options.faults = u64::try_from(mutation.faults.len()).unwrap() * rounds;
    options.oversize = mutation.name == "relay.park_only_row";
    // One that shows in plain work shows soon, and may leave little that works.
    options.events = if mutation.faults.is_empty() { 1_000 } else { 2_500 };
    options.mutations = [&[mutation.name], mutation.with]
        .concat()
        .into_iter()
        .map(str::to_owned)
        .collect();
    options.drain_time = std::time::Duration::from_secs(5);
    let outcome = run(&options);
    let shown = |(fault, channel, _): &(Wrong, Channel, u64)| mutation.shows.contains(&(*fault, *channel));
    let noticed = outcome.found.iter().any(shown);
    println!(
        "{} ({}), seed {}, {} s, {:?}: {}: {:?}; {}",
        mutation.name,
        mutation.mistake,
        options.seed,
        outcome.seconds,
        outcome.faults,
        if noticed { "noticed" } else { "SURVIVED" },
        outcome.found,
        outcome.stuck.unwrap_or_default()
    );
    noticed
}
