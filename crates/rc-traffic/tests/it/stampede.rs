//! Many who ask the same at once, as clients and services meet it.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rc_traffic::Snapshot;

use crate::cache::{Latch, ask, called, give, keep, requests};
use crate::h2_raw::{END_STREAM, H2, Outcome, request};
use crate::seats::Gate;
use crate::support::{Service, Setup, eventually, spec};

#[test]
fn a_thousand_misses_at_once_make_one_call() {
    let gate = Arc::new(Gate::default());
    let service = gate.service();
    let live = Setup::new(&service).spec(|spec| keep(spec, |_| {})).start();
    let (each, connections) = (125, 8);
    let key = live.key.reveal();
    let mut clients: Vec<H2> = (0..connections).map(|_| H2::connect(&live)).collect();
    for client in &mut clients {
        for number in 0..each {
            client.headers(number * 2 + 1, END_STREAM, &request("GET", "/up/popular", key));
        }
    }
    eventually("the call", || !service.seen().is_empty());
    // Nothing depends on it, but most are to wait.
    std::thread::sleep(Duration::from_millis(300));
    gate.open();
    for client in &mut clients {
        assert_eq!(client.statuses(each as usize), vec![200; each as usize]);
    }
    called(&service, 1);
    assert_eq!(requests(&live, "miss"), 1);
    assert_eq!(requests(&live, "hit") + requests(&live, "collapsed"), 999);
    assert!(requests(&live, "collapsed") > 0);
}

#[test]
fn misses_on_hundreds_of_connections_make_one_call() {
    let gate = Arc::new(Gate::default());
    let service = gate.service();
    let live = Setup::new(&service).spec(|spec| keep(spec, |_| {})).start();
    let mut clients: Vec<_> = (0..300).map(|_| ask(&live, "GET /up/popular", "")).collect();
    eventually("the call", || !service.seen().is_empty());
    std::thread::sleep(Duration::from_millis(200));
    gate.open();
    for client in &mut clients {
        let reply = client.reply();
        assert_eq!((reply.status, reply.text().as_str()), (200, "ok"));
    }
    called(&service, 1);
}

#[test]
fn the_client_that_came_first_can_leave() {
    for with_h2 in [false, true] {
        let gate = Arc::new(Gate::default());
        let service = gate.service();
        let live = Setup::new(&service).spec(|spec| keep(spec, |_| {})).start();
        if with_h2 {
            let mut first = H2::connect(&live);
            first.headers(1, END_STREAM, &request("GET", "/up", live.key.reveal()));
            called(&service, 1);
            first.reset(1);
            first.headers(3, END_STREAM, &request("GET", "/up", live.key.reveal()));
            let mut second = ask(&live, "GET /up", "");
            gate.open();
            assert_eq!(first.outcome(3), Outcome::Status(200));
            assert_eq!(second.reply().text(), "ok");
        } else {
            let first = ask(&live, "GET /up", "");
            called(&service, 1);
            let mut second = ask(&live, "GET /up", "");
            drop(first);
            live.expect_metric(
                r#"rc_traffic_requests_total{service="up",route="/up",method="GET",tier="gold",status="gone"} 1"#,
            );
            gate.open();
            assert_eq!(second.reply().text(), "ok");
        }
        called(&service, 1);
    }
}

#[test]
fn everybody_has_their_own_deadline() {
    let gate = Arc::new(Gate::default());
    let service = gate.service();
    let live = Setup::new(&service).spec(|spec| keep(spec, |_| {})).start();
    // The first is patient, the second is not.
    let mut patient = ask(&live, "GET /up/a", "");
    called(&service, 1);
    let mut hasty = ask(&live, "GET /up/a", "X-Request-Timeout-Ms: 100\r\n");
    assert_eq!(hasty.reply().problem().code, "RC-GW-015");
    // The first is not, and the second asks anew.
    let mut hasty = ask(&live, "GET /up/b", "X-Request-Timeout-Ms: 300\r\n");
    called(&service, 2);
    let mut second = ask(&live, "GET /up/b", "");
    assert_eq!(hasty.reply().problem().code, "RC-GW-015");
    called(&service, 3);
    gate.open();
    assert_eq!((patient.reply().status, second.reply().status), (200, 200));
    called(&service, 3);
}

#[test]
fn a_service_that_dies_in_the_middle_cuts_nobody() {
    let (latch, count) = (Arc::new(Latch::default()), AtomicUsize::new(0));
    let there = Arc::clone(&latch);
    let service = Service::start(move |seen, stream| {
        let dies = seen.line().contains("always") || count.fetch_add(1, Ordering::SeqCst) == 0;
        there.wait();
        if !dies {
            return give(stream, "", "whole");
        }
        let _half = write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwh");
        false
    });
    let live = Setup::new(&service).spec(|spec| keep(spec, |_| {})).start();
    let mut clients: Vec<_> = (0..50).map(|_| ask(&live, "GET /up/once", "")).collect();
    eventually("the call", || !service.seen().is_empty());
    std::thread::sleep(Duration::from_millis(100));
    latch.open();
    for client in &mut clients {
        assert_eq!(client.reply().text(), "whole");
    }
    called(&service, 2);
    let mut clients: Vec<_> = (0..50).map(|_| ask(&live, "GET /up/always", "")).collect();
    for client in &mut clients {
        assert_eq!(client.reply().problem().code, "RC-GW-016");
    }
}

#[test]
fn a_reload_does_not_disturb_those_who_wait() {
    let gate = Arc::new(Gate::default());
    let service = gate.service();
    let live = Setup::new(&service).spec(|spec| keep(spec, |_| {})).start();
    let mut clients: Vec<_> = (0..10).map(|_| ask(&live, "GET /up", "")).collect();
    called(&service, 1);
    for version in 2..50 {
        let mut next = spec(version, vec![service.endpoint()]);
        keep(&mut next, |_| {});
        live.gateway.install(Snapshot::build(next).unwrap());
        clients.push(ask(&live, "GET /up", ""));
    }
    gate.open();
    for client in &mut clients {
        assert_eq!(client.reply().text(), "ok");
    }
    called(&service, 1);
}
