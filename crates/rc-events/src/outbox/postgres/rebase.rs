//! The way out for an outbox whose cluster was restored: transaction numbers start lower than before, and no cursor
//! means anything. Numbers of keys still do: what the bus has is settled, the rest is relayed.

use std::collections::HashMap;

use rc_model::{Clock, TenantId};
use rc_store::{Postgres, SystemTx};
use uuid::Uuid;

use super::snapshot::{PairCursor, Snapshot};
use crate::bus::{Bus, Publish, ReadLimit, Record};
use crate::event::{NewEvent, Numbering, Place};
use crate::{Error, bus};

/// The topic of the event that carries the new cursor to the bus. Consumers pass it by.
const TOPIC: &str = "rc.rebase";

/// Nobody appends, and no second rebase runs.
const LOCK: &str = "LOCK TABLE ONLY outbox IN SHARE ROW EXCLUSIVE MODE";
const KEYS: &str = "CREATE TEMP TABLE on_bus (
        tenant text COLLATE \"C\", topic text COLLATE \"C\", key text COLLATE \"C\", last bigint,
        PRIMARY KEY (tenant, topic, key)
     ) ON COMMIT DROP";
const ADD_KEYS: &str =
    "INSERT INTO on_bus SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[])";
/// Keys of which the bus has more than the outbox: what was written after the copy was made is lost here.
const BEHIND: &str = "SELECT count(*), min(tenant || '/' || topic || '/' || key) FROM (
        SELECT tenant, topic, key FROM outbox o JOIN on_bus b USING (tenant, topic, key)
         GROUP BY tenant, topic, key, b.last HAVING max(o.kseq) < b.last
     ) behind";
/// Transaction 3 is older than any cursor; this one is younger than the new cursor.
const REWRITE: &str = "UPDATE outbox o
        SET xid = CASE WHEN n.settled THEN '3'::xid8 ELSE pg_current_xact_id() END
       FROM (SELECT pos, kseq <= coalesce(last, 0) AS settled
               FROM outbox LEFT JOIN on_bus USING (tenant, topic, key)) n
      WHERE o.pos = n.pos";
const WAITING: &str = "SELECT count(*) FILTER (WHERE xid = pg_current_xact_id()), count(*),
        pg_current_xact_id()::text FROM outbox";

/// What a rebase came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rebased {
    /// Rows that the bus has.
    pub settled: u64,
    /// Rows that will be relayed.
    pub waiting: u64,
    /// Keys of which the bus has later events than the outbox: the copy is older than the bus.
    pub behind: u64,
}

/// Settles the outbox of `origin` by what `bus` has. Can be repeated after a crash; a healthy outbox is not harmed.
/// `tenant` is whose event carries the new cursor: type `rc.void.v1`, without effect. Reads the whole bus, and
/// rewrites the rows that are kept.
///
/// # Errors
/// [`Error::Damaged`] when the outbox is older than the bus, unless `accept_loss`: its service would give numbers
/// out again that consumers have seen. [`Error::Fenced`] when a relay publishes meanwhile: stop it first. What store
/// and bus say.
pub async fn rebase(
    db: &Postgres,
    bus: &dyn Bus,
    origin: &str,
    tenant: &TenantId,
    clock: &dyn Clock,
    accept_loss: bool,
) -> Result<Rebased, Error> {
    let expected = bus.cursor(origin).await?;
    let last = numbers_on(bus).await?;
    let mut client = db.client().await?;
    let tx = client.system().await?;
    let rewrite = async {
        tx.batch(LOCK).await?;
        tx.batch(KEYS).await?;
        add_keys(&tx, &last).await?;
        let row = tx.query_one(BEHIND, &[]).await?;
        let (behind, example): (i64, Option<&str>) = (row.try_get(0)?, row.try_get(1)?);
        if behind > 0 && !accept_loss {
            return Err(Error::damaged(format!(
                "the outbox is older than the bus: {behind} keys have later events there, for example `{}`",
                example.unwrap_or_default()
            ))
            .into());
        }
        tx.execute(REWRITE, &[]).await?;
        let row = tx.query_one(WAITING, &[]).await?;
        let (waiting, all, xid): (i64, i64, String) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        tx.commit().await?;
        let rebased = Rebased {
            settled: (all - waiting).cast_unsigned(),
            waiting: waiting.cast_unsigned(),
            behind: behind.cast_unsigned(),
        };
        Ok((rebased, xid))
    };
    let (rebased, xid) = rewrite
        .await
        .map_err(Error::from_store("failed to rebase the outbox"))?;
    let cursor = PairCursor {
        done: Snapshot::parse(&format!("{xid}:{xid}:"))?,
        open: None,
    };
    let place = Place {
        tenant: tenant.clone(),
        topic: TOPIC.into(),
        key: origin.to_owned(),
    };
    let record = Record {
        origin_pos: 0,
        event: NewEvent {
            id: Uuid::now_v7(),
            kseq: last.get(&place).copied().unwrap_or(0) + 1,
            tenant: place.tenant,
            topic: place.topic,
            key: place.key,
            numbering: Numbering::Consecutive,
            event_type: "rc.void.v1".into(),
            schema: 1,
            time: clock.now(),
            fingerprint: [0; 16],
            trace: None,
            payload: bytes::Bytes::from_static(b"{}"),
        },
    };
    bus.publish(Publish {
        origin: origin.to_owned(),
        expected,
        cursor: cursor.to_cursor(),
        records: vec![record],
    })
    .await?;
    Ok(rebased)
}

/// The last number of each place on the bus.
async fn numbers_on(bus: &dyn Bus) -> Result<HashMap<Place, u64>, Error> {
    let mut last: HashMap<Place, u64> = HashMap::new();
    let mut after = 0;
    loop {
        let events = match bus.read(after, ReadLimit::default()).await {
            Ok(events) => events,
            Err(Error::Pruned { first, .. }) => {
                after = first - 1;
                continue;
            }
            Err(error) => return Err(error),
        };
        let Some(newest) = events.last() else {
            return Ok(last);
        };
        after = newest.pos;
        for event in &events {
            let number = last.entry(event.place()).or_default();
            *number = event.kseq.max(*number);
        }
    }
}

async fn add_keys(tx: &SystemTx<'_>, last: &HashMap<Place, u64>) -> Result<(), rc_store::Error> {
    let all: Vec<(&Place, &u64)> = last.iter().collect();
    for part in all.chunks(bus::BATCH_ROWS_MAX) {
        let tenants: Vec<&str> = part.iter().map(|(place, _)| place.tenant.as_str()).collect();
        let topics: Vec<&str> = part.iter().map(|(place, _)| &*place.topic).collect();
        let keys: Vec<&str> = part.iter().map(|(place, _)| place.key.as_str()).collect();
        let numbers: Vec<i64> = part.iter().map(|(_, number)| number.cast_signed()).collect();
        tx.execute(ADD_KEYS, &[&tenants, &topics, &keys, &numbers])
            .await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
