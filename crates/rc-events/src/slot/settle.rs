//! What a slot source asks the log: the rest of a transaction, which transactions are behind it, how much
//! waits.

use rc_model::Timestamp;
use rc_store::{Postgres, SystemTx};

use super::cursor::SlotCursor;
use crate::Error;
use crate::bus::{Cursor, ReadLimit, Record};
use crate::outbox::postgres::{Snapshot, snapshot};
use crate::relay::{Backlog, Fetched};

/// Counting stops here: a lag of a million rows is told as that.
const BACKLOG_ROWS_MAX: i64 = 1_000_000;

/// By `outbox_by_xid`. One statement, so that both answers are of the same moment.
const WRITTEN: &str = "SELECT pg_current_snapshot()::text, ARRAY(
        SELECT DISTINCT xid::text FROM outbox WHERE xid >= $1::text::xid8 AND xid < $2::text::xid8
        UNION ALL
        SELECT DISTINCT xid::text FROM outbox WHERE xid = ANY ($3::text[]::xid8[]))";

const AWAITS_STANDBY: &str = "SELECT current_setting('synchronous_standby_names') <> ''";

/// The message is nobody's; what it leaves in the WAL moves the slot on.
const HEARTBEAT: &str = "SELECT current_setting('synchronous_standby_names') <> '',
        pg_logical_emit_message(false, 'rc-hb', '')";

const SEEN: &str = "SELECT bool_and(pg_visible_in_snapshot(xid::xid8, pg_current_snapshot()))
      FROM unnest($1::text[]) xid";

const VISIBLE: &str = "SELECT pg_visible_in_snapshot($1::text::xid8, pg_current_snapshot())";

/// By `outbox_by_xid`. Positions are in the order of writing within one transaction.
const REST: &str = "WITH rest AS (
        SELECT pos, length(payload) AS bytes FROM outbox WHERE xid = $1::text::xid8 AND pos > $2
         ORDER BY pos LIMIT $3
     ), sized AS (
        SELECT pos, sum(bytes) OVER (ORDER BY pos ROWS UNBOUNDED PRECEDING) - bytes AS bytes_before FROM rest
     )
     SELECT o.pos, o.tenant, o.topic, o.key, o.kseq, o.id, o.fingerprint, o.type, o.schema, o.time_ms,
            o.traceparent, o.payload
       FROM sized JOIN outbox o USING (pos) WHERE bytes_before < $4::bigint ORDER BY o.pos";

const BACKLOG: &str = "SELECT count(*), min(time_ms) FROM (
        SELECT xid, time_ms FROM outbox
         WHERE (xid >= $1::text::xid8 OR xid = ANY ($2::text[]::xid8[]))
           AND NOT EXISTS (SELECT FROM unnest($3::text[]::xid8[]) listed WHERE listed = xid)
           AND NOT (xid = $4::text::xid8 AND pos <= $5) LIMIT $6
     ) waiting";

/// The snapshot of now, and the highest transaction with a row that it sees.
pub(super) async fn now(db: &Postgres) -> Result<(Snapshot, u64), Error> {
    let mut client = db.client().await?;
    let tx = client.system().await?;
    snapshot(&tx).await
}

/// Whether a commit waits for a standby.
pub(super) async fn awaits_standby(db: &Postgres) -> Result<bool, Error> {
    ask(db, AWAITS_STANDBY).await
}

/// Writes a little WAL; whether a commit waits for a standby.
pub(super) async fn beat(db: &Postgres) -> Result<bool, Error> {
    ask(db, HEARTBEAT).await
}

async fn ask(db: &Postgres, sql: &str) -> Result<bool, Error> {
    let mut client = db.client().await?;
    let tx = client.system().await?;
    let said = tx.query_one(sql, &[]).await?.try_get(0);
    tx.commit().await?;
    Ok(said.map_err(rc_store::Error::from)?)
}

/// Whether everybody sees what these transactions wrote.
pub(super) async fn seen(db: &Postgres, xids: &[u64]) -> Result<bool, Error> {
    if xids.is_empty() {
        return Ok(true);
    }
    let mut client = db.client().await?;
    let tx = client.system().await?;
    let row = tx.query_one(SEEN, &[&texts(xids)]).await?;
    Ok(row.try_get(0).map_err(rc_store::Error::from)?)
}

