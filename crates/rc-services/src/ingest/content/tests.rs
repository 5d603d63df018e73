use std::io::Write as _;

use http::HeaderValue;

use super::*;

fn headers(pairs: &[(http::HeaderName, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    headers
}

fn gzip(data: &[u8]) -> Bytes {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap().into()
}

fn zstd(data: &[u8]) -> Bytes {
    zstd::encode_all(data, 3).unwrap().into()
}

fn undo(encoding: Encoding, body: Bytes) -> Result<Bytes, Fault> {
    inflate(encoding, body, |_| Ok(()))
}

#[test]
fn media_types_choose_the_format() {
    for (value, one, batch) in [
        ("application/json", Some(Format::One), Some(Format::Array)),
        (
            "Application/JSON; Charset=UTF-8",
            Some(Format::One),
            Some(Format::Array),
        ),
        (
            "application/json;charset=\"utf-8\"",
            Some(Format::One),
            Some(Format::Array),
        ),
        (
            "application/json; q=1; odd",
            Some(Format::One),
            Some(Format::Array),
        ),
        ("application/x-ndjson", None, Some(Format::Lines)),
        ("application/ndjson", None, Some(Format::Lines)),
        ("application/jsonl; charset=utf-8", None, Some(Format::Lines)),
        ("application/json; charset=latin1", None, None),
        ("application/json; charset=utf-16", None, None),
        ("text/plain", None, None),
        ("application/xml", None, None),
        ("application/jsonp", None, None),
        ("", None, None),
        ("é", None, None),
    ] {
        let headers = headers(&[(CONTENT_TYPE, value)]);
        assert_eq!(one_format(&headers).ok(), one, "{value}");
        assert_eq!(batch_format(&headers).ok(), batch, "{value}");
    }
    assert_eq!(
        batch_format(&HeaderMap::new()).unwrap_err().kind,
        fault::MEDIA_TYPE
    );
    let twice = headers(&[(CONTENT_TYPE, "application/json"), (CONTENT_TYPE, "text/html")]);
    assert_eq!(batch_format(&twice).unwrap_err().kind, fault::MEDIA_TYPE);
}

#[test]
fn content_encodings_are_known_or_refused() {
    for (values, expect) in [
        (&[][..], Some(Encoding::Identity)),
        (&["identity"][..], Some(Encoding::Identity)),
        (&["GZIP"][..], Some(Encoding::Gzip)),
        (&["x-gzip"][..], Some(Encoding::Gzip)),
        (&["zstd"][..], Some(Encoding::Zstd)),
        (&["br"][..], None),
        (&["deflate"][..], None),
        (&["gzip, zstd"][..], None),
        (&["gzip", "gzip"][..], None),
    ] {
        let pairs: Vec<_> = values.iter().map(|value| (CONTENT_ENCODING, *value)).collect();
        assert_eq!(encoding(&headers(&pairs)).ok(), expect, "{values:?}");
    }
}

#[test]
fn encodings_are_undone() {
    let data = b"{\"text\":\"a\"}\n".repeat(1_000);
    for (encoding, body) in [
        (Encoding::Identity, Bytes::from(data.clone())),
        (Encoding::Gzip, gzip(&data)),
        (Encoding::Zstd, zstd(&data)),
    ] {
        assert_eq!(undo(encoding, body).unwrap(), data, "{encoding:?}");
    }
    let members = [gzip(b"one "), gzip(b"two")].concat();
    assert_eq!(undo(Encoding::Gzip, members.into()).unwrap(), "one two");
    let frames = [zstd(b"one "), zstd(b"two")].concat();
    assert_eq!(undo(Encoding::Zstd, frames.into()).unwrap(), "one two");
}

#[test]
fn bombs_are_refused_by_size_and_by_ratio() {
    let zeros = vec![b' '; limits::INFLATED_BYTES_MAX + 1];
    for (encoding, bomb) in [(Encoding::Gzip, gzip(&zeros)), (Encoding::Zstd, zstd(&zeros))] {
        assert!(bomb.len() < 64 << 10, "{encoding:?} bomb has {}", bomb.len());
        let fault = undo(encoding, bomb).unwrap_err();
        assert_eq!(fault.kind, fault::INFLATES_TOO_MUCH, "{encoding:?}");
        assert!(fault.detail.contains("times"), "{}", fault.detail);
    }
    // Many small members: each is harmless, all together are not.
    let members = gzip(&vec![b' '; 1 << 16]).repeat(1_000);
    assert_eq!(
        undo(Encoding::Gzip, members.into()).unwrap_err().kind,
        fault::INFLATES_TOO_MUCH
    );
    // A body that does not shrink well is refused by its size alone.
    let mut state = 1_u32;
    let noise: Vec<u8> = (0..limits::INFLATED_BYTES_MAX + 1)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            b'a' + (state >> 29) as u8
        })
        .collect();
    let fault = undo(Encoding::Zstd, zstd(&noise)).unwrap_err();
    assert!(fault.detail.contains("bytes"), "{}", fault.detail);
}

