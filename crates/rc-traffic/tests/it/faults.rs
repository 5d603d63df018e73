//! Services that die, lie or stand still; clients that leave.

use std::io::{Read as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rc_model::clock::monotonic_ns;
use rc_traffic::{ConnectionLimits, Endpoint};

use crate::support::{PATIENCE, Service, Setup, eventually};

fn since(start_ns: u64) -> Duration {
    Duration::from_nanos(monotonic_ns() - start_ns)
}

/// An address at which nobody listens.
fn nobody() -> Endpoint {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    Endpoint::Tcp(listener.local_addr().unwrap())
}

#[test]
fn a_service_that_is_down_is_503_and_another_endpoint_takes_over() {
    let live = Setup::to(vec![nobody()]).start();
    let reply = live.get("/up");
    assert_eq!((reply.status, reply.problem().code.as_str()), (503, "RC-GW-017"));
    assert_eq!(reply.header("retry-after"), Some("1"));
    let missing = Setup::to(vec![Endpoint::Unix("/nonexistent/x.sock".into())]).start();
    assert_eq!(missing.get("/up").status, 503);

    let service = Service::echo();
    let live = Setup::to(vec![nobody(), service.endpoint()]).start();
    for _ in 0..6 {
        assert_eq!(live.get("/up").status, 200);
    }
    assert_eq!(service.seen().len(), 6);
}

#[test]
fn two_endpoints_share_the_requests() {
    let (one, two) = (Service::echo(), Service::echo());
    let live = Setup::to(vec![one.endpoint(), two.endpoint()])
        .config(|config| config.workers = std::num::NonZeroUsize::MIN)
        .start();
    for _ in 0..20 {
        assert_eq!(live.get("/up").status, 200);
    }
    assert_eq!((one.seen().len(), two.seen().len()), (10, 10));
}

#[test]
fn a_service_that_dies_within_its_answer_cuts_the_clients() {
    for (name, answer) in [
        (
            "by length",
            &b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npartial"[..],
        ),
        (
            "in chunks",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7\r\npartial\r\n",
        ),
        (
            "within a chunk",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\npartial",
        ),
        (
            "broken chunk",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7\r\npartial\r\nzz\r\n",
        ),
    ] {
        let service = Service::start(move |_, stream| {
            let _maybe = stream.write_all(answer);
            false
        });
        let live = Setup::new(&service).start();
        let mut client = live.client();
        client.send(live.request("GET /up", ""));
        let reply = client.reply();
        assert!(!reply.whole, "{name}: the client must see that it is not whole");
        assert_eq!(reply.status, 200);
        assert!(client.is_closed(), "{name}");
    }
}

#[test]
fn a_cut_answer_to_an_http_1_0_client_does_not_look_whole() {
    let service = Service::start(|_, stream| {
        let _maybe =
            stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7\r\npartial\r\n");
        std::thread::sleep(Duration::from_millis(100));
        false
    });
    let live = Setup::new(&service).start();
    let mut client = live.client();
    client.send(format!("GET /up HTTP/1.0\r\n{}\r\n", live.auth()));
    let mut answer = Vec::new();
    let end = client.stream.read_to_end(&mut answer);
    assert_eq!(end.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
}

#[test]
fn a_kept_connection_that_the_service_closed_costs_nobody_a_request() {
    // Closes after each answer without saying so.
    let service = Service::start(|seen, stream| {
        let body = seen.line();
        let _fine = write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        false
    });
    let live = Setup::new(&service).start();
    let mut client = live.client();
    for n in 0..100 {
        client.send(live.request(&format!("GET /up/{n}"), ""));
        assert_eq!(client.reply().status, 200, "{n}");
    }
    assert_eq!(service.seen().len(), 100, "and none was sent twice");
}

#[test]
fn a_write_is_not_repeated_when_its_service_dies_on_it() {
    // Answers the first request on each connection, dies on the second without an answer.
    let service = Service::start(|seen, stream| {
        let first = !seen.line().contains("die");
        first && write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").is_ok()
    });
    let live = Setup::new(&service)
        .config(|config| config.workers = std::num::NonZeroUsize::MIN)
        .start();
    let mut client = live.client();
    client.send(live.request("GET /up", ""));
    assert_eq!(client.reply().status, 200);
    client.send(live.request("POST /up/die", "Content-Length: 2\r\n") + "hi");
    assert_eq!(client.reply().status, 502);
    let posts = service
        .seen()
        .iter()
        .filter(|seen| seen.line().starts_with("POST"))
        .count();
    assert_eq!(posts, 1);
    // A read is tried once more, on a connection of its own, and not a third time.
    client.send(live.request("GET /up", ""));
    assert_eq!(client.reply().status, 200);
    client.send(live.request("GET /up/die", ""));
    assert_eq!(client.reply().status, 502);
    let reads = service
        .seen()
        .iter()
        .filter(|seen| seen.line().contains("GET /up/die"))
        .count();
    assert_eq!(reads, 2);
    live.expect_metric("rc_traffic_upstream_retries_total 1");
}

#[test]
fn a_client_that_leaves_frees_the_service() {
    let left = Arc::new(AtomicBool::new(false));
    let noticed = left.clone();
    let service = Service::start(move |_, stream| {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut byte = [0];
        // Nothing more is sent: this returns when the gateway closes the connection.
        noticed.store(
            stream.read(&mut byte).is_ok_and(|count| count == 0),
            Ordering::SeqCst,
        );
        false
    });
    let live = Setup::new(&service).start();
    let mut client = live.client();
    client.send(live.request("GET /up", ""));
    eventually("the request arrives", || service.seen().len() == 1);
    drop(client);
    eventually("the service's connection is closed", || {
        left.load(Ordering::SeqCst)
    });
    live.expect_metric(r#"status="gone"} 1"#);
}

#[test]
fn a_service_that_stands_still_within_its_answer_is_cut_and_one_that_moves_is_not() {
    let service = Service::start(|seen, stream| {
        let _head = write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n");
        for _ in 0..10 {
            std::thread::sleep(Duration::from_millis(100));
            let _byte = stream.write_all(b"x");
            if seen.line().contains("stand") {
                std::thread::sleep(Duration::from_secs(3));
                return false;
            }
        }
        true
    });
    let live = Setup::new(&service)
        .config(|config| {
            config.limits = ConnectionLimits {
                stall_timeout: Duration::from_millis(400),
                ..ConnectionLimits::default()
            };
        })
        .start();
    assert!(
        live.get("/up/move").whole,
        "a second in all, but never 400 ms without a byte"
    );
    let start = monotonic_ns();
    assert!(!live.get("/up/stand").whole);
    assert!(since(start) < Duration::from_millis(2_500), "{:?}", since(start));
}

#[test]
fn a_client_that_takes_nothing_is_cut_after_one_stall_timeout() {
    const STALL: Duration = Duration::from_millis(800);
    let cut_at = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let noted = cut_at.clone();
    let service = Service::start(move |_, stream| {
        let _head = write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n");
        let piece = vec![b'x'; 64 << 10];
        while stream.write_all(&piece).is_ok() {}
        noted.store(monotonic_ns(), Ordering::SeqCst);
        false
    });
    let live = Setup::new(&service)
        .config(|config| config.limits.stall_timeout = STALL)
        .start();
    let mut client = live.client();
    client.send(live.request("GET /up", ""));
    let start = monotonic_ns();
    eventually("the answer is cut", || cut_at.load(Ordering::SeqCst) > 0);
    let took = Duration::from_nanos(cut_at.load(Ordering::SeqCst) - start);
    assert!(took >= STALL && took < STALL * 2, "{took:?}");
}

#[test]
fn a_key_that_cannot_be_looked_up_yet_is_no_wrong_one() {
    let service = Service::echo();
    let live = Setup::new(&service).start();
    live.gateway.set_keys(Arc::new(rc_traffic::KeysUnknown));
    let reply = live.get("/up");
    assert_eq!((reply.status, reply.problem().code.as_str()), (503, "RC-GW-024"));
    assert_eq!(reply.header("retry-after"), Some("2"));
    let mut client = live.client();
    for wrong in ["", "X-API-Key: no-key-at-all\r\n"] {
        client.send(format!("GET /up HTTP/1.1\r\nHost: a\r\n{wrong}\r\n"));
        assert_eq!(client.reply().status, 401, "{wrong}");
    }
    assert!(service.seen().is_empty());
    live.gateway.set_keys(Arc::new(rc_traffic::KeySet::default()));
    assert_eq!(live.get("/up").status, 401);
}

#[test]
fn stopping_finishes_what_is_under_way_and_closes_what_is_idle() {
    let service = Service::start(|_, stream| {
        std::thread::sleep(Duration::from_millis(400));
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone").is_ok()
    });
    let live = Setup::new(&service).start();
    let mut idle = live.client();
    idle.send("GET /health HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(idle.reply().status, 200);
    let mut busy = live.client();
    busy.send(live.request("GET /up", ""));
    eventually("the request arrives", || service.seen().len() == 1);
    let address = live.address;
    let stopped = std::thread::spawn(move || live.stopped());
    assert!(idle.is_closed());
    let reply = busy.reply();
    assert_eq!((reply.status, reply.text().as_str()), (200, "done"));
    assert!(busy.is_closed());
    assert_eq!(stopped.join().unwrap().cut, 0);
    assert!(std::net::TcpStream::connect(address).is_err(), "the port is free");
}

#[test]
fn the_drains_deadline_is_kept() {
    let service = Service::start(|_, _| {
        std::thread::sleep(Duration::from_secs(5));
        false
    });
    let live = Setup::new(&service)
        .config(|config| config.drain = Duration::from_millis(200))
        .start();
    let mut busy = live.client();
    busy.send(live.request("GET /up", ""));
    eventually("the request arrives", || service.seen().len() == 1);
    let start = monotonic_ns();
    assert_eq!(live.stopped().cut, 1);
    assert!(since(start) < Duration::from_secs(3));
}

#[test]
fn a_taken_port_is_named_and_nothing_stays_bound() {
    use rc_traffic::{Gateway, GatewayConfig, Hooks, KeySet, Listener, Snapshot};
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("a.sock");
    let config = GatewayConfig::new(vec![
        Listener::Unix { path: socket.clone() },
        Listener::Tcp {
            address: taken.local_addr().unwrap(),
            tls: None,
        },
    ]);
    let snapshot = Snapshot::build(crate::support::spec(1, vec![nobody()])).unwrap();
    let gateway = Gateway::new(
        config,
        snapshot,
        Arc::new(KeySet::default()),
        rc_model::SystemClock::shared(),
    );
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let hooks = Hooks {
            readiness: rc_serve::Readiness::new(),
            admin: None,
        };
        let Err(error) = gateway.bind(hooks) else {
            panic!("the port is taken")
        };
        assert_eq!(error.code(), "RC-GW-030");
        assert_eq!(error.source.kind(), std::io::ErrorKind::AddrInUse);
        assert!(
            error
                .to_string()
                .contains(&taken.local_addr().unwrap().to_string()),
            "{error}"
        );
    });
    assert!(std::os::unix::net::UnixStream::connect(socket).is_err());
}

#[test]
fn many_clients_at_once_each_get_their_own_answer() {
    let service = Service::echo();
    let live = Setup::new(&service).start();
    let wrong = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for thread in 0..16 {
            let (live, wrong) = (&live, &wrong);
            scope.spawn(move || {
                let mut client = live.client();
                for n in 0..200 {
                    client.send(live.request(&format!("GET /up/{thread}-{n}"), ""));
                    if client.reply().text() != format!("GET /up/{thread}-{n} HTTP/1.1") {
                        wrong.fetch_add(1, Ordering::SeqCst);
                    }
                }
            });
        }
    });
    assert_eq!(wrong.load(Ordering::SeqCst), 0);
    assert!(service.connections() <= 32, "{}", service.connections());
    live.expect_metric(
        r#"rc_traffic_requests_total{service="up",route="/up",method="GET",tier="gold",status="2xx"} 3200"#,
    );
    live.expect_metric("rc_traffic_panics_total 0");
}
