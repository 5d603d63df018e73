//! Clients that are slow, silent, half there or gone, several hundred at once, over HTTP/1 and HTTP/2, beside
//! two that behave.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rc_model::clock::monotonic_ns;
use rustix::net::sockopt;

use super::documents::Set;
use super::h2;
use super::processes::{clients_held, descriptors, memory_mib, running};
use crate::world::World;

/// Clients of each kind.
const EACH: usize = 30;

/// How often clients that drip send a piece: one byte, or one frame with one byte.
const DRIP_EVERY: Duration = Duration::from_secs(1);

/// What a kind may take beyond its limit: this machine does other things, too.
const SLACK: Duration = Duration::from_secs(6);

/// The limits under test; `rc_traffic::ConnectionLimits` and `rc_services::ingest::limits` have them.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
const IDLE_TIMEOUT: Duration = Duration::from_secs(75);
const STALL_TIMEOUT: Duration = Duration::from_secs(30);
const BODY_PACE_WINDOW: Duration = Duration::from_secs(10);
const DISCARD_TIME_MAX: Duration = Duration::from_secs(2);
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
const AT_ONCE: Duration = Duration::ZERO;

/// When the whole thing is over: the longest limit with all that follows it.
const OVER: Duration = Duration::from_secs(110);

/// What those that behave may be made to wait, of a hundred requests the second slowest.
const GOOD_P99_MAX: Duration = Duration::from_secs(2);

/// Descriptors that a process may hold more than before: idle connections between services.
const DESCRIPTORS_MORE_MAX: usize = 8;

/// The memory that a process may take while all are there. The allocator keeps most of it for the next time, so
/// what is left behind says nothing about what was lost...
const MEMORY_PEAK_MIB_MAX: u64 = 192;

/// ... but what more of the same add to it does.
const GONE_EACH: usize = 500;
const LEAK_MIB_MAX: u64 = 8;

/// The text of a large document, and how many of them a slow reader asks for: more than all buffers hold.
const BIG_BYTES: usize = 240_000;
const BIG_ANSWERS: usize = 64;

/// What a client does after its first bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    /// Stays and reads.
    Read,
    /// Stays and reads nothing.
    Stare,
    /// Ends its side and reads.
    HalfClose,
    /// Leaves as a program does that ends.
    Leave,
    /// Leaves as a host does that crashes.
    Reset,
}

/// Clients of one kind.
struct Kind {
    name: &'static str,
    /// Sent at once.
    opening: Vec<u8>,
    /// Sent piece by piece.
    drip: Vec<Vec<u8>>,
    then: Then,
    /// When the platform has to be through with it.
    limit: Duration,
    /// What must have come back by then.
    expect: fn(&[u8]) -> bool,
    /// The client goes when it has this, as one that has its answer.
    content: fn(&[u8]) -> bool,
}

struct Client {
    kind: usize,
    stream: Option<TcpStream>,
    drips: usize,
    received: Vec<u8>,
    ended: Option<Duration>,
}

fn never(_: &[u8]) -> bool {
    false
}

fn anything(_: &[u8]) -> bool {
    true
}

fn is_408(received: &[u8]) -> bool {
    received.starts_with(b"HTTP/1.1 408 ")
}

fn is_200(received: &[u8]) -> bool {
    received.starts_with(b"HTTP/1.1 200 ")
}

fn is_answered(received: &[u8]) -> bool {
    h2::is_answered(received, 1)
}

fn bytes(text: &str) -> Vec<Vec<u8>> {
    text.bytes().map(|byte| vec![byte]).collect()
}

