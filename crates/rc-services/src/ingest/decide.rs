//! From a request and what is known of its documents to what becomes of each item: pure, so both stores
//! share it and a test can be a loop over seeds.
//!
//! A document's version counts its events, from 1, without gaps. Content that equals the current version
//! is a duplicate and makes no event. Items of one request are applied in order.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use rc_model::{TenantId, Timestamp, TraceContext};
use uuid::Uuid;

use super::answer::{ItemAnswer, Status};
use super::body::Item;
use super::storage::Quota;
use crate::document::{self, Fingerprint};

/// Which operation a request is: with the tenant, the scope of its idempotency key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Route {
    One,
    Batch,
    Delete,
}

impl Route {
    /// Method and route, as they are stored.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::One => "POST /ingest",
            Self::Batch => "POST /ingest/batch",
            Self::Delete => "DELETE /docs/{id}",
        }
    }
}

/// What a request wants.
#[derive(Debug, Clone)]
pub(crate) enum Work {
    Put(Vec<Item>),
    Delete(String),
}

/// A request that is ready for the store.
#[derive(Debug, Clone)]
pub(crate) struct Write {
    pub(crate) tenant: TenantId,
    pub(crate) route: Route,
    /// Absent only on deletes.
    pub(crate) key: Option<String>,
    /// What the same key must come with again.
    pub(crate) request_hash: [u8; 32],
    pub(crate) work: Work,
    /// What the tenant may store in all.
    pub(crate) quota: Option<Quota>,
    /// Whether the answer lists accepted items too.
    pub(crate) full: bool,
    /// Names the request in its answer and its status resource.
    pub(crate) batch: Uuid,
    pub(crate) at: Timestamp,
    pub(crate) trace: TraceContext,
}

impl Write {
    /// The documents that the request touches, each once, sorted.
    pub(crate) fn ids(&self) -> Vec<&str> {
        let mut ids: Vec<&str> = match &self.work {
            Work::Put(items) => items.iter().flatten().map(|put| put.id.as_str()).collect(),
            Work::Delete(id) => vec![id],
        };
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// Bytes of payload, for the size of a group.
    pub(crate) fn bytes(&self) -> usize {
        match &self.work {
            Work::Put(items) => items.iter().flatten().map(|put| put.payload.len()).sum(),
            Work::Delete(id) => id.len(),
        }
    }
}

/// The write model of one document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Current {
    pub(crate) version: u64,
    pub(crate) fingerprint: Fingerprint,
    pub(crate) deleted: bool,
    /// Bytes of its JSON: what it counts in the tenant's storage.
    pub(crate) bytes: u64,
}

/// One event to append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Effect {
    pub(crate) id: String,
    pub(crate) version: u64,
    pub(crate) event_type: &'static str,
    pub(crate) fingerprint: Fingerprint,
    pub(crate) payload: Bytes,
}

/// What a request does.
#[derive(Debug, Default)]
pub(crate) struct Decision {
    pub(crate) items: Vec<ItemAnswer>,
    pub(crate) effects: Vec<Effect>,
    /// Documents whose row changes, with their last state; sorted by id, so that rows are locked and pages
    /// are touched in order.
    pub(crate) changed: Vec<(String, Current)>,
    /// What a reader must see to have read this write: each id with its version.
    pub(crate) docs: Vec<(String, u64)>,
    /// Bytes that the tenant has more afterwards.
    pub(crate) growth: i64,
    /// They are more than a quota in shadow mode allows.
    pub(crate) beyond_quota: bool,
}

/// Decides about `write`. `known` holds the current state of every document in [`Write::ids`] that exists,
/// and takes the new states, so that the next request of the same transaction sees them.
///
/// `None` when a document to delete does not exist.
pub(crate) fn decide(write: &Write, known: &mut HashMap<Arc<str>, Current>) -> Option<Decision> {
    let mut decision = Decision::default();
    match &write.work {
        Work::Delete(id) => {
            let current = known.get(id.as_str()).filter(|current| !current.deleted)?;
            let next = Current {
                version: current.version + 1,
                fingerprint: document::DELETED_FINGERPRINT,
                deleted: true,
                bytes: 0,
            };
            decision.growth -= signed(current.bytes);
            let payload = Bytes::from(document::deleted_payload(id));
            decision.accept(0, id, next, document::DELETED, payload);
            known.insert(Arc::from(id.as_str()), next);
        }
        Work::Put(items) => {
            for (index, item) in items.iter().enumerate() {
                let put = match item {
                    Ok(put) => put,
                    Err(fault) => {
                        decision.items.push(ItemAnswer::rejected(index, fault));
                        continue;
                    }
                };
                let current = known.get(put.id.as_str()).copied();
                let same = current.filter(|c| !c.deleted && c.fingerprint == put.fingerprint);
                if let Some(current) = same {
                    let answer = ItemAnswer::stored(index, Status::Duplicate, &put.id, current.version);
                    decision.items.push(answer);
                    decision.docs.push((put.id.clone(), current.version));
                    continue;
                }
                let next = Current {
                    version: current.map_or(0, |c| c.version) + 1,
                    fingerprint: put.fingerprint,
                    deleted: false,
                    bytes: put.payload.len() as u64,
                };
                decision.growth += signed(next.bytes) - signed(current.map_or(0, |c| c.bytes));
                decision.accept(index, &put.id, next, document::PUT, put.payload.clone());
                known.insert(Arc::from(put.id.as_str()), next);
            }
        }
    }
    decision.settle();
    Some(decision)
}

/// A document has at most a mebibyte.
fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

impl Decision {
    fn accept(&mut self, index: usize, id: &str, next: Current, event_type: &'static str, payload: Bytes) {
        self.items
            .push(ItemAnswer::stored(index, Status::Accepted, id, next.version));
        self.docs.push((id.to_owned(), next.version));
        self.changed.push((id.to_owned(), next));
        self.effects.push(Effect {
            id: id.to_owned(),
            version: next.version,
            event_type,
            fingerprint: next.fingerprint,
            payload,
        });
    }

    /// Keeps the last state of each document.
    fn settle(&mut self) {
        self.changed
            .sort_by(|a, b| (&a.0, a.1.version).cmp(&(&b.0, b.1.version)));
        self.changed.reverse();
        self.changed.dedup_by(|later, earlier| later.0 == earlier.0);
        self.changed.reverse();
        self.docs.sort();
        self.docs.reverse();
        self.docs.dedup_by(|later, earlier| later.0 == earlier.0);
        self.docs.reverse();
    }
}

#[cfg(test)]
mod tests;
