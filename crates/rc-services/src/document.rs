//! The document: what tenants send, what events carry, what readers get back.
//!
//! One model for both sides: ingest checks it strictly and gives it an identity, docs-api reads it back
//! from events. It knows nothing of HTTP and nothing of stores.

use std::collections::BTreeMap;

use rc_events::schema::{Registry, Schema, Subject};
use rc_model::{TenantId, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The topic of document events.
pub const TOPIC: &str = "docs";

/// Event type: a document was written; the payload is the whole [`Document`].
pub const PUT: &str = "doc.put.v1";

/// Event type: a document was deleted; the payload is `{"id": ...}`.
pub const DELETED: &str = "doc.deleted.v1";

/// Version of both payload shapes.
pub const SCHEMA: u16 = 1;

/// The schemas of both payloads: file names and texts.
pub const SCHEMAS: [(&str, &str); 2] = [
    (
        "doc.deleted.v1.json",
        include_str!("../../../schemas/doc.deleted.v1.json"),
    ),
    (
        "doc.put.v1.json",
        include_str!("../../../schemas/doc.put.v1.json"),
    ),
];

/// Longest title in bytes of UTF-8.
pub const TITLE_BYTES_MAX: usize = 4 << 10;

/// Longest text in bytes of UTF-8. Larger sources are split by section before they are sent.
pub const TEXT_BYTES_MAX: usize = 256 << 10;

/// Most attributes of one document.
pub const ATTRS_MAX: usize = 32;

/// Longest attribute name in bytes of UTF-8.
pub const ATTR_NAME_BYTES_MAX: usize = 128;

/// Longest attribute value in bytes of UTF-8.
pub const ATTR_VALUE_BYTES_MAX: usize = 4 << 10;

/// Largest canonical form in bytes: what one event carries. Only text full of control characters, each six
/// bytes of JSON, comes here before it comes to its own limit.
pub const PAYLOAD_BYTES_MAX: usize = 1 << 20;

/// The members of a document, in the order in which they are written.
pub const MEMBERS: [&str; 5] = ["id", "title", "text", "attrs", "time"];

/// [`SCHEMAS`], compiled.
#[must_use]
pub fn schemas() -> Registry {
    let parse = |(file, text)| Schema::parse(file, text).expect("a test reads our schemas");
    Registry::new(SCHEMAS.map(parse))
}

/// What a project's own schema demands of documents beyond ours, if anything.
#[must_use]
pub fn stricter(schemas: &Registry) -> Option<Schema> {
    let subject = Subject::of_file("doc.put.v1.json")?;
    let (theirs, ours) = (schemas.get(&subject)?, self::schemas());
    let same = ours
        .get(&subject)
        .is_some_and(|ours| ours.json() == theirs.json());
    (!same).then(|| theirs.clone())
}

/// What tells two contents apart: the first half of a BLAKE3 hash.
pub type Fingerprint = [u8; 16];

/// One document of a tenant, in its canonical form: members in a fixed order, attributes sorted by name,
/// time in UTC with milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Document {
    /// The document's id within the tenant.
    #[schemars(length(min = 1, max = 200))]
    pub id: String,
    /// A short name, searched with more weight than the text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub title: Option<String>,
    /// The text that is searched and shown.
    #[schemars(length(max = 262_144))]
    pub text: String,
    /// Names and values for filters, such as `package: coreutils`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    pub attrs: BTreeMap<String, String>,
    /// The document's own time (RFC 3339), not the time of its arrival.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<Timestamp>,
}

impl Document {
    /// The document as an event carries it: the same bytes as serde would write.
    #[must_use]
    pub fn to_payload(&self) -> Vec<u8> {
        let mut out = String::with_capacity(self.text.len() + self.text.len() / 8 + 256);
        out.push_str("{\"id\":");
        push_string(&mut out, &self.id);
        if let Some(title) = &self.title {
            out.push_str(",\"title\":");
            push_string(&mut out, title);
        }
        out.push_str(",\"text\":");
        push_string(&mut out, &self.text);
        for (index, (name, value)) in self.attrs.iter().enumerate() {
            out.push_str(if index == 0 { ",\"attrs\":{" } else { "," });
            push_string(&mut out, name);
            out.push(':');
            push_string(&mut out, value);
        }
        if !self.attrs.is_empty() {
            out.push('}');
        }
        if let Some(time) = self.time {
            out.push_str(",\"time\":\"");
            out.push_str(&time.to_string());
            out.push('"');
        }
        out.push('}');
        out.into_bytes()
    }

