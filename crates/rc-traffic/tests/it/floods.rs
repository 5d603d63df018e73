//! HTTP/2 clients that make work without asking for anything. Each kind is told to calm down, and others are served.

use std::io::Write as _;
use std::time::Duration;

use crate::h2_raw::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, H2, HEADERS, Outcome, PING, PRIORITY, RST_STREAM,
    SETTINGS, WINDOW_UPDATE, block, request, status,
};
use crate::support::{Live, Service, Setup, eventually, limit};

/// The code of a GOAWAY for a client that makes too much work (RFC 9113, section 7).
const ENHANCE_YOUR_CALM: Option<u32> = Some(11);

/// More frames than a budget holds, and than come back while they are sent.
const MANY: u32 = 20_000;

/// A client that was told to go away for `name`; others are served as before.
fn expect_calm(live: &Live, client: &mut H2, name: &str) {
    assert_eq!(client.end(), ENHANCE_YOUR_CALM, "{name}");
    assert_eq!(live.get("/up").status, 200, "{name}: another client");
}

#[test]
fn frames_that_carry_nothing_end_their_connection() {
    let service = Service::echo();
    let live = Setup::new(&service).start();
    let key = live.key.reveal().to_owned();
    let kinds: &[(&str, u8, u32, &[u8])] = &[
        ("PING (CVE-2019-9512)", PING, 0, b"12345678"),
        ("SETTINGS (CVE-2019-9515)", SETTINGS, 0, &[]),
        (
            "SETTINGS that change windows",
            SETTINGS,
            0,
            &[0, 4, 0, 0, 0xff, 0xff],
        ),
        ("PRIORITY (CVE-2019-9513)", PRIORITY, 3, &[0, 0, 0, 0, 16]),
        ("WINDOW_UPDATE", WINDOW_UPDATE, 0, &[0, 0, 0, 1]),
        ("a kind that nobody knows", 0xfe, 0, b""),
    ];
    for (name, kind, stream, payload) in kinds {
        let mut client = H2::connect(&live);
        for _ in 0..MANY {
            client.frame(*kind, 0, *stream, payload);
        }
        expect_calm(&live, &mut client, name);
    }
    let mut client = H2::connect(&live);
    client.headers(1, 0, &request("POST", "/up", &key));
    for _ in 0..MANY {
        client.frame(DATA, 0, 1, b"");
    }
    expect_calm(&live, &mut client, "empty DATA (CVE-2019-9518)");
    let mut client = H2::connect(&live);
    client.frame(HEADERS, END_STREAM, 1, &block(&request("GET", "/up", &key)));
    for _ in 0..MANY {
        client.frame(CONTINUATION, 0, 1, b"");
    }
    expect_calm(&live, &mut client, "empty CONTINUATION (CVE-2019-9518)");
    let ended = kinds.len();
    eventually("they are counted", || {
        let metrics = live.metrics();
        let count = metrics
            .lines()
            .find_map(|line| line.strip_prefix("rc_traffic_floods_total "));
        count.is_some_and(|count| count.parse::<usize>().unwrap() >= ended)
    });
    let posts = service
        .seen()
        .iter()
        .filter(|seen| seen.line().starts_with("POST"))
        .count();
    assert_eq!(posts, 0, "an endless body is no request");
}

#[test]
fn streams_that_are_taken_back_one_after_the_other_end_their_connection() {
    let service = Service::echo();
    let live = Setup::new(&service).start();
    let key = live.key.reveal().to_owned();
    // Slower than the engine's own bound on resets that it has not handed over: every request gets to be one.
    let mut client = H2::connect(&live);
    let mut streams = (1_u32..).step_by(2);
    let mut batches = 0;
    let mut heard = true;
    while heard {
        batches += 1;
        assert!(batches < 200, "they go on for ever");
        let batch: Vec<u32> = streams.by_ref().take(50).collect();
        for stream in &batch {
            client.headers(*stream, END_STREAM, &request("GET", "/up", &key));
        }
        heard = client.is_heard();
        for stream in &batch {
            client.reset(*stream);
        }
    }
    live.expect_metric("rc_traffic_floods_total 1");
    assert_eq!(live.get("/up").status, 200);
    assert!(
        batches > 6,
        "a client that changes its mind now and then is not meant: {batches}"
    );
}

/// Makes the gateway reset a stream.
type Provoke = fn(&mut H2, u32, &str);

