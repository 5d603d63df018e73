//! The whole service: started, fed by a bus, without its store, stopped.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use rc_events::bus::Publish;
use rc_events::{Bus, Cursor, NewEvent, PostgresBus, Record, SqliteBus};
use rc_model::project::{AccessLog, ConsumersSection};
use rc_model::{Layout, ServiceId, SystemClock};
use rc_serve::{Metrics, Readiness, Tree, uds};
use rc_store::{Postgres, PostgresOptions};
use rc_test::eventually;
use serde_json::{Value, json};

use super::world::{document, put};
use crate::docs;
use crate::service::{Deps, ServiceConfig, StartError};

const SOON: Duration = Duration::from_secs(30);

struct Service {
    layout: Layout,
    tree: Tree,
}

impl Service {
    async fn start(project: &Path, store_url: &str) -> Result<Self, StartError> {
        Self::start_with(project, store_url, async |config, deps| {
            docs::run(config, deps).await
        })
        .await
    }

    async fn start_with(
        project: &Path,
        store_url: &str,
        run: impl AsyncFnOnce(ServiceConfig, Deps) -> Result<(), StartError>,
    ) -> Result<Self, StartError> {
        let layout = Layout::new(project);
        fs_err::create_dir_all(layout.run()).unwrap();
        let tree = Tree::new();
        let config = ServiceConfig {
            layout: layout.clone(),
            store_url: store_url.to_owned(),
            bus: None,
            consumers: ConsumersSection::default(),
            schemas: Arc::default(),
            access: AccessLog::Off,
        };
        let deps = Deps {
            tree: tree.clone(),
            clock: SystemClock::shared(),
            metrics: Metrics::new(),
            readiness: Readiness::new(),
            telemetry: None,
            marks: rc_serve::Marks::default(),
        };
        run(config, deps).await?;
        Ok(Self { layout, tree })
    }

    async fn get(&self, target: &str) -> http::Response<Bytes> {
        let socket = self.layout.socket(&ServiceId::new("docs-api").unwrap());
        let request = Request::get(target)
            .header("x-rc-tenant", "acme")
            .body(Bytes::new())
            .unwrap();
        uds::call(&socket, request, SOON).await.unwrap()
    }

    async fn ready(&self) -> (StatusCode, Value) {
        let answer = self.get("/ready").await;
        (answer.status(), serde_json::from_slice(answer.body()).unwrap())
    }

    async fn finds(&self, word: &str, total: u64) -> bool {
        let answer = self.get(&format!("/search?q={word}")).await;
        let body: Value = serde_json::from_slice(answer.body()).unwrap();
        body["total"] == total
    }
}

/// Publishes the first events of a bus.
async fn publish(bus: &dyn Bus, ids: &[&str]) {
    let events = ids.iter().map(|id| put("acme", 1, document(id, "", "word")));
    publish_events(bus, events.collect()).await;
}

