//! Conditional reads (RFC 9110, section 13): does the caller have this representation already?

use http::{HeaderMap, HeaderValue, header};
use rc_model::Timestamp;
use time::OffsetDateTime;
use time::format_description::FormatItem;
use time::macros::format_description;

/// `Sun, 06 Nov 1994 08:49:37 GMT`, the only form that is sent (RFC 9110, section 5.6.7).
const IMF_FIXDATE: &[FormatItem<'_>] =
    format_description!("[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT");

/// Whether the caller's copy is current: the answer is then 304 without a body.
pub(super) fn is_current(headers: &HeaderMap, etag: &HeaderValue, modified: Option<Timestamp>) -> bool {
    let mut tags = headers.get_all(header::IF_NONE_MATCH).iter().peekable();
    if tags.peek().is_some() {
        // If-Modified-Since counts only where there is no If-None-Match.
        return tags.any(|list| matches_any(list.as_bytes(), etag.as_bytes()));
    }
    let since = headers
        .get(header::IF_MODIFIED_SINCE)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| time::PrimitiveDateTime::parse(text, IMF_FIXDATE).ok());
    match (since, modified) {
        // The header has whole seconds.
        (Some(since), Some(modified)) => {
            modified.unix_ms().div_euclid(1000) <= since.assume_utc().unix_timestamp()
        }
        _ => false,
    }
}

/// The weak comparison of one `If-None-Match` field with `etag`. Commas may stand inside tags.
fn matches_any(list: &[u8], etag: &[u8]) -> bool {
    if list.trim_ascii() == b"*" {
        return true;
    }
    let mut rest = skip_commas(list);
    while !rest.is_empty() {
        let tag = rest.strip_prefix(b"W/").unwrap_or(rest);
        let Some(end) = tag
            .strip_prefix(b"\"")
            .and_then(|inner| inner.iter().position(|byte| *byte == b'"'))
        else {
            return false;
        };
        let (tag, after) = tag.split_at(end + 2);
        if tag == etag {
            return true;
        }
        rest = skip_commas(after);
    }
    false
}

/// Lists may hold empty elements (RFC 9110, section 5.6.1).
fn skip_commas(list: &[u8]) -> &[u8] {
    let start = list.iter().position(|byte| !matches!(byte, b',' | b' ' | b'\t'));
    &list[start.unwrap_or(list.len())..]
}

/// `Last-Modified` of `at`.
pub(super) fn last_modified(at: Timestamp) -> Option<HeaderValue> {
    let at = OffsetDateTime::from_unix_timestamp(at.unix_ms().div_euclid(1000)).ok()?;
    HeaderValue::from_str(&at.format(IMF_FIXDATE).ok()?).ok()
}

#[cfg(test)]
mod tests;
