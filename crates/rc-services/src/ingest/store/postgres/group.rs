//! One transaction for several requests of one tenant.

use std::collections::HashMap;
use std::sync::Arc;

use rc_model::{TenantId, Timestamp};
use rc_store::tokio_postgres::Row;
use rc_store::{Error, ErrorKind, Postgres, TenantSql, TenantTx};
use uuid::Uuid;

use super::super::{Kept, Outcome, Stored, event, kept_since, stored};
use crate::document::Fingerprint;
use crate::ingest::decide::{Current, Route, Write, decide};

/// Serialises a tenant's writers; `tenant` is hashed, and two tenants with one hash only wait for each other.
/// The first number is ours among advisory locks (`RCIN`).
const LOCK: TenantSql = TenantSql::new(
    "SELECT pg_advisory_xact_lock(1380141390, hashtext(tenant)) IS NULL
     FROM (VALUES ($1::text)) AS writer (tenant) WHERE tenant = $1",
);

/// By `requests_key`.
const FIND_KEYS: TenantSql = TenantSql::new(
    "SELECT batch, answer, docs, received_ms, request_hash, route, key FROM requests
     WHERE tenant = $1 AND (route, key) IN (SELECT * FROM unnest($2::text[], $3::text[]))",
);

/// By the primary key.
const FORGET: TenantSql = TenantSql::new("DELETE FROM requests WHERE tenant = $1 AND batch = ANY($2)");

/// By the primary key.
const KNOWN: TenantSql = TenantSql::new(
    "SELECT id, version, fingerprint, deleted FROM documents WHERE tenant = $1 AND id = ANY($2)",
);

const UPSERT: TenantSql = TenantSql::new(
    "INSERT INTO documents (tenant, id, version, fingerprint, deleted)
     SELECT $1, * FROM unnest($2::text[], $3::bigint[], $4::bytea[], $5::boolean[])
     ON CONFLICT (tenant, id) DO UPDATE SET
         version = excluded.version, fingerprint = excluded.fingerprint, deleted = excluded.deleted",
);

const KEEP: TenantSql = TenantSql::new(
    "INSERT INTO requests (tenant, batch, route, key, request_hash, answer, docs, received_ms)
     SELECT $1, * FROM unnest($2::uuid[], $3::text[], $4::text[], $5::bytea[], $6::bytea[], $7::text[], $8::bigint[])",
);

/// Applies `writes`, all of `tenant`, in one transaction: an outcome for each, or nothing for any.
pub(super) async fn apply(
    pg: &Postgres,
    tenant: &TenantId,
    writes: &[&Write],
) -> Result<Vec<Outcome>, Error> {
    let mut client = pg.client().await?;
    let tx = client.tenant(tenant).await?;
    // Under READ COMMITTED each later statement sees what the previous holder of the lock committed.
    tx.query(LOCK, &[]).await?;
    let mut group = Group::load(&tx, writes).await?;
    let outcomes: Vec<Outcome> = writes.iter().map(|write| group.decide(write)).collect();
    group.save(&tx).await?;
    tx.commit().await?;
    Ok(outcomes)
}

/// What a transaction knows, and what it will write.
#[derive(Default)]
struct Group<'w> {
    known: HashMap<Arc<str>, Current>,
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
        if !keys.is_empty() {
            let since = writes.iter().map(|write| kept_since(write.at)).min();
            for row in tx.query(FIND_KEYS, &[&routes, &keys]).await? {
                let stored = read_stored(&row)?;
                if since.is_some_and(|since| stored.received_at < since) {
                    group.expired.push(stored.batch);
                    continue;
                }
                let request_hash = row.try_get(4)?;
                let key = (route_of(row.try_get(5)?)?, row.try_get(6)?);
                group.keys.insert(key, Kept { request_hash, stored });
            }
        }
        let mut ids: Vec<&str> = writes.iter().flat_map(|write| write.ids()).collect();
        ids.sort_unstable();
        ids.dedup();
        if !ids.is_empty() {
            for row in tx.query(KNOWN, &[&ids]).await? {
                let id: &str = row.try_get(0)?;
                group.known.insert(Arc::from(id), read_current(&row)?);
            }
        }
        Ok(group)
    }

    fn decide(&mut self, write: &'w Write) -> Outcome {
        let key = write.key.as_ref().map(|key| (write.route.as_str(), key.clone()));
        if let Some(kept) = key.as_ref().and_then(|key| self.keys.get(key)) {
            return kept.clone().outcome(write);
        }
        let Some(mut decision) = decide(write, &mut self.known) else {
            return Outcome::NoDocument;
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

    async fn save(&mut self, tx: &TenantTx<'_>) -> Result<(), Error> {
        if !self.expired.is_empty() {
            tx.execute(FORGET, &[&self.expired]).await?;
        }
        if !self.changed.is_empty() {
            let mut changed: Vec<(String, Current)> = self.changed.drain().collect();
            changed.sort_by(|a, b| a.0.cmp(&b.0));
            let ids: Vec<&str> = changed.iter().map(|(id, _)| id.as_str()).collect();
            let versions: Vec<i64> = changed
                .iter()
                .map(|(_, current)| i64::try_from(current.version).unwrap_or(i64::MAX))
                .collect();
            let fingerprints: Vec<&[u8]> = changed.iter().map(|(_, c)| &c.fingerprint[..]).collect();
            let deleted: Vec<bool> = changed.iter().map(|(_, current)| current.deleted).collect();
            tx.execute(UPSERT, &[&ids, &versions, &fingerprints, &deleted])
                .await?;
        }
        if !self.events.is_empty() {
            rc_events::outbox::postgres::append(tx, &self.events).await?;
        }
        if !self.requests.is_empty() {
            self.keep(tx).await?;
        }
        Ok(())
    }

    async fn keep(&self, tx: &TenantTx<'_>) -> Result<(), Error> {
        let rows = &self.requests;
        let batches: Vec<Uuid> = rows.iter().map(|(_, stored)| stored.batch).collect();
        let routes: Vec<&str> = rows.iter().map(|(write, _)| write.route.as_str()).collect();
        let keys: Vec<Option<&str>> = rows.iter().map(|(write, _)| write.key.as_deref()).collect();
        let hashes: Vec<&[u8]> = rows.iter().map(|(write, _)| &write.request_hash[..]).collect();
        let answers: Vec<&[u8]> = rows.iter().map(|(_, stored)| &stored.answer[..]).collect();
        let docs: Vec<&str> = rows.iter().map(|(_, stored)| stored.docs.as_str()).collect();
        let received: Vec<i64> = rows
            .iter()
            .map(|(_, stored)| stored.received_at.unix_ms())
            .collect();
        let params: [&(dyn postgres_types::ToSql + Sync); 7] =
            [&batches, &routes, &keys, &hashes, &answers, &docs, &received];
        tx.execute(KEEP, &params).await?;
        Ok(())
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
    })
}

fn route_of(text: &str) -> Result<&'static str, Error> {
    [Route::One, Route::Batch, Route::Delete]
        .into_iter()
        .map(Route::as_str)
        .find(|known| *known == text)
        .ok_or_else(|| Error::new(ErrorKind::Corrupt, format!("`{text}` is not a route of ours")))
}
