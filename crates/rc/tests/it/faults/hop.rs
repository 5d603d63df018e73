//! The way from the gateway to ingest, through a proxy that does what networks do: cut, stand still, be slow,
//! let nobody in. A client that sends the same request with the same key again has one effect.

use std::time::Duration;

use rc_model::clock::monotonic_ns;
use rc_test::chaos::{Proxy, Weather};

use super::documents::Set;
use crate::world::{Answer, World, eventually};

/// The tenant's longest request here, so that a hop that stands still is seen to end by it.
const TENANT_TIMEOUT: Duration = Duration::from_secs(3);

/// A platform whose gateway reaches ingest through a proxy.
fn world() -> (World, Proxy) {
    let world = World::new();
    let timeout = TENANT_TIMEOUT.as_secs();
    world.write(
        "tenants.yaml",
        &format!("tenants:\n  acme: {{tier: gold, demo: true, timeout: {timeout}s}}\n"),
    );
    world.up();
    // A listener stays where it listens when its file gets another name.
    let run = world.path().canonicalize().unwrap().join(".royalcrown/run");
    let (public, hidden) = (run.join("ingest.sock"), run.join("behind.sock"));
    fs_err::rename(&public, &hidden).unwrap();
    let proxy = Proxy::unix(&public, &hidden);
    (world, proxy)
}

fn post(world: &World, key: &str, set: &Set, number: usize) -> Answer {
    world.post("/ingest", key, &format!("key-{number}"), &set.document(number))
}

#[test]
fn slow_a_hop_that_fails_in_every_way_stores_each_document_once() {
    const DOCUMENTS: usize = 300;
    let (world, proxy) = world();
    let key = world.key("acme");
    let set = Set::new("hop", DOCUMENTS);
    let mut seen = std::collections::BTreeMap::new();
    std::thread::scope(|scope| {
        let (set, world, key) = (&set, &world, &key);
        let sender = scope.spawn(move || {
            let mut seen = std::collections::BTreeMap::new();
            for number in 0..DOCUMENTS {
                eventually(&format!("document {number} is acknowledged"), || {
                    let answer = post(world, key, set, number);
                    *seen.entry(answer.status).or_insert(0) += 1;
                    assert!(matches!(answer.status, 202 | 502..=504), "{answer:?}");
                    (answer.status == 202).then_some(())
                });
            }
            seen
        });
        let pause = |ms| std::thread::sleep(Duration::from_millis(ms));
        while !sender.is_finished() {
            proxy.set(Weather::Slow(Duration::from_millis(5)));
            pause(300);
            proxy.cut();
            proxy.set(Weather::Refusing);
            pause(200);
            proxy.set(Weather::Clear);
            pause(100);
            proxy.cut();
            pause(100);
            proxy.cut();
        }
        seen.extend(sender.join().unwrap());
    });
    println!("hop: answers by status while the hop failed: {seen:?}");
    assert!(
        seen.keys().any(|status| *status != 202),
        "nothing failed: {seen:?}"
    );
    set.expect_searchable(&world, &key);
    set.expect_once_on_bus(&world);
}

#[test]
fn a_hop_that_stands_still_ends_by_the_tenants_timeout_and_comes_back() {
    let (world, proxy) = world();
    let key = world.key("acme");
    let set = Set::new("still", 2);
    assert_eq!(post(&world, &key, &set, 0).status, 202);
    proxy.set(Weather::Silent);
    let start = monotonic_ns();
    let answer = post(&world, &key, &set, 1);
    let took = Duration::from_nanos(monotonic_ns() - start);
    assert_eq!(
        (answer.status, &answer.json()["code"]),
        (504, &"RC-GW-015".into()),
        "{answer:?}"
    );
    assert!(
        took >= TENANT_TIMEOUT && took < TENANT_TIMEOUT + Duration::from_secs(2),
        "{took:?}"
    );
    // Reads go another way, and do not notice.
    assert_eq!(world.get("/search?q=stillw0", &key).status, 200);
    proxy.set(Weather::Clear);
    eventually("the write is done", || {
        (post(&world, &key, &set, 1).status == 202).then_some(())
    });
    set.expect_searchable(&world, &key);
    set.expect_once_on_bus(&world);
}
