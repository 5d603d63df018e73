use std::io::Read as _;
use std::os::unix::net::UnixStream;

use super::*;
use crate::key::KeySet;
use crate::snapshot::{AnonymousPolicy, SnapshotSpec};

/// A worker that takes no connection, whose queue holds `room` of them.
fn stuck_seat(room: usize) -> (Seat, mpsc::Receiver<Accepted>) {
    let snapshot = Snapshot::build(SnapshotSpec {
        versions: Default::default(),
        version: 1,
        tenants: Vec::new(),
        routes: Vec::new(),
        upstreams: Vec::new(),
        anonymous: AnonymousPolicy::default(),
    });
    let shared = Shared::new(
        GatewayConfig::new(Vec::new()),
        snapshot.unwrap(),
        Arc::new(KeySet::default()),
        rc_model::SystemClock::shared(),
    );
    let (sender, receiver) = mpsc::channel(room);
    let seat = Seat {
        index: 0,
        sender,
        load: Arc::new(AtomicUsize::new(0)),
        shared: Arc::new(shared),
    };
    (seat, receiver)
}

/// A client's end of a connection that was given to `seats`.
fn come(seats: &[Seat], connections_max: usize) -> UnixStream {
    let (client, server) = UnixStream::pair().unwrap();
    let accepted = Accepted {
        socket: Socket::Unix(server),
        peer: Peer {
            address: None,
            trusted: false,
            names_tenants: false,
            uid: None,
            secure: false,
        },
        tls: None,
        slot: None,
        present: None,
    };
    place(seats, accepted, connections_max);
    client
}

fn expect_refused(mut client: UnixStream) {
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(
        answer.contains("RC-GW-018") && answer.contains("retry-after: 1\r\n"),
        "{answer}"
    );
}

#[test]
fn a_worker_or_an_acceptor_that_ends_by_itself_ends_the_gateway_loudly() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for dead in ["worker", "acceptor"] {
        let stop = CancellationToken::new();
        let until_told = stop.clone().cancelled_owned();
        let ended = runtime.block_on(async {
            let (mut ends, mut doors) = (JoinSet::new(), JoinSet::new());
            ends.spawn(async move {
                until_told.await;
                Some(0)
            });
            if dead == "worker" {
                ends.spawn(async { None });
            } else {
                doors.spawn(async { panic!("a bug") });
            }
            watch(&mut ends, &mut doors, &stop).await
        });
        assert!(ended.unwrap_err().to_string().contains(dead));
        assert!(stop.is_cancelled(), "the others are told to stop");
    }
}

#[test]
fn connections_that_no_worker_takes_are_refused_beyond_the_queue() {
    let (seat, mut queue) = stuck_seat(2);
    let (seats, load) = ([seat], 100);
    let waiting = [come(&seats, load), come(&seats, load)];
    expect_refused(come(&seats, load));
    assert_eq!(
        seats[0].load.load(Ordering::Relaxed),
        2,
        "the refused one holds no place"
    );
    assert_eq!(
        seats[0].shared.metrics.workers[0]
            .connections_refused
            .load(Ordering::Relaxed),
        1
    );
    drop(queue.try_recv().unwrap());
    assert_eq!(seats[0].load.load(Ordering::Relaxed), 1);
    let _taken_again = come(&seats, load);
    expect_refused(come(&seats, 2));
    drop(waiting);
}