#[test]
fn resets_that_a_client_provokes_end_its_connection() {
    let overflows = |client: &mut H2, stream: u32, key: &str| {
        client.headers(stream, END_STREAM, &request("GET", "/up", key));
        client.frame(WINDOW_UPDATE, 0, stream, &[0x7f, 0xff, 0xff, 0xff]);
    };
    let lies = |client: &mut H2, stream: u32, key: &str| {
        let mut fields = request("POST", "/up", key);
        fields.push(("content-length", "1"));
        client.headers(stream, 0, &fields);
        client.frame(DATA, END_STREAM, stream, b"more");
    };
    let provocations: [(&str, Provoke); 2] = [
        ("a window that overflows (CVE-2025-8671)", overflows),
        ("a body that is not as long as it says", lies),
    ];
    for (name, provoke) in provocations {
        let service = Service::start(|_, stream| {
            std::thread::sleep(Duration::from_millis(200));
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").is_ok()
        });
        let live = Setup::new(&service).start();
        let mut client = H2::connect(&live);
        for stream in (1..2_001).step_by(2) {
            provoke(&mut client, stream, live.key.reveal());
        }
        expect_calm(&live, &mut client, name);
        assert!(service.seen().len() < 500, "{name}: {}", service.seen().len());
    }
}

#[test]
fn a_head_that_unfolds_to_a_thousand_times_its_size_is_refused() {
    let service = Service::echo();
    let live = Setup::new(&service).start();
    let key = live.key.reveal().to_owned();
    let mut client = H2::connect(&live);
    let mut head = block(&request("GET", "/up", &key));
    // One entry of almost the whole dynamic table, then nothing but its index, 62 (RFC 7541, section 2.3.3).
    let value = "a".repeat(3_900);
    head.push(0x40);
    head.extend_from_slice(&block(&[("bomb", &value)])[1..]);
    head.extend_from_slice(&[0xbe; 12_000]);
    assert!(head.len() < 16 << 10, "one frame");
    client.frame(HEADERS, END_STREAM | END_HEADERS, 1, &head);
    let outcome = client.outcome(1);
    assert!(
        matches!(outcome, Outcome::GoAway | Outcome::Reset | Outcome::Status(431)),
        "{outcome:?}"
    );
    // Fields without a name and without a value (CVE-2019-9516).
    let mut client = H2::connect(&live);
    let mut head = block(&request("GET", "/up", &key));
    head.extend_from_slice(&[0; 3 * 5_000]);
    client.frame(HEADERS, END_STREAM | END_HEADERS, 1, &head);
    let outcome = client.outcome(1);
    assert!(!matches!(outcome, Outcome::Status(200)), "{outcome:?}");
    assert!(service.seen().is_empty());
    assert_eq!(live.get("/up").status, 200);
}

#[test]
fn one_large_field_is_refused_and_the_connection_goes_on() {
    let service = Service::echo();
    let live = Setup::new(&service)
        .config(|config| config.limits.field_bytes_max = 4 << 10)
        .start();
    let key = live.key.reveal().to_owned();
    let mut client = H2::connect(&live);
    let large = "a".repeat(5 << 10);
    let mut fields = request("GET", "/up", &key);
    fields.push(("x-large", &large));
    client.headers(1, END_STREAM, &fields);
    assert_eq!(client.outcome(1), Outcome::Status(431));
    client.headers(3, END_STREAM, &request("GET", "/up", &key));
    assert_eq!(client.outcome(3), Outcome::Status(200));
}

#[test]
fn an_answer_that_nobody_takes_ends_its_connection_although_requests_keep_coming() {
    let stall = Duration::from_millis(500);
    let service = Service::echo();
    let live = Setup::new(&service)
        .config(move |config| config.limits.stall_timeout = stall)
        .start();
    let key = live.key.reveal().to_owned();
    let mut client = H2::connect(&live);
    // SETTINGS_INITIAL_WINDOW_SIZE of 0: no body may be sent.
    client.frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
    client.headers(1, END_STREAM, &request("GET", "/up/stands", &key));
    let mut stream = 3;
    let mut ended = false;
    let asked = std::thread::scope(|scope| {
        let (stopped, stop) = std::sync::mpsc::sync_channel::<()>(0);
        let live = &live;
        // Another connection is served all the while.
        let other = scope.spawn(move || {
            let mut served = 0;
            while stop.try_recv() != Err(std::sync::mpsc::TryRecvError::Disconnected) {
                assert_eq!(live.get("/up").status, 200);
                served += 1;
                std::thread::sleep(Duration::from_millis(50));
            }
            served
        });
        while !ended {
            assert!(stream < 2_000, "its answer stands for ever");
            // An answer without a body needs no window.
            client.headers(stream, END_STREAM, &request("HEAD", "/up", &key));
            stream += 2;
            ended = !client.is_heard();
            std::thread::sleep(Duration::from_millis(50));
        }
        drop(stopped);
        other.join().unwrap()
    });
    assert!(asked > 0);
    // It was told to go away; it does not, and is cut.
    let _other_code = client.end();
}

