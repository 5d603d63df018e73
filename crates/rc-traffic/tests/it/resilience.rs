//! Services that fail: what is tried again, who is left alone, and who is told so.

use std::io::Write as _;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rc_model::resilience::{AdaptiveTimeout, Health, Hedge, Retry, Timeout};
use rc_model::units::{Percent, Span};
use rc_traffic::SnapshotSpec;

use crate::support::{Live, PATIENCE, Reply, Seen, Service, Setup, eventually, tenant};

fn answer(stream: &mut TcpStream, status: u16, fields: &str) -> bool {
    write!(
        stream,
        "HTTP/1.1 {status} X\r\n{fields}Content-Length: 2\r\n\r\nok"
    )
    .is_ok()
}

/// A budget for every request, so that only the other rules decide.
fn generous(spec: &mut SnapshotSpec) {
    spec.tenants[0].limits.retry = Retry {
        budget: Percent::new(100),
        ..Retry::default()
    };
}

fn attempts(service: &Service) -> Vec<String> {
    let number = |seen: &Seen| seen.header("x-rc-attempt").unwrap_or("-").to_owned();
    service.seen().iter().map(number).collect()
}

fn code(reply: &Reply) -> (u16, String) {
    (reply.status, reply.problem().code)
}

#[test]
fn a_read_whose_answer_never_began_is_tried_again_at_another_endpoint() {
    let dying = Service::start(|_, _| false);
    let well = Service::echo();
    let live = Setup::to(vec![dying.endpoint(), well.endpoint()])
        .spec(generous)
        .start();
    for _ in 0..6 {
        assert_eq!(live.get("/up").status, 200);
    }
    assert!(attempts(&dying).iter().all(|attempt| attempt == "1"));
    assert!(attempts(&well).contains(&"2".to_owned()));
    assert_eq!(well.seen().len(), 6);
    live.expect_metric(&format!(
        r#"rc_traffic_retries_total{{service="up",route="/up",tier="gold"}} {}"#,
        dying.seen().len()
    ));
}

#[test]
fn a_write_is_tried_again_only_with_a_key_and_with_the_same_body() {
    let dying = Service::start(|_, _| false);
    let well = Service::echo();
    let live = Setup::to(vec![dying.endpoint(), well.endpoint()])
        .spec(generous)
        .start();
    let post = |fields: &str, body: &str| {
        let mut client = live.client();
        client.send(live.request("POST /up", fields) + body);
        client.reply().status
    };
    for (fields, body) in [
        ("Idempotency-Key: a\r\nContent-Length: 5\r\n", "hello"),
        (
            "Idempotency-Key: b\r\nTransfer-Encoding: chunked\r\n",
            "5\r\nhello\r\n0\r\n\r\n",
        ),
    ] {
        for _ in 0..4 {
            assert_eq!(post(fields, body), 200, "{fields}");
        }
    }
    assert!(well.seen().iter().all(|seen| seen.body == b"hello"));
    assert_eq!(well.seen().len(), 8);
    assert!(!dying.seen().is_empty());
    let before = well.seen().len() + dying.seen().len();
    let without: Vec<u16> = (0..4).map(|_| post("Content-Length: 5\r\n", "hello")).collect();
    assert!(without.contains(&502), "{without:?}");
    assert_eq!(well.seen().len() + dying.seen().len(), before + 4);
}

#[test]
fn a_body_that_is_too_large_to_keep_is_sent_once() {
    let dying = Service::start(|_, _| false);
    let live = Setup::new(&dying).spec(generous).start();
    for fields in ["Content-Length: 70000\r\n", "Transfer-Encoding: chunked\r\n"] {
        let body = "x".repeat(70_000);
        let body = match fields.starts_with('C') {
            true => body,
            false => format!("11170\r\n{body}\r\n0\r\n\r\n"),
        };
        let before = dying.seen().len();
        let mut client = live.client();
        client.send(live.request("PUT /up", fields) + &body);
        assert_eq!(client.reply().status, 502);
        assert_eq!(dying.seen().len(), before + 1);
    }
}

