//! Rates, sizes, deadlines and connection bounds as a client meets them.

use std::io::Write as _;
use std::time::Duration;

use rc_model::project::RateLimitHeaders;
use rc_model::units::ByteSize;
use rc_traffic::ConnectionLimits;

use crate::support::{Client, Service, Setup, limit, tenant};

#[test]
fn a_tenant_over_its_rate_is_told_when_to_come_back_and_another_is_not_touched() {
    let service = Service::echo();
    let live = Setup::new(&service)
        .config(|config| config.ratelimit_headers = RateLimitHeaders::Both)
        .spec(|spec| {
            spec.tenants = vec![
                tenant("acme", "silver", 1, 3),
                tenant("globex", "gold", 1_000, 1_000),
            ];
        })
        .start();
    let mut client = live.client();
    let mut ask = || {
        client.send(live.request("GET /up", ""));
        client.reply()
    };
    for left in ["2", "1", "0"] {
        let reply = ask();
        assert_eq!(
            (reply.status, reply.header("x-ratelimit-remaining")),
            (200, Some(left))
        );
        assert_eq!(reply.header("x-ratelimit-limit"), Some("3"));
    }
    let reply = ask();
    assert_eq!(reply.status, 429);
    assert_eq!(reply.header("retry-after"), Some("1"));
    assert!(
        reply.header("ratelimit").unwrap().starts_with("\"rps\";r=0;t=1"),
        "{reply:?}"
    );
    assert_eq!(reply.header("ratelimit-policy"), Some("\"rps\";q=3;w=3"));
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    let problem = reply.problem();
    assert_eq!(problem.violated_policies, ["rps"]);
    assert!(
        problem.retry_after_ms.unwrap() <= 1_000 && problem.trace_id.is_some(),
        "{problem:?}"
    );

    let mut other = live.trusted();
    other.send("GET /up HTTP/1.1\r\nHost: a\r\nX-RC-Tenant: globex\r\n\r\n");
    assert_eq!(other.reply().status, 200);

    // The wait was true.
    std::thread::sleep(Duration::from_millis(problem.retry_after_ms.unwrap()));
    assert_eq!(ask().status, 200);
    assert_eq!(service.seen().len(), 5);
    live.expect_metric(
        r#"rc_traffic_requests_total{service="up",route="/up",method="GET",tier="silver",status="4xx"} 1"#,
    );
    live.expect_metric("rc_traffic_rate_limited_total 1");
}

#[test]
fn guessing_keys_is_limited_and_does_not_touch_those_who_have_one() {
    let service = Service::echo();
    let live = Setup::new(&service)
        .spec(|spec| spec.anonymous.per_source = limit(1, 10))
        .start();
    let mut client = live.client();
    let statuses: Vec<u16> = (0..15)
        .map(|n| {
            client.send(format!(
                "GET /up HTTP/1.1\r\nHost: a\r\nX-API-Key: guess{n}\r\n\r\n"
            ));
            client.reply().status
        })
        .collect();
    assert_eq!(statuses, [vec![401; 10], vec![429; 5]].concat());
    client.send(live.request("GET /up", ""));
    assert_eq!(client.reply().status, 200);
}

#[test]
fn a_body_over_the_limit_is_refused_by_its_length_or_while_it_streams() {
    let service = Service::echo();
    let live = Setup::new(&service)
        .spec(|spec| spec.tenants[0].limits.body_max = ByteSize::new(1_000))
        .start();
    let mut client = live.client();
    client.send(live.request("POST /up", "Content-Length: 1001\r\n"));
    assert_eq!(client.reply().problem().code, "RC-GW-013");
    assert!(service.seen().is_empty());

    let mut client = live.client();
    client.send(live.request("POST /up", "Content-Length: 1000\r\n") + &"x".repeat(1_000));
    assert_eq!(client.reply().status, 200);

    client.send(live.request("POST /up", "Transfer-Encoding: chunked\r\n"));
    for _ in 0..3 {
        client.send(format!("190\r\n{}\r\n", "x".repeat(400)));
    }
    let reply = client.reply();
    assert_eq!((reply.status, reply.header("connection")), (413, Some("close")));
    assert_eq!(service.seen().len(), 1, "the service never got that body's end");
}

