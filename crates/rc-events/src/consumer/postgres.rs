//! A consumer's position and the last number of each key, in the consumer's own PostgreSQL schema.

use std::collections::HashMap;

use rc_store::{Migration, Migrations, SystemTx};
use uuid::Uuid;

use super::{Verdict, gap, judge, mismatch};
use crate::Error;
use crate::error::Moved;
use crate::event::{Event, Seq};

/// The consumer's tables.
pub const MIGRATIONS: Migrations = Migrations::new(
    "consumer",
    &[Migration {
        number: 1,
        name: "create_consumer",
        up: concat!(
            "CREATE TABLE consumer_positions (
    consumer text PRIMARY KEY,
    seq bigint NOT NULL
);
CREATE TABLE consumer_keys (
    consumer text NOT NULL,
    tenant text NOT NULL,
    topic text NOT NULL,
    key text NOT NULL,
    kseq bigint NOT NULL,
    id uuid NOT NULL,
    PRIMARY KEY (consumer, tenant, topic, key)
);
",
            rc_store::row_security!("consumer_keys")
        ),
        down: "DROP TABLE consumer_positions; DROP TABLE consumer_keys",
    }],
);

const POSITION: &str = "SELECT seq FROM consumer_positions WHERE consumer = $1";
const REGISTER: &str =
    "INSERT INTO consumer_positions (consumer, seq) VALUES ($1, 0) ON CONFLICT (consumer) DO NOTHING";
const LOCK_POSITION: &str = "SELECT seq FROM consumer_positions WHERE consumer = $1 FOR UPDATE";
const SET_POSITION: &str = "UPDATE consumer_positions SET seq = $2 WHERE consumer = $1";
const LAST: &str = "SELECT e.n, k.kseq, k.id
     FROM unnest($2::text[], $3::text[], $4::text[]) WITH ORDINALITY AS e (tenant, topic, key, n)
     JOIN consumer_keys k
       ON k.consumer = $1 AND k.tenant = e.tenant AND k.topic = e.topic AND k.key = e.key";
const SET_LAST: &str = "INSERT INTO consumer_keys (consumer, tenant, topic, key, kseq, id)
     SELECT $1, * FROM unnest($2::text[], $3::text[], $4::text[], $5::bigint[], $6::uuid[])
     ON CONFLICT (consumer, tenant, topic, key) DO UPDATE SET kseq = excluded.kseq, id = excluded.id";

/// Where the consumer is; for [`super::Projection::position`].
///
/// # Errors
/// As PostgreSQL says.
pub async fn position(tx: &SystemTx<'_>, consumer: &str) -> Result<Seq, rc_store::Error> {
    match tx.query_opt(POSITION, &[&consumer]).await? {
        Some(row) => Ok(row.try_get(0)?),
        None => Ok(0),
    }
}

/// As [`super::sqlite::admit`]. Two processes that run the same consumer take turns here, and the second
/// finds that the consumer has moved.
///
/// # Errors
/// [`Error::Moved`], [`Error::Gap`] or [`Error::Mismatch`] inside the store's error: drop the transaction.
pub async fn admit<'e>(
    tx: &SystemTx<'_>,
    consumer: &str,
    from: Seq,
    events: &'e [Event],
    upto: Seq,
) -> Result<Vec<&'e Event>, rc_store::Error> {
    tx.execute(REGISTER, &[&consumer]).await?;
    let stored: Seq = tx.query_one(LOCK_POSITION, &[&consumer]).await?.try_get(0)?;
    if stored != from {
        return Err(Error::Moved(Box::new(Moved {
            consumer: consumer.to_owned(),
            expected: from,
            stored,
        }))
        .into());
    }
    let mut last = last_numbers(tx, consumer, events).await?;
    let mut fresh = Vec::with_capacity(events.len());
    for event in events {
        let (seen, id) = last.get(&place(event)).copied().unwrap_or_default();
        match judge(seen, event.kseq, event.numbering) {
            Verdict::Apply => {
                last.insert(place(event), (event.kseq, event.id));
                fresh.push(event);
            }
            Verdict::Duplicate if event.kseq == seen && id != event.id => {
                return Err(mismatch(event).into());
            }
            Verdict::Duplicate => {}
            Verdict::Gap => return Err(gap(event, seen).into()),
        }
    }
    set_last_numbers(tx, consumer, &fresh).await?;
    tx.execute(SET_POSITION, &[&consumer, &upto]).await?;
    Ok(fresh)
}

type Place<'e> = (&'e str, &'e str, &'e str);

fn place(event: &Event) -> Place<'_> {
    (event.tenant.as_str(), &event.topic, &event.key)
}

async fn last_numbers<'e>(
    tx: &SystemTx<'_>,
    consumer: &str,
    events: &'e [Event],
) -> Result<HashMap<Place<'e>, (u64, Uuid)>, rc_store::Error> {
    let mut places: Vec<Place<'e>> = events.iter().map(place).collect();
    places.sort_unstable();
    places.dedup();
    let tenants: Vec<&str> = places.iter().map(|place| place.0).collect();
    let topics: Vec<&str> = places.iter().map(|place| place.1).collect();
    let keys: Vec<&str> = places.iter().map(|place| place.2).collect();
    let mut last = HashMap::with_capacity(places.len());
    for row in tx.query(LAST, &[&consumer, &tenants, &topics, &keys]).await? {
        // Ordinality counts from 1.
        let index = usize::try_from(row.try_get::<_, i64>(0)? - 1).unwrap_or(usize::MAX);
        let kseq: i64 = row.try_get(1)?;
        if let Some(place) = places.get(index) {
            last.insert(*place, (kseq.cast_unsigned(), row.try_get(2)?));
        }
    }
    Ok(last)
}

async fn set_last_numbers(
    tx: &SystemTx<'_>,
    consumer: &str,
    fresh: &[&Event],
) -> Result<(), rc_store::Error> {
    // One row a key: ON CONFLICT cannot touch a row twice in one statement. Sorted by place, so that two
    // consumers lock in the same order.
    let newest: std::collections::BTreeMap<Place<'_>, &Event> =
        fresh.iter().map(|event| (place(event), *event)).collect();
    if newest.is_empty() {
        return Ok(());
    }
    let tenants: Vec<&str> = newest.keys().map(|place| place.0).collect();
    let topics: Vec<&str> = newest.keys().map(|place| place.1).collect();
    let keys: Vec<&str> = newest.keys().map(|place| place.2).collect();
    let numbers: Vec<i64> = newest.values().map(|event| event.kseq.cast_signed()).collect();
    let ids: Vec<Uuid> = newest.values().map(|event| event.id).collect();
    tx.execute(SET_LAST, &[&consumer, &tenants, &topics, &keys, &numbers, &ids])
        .await?;
    Ok(())
}