#[test]
fn an_overloaded_answer_is_tried_again_unless_it_says_when() {
    let service = Service::start(|seen, stream| match seen.line() {
        line if line.contains("later") => answer(stream, 503, "Retry-After: 1\r\n"),
        line if line.contains("twice") => match seen.header("x-rc-attempt") {
            Some("1") => answer(stream, 502, ""),
            _ => answer(stream, 200, ""),
        },
        _ => answer(stream, 503, ""),
    });
    let live = Setup::new(&service).spec(generous).start();
    assert_eq!(live.get("/up/later").status, 503);
    assert_eq!(attempts(&service), ["1"]);
    assert_eq!(live.get("/up/twice").status, 200);
    assert_eq!(attempts(&service), ["1", "1", "2"]);
    let reply = live.get("/up/never");
    assert_eq!(
        (reply.status, reply.text().as_str()),
        (503, "ok"),
        "its own answer"
    );
    assert_eq!(attempts(&service)[3..], ["1", "2", "3"]);
    // Somebody before us tries again.
    let mut client = live.client();
    client.send(live.request("GET /up/never", "X-RC-Attempt: 1\r\n"));
    assert_eq!(client.reply().status, 503);
    assert_eq!(attempts(&service)[6..], ["-"]);
}

#[test]
fn an_answer_that_has_begun_and_one_that_is_garbage_are_not_tried_again() {
    let service = Service::start(|seen, stream| {
        let _sent = match seen.line().contains("cut") {
            true => stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"),
            false => stream.write_all(b"\x16\x03\x01 this is no HTTP\r\n\r\n"),
        };
        false
    });
    let live = Setup::new(&service).spec(generous).start();
    let reply = live.get("/up/cut");
    assert!(reply.status == 200 && !reply.whole);
    assert_eq!(code(&live.get("/up/garbage")), (502, "RC-GW-016".to_owned()));
    assert_eq!(service.seen().len(), 2);
}

#[test]
fn a_storm_of_errors_does_not_become_one_of_tries() {
    const CLIENTS: usize = 4;
    const EACH: usize = 200;
    let count = AtomicUsize::new(0);
    let service = Service::start(move |_, stream| {
        let sick = count.fetch_add(1, Ordering::SeqCst).is_multiple_of(2);
        answer(stream, if sick { 503 } else { 200 }, "")
    });
    let live = Setup::new(&service)
        .spec(|spec| spec.tenants[0].limits.retry = Retry::default())
        .start();
    let served: usize = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                scope.spawn(|| {
                    let mut client = live.client();
                    let served = (0..EACH).filter(|_| {
                        client.send(live.request("GET /up", ""));
                        client.reply().status == 200
                    });
                    served.count()
                })
            })
            .collect();
        clients.into_iter().map(|client| client.join().unwrap()).sum()
    });
    let (offered, sent) = (CLIENTS * EACH, service.seen().len());
    // Two workers have one try each to begin with, and a little in seconds that bring few requests.
    assert!(sent <= offered * 12 / 10 + 4, "{sent} of {offered}");
    assert!(
        sent > offered && served > offered / 2,
        "{sent} sent, {served} served"
    );
    live.expect_metric(r#"rc_traffic_retries_exhausted_total{service="up",route="/up",tier="gold"}"#);
}

#[test]
fn a_service_that_cannot_be_reached_is_tried_again_within_the_budget() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    drop(taken);
    let live = Setup::to(vec![rc_traffic::Endpoint::Tcp(address)])
        .spec(generous)
        .start();
    assert_eq!(code(&live.get("/up")), (503, "RC-GW-017".to_owned()));
    live.expect_metric(r#"rc_traffic_retries_total{service="up",route="/up",tier="gold"} 2"#);
}

