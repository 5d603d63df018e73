//! Seats, queues and the pace of refusals as clients and services meet them.

use std::io::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use rc_model::catalog::ConcurrencyBounds;
use rc_model::clock::monotonic_ns;
use rc_model::tenants::{Concurrency, LimitMode};
use rc_traffic::{Snapshot, SnapshotSpec};

use crate::support::{Live, PATIENCE, Reply, Service, Setup, eventually, spec, tenant};

/// A service that answers only when it is let.
#[derive(Default)]
pub(crate) struct Gate {
    open: Mutex<bool>,
    changed: Condvar,
    inside: AtomicUsize,
    most: AtomicUsize,
}

impl Gate {
    pub(crate) fn service(self: &Arc<Self>) -> Service {
        let gate = Arc::clone(self);
        Service::start(move |_, stream| {
            let inside = gate.inside.fetch_add(1, Ordering::SeqCst) + 1;
            gate.most.fetch_max(inside, Ordering::SeqCst);
            let open = gate.open.lock().unwrap();
            let waited = gate.changed.wait_timeout_while(open, PATIENCE, |open| !*open);
            drop(waited);
            gate.inside.fetch_sub(1, Ordering::SeqCst);
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").is_ok()
        })
    }

    pub(crate) fn open(&self) {
        *self.open.lock().unwrap() = true;
        self.changed.notify_all();
    }
}

/// Exactly `seats` for each route.
fn seats(spec: &mut SnapshotSpec, seats: u32) {
    for route in &mut spec.routes {
        route.route.concurrency = Some(ConcurrencyBounds {
            min: seats,
            max: seats,
            initial: None,
        });
    }
}

/// Asks for `/up` as `acme` on a connection of its own.
fn ask(live: &Live) -> std::thread::JoinHandle<Reply> {
    let (request, address) = (live.request("GET /up", ""), live.address);
    std::thread::spawn(move || {
        let mut client = crate::support::Client::tcp(address);
        client.send(request);
        client.reply()
    })
}

fn waiting(live: &Live, count: usize) {
    live.expect_metric(&format!(
        r#"rc_traffic_seats_waiting{{service="up",route="/up",tier="gold"}} {count}"#
    ));
}

