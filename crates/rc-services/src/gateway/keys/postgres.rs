//! Keys in PostgreSQL, schema `gateway`, for several gateways at once.

use rc_model::{KeyId, TenantId, Timestamp};
use rc_store::tokio_postgres::Row;
use rc_store::{Error, ErrorKind, Migration, Migrations, Postgres};

use super::{Asked, KEYS_PER_TENANT_MAX, KeyRecord, REPLACED, TooMany};
use crate::audit::{Room, outbox};
use rc_model::catalog::Builtin;

pub(super) const MIGRATIONS: Migrations = Migrations::new(
    "gateway",
    &[
        Migration {
            number: 1,
            name: "create_api_keys",
            up: "CREATE TABLE api_keys (
                 key_id     text PRIMARY KEY,
                 tenant     text NOT NULL,
                 label      text NOT NULL,
                 hash       bytea NOT NULL CHECK (octet_length(hash) = 32),
                 created_at bigint NOT NULL,
                 expires_at bigint,
                 revoked_at bigint
             );
             CREATE INDEX api_keys_by_tenant ON api_keys (tenant, created_at);",
            down: "DROP TABLE api_keys;",
        },
        Migration {
            number: 2,
            name: "create_ramps",
            up: "CREATE TABLE ramps (
                 rollout    text PRIMARY KEY,
                 generation bigint NOT NULL,
                 record     text NOT NULL
             );",
            down: "DROP TABLE ramps;",
        },
    ],
);

pub(super) async fn add(db: &Postgres, key: &KeyRecord, replace: bool, asked: &Asked) -> Result<(), Error> {
    // Two creations for one tenant wait for each other, so that the count stays true.
    const LOCK: &str = "SELECT pg_advisory_xact_lock(hashtextextended('gateway.api_keys.' || $1::text, 0))";
    // By api_keys_by_tenant.
    const REVOKE_SAME: &str = "UPDATE api_keys SET revoked_at = $3
         WHERE tenant = $1 AND label = $2 AND revoked_at IS NULL
         RETURNING key_id, tenant, label, hash, created_at, expires_at, revoked_at";
    const COUNT: &str = "SELECT count(*) FROM api_keys
         WHERE tenant = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $2)";
    const INSERT: &str = "INSERT INTO api_keys
             (key_id, tenant, label, hash, created_at, expires_at, revoked_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7)";
    let (tenant, now) = (key.tenant.as_str(), key.created_at.unix_ms());
    let mut client = db.client().await?;
    let tx = client.system().await?;
    tx.query_one(LOCK, &[&tenant]).await?;
    let mut entries = Vec::new();
    if replace {
        for row in tx.query(REVOKE_SAME, &[&tenant, &key.label, &now]).await? {
            entries.push(asked.revoked(&record(&row)?, key.created_at, REPLACED)?);
        }
    }
    let valid: i64 = tx.query_one(COUNT, &[&tenant, &now]).await?.try_get(0)?;
    if usize::try_from(valid).unwrap_or(usize::MAX) >= KEYS_PER_TENANT_MAX {
        return Err(Error::abort(TooMany));
    }
    let ended = |at: Option<Timestamp>| at.map(Timestamp::unix_ms);
    let (expires, revoked) = (ended(key.expires_at), ended(key.revoked_at));
    let hash = &key.hash[..];
    tx.execute(
        INSERT,
        &[
            &key.key_id.as_str(),
            &tenant,
            &key.label,
            &hash,
            &now,
            &expires,
            &revoked,
        ],
    )
    .await?;
    entries.push(asked.created(key)?);
    // Last: the source's row is locked from here to the commit.
    outbox::postgres::append(&tx, Builtin::Gateway.name(), &entries, Room::Act).await?;
    tx.commit().await
}

pub(super) async fn revoke(
    db: &Postgres,
    key_id: &KeyId,
    now: Timestamp,
    asked: &Asked,
) -> Result<Option<KeyRecord>, Error> {
    const REVOKE: &str = "UPDATE api_keys SET revoked_at = $2 WHERE key_id = $1 AND revoked_at IS NULL
         RETURNING key_id, tenant, label, hash, created_at, expires_at, revoked_at";
    const FIND: &str = "SELECT key_id, tenant, label, hash, created_at, expires_at, revoked_at
         FROM api_keys WHERE key_id = $1";
    let mut client = db.client().await?;
    let tx = client.system().await?;
    let row = tx.query_opt(REVOKE, &[&key_id.as_str(), &now.unix_ms()]).await?;
    let Some(row) = row else {
        let found = tx.query_opt(FIND, &[&key_id.as_str()]).await?;
        return found.as_ref().map(record).transpose();
    };
    let record = record(&row)?;
    let entry = asked.revoked(&record, now, asked.reason.clone())?;
    // The wider room: acts that wait for the ledger must not keep a leaked key alive.
    outbox::postgres::append(&tx, Builtin::Gateway.name(), &[entry], Room::Fact).await?;
    tx.commit().await?;
    Ok(Some(record))
}

pub(super) async fn list(db: &Postgres, ended_after: Timestamp) -> Result<Vec<KeyRecord>, Error> {
    const LIST: &str = "SELECT key_id, tenant, label, hash, created_at, expires_at, revoked_at FROM api_keys
         WHERE coalesce(revoked_at, expires_at, 9223372036854775807) > $1
         ORDER BY tenant, created_at, key_id";
    let mut client = db.client().await?;
    let tx = client.system().await?;
    let rows = tx.query(LIST, &[&ended_after.unix_ms()]).await?;
    rows.iter().map(record).collect()
}

fn record(row: &Row) -> Result<KeyRecord, Error> {
    let damaged = |what: &str| Error::new(ErrorKind::Corrupt, format!("a stored key has a damaged {what}"));
    let at = |index: usize| {
        row.try_get::<_, Option<i64>>(index)
            .map(|ms| ms.map(Timestamp::from_unix_ms))
    };
    let hash: &[u8] = row.try_get(3)?;
    Ok(KeyRecord {
        key_id: KeyId::new(row.try_get(0)?).map_err(|error| damaged("id").context(error))?,
        tenant: TenantId::new(row.try_get(1)?).map_err(|error| damaged("tenant").context(error))?,
        label: row.try_get(2)?,
        hash: hash.try_into().map_err(|_short| damaged("hash"))?,
        created_at: Timestamp::from_unix_ms(row.try_get(4)?),
        expires_at: at(5)?,
        revoked_at: at(6)?,
    })
}