#[test]
fn one_sick_endpoint_of_three_is_left_alone_and_comes_back() {
    let sick = Arc::new(AtomicBool::new(true));
    let sick_there = Arc::clone(&sick);
    let ill = Service::start(move |_, stream| match sick_there.load(Ordering::SeqCst) {
        true => answer(stream, 500, ""),
        false => answer(stream, 200, ""),
    });
    let well = [Service::echo(), Service::echo()];
    let endpoints = vec![well[0].endpoint(), ill.endpoint(), well[1].endpoint()];
    let live = Setup::to(endpoints)
        .spec(|spec| {
            let health = &mut spec.upstreams[0].health;
            *health = Health::default();
            health.breaker.enabled = false;
            health.ejection.time = Span::from_millis(300);
        })
        .start();
    eventually("it is left alone", || {
        (0..50).for_each(|_| drop(live.get("/up")));
        live.metrics()
            .contains(r#"rc_traffic_endpoints_ejected{service="up"} 1"#)
    });
    // As long as it fails it gets a request now and then, to see.
    let before = ill.seen().len();
    (0..60).for_each(|_| drop(live.get("/up")));
    let probes = ill.seen().len() - before;
    assert!(probes < 20, "{probes} of 60");
    sick.store(false, Ordering::SeqCst);
    eventually("it is asked again", || {
        assert_eq!(
            live.get("/up").status / 100,
            2,
            "it works again, and so do the others"
        );
        live.metrics()
            .contains(r#"rc_traffic_endpoints_ejected{service="up"} 0"#)
    });
    live.expect_metric(r#"rc_traffic_ejections_total{service="up"}"#);
}

#[test]
fn an_endpoint_that_takes_no_connections_is_left_alone_at_once() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let gone = rc_traffic::Endpoint::Tcp(taken.local_addr().unwrap());
    drop(taken);
    let well = Service::echo();
    let live = Setup::to(vec![gone, well.endpoint()])
        .spec(|spec| {
            spec.upstreams[0].health = Health::default();
            spec.upstreams[0].health.ejection.time = Span::from_millis(60_000);
        })
        .start();
    for _ in 0..20 {
        assert_eq!(live.get("/up").status, 200);
    }
    let metrics = live.metrics();
    assert!(metrics.contains(r#"rc_traffic_endpoints_ejected{service="up"} 1"#));
    assert!(
        metrics.contains("rc_traffic_upstream_failures_total 3"),
        "{metrics}"
    );
}

/// Asks as `name` by the owner's door.
fn ask_as(live: &Live, name: &str) -> Reply {
    let mut client = live.trusted();
    client.send(format!(
        "GET /up HTTP/1.1\r\nHost: a\r\nX-RC-Tenant: {name}\r\n\r\n"
    ));
    client.reply()
}

#[test]
fn a_tenant_whose_requests_fail_is_refused_and_its_neighbour_is_not() {
    let service = Service::start(|seen, stream| match seen.header("x-rc-tenant") {
        Some("poison") => answer(stream, 500, ""),
        _ => answer(stream, 200, ""),
    });
    let live = Setup::new(&service)
        .spec(|spec| {
            spec.tenants.push(tenant("poison", "gold", 1_000_000, 1_000_000));
            spec.upstreams[0].health = Health::default();
            spec.upstreams[0].health.breaker.time = Span::from_millis(60_000);
        })
        .start();
    let mut refused = None;
    eventually("its circuit opens", || {
        for _ in 0..20 {
            let reply = ask_as(&live, "poison");
            assert_eq!(ask_as(&live, "acme").status, 200);
            if reply.status == 503 {
                refused = Some(reply);
            }
        }
        refused.is_some()
    });
    let reply = refused.unwrap();
    assert_eq!(reply.problem().code, "RC-GW-050");
    assert!(reply.header("retry-after").is_some());
    let before = service.seen().len();
    assert_eq!(ask_as(&live, "poison").status, 503);
    assert_eq!(service.seen().len(), before, "the service is not asked");
    assert_eq!(live.get("/up").status, 200);
    live.expect_metric(r#"rc_traffic_circuits_open{service="up",circuit="tenant"} 1"#);
    live.expect_metric(r#"rc_traffic_circuits_open{service="up",circuit="service"} 0"#);
}

#[test]
fn a_service_that_fails_for_all_is_left_alone_and_asked_again_when_it_works() {
    let sick = Arc::new(AtomicBool::new(true));
    let sick_there = Arc::clone(&sick);
    let service = Service::start(move |_, stream| match sick_there.load(Ordering::SeqCst) {
        true => answer(stream, 500, ""),
        false => answer(stream, 200, ""),
    });
    let live = Setup::new(&service)
        .spec(|spec| {
            spec.tenants.push(tenant("globex", "gold", 1_000_000, 1_000_000));
            spec.upstreams[0].health = Health::default();
            spec.upstreams[0].health.breaker.time = Span::from_millis(200);
        })
        .start();
    eventually("the circuit opens", || {
        for _ in 0..20 {
            ask_as(&live, "acme");
            ask_as(&live, "globex");
        }
        live.metrics()
            .contains(r#"rc_traffic_circuits_open{service="up",circuit="service"} 1"#)
    });
    sick.store(false, Ordering::SeqCst);
    eventually("it closes", || {
        ask_as(&live, "acme");
        live.metrics()
            .contains(r#"rc_traffic_circuits_open{service="up",circuit="service"} 0"#)
    });
    assert_eq!(ask_as(&live, "globex").status, 200);
}

#[test]
fn a_service_that_says_when_and_one_that_is_not_there_open_no_circuit() {
    let sheds = Service::start(|_, stream| answer(stream, 503, "Retry-After: 1\r\n"));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let gone = rc_traffic::Endpoint::Tcp(taken.local_addr().unwrap());
    drop(taken);
    for (endpoint, own) in [(sheds.endpoint(), true), (gone, false)] {
        let live = Setup::to(vec![endpoint])
            .spec(|spec| spec.upstreams[0].health = Health::default())
            .start();
        // Workers bring what they counted once a second.
        for _ in 0..5 {
            for _ in 0..30 {
                let reply = ask_as(&live, "acme");
                assert_eq!((reply.status, reply.text() == "ok"), (503, own), "{reply:?}");
                assert!(own || reply.problem().code == "RC-GW-017", "{reply:?}");
            }
            std::thread::sleep(Duration::from_millis(500));
        }
        live.expect_metric(r#"rc_traffic_circuits_opened_total{service="up"} 0"#);
    }
}

#[test]
fn an_answer_that_does_not_begin_when_such_answers_do_is_504_and_one_that_takes_long_to_end_is_whole() {
    let service = Service::start(|seen, stream| {
        if seen.line().contains("hole") {
            std::thread::sleep(PATIENCE);
            return false;
        }
        if seen.line().contains("stream") {
            let began = write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab").is_ok();
            std::thread::sleep(Duration::from_secs(1));
            return began && stream.write_all(b"cd").is_ok();
        }
        answer(stream, 200, "")
    });
    let live = Setup::new(&service)
        .spec(|spec| {
            spec.tenants[0].limits.timeout = Timeout {
                max: Span::from_millis(60_000),
                adaptive: Some(AdaptiveTimeout {
                    factor: 1.5,
                    min: Span::from_millis(100),
                }),
            };
        })
        .start();
    let mut client = live.client();
    eventually("enough is known", || {
        for _ in 0..400 {
            client.send(live.request("GET /up", ""));
            assert_eq!(client.reply().status, 200);
        }
        live.metrics()
            .contains(r#"rc_traffic_first_byte_p999_seconds{service="up",route="/up",tier="gold"}"#)
    });
    assert!(live.get("/up/stream").whole);
    assert_eq!(code(&live.get("/up/hole")), (504, "RC-GW-051".to_owned()));
    live.expect_metric(r#"rc_traffic_adaptive_timeouts_total{service="up",route="/up",tier="gold"} 1"#);
}

#[test]
fn a_read_that_takes_long_is_sent_to_another_endpoint_too_and_the_first_answer_counts() {
    let slow = Arc::new(AtomicBool::new(false));
    let slow_there = Arc::clone(&slow);
    let first = Service::start(move |_, stream| {
        if slow_there.load(Ordering::SeqCst) {
            std::thread::sleep(PATIENCE);
            return false;
        }
        answer(stream, 200, "")
    });
    let second = Service::start(|_, stream| answer(stream, 200, ""));
    let live = Setup::to(vec![first.endpoint(), second.endpoint()])
        .spec(|spec| {
            let budget = Percent::new(100);
            spec.routes[0].route.hedge = Some(Hedge { budget });
            spec.tenants[0].limits.timeout = Timeout::fixed(Span::from_millis(60_000));
        })
        .start();
    let mut client = live.client();
    let mut get = || {
        client.send(live.request("GET /up", ""));
        client.reply().status
    };
    // What is usual is known when a copy is sent: one in twenty takes longer.
    eventually("enough is known", || {
        (0..100).for_each(|_| assert_eq!(get(), 200));
        live.metrics().contains("rc_traffic_hedges_total{")
    });
    slow.store(true, Ordering::SeqCst);
    // Half of them go to the slow one first; without copies nobody would live to see the answers.
    for _ in 0..6 {
        assert_eq!(get(), 200);
    }
    assert!(live.metrics().contains("rc_traffic_hedges_won_total{"));
}
