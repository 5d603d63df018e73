//! One transaction for several requests of one tenant.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use rc_events::faults;
use rc_events::outbox::postgres::{self as outbox, Columns};
use rc_model::{TenantId, Timestamp};
use rc_store::tokio_postgres::Row;
use rc_store::{Error, ErrorKind, Param, Postgres, TenantSql, TenantTx};
use uuid::Uuid;

use super::super::{Kept, Outcome, Stored, event, kept_since, stored};
use crate::document::Fingerprint;
use crate::ingest::decide::{Current, Route, Write};
use crate::ingest::storage::{Ledger, decide_within};

/// Serialises a tenant's writers; `tenant` is hashed, and two tenants with one hash only wait for each other.
/// The first number is ours among advisory locks (`RCIN`).
pub(super) const LOCK: TenantSql = TenantSql::new(
    "SELECT pg_advisory_xact_lock(1380141390, hashtext(tenant)) IS NULL
     FROM (VALUES ($1::text)) AS writer (tenant) WHERE tenant = $1",
);

/// By `requests_key`, one pair at a time: a join with the pairs, and `key = ANY(..)` too, read all requests of
/// the tenant for the life of a connection that planned them while there were few.
const FIND_KEYS: TenantSql = TenantSql::new(
    "SELECT kept.* FROM unnest($2::text[], $3::text[]) AS asked (route, key) CROSS JOIN LATERAL (
         SELECT batch, answer, docs, received_ms, request_hash, route, key FROM requests
         WHERE tenant = $1 AND route = asked.route AND key = asked.key LIMIT 1
     ) AS kept",
);

/// By the primary key.
const FORGET: TenantSql = TenantSql::new("DELETE FROM requests WHERE tenant = $1 AND batch = ANY($2)");

/// By the primary key, one id at a time, as [`FIND_KEYS`].
const KNOWN: TenantSql = TenantSql::new(
    "SELECT known.* FROM unnest($2::text[]) AS asked (id) CROSS JOIN LATERAL (
         SELECT id, version, fingerprint, deleted, bytes FROM documents
         WHERE tenant = $1 AND id = asked.id LIMIT 1
     ) AS known",
);

/// For documents that are not there: the tenant's lock keeps it so. `ON CONFLICT` looks before it writes, which is
/// four tenths of what the row costs.
const INSERT: TenantSql = TenantSql::new(
    "INSERT INTO documents (tenant, id, version, fingerprint, deleted, bytes)
     SELECT $1, * FROM unnest($2::text[], $3::bigint[], $4::bytea[], $5::boolean[], $6::bigint[])",
);

/// For documents that are there: by the primary key, one at a time. An `UPDATE` of them would be a join, with the
/// choice of a plan that reads all.
const UPSERT: TenantSql = TenantSql::new(
    "INSERT INTO documents (tenant, id, version, fingerprint, deleted, bytes)
     SELECT $1, * FROM unnest($2::text[], $3::bigint[], $4::bytea[], $5::boolean[], $6::bigint[])
     ON CONFLICT (tenant, id) DO UPDATE SET
         version = excluded.version, fingerprint = excluded.fingerprint, deleted = excluded.deleted,
         bytes = excluded.bytes",
);

/// By the primary key.
pub(super) const USED: TenantSql = TenantSql::new("SELECT used FROM storage WHERE tenant = $1");

/// What is given back was counted once; the bound is for a ledger that somebody changed by hand.
pub(super) const SETTLE: TenantSql = TenantSql::new(
    "INSERT INTO storage (tenant, used) VALUES ($1, greatest(0, $2::bigint))
     ON CONFLICT (tenant) DO UPDATE SET used = greatest(0, storage.used + $2::bigint)",
);

const KEEP: TenantSql = TenantSql::new(
    "INSERT INTO requests (tenant, batch, route, key, request_hash, answer, docs, received_ms)
     SELECT $1, * FROM unnest($2::uuid[], $3::text[], $4::text[], $5::bytea[], $6::bytea[], $7::text[], $8::bigint[])",
);

/// Applies `writes`, all of `tenant`, in one transaction: an outcome for each, or nothing for any.
///
/// Three round trips: begin; lock and read; write and commit.
pub(super) async fn apply(
    pg: &Postgres,
    tenant: &TenantId,
    writes: &[&Write],
) -> Result<Vec<Outcome>, Error> {
    let mut client = pg.client().await?;
    let tx = client.tenant(tenant).await?;
    let mut group = Group::load(&tx, writes).await?;
    let outcomes: Vec<Outcome> = writes.iter().map(|write| group.decide(write)).collect();
    group.commit(tx).await?;
    Ok(outcomes)
}

