//! API keys at rest: ids, tenants and the SHA-256 of secrets, in the gateway's own store.
//!
//! A key's secret is shown once, when it is made. What is here cannot be turned back into it.

mod postgres;
mod sqlite;

use std::time::Duration;

use rc_model::catalog::Builtin;
use rc_model::{Digest, KeyId, TenantId, Timestamp};
use rc_serve::Pseudonymizer;
use rc_store::{Error, Migrations, Postgres, Sqlite};
use rc_traffic::key::{KeyEntry, KeySet, SecretHash};

use crate::audit::{self, Act, Action, Actor, Draft, Outbox, Outcome, Reason, Resource};

/// The gateway's schema on PostgreSQL.
pub const POSTGRES_SCHEMA: &str = "gateway";
/// Most keys of one tenant that are valid at one time.
pub const KEYS_PER_TENANT_MAX: usize = 1_000;
/// Longest label in bytes.
pub const LABEL_BYTES_MAX: usize = 100;
/// How long a revoked or expired key stays in lists.
const KEEP_ENDED: Duration = Duration::from_secs(90 * 86_400);

/// What is kept of one key.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct KeyRecord {
    /// The public half.
    pub key_id: KeyId,
    /// Whom the key speaks for.
    pub tenant: TenantId,
    /// What the key is for, in its maker's words.
    pub label: String,
    pub created_at: Timestamp,
    /// From when on the key is refused. Absent: never.
    pub expires_at: Option<Timestamp>,
    /// When the key was revoked.
    pub revoked_at: Option<Timestamp>,
    /// SHA-256 of the secret half.
    #[serde(skip)]
    pub hash: [u8; 32],
}

impl KeyRecord {
    /// Whether the key opens the door at `now`.
    #[must_use]
    pub fn is_valid(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|at| now < at)
    }

    /// Digest of what may be known of the key: everything but the hash of its secret.
    fn digest(&self) -> Digest {
        let known = serde_json::to_vec(self).expect("a key record has only string keys");
        Digest::of(&known)
    }
}

/// Who asks for a change, and why: what the audit log will say.
#[derive(Debug, Clone)]
pub struct Asked {
    pub actor: Actor,
    pub reason: Reason,
    pub trace_id: Option<u128>,
}

impl Asked {
    /// The entry of a new key.
    fn created(&self, record: &KeyRecord) -> Result<Draft, Error> {
        let detail = serde_json::json!({ "label": record.label, "expires_at": record.expires_at });
        self.entry(Action::KeyCreate, record, record.created_at, self.reason.clone())
            .with(None, Some(record.digest()), Some(detail))
            .draft()
    }

    /// The entry of a key that ended: revoked for the caller's reason, or because another takes its place.
    fn revoked(&self, record: &KeyRecord, at: Timestamp, reason: Reason) -> Result<Draft, Error> {
        let before = KeyRecord {
            revoked_at: None,
            ..record.clone()
        };
        let detail = serde_json::json!({ "label": record.label });
        self.entry(Action::KeyRevoke, record, at, reason)
            .with(Some(before.digest()), Some(record.digest()), Some(detail))
            .draft()
    }

    fn entry(&self, action: Action, record: &KeyRecord, at: Timestamp, reason: Reason) -> Act {
        Act {
            at,
            actor: self.actor,
            action,
            resource: Resource {
                kind: "key",
                id: record.key_id.to_string(),
                tenant: Some(record.tenant.clone()),
            },
            reason,
            outcome: Outcome::Done,
            before: None,
            after: None,
            trace_id: self.trace_id,
            detail: None,
        }
    }
}

/// The reason of a key whose place another one takes.
const REPLACED: Reason = Reason::of("replaced");

/// The gateway's own store on either engine: the keys, the weights of rollouts (see [`super::ramps`]), and the outbox that
/// tells of their changes.
#[derive(Debug, Clone)]
pub struct KeyStore {
    engine: Engine,
    outbox: Outbox,
}

#[derive(Debug, Clone)]
pub(super) enum Engine {
    Sqlite(Sqlite),
    Postgres(Postgres),
}

/// The tenant already has [`KEYS_PER_TENANT_MAX`] valid keys: nothing was changed. It travels inside the
/// store's error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a tenant has at most {KEYS_PER_TENANT_MAX} valid keys")]
pub struct TooMany;

impl KeyStore {
    /// Keys in the gateway's SQLite file.
    #[must_use]
    pub fn sqlite(db: Sqlite) -> Self {
        Self {
            outbox: Outbox::sqlite(db.clone(), Builtin::Gateway.name()),
            engine: Engine::Sqlite(db),
        }
    }

