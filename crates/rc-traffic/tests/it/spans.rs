//! Every request that is traced leaves one span, whatever became of it, in both protocols.

use std::io::Write as _;
use std::net::Shutdown;
use std::sync::Arc;
use std::time::Duration;

use rc_model::TraceContext;
use rc_model::telemetry::SpanKind;
use rc_test::spans::{Heard, Recorder};
use rc_traffic::{GatewayConfig, Tracing};

use crate::h2_raw::{END_STREAM, H2, Outcome};
use crate::support::{Live, Service, Setup, eventually, tenant};

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const PARENT_UNSAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";

fn traced(recorder: &Arc<Recorder>, sample: f64) -> impl FnOnce(&mut GatewayConfig) + 'static {
    let sink = recorder.sink();
    move |config| config.telemetry = Some(Tracing { sink, sample })
}

/// A service that answers `/up`, is broken at `/docs`, and takes its time at `/quick` and `/open`.
fn service() -> Service {
    Service::start(|seen, stream| {
        let path = seen.line().split(' ').nth(1).unwrap();
        match path {
            "/up" => write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").is_ok(),
            "/up/broken" => write!(stream, "HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n").is_ok(),
            "/up/nonsense" => {
                write!(stream, "nonsense\r\n\r\n").unwrap();
                false
            }
            "/up/half" => {
                write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf").unwrap();
                false
            }
            _ => {
                std::thread::sleep(Duration::from_millis(600));
                write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").is_ok()
            }
        }
    })
}

fn next(recorder: &Recorder) -> Heard {
    let mut found = Vec::new();
    eventually("a span", || {
        found.extend(recorder.take());
        !found.is_empty()
    });
    assert_eq!(found.len(), 1, "{found:#?}");
    found.remove(0)
}

/// Status, error type, and whether it counts as a failure.
fn ended(span: &Heard) -> (Option<&str>, Option<&str>, bool) {
    assert_eq!(span.kind, SpanKind::Server);
    assert!(span.took_ns > 0);
    let error = span.attribute("error.type");
    assert!(span.error.is_none() || span.error.as_deref() == error);
    (
        span.attribute("http.response.status_code"),
        error,
        span.error.is_some(),
    )
}

