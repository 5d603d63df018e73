//! From a decoded body to items: each is a document ready to store, or the fault that refuses it.
//!
//! A fault of one item stays with it. A fault of the framing refuses the whole body, because nobody can
//! say where the next item starts: a JSON array with broken syntax is no JSON at all, while a broken line
//! of NDJSON ends at the next line break.

use bytes::Bytes;
use rc_events::schema::{Schema, Violation};
use rc_model::TenantId;

use super::fault::{self, Fault};
use super::frame::{self, Frame};
use super::item::{self, Refused};
use super::limits;
use crate::document::{Document, Fingerprint, PAYLOAD_BYTES_MAX};

/// How a body holds its items.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// One document.
    One,
    /// A JSON array of documents.
    Array,
    /// One document a line.
    Lines,
}

/// A document that passed every check, in the form in which it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Put {
    pub(crate) id: String,
    pub(crate) fingerprint: Fingerprint,
    /// The canonical document as JSON.
    pub(crate) payload: Bytes,
}

/// One item of a body.
pub(crate) type Item = Result<Put, Fault>;

/// Reads `body` as `format`. Items are in the body's order; `tenant` is part of ids that are derived, and `rules` is
/// what a document has to keep beyond what our own schema says, which this reader is the implementation of.
///
/// # Errors
/// When the framing is broken, or when the single document of [`Format::One`] is refused.
pub(crate) fn parse(
    tenant: &TenantId,
    rules: Option<&Schema>,
    format: Format,
    body: &[u8],
) -> Result<Vec<Item>, Fault> {
    refuse_byte_order_mark(body)?;
    match format {
        Format::One => {
            let frame = frame::one(body)?;
            let put = read(tenant, rules, body, &frame)?;
            put.map(|put| vec![Ok(put)])
        }
        Format::Array => {
            let frames = frame::array(body)?;
            let items = frames.iter().enumerate();
            items
                .map(|(index, frame)| {
                    Ok(read(tenant, rules, body, frame)?.map_err(|f| f.in_item(index, None)))
                })
                .collect()
        }
        Format::Lines => {
            let frames = frame::lines(body)?;
            let items = frames.iter().enumerate();
            Ok(items
                .map(|(index, frame)| {
                    let item = read(tenant, rules, frame.bytes, &Frame { offset: 0, ..*frame });
                    item.and_then(|item| item)
                        .map_err(|f| f.in_item(index, frame.line))
                })
                .collect())
        }
    }
}

/// Reads one item. The outer error is broken JSON, with its place in `body`.
fn read(tenant: &TenantId, rules: Option<&Schema>, body: &[u8], frame: &Frame<'_>) -> Result<Item, Fault> {
    // Oversized and deep items are still read for their syntax: it decides about the whole body.
    let parsed = item::parse(frame.bytes);
    if let Err(Refused::Syntax { offset, what }) = &parsed {
        return Err(frame::syntax(body, frame.offset + offset, what));
    }
    if frame.bytes.len() > limits::ITEM_BYTES_MAX {
        return Ok(Err(Fault::item_too_large(frame.bytes.len())));
    }
    if frame.depth > limits::DEPTH_MAX {
        return Ok(Err(Fault::too_deep()));
    }
    Ok(match parsed {
        Err(Refused::Document(fault)) => Err(fault),
        Err(Refused::Syntax { .. }) => unreachable!("returned above"),
        Ok(draft) => prepare(tenant, rules, draft),
    })
}

fn prepare(tenant: &TenantId, rules: Option<&Schema>, draft: item::Draft) -> Item {
    let mut document = Document {
        id: String::new(),
        title: draft.title,
        text: draft.text,
        attrs: draft.attrs,
        time: draft.time,
    };
    let hash = document.content_hash();
    document.id = draft.id.unwrap_or_else(|| hash.derived_id(tenant));
    let payload = Bytes::from(document.to_payload());
    if payload.len() > PAYLOAD_BYTES_MAX {
        let (bytes, max) = (payload.len(), PAYLOAD_BYTES_MAX);
        let detail = format!("the document has {bytes} bytes as canonical JSON, at most {max} are allowed");
        return Err(Fault::body(fault::ITEM_TOO_LARGE, detail));
    }
    if let Some(rules) = rules {
        rules.check(&payload).map_err(against_rules)?;
    }
    Ok(Put {
        fingerprint: hash.fingerprint(),
        payload,
        id: document.id,
    })
}

fn against_rules(violation: Violation) -> Fault {
    match violation {
        Violation::Payload { pointer, what, .. } => Fault::new(fault::RULES, pointer, what),
        other => Fault::body(fault::RULES, other.to_string()),
    }
}

/// A mark says that the sender did not choose its encoding on purpose; what follows may not be UTF-8.
fn refuse_byte_order_mark(body: &[u8]) -> Result<(), Fault> {
    let found = match body {
        [0xEF, 0xBB, 0xBF, ..] => "a UTF-8 byte order mark",
        [0xFE, 0xFF, ..] | [0xFF, 0xFE, ..] => "a UTF-16 byte order mark",
        _ => return Ok(()),
    };
    Err(Fault::body(
        fault::UNICODE,
        format!("the body starts with {found}; send UTF-8 without a mark"),
    ))
}

#[cfg(test)]
mod tests;
