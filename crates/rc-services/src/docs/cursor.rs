//! Cursors: an opaque place in one result of one tenant.
//!
//! A cursor opens nothing: it only says where the caller's own result goes on. Its tag ties it to the
//! tenant and the search, so that one that was altered or moved is refused instead of giving a wrong page.

use data_encoding::BASE64URL_NOPAD;
use rc_model::{TenantId, Timestamp};

use super::model::Place;

/// First byte of a cursor: the format's number.
const FORMAT: u8 = 1;

const TAG_BYTES: usize = 16;

/// Format, score, row, tag.
const CURSOR_BYTES: usize = 1 + 8 + 8 + TAG_BYTES;

/// What a result depends on; equal for every page of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scope<'s> {
    pub(super) tenant: &'s TenantId,
    pub(super) query: &'s str,
    pub(super) filters: &'s [(String, String)],
    pub(super) since: Option<Timestamp>,
    pub(super) until: Option<Timestamp>,
}

/// The cursor of the page that follows `last`.
pub(super) fn encode(scope: Scope<'_>, last: Place) -> String {
    let mut bytes = Vec::with_capacity(CURSOR_BYTES);
    bytes.push(FORMAT);
    bytes.extend_from_slice(&last.score.to_bits().to_be_bytes());
    bytes.extend_from_slice(&last.row.to_be_bytes());
    let tag = tag(scope, &bytes);
    bytes.extend_from_slice(&tag);
    BASE64URL_NOPAD.encode(&bytes)
}

/// Reads a cursor of this very search; `None` for anything else.
pub(super) fn decode(scope: Scope<'_>, cursor: &str) -> Option<Place> {
    let bytes = BASE64URL_NOPAD.decode(cursor.as_bytes()).ok()?;
    if bytes.len() != CURSOR_BYTES || bytes[0] != FORMAT {
        return None;
    }
    let (body, sent) = bytes.split_at(CURSOR_BYTES - TAG_BYTES);
    if tag(scope, body) != sent {
        return None;
    }
    let place = Place {
        score: f64::from_bits(u64::from_be_bytes(body[1..9].try_into().ok()?)),
        row: i64::from_be_bytes(body[9..17].try_into().ok()?),
    };
    place.score.is_finite().then_some(place)
}

fn tag(scope: Scope<'_>, body: &[u8]) -> [u8; TAG_BYTES] {
    let mut hasher = blake3::Hasher::new_derive_key("royalcrown 2026 docs-api cursor");
    let mut feed = |bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    feed(scope.tenant.as_str().as_bytes());
    feed(scope.query.as_bytes());
    for (name, value) in scope.filters {
        feed(name.as_bytes());
        feed(value.as_bytes());
    }
    for time in [scope.since, scope.until] {
        feed(&time.map_or(Vec::new(), |time| time.unix_ms().to_be_bytes().to_vec()));
    }
    feed(body);
    let mut tag = [0; TAG_BYTES];
    tag.copy_from_slice(&hasher.finalize().as_bytes()[..TAG_BYTES]);
    tag
}
