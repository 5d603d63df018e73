//! The head of an HTTP/1 request: from bytes that [`crate::wire::head_end`] has cut out to a [`Head`], or a refusal.

use httparse::Header;

use crate::answer::{HEAD_TOO_LARGE, MALFORMED_HEAD, Refusal, TARGET_TOO_LONG, VERSION_UNSUPPORTED};
use crate::config::ConnectionLimits;
use crate::request::{FIELDS_MAX, Head, Protocol};

/// Reads a whole head. Its fields stay where they are in `bytes`.
///
/// # Errors
/// The refusal that the client gets; after it the connection ends.
pub(super) fn read<'a>(
    limits: &ConnectionLimits,
    bytes: &'a [u8],
    fields: &'a mut [Header<'a>; FIELDS_MAX],
) -> Result<Head<'a>, Refusal> {
    let mut request = httparse::Request::new(fields);
    let malformed = |detail| Refusal::because(&MALFORMED_HEAD, detail);
    match request.parse(bytes) {
        Ok(httparse::Status::Complete(used)) if used == bytes.len() => {}
        Ok(_) => return Err(malformed("the head ends early")),
        Err(httparse::Error::TooManyHeaders) => {
            return Err(Refusal::because(&HEAD_TOO_LARGE, "too many header fields"));
        }
        Err(httparse::Error::Version) if names_a_version(bytes) => {
            return Err(Refusal::new(&VERSION_UNSUPPORTED));
        }
        Err(httparse::Error::HeaderName) => {
            return Err(malformed("a header name holds a character that is not allowed"));
        }
        Err(httparse::Error::HeaderValue) => {
            return Err(malformed("a header value holds a character that is not allowed"));
        }
        Err(_) => return Err(malformed("the request line is malformed")),
    }
    let (Some(method), Some(target), Some(version)) = (request.method, request.path, request.version) else {
        return Err(malformed("the request line is malformed"));
    };
    let fields = request.headers;
    if fields.len() > limits.headers_max {
        return Err(Refusal::because(&HEAD_TOO_LARGE, "too many header fields"));
    }
    if fields
        .iter()
        .any(|field| field.name.len() + field.value.len() > limits.field_bytes_max)
    {
        return Err(Refusal::because(&HEAD_TOO_LARGE, "a header field is too large"));
    }
    if target.len() > limits.target_bytes_max {
        return Err(Refusal::new(&TARGET_TOO_LONG));
    }
    Ok(Head {
        method,
        target,
        authority: None,
        protocol: if version == 0 {
            Protocol::Http10
        } else {
            Protocol::Http11
        },
        streams: false,
        fields,
    })
}

/// Whether a request line is whole but for a version that the gateway does not speak.
fn names_a_version(bytes: &[u8]) -> bool {
    let line = bytes.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let mut words = line.split(|byte| *byte == b' ').skip(2);
    words.next().is_some_and(|version| version.starts_with(b"HTTP/")) && words.next().is_none()
}

#[cfg(test)]
mod tests;