/// What a transaction knows, and what it will write.
#[derive(Default)]
struct Group<'w> {
    /// The documents that are there, before the group.
    there: HashSet<Arc<str>>,
    known: HashMap<Arc<str>, Current>,
    ledger: Ledger,
    keys: HashMap<(&'static str, String), Kept>,
    expired: Vec<Uuid>,
    changed: HashMap<String, Current>,
    events: Vec<rc_events::NewEvent>,
    requests: Vec<(&'w Write, Stored)>,
}

impl<'w> Group<'w> {
    async fn load(tx: &TenantTx<'_>, writes: &[&Write]) -> Result<Self, Error> {
        let mut group = Self::default();
        let keyed = || {
            writes
                .iter()
                .filter_map(|write| Some((write, write.key.as_deref()?)))
        };
        let (routes, keys): (Vec<&str>, Vec<&str>) =
            keyed().map(|(write, key)| (write.route.as_str(), key)).unzip();
        let mut ids: Vec<&str> = writes.iter().flat_map(|write| write.ids()).collect();
        ids.sort_unstable();
        ids.dedup();
        // Under READ COMMITTED each statement sees what the previous holder of the lock committed.
        let [_, kept, known, used_row] = tx
            .flight(&[
                (LOCK, &[]),
                (FIND_KEYS, &[&routes, &keys]),
                (KNOWN, &[&ids]),
                (USED, &[]),
            ])
            .await?;
        group.ledger = Ledger::new(used(&used_row)?);
        let since = writes.iter().map(|write| kept_since(write.at)).min();
        for row in &kept {
            let stored = read_stored(row)?;
            if since.is_some_and(|since| stored.received_at < since) {
                group.expired.push(stored.batch);
                continue;
            }
            let request_hash = row.try_get(4)?;
            let key = (route_of(row.try_get(5)?)?, row.try_get(6)?);
            group.keys.insert(key, Kept { request_hash, stored });
        }
        for row in &known {
            let id: Arc<str> = Arc::from(row.try_get::<_, &str>(0)?);
            group.there.insert(Arc::clone(&id));
            group.known.insert(id, read_current(row)?);
        }
        Ok(group)
    }

    fn decide(&mut self, write: &'w Write) -> Outcome {
        let key = write.key.as_ref().map(|key| (write.route.as_str(), key.clone()));
        if let Some(kept) = key.as_ref().and_then(|key| self.keys.get(key)) {
            return kept.clone().outcome(write);
        }
        let mut decision = match decide_within(write, &mut self.known, &mut self.ledger) {
            Ok(Some(decision)) => decision,
            Ok(None) => return Outcome::NoDocument,
            Err(over) => return Outcome::OverQuota(over),
        };
        self.changed.extend(decision.changed.drain(..));
        let effects = decision.effects.drain(..);
        self.events.extend(effects.map(|effect| event(write, effect)));
        let (stored, counts) = stored(write, &mut decision);
        if let Some(key) = key {
            let request_hash = write.request_hash.to_vec();
            let stored = stored.clone();
            self.keys.insert(key, Kept { request_hash, stored });
        }
        self.requests.push((write, stored.clone()));
        Outcome::Fresh(stored, counts)
    }

    /// Writes everything and commits.
    async fn commit(&self, tx: TenantTx<'_>) -> Result<(), Error> {
        let (known, new): (Vec<_>, Vec<_>) = (self.changed.iter())
            .map(|(id, current)| (id.as_str(), current))
            .partition(|(id, _)| self.there.contains(*id));
        let (known, new) = (Documents::of(known), Documents::of(new));
        let events = Columns::of(tx.tenant(), &self.events)?;
        let requests = Requests::of(&self.requests);
        let growth = self.ledger.reserved();
        let (forget, settle, insert, upsert, append, keep): ([Param<'_>; 1], [Param<'_>; 1], _, _, _, _) = (
            [&self.expired],
            [&growth],
            new.params(),
            known.params(),
            events.params(),
            requests.params(),
        );
        let statements: [(bool, TenantSql, &[Param<'_>]); 6] = [
            (self.expired.is_empty(), FORGET, &forget),
            (new.ids.is_empty(), INSERT, &insert),
            (known.ids.is_empty(), UPSERT, &upsert),
            (self.events.is_empty(), outbox::INSERT, &append),
            (self.requests.is_empty(), KEEP, &keep),
            (growth == 0, SETTLE, &settle),
        ];
        let needed: Vec<_> = statements
            .iter()
            .filter(|(empty, _, _)| !empty)
            .map(|(_, sql, params)| (*sql, *params))
            .collect();
        faults::point("ingest.before_commit");
        tx.commit_after(&needed).await?;
        faults::point("ingest.after_commit");
        Ok(())
    }
}

/// The columns of [`INSERT`] and of [`UPSERT`], in the order of the ids, so that rows are locked and pages touched in order.
struct Documents<'g> {
    ids: Vec<&'g str>,
    versions: Vec<i64>,
    fingerprints: Vec<&'g [u8]>,
    deleted: Vec<bool>,
    bytes: Vec<i64>,
}

impl<'g> Documents<'g> {
    fn of(mut rows: Vec<(&'g str, &'g Current)>) -> Self {
        rows.sort_unstable_by_key(|(id, _)| *id);
        let version = |current: &Current| i64::try_from(current.version).unwrap_or(i64::MAX);
        Self {
            ids: rows.iter().map(|(id, _)| *id).collect(),
            versions: rows.iter().map(|(_, current)| version(current)).collect(),
            fingerprints: rows.iter().map(|(_, current)| &current.fingerprint[..]).collect(),
            deleted: rows.iter().map(|(_, current)| current.deleted).collect(),
            bytes: rows
                .iter()
                .map(|(_, current)| bytes_to_sql(current.bytes))
                .collect(),
        }
    }

    fn params(&self) -> [Param<'_>; 5] {
        [
            &self.ids,
            &self.versions,
            &self.fingerprints,
            &self.deleted,
            &self.bytes,
        ]
    }
}

/// The columns of [`KEEP`].
struct Requests<'g> {
    batches: Vec<Uuid>,
    routes: Vec<&'g str>,
    keys: Vec<Option<&'g str>>,
    hashes: Vec<&'g [u8]>,
    answers: Vec<&'g [u8]>,
    docs: Vec<&'g str>,
    received: Vec<i64>,
}

impl<'g> Requests<'g> {
    fn of(rows: &'g [(&Write, Stored)]) -> Self {
        Self {
            batches: rows.iter().map(|(_, stored)| stored.batch).collect(),
            routes: rows.iter().map(|(write, _)| write.route.as_str()).collect(),
            keys: rows.iter().map(|(write, _)| write.key.as_deref()).collect(),
            hashes: rows.iter().map(|(write, _)| &write.request_hash[..]).collect(),
            answers: rows.iter().map(|(_, stored)| &stored.answer[..]).collect(),
            docs: rows.iter().map(|(_, stored)| stored.docs.as_str()).collect(),
            received: rows
                .iter()
                .map(|(_, stored)| stored.received_at.unix_ms())
                .collect(),
        }
    }

    fn params(&self) -> [Param<'_>; 7] {
        [
            &self.batches,
            &self.routes,
            &self.keys,
            &self.hashes,
            &self.answers,
            &self.docs,
            &self.received,
        ]
    }
}

/// Reads `batch, answer, docs, received_ms`.
pub(super) fn read_stored(row: &Row) -> Result<Stored, Error> {
    let answer: Vec<u8> = row.try_get(1)?;
    Ok(Stored {
        batch: row.try_get(0)?,
        answer: answer.into(),
        docs: row.try_get(2)?,
        received_at: Timestamp::from_unix_ms(row.try_get(3)?),
    })
}

fn read_current(row: &Row) -> Result<Current, Error> {
    let version: i64 = row.try_get(1)?;
    let fingerprint: &[u8] = row.try_get(2)?;
    let broken = || Error::new(ErrorKind::Corrupt, "a fingerprint does not have 16 bytes");
    Ok(Current {
        version: u64::try_from(version).unwrap_or(0),
        fingerprint: Fingerprint::try_from(fingerprint).map_err(|_short| broken())?,
        deleted: row.try_get(3)?,
        bytes: row.try_get::<_, Option<i64>>(4)?.map_or(0, bytes_of_sql),
    })
}

/// The one number of `rows`, if there is a row.
pub(super) fn used(rows: &[Row]) -> Result<u64, Error> {
    match rows.first() {
        Some(row) => Ok(bytes_of_sql(row.try_get(0)?)),
        None => Ok(0),
    }
}

pub(super) fn bytes_to_sql(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

pub(super) fn bytes_of_sql(bytes: i64) -> u64 {
    u64::try_from(bytes).unwrap_or(0)
}

fn route_of(text: &str) -> Result<&'static str, Error> {
    [Route::One, Route::Batch, Route::Delete]
        .into_iter()
        .map(Route::as_str)
        .find(|known| *known == text)
        .ok_or_else(|| Error::new(ErrorKind::Corrupt, format!("`{text}` is not a route of ours")))
}

#[cfg(test)]
mod tests;
