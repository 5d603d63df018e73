//! Weights in PostgreSQL, schema `gateway`, for several gateways at once.

use rc_store::{Error, Postgres};

use super::{Change, Changed, Ramps, columns, record};
use crate::audit::{Room, outbox};
use rc_model::catalog::Builtin;

pub(super) async fn change(db: &Postgres, change: &Change) -> Result<Changed, Error> {
    // Also for a rollout without a record: two changes of one weight wait for each other.
    const LOCK: &str = "SELECT pg_advisory_xact_lock(hashtextextended('gateway.ramps.' || $1::text, 0))";
    const FIND: &str = "SELECT record FROM ramps WHERE rollout = $1";
    const SET: &str = "INSERT INTO ramps (rollout, generation, record) VALUES ($1, $2, $3)
         ON CONFLICT (rollout) DO UPDATE SET generation = $2, record = $3";
    let name = change.name.as_str();
    let mut client = db.client().await?;
    let tx = client.system().await?;
    tx.query_one(LOCK, &[&name]).await?;
    let current = match tx.query_opt(FIND, &[&name]).await? {
        Some(row) => Some(record(name, row.try_get(0)?)?.1),
        None => None,
    };
    let changed = change.decide(current.as_ref()).map_err(Error::abort)?;
    let Changed::Now(ramp) = &changed else {
        return Ok(changed);
    };
    let (generation, text) = columns(ramp)?;
    tx.execute(SET, &[&name, &generation, &text]).await?;
    let entry = change.entry(current.as_ref(), ramp)?;
    // Last: the source's row is locked from here to the commit.
    outbox::postgres::append(&tx, Builtin::Gateway.name(), &[entry], Room::Act).await?;
    tx.commit().await?;
    Ok(changed)
}

pub(super) async fn list(db: &Postgres) -> Result<Ramps, Error> {
    let mut client = db.client().await?;
    let tx = client.system().await?;
    let rows = tx
        .query("SELECT rollout, record FROM ramps ORDER BY rollout", &[])
        .await?;
    rows.iter()
        .map(|row| record(row.try_get(0)?, row.try_get(1)?))
        .collect()
}
