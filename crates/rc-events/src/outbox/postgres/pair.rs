//! Reading the outbox by snapshot pairs.

mod chunk;

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use rc_model::Timestamp;
use rc_store::{Postgres, SystemTx};
use tokio::sync::{Mutex, Notify};

use super::parts;
use super::snapshot::{PairCursor, RowKey, Snapshot};
use crate::bus::{Cursor, ReadLimit, Record};
use crate::event::{NewEvent, Place};
use crate::lease::{Epoch, Lease};
use crate::log::Log;
use crate::relay::parked::postgres::PostgresParked;
use crate::relay::{Backlog, Fetched, Parked, Pruned, Source};
use crate::slot::{self, SlotCursor};
use crate::{BoxFuture, Error};
use chunk::{Listed, Pair};

/// Rows that a partition of the outbox takes: some 700 MB of usual events, and less than a minute at full speed.
pub const PART_ROWS: i64 = 1_000_000;

/// The snapshot of now, and the highest transaction with a row that it sees. By `outbox_by_xid`.
const SNAPSHOT: &str = "SELECT s::text, (SELECT o.xid::text FROM outbox o
         WHERE pg_visible_in_snapshot(o.xid, s) ORDER BY o.xid DESC LIMIT 1)
      FROM pg_current_snapshot() s";

/// By `outbox_by_xid`. (`ORDER BY xid` alone would mean the text.)
const NEWEST_XID: &str = "SELECT o.xid::text FROM outbox o ORDER BY o.xid DESC LIMIT 1";

const RETAIN: &str = "SELECT outbox_retain($1::text::pg_snapshot, $2::bigint * interval '1 millisecond')";

/// No index serves this: a gap is rare, an index costs every append, and what is kept is bounded by retention.
const RANGE: &str =
    "SELECT tenant, topic, key, kseq, id, fingerprint, type, schema, time_ms, traceparent, payload
     FROM outbox WHERE tenant = $1 AND topic = $2 AND key = $3 AND kseq BETWEEN $4 AND $5
     ORDER BY kseq LIMIT $6";

/// Reads the outbox of one service for a relay. A cursor is a snapshot, or a place in a pair of them.
pub struct PostgresSource {
    db: Postgres,
    origin: String,
    hint: Notify,
    /// What was fetched and not yet taken. Locked by the one relay that fetches.
    ahead: Mutex<Ahead>,
    lease: Lease,
    part_rows: i64,
}

/// Rows in order behind a cursor, each with the cursor after it.
#[derive(Default)]
struct Ahead {
    from: Cursor,
    rows: VecDeque<(Record, Cursor)>,
    /// What follows them in their pair.
    listed: Listed,
    /// Whether this process has compared the outbox's transaction numbers with the cluster's.
    cluster_checked: bool,
}

impl std::fmt::Debug for PostgresSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PostgresSource")
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}

impl PostgresSource {
    /// The outbox of the service `origin` in the pool's schema.
    #[must_use]
    pub fn new(db: Postgres, origin: &str) -> Self {
        Self {
            lease: Lease::new(db.clone(), &format!("relay/{origin}")),
            db,
            origin: origin.to_owned(),
            hint: Notify::new(),
            ahead: Mutex::default(),
            part_rows: PART_ROWS,
        }
    }

    /// The same with partitions of `rows` rows, for tests of what happens at their borders.
    #[must_use]
    pub fn with_part_rows(mut self, rows: i64) -> Self {
        self.part_rows = rows;
        self
    }

    /// Wakes the relay after a commit of this process, so that it need not wait for its next poll.
    pub fn committed(&self) {
        self.hint.notify_one();
    }

    async fn fetch_chunk(&self, from: &Cursor, ahead: &mut Ahead) -> Result<Cursor, Error> {
        let at = PairCursor::parse(from)?;
        let mut client = self.db.client().await?;
        let tx = client.system().await?;
        let now = self.now(&tx, &at, ahead).await?;
        let (to, after) = match at.open {
            Some((to, after)) => (to, Some(after)),
            None if !at.done.differs(&now) => return Ok(from.clone()),
            None => (now, None),
        };
        let pair = Pair {
            done: &at.done,
            to: &to,
        };
        let (rows, finished) = match &after {
            None => pair.first(&tx).await?,
            Some(after) => pair.next(&tx, after, &mut ahead.listed).await?,
        };
        let done = PairCursor {
            done: to.clone(),
            open: None,
        };
        if rows.is_empty() {
            return Ok(if finished { done.to_cursor() } else { from.clone() });
        }
        let count = rows.len();
        for (index, record) in rows.into_iter().enumerate() {
            if finished && index + 1 == count {
                ahead.rows.push_back((record, done.to_cursor()));
                break;
            }
            let row_key = RowKey {
                tenant: record.event.tenant.to_string(),
                topic: record.event.topic.to_string(),
                key: record.event.key.clone(),
                kseq: record.event.kseq.cast_signed(),
            };
            let cursor = PairCursor {
                done: at.done.clone(),
                open: Some((to.clone(), row_key)),
            };
            ahead.rows.push_back((record, cursor.to_cursor()));
        }
        Ok(from.clone())
    }

    /// The current snapshot, as far as a crash cannot take it back; refuses an outbox whose transaction numbers this cluster has not reached.
    async fn now(&self, tx: &SystemTx<'_>, at: &PairCursor, ahead: &mut Ahead) -> Result<Snapshot, Error> {
        let (now, newest) = snapshot(tx).await?;
        let mut highest = at.open.as_ref().map_or(at.done.xmax, |(to, _)| to.xmax);
        if !ahead.cluster_checked {
            if let Some(row) = tx.query_opt(NEWEST_XID, &[]).await? {
                highest = highest.max(number(row.try_get(0).map_err(rc_store::Error::from)?)?);
            }
            ahead.cluster_checked = true;
        }
        // A row that committed after the snapshot was taken may lie just above it: look again then.
        if highest > now.xmax {
            let (again, _) = snapshot(tx).await?;
            if highest > again.xmax {
                ahead.cluster_checked = false;
                return Err(Error::Restored {
                    stored: highest,
                    current: again.xmax,
                });
            }
        }
        Ok(at.done.up_to(&now, newest))
    }
}

