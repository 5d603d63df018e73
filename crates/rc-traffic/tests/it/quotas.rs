//! Credits, modes and the allowance of the unknown as clients meet them.

use std::io::Write as _;
use std::sync::{Arc, Condvar, Mutex};

use rc_model::catalog::ConcurrencyBounds;
use rc_model::tenants::{LimitMode, RateLimit, StorageLimit};
use rc_model::units::{ByteSize, Rate};
use rc_traffic::SnapshotSpec;

use crate::support::{Live, PATIENCE, Reply, Service, Setup, tenant};

/// One request an hour after `burst` at once, and `credits` beyond them.
fn hourly(burst: u64, credits: u64) -> RateLimit {
    RateLimit {
        credits,
        ..RateLimit::of(Rate::parse("1/h").unwrap(), burst)
    }
}

fn one_seat(spec: &mut SnapshotSpec) {
    for route in &mut spec.routes {
        route.route.concurrency = Some(ConcurrencyBounds {
            min: 1,
            max: 1,
            initial: None,
        });
    }
}

/// A service that holds every `GET` until it is let.
fn held() -> (Service, impl Fn()) {
    let gate = Arc::new((Mutex::new(false), Condvar::new()));
    let inside = Arc::clone(&gate);
    let service = Service::start(move |seen, stream| {
        if seen.line().starts_with("GET") {
            let open = inside.0.lock().unwrap();
            drop(
                inside
                    .1
                    .wait_timeout_while(open, PATIENCE, |open| !*open)
                    .unwrap(),
            );
        }
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").is_ok()
    });
    let open = move || {
        *gate.0.lock().unwrap() = true;
        gate.1.notify_all();
    };
    (service, open)
}

/// Asks for `/up` as `tenant`, whom the trusted hop names, on a connection of its own.
fn ask_as(live: &Live, tenant: &str) -> std::thread::JoinHandle<Reply> {
    let mut client = live.trusted();
    let request = format!("GET /up HTTP/1.1\r\nHost: a\r\nX-RC-Tenant: {tenant}\r\n\r\n");
    std::thread::spawn(move || {
        client.send(request);
        client.reply()
    })
}

#[test]
fn what_was_saved_up_passes_beyond_the_burst_and_is_not_promised() {
    let service = Service::echo();
    let live = Setup::new(&service)
        .spec(|spec| spec.tenants[0].limits.rps = hourly(2, 3))
        .start();
    let mut client = live.client();
    let mut ask = || {
        client.send(live.request("GET /up", ""));
        client.reply()
    };
    let told: Vec<(u16, String)> = (0..6)
        .map(|_| {
            let reply = ask();
            let fields = reply.header("ratelimit").unwrap();
            let left = fields.split(';').nth(1).unwrap().to_owned();
            (reply.status, left)
        })
        .collect();
    let expect = [
        (200, "r=1"),
        (200, "r=0"),
        (200, "r=0"),
        (200, "r=0"),
        (200, "r=0"),
        (429, "r=0"),
    ];
    assert_eq!(told, expect.map(|(status, left)| (status, left.to_owned())));
    for (colour, count) in [("green", 2), ("yellow", 3), ("red", 1)] {
        live.expect_metric(&format!(
            r#"rc_traffic_rate_colours_total{{tier="gold",colour="{colour}"}} {count}"#
        ));
    }
}

