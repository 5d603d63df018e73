//! The test of the test: mistakes of our own, each of which a short run must notice.

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
        options.events = 4_000;
        options.mutations = vec![mutation.name.to_owned()];
        options.drain_time = std::time::Duration::from_secs(8);
        let outcome = run(&options);
        let noticed = mutation.shows.iter().any(|fault| outcome.count(*fault) > 0);
        println!(
            "{}: {} -> {:?}{}",
            mutation.name,
            mutation.mistake,
            outcome.found,
            outcome
                .stuck
                .map(|why| format!("; stuck {why}"))
                .unwrap_or_default()
        );
        if !noticed {
            survived.push(mutation.name);
        }
    }
    assert!(survived.is_empty(), "nothing noticed {survived:?}");
}
