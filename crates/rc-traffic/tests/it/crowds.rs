//! Sources and tenants with too many connections or handshakes, and bugs that must stay with their connection.

use std::io::Read as _;
use std::sync::Arc;
use std::time::Duration;

use rc_model::clock::monotonic_ns;
use rc_model::{Clock, Timestamp};
use rc_traffic::{AdminFuture, AdminHandler, Snapshot};

use crate::h2_raw::{END_STREAM, GOAWAY, H2, HEADERS, Outcome, request, status};
use crate::support::{Client, Service, Setup, eventually, limit, spec, tenant};

#[test]
fn a_source_with_too_many_connections_is_told_and_the_owners_door_stays_open() {
    let service = Service::echo();
    let live = Setup::new(&service)
        .config(|config| config.limits.connections_per_source_max = 2)
        .start();
    let mut kept: Vec<Client<_>> = (0..2).map(|_| live.client()).collect();
    for client in &mut kept {
        client.send(live.request("GET /up", ""));
        assert_eq!(client.reply().status, 200);
    }
    let mut over = live.client();
    let reply = over.reply();
    assert_eq!((reply.status, reply.problem().code.as_str()), (503, "RC-GW-018"));
    assert!(over.is_closed());
    let mut owner = live.trusted();
    owner.send("GET /health HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(owner.reply().status, 200);
    drop(kept);
    eventually("a place becomes free", || {
        let mut client = live.client();
        client.send(live.request("GET /up", ""));
        client.reply().status == 200
    });
}

#[test]
fn a_tenant_with_too_many_connections_is_told_and_others_are_not() {
    let service = Service::echo();
    let live = Setup::new(&service)
        .config(|config| config.limits.connections_per_tenant_max = 2)
        .start();
    let mut kept: Vec<Client<_>> = (0..2).map(|_| live.client()).collect();
    for client in &mut kept {
        for _ in 0..2 {
            client.send(live.request("GET /up", ""));
            assert_eq!(client.reply().status, 200);
        }
    }
    let mut over = live.client();
    over.send(live.request("GET /up", ""));
    let reply = over.reply();
    assert_eq!((reply.status, reply.problem().code.as_str()), (429, "RC-GW-040"));
    assert_eq!(reply.header("retry-after"), Some("1"));
    assert!(over.is_closed());
    let mut over = H2::connect(&live);
    over.headers(1, END_STREAM, &request("GET", "/up", live.key.reveal()));
    let (mut refused, mut told) = (false, false);
    while let Some((kind, _, _, payload)) = over.next_frame() {
        refused |= kind == HEADERS && status(&payload) == 429;
        told |= kind == GOAWAY;
    }
    assert!(refused && told, "it is told to go away");
    // Who is nobody's tenant is not counted, and the owner's door is for all tenants.
    let mut anybody = live.client();
    anybody.send("GET /open HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(anybody.reply().status, 200);
    let mut owner = live.trusted();
    owner.send("GET /up HTTP/1.1\r\nHost: a\r\nX-RC-Tenant: acme\r\n\r\n");
    assert_eq!(owner.reply().status, 200);
    kept[0].send(live.request("GET /up", ""));
    assert_eq!(kept[0].reply().status, 200);
    drop(kept);
    eventually("a place becomes free", || live.get("/up").status == 200);
}

/// A handler with a bug.
struct Buggy;

impl AdminHandler for Buggy {
    fn call(&self, _: http::Request<bytes::Bytes>) -> AdminFuture {
        Box::pin(async { panic!("a bug, as this test wants it") })
    }
}

#[test]
fn a_bug_ends_its_connection_or_stream_and_is_counted() {
    let service = Service::echo();
    let mut setup = Setup::new(&service);
    setup.admin = Some(Arc::new(Buggy));
    let live = setup.start();
    let mut beside = live.client();
    for _ in 0..4 {
        let mut client = live.trusted();
        client.send("GET /-/bug HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(client.is_closed(), "no answer is better than half of one");
    }
    live.expect_metric("rc_traffic_panics_total 4");
    let mut client = H2::trusted(&live);
    client.headers(1, END_STREAM, &request("GET", "/-/bug", "none"));
    assert_eq!(client.outcome(1), Outcome::Reset);
    client.headers(3, END_STREAM, &request("GET", "/health", "none"));
    assert_eq!(client.outcome(3), Outcome::Status(200), "other streams go on");
    live.expect_metric("rc_traffic_panics_total 5");
    // Both workers met it, and both go on.
    beside.send(live.request("GET /up", ""));
    assert_eq!(beside.reply().status, 200);
    for _ in 0..4 {
        assert_eq!(live.get("/up").status, 200);
    }
    drop((client, beside));
    live.expect_metric("rc_traffic_connections_open 0");
}

/// A wall clock that jumps a day back and years ahead, as one does that somebody sets; time itself goes on.
#[derive(Debug)]
struct Jumping;

impl Clock for Jumping {
    fn now(&self) -> Timestamp {
        let tick = i64::try_from(monotonic_ns() / 1_000_000).unwrap();
        let day = 86_400_000;
        Timestamp::from_unix_ms(
            1_795_219_200_000 + [0, -day, 3_650 * day][usize::try_from(tick % 3).unwrap()],
        )
    }

    fn monotonic_ns(&self) -> u64 {
        monotonic_ns()
    }
}

#[test]
fn a_clock_that_is_set_changes_no_limit() {
    let service = Service::echo();
    let mut setup = Setup::new(&service).spec(|spec| spec.tenants[0].limits.rps = limit(1_000, 20));
    setup.clock = Arc::new(Jumping);
    let live = setup.start();
    let mut client = live.client();
    let began = monotonic_ns();
    let (mut served, mut refused) = (0_u64, 0);
    for _ in 0..200 {
        client.send(live.request("GET /up", ""));
        let reply = client.reply();
        assert!(
            reply.header("date").is_none_or(|date| date.ends_with(" GMT")),
            "{reply:?}"
        );
        if reply.status == 200 {
            served += 1;
        } else {
            refused += 1;
            assert_eq!(reply.header("retry-after"), Some("1"), "{reply:?}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    let allowed = 20 + (monotonic_ns() - began) / 1_000_000 + 1;
    assert!(
        served >= 20 && served <= allowed,
        "{served} served, {refused} refused, {allowed} allowed"
    );
}

#[test]
fn reloads_during_a_flood_reset_no_limit_and_drop_nobody() {
    let service = Service::echo();
    let policy = |version| {
        let mut spec = spec(version, vec![service.endpoint()]);
        spec.tenants = vec![
            tenant("acme", "bronze", 100, 100),
            tenant("globex", "gold", 100_000, 100_000),
        ];
        spec
    };
    let live = Setup::new(&service).spec(|spec| *spec = policy(1)).start();
    let began = monotonic_ns();
    let admitted = std::thread::scope(|scope| {
        let (stopped, stop) = std::sync::mpsc::sync_channel::<()>(0);
        let stop = Arc::new(std::sync::Mutex::new(stop));
        let flood: Vec<_> = (0..8)
            .map(|_| {
                let (live, stop) = (&live, Arc::clone(&stop));
                scope.spawn(move || {
                    let (mut client, mut admitted) = (live.client(), 0_u64);
                    let goes_on = || {
                        stop.lock().unwrap().try_recv() != Err(std::sync::mpsc::TryRecvError::Disconnected)
                    };
                    while goes_on() {
                        client.send(live.request("GET /up", ""));
                        match client.reply().status {
                            200 => admitted += 1,
                            status => assert_eq!(status, 429),
                        }
                    }
                    admitted
                })
            })
            .collect();
        let mut victim = live.trusted();
        for version in 2..202 {
            live.gateway.install(Snapshot::build(policy(version)).unwrap());
            victim.send("GET /up HTTP/1.1\r\nHost: a\r\nX-RC-Tenant: globex\r\n\r\n");
            assert_eq!(victim.reply().status, 200, "version {version}");
            std::thread::sleep(Duration::from_millis(3));
        }
        drop(stopped);
        flood
            .into_iter()
            .map(|client| client.join().unwrap())
            .sum::<u64>()
    });
    let allowed = 100 + (monotonic_ns() - began) / 10_000_000 + 1;
    assert!(
        admitted >= 100 && admitted <= allowed,
        "{admitted} admitted, {allowed} allowed"
    );
}

#[test]
fn a_client_that_sends_its_body_slowly_is_refused_at_its_deadline() {
    let service = Service::echo();
    let live = Setup::new(&service).start();
    let mut client = live.client();
    client.send(live.request("POST /quick", "Content-Length: 1000\r\n"));
    let mut stream = client.stream.try_clone().unwrap();
    let drip = std::thread::spawn(move || {
        use std::io::Write as _;
        for _ in 0..1_000 {
            if stream.write_all(b"x").is_err() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    let reply = client.reply();
    assert_eq!((reply.status, reply.problem().code.as_str()), (504, "RC-GW-015"));
    // The rest of the body is read off for a moment, in case there is a next request behind it.
    let mut rest = Vec::new();
    let _reset = client.stream.read_to_end(&mut rest);
    assert!(rest.is_empty());
    drip.join().unwrap();
    assert!(service.seen().is_empty(), "half a request is none");
}
