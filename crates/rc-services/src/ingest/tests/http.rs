use std::io::Write as _;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::Request;
use rc_test::eventually;
use serde_json::json;

use super::world::{World, write};
use crate::ingest::limits;

/// What it is, path, headers, body, and the status and code that it must get.
type BadRequest<'c> = (&'c str, &'c str, Vec<(&'c str, &'c str)>, Bytes, u16, &'c str);

const LIMIT: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_document_is_stored_replayed_and_followed() {
    let mut world = World::start("sqlite:").await.unwrap();
    let body = r#"{"id":"a b/c","title":"T","text":"hello"}"#;
    let first = world.post("/ingest", "k-1", body).await;
    assert_eq!(first.status, 202, "{first:?}");
    assert_eq!(first.header("idempotency-key"), Some("k-1"));
    assert_eq!(first.header("idempotency-replayed"), None);
    let answer = first.json();
    let batch = answer["batch"].as_str().unwrap().to_owned();
    assert_eq!(
        answer,
        json!({
            "batch": batch, "accepted": 1, "duplicates": 0, "rejected": 0,
            "items": [{ "index": 0, "status": "accepted", "id": "a b/c", "version": 1 }],
        })
    );
    let location = format!("/ingest/batches/{batch}");
    assert_eq!(first.header("location"), Some(&*location));

    let again = world.post("/ingest", "k-1", body).await;
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!((again.status, &again.body), (first.status, &first.body));
    let other = world.post("/ingest", "k-1", r#"{"text":"other"}"#).await;
    assert_eq!((other.status, &*other.code()), (422, "RC-ING-011"));
    assert_eq!(other.header("idempotency-key"), Some("k-1"));
    let equal = world.post("/ingest", "k-2", body).await.json();
    assert_eq!((&equal["accepted"], &equal["duplicates"]), (&json!(0), &json!(1)));
    assert_eq!(equal["items"][0]["version"], 1);

    // stored -> relayed -> indexed
    eventually(LIMIT, "the relay moves the event", async || {
        world.get(&location).await.json()["state"] == "relayed"
    })
    .await;
    world.indexed.store(true, Ordering::Relaxed);
    let status = world.get(&location).await.json();
    assert_eq!(status["state"], "indexed");
    assert_eq!(status["accepted"], 1);
    let foreign = Request::get(&location)
        .header("x-rc-tenant", "globex")
        .body("")
        .unwrap();
    assert_eq!(world.send(foreign).await.code(), "RC-ING-024");
    for unknown in [
        "/ingest/batches/x",
        "/ingest/batches/%ff",
        "/ingest/batches/00000000-0000-0000-0000-000000000000",
    ] {
        assert_eq!(world.get(unknown).await.status, 404, "{unknown}");
    }

    // A restart keeps answers and versions.
    world.restart("sqlite:").await;
    let after = world.post("/ingest", "k-1", body).await;
    assert_eq!(after.header("idempotency-replayed"), Some("true"));
    assert_eq!(after.body, first.body);

    let delete = |key: Option<&str>| {
        let mut request = Request::delete("/docs/a%20b%2Fc").header("x-rc-tenant", "acme");
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        request.body("").unwrap()
    };
    let gone = world.send(delete(Some("del"))).await;
    assert_eq!(
        (gone.status, &gone.json()["items"][0]["version"]),
        (202, &json!(2))
    );
    let replayed = world.send(delete(Some("del"))).await;
    assert_eq!(replayed.header("idempotency-replayed"), Some("true"));
    assert_eq!(world.send(delete(None)).await.code(), "RC-ING-023");
    let back = world.post("/ingest", "k-3", body).await.json();
    assert_eq!(back["items"][0]["version"], 3);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_is_partly_stored_and_says_so() {
    let world = World::start("sqlite:").await.unwrap();
    let lines = "{\"id\":\"a\",\"text\":\"1\"}\n{broken\n{\"id\":\"b\",\"text\":7}\n{\"id\":\"a\",\"text\":\"1\"}\n{\"id\":\"c\",\"text\":\"3\"}\n";
    let gzip = {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(lines.as_bytes()).unwrap();
        encoder.finish().unwrap()
    };
    let zstd = zstd::encode_all(lines.as_bytes(), 3).unwrap();
    let send = async |key: &str, query: &str, encoding: &str, body: Vec<u8>| {
        let request = write(&format!("/ingest/batch{query}"), key)
            .header("content-type", "application/x-ndjson")
            .header("content-encoding", encoding);
        world.send(request.body(body).unwrap()).await
    };
    let first = send("b-1", "", "gzip", gzip).await;
    assert_eq!(first.status, 202, "{first:?}");
    let answer = first.json();
    assert_eq!(
        (&answer["accepted"], &answer["duplicates"], &answer["rejected"]),
        (&json!(2), &json!(1), &json!(2))
    );
    let items = answer["items"].as_array().unwrap();
    let brief: Vec<_> = items
        .iter()
        .map(|i| (i["index"].as_u64().unwrap(), i["status"].as_str().unwrap()))
        .collect();
    assert_eq!(brief, [(1, "rejected"), (2, "rejected"), (3, "duplicate")]);
    assert_eq!(items[0]["code"], "RC-ING-001");
    assert!(items[0]["detail"].as_str().unwrap().starts_with("line 2: "));
    assert_eq!(
        items[1],
        json!({
            "index": 2, "status": "rejected", "code": "RC-ING-016", "pointer": "/2/text",
            "detail": "line 3: expected a string, found the number 7", "retryable": false,
        })
    );
    // Another compression of the same body is the same request.
    let again = send("b-1", "", "zstd", zstd).await;
    assert_eq!((again.status, again.body), (202, first.body));
    let full = send("b-2", "?detail=full", "identity", lines.as_bytes().to_vec())
        .await
        .json();
    assert_eq!(full["items"].as_array().unwrap().len(), 5);
    assert_eq!(full["duplicates"], 3);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_for_the_index_answers_200_or_202() {
    let world = World::start("sqlite:").await.unwrap();
    let path = "/ingest?wait=indexed&timeout=200ms";
    let early = world.post(path, "w-1", r#"{"text":"a"}"#).await;
    assert_eq!((early.status, &early.json()["indexed"]), (202, &json!(false)));
    world.indexed.store(true, Ordering::Relaxed);
    let late = world.post(path, "w-1", r#"{"text":"a"}"#).await;
    assert_eq!((late.status, &late.json()["indexed"]), (200, &json!(true)));
    assert_eq!(late.header("idempotency-replayed"), Some("true"));
    let plain = world.post("/ingest", "w-1", r#"{"text":"a"}"#).await;
    assert_eq!((plain.status, plain.json().get("indexed")), (202, None));
    let nothing = r#"[{"text":1}]"#;
    let nothing = world.post("/ingest/batch?wait=indexed", "w-2", nothing).await;
    assert_eq!((nothing.status, &nothing.json()["rejected"]), (200, &json!(1)));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_equal_requests_at_once_have_one_effect() {
    let world = World::start("sqlite:").await.unwrap();
    let body = r#"[{"text":"one"},{"text":"two"}]"#;
    let answers = join_all((0..50).map(|_| world.post("/ingest/batch?detail=full", "same", body))).await;
    for answer in &answers {
        assert_eq!((answer.status, &answer.body), (202, &answers[0].body));
    }
    let fresh = answers
        .iter()
        .filter(|answer| answer.header("idempotency-replayed").is_none());
    assert_eq!(fresh.count(), 1);
    eventually(LIMIT, "both events are on the bus", async || {
        world.get("/-/bus/wait?after=0&timeout_ms=0").await.json() == json!({ "tail": 2 })
    })
    .await;
    let metrics = String::from_utf8(world.get("/metrics").await.body.to_vec()).unwrap();
    assert!(
        metrics.contains("rc_ingest_items_total{outcome=\"accepted\"} 2"),
        "{metrics}"
    );
    assert!(metrics.contains("rc_ingest_replays_total 49"), "{metrics}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_requests_are_refused_before_anything_is_stored() {
    let world = World::start("sqlite:").await.unwrap();
    let json = ("content-type", "application/json");
    let key = ("idempotency-key", "k");
    let document = Bytes::from_static(br#"{"text":"a"}"#);
    let large = Bytes::from(vec![b' '; limits::BODY_BYTES_MAX + 1]);
    let bomb = Bytes::from(zstd::encode_all(&*vec![b' '; 64 << 20], 3).unwrap());
    let cases: Vec<BadRequest<'_>> = vec![
        (
            "no key",
            "/ingest",
            vec![json],
            document.clone(),
            400,
            "RC-ING-010",
        ),
        (
            "two keys",
            "/ingest",
            vec![json, key, ("idempotency-key", "l")],
            document.clone(),
            400,
            "RC-ING-010",
        ),
        (
            "key with space",
            "/ingest",
            vec![json, ("idempotency-key", "a b")],
            document.clone(),
            400,
            "RC-ING-010",
        ),
        (
            "bad query",
            "/ingest?wait=x",
            vec![json, key],
            document.clone(),
            400,
            "RC-ING-025",
        ),
        (
            "no type",
            "/ingest",
            vec![key],
            document.clone(),
            415,
            "RC-ING-008",
        ),
        (
            "wrong type",
            "/ingest",
            vec![("content-type", "text/html"), key],
            document.clone(),
            415,
            "RC-ING-008",
        ),
        (
            "wrong charset",
            "/ingest",
            vec![("content-type", "application/json; charset=latin1"), key],
            document.clone(),
            415,
            "RC-ING-008",
        ),
        (
            "lines for one",
            "/ingest",
            vec![("content-type", "application/x-ndjson"), key],
            document.clone(),
            415,
            "RC-ING-008",
        ),
        (
            "brotli",
            "/ingest",
            vec![json, key, ("content-encoding", "br")],
            document.clone(),
            415,
            "RC-ING-009",
        ),
        (
            "not gzip",
            "/ingest",
            vec![json, key, ("content-encoding", "gzip")],
            document.clone(),
            400,
            "RC-ING-007",
        ),
        (
            "bomb",
            "/ingest/batch",
            vec![json, key, ("content-encoding", "zstd")],
            bomb,
            413,
            "RC-ING-006",
        ),
        (
            "large",
            "/ingest/batch",
            vec![json, key],
            large,
            413,
            "RC-ING-005",
        ),
        (
            "empty",
            "/ingest",
            vec![json, key],
            Bytes::new(),
            400,
            "RC-ING-013",
        ),
        (
            "no json",
            "/ingest",
            vec![json, key],
            Bytes::from_static(b"{"),
            400,
            "RC-ING-001",
        ),
        (
            "array for one",
            "/ingest",
            vec![json, key],
            Bytes::from_static(b"[]"),
            400,
            "RC-ING-016",
        ),
        (
            "one for batch",
            "/ingest/batch",
            vec![json, key],
            document.clone(),
            400,
            "RC-ING-016",
        ),
        (
            "nul",
            "/ingest",
            vec![json, key],
            Bytes::from_static(br#"{"text":"\u0000"}"#),
            400,
            "RC-ING-003",
        ),
        (
            "utf-8",
            "/ingest",
            vec![json, key],
            Bytes::from_static(b"{\"text\":\"\xff\"}"),
            400,
            "RC-ING-002",
        ),
        (
            "deep",
            "/ingest",
            vec![json, key],
            Bytes::from("[".repeat(100_000) + &"]".repeat(100_000)),
            400,
            "RC-ING-004",
        ),
        (
            "unknown member",
            "/ingest",
            vec![json, key],
            Bytes::from_static(br#"{"txt":"a"}"#),
            400,
            "RC-ING-014",
        ),
        (
            "an id that no URL can name",
            "/ingest",
            vec![json, key],
            Bytes::from_static(br#"{"id":"a/../b","text":"a"}"#),
            400,
            "RC-ING-018",
        ),
        (
            "twice",
            "/ingest",
            vec![json, key],
            Bytes::from_static(br#"{"text":"a","text":"b"}"#),
            400,
            "RC-ING-017",
        ),
    ];
    for (name, path, headers, body, status, code) in cases {
        let mut request = Request::post(path).header("x-rc-tenant", "acme");
        for (header, value) in headers {
            request = request.header(header, value);
        }
        let answer = world.send(request.body(body).unwrap()).await;
        assert_eq!(
            (answer.status, &*answer.code()),
            (status, code),
            "{name}: {answer:?}"
        );
        assert_eq!(
            answer.header("content-type"),
            Some("application/problem+json"),
            "{name}"
        );
        assert!(answer.json()["trace_id"].is_string(), "{name}");
    }
    let untrusted = Request::post("/ingest")
        .header("idempotency-key", "k")
        .header(json.0, json.1);
    let answer = world.send(untrusted.body(document.clone()).unwrap()).await;
    assert_eq!((answer.status, &*answer.code()), (401, "RC-ING-026"));
    let wrong = write("/ingest/batch", "k").header("content-type", "text/csv");
    let wrong = world.send(wrong.body("a,b").unwrap()).await;
    assert!(
        wrong
            .header("accept-post")
            .unwrap()
            .contains("application/x-ndjson")
    );
    let coded = write("/ingest", "k")
        .header(json.0, json.1)
        .header("content-encoding", "br");
    let coded = world.send(coded.body("x").unwrap()).await;
    assert_eq!(coded.header("accept-encoding"), Some("gzip, zstd, identity"));
    // None of them used the key up or stored anything.
    assert_eq!(world.post("/ingest", "k", document).await.status, 202);
    assert_eq!(
        world.get("/-/bus/wait?after=0&timeout_ms=5000").await.json(),
        json!({ "tail": 1 })
    );
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_description_and_the_operational_routes_are_served() {
    let world = World::start("sqlite:").await.unwrap();
    let description = world.get("/openapi.json").await.json();
    assert_eq!(description["openapi"], "3.1.0");
    let ready = world.get("/ready").await;
    assert_eq!(
        (ready.status, &ready.json()["components"]["store"]),
        (200, &json!("ready"))
    );
    assert_eq!(world.get("/nothing").await.status, 404);
    let wrong = Request::put("/ingest")
        .header("x-rc-tenant", "acme")
        .body("")
        .unwrap();
    let wrong = world.send(wrong).await;
    assert_eq!((wrong.status, wrong.header("allow")), (405, Some("POST")));
    // A long poll ends with the event, and remembers who asked.
    let poll = world.get("/-/bus/wait?after=0&timeout_ms=20000&consumer=docs-api");
    let write = world.post("/ingest", "k", r#"{"text":"a"}"#);
    let (tail, _) = tokio::join!(poll, write);
    assert_eq!(tail.json(), json!({ "tail": 1 }));
    assert_eq!(world.get("/-/bus/wait?after=x").await.code(), "RC-ING-025");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_postgres_must_be_migrated_first_and_may_come_and_go() {
    let server = rc_test::Postgres::start_own(false);
    let database = server.fresh_database();
    let refused = World::start(&database.url)
        .await
        .err()
        .expect("an empty database is refused");
    assert_eq!(refused.code, "RC-ING-029");
    assert_eq!(refused.hint.as_deref(), Some("run `rc migrate`"));
    for (schema, migrations) in crate::ingest::postgres_migrations() {
        let options = rc_store::PostgresOptions::new("test", schema);
        let pg = rc_store::Postgres::connect(&database.url, &options).unwrap();
        pg.migrate(&migrations).await.unwrap();
    }

    // Down at the start: it serves, says so, and recovers alone.
    server.stop();
    let world = World::start(&database.url).await.unwrap();
    let ready = world.get("/ready").await;
    assert_eq!(ready.status, 503);
    assert!(
        ready.json()["components"]["store"]
            .as_str()
            .unwrap()
            .starts_with("down: ")
    );
    let document = r#"{"id":"a","text":"a"}"#;
    let answer = world.post("/ingest", "k", document).await;
    assert_eq!((answer.status, &*answer.code()), (503, "RC-ING-022"));
    assert!(answer.header("retry-after").is_some());
    server.start_again();
    eventually(LIMIT, "the service is ready", async || {
        world.get("/ready").await.status == 200
    })
    .await;
    assert_eq!(world.post("/ingest", "k", document).await.status, 202);
    assert_eq!(
        world.get("/-/bus/wait?after=0&timeout_ms=10000").await.json(),
        json!({ "tail": 1 })
    );

    // Lost on the way.
    server.stop();
    eventually(LIMIT, "the loss is seen", async || {
        world.get("/ready").await.status == 503
    })
    .await;
    let answer = world.post("/ingest", "k-2", document).await;
    assert_eq!(answer.status, 503, "{answer:?}");
    server.start_again();
    eventually(LIMIT, "the service is ready again", async || {
        world.get("/ready").await.status == 200
    })
    .await;
    let answer = world.post("/ingest", "k-2", document).await;
    assert_eq!(
        (answer.status, &answer.json()["duplicates"]),
        (202, &json!(1)),
        "{answer:?}"
    );
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_url_that_is_none_is_refused() {
    let refused = World::start("mysql://x").await.err().expect("refused");
    assert_eq!(refused.code, "RC-STO-012");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_ingest_over_the_same_files_waits_for_the_first() {
    let first = World::start("sqlite:").await.unwrap();
    let folder = first.layout.data(&rc_model::ServiceId::new("ingest").unwrap());
    let taken = rc_store::Sqlite::open(&folder.join("ingest.db"), rc_store::SqliteOptions::default());
    assert_eq!(taken.unwrap_err().kind(), rc_store::ErrorKind::WriterTaken);
    first.stop().await;
    let free = rc_store::Sqlite::open(&folder.join("ingest.db"), rc_store::SqliteOptions::default());
    free.map(drop).unwrap_or_else(|error| panic!("{error:?}"));
}
