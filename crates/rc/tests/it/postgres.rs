//! The whole platform on a real PostgreSQL: refused before `rc migrate`, served after, and back by itself
//! when the server was away.

use serde_json::Value;

use crate::world::{World, eventually, told};

/// A project whose store is a database of `server`.
fn world_on(server: &rc_test::Postgres) -> World {
    let database = server.fresh_database();
    let world = World::new();
    let settings = format!(
        "gateway:\n  listen: {}\nstore:\n  url: \"{}\"\n",
        world.address, database.url
    );
    world.write("royalcrown.yaml", &settings);
    world
}

#[test]
fn live_the_platform_runs_on_postgresql_and_survives_its_restart() {
    let server = rc_test::Postgres::start_own(true);
    let world = world_on(&server);

    let refused = world.rc(&["up", "--detach", "--wait", "5s"]);
    assert!(!refused.status.success(), "{}", told(&refused));
    assert!(told(&refused).contains("rc migrate"), "{}", told(&refused));
    let check = world.rc(&["migrate", "--check"]);
    assert_eq!(check.status.code(), Some(1), "{}", told(&check));
    world.ok(&["migrate"]);
    assert!(world.ok(&["migrate"]).contains("0 steps applied"));
    world.ok(&["migrate", "--check"]);

    world.up();
    let (acme, globex) = (world.key("acme"), world.key("globex"));
    let body = r#"{"id":"one","title":"Report","text":"the harbour report of november"}"#;
    let stored = world.post("/ingest?wait=indexed&timeout=15s", &acme, "k1", body);
    assert_eq!(stored.status, 200, "{stored:?}");
    assert_eq!(
        world.get("/search?q=%22harbour+report%22", &acme).json()["hits"][0]["id"],
        "one"
    );
    assert_eq!(
        world.get("/search?q=harbour", &globex).json()["hits"],
        Value::Array(Vec::new())
    );
    assert_eq!(world.get("/docs/one", &globex).status, 404);

    server.stop();
    let away = eventually("reads are refused while the server is away", || {
        let answer = world.get("/docs/one", &acme);
        (answer.status == 503).then_some(answer)
    });
    assert!(away.header("retry-after").is_some(), "{away:?}");
    let write = world.post("/ingest", &acme, "k2", r#"{"id":"two","text":"another"}"#);
    assert_eq!(write.status, 503, "{write:?}");
    assert!(write.header("retry-after").is_some(), "{write:?}");

    server.start_again();
    eventually("reads come back", || {
        (world.get("/docs/one", &acme).status == 200).then_some(())
    });
    eventually("writes come back", || {
        let answer = world.post(
            "/ingest?wait=indexed&timeout=15s",
            &acme,
            "k2",
            r#"{"id":"two","text":"another"}"#,
        );
        (answer.status == 200).then_some(())
    });
    assert_eq!(world.json(&["status"])["state"], "ready");
}
