//! What can be seen from outside: one trace through every hop, metrics, and the logs' fields.

use serde_json::Value;

use crate::world::{World, eventually};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

#[test]
fn a_trace_goes_through_gateway_service_and_the_asynchronous_hop() {
    let world = World::new();
    let settings = format!("gateway:\n  listen: {}\nlogs:\n  level: debug\n", world.address);
    world.write("royalcrown.yaml", &settings);
    world.up();
    let key = world.key("acme");
    let head = format!(
        "POST /ingest?wait=indexed&timeout=10s HTTP/1.1\nAuthorization: Bearer {key}\nContent-Type: application/json\nIdempotency-Key: t\ntraceparent: 00-{TRACE}-00f067aa0ba902b7-01\nX-Request-Id: req-42"
    );
    let answer = world.http(&head, br#"{"id":"traced","text":"a traced document"}"#);
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("x-request-id"), Some("req-42"));
    for service in ["gateway", "ingest"] {
        let line = eventually(&format!("{service} logs the request"), || {
            let path = world.path().join(format!(".royalcrown/logs/{service}.log"));
            let text = fs_err::read_to_string(path).ok()?;
            text.lines()
                .find(|line| line.contains("req-42") && line.contains("/ingest"))
                .map(str::to_owned)
        });
        let line: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(line["trace_id"], TRACE, "{line}");
        assert_eq!(line["tenant"], "acme", "{line}");
        assert_eq!(line["request_id"], "req-42", "{line}");
        assert_eq!(line["status"], 200, "{line}");
    }
    // The event carries the trace over the bus: what the projector does is in the same trace.
    eventually("the projector's span is in the trace", || {
        let drawn = String::from_utf8(world.rc(&["trace", TRACE]).stdout).unwrap();
        let lines = || drawn.lines().filter(|line| line.starts_with("docs-api"));
        lines().any(|line| line.contains("process docs")).then_some(())
    });
}

#[test]
fn every_process_counts_requests_by_service_route_and_tier() {
    let world = World::new();
    world.up();
    let key = world.key("acme");
    assert_eq!(world.get("/docs/nothing", &key).status, 404);
    for (service, wanted) in [
        ("gateway", r#"service="docs-api",route="/docs""#),
        ("docs-api", r#"service="docs-api",route="/docs/{"#),
    ] {
        let socket = world.path().join(format!(".royalcrown/run/{service}.sock"));
        let output = std::process::Command::new("curl")
            .args([
                "-sS",
                "--max-time",
                "10",
                "--unix-socket",
                socket.to_str().unwrap(),
                "http://localhost/metrics",
            ])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.ends_with("# EOF\n"), "{service}: {text}");
        let line = text
            .lines()
            .find(|line| line.contains(wanted) && line.contains("4xx"));
        let line = line.unwrap_or_else(|| panic!("{service} {wanted}:\n{text}"));
        assert!(line.contains(r#"tier="gold""#), "{line}");
    }
}
