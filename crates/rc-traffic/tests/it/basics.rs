//! What a well-behaved client and service see.

use std::sync::Arc;

use bytes::Bytes;
use rc_model::TraceContext;
use rc_traffic::{AdminFuture, AdminHandler};

use crate::support::{Service, Setup};

#[test]
fn a_request_reaches_its_service_with_trusted_headers_and_without_credentials() {
    let service = Service::echo();
    let live = Setup::new(&service).start();
    let mut client = live.client();
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    client.send(live.request(
        "GET /up/a%2Fb?q=1",
        &format!(
            "traceparent: {parent}\r\ntracestate: k=v\r\nX-Request-Id: my-id\r\nX-RC-Tenant: other\r\nx_rc_tenant: other\r\n\
             X-Rc-Tier: gold\r\nX-Forwarded-For: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\nX_Forwarded_For: 6.6.6.6\r\n\
             X-Real-Ip: 6.6.6.6\r\nAccept: a, b\r\nX-Request-Timeout-Ms: 4000\r\nKeep-Alive: 5\r\nTE: trailers\r\nProxy-Authorization: x\r\n"
        ),
    ));
    let reply = client.reply();
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(reply.text(), "GET /up/a%2Fb?q=1 HTTP/1.1");
    assert_eq!(reply.header("x-up"), Some("yes"));
    assert_eq!(reply.header("x-request-id"), Some("my-id"));
    assert!(
        reply
            .header("ratelimit")
            .unwrap()
            .starts_with("\"rps\";r=999999;t="),
        "{reply:?}"
    );
    assert!(
        reply
            .header("ratelimit-policy")
            .unwrap()
            .starts_with("\"rps\";q=1000000;w="),
        "{reply:?}"
    );
    assert_eq!(reply.header("connection"), None);

    let seen = &service.seen()[0];
    assert_eq!(seen.header("host"), Some("gw.test"));
    assert_eq!(seen.header("x-rc-tenant"), Some("acme"));
    assert_eq!(seen.header("x-rc-tier"), Some("gold"));
    assert_eq!(seen.header("x-rc-user"), Some(live.key.id().as_str()));
    let left_ms: u64 = seen.header("x-rc-deadline-ms").unwrap().parse().unwrap();
    assert!((3_000..=4_000).contains(&left_ms), "{left_ms}");
    assert_eq!(seen.header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(seen.header("x-forwarded-proto"), Some("http"));
    assert_eq!(seen.header("x-request-id"), Some("my-id"));
    assert_eq!(seen.header("accept"), Some("a, b"));
    assert_eq!(seen.header("tracestate"), Some("k=v"));
    let trace = TraceContext::parse(seen.header("traceparent").unwrap().as_bytes()).unwrap();
    assert_eq!(
        trace.trace_id(),
        TraceContext::parse(parent.as_bytes()).unwrap().trace_id()
    );
    assert_ne!(trace.span_id(), 0x00f0_67aa_0ba9_02b7);
    for gone in [
        "x-api-key",
        "x_rc_tenant",
        "forwarded",
        "x_forwarded_for",
        "x-real-ip",
        "x-request-timeout-ms",
        "keep-alive",
        "te",
        "proxy-authorization",
        "connection",
        "content-length",
        "transfer-encoding",
    ] {
        assert_eq!(seen.header(gone), None, "{gone}");
    }
    assert_eq!(seen.head.matches("x-rc-").count(), 4, "{}", seen.head);
    assert!(!service.raw().contains(live.key.reveal()));
}

#[test]
fn both_ways_to_show_a_key_work_and_one_answer_fits_all_wrong_keys() {
    let service = Service::echo();
    let live = Setup::new(&service).start();
    let mut client = live.client();
    let key = live.key.reveal();
    let mut ask = |field: &str| {
        client.send(format!("GET /up HTTP/1.1\r\nHost: a\r\n{field}\r\n"));
        client.reply()
    };
    assert_eq!(ask(&format!("Authorization: Bearer {key}\r\n")).status, 200);
    assert_eq!(ask(&format!("authorization: bearer  {key}\r\n")).status, 200);
    assert_eq!(ask(&format!("x-api-key: {key}\r\n")).status, 200);
    let wrong_secret = format!("{}{}", &key[..key.len() - 2], "zz");
    let unknown_id = format!("rck_{}_{}", "z".repeat(12), "Z".repeat(32));
    let mut bodies = std::collections::BTreeSet::new();
    for field in [
        String::new(),
        "X-API-Key: \r\n".to_owned(),
        "X-API-Key: nonsense\r\n".to_owned(),
        format!("X-API-Key: {wrong_secret}\r\n"),
        format!("X-API-Key: {unknown_id}\r\n"),
        format!("Authorization: Basic {key}\r\n"),
        "Authorization: Bearer eyJhbGciOi.x.y\r\n".to_owned(),
        "X-RC-Tenant: acme\r\n".to_owned(),
    ] {
        let reply = ask(&field);
        assert_eq!(reply.status, 401, "{field}");
        assert_eq!(
            reply.header("www-authenticate"),
            Some("Bearer realm=\"royalcrown\"")
        );
        let mut problem = reply.problem();
        assert!(problem.trace_id.take().is_some());
        bodies.insert(serde_json::to_string(&problem).unwrap());
    }
    assert_eq!(bodies.len(), 1, "{bodies:?}");
    for field in [
        format!("X-API-Key: {key}\r\nAuthorization: Bearer {key}\r\n"),
        format!("X-API-Key: {key}\r\nX-API-Key: {key}\r\n"),
        format!("Authorization: Bearer {key}\r\nAuthorization: Bearer {key}\r\n"),
    ] {
        let mut client = live.client();
        client.send(format!("GET /up HTTP/1.1\r\nHost: a\r\n{field}\r\n"));
        assert_eq!(client.reply().problem().code, "RC-GW-022");
    }
    assert_eq!(service.seen().len(), 3);
}

#[test]
fn routes_methods_and_unknown_paths_get_the_right_answer() {
    let service = Service::echo();
    let live = Setup::new(&service).start();
    assert_eq!(live.get("/up").status, 200);
    assert_eq!(live.get("/up/").status, 200);
    let nowhere = live.get("/upper");
    assert_eq!(
        (nowhere.status, nowhere.problem().code.as_str()),
        (404, "RC-GW-010")
    );
    assert!(
        nowhere.header("ratelimit").is_some(),
        "a refusal of a limited tenant says how the limit stands"
    );
    let mut client = live.client();
    client.send(live.request("POST /docs/1", "Content-Length: 0\r\n"));
    let reply = client.reply();
    assert_eq!((reply.status, reply.header("allow")), (405, Some("GET, HEAD")));
    client.send(live.request("HEAD /docs/1", ""));
    let reply = client.reply_to(true).unwrap();
    assert_eq!((reply.status, reply.header("content-length")), (200, Some("21")));
    for method in ["TRACE", "CONNECT", "QUERY", "BREW", "get"] {
        client.send(live.request(&format!("{method} /up"), ""));
        let reply = client.reply();
        assert_eq!(reply.status, 405, "{method}");
        assert!(
            reply.header("allow").is_some_and(|allow| allow.contains("GET")),
            "{method}"
        );
    }
    client.send("GET /open/x HTTP/1.1\r\nHost: a\r\nAuthorization: Basic abc\r\n\r\n");
    assert_eq!(client.reply().status, 200, "a public route needs no key");
    let seen = service.seen();
    let open = seen.last().unwrap();
    assert_eq!(open.header("x-rc-tenant"), None);
    assert_eq!(
        open.header("authorization"),
        Some("Basic abc"),
        "a credential that is not ours goes on"
    );
}

#[test]
fn health_and_ready_are_answered_by_the_gateway_without_a_key() {
    let service = Service::echo();
    let live = Setup::new(&service).start();
    let mut client = live.client();
    let mut ask = |path: &str| {
        client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
        client.reply()
    };
    assert_eq!(ask("/health").status, 200);
    assert_eq!(ask("/ready").status, 200);
    let store = live.readiness.component("store");
    store.set_down("disk full");
    let reply = ask("/ready");
    assert_eq!(reply.status, 503);
    assert!(reply.text().contains("disk full"), "{reply:?}");
    assert_eq!(ask("/health").status, 200);
    assert_eq!(ask("/metrics").status, 404, "metrics are not public");
    assert_eq!(ask("/-/keys").status, 404);
    assert!(service.seen().is_empty());
}

struct Admin;

impl AdminHandler for Admin {
    fn call(&self, request: http::Request<Bytes>) -> AdminFuture {
        Box::pin(async move {
            let answer = format!("{} {} {}", request.method(), request.uri(), request.body().len());
            http::Response::builder()
                .status(201)
                .header("x-own", "1")
                .body(Bytes::from(answer))
                .unwrap()
        })
    }
}

#[test]
fn the_trusted_socket_believes_a_tenant_and_leads_to_the_admin_handler() {
    let service = Service::echo();
    let mut setup = Setup::new(&service);
    setup.admin = Some(Arc::new(Admin));
    let live = setup.start();
    let mut client = live.trusted();
    client.send("GET /up HTTP/1.1\r\nHost: a\r\nX-RC-Tenant: acme\r\nX-Rc-User: forged\r\n\r\n");
    assert_eq!(client.reply().status, 200);
    let seen = &service.seen()[0];
    assert_eq!(seen.header("x-rc-tenant"), Some("acme"));
    assert_eq!(seen.header("x-rc-user"), None);
    assert_eq!(seen.header("x-forwarded-for"), None);
    client.send("GET /up HTTP/1.1\r\nHost: a\r\nX-RC-Tenant: nobody\r\n\r\n");
    assert_eq!(client.reply().status, 401);
    client.send("POST /-/keys?x=1 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello");
    let reply = client.reply();
    assert_eq!((reply.status, reply.text().as_str()), (201, "POST /-/keys?x=1 5"));
    assert_eq!(reply.header("x-own"), Some("1"));
    client
        .send("POST /-/keys HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
    assert_eq!(client.reply().text(), "POST /-/keys 3");
    client.send("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.reply().text(), "GET /metrics 0");
    client.send(format!(
        "POST /-/keys HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n",
        (1 << 20) + 1
    ));
    assert_eq!(client.reply().status, 413);
    assert_eq!(live.get("/-/keys").status, 404, "not on the public door");
}

#[test]
fn connections_are_kept_on_both_sides_and_pipelined_requests_are_answered_in_order() {
    let service = Service::echo();
    let live = Setup::new(&service)
        .config(|config| config.workers = std::num::NonZeroUsize::MIN)
        .start();
    let mut client = live.client();
    for n in 0..50 {
        client.send(live.request(&format!("GET /up/{n}"), ""));
        assert_eq!(client.reply().text(), format!("GET /up/{n} HTTP/1.1"));
    }
    let batch: String = (0..20)
        .map(|n| live.request(&format!("GET /up/p{n}"), ""))
        .collect();
    client.send(batch);
    for n in 0..20 {
        assert_eq!(client.reply().text(), format!("GET /up/p{n} HTTP/1.1"));
    }
    assert_eq!(service.connections(), 1);
    client.send(live.request("GET /up", "Connection: close\r\n"));
    assert_eq!(client.reply().header("connection"), Some("close"));
    assert!(client.is_closed());
    live.expect_metric(
        r#"rc_traffic_requests_total{service="up",route="/up",method="GET",tier="gold",status="2xx"} 71"#,
    );
    live.expect_metric("rc_traffic_upstream_connects_total 1");
    live.expect_metric("rc_traffic_upstream_reuses_total 70");
}

#[test]
fn http_1_0_clients_get_whole_answers_that_end_with_the_connection() {
    let service = Service::start(|_, stream| {
        use std::io::Write as _;
        write!(
            stream,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
        )
        .is_ok()
    });
    let live = Setup::new(&service).start();
    let mut client = live.client();
    client.send(format!(
        "GET /up HTTP/1.0\r\n{}Connection: keep-alive\r\n\r\n",
        live.auth()
    ));
    let reply = client.reply();
    assert_eq!((reply.status, reply.text().as_str()), (200, "abcde"));
    assert_eq!(reply.header("transfer-encoding"), None);
    assert_eq!(reply.header("connection"), Some("close"));
    assert_eq!(service.seen()[0].header("host"), Some("localhost"));
}

#[test]
fn absolute_targets_work_when_they_name_the_same_host() {
    let service = Service::echo();
    let live = Setup::new(&service).start();
    let mut client = live.client();
    client.send(live.request("GET http://GW.test/up?x", ""));
    assert_eq!(client.reply().text(), "GET /up?x HTTP/1.1");
    client.send(live.request("GET http://other.test/up", ""));
    assert_eq!(client.reply().problem().code, "RC-GW-008");
    assert!(client.is_closed());
}

#[test]
fn an_offer_of_h2c_is_ignored_and_another_upgrade_refused() {
    let service = Service::echo();
    let live = Setup::new(&service).start();
    let mut client = live.client();
    client.send(live.request(
        "GET /up",
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
    ));
    assert_eq!(client.reply().status, 200);
    let seen = &service.seen()[0];
    assert_eq!(
        (
            seen.header("upgrade"),
            seen.header("http2-settings"),
            seen.header("connection")
        ),
        (None, None, None)
    );
    client.send(live.request("GET /up", "Connection: Upgrade\r\nUpgrade: websocket\r\n"));
    assert_eq!(client.reply().problem().code, "RC-GW-023");
    assert_eq!(service.seen().len(), 1);
}
