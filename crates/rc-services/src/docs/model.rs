//! What the read model takes in and gives back, whatever the store.

use std::collections::BTreeMap;

use rc_events::error::Poison;
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
    pub(super) deletes: Vec<Delete>,
}

/// One document as it is after a batch.
#[derive(Debug)]
pub(super) struct Put {
    pub(super) tenant: TenantId,
    pub(super) stored: Stored,
}

/// One document that is gone after a batch.
#[derive(Debug)]
pub(super) struct Delete {
    pub(super) tenant: TenantId,
    pub(super) id: String,
    /// Number of the event that deleted it.
    pub(super) version: u64,
}

impl Plan {
    /// All documents in it.
    pub(super) fn documents(&self) -> impl Iterator<Item = (&TenantId, &str)> {
        let puts = self
            .puts
            .iter()
            .map(|put| (&put.tenant, &*put.stored.document.id));
        let deletes = self.deletes.iter().map(|delete| (&delete.tenant, &*delete.id));
        puts.chain(deletes)
    }

    /// Leaves out what is older than the newest version of its document: a replay repairs, and takes nothing
    /// back.
    pub(super) fn keep_newest<E>(
        &mut self,
        mut newest: impl FnMut(&TenantId, &str) -> Result<u64, E>,
    ) -> Result<(), E> {
        let mut is_newest = |tenant: &TenantId, id: &str, version: u64| -> Result<bool, E> {
            Ok(version >= newest(tenant, id)?)
        };
        let mut puts = Vec::with_capacity(self.puts.len());
        for put in self.puts.drain(..) {
            if is_newest(&put.tenant, &put.stored.document.id, put.stored.version)? {
                puts.push(put);
            }
        }
        let mut deletes = Vec::with_capacity(self.deletes.len());
        for delete in self.deletes.drain(..) {
            if is_newest(&delete.tenant, &delete.id, delete.version)? {
                deletes.push(delete);
            }
        }
        (self.puts, self.deletes) = (puts, deletes);
        Ok(())
    }
}

/// What events that were admitted, in order, come to.
///
/// # Errors
/// [`Error::Poison`] with all document events that this binary cannot read: they are set aside, and their
/// documents wait for them.
pub(super) fn plan(events: &[&Event]) -> Result<Plan, Error> {
    let mut last: BTreeMap<(&TenantId, &str), (&Event, Change)> = BTreeMap::new();
    let mut poisons = Vec::new();
    for event in events.iter().filter(|event| event.topic == TOPIC) {
        match change(event) {
            Ok(change) => {
                last.insert((&event.tenant, &event.key), (event, change));
            }
            Err(poison) => poisons.push(*poison),
        }
    }
    if !poisons.is_empty() {
        return Err(Error::Poison(poisons.into()));
    }
    let mut plan = Plan::default();
    for (event, change) in last.into_values() {
        let tenant = event.tenant.clone();
        match change {
            Change::Put(document) => plan.puts.push(Put {
                tenant,
                stored: Stored {
                    document,
                    version: event.kseq,
                    updated_at: event.time,
                    fingerprint: event.fingerprint,
                },
            }),
            Change::Deleted => plan.deletes.push(Delete {
                tenant,
                id: event.key.clone(),
                version: event.kseq,
            }),
        }
    }
    Ok(plan)
}

/// What an event does to its document.
enum Change {
    Put(Document),
    Deleted,
}

fn change(event: &Event) -> Result<Change, Box<Poison>> {
    match (&*event.event_type, event.schema) {
        (PUT, SCHEMA) => serde_json::from_slice(&event.payload)
            .map(Change::Put)
            .map_err(|error| Box::new(Poison::of(event, "decode", error.to_string()))),
        (DELETED, SCHEMA) => Ok(Change::Deleted),
        (name, schema) => {
            let why = format!("this binary does not know `{name}` with schema {schema}");
            Err(Box::new(Poison::of(event, "schema", why)))
        }
    }
}
