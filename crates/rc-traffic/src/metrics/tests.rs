use super::*;
use prometheus_client::registry::Registry;

#[test]
fn shards_of_all_workers_add_up_in_a_scrape() {
    let metrics = Arc::new(TrafficMetrics::new(2));
    let key = SeriesKey {
        service: "docs-api".to_owned(),
        route: "/docs".to_owned(),
        tier: "gold".to_owned(),
    };
    let series = metrics.series(key.clone());
    series.record(0, Some(0), 200, 3_000_000);
    series.record(1, Some(0), 204, 40_000_000_000);
    series.record(1, None, STATUS_CLIENT_GONE, 1);
    assert!(
        Arc::ptr_eq(&series, &metrics.series(key)),
        "a series outlives its snapshot"
    );

    let mut registry = Registry::default();
    registry.register_collector(Box::new(TrafficCollector(Arc::clone(&metrics))));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    let labels = r#"service="docs-api",route="/docs""#;
    for want in [
        format!(r#"rc_traffic_requests_total{{{labels},method="GET",tier="gold",status="2xx"}} 2"#),
        format!(r#"rc_traffic_requests_total{{{labels},method="other",tier="gold",status="gone"}} 1"#),
        format!(r#"rc_traffic_request_duration_seconds_count{{{labels},tier="gold"}} 3"#),
        format!(r#"rc_traffic_request_duration_seconds_bucket{{le="0.005",{labels},tier="gold"}} 2"#),
        format!(r#"rc_traffic_request_duration_seconds_bucket{{le="+Inf",{labels},tier="gold"}} 3"#),
        "rc_traffic_connections_open 0".to_owned(),
        "rc_traffic_panics_total 0".to_owned(),
    ] {
        assert!(text.contains(&want), "{want}\n{text}");
    }
}
