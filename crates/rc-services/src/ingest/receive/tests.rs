use super::*;
use crate::ingest::admission::Bounds;

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

fn prepare(admission: &Admission, name: &str, text_bytes: usize) -> Prepare {
    use std::io::Write as _;
    let tenant = TenantId::new(name).unwrap();
    // Ten documents that compress a hundredfold.
    let document = format!("{{\"text\":\"{}\"}}\n", "wealth ".repeat(text_bytes / 70));
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(document.repeat(10).as_bytes()).unwrap();
    let body = Bytes::from(encoder.finish().unwrap());
    let mut permit = admission.admit(&tenant, body.len(), body.len()).unwrap();
    permit.queue();
    Prepare {
        tenant,
        rules: None,
        route: Route::Batch,
        format: Format::Lines,
        encoding: Encoding::Gzip,
        body,
        permit,
    }
}

fn admission(bytes_max: usize, tenant_bytes_max: usize) -> Admission {
    let bounds = Bounds {
        bytes_max,
        tenant_bytes_max,
        ..Bounds::default()
    };
    Admission::new(bounds, rc_model::clock::SystemClock::shared())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn bodies_that_inflate_together_stay_within_the_queue() {
    const MIB: usize = 1 << 20;
    let admission = admission(5 * MIB, 4 * MIB);
    let crowd = (0..40).map(|index| {
        let work = prepare(&admission, if index % 2 == 0 { "a" } else { "b" }, MIB);
        work.run_where_it_fits()
    });
    let mut held = Vec::new();
    let mut refused = 0;
    for done in futures_util::future::join_all(crowd).await {
        match done {
            Ok(done) => held.push(done),
            Err(why) => {
                assert!(
                    ["RC-ING-020", "RC-ING-021"].contains(&why.code()),
                    "{}",
                    why.code()
                );
                refused += 1;
            }
        }
    }
    // What was let in is a mebibyte each, and all of it is in the account.
    assert!((1..=5).contains(&held.len()), "{}", held.len());
    assert_eq!(refused, 40 - held.len());
    assert!(admission.bytes() >= held.len() * (MIB - (MIB >> 6)) && admission.bytes() <= 5 * MIB);
    drop(held);
    assert_eq!(admission.bytes(), 0);
}

#[test]
fn documents_count_beside_the_body_that_they_are_read_from() {
    const MIB: usize = 1 << 20;
    // It inflates within the tenant's share; its documents do not fit beside it.
    let small = admission(4 * MIB, 2 * MIB - (MIB >> 2));
    let refused = prepare(&small, "a", MIB).run().err().unwrap();
    assert_eq!(refused.code(), "RC-ING-021");
    assert_eq!(small.bytes(), 0);
    let large = admission(4 * MIB, 2 * MIB + (MIB >> 4));
    let done = prepare(&large, "a", MIB).run().unwrap();
    assert_eq!(done.items.len(), 10);
    assert!(large.bytes() <= MIB + (MIB >> 6), "{}", large.bytes());
    drop(done);
    assert_eq!(large.bytes(), 0);
}

#[test]
fn the_largest_body_fits_into_an_empty_queue() {
    let admission = Admission::new(Bounds::default(), rc_model::clock::SystemClock::shared());
    let mut permit = admission
        .admit(
            &TenantId::new("a").unwrap(),
            limits::BODY_BYTES_MAX,
            limits::BODY_BYTES_MAX,
        )
        .unwrap();
    let whole = DOCUMENTS_FACTOR * limits::INFLATED_BYTES_MAX;
    permit.resize(whole).unwrap();
}
