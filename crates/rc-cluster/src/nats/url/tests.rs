use super::*;

#[test]
fn a_url_says_where_and_how() {
    let plain = NatsOptions::parse("nats://localhost").unwrap();
    assert_eq!(plain.hosts, [("localhost".to_owned(), 4222)]);
    assert_eq!(
        (plain.stream(), plain.replicas, plain.tls),
        ("royalcrown", 1, false)
    );
    assert_eq!(plain.durability, Durability::Checked);

    let full = NatsOptions::parse(
        "tls://bob:p%40ss%3Aw@a:1,[::1]:2,c/orders?replicas=3&max_bytes=1000&deadline_ms=250&monitor=a:8222&durability=always&ca=/ca.pem",
    )
    .unwrap();
    assert_eq!(full.hosts.len(), 3);
    assert_eq!(full.hosts[1], ("::1".to_owned(), 2));
    assert!(
        full.login
            == Login::User {
                name: "bob".to_owned(),
                password: "p@ss:w".to_owned()
            }
    );
    assert_eq!(
        (full.replicas, full.max_bytes, full.stream()),
        (3, 1_000, "orders")
    );
    assert_eq!(full.monitor, Some(("a".to_owned(), 8222)));
    assert_eq!(full.deadline, Duration::from_millis(250));
    assert_eq!(full.to_string(), "tls://a:1,::1:2,c:4222/orders");
    let shown = format!("{full:?}");
    assert!(!shown.contains("p@ss"), "{shown}");
    assert!(NatsOptions::parse("nats://t0ken@a").unwrap().login == Login::Token("t0ken".to_owned()));
}

#[test]
fn a_url_that_makes_no_sense_is_refused_without_its_secrets() {
    for (url, word) in [
        ("localhost", "scheme"),
        ("http://a", "neither"),
        ("nats://", "HOST:PORT"),
        ("nats://a:x", "HOST:PORT"),
        ("nats://a/b.c", "stream"),
        ("nats://u:secret@a?replicas=2", "replicas"),
        ("nats://u:secret@a?durability=never", "durability"),
        ("nats://u:secret@a?max_bytes=many", "number"),
        ("nats://u:secret%@a", "broken"),
        ("nats://u:secret@a?speed=1", "unknown"),
    ] {
        let error = NatsOptions::parse(url).unwrap_err();
        assert_eq!(error.code(), "RC-EVT-003");
        let text = error.to_string();
        assert!(text.contains(word) && !text.contains("secret"), "{url}: {text}");
    }
}
