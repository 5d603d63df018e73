use super::*;

fn sources(connections: u32, handshakes: u32, burst: u32) -> Arc<Sources> {
    Arc::new(Sources::new(&ConnectionLimits {
        connections_per_source_max: connections,
        handshakes_per_source_max: handshakes,
        handshakes_per_source_burst: burst,
        ..ConnectionLimits::default()
    }))
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn a_source_has_so_many_connections_and_each_counts_until_it_ends() {
    let sources = sources(2, 1, 1);
    let one = address("192.0.2.1");
    let first = sources.connect(one).unwrap();
    let _second = sources.connect(one).unwrap();
    assert!(sources.connect(one).is_none());
    // Mapped into IPv6 it is the same host.
    assert!(sources.connect(address("::ffff:192.0.2.1")).is_none());
    drop(first);
    assert!(sources.connect(one).is_some());
}

#[test]
fn an_ipv6_host_is_its_64_bits_of_network() {
    let sources = sources(1, 1, 1);
    let _one = sources.connect(address("2001:db8::1")).unwrap();
    assert!(sources.connect(address("2001:db8::2")).is_none());
}

#[test]
fn handshakes_come_back_with_time_and_not_with_connections() {
    const SECOND: u64 = 1_000_000_000;
    let sources = sources(100, 10, 3);
    let source = address("192.0.2.7");
    let begun = |now_ns| (0..5).filter(|_| sources.may_shake_hands(source, now_ns)).count();
    assert_eq!(begun(SECOND), 3);
    assert_eq!(begun(SECOND), 0);
    assert_eq!(
        begun(SECOND + SECOND / 10),
        1,
        "a tenth of a second is one of ten"
    );
    assert_eq!(begun(SECOND * 100), 3);
}
