//! The rows of a pair of snapshots, by tenant, topic, key and number, a chunk at a time.

use std::borrow::Cow;
use std::collections::VecDeque;

use rc_store::SystemTx;
use tokio_postgres::Row;

use super::super::snapshot::{RowKey, Snapshot};
use crate::bus::Record;
use crate::{Error, faults};

/// Rows of a chunk.
const ROWS_MAX: usize = 5_000;

/// Bytes of payload in a chunk.
const BYTES_MAX: usize = 16 * 1024 * 1024;

/// Rows whose order is remembered, at eight bytes each. A pair is read and sorted once for as many: what waits for a
/// relay that was away for hours is one pair, and sorting all of it for each chunk would take longer than it took
/// to come. Fewer in tests, so that their pairs have several lists.
const LISTED_MAX: usize = if cfg!(test) { 7_001 } else { 500_000 };

/// The rows of a pair, by `outbox_by_xid`: the first arm is what started after S1, the second what was running in
/// S1. Rows between cannot be new.
macro_rules! pair {
    () => {
        "WITH pair AS (
        SELECT pos, tenant, topic, key, kseq, length(payload) AS bytes FROM outbox
         WHERE xid >= $1::text::xid8 AND xid < $2::text::xid8
           AND pg_visible_in_snapshot(xid, $4::text::pg_snapshot)
        UNION ALL
        SELECT pos, tenant, topic, key, kseq, length(payload) AS bytes FROM outbox
         WHERE xid = ANY ($3::text[]::xid8[])
           AND pg_visible_in_snapshot(xid, $4::text::pg_snapshot)
     )"
    };
}

/// The first rows of a pair. Only keys and sizes are sorted; payloads are fetched for the chosen rows.
const FIRST: &str = concat!(
    pair!(),
    ", chunk AS (
        SELECT * FROM pair ORDER BY tenant, topic, key, kseq LIMIT $5
     ), sized AS (
        SELECT pos, sum(bytes) OVER (ORDER BY tenant, topic, key, kseq ROWS UNBOUNDED PRECEDING) - bytes
            AS bytes_before FROM chunk
     )
     SELECT o.pos, o.tenant, o.topic, o.key, o.kseq, o.id, o.fingerprint, o.type, o.schema, o.time_ms,
            o.traceparent, o.payload
       FROM sized JOIN outbox o USING (pos)
      WHERE bytes_before < $6::bigint ORDER BY o.tenant, o.topic, o.key, o.kseq"
);

/// Where the rows are that come after one of a pair, in order.
const LIST: &str = concat!(
    pair!(),
    " SELECT pos FROM pair
      WHERE (tenant, topic, key, kseq) > ($5::text, $6::text, $7::text, $8::bigint)
      ORDER BY tenant, topic, key, kseq LIMIT $9"
);

/// Rows by their places, in the order of these. By the primary key.
const ROWS: &str = "WITH listed AS (
        SELECT o.pos, n, length(o.payload) AS bytes
          FROM unnest($1::bigint[]) WITH ORDINALITY AS l (pos, n) JOIN outbox o USING (pos)
     ), sized AS (
        SELECT pos, n, sum(bytes) OVER (ORDER BY n ROWS UNBOUNDED PRECEDING) - bytes AS bytes_before FROM listed
     )
     SELECT o.pos, o.tenant, o.topic, o.key, o.kseq, o.id, o.fingerprint, o.type, o.schema, o.time_ms,
            o.traceparent, o.payload
       FROM sized JOIN outbox o USING (pos)
      WHERE bytes_before < $2::bigint ORDER BY n";

/// What is visible in `to` and was not in `done`.
pub(super) struct Pair<'p> {
    pub(super) done: &'p Snapshot,
    pub(super) to: &'p Snapshot,
}

/// Where the next rows of a pair are.
#[derive(Default)]
pub(super) struct Listed {
    places: VecDeque<i64>,
    /// Nothing of the pair comes after them.
    whole: bool,
}

impl Pair<'_> {
    /// The first chunk, and whether nothing comes after it.
    pub(super) async fn first(&self, tx: &SystemTx<'_>) -> Result<(Vec<Record>, bool), Error> {
        let sql = if faults::mutated("relay.order_by_xid") {
            Cow::Owned(FIRST.replace(
                "ORDER BY o.tenant, o.topic, o.key, o.kseq",
                "ORDER BY o.xid, o.pos",
            ))
        } else {
            Cow::Borrowed(FIRST)
        };
        let rows = tx
            .query(
                &sql,
                &[
                    &self.done.xmax.to_string(),
                    &self.to.xmax.to_string(),
                    &self.running(),
                    &self.to.to_string(),
                    &as_i64(ROWS_MAX),
                    &as_i64(BYTES_MAX),
                ],
            )
            .await?;
        let rows = records(&rows)?;
        // A row is left out only behind this many rows or bytes.
        let bytes: usize = rows.iter().map(|record| record.event.payload.len()).sum();
        let finished = rows.len() < ROWS_MAX && bytes < BYTES_MAX;
        Ok((rows, finished))
    }

    /// The chunk after the row `after`, from which `listed` goes on, and whether nothing comes after it.
    pub(super) async fn next(
        &self,
        tx: &SystemTx<'_>,
        after: &RowKey,
        listed: &mut Listed,
    ) -> Result<(Vec<Record>, bool), Error> {
        if listed.places.is_empty() {
            *listed = self.list(tx, after).await?;
        }
        let places: Vec<i64> = listed.places.iter().take(ROWS_MAX).copied().collect();
        let rows = tx.query(ROWS, &[&places, &as_i64(BYTES_MAX)]).await?;
        let rows = records(&rows)?;
        // The bytes may have left the last ones out. Places without rows are passed over.
        let last = rows.last().map(|record| record.origin_pos);
        let taken = places
            .iter()
            .rposition(|place| Some(*place) == last)
            .map_or(places.len(), |at| at + 1);
        listed.places.drain(..taken);
        Ok((rows, listed.places.is_empty() && listed.whole))
    }

    async fn list(&self, tx: &SystemTx<'_>, after: &RowKey) -> Result<Listed, Error> {
        let rows = tx
            .query(
                LIST,
                &[
                    &self.done.xmax.to_string(),
                    &self.to.xmax.to_string(),
                    &self.running(),
                    &self.to.to_string(),
                    &after.tenant,
                    &after.topic,
                    &after.key,
                    &after.kseq,
                    &as_i64(LISTED_MAX),
                ],
            )
            .await?;
        let places = rows
            .iter()
            .map(|row| row.try_get(0))
            .collect::<Result<VecDeque<i64>, tokio_postgres::Error>>()
            .map_err(rc_store::Error::from)?;
        Ok(Listed {
            whole: places.len() < LISTED_MAX,
            places,
        })
    }

    /// The transactions of the second arm.
    fn running(&self) -> Vec<String> {
        if faults::mutated("relay.ignore_running") {
            return Vec::new();
        }
        self.done.running.iter().map(ToString::to_string).collect()
    }
}

fn records(rows: &[Row]) -> Result<Vec<Record>, Error> {
    rows.iter()
        .map(|row| {
            Ok(Record {
                origin_pos: row.try_get(0).map_err(rc_store::Error::from)?,
                event: crate::bus::postgres::event_of(row, 1)?,
            })
        })
        .collect()
}

fn as_i64(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
