//! What a client is told about its request: the answer to the write, and the batch's status later.

use bytes::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::fault::Fault;

/// What became of one item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Durably stored as a new version.
    Accepted,
    /// Equal to the current version; nothing was stored.
    Duplicate,
    /// Not stored.
    Rejected,
}

/// One item's result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ItemAnswer {
    /// The item's place in the request, from 0; blank lines do not count.
    pub index: usize,
    /// What became of it.
    pub status: Status,
    /// The document's id; given or derived from the content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The document's version after this item.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// Why it was rejected; `rc explain CODE` says more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// A JSON Pointer (RFC 6901) to the fault, with the item's index in front.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    /// What was found there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Whether sending the same item again can help.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retryable: Option<bool>,
}

impl ItemAnswer {
    pub(crate) fn stored(index: usize, status: Status, id: &str, version: u64) -> Self {
        Self {
            index,
            status,
            id: Some(id.to_owned()),
            version: Some(version),
            code: None,
            pointer: None,
            detail: None,
            retryable: None,
        }
    }

    pub(crate) fn rejected(index: usize, fault: &Fault) -> Self {
        Self {
            index,
            status: Status::Rejected,
            id: None,
            version: None,
            code: Some(fault.kind.code.to_owned()),
            pointer: Some(fault.pointer.clone()),
            detail: Some(fault.detail.clone()),
            // Everything that an item is rejected for is in the item itself.
            retryable: Some(false),
        }
    }
}

/// The answer to a write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct IngestAnswer {
    /// Names the request; its status is at `/ingest/batches/{batch}`.
    pub batch: String,
    /// Items that were stored.
    pub accepted: usize,
    /// Items that were equal to what is stored.
    pub duplicates: usize,
    /// Items that were not stored.
    pub rejected: usize,
    /// Items that were not accepted; all items with `?detail=full`, and on requests for one document.
    pub items: Vec<ItemAnswer>,
    /// With `?wait=indexed`: whether the documents can be read and found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub indexed: Option<bool>,
}

impl IngestAnswer {
    /// The answer for `items`, listing the accepted ones only when it is `full`.
    pub(crate) fn new(batch: Uuid, items: Vec<ItemAnswer>, full: bool) -> Self {
        let count = |status| items.iter().filter(|item| item.status == status).count();
        Self {
            batch: batch.to_string(),
            accepted: count(Status::Accepted),
            duplicates: count(Status::Duplicate),
            rejected: count(Status::Rejected),
            items: items
                .into_iter()
                .filter(|item| full || item.status != Status::Accepted)
                .collect(),
            indexed: None,
        }
    }

    pub(crate) fn to_bytes(&self) -> Bytes {
        Bytes::from(serde_json::to_vec(self).expect("strings and numbers always serialise"))
    }
}

/// A stored answer with its last member, `indexed`, added; the stored bytes stay in front of it.
pub(crate) fn with_indexed(stored: &[u8], indexed: bool) -> Bytes {
    let head = stored.strip_suffix(b"}").unwrap_or(stored);
    let tail = format!(",\"indexed\":{indexed}}}");
    Bytes::from([head, tail.as_bytes()].concat())
}

/// How far a batch has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Progress {
    /// Durable in the write store.
    Stored,
    /// On the bus.
    Relayed,
    /// Readable and searchable.
    Indexed,
}

/// A batch's status.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BatchStatus {
    /// The batch.
    pub batch: String,
    /// How far it has come.
    pub state: Progress,
    /// When it was accepted (RFC 3339).
    pub received_at: rc_model::Timestamp,
    /// Items that were stored.
    pub accepted: usize,
    /// Items that were equal to what is stored.
    pub duplicates: usize,
    /// Items that were not stored.
    pub rejected: usize,
    /// The items as the answer to the write listed them.
    pub items: Vec<ItemAnswer>,
}

#[cfg(test)]
mod tests;
