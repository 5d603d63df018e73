//! The test of the test: mistakes of our own, each of which a short run must notice.

use rc_chaos::checker::{Channel, Fault};
use rc_chaos::mutation::{MUTATIONS, Mutation};

use crate::world::{options, run};

/// Runs with other choices until a mistake counts as one that nothing notices.
const RUNS_MAX: u64 = 8;

#[test]
fn slow_live_every_mutation_is_noticed_for_the_right_reason() {
    let mut survived = Vec::new();
    for mutation in MUTATIONS {
        // Where two processes must meet, they do not in every run.
        let noticed = (0..RUNS_MAX).any(|seed| is_noticed(mutation, seed));
        if !noticed {
            survived.push(mutation.name);
        }
    }
    assert!(survived.is_empty(), "nothing noticed {survived:?}");
}

fn is_noticed(mutation: &Mutation, seed: u64) -> bool {
    let folder = tempfile::tempdir().unwrap();
    let mut options = options(mutation.combination, folder.path());
    options.seed += seed;
    options.only = (!mutation.faults.is_empty()).then(|| mutation.faults.to_vec());
    options.faults = u64::try_from(mutation.faults.len()).unwrap() * 2;
    options.oversize = mutation.name == "relay.park_only_row";
    options.events = 2_500;
    options.mutations = [&[mutation.name], mutation.with]
        .concat()
        .into_iter()
        .map(str::to_owned)
        .collect();
    options.drain_time = std::time::Duration::from_secs(5);
    let outcome = run(&options);
    let shown = |(fault, channel, _): &(Fault, Channel, u64)| mutation.shows.contains(&(*fault, *channel));
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