    /// Keys in the gateway's schema on PostgreSQL.
    #[must_use]
    pub fn postgres(db: Postgres) -> Self {
        Self {
            outbox: Outbox::postgres(db.clone(), Builtin::Gateway.name()),
            engine: Engine::Postgres(db),
        }
    }

    /// For what else lies in this store.
    pub(super) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// What this store has to tell the ledger.
    #[must_use]
    pub fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// Brings the schema to what this binary needs.
    ///
    /// # Errors
    /// When the store cannot be reached, or its schema is not ours.
    pub async fn migrate(&self) -> Result<(), Error> {
        match &self.engine {
            Engine::Sqlite(db) => db.migrate(&sqlite::MIGRATIONS).await.map(drop)?,
            Engine::Postgres(db) => db.migrate(&postgres::MIGRATIONS).await.map(drop)?,
        }
        self.outbox.migrate().await.map(drop)
    }

    /// The number of the newest migration, which the store has when the service runs.
    #[must_use]
    pub fn newest_migration(&self) -> usize {
        match &self.engine {
            Engine::Sqlite(_) => sqlite::MIGRATIONS.list().len(),
            Engine::Postgres(_) => postgres::MIGRATIONS.list().len(),
        }
    }

    /// How many migrations the store lacks.
    ///
    /// # Errors
    /// When the store cannot be reached, or its schema is not ours.
    pub async fn pending_migrations(&self) -> Result<usize, Error> {
        let status = match &self.engine {
            Engine::Sqlite(db) => db.migration_status(&sqlite::MIGRATIONS).await?,
            Engine::Postgres(db) => db.migration_status(&postgres::MIGRATIONS).await?,
        };
        Ok(status.pending.len() + self.outbox.pending_migrations().await?)
    }

    /// Keeps a key. With `replace`, the tenant's other valid keys of the same label are revoked in the
    /// same transaction, which also holds the audit entries.
    ///
    /// # Errors
    /// [`TooMany`] and [`audit::Full`] inside the store's error, and what the store says.
    pub async fn add(&self, record: KeyRecord, replace: bool, asked: &Asked) -> Result<(), Error> {
        match &self.engine {
            Engine::Sqlite(db) => sqlite::add(db, record, replace, asked.clone()).await?,
            Engine::Postgres(db) => postgres::add(db, &record, replace, asked).await?,
        }
        self.outbox.added();
        Ok(())
    }

    /// Revokes a key; gives its record, or `None` when there is no such key. Revoking twice changes nothing,
    /// and only the first time is an entry of the audit log.
    ///
    /// # Errors
    /// [`audit::Full`] inside the store's error, and what the store says.
    pub async fn revoke(
        &self,
        key_id: &KeyId,
        now: Timestamp,
        asked: &Asked,
    ) -> Result<Option<KeyRecord>, Error> {
        let record = match &self.engine {
            Engine::Sqlite(db) => sqlite::revoke(db, key_id.clone(), now, asked.clone()).await?,
            Engine::Postgres(db) => postgres::revoke(db, key_id, now, asked).await?,
        };
        self.outbox.added();
        Ok(record)
    }

    /// All keys, in the order of tenant and creation. Keys that ended long ago are left out.
    ///
    /// # Errors
    /// What the store says.
    pub async fn list(&self, now: Timestamp) -> Result<Vec<KeyRecord>, Error> {
        let ended_after = Timestamp::from_unix_ms(
            now.unix_ms()
                .saturating_sub(i64::try_from(KEEP_ENDED.as_millis()).unwrap_or(i64::MAX)),
        );
        match &self.engine {
            Engine::Sqlite(db) => sqlite::list(db, ended_after).await,
            Engine::Postgres(db) => postgres::list(db, ended_after).await,
        }
    }
}

/// What `rc migrate` applies to PostgreSQL before a gateway starts: each schema with its tables.
#[must_use]
pub fn postgres_migrations() -> [(&'static str, Migrations); 2] {
    [
        (POSTGRES_SCHEMA, postgres::MIGRATIONS),
        (POSTGRES_SCHEMA, audit::outbox::postgres::MIGRATIONS),
    ]
}

/// The keys that are valid at `now`, for the data path. `users` names in logs who shows them.
#[must_use]
pub fn key_set(records: &[KeyRecord], now: Timestamp, users: Option<&Pseudonymizer>) -> KeySet {
    let valid = records.iter().filter(|record| record.is_valid(now));
    valid
        .map(|record| KeyEntry {
            id: record.key_id.clone(),
            hash: SecretHash::from_bytes(record.hash),
            tenant: record.tenant.clone(),
            user: users.map(|users| users.user(&record.key_id)),
        })
        .collect()
}

#[cfg(test)]
mod tests;
