use super::*;
use bytes::Bytes;
use http::Request as HttpRequest;

/// Serves a router on a scratch socket and gives the answer to one request.
async fn ask(router: Router, request: HttpRequest<Bytes>) -> (http::Response<Bytes>, Metrics, Readiness) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("edge.sock");
    let (tree, metrics, readiness) = (Tree::new(), Metrics::new(), Readiness::new());
    let edge = Edge {
        service: "probe",
        router,
        readiness: readiness.clone(),
        metrics: metrics.clone(),
        access: AccessLog::All,
        sink: None,
        marks: Marks::default(),
    };
    serve_uds(&path, edge, &tree).unwrap();
    let response = uds::call(&path, request, Duration::from_secs(5)).await.unwrap();
    tree.drain(Duration::from_secs(5)).await.unwrap();
    (response, metrics, readiness)
}

fn get_request(path: &str) -> HttpRequest<Bytes> {
    HttpRequest::get(path)
        .header(
            "traceparent",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        )
        .header("x-request-id", "req-7")
        .header("x-rc-tier", "gold")
        .body(Bytes::new())
        .unwrap()
}

#[tokio::test]
async fn a_panic_becomes_a_problem_with_the_trace_id() {
    async fn bad() -> &'static str {
        panic!("on purpose")
    }
    let (response, metrics, _) = ask(Router::new().route("/bad", get(bad)), get_request("/bad")).await;
    assert_eq!(response.status(), 500);
    assert_eq!(response.headers()["content-type"], PROBLEM_JSON);
    assert_eq!(response.headers()["x-request-id"], "req-7");
    let problem: Problem = serde_json::from_slice(response.body()).unwrap();
    assert_eq!(
        problem.trace_id.as_deref(),
        Some("4bf92f3577b34da6a3ce929d0e0e4736")
    );
    assert!(
        !String::from_utf8_lossy(response.body()).contains("on purpose"),
        "internals stay inside"
    );
    assert!(
        metrics
            .render()
            .contains(r#"route="/bad",method="GET",tier="gold",status="5xx"} 1"#)
    );
}

#[tokio::test]
async fn an_unknown_path_and_a_wrong_method_are_problems() {
    let router = || Router::new().route("/only-get", get(|| async { "ok" }));
    let (response, metrics, _) = ask(router(), get_request("/nothing/here")).await;
    assert_eq!(response.status(), 404);
    assert!(
        metrics.render().contains(r#"route="unmatched""#),
        "a client's path is never a label"
    );
    let mut request = get_request("/only-get");
    *request.method_mut() = http::Method::POST;
    let (response, _, _) = ask(router(), request).await;
    assert_eq!(response.status(), 405);
    assert_eq!(response.headers()["content-type"], PROBLEM_JSON);
}

#[tokio::test]
async fn a_wait_is_answered_as_retry_after() {
    let handler = || async {
        ApiError::from(
            Problem::new(503, "RC-STO-001", "the store is down").retry_after(Duration::from_millis(1_200)),
        )
    };
    let (response, _, _) = ask(Router::new().route("/", get(handler)), get_request("/")).await;
    assert_eq!(response.status(), 503);
    assert_eq!(response.headers()["retry-after"], "2");
}

#[tokio::test]
async fn ready_names_what_is_missing() {
    let readiness = Readiness::new();
    readiness.component("store").set_down("the disk is full");
    let response = ready_response(&readiness);
    assert_eq!(response.status(), 503);
    let (response, _, _) = ask(Router::new(), get_request("/ready")).await;
    assert_eq!(response.status(), 200);
    let (response, _, _) = ask(Router::new(), get_request("/metrics")).await;
    assert_eq!(response.headers()["content-type"], OPENMETRICS);
}