fn kinds(key: &str) -> Vec<Kind> {
    let head = |line: &str, more: &str| {
        format!("{line} HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer {key}\r\n{more}\r\n").into_bytes()
    };
    let post = head(
        "POST /ingest",
        "Idempotency-Key: slow\r\nContent-Type: application/json\r\nContent-Length: 600\r\n",
    );
    let part = [post.clone(), b"{\"id\":\"never\",\"te".to_vec()].concat();
    let big = head("GET /docs/big", "");
    let (h2_head, h2_drops) = h2::request_in_drops(1, key);
    let h2_open = h2::opening(65_535);
    let h2_post = [h2_open.clone(), h2::request(1, "POST", "/ingest", key, false)].concat();
    let h2_many: Vec<u8> = (0..20)
        .flat_map(|n| h2::request(1 + 2 * n, "GET", "/docs/big", key, true))
        .collect();
    let kind = |name, opening, then, limit, expect| Kind {
        name,
        opening,
        drip: Vec::new(),
        then,
        limit,
        expect,
        content: never,
    };
    vec![
        Kind {
            drip: bytes(&format!("GET /docs/one HTTP/1.1\r\nX-Slow: {}", "a".repeat(200))),
            ..kind(
                "slow heads",
                Vec::new(),
                Then::Read,
                HEAD_TIMEOUT,
                is_408 as fn(&[u8]) -> bool,
            )
        },
        Kind {
            drip: bytes(&"x".repeat(200)),
            // The answer comes first; then the gateway waits for the rest, to keep the connection.
            ..kind(
                "slow bodies",
                post,
                Then::Read,
                BODY_PACE_WINDOW + DISCARD_TIME_MAX + DRAIN_TIMEOUT,
                is_408,
            )
        },
        Kind {
            drip: bytes(&"x".repeat(200)),
            ..kind(
                "slow bodies that nobody reads",
                head("GET /docs/one", "Content-Length: 600\r\n"),
                Then::Read,
                DRAIN_TIMEOUT,
                is_200,
            )
        },
        kind(
            "silent from the start",
            Vec::new(),
            Then::Read,
            HEAD_TIMEOUT,
            <[u8]>::is_empty,
        ),
        kind(
            "idle after an answer",
            head("GET /docs/one", ""),
            Then::Read,
            IDLE_TIMEOUT,
            is_200,
        ),
        kind(
            "half-closed inside the body",
            part.clone(),
            Then::HalfClose,
            AT_ONCE,
            <[u8]>::is_empty,
        ),
        kind(
            "half-closed after the request",
            head("GET /docs/one", ""),
            Then::HalfClose,
            AT_ONCE,
            anything,
        ),
        kind(
            "slow readers",
            big.repeat(BIG_ANSWERS),
            Then::Stare,
            STALL_TIMEOUT,
            <[u8]>::is_empty,
        ),
        kind(
            "gone inside the body",
            part.clone(),
            Then::Leave,
            AT_ONCE,
            anything,
        ),
        kind("reset inside the body", part, Then::Reset, AT_ONCE, anything),
        kind(
            "gone inside the answer",
            big.repeat(8),
            Then::Reset,
            AT_ONCE,
            anything,
        ),
        kind(
            "h2: silent after the preface",
            h2_open.clone(),
            Then::Read,
            IDLE_TIMEOUT,
            anything,
        ),
        Kind {
            drip: h2_drops,
            ..kind(
                "h2: slow heads",
                [h2_open, h2_head].concat(),
                Then::Read,
                IDLE_TIMEOUT,
                anything,
            )
        },
        Kind {
            drip: (0..200).map(|_| h2::data(1, b"x")).collect(),
            content: is_answered,
            ..kind(
                "h2: slow bodies",
                h2_post.clone(),
                Then::Read,
                BODY_PACE_WINDOW + DISCARD_TIME_MAX,
                is_answered,
            )
        },
        kind(
            "h2: reset inside the body",
            h2_post,
            Then::Reset,
            AT_ONCE,
            anything,
        ),
        kind(
            "h2: no window for answers",
            [h2::opening(0), h2_many].concat(),
            Then::Read,
            // After two of them it is told to go away.
            STALL_TIMEOUT * 3,
            anything,
        ),
    ]
}