#[test]
fn windows_that_open_byte_by_byte_end_their_connection() {
    let service = Service::start(|_, stream| {
        let body = vec![b'x'; 1 << 20];
        write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n",
            body.len()
        )
        .is_ok()
            && stream.write_all(&body).is_ok()
    });
    let live = Setup::new(&service).start();
    let key = live.key.reveal().to_owned();
    let mut client = H2::connect(&live);
    client.frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
    client.headers(1, END_STREAM, &request("GET", "/up", &key));
    for _ in 0..MANY {
        client.frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]);
    }
    assert_eq!(client.end(), ENHANCE_YOUR_CALM, "data dribble (CVE-2019-9511)");
    // A client that takes what it asked for may open its window as often as it needs.
    let mut client = H2::connect(&live);
    let mut taken = 0;
    for stream in (1..21).step_by(2) {
        client.headers(stream, END_STREAM, &request("GET", "/up", &key));
        loop {
            let (kind, flags, of, payload) = client.next_frame().expect("the connection goes on");
            assert_ne!(kind, GOAWAY);
            if kind == DATA && !payload.is_empty() {
                taken += payload.len();
                let opened = u32::try_from(payload.len()).unwrap().to_be_bytes();
                client.frame(WINDOW_UPDATE, 0, 0, &opened);
                client.frame(WINDOW_UPDATE, 0, stream, &opened);
            }
            if kind == DATA && of == stream && flags & END_STREAM != 0 {
                break;
            }
        }
    }
    assert_eq!(taken, 10 << 20);
}

#[test]
fn a_head_that_does_not_end_holds_its_connection_for_the_idle_time_only() {
    let service = Service::echo();
    let live = Setup::new(&service)
        .config(|config| config.limits.idle_timeout = Duration::from_millis(400))
        .start();
    let key = live.key.reveal().to_owned();
    let mut client = H2::connect(&live);
    client.frame(HEADERS, END_STREAM, 1, &block(&request("GET", "/up", &key)));
    let _told = client.end();
    assert!(service.seen().is_empty());
}

#[test]
fn old_connections_are_told_to_go_away_and_lose_no_request() {
    let service = Service::echo();
    let live = Setup::new(&service)
        .config(|config| config.limits.h2_age_max = Duration::from_millis(300))
        .start();
    let key = live.key.reveal().to_owned();
    let mut client = H2::connect(&live);
    let mut answered = 0;
    for stream in (1..2_001).step_by(2) {
        client.headers(stream, END_STREAM, &request("GET", "/up", &key));
        let mut told = false;
        while let Some((kind, _, of, payload)) = client.next_frame() {
            told |= kind == GOAWAY;
            if kind == HEADERS && of == stream {
                assert_eq!(status(&payload), 200);
                answered += 1;
                break;
            }
        }
        if told {
            assert_eq!(
                answered,
                stream.div_ceil(2),
                "the request beside the GOAWAY was served"
            );
            return ignores_it(&mut client, stream + 2, &key);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("it stays for ever");
}

/// A client that goes on as if nothing was said is cut.
fn ignores_it(client: &mut H2, next: u32, key: &str) {
    for stream in (next..next + 2_000).step_by(2) {
        client.headers(stream, END_STREAM, &request("GET", "/up", key));
        if client.next_frame().is_none() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("it stays for ever");
}

#[test]
fn refusals_are_paced_for_each_stream_and_other_streams_go_on() {
    let service = Service::echo();
    let live = Setup::new(&service)
        .spec(|spec| {
            spec.tenants[0].limits.rps = limit(1, 1);
            spec.tenants[0].limits.rps.rate = rc_model::units::Rate::parse("1/h").unwrap();
        })
        .start();
    let key = live.key.reveal().to_owned();
    let mut client = H2::connect(&live);
    // SETTINGS_HEADER_TABLE_SIZE of 0: every answer says its status in full.
    client.frame(SETTINGS, 0, 0, &[0, 1, 0, 0, 0, 0]);
    client.headers(1, END_STREAM, &request("GET", "/up", &key));
    assert_eq!(client.outcome(1), Outcome::Status(200));
    // At once, then after 25 ms and each further one twice as late.
    for (stream, held_ms) in [(3, 0), (5, 25), (7, 50), (9, 100), (11, 200)] {
        let began = rc_model::clock::monotonic_ns();
        client.headers(stream, END_STREAM, &request("GET", "/up", &key));
        assert_eq!(client.outcome(stream), Outcome::Status(429));
        let took = Duration::from_nanos(rc_model::clock::monotonic_ns() - began);
        assert!(took >= Duration::from_millis(held_ms), "{stream}: {took:?}");
    }
    // The held one and another, in one write; the other is not behind it.
    client.headers(13, END_STREAM, &request("GET", "/up", &key));
    client.headers(15, END_STREAM, &request("GET", "/health", &key));
    let mut order = Vec::new();
    while order.len() < 2 {
        let (kind, _, stream, payload) = client.next_frame().expect("both are answered");
        if kind == HEADERS {
            order.push((stream, status(&payload)));
        }
    }
    assert_eq!(order, [(15, 200), (13, 429)]);
    client.frame(RST_STREAM, 0, 13, &8_u32.to_be_bytes());
    assert!(client.is_heard());
}