#[test]
fn what_was_saved_up_gives_way_while_there_is_no_room() {
    let (service, open) = held();
    let live = Setup::new(&service)
        .spec(|spec| {
            spec.tenants[0].limits.rps = hourly(1, 5);
            spec.tenants.push(tenant("globex", "silver", 1_000, 1_000));
            one_seat(spec);
        })
        .start();
    let within = ask_as(&live, "acme");
    live.expect_metric(r#"rc_traffic_seats_in_use{service="up",route="/up"} 1.0"#);
    // Beyond the rate, and the only seat is taken: refused at once, and nothing of the bank is spent.
    let reply = live.get("/up");
    assert_eq!((reply.status, reply.problem().code.as_str()), (429, "RC-GW-012"));
    assert_eq!(reply.problem().violated_policies, ["rps"]);
    // Another tenant within its rate waits for that seat.
    let other = ask_as(&live, "globex");
    live.expect_metric(r#"rc_traffic_seats_waiting{service="up",route="/up",tier="silver"} 1"#);
    assert_eq!(live.get("/up").status, 429);
    open();
    assert_eq!(within.join().unwrap().status, 200);
    assert_eq!(other.join().unwrap().status, 200);
    live.expect_metric(r#"rc_traffic_seats_in_use{service="up",route="/up"} 0.0"#);
    let mut client = live.client();
    for _ in 0..5 {
        client.send(live.request("GET /up", ""));
        assert_eq!(client.reply().status, 200);
    }
    client.send(live.request("GET /up", ""));
    assert_eq!(client.reply().status, 429);
}

#[test]
fn who_is_beyond_its_rate_never_waits_for_a_seat_that_others_took_meanwhile() {
    let (service, open) = held();
    let live = Setup::new(&service)
        .spec(|spec| {
            spec.tenants[0].limits.rps = hourly(1, 5);
            spec.tenants.push(tenant("globex", "silver", 1_000, 1_000));
            one_seat(spec);
        })
        .start();
    let mut client = live.client();
    client.send(live.request("POST /up", "Content-Length: 2\r\n") + "ok");
    assert_eq!(client.reply().status, 200);
    // There is room when its head comes, and none when its body has.
    client.send(live.request("POST /up", "Content-Length: 4\r\nX-Second: yes\r\n") + "ab");
    live.expect_metric(r#"rc_traffic_rate_colours_total{tier="gold",colour="yellow"} 1"#);
    let other = ask_as(&live, "globex");
    live.expect_metric(r#"rc_traffic_seats_in_use{service="up",route="/up"} 1.0"#);
    client.send("cd");
    let reply = client.reply();
    assert_eq!(
        (reply.status, reply.problem().code.as_str()),
        (429, "RC-GW-012"),
        "{reply:?}"
    );
    live.expect_metric(
        r#"rc_traffic_seats_shed_total{service="up",route="/up",tier="gold",reason="lent"} 1"#,
    );
    open();
    assert_eq!(other.join().unwrap().status, 200);
}

#[test]
fn shadow_counts_what_it_would_have_refused_and_off_counts_nothing() {
    let service = Service::echo();
    let with = |mode| {
        Setup::new(&service).spec(|spec| {
            spec.tenants[0].limits.rps = RateLimit { mode, ..hourly(1, 0) };
        })
    };
    let live = with(LimitMode::Shadow).start();
    for _ in 0..3 {
        let reply = live.get("/up");
        assert_eq!((reply.status, reply.header("ratelimit")), (200, None));
        assert_eq!(reply.header("ratelimit-policy"), None);
    }
    live.expect_metric(r#"rc_traffic_rate_shadowed_total{tier="gold"} 2"#);
    live.expect_metric(r#"rc_traffic_rate_colours_total{tier="gold",colour="green"} 1"#);
    assert!(!live.metrics().contains(r#"colour="red""#));
    let live = with(LimitMode::Off).start();
    for _ in 0..3 {
        assert_eq!(live.get("/up").status, 200);
    }
    assert!(!live.metrics().contains("rc_traffic_rate_colours_total{"));
}

#[test]
fn all_who_are_unknown_share_one_allowance_whatever_they_call_themselves() {
    let service = Service::echo();
    let live = Setup::new(&service)
        .spec(|spec| spec.anonymous.shared = hourly(6, 0))
        .start();
    let mut hop = live.trusted();
    let mut named = |tenant: &str| {
        hop.send(format!(
            "GET /up HTTP/1.1\r\nHost: a\r\nX-RC-Tenant: {tenant}\r\n\r\n"
        ));
        hop.reply().status
    };
    for unknown in ["globex", "ACME", "acme.", "no-such-tenant"] {
        assert_eq!(named(unknown), 401, "{unknown}");
    }
    let wrong_key = || {
        let mut client = live.client();
        client.send("GET /up HTTP/1.1\r\nHost: a\r\nX-API-Key: rck_abcdefghijkl_wrong\r\n\r\n");
        client.reply().status
    };
    assert_eq!([wrong_key(), wrong_key()], [401, 401]);
    // Used up by all together; a new name or another door is no way around it.
    assert_eq!((wrong_key(), named("yet-another")), (429, 429));
    // Who is known does not notice, and neither do those who need no key.
    assert_eq!(named("acme"), 200);
    assert_eq!(live.get("/up").status, 200);
    let mut client = live.client();
    client.send("GET /open HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.reply().status, 200);
}

#[test]
fn services_are_told_what_a_tenant_may_store_and_clients_cannot_say_it() {
    let service = Service::echo();
    let storing = |mode| {
        let limit = ByteSize::parse("2GiB").unwrap();
        Setup::new(&service).spec(|spec| spec.tenants[0].limits.storage = Some(StorageLimit { limit, mode }))
    };
    for (mode, told) in [
        (LimitMode::Enforce, Some("2147483648")),
        (LimitMode::Shadow, Some("2147483648;shadow")),
        (LimitMode::Off, None),
    ] {
        let live = storing(mode).start();
        let mut client = live.client();
        client.send(live.request("GET /up", "X-RC-Storage: 999999999999999\r\n"));
        assert_eq!(client.reply().status, 200);
        let seen = service.seen();
        assert_eq!(seen.last().unwrap().header("x-rc-storage"), told);
    }
}