#[test]
fn slow_hundreds_of_bad_clients_end_by_their_limits_and_disturb_no_good_one() {
    let world = World::new();
    world.up();
    let keys = [world.key("acme"), world.key("globex")];
    for key in &keys {
        let one = world.post(
            "/ingest?wait=indexed&timeout=10s",
            key,
            "one",
            r#"{"id":"one","text":"one"}"#,
        );
        assert_eq!(one.status, 200, "{one:?}");
        let text = "many word ".repeat(BIG_BYTES / 10);
        let big = format!("{{\"id\":\"big\",\"text\":\"{text}\"}}");
        let big = world.post("/ingest?wait=indexed&timeout=10s", key, "big", &big);
        assert_eq!(big.status, 200, "{big:?}");
    }
    let processes = ["gateway", "ingest", "docs-api"].map(|name| (name, running(&world, name)));
    let before = processes.map(|(_, pid)| (descriptors(pid), memory_mib(pid)));
    let over = AtomicBool::new(false);
    let (kinds, clients, peak) = std::thread::scope(|scope| {
        let good = keys.each_ref().map(|key| {
            let (world, over) = (&world, &over);
            scope.spawn(move || behave(world, key, over))
        });
        let (kinds, clients, peak) = misbehave(&world, &keys[0], &processes.map(|(_, pid)| pid));
        over.store(true, Ordering::Relaxed);
        for (name, good) in ["acme", "globex"].iter().zip(good) {
            let (mut took, refused) = good.join().unwrap();
            took.sort_unstable();
            let p99 = Duration::from_nanos(took[took.len() * 99 / 100]);
            println!(
                "connections: {name}, which behaves: {} requests, {refused} refused, p99 {p99:?}",
                took.len()
            );
            assert!(p99 <= GOOD_P99_MAX, "{name}: {p99:?}");
            // The bad clients are acme's: what they take of its part may be refused to it, and to nobody else.
            let refused_max = if name == &"acme" { took.len() / 20 } else { 0 };
            assert!(refused <= refused_max, "{name}: {refused} of {}", took.len());
        }
        (kinds, clients, peak)
    });
    println!(
        "connections: {} clients of {} kinds at once",
        clients.len(),
        kinds.len()
    );
    for (index, kind) in kinds.iter().enumerate() {
        let of = || clients.iter().filter(|client| client.kind == index);
        let last = of()
            .map(|client| client.ended.unwrap_or(Duration::MAX))
            .max()
            .unwrap();
        println!(
            "connections: {:<32} limit {:>4?}, last one ended after {last:.1?}",
            kind.name, kind.limit
        );
    }
    for client in &clients {
        let (kind, ended) = (&kinds[client.kind], client.ended.unwrap_or(Duration::MAX));
        assert!(ended <= kind.limit + SLACK, "{}: {ended:?}", kind.name);
        let start = String::from_utf8_lossy(&client.received[..client.received.len().min(300)]);
        assert!((kind.expect)(&client.received), "{}: {start:?}", kind.name);
    }
    expect_back(&processes, &before, &peak);
    come_and_go(&world, &kinds);
    expect_back(&processes, &before, &peak);
    let warm = processes.map(|(_, pid)| memory_mib(pid));
    come_and_go(&world, &kinds);
    expect_back(&processes, &before, &peak);
    for ((name, pid), warm) in processes.iter().zip(warm) {
        let now = memory_mib(*pid);
        println!("connections: {name:<8} memory {warm} MiB before more of the same, {now} after");
        assert!(
            now <= warm + LEAK_MIB_MAX,
            "{name} loses memory: {warm} MiB, {now} MiB"
        );
    }
}

/// Those that are gone as soon as they have come, many more of them.
fn come_and_go(world: &World, kinds: &[Kind]) {
    let gone = kinds.iter().filter(|kind| kind.limit == AT_ONCE);
    for kind in gone.flat_map(|kind| std::iter::repeat_n(kind, GONE_EACH)) {
        let mut stream = TcpStream::connect(world.address).unwrap();
        stream.write_all(&kind.opening).unwrap();
        if kind.then == Then::Reset {
            sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
        }
    }
}

/// Descriptors are what they were, and memory is within its bound.
fn expect_back(processes: &[(&str, u32)], before: &[(usize, u64)], peak: &[(usize, u64)]) {
    // The gateway keeps idle connections to services for 20 s.
    let until = monotonic_ns() + 40_000_000_000;
    for (((name, pid), (files, memory)), (files_peak, memory_peak)) in processes.iter().zip(before).zip(peak)
    {
        while descriptors(*pid) > files + DESCRIPTORS_MORE_MAX && monotonic_ns() < until {
            std::thread::sleep(Duration::from_millis(200));
        }
        let (files_now, memory_now) = (descriptors(*pid), memory_mib(*pid));
        println!(
            "connections: {name:<8} descriptors {files} before, {files_peak} at most, {files_now} after; \
             memory {memory} MiB before, {memory_peak} at most, {memory_now} after"
        );
        assert!(
            files_now <= files + DESCRIPTORS_MORE_MAX,
            "{name}: {files_now} descriptors"
        );
        assert!(
            memory_now.max(*memory_peak) <= MEMORY_PEAK_MIB_MAX,
            "{name}: {memory_peak} MiB, then {memory_now} MiB"
        );
    }
}

