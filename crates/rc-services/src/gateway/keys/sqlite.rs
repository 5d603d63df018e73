//! Keys in the gateway's SQLite file.

use rc_model::{KeyId, TenantId, Timestamp};
use rc_store::rusqlite::{OptionalExtension as _, Row, params};
use rc_store::{Conn, Error, ErrorKind, Migration, Migrations, Sqlite};

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
                 key_id     TEXT PRIMARY KEY,
                 tenant     TEXT NOT NULL,
                 label      TEXT NOT NULL,
                 hash       BLOB NOT NULL CHECK (length(hash) = 32),
                 created_at INTEGER NOT NULL,
                 expires_at INTEGER,
                 revoked_at INTEGER
             ) STRICT;
             CREATE INDEX api_keys_by_tenant ON api_keys (tenant, created_at);",
            down: "DROP TABLE api_keys;",
        },
        Migration {
            number: 2,
            name: "create_ramps",
            up: "CREATE TABLE ramps (
                 rollout    TEXT PRIMARY KEY,
                 generation INTEGER NOT NULL,
                 record     TEXT NOT NULL
             ) STRICT;",
            down: "DROP TABLE ramps;",
        },
    ],
);

const COLUMNS: &str = "key_id, tenant, label, hash, created_at, expires_at, revoked_at";

pub(super) async fn add(db: &Sqlite, key: KeyRecord, replace: bool, asked: Asked) -> Result<(), Error> {
    // By api_keys_by_tenant.
    const REVOKE_SAME: &str = "UPDATE api_keys SET revoked_at = ?3
         WHERE tenant = ?1 AND label = ?2 AND revoked_at IS NULL
         RETURNING key_id, tenant, label, hash, created_at, expires_at, revoked_at";
    const COUNT: &str = "SELECT count(*) FROM api_keys
         WHERE tenant = ?1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > ?2)";
    const INSERT: &str = "INSERT INTO api_keys
             (key_id, tenant, label, hash, created_at, expires_at, revoked_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    db.write("gateway.keys.add", move |conn| {
        let (tenant, now) = (key.tenant.as_str(), key.created_at.unix_ms());
        let mut entries = Vec::new();
        if replace {
            let mut revoke = conn.prepare_cached(REVOKE_SAME)?;
            let rows = revoke.query_map(params![tenant, key.label, now], |row| Ok(record(row)))?;
            for ended in rows {
                entries.push(asked.revoked(&ended??, key.created_at, REPLACED)?);
            }
        }
        let valid: i64 = conn
            .prepare_cached(COUNT)?
            .query_row(params![tenant, now], |row| row.get(0))?;
        if usize::try_from(valid).unwrap_or(usize::MAX) >= KEYS_PER_TENANT_MAX {
            return Err(Error::abort(TooMany));
        }
        conn.prepare_cached(INSERT)?.execute(params![
            key.key_id.as_str(),
            tenant,
            key.label,
            key.hash,
            now,
            key.expires_at.map(Timestamp::unix_ms),
            key.revoked_at.map(Timestamp::unix_ms),
        ])?;
        entries.push(asked.created(&key)?);
        outbox::sqlite::append(conn, Builtin::Gateway.name(), &entries, Room::Act)
    })
    .await
}

pub(super) async fn revoke(
    db: &Sqlite,
    key_id: KeyId,
    now: Timestamp,
    asked: Asked,
) -> Result<Option<KeyRecord>, Error> {
    const REVOKE: &str = "UPDATE api_keys SET revoked_at = ?2 WHERE key_id = ?1 AND revoked_at IS NULL";
    db.write("gateway.keys.revoke", move |conn| {
        let revoked = conn
            .prepare_cached(REVOKE)?
            .execute(params![key_id.as_str(), now.unix_ms()])?;
        let record = find(conn, &key_id)?;
        if let Some(record) = record.as_ref().filter(|_| revoked > 0) {
            let entry = asked.revoked(record, now, asked.reason.clone())?;
            // The wider room: acts that wait for the ledger must not keep a leaked key alive.
            outbox::sqlite::append(conn, Builtin::Gateway.name(), &[entry], Room::Fact)?;
        }
        Ok(record)
    })
    .await
}

fn find(conn: &Conn, key_id: &KeyId) -> Result<Option<KeyRecord>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM api_keys WHERE key_id = ?1");
    let row = conn
        .prepare_cached(&sql)?
        .query_row([key_id.as_str()], |row| Ok(record(row)))
        .optional()?;
    row.transpose()
}

pub(super) async fn list(db: &Sqlite, ended_after: Timestamp) -> Result<Vec<KeyRecord>, Error> {
    db.read("gateway.keys.list", move |conn| {
        let sql = format!(
            "SELECT {COLUMNS} FROM api_keys
             WHERE coalesce(revoked_at, expires_at, 9223372036854775807) > ?1
             ORDER BY tenant, created_at, key_id"
        );
        let mut statement = conn.prepare_cached(&sql)?;
        let rows = statement.query_map([ended_after.unix_ms()], |row| Ok(record(row)))?;
        rows.map(|row| row?).collect()
    })
    .await
}

fn record(row: &Row<'_>) -> Result<KeyRecord, Error> {
    let name = |index: usize| row.get::<_, String>(index);
    let at = |index: usize| {
        row.get::<_, Option<i64>>(index)
            .map(|ms| ms.map(Timestamp::from_unix_ms))
    };
    let damaged = |what: &str| Error::new(ErrorKind::Corrupt, format!("a stored key has a damaged {what}"));
    Ok(KeyRecord {
        key_id: KeyId::new(&name(0)?).map_err(|error| damaged("id").context(error))?,
        tenant: TenantId::new(&name(1)?).map_err(|error| damaged("tenant").context(error))?,
        label: name(2)?,
        hash: row.get(3)?,
        created_at: Timestamp::from_unix_ms(row.get(4)?),
        expires_at: at(5)?,
        revoked_at: at(6)?,
    })
}
