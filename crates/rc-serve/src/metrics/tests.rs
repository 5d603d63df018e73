use super::*;

const TRACEPARENT: Option<&[u8]> = Some(b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");

fn finish(metrics: &Metrics, method: &http::Method, tier: &str, took: Duration, traceparent: Option<&[u8]>) {
    metrics.finished(Finished {
        service: "docs-api",
        route: &Arc::from("/docs/{id}"),
        method,
        tier,
        status: http::StatusCode::OK,
        took,
        trace: traceparent.and_then(TraceContext::parse),
    });
}

#[test]
fn a_finished_request_is_counted_by_service_route_and_tier() {
    let metrics = Metrics::new();
    let took = Duration::from_millis(3);
    finish(&metrics, &http::Method::GET, "gold", took, TRACEPARENT);
    let text = metrics.render();
    let want = r#"rc_http_requests_total{service="docs-api",route="/docs/{id}",method="GET",tier="gold",status="2xx"} 1"#;
    assert!(text.contains(want), "{text}");
    assert!(
        text.contains(r#"rc_http_request_duration_seconds_count{service="docs-api""#),
        "{text}"
    );
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn a_bucket_names_the_latest_recorded_trace_in_it() {
    let metrics = Metrics::new();
    finish(
        &metrics,
        &http::Method::GET,
        "gold",
        Duration::from_millis(3),
        TRACEPARENT,
    );
    finish(
        &metrics,
        &http::Method::GET,
        "gold",
        Duration::from_millis(4),
        None,
    );
    let text = metrics.render();
    let lines: Vec<&str> = text.lines().filter(|line| line.contains(" # {")).collect();
    assert_eq!(lines.len(), 1, "{text}");
    let want = r##"le="0.005",service="docs-api",route="/docs/{id}",tier="gold"} 2 # {trace_id="4bf92f3577b34da6a3ce929d0e0e4736"} 0.003 "##;
    assert!(lines[0].contains(want), "{}", lines[0]);
}

#[test]
fn what_a_client_can_invent_makes_no_series() {
    let metrics = Metrics::new();
    for index in 0..1_000 {
        let method = http::Method::from_bytes(format!("M{index}").as_bytes()).unwrap();
        finish(
            &metrics,
            &method,
            &format!("tier-{index}"),
            Duration::ZERO,
            TRACEPARENT,
        );
    }
    let text = metrics.render();
    let series = |name: &str| text.lines().filter(|line| line.starts_with(name)).count();
    assert_eq!(series("rc_http_requests_total{"), TIERS_MAX + 1);
    assert_eq!(series("rc_http_request_duration_seconds_count{"), TIERS_MAX + 1);
    assert!(text.contains(r#"method="other",tier="other""#), "{text}");
}