/// Reads and writes on one connection until `over`; how long each request took, in nanoseconds, and how many were
/// refused because their tenant had too many already.
fn behave(world: &World, key: &str, over: &AtomicBool) -> (Vec<u64>, usize) {
    let mut stream = TcpStream::connect(world.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let set = Set::new("good", 100_000);
    let (mut took, mut refused) = (Vec::new(), 0);
    while !over.load(Ordering::Relaxed) {
        let number = took.len();
        let body = if number.is_multiple_of(2) {
            String::new()
        } else {
            set.document(number)
        };
        let line = if number.is_multiple_of(2) {
            "GET /docs/one"
        } else {
            "POST /ingest"
        };
        let request = format!(
            "{line} HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer {key}\r\nIdempotency-Key: good-{number}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let start = monotonic_ns();
        stream.write_all(request.as_bytes()).unwrap();
        let head = read_answer(&mut stream);
        took.push(monotonic_ns() - start);
        let wanted = if number.is_multiple_of(2) {
            "HTTP/1.1 200"
        } else {
            "HTTP/1.1 202"
        };
        if head.starts_with("HTTP/1.1 429") {
            refused += 1;
        } else {
            assert!(head.starts_with(wanted), "request {number}: {head}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    (took, refused)
}

/// Reads one answer with a `Content-Length`; its head.
fn read_answer(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let lower = head.to_ascii_lowercase();
    let length = lower
        .split("content-length: ")
        .nth(1)
        .unwrap()
        .split('\r')
        .next()
        .unwrap();
    let mut body = vec![0; length.parse().unwrap()];
    stream.read_exact(&mut body).unwrap();
    head
}

/// Runs all bad clients to their ends. Gives what `pids` held at most, too.
fn misbehave(world: &World, key: &str, pids: &[u32; 3]) -> (Vec<Kind>, Vec<Client>, [(usize, u64); 3]) {
    let kinds = kinds(key);
    let start = monotonic_ns();
    let since = || Duration::from_nanos(monotonic_ns() - start);
    let mut clients: Vec<Client> = Vec::new();
    for (index, kind) in kinds.iter().enumerate() {
        for _ in 0..EACH {
            clients.push(Client::begin(world, index, kind));
        }
    }
    let mut peak = [(0, 0); 3];
    while clients.iter().any(|client| client.ended.is_none()) && since() < OVER {
        let held = clients_held(world.address);
        for client in &mut clients {
            client.go_on(&kinds[client.kind], since(), &held);
        }
        for (peak, pid) in peak.iter_mut().zip(pids) {
            *peak = (peak.0.max(descriptors(*pid)), peak.1.max(memory_mib(*pid)));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    (kinds, clients, peak)
}

impl Client {
    fn begin(world: &World, index: usize, kind: &Kind) -> Self {
        let mut stream = TcpStream::connect(world.address).unwrap();
        if kind.then == Then::Stare {
            // Small, so that the kernels between the two hold little of the answer.
            sockopt::set_socket_recv_buffer_size(&stream, 4 << 10).unwrap();
        }
        stream.write_all(&kind.opening).unwrap();
        stream.set_nonblocking(true).unwrap();
        Self {
            kind: index,
            stream: Some(stream),
            drips: 0,
            received: Vec::new(),
            ended: None,
        }
    }

    /// Does what is due `now`, counted from the start. `held` are the clients' ports that the gateway has.
    fn go_on(&mut self, kind: &Kind, now: Duration, held: &BTreeSet<u16>) {
        let Some(stream) = &mut self.stream else { return };
        let acts = now >= Duration::from_secs(1);
        match kind.then {
            Then::Leave | Then::Reset if acts => {
                if kind.then == Then::Reset {
                    sockopt::set_socket_linger(&*stream, Some(Duration::ZERO)).unwrap();
                }
                // Nobody tells a client that left; what it held is looked for in the processes.
                self.end(AT_ONCE);
                return;
            }
            Then::HalfClose if self.drips == 0 => {
                self.drips = 1;
                let _it_ended_first = stream.shutdown(Shutdown::Write);
            }
            // It reads nothing, so the end of the connection is seen from the other side.
            Then::Stare => {
                if acts && !held.contains(&stream.local_addr().unwrap().port()) {
                    self.end(now);
                }
                return;
            }
            _ => {}
        }
        let due = usize::try_from(now.as_secs() / DRIP_EVERY.as_secs()).unwrap();
        while self.drips < due.min(kind.drip.len()) {
            // What comes back says whether the platform has had enough.
            let _refused = stream.write_all(&kind.drip[self.drips]);
            self.drips += 1;
        }
        let mut room = [0; 64 << 10];
        loop {
            match stream.read(&mut room) {
                Ok(0) => break,
                Ok(count) => self.received.extend_from_slice(&room[..count]),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    if (kind.content)(&self.received) {
                        break;
                    }
                    return;
                }
                Err(_reset) => break,
            }
        }
        self.end(now);
    }

    fn end(&mut self, now: Duration) {
        self.stream = None;
        self.ended = Some(now);
    }
}
