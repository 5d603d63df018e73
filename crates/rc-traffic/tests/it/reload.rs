//! Policy and keys that change while requests run.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rc_traffic::{KeySet, Snapshot};

use crate::support::{Service, Setup, limit, spec, tenant};

#[test]
fn a_thousand_snapshots_under_load_drop_nothing_and_reset_no_limit() {
    let service = Service::echo();
    let live = Setup::new(&service).start();
    let (done, failed, served) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (live, done, failed, served) = (&live, &done, &failed, &served);
            scope.spawn(move || {
                let mut client = live.client();
                while !done.load(Ordering::SeqCst) {
                    client.send(live.request(&format!("POST /up/{thread}"), "Content-Length: 3\r\n") + "abc");
                    match client.reply_to(false) {
                        Some(reply) if reply.status == 200 => served.fetch_add(1, Ordering::SeqCst),
                        _ => failed.fetch_add(1, Ordering::SeqCst),
                    };
                }
            });
        }
        for version in 2..=1_001 {
            let mut next = spec(version, vec![service.endpoint()]);
            // Everything that can move moves: order of tenants, routes, an extra upstream.
            next.tenants
                .insert(0, tenant(&format!("t{version}"), "bronze", 1, 1));
            next.routes.reverse();
            live.gateway.install(Snapshot::build(next).unwrap());
        }
        done.store(true, Ordering::SeqCst);
    });
    assert_eq!(failed.load(Ordering::SeqCst), 0);
    assert!(served.load(Ordering::SeqCst) > 100, "{served:?}");
    assert_eq!(live.gateway.version(), 1_001);
    live.expect_metric("rc_traffic_snapshot_version 1001");
    live.expect_metric(&format!(
        r#"rc_traffic_requests_total{{service="up",route="/up",method="POST",tier="gold",status="2xx"}} {}"#,
        served.load(Ordering::SeqCst)
    ));
}

#[test]
fn a_used_up_limit_stays_used_up_through_reloads() {
    let service = Service::echo();
    let limited = |version| {
        let mut spec = spec(version, vec![service.endpoint()]);
        spec.tenants[0].limits.rps =
            rc_model::tenants::RateLimit::of(rc_model::units::Rate::parse("1/h").unwrap(), 5);
        Snapshot::build(spec).unwrap()
    };
    let live = Setup::new(&service).start();
    live.gateway.install(limited(2));
    let mut client = live.client();
    let mut ask = || {
        client.send(live.request("GET /up", ""));
        client.reply().status
    };
    let statuses: Vec<u16> = (0..6).map(|_| ask()).collect();
    assert_eq!(statuses, [200, 200, 200, 200, 200, 429]);
    for version in 3..50 {
        live.gateway.install(limited(version));
        assert_eq!(ask(), 429, "version {version}");
    }
    let mut wide = spec(50, vec![service.endpoint()]);
    wide.tenants[0].limits.rps = limit(1_000_000, 1_000_000);
    live.gateway.install(Snapshot::build(wide).unwrap());
    std::thread::sleep(std::time::Duration::from_millis(5));
    assert_eq!(ask(), 200, "a wider limit applies at once");
}

#[test]
fn a_revoked_key_is_refused_from_the_next_request_on() {
    let service = Service::echo();
    let live = Setup::new(&service).start();
    let mut client = live.client();
    client.send(live.request("GET /up", ""));
    assert_eq!(client.reply().status, 200);
    live.gateway.set_keys(Arc::new(KeySet::default()));
    client.send(live.request("GET /up", ""));
    assert_eq!(client.reply().status, 401);
}

#[test]
fn a_removed_tenant_and_a_moved_service_take_effect_without_a_restart() {
    let (old, new) = (Service::echo(), Service::echo());
    let live = Setup::new(&old).start();
    assert_eq!(live.get("/up").status, 200);
    live.gateway
        .install(Snapshot::build(spec(2, vec![new.endpoint()])).unwrap());
    assert_eq!(live.get("/up").status, 200);
    assert_eq!((old.seen().len(), new.seen().len()), (1, 1));
    let mut without = spec(3, vec![new.endpoint()]);
    without.tenants = vec![tenant("globex", "gold", 10, 10)];
    live.gateway.install(Snapshot::build(without).unwrap());
    assert_eq!(
        live.get("/up").status,
        401,
        "a key of a tenant that is gone proves nothing"
    );
}
