//! `kill -9` of docs-api while its read model is built anew.

use std::time::Duration;

use rc_model::{Clock as _, SystemClock};
use rc_test::Rng;

use super::documents::Set;
use super::processes::{kill, pid, ready, running};
use crate::world::{World, eventually};

/// Kills, each in a rebuild of its own; fewer than the crashes after which the supervisor gives a service up.
const ROUNDS: u64 = 4;

/// Documents: a rebuild of them takes longer than a pause.
const DOCUMENTS: usize = 10_000;

/// Longest pause between the begin and the kill: about what a rebuild takes undisturbed.
const PAUSE_MAX: Duration = Duration::from_secs(2);

#[test]
fn slow_kill_9_during_a_rebuild_leaves_one_read_model_that_is_whole() {
    let seed = SystemClock.now().unix_ms().unsigned_abs();
    println!("rebuild: seed {seed}");
    let mut rng = Rng::new(seed);
    let world = World::new();
    world.up();
    let set = Set::new("rebuilt", DOCUMENTS);
    let file = set.file(&world);
    world.ok(&["ingest", file.to_str().unwrap()]);
    let key = world.key("acme");
    set.expect_searchable(&world, &key);
    for round in 0..ROUNDS {
        let target = running(&world, "docs-api");
        eventually("a rebuild begins", || {
            let begun = world.rc(&["events", "rebuild", "docs-api", "--reason", "a test"]);
            begun.status.success().then_some(())
        });
        std::thread::sleep(rng.up_to(PAUSE_MAX));
        kill(target);
        eventually("docs-api is back", || {
            pid(&world, "docs-api").filter(|found| *found != target)
        });
        ready(&world);
        // Whichever serves, and while the other one is gone on with.
        set.expect_searchable(&world, &key);
        let ended = eventually("the rebuild ends by itself", || {
            let status = world.rc(&["events", "rebuild", "--status", "--output", "json"]);
            let status: serde_json::Value = serde_json::from_slice(&status.stdout).ok()?;
            status["building"].is_null().then_some(status)
        });
        assert_eq!(ended["last"]["outcome"], "switched", "round {round}: {ended:#}");
        set.expect_searchable(&world, &key);
    }
    // The next start leaves one generation on the disk.
    world.ok(&["down"]);
    world.up();
    ready(&world);
    eventually("one generation is left", || {
        let folder = world.path().join(".royalcrown/data/docs-api");
        let files = ["docs.db", "docs-b.db"].map(|name| folder.join(name).exists());
        (files[0] != files[1]).then_some(())
    });
    set.expect_searchable(&world, &key);
    world.ok(&["down"]);
}
