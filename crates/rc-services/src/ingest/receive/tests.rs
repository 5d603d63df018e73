use super::*;

fn options(query: &str) -> Result<Options, String> {
    let uri = format!("/ingest?{query}").parse().unwrap();
    Options::read(&uri).map_err(|refused| refused.problem.detail.unwrap_or_default())
}

#[test]
fn the_query_is_read() {
    let plain = Options {
        full: false,
        wait: None,
    };
    let wait = |ms| Options {
        wait: Some(Duration::from_millis(ms)),
        ..plain
    };
    for (query, expect) in [
        ("", plain),
        ("unknown=1", plain),
        ("detail=problems", plain),
        ("detail=full", Options { full: true, ..plain }),
        ("wait=indexed", wait(2_000)),
        ("wait=indexed&timeout=500ms", wait(500)),
        ("timeout=30s&wait=indexed", wait(30_000)),
        ("timeout=1s", plain),
    ] {
        assert_eq!(options(query), Ok(expect), "{query}");
    }
    for query in [
        "detail=all",
        "detail=",
        "wait=stored",
        "wait=indexed&wait=indexed",
        "wait=indexed&timeout=5",
        "wait=indexed&timeout=31s",
        "wait=indexed&timeout=-1s",
    ] {
        assert!(options(query).is_err(), "{query}");
    }
}

#[test]
fn keys_are_visible_ascii_once() {
    let read = |values: &[&[u8]]| {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(KEY_HEADER, HeaderValue::from_bytes(value).unwrap());
        }
        required_key(&headers).map(|key| key_text(&key)).ok()
    };
    assert_eq!(read(&[b"a"]).as_deref(), Some("a"));
    assert_eq!(read(&[&[b'~'; 255]]), Some("~".repeat(255)));
    for bad in [
        &[][..],
        &[&b""[..]],
        &[&[b'~'; 256][..]],
        &[&b"a b"[..]],
        &[&b"a\tb"[..]],
        &["ü".as_bytes()],
        &[&b"a"[..], &b"a"[..]],
    ] {
        assert_eq!(read(bad), None, "{bad:?}");
    }
}

#[test]
fn the_request_hash_covers_route_format_and_body() {
    let hashes = [
        request_hash(Route::One, b"json", b"x"),
        request_hash(Route::Batch, b"json", b"x"),
        request_hash(Route::Batch, b"line", b"x"),
        request_hash(Route::Batch, b"line", b"y"),
        delete_hash("x"),
        delete_hash("y"),
    ];
    for (index, hash) in hashes.iter().enumerate() {
        assert!(!hashes[..index].contains(hash), "{index}");
    }
}
