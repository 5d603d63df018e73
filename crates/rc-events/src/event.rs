//! One event: who, what, in which order, and its CloudEvents 1.0 rendering.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;

use bytes::Bytes;
use data_encoding::BASE64;
use rc_model::{TenantId, Timestamp, TraceContext};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::Error;

/// A place on the bus: 1, 2, 3, ... without gaps; 0 is before the first.
pub type Seq = i64;

/// Largest payload in bytes.
pub const PAYLOAD_BYTES_MAX: usize = 1024 * 1024;

/// Longest topic and longest type in bytes.
pub const NAME_BYTES_MAX: usize = 128;

/// Longest key in bytes; a document id has at most 200.
pub const KEY_BYTES_MAX: usize = 512;

/// Bytes that an event costs beside its payload: columns, record header, index. For sizes, not for
/// limits.
pub(crate) const OVERHEAD_BYTES: usize = 160;

/// What the numbers of a key promise.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Numbering {
    /// 1, 2, 3, ...: a missing number is a missing event, and anybody can tell.
    #[default]
    Consecutive,
    /// Each is higher than the one before: order and repetition show, a missing event does not. Changes
    /// captured from a table have the places of the database's own log as numbers.
    Increasing,
}

impl Numbering {
    /// For a column: 0 or 1.
    pub(crate) fn code(self) -> i16 {
        match self {
            Self::Consecutive => 0,
            Self::Increasing => 1,
        }
    }

    pub(crate) fn of_code(code: i16) -> Option<Self> {
        match code {
            0 => Some(Self::Consecutive),
            1 => Some(Self::Increasing),
            _ => None,
        }
    }
}

/// Whose order an event is part of: all events of one place follow each other.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Whose.
    pub tenant: TenantId,
    /// What about.
    pub topic: Cow<'static, str>,
    /// Which one.
    pub key: String,
}

impl fmt::Display for Place {
    /// `tenant/topic/key`: the CloudEvents `partitionkey`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.tenant, self.topic, self.key)
    }
}

/// An event as a service writes it into its outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEvent {
    /// Unique for ever; version 7, so that it sorts by time.
    pub id: Uuid,
    /// Whose event.
    pub tenant: TenantId,
    /// What it is about: `docs`. Order holds within (tenant, topic, key).
    pub topic: Cow<'static, str>,
    /// The aggregate: a document's id.
    pub key: String,
    /// 1, 2, 3, ... within (tenant, topic, key), taken under the key's lock in the same transaction.
    pub kseq: u64,
    /// What `kseq` promises. An outbox takes consecutive numbers only.
    pub numbering: Numbering,
    /// `doc.put.v1`
    pub event_type: Cow<'static, str>,
    /// Major version of the payload's schema.
    pub schema: u16,
    /// When it happened.
    pub time: Timestamp,
    /// The first 16 bytes of a hash of the content: equal content can be told without reading it.
    pub fingerprint: [u8; 16],
    /// The trace of the request that caused it.
    pub trace: Option<TraceContext>,
    /// JSON.
    pub payload: Bytes,
}

impl NewEvent {
    /// Checks what every outbox demands: the limits, and numbers that are consecutive.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the limit that is broken.
    pub fn check(&self) -> Result<(), Error> {
        let refuse = |what: String| Err(Error::invalid(what));
        if self.payload.len() > PAYLOAD_BYTES_MAX {
            return refuse(format!(
                "the payload has {} bytes; {PAYLOAD_BYTES_MAX} are allowed",
                self.payload.len()
            ));
        }
        for (what, text, max) in [
            ("topic", &*self.topic, NAME_BYTES_MAX),
            ("type", &*self.event_type, NAME_BYTES_MAX),
            ("key", self.key.as_str(), KEY_BYTES_MAX),
        ] {
            if text.is_empty() || text.len() > max {
                return refuse(format!(
                    "the {what} has {} bytes; 1 to {max} are allowed",
                    text.len()
                ));
            }
            // PostgreSQL has no U+0000 in text; both stores must take the same events.
            if text.contains('\0') {
                return refuse(format!("the {what} contains U+0000"));
            }
        }
        if self.kseq == 0 || i64::try_from(self.kseq).is_err() {
            return refuse(format!("the number in the key is {}; it starts at 1", self.kseq));
        }
        if self.numbering != Numbering::Consecutive {
            return refuse("an outbox takes consecutive numbers only".to_owned());
        }
        Ok(())
    }

    /// Whose order it is part of.
    #[must_use]
    pub fn place(&self) -> Place {
        Place {
            tenant: self.tenant.clone(),
            topic: self.topic.clone(),
            key: self.key.clone(),
        }
    }

    /// About how many bytes it takes on disk and in memory.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.payload.len()
            + self.key.len()
            + self.topic.len()
            + self.event_type.len()
            + self.tenant.as_str().len()
            + OVERHEAD_BYTES
    }
}

/// An event on the bus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its place on the bus.
    pub pos: Seq,
    /// What the service wrote.
    pub event: NewEvent,
}

impl Deref for Event {
    type Target = NewEvent;

    fn deref(&self) -> &NewEvent {
        &self.event
    }
}

impl Event {
    /// The event as a CloudEvents 1.0 JSON object (structured mode).
    ///
    /// `source` is a URI reference of the service, such as `/royalcrown/ingest`. Extensions: `tenantid`,
    /// `partitionkey`, `sequence` (`kseq`, padded so that it sorts as text), `traceparent`.
    #[must_use]
    pub fn to_cloudevent(&self, source: &str) -> Value {
        let mut out = Map::new();
        let mut put = |name: &str, value: String| out.insert(name.to_owned(), Value::String(value));
        put("specversion", "1.0".to_owned());
        put("id", self.id.to_string());
        put("source", source.to_owned());
        put("type", self.event_type.clone().into_owned());
        put("subject", self.key.clone());
        put("time", self.time.to_string());
        put("tenantid", self.tenant.to_string());
        put("partitionkey", self.place().to_string());
        put("sequence", format!("{:020}", self.kseq));
        if let Some(trace) = self.trace {
            put("traceparent", trace.to_string());
        }
        match serde_json::from_slice(&self.payload) {
            Ok(data) => {
                put("datacontenttype", "application/json".to_owned());
                out.insert("data".to_owned(), data);
            }
            // A payload that is not JSON still travels unharmed.
            Err(_) => {
                put("datacontenttype", "application/octet-stream".to_owned());
                put("data_base64", BASE64.encode(&self.payload));
            }
        }
        Value::Object(out)
    }
}

#[cfg(test)]
pub(crate) mod tests;
