//! What the request's headers say about its body, and undoing its content encoding within bounds.

use std::io::{self, Read};

use bytes::Bytes;
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};

use super::body::Format;
use super::fault::{self, Fault};
use super::limits;

/// Media types of a batch, for `Accept-Post`.
pub(crate) const BATCH_TYPES: &str =
    "application/json, application/x-ndjson, application/ndjson, application/jsonl";

/// The media type of a single document, for `Accept-Post`.
pub(crate) const ONE_TYPE: &str = "application/json";

/// Content encodings that are understood, for `Accept-Encoding` in a 415.
pub(crate) const ENCODINGS: &str = "gzip, zstd, identity";

/// Largest zstd window: what RFC 9659 allows for content encodings.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// Step in which a body is inflated; limits are checked after each.
const INFLATE_STEP_BYTES: usize = 64 << 10;

/// A content encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    Identity,
    Gzip,
    Zstd,
}

/// Reads `Content-Type` of a single document.
///
/// # Errors
/// When it is not JSON in UTF-8.
pub(crate) fn one_format(headers: &HeaderMap) -> Result<Format, Fault> {
    match &*media_type(headers)? {
        "application/json" => Ok(Format::One),
        "application/x-ndjson" | "application/ndjson" | "application/jsonl" => Err(Fault::body(
            fault::MEDIA_TYPE,
            "lines go to `POST /ingest/batch`; `POST /ingest` takes one document as `application/json`",
        )),
        other => Err(unsupported(other, ONE_TYPE)),
    }
}

/// Reads `Content-Type` of a batch.
///
/// # Errors
/// When it is neither JSON nor lines of JSON, in UTF-8.
pub(crate) fn batch_format(headers: &HeaderMap) -> Result<Format, Fault> {
    match &*media_type(headers)? {
        "application/json" => Ok(Format::Array),
        "application/x-ndjson" | "application/ndjson" | "application/jsonl" => Ok(Format::Lines),
        other => Err(unsupported(other, BATCH_TYPES)),
    }
}

fn unsupported(found: &str, accepted: &str) -> Fault {
    let detail = format!("`{found}` is not supported; send {accepted}");
    Fault::body(fault::MEDIA_TYPE, detail)
}

/// The media type in lower case, after its `charset` was found to be UTF-8 or absent.
fn media_type(headers: &HeaderMap) -> Result<String, Fault> {
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    let (value, more) = (values.next(), values.next());
    let refuse = |detail: &str| Err(Fault::body(fault::MEDIA_TYPE, detail));
    let Some(value) = value else {
        return refuse("`Content-Type` is missing");
    };
    if more.is_some() {
        return refuse("`Content-Type` is given twice");
    }
    let Ok(value) = value.to_str() else {
        return refuse("`Content-Type` is not ASCII");
    };
    let mut parts = value.split(';');
    let essence = parts.next().unwrap_or_default().trim().to_ascii_lowercase();
    for parameter in parts {
        let Some((name, value)) = parameter.split_once('=') else {
            continue;
        };
        let value = value.trim().trim_matches('"');
        let is_charset = name.trim().eq_ignore_ascii_case("charset");
        if is_charset && !value.eq_ignore_ascii_case("utf-8") && !value.eq_ignore_ascii_case("utf8") {
            let detail = format!("charset `{value}` is not supported; send UTF-8");
            return Err(Fault::body(fault::MEDIA_TYPE, detail));
        }
    }
    Ok(essence)
}

/// Reads `Content-Encoding`.
///
/// # Errors
/// When it names an unknown encoding or more than one.
pub(crate) fn encoding(headers: &HeaderMap) -> Result<Encoding, Fault> {
    let refuse = |found: &str| {
        let detail = format!("`{found}` is not supported; send one of {ENCODINGS}");
        Err(Fault::body(fault::CONTENT_ENCODING, detail))
    };
    let mut found = Encoding::Identity;
    for (index, value) in headers.get_all(CONTENT_ENCODING).iter().enumerate() {
        let text = String::from_utf8_lossy(value.as_bytes());
        found = match text.trim().to_ascii_lowercase().as_str() {
            _ if index > 0 => return refuse("more than one encoding"),
            "" | "identity" => Encoding::Identity,
            "gzip" | "x-gzip" => Encoding::Gzip,
            "zstd" => Encoding::Zstd,
            other => return refuse(other),
        };
    }
    Ok(found)
}

/// Undoes `encoding`. Before memory is taken, `grow` is told all of it: `body` and what it has become.
/// A decoder's window is not in it; it is at most 8 MiB for each body that is inflated at the time.
///
/// # Errors
/// When `grow` refuses, when the data is broken, or when it grows beyond [`limits::INFLATED_BYTES_MAX`] or
/// [`limits::INFLATE_RATIO_MAX`]; never more than one step beyond either is held in memory.
pub(crate) fn inflate<E: From<Fault>>(
    encoding: Encoding,
    body: Bytes,
    grow: impl FnMut(usize) -> Result<(), E>,
) -> Result<Bytes, E> {
    if body.is_empty() {
        return Ok(body);
    }
    match encoding {
        Encoding::Identity => Ok(body),
        Encoding::Gzip => drain(flate2::bufread::MultiGzDecoder::new(&*body), body.len(), grow),
        Encoding::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(&*body).map_err(|e| broken(&e))?;
            decoder
                .window_log_max(ZSTD_WINDOW_LOG_MAX)
                .map_err(|e| broken(&e))?;
            drain(decoder, body.len(), grow)
        }
    }
}

fn drain<E: From<Fault>>(
    mut decoder: impl Read,
    wire_bytes: usize,
    mut grow: impl FnMut(usize) -> Result<(), E>,
) -> Result<Bytes, E> {
    let allowed = wire_bytes
        .saturating_mul(limits::INFLATE_RATIO_MAX)
        .max(limits::INFLATE_RATIO_FREE_BYTES);
    let mut out: Vec<u8> = Vec::new();
    loop {
        let start = out.len();
        if out.capacity() < start + INFLATE_STEP_BYTES {
            let whole = (start + start / 2).min(limits::INFLATED_BYTES_MAX) + INFLATE_STEP_BYTES;
            grow(wire_bytes + whole)?;
            out.reserve_exact(whole - start);
        }
        out.resize(start + INFLATE_STEP_BYTES, 0);
        // Both decoders read from memory, so no read is ever interrupted.
        let read = decoder.read(&mut out[start..]).map_err(|error| broken(&error))?;
        out.truncate(start + read);
        if out.len() > limits::INFLATED_BYTES_MAX {
            let max = limits::INFLATED_BYTES_MAX;
            let detail = format!("the body inflates to more than {max} bytes");
            return Err(Fault::body(fault::INFLATES_TOO_MUCH, detail).into());
        }
        if out.len() > allowed {
            let ratio = limits::INFLATE_RATIO_MAX;
            let detail = format!("the body inflates to more than {ratio} times its {wire_bytes} bytes");
            return Err(Fault::body(fault::INFLATES_TOO_MUCH, detail).into());
        }
        if read == 0 {
            out.shrink_to_fit();
            return Ok(Bytes::from(out));
        }
    }
}

fn broken(error: &io::Error) -> Fault {
    Fault::body(
        fault::BAD_ENCODING,
        format!("the body does not follow its `Content-Encoding`: {error}"),
    )
}

#[cfg(test)]
mod tests;
