//! A consumer's positions, the last number of each key, its letters and its replays, in the consumer's own
//! PostgreSQL schema.

mod books;
mod handover;
mod jobs;
mod letters;

use std::collections::HashMap;

use rc_store::{Migration, Migrations, SystemTx};
use uuid::Uuid;

pub use books::PostgresBooks;
pub use handover::{keys, keys_after, take_keys};

use super::batch::{Admitted, Batch, Step};
use super::decide::{self, Decided, Known, Names, names};
use super::rules;
use crate::event::Seq;

/// The consumer's tables.
pub const MIGRATIONS: Migrations = Migrations::new(
    "consumer",
    &[
        Migration {
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
        },
        // An empty bus: the one that is there when the consumer starts; the former layout did not say.
        Migration {
            number: 2,
            name: "add_lanes_letters_jobs",
            up: concat!(
                "ALTER TABLE consumer_positions ADD COLUMN lane integer NOT NULL DEFAULT 0;
ALTER TABLE consumer_positions ADD COLUMN bus text NOT NULL DEFAULT '';
ALTER TABLE consumer_positions DROP CONSTRAINT consumer_positions_pkey;
ALTER TABLE consumer_positions ADD PRIMARY KEY (consumer, lane);
ALTER TABLE consumer_keys ADD COLUMN held bigint NOT NULL DEFAULT 0;
CREATE TABLE dead_letters (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    consumer text NOT NULL,
    tenant text NOT NULL,
    topic text NOT NULL,
    key text NOT NULL,
    kseq bigint NOT NULL,
    id uuid NOT NULL,
    fingerprint bytea NOT NULL,
    type text NOT NULL,
    schema integer NOT NULL,
    time_ms bigint NOT NULL,
    traceparent text,
    payload bytea NOT NULL,
    numbering smallint NOT NULL,
    pos bigint NOT NULL,
    edited bytea,
    state text NOT NULL,
    class text NOT NULL,
    code text NOT NULL,
    why text NOT NULL,
    error bigint NOT NULL,
    attempts bigint NOT NULL,
    replays bigint NOT NULL DEFAULT 0,
    same_error bigint NOT NULL DEFAULT 0,
    first_ms bigint NOT NULL,
    last_ms bigint NOT NULL
);
CREATE UNIQUE INDEX dead_letters_place ON dead_letters (consumer, tenant, topic, key, kseq);
",
                rc_store::row_security!("dead_letters"),
                "CREATE TABLE consumer_jobs (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    consumer text NOT NULL,
    bus text NOT NULL,
    filter text NOT NULL,
    rate bigint,
    reason text NOT NULL,
    plan text NOT NULL,
    matched bigint NOT NULL,
    first bigint NOT NULL,
    at bigint NOT NULL,
    upto bigint NOT NULL,
    applied bigint NOT NULL DEFAULT 0,
    failed bigint NOT NULL DEFAULT 0,
    state text NOT NULL,
    why text NOT NULL DEFAULT '',
    began_ms bigint NOT NULL,
    ended_ms bigint
);
CREATE UNIQUE INDEX consumer_jobs_running ON consumer_jobs (consumer) WHERE state = 'running'"
            ),
            // The former layout has no letters: it reads the bus again from the first of them.
            down: "CREATE TABLE consumer_places AS
SELECT p.consumer, least(min(p.seq),
    coalesce((SELECT greatest(min(d.pos) - 1, 0) FROM dead_letters d
              WHERE d.consumer = p.consumer AND d.state <> 'skipped'), min(p.seq))) AS seq
FROM consumer_positions p GROUP BY p.consumer;
DELETE FROM consumer_positions;
ALTER TABLE consumer_positions DROP CONSTRAINT consumer_positions_pkey;
ALTER TABLE consumer_positions DROP COLUMN lane;
ALTER TABLE consumer_positions DROP COLUMN bus;
ALTER TABLE consumer_positions ADD PRIMARY KEY (consumer);
INSERT INTO consumer_positions (consumer, seq) SELECT consumer, seq FROM consumer_places;
DROP TABLE consumer_places;
ALTER TABLE consumer_keys DROP COLUMN held;
DROP TABLE dead_letters;
DROP TABLE consumer_jobs",
        },
    ],
);

const POSITION: &str = "SELECT min(seq) FROM consumer_positions WHERE consumer = $1";
const FIRST_LANE: &str = "INSERT INTO consumer_positions (consumer, lane, bus, seq) VALUES ($1, $2, $3, 0)
     ON CONFLICT (consumer, lane) DO NOTHING";
const LOCK_LANE: &str =
    "SELECT bus, seq FROM consumer_positions WHERE consumer = $1 AND lane = $2 FOR UPDATE";
const SET_LANE: &str = "UPDATE consumer_positions SET seq = $3 WHERE consumer = $1 AND lane = $2";
const LAST: &str = "SELECT e.n, k.kseq, k.id, k.held
     FROM unnest($2::text[], $3::text[], $4::text[]) WITH ORDINALITY AS e (tenant, topic, key, n)
     JOIN consumer_keys k
       ON k.consumer = $1 AND k.tenant = e.tenant AND k.topic = e.topic AND k.key = e.key";
const SET_LAST: &str = "INSERT INTO consumer_keys (consumer, tenant, topic, key, kseq, id, held)
     SELECT $1, * FROM unnest($2::text[], $3::text[], $4::text[], $5::bigint[], $6::uuid[], $7::bigint[])
     ON CONFLICT (consumer, tenant, topic, key)
     DO UPDATE SET kseq = excluded.kseq, id = excluded.id, held = excluded.held";