#[test]
fn http1_requests_leave_a_span_each() {
    let (service, recorder) = (service(), Recorder::new());
    let live = Setup::new(&service)
        .config(traced(&recorder, 1.0))
        .spec(|spec| spec.tenants = vec![tenant("acme", "gold", 1, 6)])
        .start();

    let mut client = live.client();
    client.send(live.request(
        "GET /up",
        &format!("traceparent: {PARENT}\r\nX-Request-Id: mine\r\n"),
    ));
    assert_eq!(client.reply().status, 200);
    let span = next(&recorder);
    assert_eq!(
        (span.name.as_str(), span.parent),
        ("GET /up", Some(0x00f0_67aa_0ba9_02b7))
    );
    assert_eq!(ended(&span), (Some("200"), None, false));
    for (name, value) in [
        ("http.request.method", "GET"),
        ("http.route", "/up"),
        ("network.protocol.version", "1.1"),
        ("rc.tenant", "acme"),
        ("rc.tier", "gold"),
        ("rc.request_id", "mine"),
    ] {
        assert_eq!(span.attribute(name), Some(value), "{span:#?}");
    }
    let upstream_ms: f64 = span.attribute("rc.upstream_ms").unwrap().parse().unwrap();
    assert!(
        upstream_ms > 0.0 && upstream_ms * 1e6 <= span.took_ns as f64,
        "{span:#?}"
    );
    // The service's own span stands below this one.
    let seen = service.seen();
    let below = TraceContext::parse(seen[0].header("traceparent").unwrap().as_bytes()).unwrap();
    assert_eq!(
        (below.trace_id(), below.span_id(), below.sampled()),
        (span.context.trace_id(), span.context.span_id(), true)
    );
    assert_eq!(span.context.trace_id(), 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736);

    // Without a parent the trace begins here, and its id is the request's.
    let reply = live.get("/up/broken");
    assert_eq!(reply.status, 500);
    let span = next(&recorder);
    assert_eq!(span.parent, None);
    assert_eq!(ended(&span), (Some("500"), Some("500"), true));
    assert_eq!(
        span.attribute("rc.request_id"),
        Some(span.context.trace_id_hex().as_str())
    );
    assert_eq!(reply.header("x-request-id"), span.attribute("rc.request_id"));

    live.get("/up/nonsense");
    assert_eq!(ended(&next(&recorder)), (Some("502"), Some("RC-GW-016"), true));
    live.get("/quick");
    assert_eq!(ended(&next(&recorder)), (Some("504"), Some("RC-GW-015"), true));
    live.get("/up/half");
    assert_eq!(ended(&next(&recorder)), (Some("200"), Some("cut"), true));

    // The client leaves before its answer.
    let mut client = live.client();
    client.send(live.request("GET /docs", ""));
    std::thread::sleep(Duration::from_millis(100));
    drop(client);
    let span = next(&recorder);
    assert_eq!(
        (span.name.as_str(), ended(&span)),
        ("GET /docs", (None, Some("gone"), true))
    );

    // Refusals are answers: told, and no failures.
    assert_eq!(live.get("/up").status, 429);
    let span = next(&recorder);
    assert_eq!(ended(&span), (Some("429"), Some("RC-GW-012"), false));
    assert_eq!(
        (span.attribute("rc.tenant"), span.attribute("rc.upstream_ms")),
        (Some("acme"), None)
    );
    let mut client = live.client();
    client.send("GET /up HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.reply().status, 401);
    let span = next(&recorder);
    assert_eq!(ended(&span), (Some("401"), Some("RC-GW-009"), false));
    assert_eq!(
        (span.attribute("rc.tenant"), span.attribute("rc.tier")),
        (None, Some("none"))
    );
    let mut client = live.client();
    client.send("nonsense\r\n\r\n");
    assert_eq!(client.reply().status, 400);
    let span = next(&recorder);
    assert_eq!(
        (span.name.as_str(), ended(&span)),
        ("HTTP", (Some("400"), Some("RC-GW-001"), false))
    );
    assert_eq!(span.attribute("http.request.method"), Some("_OTHER"));
}

#[test]
fn http2_requests_leave_a_span_each() {
    let (service, recorder) = (service(), Recorder::new());
    let live = Setup::new(&service)
        .config(traced(&recorder, 1.0))
        .spec(|spec| spec.tenants = vec![tenant("acme", "gold", 1, 4)])
        .start();
    let mut client = H2::connect(&live);
    let ask = |client: &mut H2, live: &Live, stream: u32, path: &str| {
        let fields = [
            (":method", "GET"),
            (":scheme", "http"),
            (":authority", "gw.test"),
            (":path", path),
            ("x-api-key", live.key.reveal()),
            ("traceparent", PARENT),
        ];
        client.headers(stream, END_STREAM, &fields);
    };
    for (stream, path, status, expect) in [
        (1, "/up", 200, (Some("200"), None, false)),
        (3, "/up/broken", 500, (Some("500"), Some("500"), true)),
        (5, "/quick", 504, (Some("504"), Some("RC-GW-015"), true)),
    ] {
        ask(&mut client, &live, stream, path);
        assert_eq!(client.outcome(stream), Outcome::Status(status));
        let span = next(&recorder);
        assert_eq!(ended(&span), expect, "{path}");
        assert_eq!(span.parent, Some(0x00f0_67aa_0ba9_02b7));
        assert_eq!(span.attribute("network.protocol.version"), Some("2"));
    }
    ask(&mut client, &live, 7, "/docs");
    std::thread::sleep(Duration::from_millis(100));
    client.reset(7);
    assert_eq!(ended(&next(&recorder)), (None, Some("gone"), true));
    ask(&mut client, &live, 9, "/up");
    assert_eq!(client.outcome(9), Outcome::Status(429));
    assert_eq!(ended(&next(&recorder)), (Some("429"), Some("RC-GW-012"), false));
}

#[test]
fn who_is_not_traced_leaves_nothing_and_services_are_told_so() {
    let (service, recorder) = (service(), Recorder::new());
    let live = Setup::new(&service).config(traced(&recorder, 0.0)).start();
    let mut client = live.client();
    for fields in [String::new(), format!("traceparent: {PARENT_UNSAMPLED}\r\n")] {
        client.send(live.request("GET /up", &fields));
        assert_eq!(client.reply().status, 200);
    }
    // Silent ones leave nothing even when a trace is asked for.
    for path in ["/health", "/ready"] {
        client.send(format!(
            "GET {path} HTTP/1.1\r\nHost: a\r\ntraceparent: {PARENT}\r\n\r\n"
        ));
        client.reply();
    }
    // A caller that records decides for us. Its span is the last.
    client.send(live.request("GET /up", &format!("traceparent: {PARENT}\r\n")));
    assert_eq!(client.reply().status, 200);
    let span = next(&recorder);
    assert_eq!(span.context.trace_id(), 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736);
    let flags: Vec<bool> = service
        .seen()
        .iter()
        .map(|seen| {
            TraceContext::parse(seen.header("traceparent").unwrap().as_bytes())
                .unwrap()
                .sampled()
        })
        .collect();
    assert_eq!(flags, [false, false, true]);
}

#[test]
fn the_sample_is_a_share_of_traces_and_the_same_for_everybody() {
    let recorder = Recorder::new();
    let of = |sample: f64| Tracing {
        sink: recorder.sink(),
        sample,
    };
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut ids = Vec::new();
    for _ in 0..10_000 {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        ids.push((u128::MAX << 64) | u128::from(random));
    }
    for (sample, least, most) in [
        (0.0, 0, 0),
        (0.1, 900, 1_100),
        (0.5, 4_800, 5_200),
        (1.0, 10_000, 10_000),
    ] {
        let taken = ids.iter().filter(|id| of(sample).samples(**id)).count();
        assert!((least..=most).contains(&taken), "{sample}: {taken}");
    }
    assert!(
        ids.iter().all(|id| !of(0.1).samples(*id) || of(0.5).samples(*id)),
        "a larger share has the smaller"
    );
    assert!(of(1.0).samples(u128::MAX));
}

#[test]
fn buckets_show_a_trace_as_their_example() {
    let (service, recorder) = (service(), Recorder::new());
    let live = Setup::new(&service).config(traced(&recorder, 1.0)).start();
    assert_eq!(live.get("/open").status, 200);
    let span = next(&recorder);
    let text = live.gateway.with_exemplars(&live.metrics());
    let example = format!("# {{trace_id=\"{}\"}} ", span.context.trace_id_hex());
    let line = text
        .lines()
        .find(|line| line.contains(&example))
        .unwrap_or_else(|| panic!("{text}"));
    let bucket = "rc_traffic_request_duration_seconds_bucket{le=\"1.0\",service=\"up\",route=\"/open\"";
    assert!(line.starts_with(bucket), "{line}");
    let mut numbers = line
        .split(&example)
        .nth(1)
        .unwrap()
        .split(' ')
        .map(|text| text.parse::<f64>().unwrap());
    let took = numbers.next().unwrap();
    assert!((took - span.took_ns as f64 / 1e9).abs() < 1e-9 && (0.5..1.0).contains(&took));
    assert!(numbers.next().unwrap() > 1.7e9 && numbers.next().is_none());
}

#[test]
fn a_service_is_told_the_time_that_is_left() {
    // The first endpoint takes no connection, so that the second one gets the request later.
    let full = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    full.bind(&"127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap().into())
        .unwrap();
    full.listen(0).unwrap();
    let address = full.local_addr().unwrap().as_socket().unwrap();
    let _fill: Vec<_> = (0..4)
        .map(|_| {
            let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
            socket.set_nonblocking(true).unwrap();
            let _in_progress = socket.connect(&address.into());
            socket
        })
        .collect();
    let service = Service::echo();
    let live = Setup::to(vec![rc_traffic::Endpoint::Tcp(address), service.endpoint()])
        .config(|config| {
            config.limits.connect_timeout = Duration::from_millis(400);
            // One, so that the second request gets the other endpoint.
            config.workers = std::num::NonZeroUsize::MIN;
        })
        .start();
    for _ in 0..2 {
        assert_eq!(live.get("/up").status, 200);
    }
    let mut left: Vec<u64> = service
        .seen()
        .iter()
        .map(|seen| seen.header("x-rc-deadline-ms").unwrap().parse().unwrap())
        .collect();
    left.sort_unstable();
    assert!(
        left[1] > 9_700,
        "a request that was sent at once has its whole time: {left:?}"
    );
    assert!((7_000..=9_600).contains(&left[0]), "{left:?}");
}

#[test]
fn a_client_that_ends_its_side_is_gone() {
    // As nginx, Envoy and Pingora have it by default: a closed socket cannot be told from a half-closed one,
    // and work for nobody is what a flood of timeouts is made of. (HAProxy waits, without `abortonclose`.)
    let (service, recorder) = (service(), Recorder::new());
    let live = Setup::new(&service).config(traced(&recorder, 1.0)).start();
    let mut client = live.client();
    client.send(live.request("GET /docs", ""));
    client.stream.shutdown(Shutdown::Write).unwrap();
    assert!(client.is_closed());
    assert_eq!(ended(&next(&recorder)), (None, Some("gone"), true));
}
