//! How far keys are, for a second state of the same consumer in another schema.

use rc_store::SystemTx;
use rc_store::tokio_postgres::Row;
use uuid::Uuid;

use crate::bus::postgres::tenant_of;
use crate::consumer::KeyAt;
use crate::event::Place;

const KEYS: &str = "SELECT tenant, topic, key, kseq, id FROM consumer_keys
     WHERE consumer = $1 AND (tenant, topic, key) > ($2, $3, $4) ORDER BY tenant, topic, key LIMIT $5";
const OF_PLACES: &str = "SELECT k.tenant, k.topic, k.key, k.kseq, k.id
     FROM unnest($2::text[], $3::text[], $4::text[]) AS e (tenant, topic, key)
     JOIN consumer_keys k
       ON k.consumer = $1 AND k.tenant = e.tenant AND k.topic = e.topic AND k.key = e.key";
const TAKE: &str = "INSERT INTO consumer_keys (consumer, tenant, topic, key, kseq, id)
     SELECT $1, * FROM unnest($2::text[], $3::text[], $4::text[], $5::bigint[], $6::uuid[])
     ON CONFLICT (consumer, tenant, topic, key) DO UPDATE SET kseq = excluded.kseq, id = excluded.id";
const SETTLE: &str = "DELETE FROM dead_letters AS d
     USING unnest($2::text[], $3::text[], $4::text[], $5::bigint[]) AS e (tenant, topic, key, kseq)
     WHERE d.consumer = $1 AND d.tenant = e.tenant AND d.topic = e.topic AND d.key = e.key AND d.kseq <= e.kseq";

/// As [`crate::consumer::sqlite::keys_after`].
///
/// # Errors
/// As PostgreSQL says.
pub async fn keys_after(
    tx: &SystemTx<'_>,
    consumer: &str,
    after: Option<&Place>,
    rows: i64,
) -> Result<Vec<KeyAt>, rc_store::Error> {
    let (tenant, topic, key) = after.map_or(("", "", ""), |place| {
        (place.tenant.as_str(), &*place.topic, place.key.as_str())
    });
    let found = tx.query(KEYS, &[&consumer, &tenant, &topic, &key, &rows]).await?;
    found.iter().map(key_at).collect()
}

/// How far the keys of `places` are; those that were never seen are left out.
///
/// # Errors
/// As PostgreSQL says.
pub async fn keys(
    tx: &SystemTx<'_>,
    consumer: &str,
    places: &[Place],
) -> Result<Vec<KeyAt>, rc_store::Error> {
    let (tenants, topics, keys) = columns(places);
    let found = tx
        .query(OF_PLACES, &[&consumer, &tenants, &topics, &keys])
        .await?;
    found.iter().map(key_at).collect()
}

/// As [`crate::consumer::sqlite::take_key`], for many keys.
///
/// # Errors
/// As PostgreSQL says.
pub async fn take_keys(tx: &SystemTx<'_>, consumer: &str, at: &[KeyAt]) -> Result<(), rc_store::Error> {
    let (tenants, topics, keys) = columns(at.iter().map(|key| &key.place));
    let last: Vec<i64> = at.iter().map(|key| key.last.cast_signed()).collect();
    let ids: Vec<Uuid> = at.iter().map(|key| key.id).collect();
    tx.execute(TAKE, &[&consumer, &tenants, &topics, &keys, &last, &ids])
        .await?;
    tx.execute(SETTLE, &[&consumer, &tenants, &topics, &keys, &last])
        .await?;
    Ok(())
}

fn columns<'p>(places: impl IntoIterator<Item = &'p Place>) -> (Vec<&'p str>, Vec<&'p str>, Vec<&'p str>) {
    let (mut tenants, mut topics, mut keys) = (Vec::new(), Vec::new(), Vec::new());
    for place in places {
        tenants.push(place.tenant.as_str());
        topics.push(&*place.topic);
        keys.push(place.key.as_str());
    }
    (tenants, topics, keys)
}

fn key_at(row: &Row) -> Result<KeyAt, rc_store::Error> {
    Ok(KeyAt {
        place: Place {
            tenant: tenant_of(row, 0)?,
            topic: row.try_get::<_, String>(1)?.into(),
            key: row.try_get(2)?,
        },
        last: row.try_get::<_, i64>(3)?.cast_unsigned(),
        id: row.try_get(4)?,
    })
}
