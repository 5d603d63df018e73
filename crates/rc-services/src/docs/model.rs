//! What the read model takes in and gives back, whatever the store.

use std::collections::BTreeMap;

use rc_events::{Error, Event};
use rc_model::{TenantId, Timestamp};

use crate::document::{DELETED, Document, Fingerprint, PUT, SCHEMA, TOPIC};
use crate::text::Query;

/// A document as readers get it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The document as it was sent.
    pub document: Document,
    /// Number of its last event; grows by one with every write or delete of this id.
    pub version: u64,
    /// When the last event happened.
    pub updated_at: Timestamp,
    /// What its entity tag is made of.
    pub fingerprint: Fingerprint,
}

/// A search, checked and parsed.
#[derive(Debug, Clone, PartialEq)]
pub struct Search {
    pub query: Query,
    /// Hits on one page.
    pub limit: usize,
    /// The last hit of the page before.
    pub after: Option<Place>,
    /// Attributes that a hit must have, by name and value.
    pub filters: Vec<(String, String)>,
    /// Documents of this time or later.
    pub since: Option<Timestamp>,
    /// Documents before this time.
    pub until: Option<Timestamp>,
}

/// A hit's place in the order of a result: by score, best first, then by row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Place {
    /// Larger is better; comparable within one result only.
    pub score: f64,
    /// The row's number, which breaks ties.
    pub row: i64,
}

impl Place {
    /// Whether this place comes after `other` in the result.
    #[must_use]
    pub fn is_after(self, other: Self) -> bool {
        self.score < other.score || (self.score == other.score && self.row > other.row)
    }
}

/// One page of a result.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    pub hits: Vec<Hit>,
    /// How many documents match in all.
    pub total: u64,
    /// Whether another page follows.
    pub more: bool,
}

/// A document that was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Hit {
    pub place: Place,
    pub stored: Stored,
}

/// A batch cut down to what has to be written: per document its last change only, sorted by tenant and id.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) puts: Vec<Put>,
    pub(super) deletes: Vec<(TenantId, String)>,
}

/// One document as it is after a batch.
#[derive(Debug)]
pub(super) struct Put {
    pub(super) tenant: TenantId,
    pub(super) stored: Stored,
}

/// What events that were admitted, in order, come to.
///
/// # Errors
/// [`Error::Invalid`] for a document event that this binary cannot read: applying the next ones would
/// lose it.
pub(super) fn plan(events: &[&Event]) -> Result<Plan, Error> {
    let mut last: BTreeMap<(&TenantId, &str), &Event> = BTreeMap::new();
    for event in events.iter().filter(|event| event.topic == TOPIC) {
        last.insert((&event.tenant, &event.key), event);
    }
    let mut plan = Plan::default();
    for event in last.into_values() {
        match (&*event.event_type, event.schema) {
            (PUT, SCHEMA) => {
                let document = serde_json::from_slice(&event.payload)
                    .map_err(|error| unreadable(event, &error.to_string()))?;
                plan.puts.push(Put {
                    tenant: event.tenant.clone(),
                    stored: Stored {
                        document,
                        version: event.kseq,
                        updated_at: event.time,
                        fingerprint: event.fingerprint,
                    },
                });
            }
            (DELETED, SCHEMA) => plan.deletes.push((event.tenant.clone(), event.key.clone())),
            _ => return Err(unreadable(event, "this binary does not know its type")),
        }
    }
    Ok(plan)
}

fn unreadable(event: &Event, why: &str) -> Error {
    let what = format!(
        "event {} (`{}`, schema {}) cannot be read: {why}",
        event.pos, event.event_type, event.schema
    );
    Error::Invalid(what.into())
}
