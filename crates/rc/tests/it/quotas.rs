//! Storage quotas through the whole platform: from `tenants.yaml` over the gateway to ingest's ledger, and `rc tenant usage`.

use crate::world::{World, eventually, told};

fn tenants(limit: &str) -> String {
    format!(
        "tenants:\n  acme: {{tier: gold, demo: true, storage: {{limit: {limit}}}}}\n  globex: {{tier: gold}}\n"
    )
}

/// A document of 100 bytes of JSON.
fn document(id: char) -> String {
    let text = "x".repeat(100 - r#"{"id":"a","text":""}"#.len());
    format!(r#"{{"id":"{id}","text":"{text}"}}"#)
}

fn check(world: &World) {
    world.write("tenants.yaml", &tenants("250B"));
    world.up();
    let key = world.key("acme");
    let put = |id: char, attempt: &str| world.post("/ingest", &key, attempt, &document(id));
    assert_eq!((put('a', "k1").status, put('b', "k2").status), (202, 202));
    let refused = put('c', "k3");
    assert_eq!(refused.status, 429, "{refused:?}");
    assert_eq!(refused.json()["code"], "RC-ING-034");
    assert_eq!(refused.header("retry-after"), None);
    // A client cannot give itself another limit, and its neighbour has its own.
    let head = format!(
        "POST /ingest HTTP/1.1\nAuthorization: Bearer {key}\nContent-Type: application/json\n\
         Idempotency-Key: k4\nX-RC-Storage: 999999999"
    );
    assert_eq!(world.http(&head, document('d').as_bytes()).status, 429);
    let other = world.key("globex");
    assert_eq!(world.post("/ingest", &other, "k1", &document('a')).status, 202);

    let usage = world.json(&["tenant", "usage", "acme"]);
    assert_eq!(usage["used_bytes"], 200, "{usage}");
    assert_eq!(
        (&usage["limit_bytes"], &usage["mode"]),
        (&250.into(), &"enforce".into())
    );
    // Reads and deletes go on, and what was deleted makes room.
    let gone = world.http(
        &format!("DELETE /docs/a?wait=indexed&timeout=15s HTTP/1.1\nAuthorization: Bearer {key}"),
        b"",
    );
    assert_eq!(gone.status, 200, "{gone:?}");
    assert_eq!(world.get("/docs/b", &key).status, 200);
    assert_eq!(put('c', "k3").status, 202);
    assert_eq!(put('d', "k4").status, 429);
    // A limit that is raised applies without a restart.
    world.write("tenants.yaml", &tenants("300B"));
    eventually("the limit is raised", || {
        (put('d', "k4").status == 202).then_some(())
    });
    let full = world.rc(&["tenant", "usage", "acme"]);
    assert_eq!(full.status.code(), Some(1), "{}", told(&full));
    let said = String::from_utf8_lossy(&full.stdout).into_owned();
    assert_eq!(said, "used      300B\nreserved  0B\nlimit     300B\n");

    let counted = world.json_of(&["tenant", "usage", "acme", "--recount", "--reason", "to be sure"]);
    assert_eq!(
        (
            &counted["recount"]["used_bytes_before"],
            &counted["recount"]["used_bytes"]
        ),
        (&300.into(), &300.into())
    );
    eventually("the recount is in the audit log", || {
        let log = world.json(&["audit", "log", "--action", "storage.recount"]);
        let entries = log["entries"].as_array()?;
        entries
            .iter()
            .any(|entry| entry["resource"]["tenant"] == "acme")
            .then_some(())
    });
    let alone = world.rc(&["tenant", "usage", "acme", "--recount"]);
    assert_eq!(alone.status.code(), Some(2), "{}", told(&alone));
}

#[test]
fn live_a_tenant_stores_no_more_than_it_may_in_the_embedded_store() {
    check(&World::new());
}

#[test]
fn live_a_tenant_stores_no_more_than_it_may_on_postgresql() {
    let server = rc_test::Postgres::start();
    let world = World::new();
    let settings = format!(
        "gateway:\n  listen: {}\nstore:\n  url: \"{}\"\n",
        world.address,
        server.fresh_database().url
    );
    world.write("royalcrown.yaml", &settings);
    world.ok(&["migrate"]);
    check(&world);
}
