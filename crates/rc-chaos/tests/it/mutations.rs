//! The test of the test: mistakes of our own, each of which a short run must notice.

use rc_chaos::checker::{Channel, Fault};
use rc_chaos::mutation::MUTATIONS;

use crate::world::{options, run};

#[test]
fn slow_live_every_mutation_is_noticed_for_the_right_reason() {
    let mut survived = Vec::new();
    for mutation in MUTATIONS {
        let folder = tempfile::tempdir().unwrap();
        let mut options = options(mutation.combination, folder.path());
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
        let shown =
            |(fault, channel, _): &(Fault, Channel, u64)| mutation.shows.contains(&(*fault, *channel));
        let noticed = outcome.found.iter().any(shown);
        println!(
            "{} ({}), {} s, {:?}: {}: {:?}; {}",
            mutation.name,
            mutation.mistake,
            outcome.seconds,
            outcome.faults,
            if noticed { "noticed" } else { "SURVIVED" },
            outcome.found,
            outcome.stuck.unwrap_or_default()
        );
        if !noticed {
            survived.push(mutation.name);
        }
    }
    assert!(survived.is_empty(), "nothing noticed {survived:?}");
}
