//! Kept answers and collapsed misses as clients and services meet them.

use std::io::Write as _;
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use rc_model::TenantId;
use rc_model::catalog::CachePolicy;
use rc_model::units::{ByteSize, Span};
use rc_traffic::{ApiKey, KeyEntry, KeySet, Snapshot, SnapshotSpec};

use crate::support::{Client, Live, PATIENCE, Reply, Seen, Service, Setup, eventually, spec, tenant};

/// Keeps the answers of `/up` for an hour, and as `change` says.
pub(crate) fn keep(spec: &mut SnapshotSpec, change: impl FnOnce(&mut CachePolicy)) {
    let mut policy = CachePolicy {
        ttl: Span::from_millis(3_600_000),
        stale_while_revalidate: None,
        stale_if_error: None,
        vary: Vec::new(),
        max: CachePolicy::default_max(),
    };
    change(&mut policy);
    spec.routes[0].route.cache = Some(policy);
}

fn hour() -> Option<Span> {
    Some(Span::from_millis(3_600_000))
}

pub(crate) fn give(stream: &mut TcpStream, fields: &str, body: &str) -> bool {
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n{fields}\r\n{body}"
    )
    .is_ok()
}

/// Answers with the number of the request, counted from 1.
fn counting(fields: &'static str) -> Service {
    let count = AtomicUsize::new(0);
    Service::start(move |_, stream| {
        let number = count.fetch_add(1, Ordering::SeqCst) + 1;
        give(stream, fields, &format!("answer {number}"))
    })
}

/// A latch that a service waits at.
#[derive(Default)]
pub(crate) struct Latch {
    open: Mutex<bool>,
    changed: Condvar,
}

impl Latch {
    pub(crate) fn wait(&self) {
        let open = self.open.lock().unwrap();
        drop(self.changed.wait_timeout_while(open, PATIENCE, |open| !*open));
    }

    pub(crate) fn open(&self) {
        *self.open.lock().unwrap() = true;
        self.changed.notify_all();
    }
}

fn status(reply: &Reply) -> &str {
    reply.header("cache-status").unwrap_or_default()
}

/// Sends one request on a connection of its own and does not wait for its answer.
pub(crate) fn ask(live: &Live, line: &str, fields: &str) -> Client<TcpStream> {
    let mut client = live.client();
    client.send(live.request(line, fields));
    client
}

