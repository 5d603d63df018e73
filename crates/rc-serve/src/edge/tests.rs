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

/// Keeps what it is given, for a test to look at.
#[derive(Debug, Default)]
struct Kept(std::sync::Mutex<Vec<Told>>);

/// What a test wants to know of a span.
#[derive(Debug, Clone, PartialEq)]
struct Told {
    name: String,
    kind: SpanKind,
    trace_id: u128,
    span_id: u64,
    parent: Option<u64>,
    error: Option<String>,
    attributes: Vec<(&'static str, String)>,
}

impl TelemetrySink for Kept {
    fn span(&self, span: &rc_model::telemetry::Span<'_>) {
        let text = |value: &Value<'_>| match value {
            Value::Str(text) => (*text).to_owned(),
            other => format!("{other:?}"),
        };
        self.0.lock().unwrap().push(Told {
            name: span.name.to_owned(),
            kind: span.kind,
            trace_id: span.context.trace_id(),
            span_id: span.context.span_id(),
            parent: span.parent,
            error: span.error.map(str::to_owned),
            attributes: span
                .attributes
                .iter()
                .map(|(name, value)| (*name, text(value)))
                .collect(),
        });
    }
}

/// The spans that one request leaves behind.
async fn spans(router: Router, request: HttpRequest<Bytes>) -> Vec<Told> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("edge.sock");
    let (tree, kept) = (Tree::new(), Arc::new(Kept::default()));
    let edge = Edge {
        service: "probe",
        router,
        readiness: Readiness::new(),
        metrics: Metrics::new(),
        access: AccessLog::Off,
        sink: Some(Arc::<Kept>::clone(&kept)),
        marks: Marks::default(),
    };
    serve_uds(&path, edge, &tree).unwrap();
    uds::call(&path, request, Duration::from_secs(5)).await.unwrap();
    tree.drain(Duration::from_secs(5)).await.unwrap();
    let spans = kept.0.lock().unwrap();
    spans.clone()
}

#[tokio::test]
async fn a_request_is_a_server_span_below_the_callers_and_above_its_work() {
    async fn work(context: RequestContext) -> StatusCode {
        let scope = Scope::current().expect("the handler runs in its span");
        assert_eq!(scope.context(), context.trace);
        tokio::task::yield_now().await;
        let scope = Scope::current().expect("also after it has waited");
        scope
            .begin(SpanKind::Client, || 9)
            .finish("INSERT documents", None, &[]);
        StatusCode::ACCEPTED
    }
    let mut request = get_request("/docs/one?q=canary");
    request
        .headers_mut()
        .insert("x-rc-tenant", "acme".parse().unwrap());
    let told = spans(Router::new().route("/docs/{id}", get(work)), request).await;
    let [inner, outer] = told.as_slice() else {
        panic!("{told:?}");
    };
    assert_eq!(
        (outer.name.as_str(), outer.kind),
        ("GET /docs/{id}", SpanKind::Server)
    );
    assert_eq!(outer.trace_id, 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736);
    assert_eq!(outer.parent, Some(0x00f0_67aa_0ba9_02b7));
    assert_eq!(
        (inner.trace_id, inner.parent),
        (outer.trace_id, Some(outer.span_id))
    );
    assert_eq!(
        outer.attributes,
        [
            ("http.request.method", "GET".to_owned()),
            ("http.response.status_code", "Int(202)".to_owned()),
            ("http.route", "/docs/{id}".to_owned()),
            ("rc.request_id", "req-7".to_owned()),
            ("rc.tenant", "acme".to_owned()),
            ("rc.tier", "gold".to_owned()),
        ]
    );
    assert_eq!(outer.error, None);
    assert!(!format!("{told:?}").contains("canary"), "{told:?}");
}

#[tokio::test]
async fn failures_are_errors_and_a_clients_own_words_are_no_names() {
    async fn bad() -> &'static str {
        panic!("on purpose")
    }
    let told = spans(Router::new().route("/bad", get(bad)), get_request("/bad")).await;
    assert_eq!(told[0].error.as_deref(), Some("RC-SRV-003"));
    assert!(
        told[0]
            .attributes
            .contains(&("error.type", "RC-SRV-003".to_owned()))
    );
    let mut request = get_request("/canary");
    *request.method_mut() = http::Method::from_bytes(b"CANARY").unwrap();
    let told = spans(Router::new(), request).await;
    assert_eq!(told[0].name, "HTTP");
    assert_eq!(
        told[0].error, None,
        "a client's mistake is no failure of the service"
    );
    assert!(!format!("{told:?}").to_lowercase().contains("canary"), "{told:?}");
}

#[tokio::test]
async fn our_own_calls_and_unrecorded_traces_make_no_spans() {
    async fn none() -> &'static str {
        assert!(Scope::current().is_none());
        "ok"
    }
    let router = || {
        Router::new()
            .route("/-/wait", get(none))
            .route("/docs", get(none))
    };
    assert_eq!(spans(router(), get_request("/-/wait")).await, []);
    assert_eq!(spans(router(), get_request("/health")).await, []);
    let mut request = get_request("/docs");
    let unsampled = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
    request
        .headers_mut()
        .insert("traceparent", unsampled.parse().unwrap());
    assert_eq!(spans(router(), request).await, []);
}