#[test]
fn what_is_over_the_seats_waits_and_is_served_in_its_turn() {
    let gate = Arc::new(Gate::default());
    let service = gate.service();
    let live = Setup::new(&service).spec(|spec| seats(spec, 2)).start();
    let asked: Vec<_> = (0..5).map(|_| ask(&live)).collect();
    waiting(&live, 3);
    live.expect_metric(r#"rc_traffic_seats_in_use{service="up",route="/up"} 2.0"#);
    live.expect_metric(r#"rc_traffic_seats_limit{service="up",route="/up"} 2.0"#);
    gate.open();
    for reply in asked {
        assert_eq!(reply.join().unwrap().status, 200);
    }
    assert_eq!(gate.most.load(Ordering::SeqCst), 2);
    waiting(&live, 0);
    live.expect_metric(r#"rc_traffic_seats_in_use{service="up",route="/up"} 0.0"#);
    live.expect_metric(r#"rc_traffic_seats_wait_seconds_count{service="up",route="/up",tier="gold"} 3"#);
}

#[test]
fn a_full_queue_is_the_tenants_own_excess_and_says_when_to_come_back() {
    let gate = Arc::new(Gate::default());
    let service = gate.service();
    let live = Setup::new(&service)
        .spec(|spec| {
            seats(spec, 1);
            spec.tenants[0].limits.queue.max = 1;
        })
        .start();
    let asked = [ask(&live), ask(&live)];
    waiting(&live, 1);
    let reply = live.get("/up");
    assert_eq!(reply.status, 429, "{reply:?}");
    assert!(reply.header("retry-after").is_some());
    let problem = reply.problem();
    assert_eq!(
        (problem.code.as_str(), &problem.violated_policies[..]),
        ("RC-GW-025", &["concurrency".to_owned()][..])
    );
    assert!(problem.retry_after_ms.unwrap() >= 1);
    live.expect_metric(
        r#"rc_traffic_seats_shed_total{service="up",route="/up",tier="gold",reason="queue_full"} 1"#,
    );
    gate.open();
    for reply in asked {
        assert_eq!(reply.join().unwrap().status, 200);
    }
}

#[test]
fn who_waits_only_for_others_is_told_that_it_is_our_shortage() {
    let gate = Arc::new(Gate::default());
    let service = gate.service();
    let live = Setup::new(&service).spec(|spec| seats(spec, 1)).start();
    let mut holder = live.client();
    holder.send(live.request("GET /open", ""));
    live.expect_metric(r#"rc_traffic_seats_in_use{service="up",route="/open"} 1.0"#);
    let mut anonymous = live.client();
    anonymous.send("GET /open HTTP/1.1\r\nHost: a\r\nX-Request-Timeout-Ms: 300\r\n\r\n");
    let reply = anonymous.reply();
    assert_eq!(reply.status, 503, "{reply:?}");
    assert!(reply.header("retry-after").is_some());
    let problem = reply.problem();
    assert_eq!(problem.code, "RC-GW-026");
    assert!(problem.retry_after_ms.unwrap() >= 1, "{problem:?}");
    live.expect_metric(
        r#"rc_traffic_seats_shed_total{service="up",route="/open",tier="none",reason="late"} 1"#,
    );
    // Routes have seats of their own.
    let other = ask(&live);
    live.expect_metric(r#"rc_traffic_seats_in_use{service="up",route="/up"} 1.0"#);
    gate.open();
    assert_eq!(other.join().unwrap().status, 200);
    assert_eq!(holder.reply().status, 200);
    assert_eq!(
        service.seen().len(),
        2,
        "what was refused never went to the service"
    );
}

#[test]
fn a_client_that_leaves_takes_its_place_with_it() {
    let gate = Arc::new(Gate::default());
    let service = gate.service();
    let live = Setup::new(&service).spec(|spec| seats(spec, 1)).start();
    let asked = ask(&live);
    live.expect_metric(r#"rc_traffic_seats_in_use{service="up",route="/up"} 1.0"#);
    let mut gone = live.client();
    gone.send(live.request("GET /up", ""));
    waiting(&live, 1);
    drop(gone);
    waiting(&live, 0);
    gate.open();
    assert_eq!(asked.join().unwrap().status, 200);
    assert_eq!(live.get("/up").status, 200);
    assert_eq!(service.seen().len(), 2);
}

#[test]
fn a_tenant_in_shadow_mode_passes_and_is_counted() {
    let gate = Arc::new(Gate::default());
    let service = gate.service();
    let live = Setup::new(&service)
        .spec(|spec| {
            spec.tenants[0].limits.concurrency = Concurrency {
                max: Some(1),
                mode: LimitMode::Shadow,
                share: 0,
            };
        })
        .start();
    let asked: Vec<_> = (0..3).map(|_| ask(&live)).collect();
    eventually("three at once", || gate.inside.load(Ordering::SeqCst) == 3);
    gate.open();
    for reply in asked {
        assert_eq!(reply.join().unwrap().status, 200);
    }
    live.expect_metric(r#"rc_traffic_seats_shadowed_total{service="up",route="/up",tier="gold"} 2"#);
}

#[test]
fn a_reload_keeps_seats_and_places_and_its_limits_hold_at_once() {
    let gate = Arc::new(Gate::default());
    let service = gate.service();
    let live = Setup::new(&service).spec(|spec| seats(spec, 1)).start();
    let asked: Vec<_> = (0..4).map(|_| ask(&live)).collect();
    waiting(&live, 3);
    let mut changed = spec(2, vec![service.endpoint()]);
    seats(&mut changed, 3);
    changed.tenants.insert(0, tenant("another", "gold", 10, 10));
    live.gateway.install(Snapshot::build(changed).unwrap());
    eventually("two more seats", || gate.inside.load(Ordering::SeqCst) == 3);
    waiting(&live, 1);
    gate.open();
    for reply in asked {
        assert_eq!(reply.join().unwrap().status, 200);
    }
    live.expect_metric(r#"rc_traffic_seats_in_use{service="up",route="/up"} 0.0"#);
}

#[test]
fn who_is_refused_again_and_again_waits_longer_each_time_and_others_do_not() {
    let service = Service::echo();
    let live = Setup::new(&service)
        .spec(|spec| spec.tenants[0] = tenant("acme", "gold", 1, 1))
        .start();
    let mut flood = live.client();
    let mut took = || {
        let began_ns = monotonic_ns();
        flood.send(live.request("GET /up", ""));
        (
            flood.reply().status,
            Duration::from_nanos(monotonic_ns() - began_ns),
        )
    };
    assert_eq!(took().0, 200);
    let refused: Vec<_> = (0..5).map(|_| took()).collect();
    let total: Duration = refused.iter().map(|(_, took)| *took).sum();
    // 0, 25, 50, 100 and 200 ms. Only that it is held is sure on a busy machine; one of them may be served again.
    assert!(
        refused.iter().filter(|(status, _)| *status == 429).count() >= 4,
        "{refused:?}"
    );
    assert!(total >= Duration::from_millis(75), "{refused:?}");
    // Another connection begins anew, and a healthy answer needs no patience.
    assert_eq!(live.get("/health").status, 200);
}

#[test]
fn requests_that_wait_are_served_when_the_gateway_stops() {
    let gate = Arc::new(Gate::default());
    let service = gate.service();
    let live = Setup::new(&service).spec(|spec| seats(spec, 1)).start();
    let asked: Vec<_> = (0..3).map(|_| ask(&live)).collect();
    waiting(&live, 2);
    live.stop.cancel();
    gate.open();
    for reply in asked {
        assert_eq!(reply.join().unwrap().status, 200);
    }
    assert_eq!(live.stopped().cut, 0);
}
