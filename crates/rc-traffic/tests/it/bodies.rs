//! Bodies of every framing, in both directions, large and slow.

use std::io::{Read as _, Write as _};
use std::time::Duration;

use crate::support::{Service, Setup};

const BIG: usize = 24 << 20;

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at % 251) as u8).collect()
}

#[test]
fn big_bodies_stream_both_ways_by_length_and_in_chunks() {
    let service = Service::start(|seen, stream| {
        let body = &seen.body;
        if seen.line().contains("chunked") {
            let mut fine = write!(stream, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").is_ok();
            for piece in body.chunks(100_003) {
                fine &= write!(stream, "{:x}\r\n", piece.len()).is_ok();
                fine &= stream.write_all(piece).is_ok() && stream.write_all(b"\r\n").is_ok();
            }
            fine && stream.write_all(b"0\r\nX-Trailer: 1\r\n\r\n").is_ok()
        } else {
            write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n",
                body.len()
            )
            .is_ok()
                && stream.write_all(body).is_ok()
        }
    });
    let live = Setup::new(&service).start();
    let body = pattern(BIG);
    let mut client = live.client();
    client.send(live.request("POST /up/length", &format!("Content-Length: {BIG}\r\n")));
    client.send(&body);
    let reply = client.reply();
    assert!(reply.status == 200 && reply.body == body);
    assert_eq!(reply.header("content-length"), Some(BIG.to_string().as_str()));

    client.send(live.request("POST /up/chunked", "Transfer-Encoding: chunked\r\n"));
    for piece in body.chunks(77_777) {
        client.send(format!("{:X}\r\n", piece.len()));
        client.send(piece);
        client.send("\r\n");
    }
    client.send("0\r\n\r\n");
    let reply = client.reply();
    assert!(reply.status == 200 && reply.body == body);
    assert_eq!(reply.header("transfer-encoding"), Some("chunked"));
    client.send(live.request("GET /up/again", ""));
    assert_eq!(client.reply().status, 200, "the connection is still in step");
    let seen = service.seen();
    assert_eq!(seen[0].header("content-length"), Some(BIG.to_string().as_str()));
    assert_eq!(seen[1].header("transfer-encoding"), Some("chunked"));
    assert!(
        seen.iter().all(|seen| seen.connection == 0),
        "one connection carried all"
    );
}

#[test]
fn a_body_until_close_is_passed_on_in_chunks() {
    let service = Service::start(|_, stream| {
        let _fine = stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nuntil the end");
        false
    });
    let live = Setup::new(&service).start();
    let mut client = live.client();
    for _ in 0..2 {
        client.send(live.request("GET /up", ""));
        let reply = client.reply();
        assert_eq!((reply.text().as_str(), reply.whole), ("until the end", true));
        assert_eq!(reply.header("transfer-encoding"), Some("chunked"));
    }
}

#[test]
fn answers_without_a_body_have_none_and_keep_the_connection_in_step() {
    let service = Service::start(|seen, stream| {
        let answer: &[u8] = match seen.line().split(' ').nth(1).unwrap() {
            "/up/204" => b"HTTP/1.1 204 No Content\r\n\r\n",
            "/up/304" => b"HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\nContent-Length: 100\r\n\r\n",
            "/up/early" => b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            _ if seen.line().starts_with("HEAD") => b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n",
            _ => b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        };
        stream.write_all(answer).is_ok()
    });
    let live = Setup::new(&service).start();
    let mut client = live.client();
    for (line, status, length) in [
        ("GET /up/204", 204, None),
        ("GET /up/304", 304, Some("100")),
        ("HEAD /up", 200, Some("1000")),
        ("GET /up/early", 200, Some("2")),
        ("GET /up", 200, Some("0")),
    ] {
        client.send(live.request(line, ""));
        let reply = client.reply_to(line.starts_with("HEAD")).unwrap();
        assert_eq!(
            (reply.status, reply.header("content-length")),
            (status, length),
            "{line}: {reply:?}"
        );
        assert_eq!(reply.header("transfer-encoding"), None, "{line}");
    }
    assert_eq!(service.connections(), 1);
}

#[test]
fn a_client_that_waits_for_a_go_ahead_gets_it() {
    let service = Service::echo();
    let live = Setup::new(&service).start();
    let mut client = live.client();
    client.send(live.request("POST /up", "Content-Length: 5\r\nExpect: 100-continue\r\n"));
    assert_eq!(client.reply().status, 100);
    client.send("hello");
    assert_eq!(client.reply().status, 200);
    let seen = &service.seen()[0];
    assert_eq!(
        (seen.header("expect"), seen.body.as_slice()),
        (None, &b"hello"[..])
    );
    client.send(live.request("POST /up", "Content-Length: 5\r\nExpect: a-miracle\r\n"));
    assert_eq!(client.reply().status, 417);
}

#[test]
fn a_slow_reader_holds_back_the_service_and_gets_everything() {
    let service = Service::start(|_, stream| {
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {BIG}\r\n\r\n").is_ok()
            && stream.write_all(&pattern(BIG)).is_ok()
    });
    let live = Setup::new(&service).start();
    let mut client = live.client();
    client.send(live.request("GET /up", ""));
    std::thread::sleep(Duration::from_millis(300));
    // Other requests are served meanwhile, and memory does not fill up with the answer.
    assert_eq!(live.get("/health").status, 200);
    let mut piece = vec![0; 64 << 10];
    for _ in 0..20 {
        let count = client.stream.read(&mut piece).unwrap();
        client.buffer.extend_from_slice(&piece[..count]);
        std::thread::sleep(Duration::from_millis(5));
    }
    let reply = client.reply();
    assert!(reply.whole && reply.body == pattern(BIG));
}

#[test]
fn an_answer_before_the_bodys_end_arrives_whole() {
    // The service refuses after the head and closes without reading the body.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut piece = [0; 1024];
            let _some = stream.read(&mut piece).unwrap();
            stream
                .write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 4\r\nConnection: close\r\n\r\nnope")
                .unwrap();
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            while stream.read(&mut piece).is_ok_and(|count| count > 0) {}
        }
    });
    let live = Setup::to(vec![rc_traffic::Endpoint::Tcp(address)]).start();
    let mut client = live.client();
    client.send(live.request("POST /up", &format!("Content-Length: {BIG}\r\n")));
    client.send(vec![b'x'; 200_000]);
    let reply = client.reply();
    assert_eq!((reply.status, reply.text().as_str()), (403, "nope"));
}

#[test]
fn uploads_side_by_side_never_stand_still() {
    const UPLOADS: usize = 12;
    const BYTES: usize = 3 << 20;
    // A body that is larger than every buffer on the way: the gateway's outbox is full again and again.
    let service =
        Service::start(|_, stream| write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").is_ok());
    let live = Setup::new(&service).start();
    let body = pattern(BYTES);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut client = live.client();
                for _ in 0..UPLOADS {
                    let began = rc_model::clock::monotonic_ns();
                    client.send(live.request("POST /up", &format!("Content-Length: {BYTES}\r\n")));
                    client.send(&body);
                    assert_eq!(client.reply().status, 200);
                    let took = Duration::from_nanos(rc_model::clock::monotonic_ns() - began);
                    // A missed wake-up ends with the next timer, seconds later.
                    assert!(
                        took < Duration::from_secs(5),
                        "an upload stood still for {took:?}"
                    );
                }
            });
        }
    });
}
