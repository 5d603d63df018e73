//! A storm of retries: answers get lost, and clients send everything again, and again, from several places at
//! once. What the stream has twice is counted, and it is nothing.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rc_test::chaos::{Proxy, Weather};
use rc_test::{Postgres, Rng};

use super::documents::Set;
use super::postgres::expect_once_on_bus;
use crate::world::World;

/// Clients, and the requests that each has to get an answer for: three singles, then a batch.
const CLIENTS: usize = 6;
const REQUESTS: usize = 40;

/// Documents in a batch.
const BATCH: usize = 20;

/// How long a client waits for an answer before it asks again.
const PATIENCE: Duration = Duration::from_millis(150);

/// How long answers are lost, and how long they come.
const LOST_MIN: Duration = Duration::from_millis(40);
const LOST_MORE: Duration = Duration::from_millis(160);
const CLEAR_MIN: Duration = Duration::from_millis(20);
const CLEAR_MORE: Duration = Duration::from_millis(80);

/// Of a hundred attempts, those that come under another key, as of a client that forgot its own.
const FORGETFUL: usize = 10;

/// What the clients saw of it.
#[derive(Debug, Default)]
struct Seen {
    attempts: AtomicUsize,
    unanswered: AtomicUsize,
    replayed: AtomicUsize,
    duplicates: AtomicUsize,
}

/// The status, head and body of an exchange, or nothing when the answer did not come.
fn exchange(
    address: SocketAddr,
    path: &str,
    key: &str,
    idempotency: &str,
    media: &str,
    body: &str,
) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\nAuthorization: Bearer {key}\r\n\
         Content-Type: {media}\r\nIdempotency-Key: {idempotency}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).ok()?;
    let mut raw = Vec::new();
    stream.read_to_end(&mut raw).ok()?;
    let answer = String::from_utf8_lossy(&raw).into_owned();
    let status = answer.split(' ').nth(1)?.parse().ok()?;
    Some((status, answer))
}

/// Sends one client's requests until each is acknowledged.
fn client(number: usize, address: SocketAddr, key: &str, set: &Set, seen: &Seen) {
    let mut rng = Rng::new(number as u64 + 1);
    let mut document = number * REQUESTS / 4 * (3 + BATCH);
    for request in 0..REQUESTS {
        let items = if request % 4 == 3 { BATCH } else { 1 };
        let lines: Vec<String> = (document..document + items).map(|n| set.document(n)).collect();
        document += items;
        let (path, media) = match items {
            1 => ("/ingest", "application/json"),
            _ => ("/ingest/batch", "application/x-ndjson"),
        };
        let (body, own) = (lines.join("\n"), format!("{}-{number}-{request}", set.name()));
        for attempt in 0.. {
            assert!(
                attempt < 2_000,
                "request {request} of client {number} is never answered"
            );
            seen.attempts.fetch_add(1, Ordering::Relaxed);
            let other = (rng.below(100) < FORGETFUL).then(|| format!("{own}-{attempt}"));
            let Some((status, answer)) =
                exchange(address, path, key, other.as_deref().unwrap_or(&own), media, &body)
            else {
                seen.unanswered.fetch_add(1, Ordering::Relaxed);
                continue;
            };
            match status {
                202 => {
                    let count = |what: &str| usize::from(answer.to_ascii_lowercase().contains(what));
                    seen.replayed
                        .fetch_add(count("idempotency-replayed: true"), Ordering::Relaxed);
                    seen.duplicates
                        .fetch_add(count("\"duplicates\":1"), Ordering::Relaxed);
                    break;
                }
                429 | 503 => std::thread::sleep(Duration::from_millis(20)),
                _ => panic!("{status}: {answer}"),
            }
        }
    }
}

/// Runs all clients through weather that loses about half of the answers; the set that they sent.
fn storm(name: &str, world: &World) -> Set {
    let set = Set::new(name, CLIENTS * REQUESTS / 4 * (3 + BATCH));
    let key = world.key("acme");
    let (seen, over) = (Seen::default(), AtomicBool::new(false));
    let proxy = Proxy::tcp(world.address);
    std::thread::scope(|scope| {
        let weather = scope.spawn(|| {
            let mut rng = Rng::new(7);
            while !over.load(Ordering::Relaxed) {
                proxy.set(Weather::Unanswered);
                std::thread::sleep(LOST_MIN + rng.up_to(LOST_MORE));
                if rng.below(3) == 0 {
                    proxy.cut();
                }
                proxy.set(Weather::Clear);
                std::thread::sleep(CLEAR_MIN + rng.up_to(CLEAR_MORE));
            }
            proxy.set(Weather::Clear);
        });
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                scope.spawn({
                    let (set, seen, key, address) = (&set, &seen, &key, proxy.address());
                    move || client(number, address, key, set, seen)
                })
            })
            .collect();
        let ended: Vec<_> = clients
            .into_iter()
            .map(std::thread::ScopedJoinHandle::join)
            .collect();
        over.store(true, Ordering::Relaxed);
        weather.join().unwrap();
        ended.into_iter().for_each(|ended| ended.unwrap());
    });
    println!("storm on {name}: {CLIENTS} clients with {REQUESTS} requests each, {seen:?}");
    let unanswered = seen.unanswered.load(Ordering::Relaxed);
    assert!(unanswered > CLIENTS * REQUESTS / 4, "no storm: {seen:?}");
    assert!(
        seen.replayed.load(Ordering::Relaxed) > 0,
        "no answer was lost after its commit: {seen:?}"
    );
    set.expect_searchable(world, &key);
    set
}

#[test]
fn live_a_storm_of_retries_doubles_nothing_in_the_embedded_stream() {
    let world = World::new();
    world.up();
    let set = storm("stormlite", &world);
    world.ok(&["down"]);
    set.expect_once_on_bus(&world);
}

#[test]
fn live_a_storm_of_retries_doubles_nothing_in_the_stream_on_postgresql() {
    let server = Postgres::start_own(true);
    let (world, _proxy, database) = super::postgres::world(&server);
    world.up();
    let set = storm("stormpg", &world);
    expect_once_on_bus(&server, &database, &set, CLIENTS * REQUESTS / 4 * (3 + BATCH));
}
