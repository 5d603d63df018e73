use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::{Arrivals, Load, Mark, Same, run};
use crate::backend::{self, Capacity};
use crate::platform::free_port;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";

/// The bench's own service, on a thread that ends with the test process.
fn backend() -> SocketAddr {
    let port = free_port().unwrap();
    std::thread::spawn(move || backend::serve(port, Capacity::UNBOUNDED));
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    while std::net::TcpStream::connect(address).is_err() {
        std::thread::yield_now();
    }
    address
}

fn load(target: SocketAddr, arrivals: Arrivals) -> Load {
    Load {
        target,
        connections: 4,
        arrivals,
        warm_up: Duration::from_millis(50),
        measured: Duration::from_millis(400),
    }
}

#[test]
fn an_open_loop_sends_what_its_schedule_says() {
    let mut marks = Vec::new();
    let report = run(
        &load(backend(), Arrivals::Rate(500.0)),
        &mut Same(REQUEST.to_vec()),
        &mut |mark| marks.push(mark),
    )
    .unwrap();
    report.expect(&[200]).unwrap();
    assert_eq!(marks, [Mark::Begin, Mark::End]);
    assert_eq!(
        report.classes[0].latency_us.len(),
        200,
        "those whose time was measured"
    );
    assert_eq!(report.classes[0].statuses[&200], 200);
    assert!(report.generator_cpu > 0.0);
}

#[test]
fn saturation_answers_more_than_a_slow_schedule() {
    let report = run(
        &load(backend(), Arrivals::Saturation),
        &mut Same(REQUEST.to_vec()),
        &mut |_| {},
    )
    .unwrap();
    report.expect(&[200]).unwrap();
    assert!(report.completed > 500, "{}", report.completed);
}

/// A service that answers nothing for a while: the requests due in that time waited, and their latency says so.
#[test]
fn a_stall_costs_every_request_that_was_due_in_it() {
    const STALL: Duration = Duration::from_millis(200);
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let target = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        use std::io::{Read as _, Write as _};
        let (mut socket, _) = listener.accept().unwrap();
        let mut answered = 0;
        let mut bytes = [0; 1024];
        while socket.read(&mut bytes).is_ok_and(|count| count > 0) {
            if answered == 100 {
                std::thread::sleep(STALL);
            }
            answered += 1;
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
            if socket.write_all(answer).is_err() {
                return;
            }
        }
    });
    let mut load = load(target, Arrivals::Rate(1_000.0));
    load.connections = 1;
    let report = run(&load, &mut Same(REQUEST.to_vec()), &mut |_| {}).unwrap();
    report.expect(&[200]).unwrap();
    let latency = &report.classes[0].latency_us;
    let waited = latency.len() - latency.count_between(0, 50_000);
    assert!(
        waited >= 100,
        "{waited} of {} requests waited for more than 50 ms",
        latency.len()
    );
}

#[test]
fn a_closed_connection_in_use_is_a_failure_and_not_a_wait() {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let target = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        use std::io::Read as _;
        for socket in listener.incoming() {
            let mut bytes = [0; 1024];
            let _ = socket.unwrap().read(&mut bytes);
        }
    });
    let report = run(
        &load(target, Arrivals::Rate(100.0)),
        &mut Same(REQUEST.to_vec()),
        &mut |_| {},
    )
    .unwrap();
    assert!(report.cut > 0);
    assert!(report.expect(&[200]).is_err());
}
