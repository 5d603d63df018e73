use super::*;

#[test]
fn addresses_are_read_as_the_specification_says() {
    let cases = [
        ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
        ("http://collector:4318/", "http://collector:4318/v1/traces"),
        (
            "https://otlp.example.com/team/a/",
            "https://otlp.example.com/team/a/v1/traces",
        ),
        ("http://[::1]:4318", "http://[::1]:4318/v1/traces"),
    ];
    for (url, expect) in cases {
        assert_eq!(Endpoint::base(url).unwrap().to_string(), expect);
    }
    let exact = Endpoint::exact("https://otlp.example.com/custom?key=s3cret").unwrap();
    assert_eq!(exact.path, "/custom?key=s3cret");
    assert_eq!((exact.https, exact.port), (true, 443));
    assert_eq!(format!("{exact:?}"), "https://otlp.example.com/custom");
    assert_eq!(Endpoint::base("http://[::1]:4318").unwrap().host, "::1");
}

#[test]
fn what_is_no_address_is_refused_without_being_repeated() {
    for url in [
        "",
        "127.0.0.1:4318",
        "grpc://h:1",
        "ftp://h",
        "http://",
        "http://user:s3cret@h:1",
        "http://h:1/?a=s3cret",
    ] {
        let error = Endpoint::base(url).unwrap_err().to_string();
        assert!(!error.contains("s3cret"), "{error}");
    }
}

#[test]
fn fields_are_decoded_and_never_shown() {
    let headers = Headers::parse("api-key=s3cret, x-scope = a%20b%2Cc ,").unwrap();
    let got: Vec<(&str, &[u8])> = headers
        .0
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_bytes()))
        .collect();
    assert_eq!(got, [("api-key", &b"s3cret"[..]), ("x-scope", b"a b,c")]);
    assert!(!format!("{headers:?}").contains("s3cret"));
    for text in ["novalue", "a b=c", "a=%zz", "a=%0a"] {
        assert!(Headers::parse(text).is_err(), "{text}");
    }
}