/// The snapshot of now, and the highest transaction with a row that it sees.
pub(crate) async fn snapshot(tx: &SystemTx<'_>) -> Result<(Snapshot, u64), Error> {
    let row = tx.query_one(SNAPSHOT, &[]).await?;
    let now = Snapshot::parse(row.try_get(0).map_err(rc_store::Error::from)?)?;
    let newest: Option<&str> = row.try_get(1).map_err(rc_store::Error::from)?;
    Ok((now, newest.map_or(Ok(0), number)?))
}

fn number(xid: &str) -> Result<u64, Error> {
    xid.parse()
        .map_err(|error| Error::damaged(format!("transaction number `{xid}`: {error}")))
}

impl Source for PostgresSource {
    fn origin(&self) -> &str {
        &self.origin
    }

    fn lead(&self) -> BoxFuture<'_, Result<Option<Epoch>, Error>> {
        Box::pin(self.lease.hold())
    }

    fn step_down(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(self.lease.release())
    }

    fn parked(&self) -> Option<Arc<dyn Parked>> {
        Some(Arc::new(PostgresParked::new(self.db.clone(), &self.origin, true)))
    }

    fn upkeep(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move {
            let make = async {
                let mut client = self.db.client().await?;
                let tx = client.system().await?;
                parts::make_room(&tx, "outbox", "pos", self.part_rows).await?;
                tx.commit().await
            };
            make.await.map_err(Error::from_store("failed to make partitions"))
        })
    }

    fn fetch<'a>(&'a self, cursor: &'a Cursor, limit: ReadLimit) -> BoxFuture<'a, Result<Fetched, Error>> {
        Box::pin(async move {
            if SlotCursor::is_one(cursor) {
                return slot::take_over(&self.db, cursor, limit).await;
            }
            let mut ahead = self.ahead.lock().await;
            let mut at = cursor.clone();
            if ahead.from != *cursor {
                ahead.rows.clear();
                ahead.listed = Listed::default();
            }
            if ahead.rows.is_empty() {
                at = self.fetch_chunk(cursor, &mut ahead).await?;
            }
            let mut records = Vec::new();
            let mut bytes = 0;
            while records.len() < limit.rows
                && let Some((record, _)) = ahead.rows.front()
            {
                bytes += record.event.bytes();
                if bytes > limit.bytes && !records.is_empty() {
                    break;
                }
                if let Some((record, after)) = ahead.rows.pop_front() {
                    records.push(record);
                    at = after;
                }
            }
            ahead.from = at.clone();
            Ok(Fetched { records, cursor: at })
        })
    }

    fn wait(&self, idle: Duration) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            // Either way there may be something new; only the hint makes it sooner.
            let _ = tokio::time::timeout(idle, self.hint.notified()).await;
        })
    }

    fn backlog<'a>(&'a self, cursor: &'a Cursor) -> BoxFuture<'a, Result<Backlog, Error>> {
        Box::pin(async move {
            // Also after a slot's reader, whose cursor lists what is on the bus beyond its snapshot.
            slot::backlog(&self.db, &SlotCursor::parse(cursor)?).await
        })
    }

    fn prune<'a>(
        &'a self,
        cursor: &'a Cursor,
        _now: Timestamp,
        keep: Duration,
    ) -> BoxFuture<'a, Result<Pruned, Error>> {
        Box::pin(async move {
            let taken = SlotCursor::parse(cursor)?.done;
            retain(&self.db, &taken, keep)
                .await
                .map_err(Error::from_store("failed to prune the outbox"))
        })
    }
}

impl Log for PostgresSource {
    fn range<'a>(
        &'a self,
        place: &'a Place,
        numbers: RangeInclusive<u64>,
        limit: ReadLimit,
    ) -> BoxFuture<'a, Result<Vec<NewEvent>, Error>> {
        Box::pin(async move {
            let number = |kseq: u64| i64::try_from(kseq).unwrap_or(i64::MAX);
            let mut client = self.db.client().await?;
            let tx = client.system().await?;
            let rows = tx
                .query(
                    RANGE,
                    &[
                        &place.tenant.as_str(),
                        &&*place.topic,
                        &place.key,
                        &number(*numbers.start()),
                        &number(*numbers.end()),
                        &limit.rows_i64(),
                    ],
                )
                .await?;
            let mut events: Vec<NewEvent> = Vec::new();
            let mut bytes = 0;
            for row in &rows {
                let event = crate::bus::postgres::event_of(row, 0)?;
                bytes += event.bytes();
                if bytes > limit.bytes && !events.is_empty() {
                    break;
                }
                events.push(event);
            }
            Ok(events)
        })
    }
}

/// Drops one partition of which every row is visible in `taken` and has been kept for `keep`.
async fn retain(db: &Postgres, taken: &Snapshot, keep: Duration) -> Result<Pruned, rc_store::Error> {
    let keep_ms = i64::try_from(keep.as_millis()).unwrap_or(i64::MAX);
    let mut client = db.client().await?;
    let tx = client.system().await?;
    let said = tx
        .query_one(RETAIN, &[&taken.to_string(), &keep_ms])
        .await?
        .try_get(0)?;
    tx.commit().await?;
    Ok(parts::dropped(said))
}

#[cfg(test)]
mod tests;