pub(crate) fn requests(live: &Live, outcome: &str) -> u64 {
    let name = format!(r#"rc_traffic_cache_requests_total{{service="up",route="/up",outcome="{outcome}"}} "#);
    let text = live.metrics();
    let found = text.lines().find_map(|line| line.strip_prefix(&name));
    found.unwrap().parse().unwrap()
}

pub(crate) fn called(service: &Service, times: usize) {
    eventually(&format!("{times} calls"), || service.seen().len() >= times);
    assert_eq!(service.seen().len(), times);
}

#[test]
fn an_answer_is_kept_told_its_age_and_given_to_head_and_to_who_has_it() {
    let service = counting("ETag: \"one\"\r\nX-Up: yes\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n");
    let live = Setup::new(&service).spec(|spec| keep(spec, |_| {})).start();
    let first = live.get("/up?a=1");
    assert_eq!(
        (first.text().as_str(), status(&first)),
        ("answer 1", "royalcrown; fwd=miss; stored")
    );
    assert_eq!(first.header("age"), None);
    let mut client = live.client();
    client.send(live.request("GET /up?a=1", "X-Request-Id: mine\r\n"));
    let second = client.reply();
    assert_eq!(
        (second.text().as_str(), second.header("x-up")),
        ("answer 1", Some("yes"))
    );
    assert!(status(&second).starts_with("royalcrown; hit; ttl="), "{second:?}");
    assert!(second.header("age").is_some() && second.header("ratelimit").is_some());
    assert_eq!(
        second.head.to_ascii_lowercase().matches("x-request-id:").count(),
        1
    );
    assert_eq!(second.header("x-request-id"), Some("mine"));
    client.send(live.request("HEAD /up?a=1", ""));
    let head = client.reply_to(true).unwrap();
    assert_eq!((head.status, head.header("content-length")), (200, Some("8")));
    client.send(live.request("GET /up?a=1", "If-None-Match: W/\"one\"\r\n"));
    let known = client.reply();
    assert_eq!((known.status, known.header("etag")), (304, Some("\"one\"")));
    assert_eq!(
        (known.header("content-length"), known.header("x-up")),
        (None, None)
    );
    client.send(live.request("GET /up?a=1", "If-None-Match: \"two\"\r\n"));
    assert_eq!(client.reply().status, 200);
    called(&service, 1);
    // Who asks first and has an old one does not make the fetch conditional.
    client.send(live.request("GET /up?a=2", "If-None-Match: \"two\"\r\n"));
    assert_eq!(client.reply().text(), "answer 2");
    assert_eq!(service.seen()[1].header("if-none-match"), None);
    // HEAD on its own asks for all, too.
    client.send(live.request("HEAD /up?a=3", ""));
    assert_eq!(client.reply_to(true).unwrap().status, 200);
    client.send(live.request("GET /up?a=3", ""));
    assert_eq!(client.reply().text(), "answer 3");
    called(&service, 3);
    assert_eq!((requests(&live, "miss"), requests(&live, "hit")), (3, 5));
}

/// Says who asked for what.
fn telling() -> Service {
    Service::start(|seen, stream| {
        let tenant = seen.header("x-rc-tenant").unwrap_or("nobody").to_owned();
        give(stream, "", &format!("{tenant} {}", seen.line()))
    })
}

#[test]
fn two_tenants_whose_requests_are_equal_never_meet() {
    let service = telling();
    let live = Setup::new(&service)
        .spec(|spec| {
            keep(spec, |_| {});
            spec.tenants.push(tenant("globex", "gold", 1_000_000, 1_000_000));
            spec.routes[2].route.cache = spec.routes[0].route.cache.clone();
        })
        .start();
    let names = ["acme", "globex"];
    let keys = names.map(|name| (name, ApiKey::generate().unwrap()));
    let entries = keys.iter().map(|(name, key)| KeyEntry {
        id: key.id().clone(),
        hash: key.hash(),
        tenant: TenantId::new(name).unwrap(),
        user: None,
    });
    let set: KeySet = entries.collect();
    live.gateway.set_keys(Arc::new(set));
    let paths = ["/up", "/up/a%2Fb", "/up/a/b", "/up?a&b", "/up?b&a", "/open"];
    for round in 0..3 {
        for path in paths {
            for (name, key) in &keys {
                let mut client = live.client();
                let key = key.reveal();
                client.send(format!(
                    "GET {path} HTTP/1.1\r\nHost: gw.test\r\nX-API-Key: {key}\r\nX-RC-Tenant: acme\r\nAccept: a\r\n\r\n"
                ));
                let reply = client.reply();
                assert_eq!(
                    reply.text(),
                    format!("{name} GET {path} HTTP/1.1"),
                    "round {round}"
                );
            }
        }
        let mut nobody = live.client();
        nobody.send("GET /open HTTP/1.1\r\nHost: gw.test\r\nX-RC-Tenant: acme\r\nAccept: a\r\n\r\n");
        assert_eq!(nobody.reply().text(), "nobody GET /open HTTP/1.1");
        // The owner's door: what it says is believed, and it is that tenant.
        let mut trusted = live.trusted();
        trusted.send("GET /up HTTP/1.1\r\nHost: gw.test\r\nx-rc-tenant: globex\r\nAccept: a\r\n\r\n");
        assert_eq!(trusted.reply().text(), "globex GET /up HTTP/1.1");
    }
    called(&service, paths.len() * 2 + 1);
}

#[test]
fn what_an_answer_depends_on_is_compared() {
    let service = Service::start(|seen, stream| {
        let accept = seen.header("accept").unwrap_or("nothing").to_owned();
        let vary = if seen.line().contains("told") {
            "Vary: Accept\r\n"
        } else {
            ""
        };
        give(stream, vary, &accept)
    });
    let live = Setup::new(&service)
        .spec(|spec| keep(spec, |cache| cache.vary = vec!["X-Kind".to_owned()]))
        .start();
    let mut client = live.client();
    let mut get = |target: &str, fields: &str| {
        client.send(live.request(&format!("GET {target}"), fields));
        client.reply().text()
    };
    for accept in ["a", "b", "a"] {
        assert_eq!(get("/up/told", &format!("Accept: {accept}\r\n")), accept);
    }
    called(&service, 3);
    assert_eq!(get("/up/told", "Accept: a\r\n"), "a");
    called(&service, 3);
    // What the route names has places beside each other.
    for _ in 0..2 {
        assert_eq!(get("/up/named", "X-Kind: 1\r\nAccept: a\r\n"), "a");
        assert_eq!(get("/up/named", "x-kind: 2\r\nAccept: b\r\n"), "b");
    }
    called(&service, 5);
}

#[test]
fn what_may_not_be_shared_is_not() {
    let service = Service::start(|seen, stream| {
        let fields = match seen.line() {
            line if line.contains("cookie") => "Set-Cookie: a=b\r\n",
            line if line.contains("store") => "Cache-Control: no-store\r\n",
            line if line.contains("vary") => "Vary: *\r\n",
            _ => "",
        };
        give(stream, fields, "mine")
    });
    let live = Setup::new(&service).spec(|spec| keep(spec, |_| {})).start();
    let cases = [
        ("/up/cookie", ""),
        ("/up/store", ""),
        ("/up/vary", ""),
        ("/up/range", "Range: bytes=0-1\r\n"),
        ("/up/session", "Cookie: a=b\r\n"),
        ("/up/fresh", "Cache-Control: no-cache\r\n"),
    ];
    for (at, (path, fields)) in cases.into_iter().enumerate() {
        for _ in 0..3 {
            let mut client = ask(&live, &format!("GET {path}"), fields);
            let reply = client.reply();
            assert_eq!((reply.status, reply.text().as_str()), (200, "mine"), "{path}");
        }
        called(&service, (at + 1) * 3);
    }
}

#[test]
fn a_large_answer_flows_and_is_not_kept() {
    let body = "0123456789abcdef".repeat(200_000);
    let there = body.clone();
    let service = Service::start(move |seen, stream| {
        if seen.line().contains("chunked") {
            let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
            let chunks = there.as_bytes().chunks(100_000);
            let sent: String = chunks
                .map(|chunk| format!("{:x}\r\n{}\r\n", chunk.len(), String::from_utf8_lossy(chunk)))
                .collect();
            write!(stream, "{head}{sent}0\r\n\r\n").is_ok()
        } else {
            give(stream, "", &there)
        }
    });
    let live = Setup::new(&service).spec(|spec| keep(spec, |_| {})).start();
    for path in ["/up/known", "/up/chunked"] {
        let mut clients: Vec<_> = (0..4).map(|_| ask(&live, &format!("GET {path}"), "")).collect();
        for client in &mut clients {
            let reply = client.reply();
            assert!(
                reply.whole && reply.body == body.as_bytes(),
                "{path} {}",
                reply.body.len()
            );
        }
    }
    called(&service, 8);
    let small = live.metrics();
    let bytes = r#"rc_traffic_cache_bytes{service="up",route="/up"} "#;
    let bytes = small.lines().find_map(|line| line.strip_prefix(bytes)).unwrap();
    assert!(bytes.parse::<f64>().unwrap() < 10_000.0, "{bytes}");
}

#[test]
fn an_old_answer_is_given_at_once_while_one_request_asks_for_a_new_one() {
    let latch = Arc::new(Latch::default());
    let (there, count) = (Arc::clone(&latch), AtomicUsize::new(0));
    let service = Service::start(move |_, stream| {
        let number = count.fetch_add(1, Ordering::SeqCst) + 1;
        if number == 2 {
            there.wait();
        }
        give(stream, "", &format!("answer {number}"))
    });
    let live = Setup::new(&service)
        .spec(|spec| {
            keep(spec, |cache| {
                cache.ttl = Span::from_millis(1_500);
                cache.stale_while_revalidate = hour();
            });
        })
        .start();
    assert_eq!(live.get("/up").text(), "answer 1");
    eventually("an old answer", || {
        let reply = live.get("/up");
        assert_eq!(reply.text(), "answer 1");
        status(&reply).contains("ttl=-")
    });
    called(&service, 2);
    for _ in 0..20 {
        assert_eq!(live.get("/up").text(), "answer 1");
    }
    called(&service, 2);
    latch.open();
    eventually("the new answer", || live.get("/up").text() != "answer 1");
}

#[test]
fn an_old_answer_is_given_when_the_service_fails() {
    let mode = Arc::new(AtomicUsize::new(0));
    let there = Arc::clone(&mode);
    let service = Service::start(move |_, stream| match there.load(Ordering::SeqCst) {
        0 => give(stream, "", "good"),
        1 => {
            let fields = "Content-Length: 3\r\nCache-Control: no-store\r\n";
            write!(stream, "HTTP/1.1 503 Busy\r\n{fields}\r\nbad").is_ok()
        }
        2 => {
            std::thread::sleep(Duration::from_millis(1_500));
            give(stream, "", "late")
        }
        _ => false,
    });
    let live = Setup::new(&service)
        .spec(|spec| {
            keep(spec, |cache| {
                cache.ttl = Span::from_millis(1);
                cache.stale_if_error = hour();
            });
        })
        .start();
    assert_eq!(live.get("/up").text(), "good");
    std::thread::sleep(Duration::from_millis(10));
    for failing in 1..=3 {
        mode.store(failing, Ordering::SeqCst);
        // In the second after a failure nobody asks.
        eventually("a request that asked", || {
            let reply = ask(&live, "GET /up", "X-Request-Timeout-Ms: 500\r\n").reply();
            assert_eq!((reply.status, reply.text().as_str()), (200, "good"), "{failing}");
            status(&reply).ends_with("detail=stale-if-error")
        });
        let at_once = live.get("/up");
        assert_eq!(at_once.text(), "good");
    }
    // Nothing is kept of another path.
    assert_eq!(live.get("/up/other").problem().code, "RC-GW-016");
}

#[test]
fn who_wrote_reads_what_was_written() {
    let state = Arc::new(Mutex::new("old".to_owned()));
    let latch = Arc::new(Latch::default());
    let (there, held) = (Arc::clone(&state), Arc::clone(&latch));
    let service = Service::start(move |seen: &Seen, stream| {
        if seen.line().starts_with("GET") {
            let body = there.lock().unwrap().clone();
            if seen.line().contains("slow") && body == "old" {
                held.wait();
            }
            return give(stream, "", &body);
        }
        *there.lock().unwrap() = "new".to_owned();
        // The head comes first, and the end of the body when the reads below are done.
        let head = "HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n1";
        let begun = write!(stream, "{head}").and_then(|()| stream.flush());
        held.wait();
        begun.and_then(|()| write!(stream, "2")).is_ok()
    });
    let live = Setup::new(&service).spec(|spec| keep(spec, |_| {})).start();
    assert_eq!(live.get("/up/quick").text(), "old");
    let mut before = ask(&live, "GET /up/slow", "");
    called(&service, 2);
    let mut write = ask(&live, "POST /up/elsewhere", "Content-Length: 0\r\n");
    let mut begun = [0; 12];
    std::io::Read::read_exact(&mut write.stream, &mut begun).unwrap();
    assert_eq!(&begun, b"HTTP/1.1 201");
    // From the first byte of the write's answer on, nobody gets what was asked before it, or waits for it.
    assert_eq!(live.get("/up/quick").text(), "new");
    assert_eq!(live.get("/up/slow").text(), "new");
    latch.open();
    assert_eq!(before.reply().text(), "old");
    let after = live.get("/up/slow");
    assert_eq!(after.text(), "new");
    assert!(status(&after).contains("hit"), "what came late was not kept");
}

#[test]
fn a_reload_keeps_answers_until_their_route_changes() {
    let service = counting("");
    let live = Setup::new(&service).spec(|spec| keep(spec, |_| {})).start();
    assert_eq!(live.get("/up").text(), "answer 1");
    let install = |version, change: fn(&mut SnapshotSpec)| {
        let mut next = spec(version, vec![service.endpoint()]);
        keep(&mut next, |_| {});
        change(&mut next);
        live.gateway.install(Snapshot::build(next).unwrap());
    };
    install(2, |spec| {
        spec.tenants.insert(0, tenant("another", "gold", 10, 10));
        spec.routes.reverse();
    });
    assert_eq!(live.get("/up").text(), "answer 1");
    install(3, |spec| {
        keep(spec, |cache| cache.ttl = Span::from_millis(1_800_000))
    });
    assert_eq!(live.get("/up").text(), "answer 2");
    install(4, |spec| spec.tenants = vec![tenant("another", "gold", 10, 10)]);
    install(5, |_| {});
    assert_eq!(
        live.get("/up").text(),
        "answer 3",
        "a tenant that was gone left nothing"
    );
    // The counters went on.
    assert_eq!(requests(&live, "hit"), 1);
}

#[test]
fn a_flood_of_questions_stays_within_the_routes_memory() {
    let service = counting("");
    let live = Setup::new(&service)
        .spec(|spec| keep(spec, |cache| cache.max = ByteSize::new(64 << 10)))
        .start();
    let mut client = live.client();
    let bytes = || {
        let name = r#"rc_traffic_cache_bytes{service="up",route="/up"} "#;
        let text = live.metrics();
        let found = text.lines().find_map(|line| line.strip_prefix(name));
        found.unwrap().parse::<f64>().unwrap()
    };
    for number in 0..500 {
        client.send(live.request(&format!("GET /up/{number}"), ""));
        assert_eq!(client.reply().status, 200);
        assert!(bytes() <= 65_536.0);
    }
    assert!(bytes() > 32_768.0);
    let text = live.metrics();
    assert!(
        !text.contains(r#"rc_traffic_cache_evicted_total{service="up",route="/up"} 0"#),
        "{text}"
    );
}
