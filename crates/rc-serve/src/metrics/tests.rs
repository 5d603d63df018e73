use super::*;

#[test]
fn a_finished_request_is_counted_by_service_route_and_tier() {
    let metrics = Metrics::new();
    metrics.finished(Finished {
        service: "docs-api",
        route: "/docs/{id}",
        method: &http::Method::GET,
        tier: "gold",
        status: http::StatusCode::OK,
        took: Duration::from_millis(3),
    });
    let text = metrics.render();
    let want = r#"rc_http_requests_total{service="docs-api",route="/docs/{id}",method="GET",tier="gold",status="2xx"} 1"#;
    assert!(text.contains(want), "{text}");
    assert!(
        text.contains(r#"rc_http_request_duration_seconds_count{service="docs-api""#),
        "{text}"
    );
    assert!(text.ends_with("# EOF\n"));
}
