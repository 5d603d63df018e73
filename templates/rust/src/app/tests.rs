use axum::body::{Body, to_bytes};
use tower::ServiceExt as _;

use super::*;

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn app(flags: &str) -> (watch::Sender<bool>, Router) {
    let (drain, draining) = watch::channel(false);
    let flags = Flags::from_texts(Some(flags), []).unwrap();
    (drain, router(App::new(flags, draining)))
}

async fn ask(
    router: &Router,
    path: &str,
    headers: &[(&str, &str)],
) -> (StatusCode, HeaderMap, String) {
    let mut request = Request::get(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::empty()).unwrap();
    let answer = router.clone().oneshot(request).await.unwrap();
    let (parts, body) = answer.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    (
        parts.status,
        parts.headers,
        String::from_utf8(body.to_vec()).unwrap(),
    )
}

fn hello_path() -> String {
    format!("/{NAME}/hello")
}

#[tokio::test]
async fn hello_says_whose_request_it_is_and_how_long_it_may_take() {
    let (_drain, router) = app("{}");
    let headers = [
        ("x-rc-tenant", "acme"),
        ("x-rc-deadline-ms", "250"),
        ("traceparent", PARENT),
    ];
    let (status, answered, body) = ask(&router, &hello_path(), &headers).await;
    assert_eq!(status, StatusCode::OK);
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["message"], format!("hello from {NAME}"));
    assert_eq!(
        (&body["tenant"], &body["deadline_ms"]),
        (&json!("acme"), &json!(250))
    );
    assert_eq!(body["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736");
    let response = answered["traceresponse"].to_str().unwrap();
    assert!(
        response.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-"),
        "{response}"
    );
    assert!(
        !response.contains("00f067aa0ba902b7"),
        "the span is our own"
    );
}

#[tokio::test]
async fn without_a_gateway_there_is_no_tenant() {
    let (_drain, router) = app("{}");
    let (status, _, body) = ask(&router, &hello_path(), &[("x-rc-deadline-ms", "soon")]).await;
    assert_eq!(status, StatusCode::OK);
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(
        (&body["tenant"], &body["deadline_ms"]),
        (&Value::Null, &Value::Null)
    );
}

#[tokio::test]
async fn a_flag_changes_the_greeting() {
    let (_drain, router) = app(r#"{"warm_greeting": true}"#);
    let (_, _, body) = ask(&router, &hello_path(), &[]).await;
    assert!(body.contains("a warm hello"), "{body}");
}

#[tokio::test]
async fn it_is_ready_until_it_drains_and_lives_on() {
    let (drain, router) = app("{}");
    assert_eq!(ask(&router, "/ready", &[]).await.0, StatusCode::OK);
    drain.send_replace(true);
    assert_eq!(
        ask(&router, "/ready", &[]).await.0,
        StatusCode::SERVICE_UNAVAILABLE
    );
    assert_eq!(ask(&router, "/health", &[]).await.0, StatusCode::OK);
}

#[tokio::test]
async fn metrics_count_by_route_and_never_by_path() {
    let (_drain, router) = app("{}");
    ask(&router, &hello_path(), &[]).await;
    ask(&router, "/somewhere/else", &[]).await;
    let (_, _, text) = ask(&router, "/metrics", &[]).await;
    let counted =
        format!("http_requests_total{{route=\"/{NAME}/hello\",method=\"GET\",status=\"200\"}} 1");
    for part in [
        &counted,
        "http_requests_total{route=\"other\",method=\"GET\",status=\"404\"} 1",
        "http_request_duration_seconds_bucket",
        "http_requests_in_flight 1",
        "process_resident_memory_bytes",
        "process_cpu_seconds_total",
    ] {
        assert!(text.contains(part), "{part} is missing in {text}");
    }
    assert!(!text.contains("somewhere"));
}