    /// The hash of everything but the id: equal for equal content, however it was written down.
    #[must_use]
    pub fn content_hash(&self) -> ContentHash {
        // Lengths before bytes, so that no two different contents feed the same bytes to the hash.
        let mut hasher = blake3::Hasher::new_derive_key("royalcrown 2026 document content");
        feed_option(&mut hasher, self.title.as_deref());
        feed(&mut hasher, &self.text);
        hasher.update(&(self.attrs.len() as u64).to_le_bytes());
        for (name, value) in &self.attrs {
            feed(&mut hasher, name);
            feed(&mut hasher, value);
        }
        match self.time {
            None => hasher.update(&[0]),
            Some(time) => hasher.update(&[1]).update(&time.unix_ms().to_le_bytes()),
        };
        ContentHash(*hasher.finalize().as_bytes())
    }
}

/// The BLAKE3 hash of a document's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContentHash([u8; 32]);

impl ContentHash {
    /// The part that events and the write model keep.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        first_half(&self.0)
    }

    /// The id of a document that came without one: equal content of one tenant gets an equal id, so
    /// sending it again is a duplicate. The tenant is part of it: ids say nothing about other tenants.
    #[must_use]
    pub fn derived_id(&self, tenant: &TenantId) -> String {
        let mut hasher = blake3::Hasher::new_derive_key("royalcrown 2026 document id");
        feed(&mut hasher, tenant.as_str());
        hasher.update(&self.0);
        let id = first_half(hasher.finalize().as_bytes());
        format!("d-{}", data_encoding::HEXLOWER.encode(&id))
    }
}

/// The fingerprint of a tombstone: a value that no content has.
pub const DELETED_FINGERPRINT: Fingerprint = [0; 16];

/// The payload of [`DELETED`].
#[must_use]
pub fn deleted_payload(id: &str) -> Vec<u8> {
    serde_json::to_vec(&serde_json::json!({ "id": id })).expect("a string always serialises")
}

/// Why a text cannot be a document's id.
///
/// Beyond the grammar of [`rc_model::DocId`], an id with a segment `.` or `..` is refused, as the gateway
/// refuses it in a path ([`rc_model::id::has_dot_segment`]): the document could never be read.
///
/// # Errors
/// What is wrong.
pub fn check_id(id: &str) -> Result<(), String> {
    // First the length: what is wrong is quoted.
    rc_model::id::check_doc_id(id).map_err(|error| error.to_string())?;
    if rc_model::id::has_dot_segment(id) {
        return Err(format!(
            "`{id}` has a segment `.` or `..` and cannot be addressed by a URL"
        ));
    }
    Ok(())
}

/// Appends `text` as a JSON string.
///
/// A `Value` prints itself by code that is compiled, optimised, inside serde_json; `to_writer` would be
/// instantiated here, and in the dev profile that costs 9 times as much: 67 us for 2 KB instead of 7.
fn push_string(out: &mut String, text: &str) {
    use std::fmt::Write as _;
    write!(out, "{}", serde_json::Value::String(text.to_owned())).expect("writing to a String cannot fail");
}

fn first_half(hash: &[u8; 32]) -> [u8; 16] {
    let mut half = [0; 16];
    half.copy_from_slice(&hash[..16]);
    half
}

fn feed(hasher: &mut blake3::Hasher, text: &str) {
    hasher.update(&(text.len() as u64).to_le_bytes());
    hasher.update(text.as_bytes());
}

fn feed_option(hasher: &mut blake3::Hasher, text: Option<&str>) {
    match text {
        None => {
            hasher.update(&[0]);
        }
        Some(text) => {
            hasher.update(&[1]);
            feed(hasher, text);
        }
    }
}

#[cfg(test)]
mod tests;
