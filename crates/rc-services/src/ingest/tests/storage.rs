use std::time::Duration;

use http::Request;
use rc_store::{Sqlite, SqliteOptions};
use rc_test::eventually;
use serde_json::json;

use super::world::{Answer, World};
use crate::ingest::{RECOUNT_PATH, SQLITE_MIGRATIONS};

async fn put(world: &World, key: &str, limit: &str, body: &str) -> Answer {
    let request = Request::post("/ingest")
        .header("x-rc-tenant", "acme")
        .header("x-rc-storage", limit)
        .header("content-type", "application/json")
        .header("idempotency-key", key)
        .body(body.to_owned());
    world.send(request.unwrap()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_over_the_quota_is_told_how_much_there_is_and_a_delete_makes_room() {
    let world = World::start("sqlite:").await.unwrap();
    let (first, second) = (r#"{"id":"a","text":"12345"}"#, r#"{"id":"b","text":"12345"}"#);
    assert_eq!(first.len(), 25);
    assert_eq!(put(&world, "k-1", "40", first).await.status, 202);
    let refused = put(&world, "k-2", "40", second).await;
    assert_eq!((refused.status, &*refused.code()), (429, "RC-ING-034"));
    let problem = refused.json();
    assert_eq!(
        problem["detail"],
        "the tenant has 25 bytes of documents and may have 40; this request adds 25"
    );
    assert_eq!(problem["violated-policies"], json!(["storage"]));
    assert_eq!(
        problem["type"],
        "https://iana.org/assignments/http-problem-types#quota-exceeded"
    );
    assert_eq!(refused.header("retry-after"), None);
    assert_eq!(
        refused.header("ratelimit-policy"),
        Some(r#""storage";q=40;qu="content-bytes""#)
    );
    assert_eq!(refused.header("ratelimit"), Some(r#""storage";r=15"#));
    let usage = world.get("/-/storage?tenant=acme").await;
    assert_eq!(
        usage.json(),
        json!({ "used_bytes": 25, "reserved_bytes": 0, "unmeasured_documents": 0 })
    );
    assert_eq!(world.get("/-/storage?tenant=ACME").await.code(), "RC-ING-025");
    assert_eq!(world.get("/-/storage").await.code(), "RC-ING-025");

    let delete = Request::delete("/docs/a").header("x-rc-tenant", "acme").body("");
    assert_eq!(world.send(delete.unwrap()).await.status, 202);
    // The same key: a refusal keeps none.
    assert_eq!(put(&world, "k-2", "40", second).await.status, 202);
    assert_eq!(put(&world, "k-3", "10;shadow", first).await.status, 202);
    let text = world.deps.metrics.render();
    assert!(text.contains("rc_ingest_quota_shadowed_total 1"), "{text}");
    assert!(
        text.contains(r#"rc_ingest_refused_total{code="RC-ING-034"} 1"#),
        "{text}"
    );

    let recount = |reason: &str| {
        let wish = json!({ "tenant": "acme", "reason": reason }).to_string();
        let request = Request::post(RECOUNT_PATH).header("content-type", "application/json");
        world.send(request.body(wish).unwrap())
    };
    assert_eq!(recount("").await.status, 400);
    let found = recount("to be sure").await;
    assert_eq!(found.json(), json!({ "used_bytes_before": 50, "used_bytes": 50 }));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents_of_an_older_version_are_counted_by_what_docs_api_has() {
    let folder = tempfile::tempdir().unwrap();
    let mut world = World::new(folder.path());
    let ingest = world.layout.data(&rc_model::ServiceId::new("ingest").unwrap());
    fs_err::create_dir_all(&ingest).unwrap();
    let db = Sqlite::open(&ingest.join("ingest.db"), SqliteOptions::default()).unwrap();
    db.migrate(&SQLITE_MIGRATIONS).await.unwrap();
    let before = "INSERT INTO documents (tenant, id, version, fingerprint, deleted) VALUES
        ('acme', 'a', 1, zeroblob(16), 0), ('acme', 'b', 2, zeroblob(16), 0), ('globex', 'c', 1, zeroblob(16), 0)";
    db.write("test", move |conn| Ok(conn.execute_batch(before)?))
        .await
        .unwrap();
    db.close().await;
    drop(db);
    world.restart("sqlite:").await;
    eventually(Duration::from_secs(20), "two of three are measured", async || {
        world.get("/-/storage?tenant=globex").await.json()["used_bytes"] == 100
    })
    .await;
    // The world's docs-api has all documents in version 1.
    assert_eq!(
        world.get("/-/storage?tenant=acme").await.json(),
        json!({ "used_bytes": 100, "reserved_bytes": 0, "unmeasured_documents": 1 })
    );
    world.stop().await;
}