#[test]
fn deadlines_come_from_the_route_and_the_client_and_end_in_504() {
    let service = Service::start(|seen, stream| {
        if seen.line().contains("slow") {
            std::thread::sleep(Duration::from_millis(1_500));
        }
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").is_ok()
    });
    let live = Setup::new(&service).start();
    let reply = live.get("/quick/slow");
    assert_eq!((reply.status, reply.problem().code.as_str()), (504, "RC-GW-015"));
    let mut client = live.client();
    client.send(live.request("GET /up/slow", "X-Request-Timeout-Ms: 50\r\n"));
    assert_eq!(client.reply().status, 504);
    client.send(live.request("GET /up/fast", "X-Request-Timeout-Ms: 5000\r\n"));
    assert_eq!(client.reply().status, 200, "the connection outlives a deadline");
    for bad in ["0", "-1", "1s", "", "99999999999", "5, 6"] {
        let mut client = live.client();
        client.send(live.request("GET /up", &format!("X-Request-Timeout-Ms: {bad}\r\n")));
        assert_eq!(client.reply().problem().code, "RC-GW-020", "{bad}");
    }
    let told: Vec<_> = service
        .seen()
        .iter()
        .map(|seen| seen.header("x-rc-deadline-ms").unwrap().to_owned())
        .collect();
    assert_eq!(told, ["200", "50", "5000"]);
}

#[test]
fn heads_are_bounded_in_bytes_fields_and_target() {
    let service = Service::echo();
    let live = Setup::new(&service).start();
    let check = |request: String, status: u16| {
        let mut client = live.client();
        client.send(request);
        let reply = client.reply();
        assert_eq!(reply.status, status, "{reply:?}");
        assert!(client.is_closed());
    };
    check(
        live.request("GET /up", &format!("X-Big: {}\r\n", "a".repeat(33 << 10))),
        431,
    );
    check(live.request("GET /up", &"X: y\r\n".repeat(101)), 431);
    check(live.request("GET /up", &"X: y\r\n".repeat(200)), 431);
    check(format!("GET /{} ", "a".repeat(40 << 10)), 414);
    let mut client = live.client();
    client.send(live.request(&format!("GET /up/{}", "a".repeat(9 << 10)), ""));
    assert_eq!(client.reply().status, 414);
    let mut client = live.client();
    client.send(live.request(
        &format!("GET /up/{}", "a".repeat(7 << 10)),
        &"X: y\r\n".repeat(90),
    ));
    assert_eq!(client.reply().status, 200);
}

#[test]
fn slow_heads_and_silent_connections_are_closed() {
    let service = Service::echo();
    let live = Setup::new(&service)
        .config(|config| {
            config.limits = ConnectionLimits {
                head_timeout: Duration::from_millis(300),
                idle_timeout: Duration::from_millis(400),
                ..ConnectionLimits::default()
            };
        })
        .start();
    let mut slow = live.client();
    slow.send("GET /up HTTP/1.1\r\nHo");
    let mut silent = live.client();
    assert!(
        silent.is_closed(),
        "a connection that says nothing is closed without an answer"
    );
    assert_eq!(slow.reply().status, 408);
    assert!(slow.is_closed());
    let mut idle = live.client();
    idle.send(live.request("GET /up", ""));
    assert_eq!(idle.reply().status, 200);
    assert!(idle.is_closed());
    // One byte at a time does not buy time.
    let mut drip = live.client();
    let mut refused = false;
    for byte in live
        .request("GET /up", &format!("X: {}\r\n", "a".repeat(500)))
        .into_bytes()
    {
        if drip.stream.write_all(&[byte]).is_err() {
            refused = true;
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let reply = drip.reply_to(false);
    assert!(refused || reply.is_some_and(|reply| reply.status == 408));
}

#[test]
fn connections_past_the_bound_are_refused_clearly_and_others_go_on() {
    let service = Service::echo();
    let live = Setup::new(&service)
        .config(|config| config.limits.connections_per_worker_max = 2)
        .start();
    let mut kept: Vec<Client<_>> = (0..4).map(|_| live.client()).collect();
    for client in &mut kept {
        client.send(live.request("GET /up", ""));
        assert_eq!(client.reply().status, 200);
    }
    let mut over = live.client();
    let reply = over.reply();
    assert_eq!((reply.status, reply.problem().code.as_str()), (503, "RC-GW-018"));
    assert_eq!(reply.header("retry-after"), Some("1"));
    assert!(over.is_closed());
    kept[0].send(live.request("GET /up", ""));
    assert_eq!(kept[0].reply().status, 200);
    drop(kept);
    for attempt in 0.. {
        let mut client = live.client();
        client.send(live.request("GET /up", ""));
        if client.reply().status == 200 {
            break;
        }
        assert!(attempt < 200, "a place becomes free again");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(!live.metrics().contains("rc_traffic_connections_refused_total 0"));
}
