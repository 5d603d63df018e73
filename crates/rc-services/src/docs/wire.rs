//! The shapes of docs-api's answers, as `apis/docs-api.yaml` describes them.

use std::collections::BTreeMap;

use bytes::Bytes;
use rc_model::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::cursor::{self, Scope};
use super::model::{Page, Search, Stored};
use super::store::TOTAL_EXACT_MAX;
use crate::text::snippet;

/// A document as `GET /docs/{id}` gives it.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Document")]
pub(super) struct DocumentAnswer<'d> {
    /// The document's id within the tenant.
    pub(super) id: &'d str,
    /// A short name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) title: Option<&'d str>,
    /// The text, as it was sent.
    pub(super) text: &'d str,
    /// Names and values for filters.
    pub(super) attrs: &'d BTreeMap<String, String>,
    /// The document's own time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) time: Option<Timestamp>,
    /// Grows by one with every write or delete of this id.
    pub(super) version: u64,
    /// When this version was accepted.
    pub(super) updated_at: Timestamp,
}

impl<'d> DocumentAnswer<'d> {
    pub(super) fn of(stored: &'d Stored) -> Self {
        let document = &stored.document;
        Self {
            id: &document.id,
            title: document.title.as_deref(),
            text: &document.text,
            attrs: &document.attrs,
            time: document.time,
            version: stored.version,
            updated_at: stored.updated_at,
        }
    }
}

/// One page of a search.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "SearchPage")]
pub(super) struct SearchAnswer<'p> {
    /// The documents that match, best first.
    pub(super) hits: Vec<HitAnswer<'p>>,
    /// How many documents match in all; exact up to 1,000.
    #[schemars(range(max = 1_000))]
    pub(super) total: u64,
    /// More than `total` documents match.
    pub(super) total_is_lower_bound: bool,
    /// Send it as `cursor` to get the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) next_cursor: Option<String>,
}

/// A document that was found.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Hit")]
pub(super) struct HitAnswer<'p> {
    /// The document's id.
    pub(super) id: &'p str,
    /// Its short name, as it was sent: not escaped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) title: Option<&'p str>,
    /// How well it matches; larger is better, comparable within one result only.
    pub(super) score: f64,
    /// The best passage as HTML: escaped, matches inside `<mark>`.
    pub(super) snippet: String,
    /// The document's version.
    pub(super) version: u64,
    /// The document's own time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) time: Option<Timestamp>,
    /// Names and values for filters.
    pub(super) attrs: &'p BTreeMap<String, String>,
}

/// The body of a page, snippets included: the costly half of a search.
pub(super) fn search_body(scope: Scope<'_>, search: &Search, page: &Page) -> Bytes {
    let hits = page
        .hits
        .iter()
        .map(|hit| {
            let document = &hit.stored.document;
            HitAnswer {
                id: &document.id,
                title: document.title.as_deref(),
                score: hit.place.score,
                snippet: snippet(&document.text, &search.query),
                version: hit.stored.version,
                time: document.time,
                attrs: &document.attrs,
            }
        })
        .collect();
    let last = page.hits.last().filter(|_| page.more);
    body(&SearchAnswer {
        hits,
        total: page.total.min(TOTAL_EXACT_MAX),
        total_is_lower_bound: page.total > TOTAL_EXACT_MAX,
        next_cursor: last.map(|hit| cursor::encode(scope, hit.place)),
    })
}

/// A value as a response body.
pub(super) fn body(value: &impl Serialize) -> Bytes {
    serde_json::to_vec(value)
        .expect("our answers have only string keys and finite numbers")
        .into()
}

/// The body of `POST /-/indexed`: a call of the platform itself.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WaitRequest {
    /// Whose documents.
    pub(super) tenant: rc_model::TenantId,
    /// Ids and the versions that must be searchable.
    pub(super) docs: Vec<(String, u64)>,
    /// How long to wait.
    pub(super) timeout_ms: u64,
}

/// The answer to it.
#[derive(Debug, Serialize)]
pub(super) struct WaitAnswer {
    /// Whether all of them were searchable in time.
    pub(super) indexed: bool,
}

/// The body of `POST /-/sizes`: a call of the platform itself.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SizesWanted {
    pub(crate) tenant: rc_model::TenantId,
    pub(crate) ids: Vec<String>,
}

/// The answer to it: id, version and bytes of each document that is there.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Sizes {
    pub(crate) sizes: Vec<(String, u64, u64)>,
}
