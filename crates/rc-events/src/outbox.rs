//! The outbox: an append-only log in the service's own database, written in the transaction that changes
//! the service's state. Rows are never updated. After they were relayed and have aged they go: in PostgreSQL
//! by whole partitions, in SQLite in chunks.

pub mod postgres;
pub mod sqlite;
pub mod table;

use std::time::Duration;

pub use rc_outbox::postgres::Grants;

use crate::{Error, faults};

/// How long a relayed row is kept, so that log and bus can be compared.
pub const OUTBOX_KEEP: Duration = Duration::from_secs(3_600);

/// Rows that one prune of a SQLite outbox deletes at most: about a millisecond of the writer's time.
pub const PRUNE_ROWS_MAX: usize = 1_000;

/// What makes an outbox for a service of the user's own in `schema`: tables, functions and grants. Idempotent. See
/// [`rc_outbox`].
///
/// # Errors
/// [`Error::Invalid`] when a name is not a plain one.
pub fn install_sql(schema: &str, grants: Grants<'_>) -> Result<String, Error> {
    let sql = rc_outbox::postgres::install_sql(schema, grants)
        .map_err(|error| Error::invalid(error.to_string()))?;
    if faults::mutated("outbox.skip_key_lock") {
        // A mistake that tests make on purpose: numbers are read, and nobody waits for whoever reads the same.
        return Ok(sql.replace(
            "        INSERT INTO event_keys AS k (tenant, topic, key, last)
        SELECT append_events.tenant, topic, key, count(*) FROM given
         GROUP BY topic, key ORDER BY topic COLLATE \"C\", key COLLATE \"C\"
        ON CONFLICT (tenant, topic, key) DO UPDATE SET last = k.last + excluded.last
        RETURNING k.topic, k.key, k.last",
            "        SELECT topic, key, count(*) + coalesce((SELECT max(o.kseq) FROM outbox o
            WHERE o.tenant = append_events.tenant AND o.topic = given.topic AND o.key = given.key), 0) AS last
          FROM given GROUP BY topic, key",
        ));
    }
    Ok(sql)
}

#[cfg(test)]
mod tests;
