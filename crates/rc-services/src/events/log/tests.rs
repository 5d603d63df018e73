use std::path::Path;

use http::Request;
use rc_events::bus::Publish;
use rc_events::{Bus, Cursor, Record, SqliteBus};
use rc_model::project::{AccessLog, ConsumersSection};
use rc_model::{Layout, ServiceId, SystemClock};
use rc_serve::{Marks, Metrics, Readiness, Tree};
use rc_test::eventually;

use super::*;
use crate::service::{Deps, ServiceConfig};

const SOON: Duration = Duration::from_secs(30);

fn given(layout: &Layout, bus: Option<Arc<dyn Bus>>) -> (ServiceConfig, Deps) {
    let config = ServiceConfig {
        layout: layout.clone(),
        store_url: "sqlite:".to_owned(),
        bus,
        consumers: ConsumersSection::default(),
        schemas: Arc::default(),
        access: AccessLog::Off,
    };
    let deps = Deps {
        tree: Tree::new(),
        clock: SystemClock::shared(),
        metrics: Metrics::new(),
        readiness: Readiness::new(),
        telemetry: None,
        marks: Marks::default(),
    };
    (config, deps)
}

async fn call(layout: &Layout, service: &str, request: Request<&'static str>) -> http::Response<Bytes> {
    let socket = layout.socket(&ServiceId::new(service).unwrap());
    let (mut parts, body) = request.into_parts();
    parts.headers.insert("x-rc-tenant", "acme".parse().unwrap());
    let request = Request::from_parts(parts, Bytes::from(body));
    uds::call(&socket, request, SOON).await.unwrap()
}

fn write(key: &str, body: &'static str) -> Request<&'static str> {
    Request::post("/ingest")
        .header("idempotency-key", key)
        .header("content-type", "application/json")
        .body(body)
        .unwrap()
}

async fn bus_at(path: &Path) -> Arc<dyn Bus> {
    Arc::new(SqliteBus::open(path, SystemClock::shared()).await.unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_was_cut_out_of_the_bus_is_fetched_from_the_log() {
    let project = tempfile::tempdir().unwrap();
    let layout = Layout::new(project.path());
    fs_err::create_dir_all(layout.run()).unwrap();
    let whole = bus_at(&project.path().join("whole.db")).await;
    let (config, writer) = given(&layout, Some(Arc::clone(&whole)));
    crate::ingest::run(config, writer.clone()).await.unwrap();
    for (key, body) in [
        ("1", r#"{"id":"a","text":"first"}"#),
        ("2", r#"{"id":"a","text":"second"}"#),
        ("3", r#"{"id":"a","text":"third"}"#),
    ] {
        assert_eq!(call(&layout, "ingest", write(key, body)).await.status(), 202);
    }
    eventually(SOON, "the relay has moved them", async || {
        whole.tail().await.unwrap() == 3
    })
    .await;

    // Another bus, as it would be had it lost the second event.
    let cut = bus_at(&project.path().join("cut.db")).await;
    let kept = whole.read(0, ReadLimit::default()).await.unwrap();
    let records = kept
        .into_iter()
        .filter(|event| event.kseq != 2)
        .map(|event| Record {
            origin_pos: event.pos,
            event: event.event,
        });
    let publish = Publish {
        origin: "ingest".to_owned(),
        expected: Cursor::default(),
        cursor: Cursor::new("3"),
        records: records.collect(),
    };
    assert_eq!(cut.publish(publish).await.unwrap(), 2);
    let (config, reader) = given(&layout, Some(cut));
    crate::docs::run(config, reader.clone()).await.unwrap();
    eventually(SOON, "the third version is found", async || {
        let found = call(
            &layout,
            "docs-api",
            Request::get("/search?q=third").body("").unwrap(),
        )
        .await;
        String::from_utf8_lossy(found.body()).contains("\"total\":1")
    })
    .await;
    let metrics = call(&layout, "docs-api", Request::get("/metrics").body("").unwrap()).await;
    let metrics = String::from_utf8_lossy(metrics.body()).into_owned();
    assert!(metrics.contains("rc_docs_events_applied_total 3"), "{metrics}");
    reader.tree.drain(SOON).await.unwrap();
    writer.tree.drain(SOON).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_whose_service_is_away_is_asked_again() {
    let folder = tempfile::tempdir().unwrap();
    let log = SocketLog {
        socket: folder.path().join("nobody.sock"),
    };
    let place = Place {
        tenant: TenantId::new("acme").unwrap(),
        topic: "docs".into(),
        key: "a".to_owned(),
    };
    let error = log.range(&place, 1..=2, ReadLimit::default()).await.unwrap_err();
    assert!(error.retry_after().is_some(), "{error}");
}

#[test]
fn an_event_comes_over_the_wire_as_it_was() {
    let trace = TraceContext::parse(b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").unwrap();
    let event = NewEvent {
        id: Uuid::now_v7(),
        tenant: TenantId::new("acme").unwrap(),
        topic: "docs".into(),
        key: "a \u{1f600}".to_owned(),
        kseq: u64::try_from(i64::MAX).unwrap(),
        numbering: Numbering::Consecutive,
        event_type: "doc.put.v1".into(),
        schema: 7,
        time: Timestamp::from_unix_ms(1_795_255_200_123),
        fingerprint: *b"0123456789abcdef",
        trace: Some(trace),
        payload: Bytes::from_static(b"\0\xff not text"),
    };
    let text = serde_json::to_string(&Line::from(&event)).unwrap();
    let line: Line = serde_json::from_str(&text).unwrap();
    assert_eq!(line.into_event(&event.place()).unwrap(), event);
}
