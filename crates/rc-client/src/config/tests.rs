use super::*;

fn tcp(text: &str) -> (bool, String, u16, String) {
    match Endpoint::parse(text).unwrap() {
        Endpoint::Tcp {
            tls,
            host,
            port,
            base,
        } => (tls, host, port, base),
        Endpoint::Unix(path) => panic!("{} is a socket", path.display()),
    }
}

#[test]
fn addresses_are_read_with_their_defaults() {
    assert_eq!(
        tcp("http://127.0.0.1:8080"),
        (false, "127.0.0.1".into(), 8080, String::new())
    );
    assert_eq!(
        tcp("https://api.example.com/"),
        (true, "api.example.com".into(), 443, String::new())
    );
    assert_eq!(tcp("http://[::1]:9/rc/"), (false, "::1".into(), 9, "/rc".into()));
    assert_eq!(
        Endpoint::parse("unix:/run/rc.sock").unwrap(),
        Endpoint::Unix("/run/rc.sock".into())
    );
    assert_eq!(
        Endpoint::parse("unix:///run/rc.sock").unwrap(),
        Endpoint::Unix("/run/rc.sock".into())
    );
}

#[test]
fn addresses_print_as_they_are_read() {
    for text in [
        "http://127.0.0.1:8080",
        "https://api.example.com",
        "http://[::1]:9/rc",
        "unix:/run/rc.sock",
    ] {
        assert_eq!(Endpoint::parse(text).unwrap().to_string(), text);
    }
}

#[test]
fn odd_addresses_are_refused_with_a_reason() {
    for text in [
        "",
        "localhost:8080",
        "ftp://x",
        "http://",
        "http://user:pw@host",
        "http://h/?q=1",
        "unix:relative",
        "http://a b",
    ] {
        let error = Endpoint::parse(text).unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::Config, "{text}");
        assert!(!error.to_string().contains("pw"), "{error}");
    }
}

#[test]
fn keys_never_show() {
    let key = ApiKey::new(" rck_secret \n").unwrap();
    assert_eq!(key.reveal(), "rck_secret");
    assert!(!format!("{:?}", Identity::Key(key)).contains("secret"));
    for bad in ["", "two words", "bell\u{7}", &"x".repeat(256)] {
        assert!(!ApiKey::new(bad).unwrap_err().to_string().contains("words"));
    }
}

#[test]
fn an_idempotency_key_follows_run_and_content() {
    let of = |run, body: &str| IdempotencyKey::of(run, body.as_bytes());
    assert_eq!(of("a", "x"), of("a", "x"));
    assert_ne!(of("a", "x"), of("a", "y"));
    assert_ne!(of("a", "x"), of("b", "x"));
    assert!(IdempotencyKey::new(of("a", "x").as_str()).is_ok());
    assert!(IdempotencyKey::new("").is_err());
    assert!(IdempotencyKey::new("with space").is_err());
}