async fn publish_events(bus: &dyn Bus, events: Vec<NewEvent>) {
    let records = (1..)
        .zip(events)
        .map(|(origin_pos, event)| Record { origin_pos, event })
        .collect();
    let publish = Publish {
        origin: "ingest".to_owned(),
        expected: Cursor::default(),
        cursor: Cursor::new("1"),
        records,
    };
    bus.publish(publish).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_ready_before_there_is_a_bus_and_follows_it_later() {
    let project = tempfile::tempdir().unwrap();
    let service = Service::start(project.path(), "sqlite:").await.unwrap();
    let (status, ready) = service.ready().await;
    let components = json!({"audit": "ready", "letters": "ready", "projector": "ready", "store": "ready"});
    assert_eq!(
        (status, ready),
        (
            StatusCode::OK,
            json!({"state": "ready", "components": components})
        )
    );
    assert!(service.finds("word", 0).await);
    let bus = SqliteBus::open(&crate::ingest::bus_file(&service.layout), SystemClock::shared())
        .await
        .unwrap();
    publish(&bus, &["a", "b"]).await;
    eventually(SOON, "documents of the bus are found", async || {
        service.finds("word", 2).await
    })
    .await;
    let metrics = service.get("/metrics").await;
    let metrics = std::str::from_utf8(metrics.body()).unwrap().to_owned();
    assert!(metrics.contains("rc_docs_events_applied_total 2"), "{metrics}");
    assert!(
        metrics.contains("rc_docs_index_delay_seconds_count 2"),
        "{metrics}"
    );
    assert!(metrics.contains(r#"route="/search""#), "{metrics}");
    let description = service.get("/openapi.json").await;
    assert_eq!(description.status(), StatusCode::OK);

    // A second one on the same file is refused, and the first one stops cleanly and can come back.
    let second = Service::start(project.path(), "sqlite:")
        .await
        .err()
        .expect("the file has a writer");
    assert_eq!(second.code, "RC-STO-009");
    service.tree.drain(SOON).await.unwrap();
    drop(service);
    let mut again = None;
    eventually(SOON, "the file is free again", async || {
        again = Service::start(project.path(), "sqlite:").await.ok();
        again.is_some()
    })
    .await;
    let again = again.expect("it was just there");
    assert!(
        again.finds("word", 2).await,
        "what was applied stays, without the bus"
    );
    again.tree.drain(SOON).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_it_cannot_apply_holds_up_its_document_only() {
    let project = tempfile::tempdir().unwrap();
    let file = crate::ingest::bus_file(&Layout::new(project.path()));
    fs_err::create_dir_all(file.parent().unwrap()).unwrap();
    let bus = SqliteBus::open(&file, SystemClock::shared()).await.unwrap();
    let unheard = NewEvent {
        event_type: "doc.unheard-of.v1".into(),
        ..put("acme", 1, document("a", "", "word"))
    };
    let events = vec![
        unheard,
        put("acme", 2, document("a", "", "word")),
        put("acme", 1, document("b", "", "word")),
    ];
    publish_events(&bus, events).await;
    let service = Service::start(project.path(), "sqlite:").await.unwrap();
    eventually(SOON, "the other document is there", async || {
        service.ready().await.0 == StatusCode::OK && service.finds("word", 1).await
    })
    .await;
    service.tree.drain(SOON).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_ready_when_it_has_looked_at_the_bus() {
    let project = tempfile::tempdir().unwrap();
    let file = crate::ingest::bus_file(&Layout::new(project.path()));
    fs_err::create_dir_all(file.parent().unwrap()).unwrap();
    let bus = SqliteBus::open(&file, SystemClock::shared()).await.unwrap();
    publish(&bus, &["a"]).await;
    let service = Service::start(project.path(), "sqlite:").await.unwrap();
    eventually(SOON, "the first batch is applied", async || {
        service.ready().await.0 == StatusCode::OK
    })
    .await;
    assert!(service.finds("word", 1).await, "ready comes after it");
    service.tree.drain(SOON).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_ingest_accepts_is_searchable_when_it_says_so() {
    let project = tempfile::tempdir().unwrap();
    let docs = Service::start(project.path(), "sqlite:").await.unwrap();
    let ingest = Service::start_with(project.path(), "sqlite:", async |config, deps| {
        crate::ingest::run(config, deps).await
    })
    .await
    .unwrap();
    let socket = docs.layout.socket(&ServiceId::new("ingest").unwrap());
    let write = async |method: &str, target: &str, key: String, body: String| {
        let request = Request::builder()
            .method(method)
            .uri(format!("{target}?wait=indexed&timeout=20s"))
            .header("x-rc-tenant", "acme")
            .header("idempotency-key", key)
            .header("content-type", "application/json")
            .body(Bytes::from(body))
            .unwrap();
        let answer = uds::call(&socket, request, SOON).await.unwrap();
        assert!(answer.status().is_success(), "{:?}", answer.body());
        let body: Value = serde_json::from_slice(answer.body()).unwrap();
        assert_eq!(body["indexed"], true, "{body}");
    };
    // Each round reads at once what it wrote: a stale answer, shared or not, would show.
    for round in 1..=30_u64 {
        let items: Vec<Value> = (0..5)
            .map(|number| json!({"id": format!("doc{number}"), "text": format!("word round{round}")}))
            .collect();
        write(
            "POST",
            "/ingest/batch",
            format!("put-{round}"),
            json!(items).to_string(),
        )
        .await;
        let word = format!("round{round}");
        let (found, document) = futures_util::join!(docs.finds(&word, 5), docs.get("/docs/doc4"));
        assert!(found, "round {round}");
        let document: Value = serde_json::from_slice(document.body()).unwrap();
        assert_eq!(document["version"], round);
    }
    write("DELETE", "/docs/doc0", "delete".to_owned(), String::new()).await;
    assert_eq!(docs.get("/docs/doc0").await.status(), StatusCode::NOT_FOUND);
    assert!(docs.finds("word", 4).await);
    // A wait that is open does not hold up the end.
    let body = json!({"tenant": "acme", "docs": [["never", 1]], "timeout_ms": 30_000}).to_string();
    let wait = Request::post("/-/indexed").body(Bytes::from(body)).unwrap();
    let docs_socket = docs.layout.socket(&ServiceId::new("docs-api").unwrap());
    let end = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        docs.tree.drain(Duration::from_secs(5)).await.unwrap();
    };
    let (answer, ()) = futures_util::join!(uds::call(&docs_socket, wait, SOON), end);
    assert_eq!(answer.unwrap().body(), r#"{"indexed":false}"#);
    ingest.tree.drain(SOON).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn live_a_database_without_tables_names_the_command() {
    let project = tempfile::tempdir().unwrap();
    let database = tokio::task::spawn_blocking(|| rc_test::Postgres::start().fresh_database())
        .await
        .unwrap();
    let refused = Service::start(project.path(), &database.url)
        .await
        .err()
        .expect("nothing is migrated");
    assert_eq!(refused.code, "RC-DOC-011");
    assert_eq!(refused.hint.as_deref(), Some("run `rc migrate`"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn live_a_lost_database_is_told_and_comes_back_by_itself() {
    let project = tempfile::tempdir().unwrap();
    let server = tokio::task::spawn_blocking(|| rc_test::Postgres::start_own(false))
        .await
        .unwrap();
    let server = Arc::new(server);
    let database = server.fresh_database();
    let bus_schema = rc_events::bus::postgres::SCHEMA;
    let bus_db = Postgres::connect(&database.url, &PostgresOptions::new("test-bus", bus_schema)).unwrap();
    bus_db
        .migrate(&rc_events::bus::postgres::MIGRATIONS)
        .await
        .unwrap();
    for (schema, migrations) in docs::postgres_migrations() {
        let db = Postgres::connect(&database.url, &PostgresOptions::new("test", schema)).unwrap();
        db.migrate(&migrations).await.unwrap();
    }
    let service = Service::start(project.path(), &database.url).await.unwrap();
    publish(&PostgresBus::new(bus_db, SystemClock::shared()), &["a"]).await;
    eventually(SOON, "documents of the bus are found", async || {
        service.finds("word", 1).await
    })
    .await;

    let stopped = Arc::clone(&server);
    tokio::task::spawn_blocking(move || stopped.stop()).await.unwrap();
    eventually(SOON, "/ready names the store", async || {
        let (status, ready) = service.ready().await;
        status == StatusCode::SERVICE_UNAVAILABLE
            && ready["components"]["store"]
                .as_str()
                .is_some_and(|state| state.starts_with("down"))
    })
    .await;
    for target in ["/docs/a", "/search?q=word"] {
        let answer = service.get(target).await;
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE, "{target}");
        assert!(
            answer.headers().contains_key(http::header::RETRY_AFTER),
            "{target}"
        );
        let body: Value = serde_json::from_slice(answer.body()).unwrap();
        assert_eq!(body["code"], "RC-DOC-007");
    }
    let started = Arc::clone(&server);
    tokio::task::spawn_blocking(move || started.start_again())
        .await
        .unwrap();
    eventually(SOON, "it is ready again", async || {
        service.ready().await.0 == StatusCode::OK
    })
    .await;
    eventually(SOON, "documents are found again", async || {
        service.finds("word", 1).await
    })
    .await;
    service.tree.drain(SOON).await.unwrap();
}
