//! The whole platform with NATS JetStream as its bus, on both stores: served, searchable, and while the bus is
//! away documents are taken and found when it is back.

use rc_test::Nats;
use rc_test::nats::Sync;

use crate::world::{World, eventually};

/// A project whose bus is a stream of `nats`, and whose store is `store`.
fn world_on(nats: &Nats, store: &str) -> World {
    let world = World::new();
    let settings = format!(
        "gateway:\n  listen: {}\nstore:\n  url: \"{store}\"\nbus:\n  url: \"nats://{}/shop?monitor={}\"\n",
        world.address,
        nats.address(),
        nats.monitor()
    );
    world.write("royalcrown.yaml", &settings);
    world
}

fn works(world: &World, nats: &Nats) {
    world.up();
    let acme = world.key("acme");
    let body = r#"{"id":"one","title":"Report","text":"the harbour report of november"}"#;
    let stored = world.post("/ingest?wait=indexed&timeout=15s", &acme, "k1", body);
    assert_eq!(stored.status, 200, "{stored:?}");
    let found = world.get("/search?q=%22harbour+report%22", &acme).json();
    assert_eq!(found["hits"][0]["id"], "one");
    let events = world.json(&["events", "status"]);
    assert_eq!(events["buses"][0]["tail"], 1, "{events}");
    assert_eq!(events["consumers"][0]["name"], "docs-api", "{events}");
    assert_eq!(events["relays"][0]["state"], "moving", "{events}");

    nats.kill();
    eventually("what is down is named", || {
        let said = world.rc(&["events", "status"]);
        (said.status.code() == Some(1)).then_some(())
    });
    let body = r#"{"id":"two","text":"taken while the bus was away"}"#;
    let taken = world.post("/ingest", &acme, "k2", body);
    assert_eq!(taken.status, 202, "the outbox takes it: {taken:?}");
    assert_eq!(
        world.get("/docs/one", &acme).status,
        200,
        "what was applied can be read"
    );

    nats.start_again();
    eventually("what was taken meanwhile is found", || {
        (world.get("/docs/two", &acme).status == 200).then_some(())
    });
    eventually("everything is ready again", || {
        let state = world.json_of(&["status"])["state"].clone();
        (state == "ready").then_some(())
    });
    assert_eq!(world.json(&["events", "status"])["relays"][0]["waiting"], 0);
}

#[test]
fn live_the_platform_runs_on_sqlite_and_nats_and_survives_its_loss() {
    let nats = Nats::start_own(Sync::Always, "");
    works(&world_on(&nats, "sqlite:"), &nats);
}

#[test]
fn live_the_platform_runs_on_postgresql_and_nats_and_survives_its_loss() {
    let nats = Nats::start_own(Sync::Always, "");
    let database = rc_test::Postgres::start().fresh_database();
    let world = world_on(&nats, &database.url);
    world.ok(&["migrate"]);
    works(&world, &nats);
}