/// Where the consumer is: its lowest lane; 0 before the first event.
///
/// # Errors
/// As PostgreSQL says.
pub async fn position(tx: &SystemTx<'_>, consumer: &str) -> Result<Seq, rc_store::Error> {
    let lowest: Option<Seq> = tx.query_one(POSITION, &[&consumer]).await?.try_get(0)?;
    Ok(lowest.unwrap_or(0))
}

/// As [`super::sqlite::admit`]. Two processes that run the same consumer take turns here, and the second
/// finds that the consumer has moved.
///
/// # Errors
/// As [`super::sqlite::admit`]: drop the transaction.
pub async fn admit<'b>(tx: &SystemTx<'_>, batch: &'b Batch) -> Result<Admitted<'b>, rc_store::Error> {
    let consumer = &*batch.consumer;
    let decided = match &batch.step {
        Step::Follow { from, upto } => {
            stand(tx, batch, Some(*from)).await?;
            let decided = follow(tx, batch).await?;
            tx.execute(SET_LANE, &[&consumer, &i32::from(batch.lane.index), upto])
                .await?;
            decided
        }
        Step::Fill => {
            stand(tx, batch, None).await?;
            follow(tx, batch).await?
        }
        Step::Letter { number, last } => {
            stand(tx, batch, None).await?;
            let held = letters::held(tx, consumer, *number, *last).await?;
            let known = known(tx, batch).await?.into_values().next().unwrap_or_default();
            let decided = decide::letter(batch, known, held)?;
            letters::remove(tx, *number).await?;
            set_keys(tx, consumer, &decided).await?;
            decided
        }
        Step::History {
            job,
            from,
            upto,
            failed,
        } => {
            let known = known(tx, batch).await?;
            let decided = decide::history(batch, &known);
            let applied = decided.applied.applied;
            jobs::advance(tx, consumer, *job, (*from, *upto), applied, *failed).await?;
            decided
        }
    };
    Ok(Admitted {
        fresh: decided.fresh,
        applied: decided.applied,
    })
}

/// Locks the lane and checks that it stands at `from` on this bus; with `None`, that it is there.
async fn stand(tx: &SystemTx<'_>, batch: &Batch, from: Option<Seq>) -> Result<(), rc_store::Error> {
    let (consumer, lane) = (&*batch.consumer, i32::from(batch.lane.index));
    tx.execute(FIRST_LANE, &[&consumer, &lane, &batch.bus.as_str()])
        .await?;
    let row = tx.query_one(LOCK_LANE, &[&consumer, &lane]).await?;
    Ok(rules::check_stand(batch, row.try_get(0)?, row.try_get(1)?, from)?)
}

async fn follow<'b>(tx: &SystemTx<'_>, batch: &'b Batch) -> Result<Decided<'b>, rc_store::Error> {
    let known = known(tx, batch).await?;
    let mut open = HashMap::new();
    for (place, key) in &known {
        if key.has_letters() {
            open.insert(*place, letters::open(tx, &batch.consumer, *place).await?);
        }
    }
    let decided = decide::follow(batch, known, open)?;
    if !decided.letters.is_empty() {
        letters::store(tx, batch, &decided.letters).await?;
    }
    set_keys(tx, &batch.consumer, &decided).await?;
    Ok(decided)
}

async fn known<'b>(
    tx: &SystemTx<'_>,
    batch: &'b Batch,
) -> Result<HashMap<Names<'b>, Known>, rc_store::Error> {
    let mut places: Vec<Names<'b>> = batch.events().iter().map(names).collect();
    places.sort_unstable();
    places.dedup();
    if places.is_empty() {
        return Ok(HashMap::new());
    }
    let tenants: Vec<&str> = places.iter().map(|place| place.0).collect();
    let topics: Vec<&str> = places.iter().map(|place| place.1).collect();
    let keys: Vec<&str> = places.iter().map(|place| place.2).collect();
    let mut known = HashMap::with_capacity(places.len());
    let consumer = &*batch.consumer;
    for row in tx.query(LAST, &[&consumer, &tenants, &topics, &keys]).await? {
        // Ordinality counts from 1.
        let index = usize::try_from(row.try_get::<_, i64>(0)? - 1).unwrap_or(usize::MAX);
        if let Some(place) = places.get(index) {
            let key = Known {
                last: row.try_get::<_, i64>(1)?.cast_unsigned(),
                id: row.try_get(2)?,
                held: row.try_get::<_, i64>(3)?.cast_unsigned(),
            };
            known.insert(*place, key);
        }
    }
    Ok(known)
}

/// One row a key, in the order of the places: two consumers lock in the same order.
async fn set_keys(tx: &SystemTx<'_>, consumer: &str, decided: &Decided<'_>) -> Result<(), rc_store::Error> {
    if decided.keys.is_empty() {
        return Ok(());
    }
    let tenants: Vec<&str> = decided.keys.keys().map(|place| place.0).collect();
    let topics: Vec<&str> = decided.keys.keys().map(|place| place.1).collect();
    let keys: Vec<&str> = decided.keys.keys().map(|place| place.2).collect();
    let numbers: Vec<i64> = decided.keys.values().map(|key| key.last.cast_signed()).collect();
    let ids: Vec<Uuid> = decided.keys.values().map(|key| key.id).collect();
    let held: Vec<i64> = decided.keys.values().map(|key| key.held.cast_signed()).collect();
    tx.execute(
        SET_LAST,
        &[&consumer, &tenants, &topics, &keys, &numbers, &ids, &held],
    )
    .await?;
    Ok(())
}
