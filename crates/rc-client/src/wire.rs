//! The API's bodies as they are on the wire.

use std::collections::BTreeMap;

use rc_model::Timestamp;
use serde::{Deserialize, Serialize};

/// A document to be stored.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Document {
    /// Its id within the tenant. Absent: the platform derives one from the content.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub id: Option<String>,
    /// A short name for people.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub title: Option<String>,
    /// What is searched.
    pub text: String,
    /// Names and values to filter by.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub attrs: BTreeMap<String, String>,
    /// When it came into being.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub time: Option<Timestamp>,
}

/// What became of a batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchAnswer {
    /// Names the batch; see [`crate::Client::batch_status`].
    pub batch: String,
    /// Documents that are durably stored.
    pub accepted: u64,
    /// Documents that were there already with the same content.
    pub duplicates: u64,
    /// Documents that were refused.
    pub rejected: u64,
    /// The items that were not accepted; with full detail, all.
    #[serde(default)]
    pub items: Vec<ItemAnswer>,
    /// Whether the documents can be found by now; only when the call waited for it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub indexed: Option<bool>,
}

/// What became of one document of a batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ItemAnswer {
    /// Its place in the batch, from 0.
    pub index: usize,
    /// What became of it.
    pub status: ItemStatus,
    /// Its id.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub id: Option<String>,
    /// Its version.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub version: Option<u64>,
    /// The error code of a refusal.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub code: Option<String>,
    /// Where in the document the fault is (JSON Pointer).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub pointer: Option<String>,
    /// What is wrong.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub detail: Option<String>,
    /// Whether the same document can be accepted later.
    #[serde(default)]
    pub retryable: bool,
}

/// What became of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ItemStatus {
    /// Stored.
    Accepted,
    /// It was there already with the same content.
    Duplicate,
    /// Refused.
    Rejected,
    /// A state that this version of the client does not know.
    #[serde(other)]
    Unknown,
}

/// How far a batch has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchStatus {
    /// The batch's name.
    pub batch: String,
    /// How far it has come.
    pub state: BatchState,
}

/// The stages of a batch, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BatchState {
    /// Durable, and nothing acknowledged is lost from here on.
    Stored,
    /// On the bus.
    Relayed,
    /// Searchable.
    Indexed,
}

/// A stored document.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StoredDocument {
    /// Its id.
    pub id: String,
    /// Its title.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub title: Option<String>,
    /// Its text.
    pub text: String,
    /// Its attributes.
    #[serde(default)]
    pub attrs: BTreeMap<String, String>,
    /// When it came into being.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub time: Option<Timestamp>,
    /// Counts its changes.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub version: Option<u64>,
}

/// A page of search results.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SearchAnswer {
    /// Documents that match in all, where the platform counts them.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub total: Option<u64>,
    /// The best ones first.
    pub hits: Vec<Hit>,
    /// Where the next page starts; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub next_cursor: Option<String>,
}

/// One result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hit {
    /// The document's id.
    pub id: String,
    /// Its title.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub title: Option<String>,
    /// How well it matches; comparable within one answer.
    pub score: f64,
    /// The text around the match: HTML-escaped, matches inside `<mark>`.
    #[serde(default)]
    pub snippet: String,
    /// The document's version.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub version: Option<u64>,
    /// When it came into being.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub time: Option<Timestamp>,
    /// Its attributes.
    #[serde(default)]
    pub attrs: BTreeMap<String, String>,
}
