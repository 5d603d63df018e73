//! How far keys are, for a second state of the same consumer in another file.

use rc_model::TenantId;
use rc_store::Conn;
use rusqlite::{OptionalExtension as _, Row};
use uuid::Uuid;

use crate::consumer::KeyAt;
use crate::event::Place;

const KEYS: &str = "SELECT tenant, topic, key, kseq, id FROM consumer_keys
     WHERE consumer = ?1 AND (tenant, topic, key) > (?2, ?3, ?4) ORDER BY tenant, topic, key LIMIT ?5";
const KEY: &str = "SELECT tenant, topic, key, kseq, id FROM consumer_keys
     WHERE consumer = ?1 AND tenant = ?2 AND topic = ?3 AND key = ?4";
const TAKE: &str =
    "INSERT INTO consumer_keys (consumer, tenant, topic, key, kseq, id) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
     ON CONFLICT (consumer, tenant, topic, key) DO UPDATE SET kseq = excluded.kseq, id = excluded.id";
const SETTLE: &str = "DELETE FROM dead_letters
     WHERE consumer = ?1 AND tenant = ?2 AND topic = ?3 AND key = ?4 AND kseq <= ?5";

/// The next keys behind `after`, at most `rows`.
///
/// # Errors
/// As SQLite says.
pub fn keys_after(
    conn: &Conn,
    consumer: &str,
    after: Option<&Place>,
    rows: i64,
) -> Result<Vec<KeyAt>, rc_store::Error> {
    let (tenant, topic, key) = after.map_or(("", "", ""), |place| {
        (place.tenant.as_str(), &*place.topic, place.key.as_str())
    });
    let mut select = conn.prepare_cached(KEYS)?;
    let mut found = select.query((consumer, tenant, topic, key, rows))?;
    let mut keys = Vec::new();
    while let Some(row) = found.next()? {
        keys.push(key_at(row)??);
    }
    Ok(keys)
}

/// How far the key of `place` is; `None` when it was never seen.
///
/// # Errors
/// As SQLite says.
pub fn key(conn: &Conn, consumer: &str, place: &Place) -> Result<Option<KeyAt>, rc_store::Error> {
    let names = (consumer, place.tenant.as_str(), &*place.topic, &place.key);
    let found = conn.prepare_cached(KEY)?.query_row(names, key_at).optional()?;
    Ok(found.transpose()?)
}

/// Makes a key as far as `at` says: letters up to there are settled. Call it in the transaction that also takes the
/// effects over.
///
/// # Errors
/// As SQLite says.
pub fn take_key(conn: &Conn, consumer: &str, at: &KeyAt) -> Result<(), rc_store::Error> {
    let (place, last) = (&at.place, at.last.cast_signed());
    let (tenant, topic, key) = (place.tenant.as_str(), &*place.topic, &place.key);
    conn.prepare_cached(TAKE)?
        .execute((consumer, tenant, topic, key, last, &at.id.as_bytes()[..]))?;
    conn.prepare_cached(SETTLE)?
        .execute((consumer, tenant, topic, key, last))?;
    Ok(())
}

fn key_at(row: &Row<'_>) -> rusqlite::Result<Result<KeyAt, crate::Error>> {
    let tenant: String = row.get(0)?;
    let id: [u8; 16] = row.get(4)?;
    let (topic, key): (String, String) = (row.get(1)?, row.get(2)?);
    let last = row.get::<_, i64>(3)?.cast_unsigned();
    Ok(TenantId::new(&tenant)
        .map_err(|error| crate::Error::damaged(format!("tenant `{tenant}`: {error}")))
        .map(|tenant| KeyAt {
            place: Place {
                tenant,
                topic: topic.into(),
                key,
            },
            last,
            id: Uuid::from_bytes(id),
        }))
}
