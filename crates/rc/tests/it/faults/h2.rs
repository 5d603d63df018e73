//! HTTP/2 frames by hand (RFC 9113), so that a client can be as slow or as rude as a test wants.

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const INITIAL_WINDOW_SIZE: u16 = 4;

/// What a connection begins with: the preface and settings, with the window of new streams.
pub(super) fn opening(window_bytes: u32) -> Vec<u8> {
    let mut settings = INITIAL_WINDOW_SIZE.to_be_bytes().to_vec();
    settings.extend(window_bytes.to_be_bytes());
    [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        frame(SETTINGS, 0, 0, &settings),
    ]
    .concat()
}

/// The head of a request of `key`'s tenant; the body follows when `ends` is false.
pub(super) fn request(stream: u32, method: &str, path: &str, key: &str, ends: bool) -> Vec<u8> {
    let flags = END_HEADERS | if ends { END_STREAM } else { 0 };
    frame(HEADERS, flags, stream, &block(method, path, key))
}

/// The same head, but cut after its first bytes, and the rest in frames of one byte.
pub(super) fn request_in_drops(stream: u32, key: &str) -> (Vec<u8>, Vec<Vec<u8>>) {
    let whole = block("GET", "/docs/one", key);
    let drops = whole[10..]
        .iter()
        .map(|byte| frame(CONTINUATION, 0, stream, &[*byte]));
    (frame(HEADERS, END_STREAM, stream, &whole[..10]), drops.collect())
}

/// A piece of a body.
pub(super) fn data(stream: u32, bytes: &[u8]) -> Vec<u8> {
    frame(DATA, 0, stream, bytes)
}

/// Whether `received` holds the head of an answer to `stream`.
pub(super) fn is_answered(received: &[u8], stream: u32) -> bool {
    let mut rest = received;
    while rest.len() >= 9 {
        let length = u32::from_be_bytes([0, rest[0], rest[1], rest[2]]) as usize;
        let of = u32::from_be_bytes([rest[5], rest[6], rest[7], rest[8]]);
        if rest[3] == HEADERS && of == stream {
            return true;
        }
        rest = rest.get(9 + length..).unwrap_or_default();
    }
    false
}

/// Literal fields without indexing (RFC 7541, section 6.2.2), all shorter than a 7-bit length.
fn block(method: &str, path: &str, key: &str) -> Vec<u8> {
    let fields = [
        (":method", method),
        (":scheme", "http"),
        (":path", path),
        (":authority", "test"),
        ("x-api-key", key),
        ("idempotency-key", "h2"),
        ("content-type", "application/json"),
    ];
    let mut out = Vec::new();
    for (name, value) in fields {
        out.push(0);
        for text in [name, value] {
            out.push(
                u8::try_from(text.len())
                    .ok()
                    .filter(|length| *length < 127)
                    .unwrap(),
            );
            out.extend_from_slice(text.as_bytes());
        }
    }
    out
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}
