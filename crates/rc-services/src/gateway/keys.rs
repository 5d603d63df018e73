//! API keys at rest: ids, tenants and the SHA-256 of secrets, in the gateway's own store.
//!
//! A key's secret is shown once, when it is made. What is here cannot be turned back into it.

mod postgres;
mod sqlite;

use std::time::Duration;

use rc_model::{KeyId, TenantId, Timestamp};
use rc_store::{Error, Migrations, Postgres, Sqlite};
use rc_traffic::key::{KeyEntry, KeySet, SecretHash};

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
}

/// The keys' store on either engine.
#[derive(Debug, Clone)]
pub enum KeyStore {
    Sqlite(Sqlite),
    Postgres(Postgres),
}

/// What came of a wish to add a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Added {
    Done,
    /// The tenant already has [`KEYS_PER_TENANT_MAX`] valid keys.
    TooMany,
}

impl KeyStore {
    /// Brings the schema to what this binary needs.
    ///
    /// # Errors
    /// When the store cannot be reached, or its schema is not ours.
    pub async fn migrate(&self) -> Result<(), Error> {
        match self {
            Self::Sqlite(db) => db.migrate(&sqlite::MIGRATIONS).await.map(drop),
            Self::Postgres(db) => db.migrate(&postgres::MIGRATIONS).await.map(drop),
        }
    }

    /// The number of the newest migration, which the store has when the service runs.
    #[must_use]
    pub fn newest_migration(&self) -> usize {
        match self {
            Self::Sqlite(_) => sqlite::MIGRATIONS.list().len(),
            Self::Postgres(_) => postgres::MIGRATIONS.list().len(),
        }
    }

    /// How many migrations the store lacks.
    ///
    /// # Errors
    /// When the store cannot be reached, or its schema is not ours.
    pub async fn pending_migrations(&self) -> Result<usize, Error> {
        let status = match self {
            Self::Sqlite(db) => db.migration_status(&sqlite::MIGRATIONS).await?,
            Self::Postgres(db) => db.migration_status(&postgres::MIGRATIONS).await?,
        };
        Ok(status.pending.len())
    }

    /// Keeps a key. With `replace`, the tenant's other valid keys of the same label are revoked in the
    /// same transaction.
    ///
    /// # Errors
    /// What the store says.
    pub async fn add(&self, record: KeyRecord, replace: bool) -> Result<Added, Error> {
        match self {
            Self::Sqlite(db) => sqlite::add(db, record, replace).await,
            Self::Postgres(db) => postgres::add(db, &record, replace).await,
        }
    }

    /// Revokes a key; gives its record, or `None` when there is no such key. Revoking twice changes nothing.
    ///
    /// # Errors
    /// What the store says.
    pub async fn revoke(&self, key_id: &KeyId, now: Timestamp) -> Result<Option<KeyRecord>, Error> {
        match self {
            Self::Sqlite(db) => sqlite::revoke(db, key_id.clone(), now).await,
            Self::Postgres(db) => postgres::revoke(db, key_id, now).await,
        }
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
        match self {
            Self::Sqlite(db) => sqlite::list(db, ended_after).await,
            Self::Postgres(db) => postgres::list(db, ended_after).await,
        }
    }
}

/// What `rc migrate` applies to PostgreSQL before a gateway starts: each schema with its tables.
#[must_use]
pub fn postgres_migrations() -> [(&'static str, Migrations); 1] {
    [(POSTGRES_SCHEMA, postgres::MIGRATIONS)]
}

/// The keys that are valid at `now`, for the data path.
#[must_use]
pub fn key_set(records: &[KeyRecord], now: Timestamp) -> KeySet {
    let valid = records.iter().filter(|record| record.is_valid(now));
    valid
        .map(|record| KeyEntry {
            id: record.key_id.clone(),
            hash: SecretHash::from_bytes(record.hash),
            tenant: record.tenant.clone(),
        })
        .collect()
}

#[cfg(test)]
mod tests;
