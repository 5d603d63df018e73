//! Where requests become durable: documents' write model, events, and the answers kept for idempotency
//! keys, all in one transaction.
//!
//! Both stores keep the same rows and share [`decide`](super::decide); they differ in how requests are
//! grouped into commits. One contract suite runs on both.

mod postgres;
mod sqlite;

use std::fmt;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use rc_events::{NewEvent, Numbering};
use rc_model::{TenantId, Timestamp};
use rc_store::{Error, ErrorKind, Migrations};
use uuid::Uuid;

use super::answer::IngestAnswer;
use super::decide::{Decision, Effect, Write};
use super::limits;
use super::storage::{OverQuota, Recount, Unmeasured, Usage};
use crate::document;

pub(crate) use postgres::PostgresIngestStore;
pub(crate) use sqlite::SqliteIngestStore;

/// The tables of the embedded store.
pub const SQLITE_MIGRATIONS: Migrations = sqlite::MIGRATIONS;

/// The tables of the PostgreSQL store, in schema [`POSTGRES_SCHEMA`].
pub const POSTGRES_MIGRATIONS: Migrations = postgres::MIGRATIONS;

/// The schema of ingest's tables.
pub const POSTGRES_SCHEMA: &str = "ingest";

// A document that was accepted must fit an event.
const _: () = assert!(document::PAYLOAD_BYTES_MAX <= rc_events::event::PAYLOAD_BYTES_MAX);

/// What a request came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Its effects are durable.
    Fresh(Stored, Counts),
    /// It was here before: the same answer, no effects.
    Replayed(Stored),
    /// Its key belongs to another request.
    KeyReused,
    /// The document to delete does not exist.
    NoDocument,
    /// It would be more than the tenant may store. Its key stays free.
    OverQuota(OverQuota),
}

/// What is kept of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) batch: Uuid,
    /// The answer's body, byte for byte.
    pub(crate) answer: Bytes,
    /// JSON: `[["id", version], ...]`, what a reader must see to have read this write.
    pub(crate) docs: String,
    pub(crate) received_at: Timestamp,
}

/// Items of a fresh request by what became of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) accepted: usize,
    pub(crate) duplicates: usize,
    pub(crate) rejected: usize,
    /// They are more than a quota in shadow mode allows.
    pub(crate) beyond_quota: bool,
}

/// A store for requests.
pub(crate) trait IngestStore: Send + Sync + fmt::Debug {
    /// Applies `write` once; resolves when it is durable.
    ///
    /// Dropping the call may or may not apply it; its key tells the next attempt.
    fn write(&self, write: Write) -> BoxFuture<'_, Result<Outcome, Error>>;

    /// What is kept of a batch.
    fn batch<'s>(&'s self, tenant: &'s TenantId, batch: Uuid)
    -> BoxFuture<'s, Result<Option<Stored>, Error>>;

    /// What `tenant` stores.
    fn usage<'s>(&'s self, tenant: &'s TenantId) -> BoxFuture<'s, Result<Usage, Error>>;

    /// Adds the documents of `tenant` up and makes the ledger say so.
    fn recount<'s>(&'s self, tenant: &'s TenantId) -> BoxFuture<'s, Result<Recount, Error>>;

    /// The next documents whose size is not known, behind `after`, in the order of tenants and ids.
    fn unmeasured(&self, after: Option<Unmeasured>) -> BoxFuture<'_, Result<Vec<Unmeasured>, Error>>;

    /// Notes the sizes of documents that are still of these versions and have none: id, version, bytes.
    fn measure<'s>(
        &'s self,
        tenant: &'s TenantId,
        sizes: Vec<(String, u64, u64)>,
    ) -> BoxFuture<'s, Result<(), Error>>;

    /// Forgets some requests that came before `before`; how many.
    fn prune(&self, before: Timestamp) -> BoxFuture<'_, Result<usize, Error>>;

    /// Whether the store answers.
    fn ping(&self) -> BoxFuture<'_, Result<(), Error>>;

    /// Finishes what is queued and lets go of the store.
    fn close(&self) -> BoxFuture<'_, ()>;
}

/// Requests from this time on still hold their keys.
pub(crate) fn kept_since(now: Timestamp) -> Timestamp {
    let kept = i64::try_from(limits::KEY_KEPT.as_millis()).expect("24 hours fit 63 bits");
    Timestamp::from_unix_ms(now.unix_ms().saturating_sub(kept))
}

/// A row found by its idempotency key.
#[derive(Clone)]
struct Kept {
    request_hash: Vec<u8>,
    stored: Stored,
}

impl Kept {
    fn outcome(self, write: &Write) -> Outcome {
        if self.request_hash == write.request_hash {
            Outcome::Replayed(self.stored)
        } else {
            Outcome::KeyReused
        }
    }
}

/// What is kept of `write` after `decision`.
fn stored(write: &Write, decision: &mut Decision) -> (Stored, Counts) {
    let answer = IngestAnswer::new(write.batch, std::mem::take(&mut decision.items), write.full);
    let counts = Counts {
        accepted: answer.accepted,
        duplicates: answer.duplicates,
        rejected: answer.rejected,
        beyond_quota: decision.beyond_quota,
    };
    let stored = Stored {
        batch: write.batch,
        answer: answer.to_bytes(),
        docs: serde_json::to_string(&decision.docs).expect("strings and numbers always serialise"),
        received_at: write.at,
    };
    (stored, counts)
}

/// A tenant as a row has it.
fn tenant_of_row(text: &str) -> Result<TenantId, Error> {
    let broken = |error| Error::caused(ErrorKind::Corrupt, format!("`{text}` is not a tenant"), error);
    TenantId::new(text).map_err(broken)
}

/// What [`IngestStore::unmeasured`] asks for.
fn place_of(after: Option<Unmeasured>) -> (String, String) {
    after.map_or_else(Default::default, |last| (last.tenant.to_string(), last.id))
}

/// The event of an effect.
fn event(write: &Write, effect: Effect) -> NewEvent {
    NewEvent {
        id: event_id(write.at),
        tenant: write.tenant.clone(),
        topic: document::TOPIC.into(),
        key: effect.id,
        kseq: effect.version,
        numbering: Numbering::Consecutive,
        event_type: effect.event_type.into(),
        schema: document::SCHEMA,
        time: write.at,
        fingerprint: effect.fingerprint,
        trace: Some(write.trace),
        payload: effect.payload,
    }
}

/// A UUIDv7 of the given moment.
pub(crate) fn event_id(at: Timestamp) -> Uuid {
    let ms = u64::try_from(at.unix_ms()).unwrap_or(0);
    let nanos = u32::try_from(ms % 1_000 * 1_000_000).expect("below one second");
    Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, ms / 1_000, nanos))
}

#[cfg(test)]
mod tests;