/// The rows that are left of a transaction of which some were published. None, and the part still there:
/// what it wrote is not visible yet.
pub(super) async fn finish_part(
    db: &Postgres,
    at: &mut SlotCursor,
    limit: ReadLimit,
) -> Result<Vec<Record>, Error> {
    let Some((xid, pos)) = at.part else {
        return Ok(Vec::new());
    };
    let mut client = db.client().await?;
    let tx = client.system().await?;
    let visible: bool = tx
        .query_one(VISIBLE, &[&xid.to_string()])
        .await?
        .try_get(0)
        .map_err(rc_store::Error::from)?;
    if !visible {
        return Ok(Vec::new());
    }
    let records = rest(&tx, xid, pos, limit).await?;
    match records.last() {
        Some(last) => at.part = Some((xid, last.origin_pos)),
        None => {
            at.part = None;
            at.more.push(xid);
        }
    }
    Ok(records)
}

async fn rest(tx: &SystemTx<'_>, xid: u64, pos: i64, limit: ReadLimit) -> Result<Vec<Record>, Error> {
    let bytes = i64::try_from(limit.bytes).unwrap_or(i64::MAX);
    let rows = tx
        .query(REST, &[&xid.to_string(), &pos, &limit.rows_i64(), &bytes])
        .await?;
    rows.iter()
        .map(|row| {
            Ok(Record {
                origin_pos: row.try_get(0).map_err(rc_store::Error::from)?,
                event: crate::bus::postgres::event_of(row, 1)?,
            })
        })
        .collect()
}

/// Folds the listed transactions into the snapshot; whether none is left in the list.
pub(super) async fn fold(db: &Postgres, at: &mut SlotCursor) -> Result<bool, Error> {
    if at.more.is_empty() {
        return Ok(true);
    }
    let mut client = db.client().await?;
    let tx = client.system().await?;
    let row = tx
        .query_one(
            WRITTEN,
            &[
                &at.done.xmax.to_string(),
                &at.fold_to().to_string(),
                &texts(&at.done.running),
            ],
        )
        .await?;
    let now = Snapshot::parse(row.try_get(0).map_err(rc_store::Error::from)?)?;
    let written: Vec<&str> = row.try_get(1).map_err(rc_store::Error::from)?;
    let written: Vec<u64> = written
        .into_iter()
        .map(|xid| {
            xid.parse()
                .map_err(|error| Error::damaged(format!("transaction `{xid}`: {error}")))
        })
        .collect::<Result<_, _>>()?;
    at.fold(&now, &written);
    Ok(at.more.is_empty())
}

/// What waits after `at`.
pub(crate) async fn backlog(db: &Postgres, at: &SlotCursor) -> Result<Backlog, Error> {
    let (part_xid, part_pos) = at.part.unwrap_or((0, 0));
    let mut client = db.client().await?;
    let tx = client.system().await?;
    let row = tx
        .query_one(
            BACKLOG,
            &[
                &at.done.xmax.to_string(),
                &texts(&at.done.running),
                &texts(&at.more),
                &part_xid.to_string(),
                &part_pos,
                &BACKLOG_ROWS_MAX,
            ],
        )
        .await?;
    let rows: i64 = row.try_get(0).map_err(rc_store::Error::from)?;
    let oldest: Option<i64> = row.try_get(1).map_err(rc_store::Error::from)?;
    Ok(Backlog {
        rows: rows.cast_unsigned(),
        oldest: oldest.map(Timestamp::from_unix_ms),
    })
}

/// For the pair reader that met a cursor of a slot reader: finishes what that one began, and turns its set
/// of transactions into a snapshot.
pub(crate) async fn take_over(db: &Postgres, cursor: &Cursor, limit: ReadLimit) -> Result<Fetched, Error> {
    let mut at = SlotCursor::parse(cursor)?;
    if at.open.is_none() {
        let records = finish_part(db, &mut at, limit).await?;
        if !records.is_empty() || at.part.is_some() || !fold(db, &mut at).await? {
            return Ok(Fetched {
                records,
                cursor: at.to_cursor(),
            });
        }
    }
    Ok(Fetched {
        records: Vec::new(),
        cursor: at.pair().to_cursor(),
    })
}

fn texts(xids: &[u64]) -> Vec<String> {
    xids.iter().map(ToString::to_string).collect()
}