#[test]
fn a_short_repetitive_body_is_no_bomb() {
    let data = vec![b'x'; limits::INFLATE_RATIO_FREE_BYTES];
    assert_eq!(undo(Encoding::Zstd, zstd(&data)).unwrap().len(), data.len());
}

#[test]
fn a_large_window_is_refused() {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(27).unwrap();
    encoder.include_contentsize(false).unwrap();
    encoder.write_all(&[b'x'; 100]).unwrap();
    encoder.flush().unwrap();
    encoder.write_all(b"more").unwrap();
    let body = encoder.finish().unwrap();
    assert_eq!(
        undo(Encoding::Zstd, body.into()).unwrap_err().kind,
        fault::BAD_ENCODING
    );
}

#[test]
fn broken_encodings_are_refused() {
    let data = b"hello hello hello hello".repeat(100);
    for (encoding, body) in [(Encoding::Gzip, gzip(&data)), (Encoding::Zstd, zstd(&data))] {
        let cut = body.slice(..body.len() - 3);
        let mut flipped = body.to_vec();
        let middle = flipped.len() / 2;
        flipped[middle] ^= 0xFF;
        let trailing = [&body[..], b"garbage"].concat();
        for (what, bad) in [
            ("cut", cut),
            ("flipped", flipped.into()),
            ("trailing", trailing.into()),
            ("plain", data.clone().into()),
        ] {
            // A flipped bit of a zstd frame without a checksum may decode to other bytes.
            let result = undo(encoding, bad);
            if what != "flipped" || encoding == Encoding::Gzip {
                assert_eq!(
                    result.unwrap_err().kind,
                    fault::BAD_ENCODING,
                    "{encoding:?} {what}"
                );
            }
        }
        assert!(undo(encoding, Bytes::new()).unwrap().is_empty());
    }
}

#[test]
fn memory_is_asked_for_before_it_is_taken() {
    let data: Vec<u8> = (0..200_000_u32).flat_map(u32::to_le_bytes).collect();
    for (encoding, body) in [(Encoding::Gzip, gzip(&data)), (Encoding::Zstd, zstd(&data))] {
        let wire = body.len();
        let mut asked = Vec::new();
        let whole = inflate::<Fault>(encoding, body.clone(), |bytes| {
            asked.push(bytes);
            Ok(())
        });
        assert_eq!(whole.unwrap().len(), data.len());
        assert_eq!(asked[0], wire + INFLATE_STEP_BYTES);
        assert!(asked.is_sorted());
        let last = asked[asked.len() - 1];
        assert!(
            last >= wire + data.len() && last <= wire + 2 * data.len(),
            "{last}"
        );

        let mut held = 0;
        let refused = inflate(encoding, body, |bytes| {
            if bytes > wire + 400_000 {
                return Err(Fault::body(fault::QUEUE_FULL, "no room"));
            }
            held = bytes;
            Ok(())
        });
        assert_eq!(refused.unwrap_err().kind, fault::QUEUE_FULL);
        assert!(held > wire + 200_000, "{held}");
    }
}
