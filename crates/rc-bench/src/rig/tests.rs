use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::tenants::{InTurn, request};
use super::{Proxy, Service, Span, Stream, answered, refused, window};
use crate::backend::{self, Capacity};
use crate::load::Same;
use crate::load::transport::Transport;
use crate::platform::free_port;

/// The service alone, in the place of a proxy.
fn service(capacity: Capacity) -> (Proxy, Service) {
    let port = free_port().unwrap();
    std::thread::spawn(move || backend::serve(port, capacity));
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    while std::net::TcpStream::connect(address).is_err() {
        std::thread::yield_now();
    }
    let proxy = Proxy {
        name: "nobody",
        address,
        transport: Transport::Tcp,
        processes: std::collections::BTreeSet::new(),
    };
    (proxy, Service::at(address))
}

const SPAN: Span = Span {
    warm_up: Duration::from_millis(300),
    measured: Duration::from_millis(700),
};

fn victims() -> Option<Stream> {
    Some(Stream::victims(100.0, InTurn::new(&["a".to_owned()], "/echo")))
}

#[test]
fn slow_noise_that_fills_every_slot_is_what_victims_wait_for() {
    let capacity = Capacity {
        slots: 4,
        time: Duration::from_millis(20),
    };
    let (proxy, service) = service(capacity);
    let alone = window(&proxy, &service, SPAN, victims(), Vec::new(), &mut || Ok(())).unwrap();
    let noise = Stream::noise(64, Same(request("b", "/echo")));
    let beside = window(&proxy, &service, SPAN, victims(), vec![noise], &mut || Ok(())).unwrap();

    let alone_p50 = alone.of_victims().unwrap().latency_ms(0, 0.5);
    let beside_p99 = beside.of_victims().unwrap().latency_ms(0, 0.99);
    assert!(alone_p50 >= 20.0, "{alone_p50} ms");
    // Behind 64 others for four slots of 20 ms.
    assert!(beside_p99 > 200.0, "{beside_p99} ms, {:?}", beside.account);
    assert_eq!(beside.account.serving_max, 4);
    assert!(beside.account.waiting_max >= 50, "{:?}", beside.account);
    assert!(answered(&beside.noise[0], 200) > 0.0);
    assert_eq!(refused(&beside.noise[0]), 0.0);
}

#[test]
fn the_service_obeys_times_and_slots_and_begins_its_account_anew() {
    let capacity = Capacity {
        slots: 1,
        time: Duration::ZERO,
    };
    let (proxy, service) = service(capacity);
    let mut client = crate::client::Client::connect(proxy.address).unwrap();
    let begin = rc_model::clock::monotonic_ns();
    let (status, body) = client.call(&request("a", "/echo?us=30000")).unwrap();
    assert_eq!((status, body.len()), (200, backend::BODY_BYTES));
    assert!(rc_model::clock::monotonic_ns() - begin >= 30_000_000);
    assert_eq!(service.set_slots(2).unwrap().calls, 1);
    assert_eq!(service.take().unwrap().calls, 0);
}
