//! An outbox table that somebody else made, of the common shape: `id, aggregate, aggregate_id, kind, payload,
//! fingerprint, created_at, dequeued_at`. Its service goes on as before; the relay numbers, publishes and marks.
//!
//! Nothing of such a table says in which order rows were committed, and there is no place to read from: an id that
//! is lower than one that was read may appear later. So rows are found by `dequeued_at IS NULL`, and get their
//! numbers when they are found, durably and before they are published. Ids of one key that commit in order are
//! published in order; a row that commits after a higher id of its key was found comes after it.
//!
//! The cursor on the bus is the number of the last batch. A batch keeps its rows and numbers until the bus has it,
//! so a relay that dies anywhere publishes the same batch again or none.

use std::time::Duration;

use bytes::Bytes;
use rc_model::{TenantId, Timestamp};
use rc_store::{Migration, Migrations, Postgres, SystemTx};
use tokio_postgres::Row;

use crate::bus::{Cursor, ReadLimit, Record};
use crate::event::Numbering;
use crate::lease::{Epoch, LEASES, Lease};
use crate::relay::parked::postgres::PostgresParked;
use crate::relay::{Backlog, Fetched, Parked, Pruned, Source};
use crate::{BoxFuture, Error, faults};

/// The relay's own tables, in a schema of its own beside the table.
pub const MIGRATIONS: Migrations = Migrations::new(
    "table_relay",
    &[
        Migration {
            number: 1,
            name: "create_leases",
            up: LEASES,
            down: "DROP TABLE leases",
        },
        Migration {
            number: 2,
            name: "create_outbox_parked",
            up: rc_outbox::postgres::PARKED,
            down: "DROP TABLE outbox_parked",
        },
        Migration {
            number: 3,
            name: "create_table_batches",
            up: "CREATE TABLE table_origins (origin text PRIMARY KEY, batch bigint NOT NULL) WITH (fillfactor = 10);
CREATE TABLE table_numbers (
    origin text NOT NULL,
    tenant text COLLATE \"C\" NOT NULL,
    topic text COLLATE \"C\" NOT NULL,
    key text COLLATE \"C\" NOT NULL,
    last bigint NOT NULL,
    PRIMARY KEY (origin, tenant, topic, key)
) WITH (fillfactor = 50);
CREATE TABLE table_batches (
    origin text NOT NULL,
    batch bigint NOT NULL,
    ordinal int NOT NULL,
    row_id text NOT NULL,
    tenant text NOT NULL,
    topic text NOT NULL,
    key text NOT NULL,
    kseq bigint NOT NULL,
    PRIMARY KEY (origin, batch, ordinal)
)",
            down: "DROP TABLE table_batches; DROP TABLE table_numbers; DROP TABLE table_origins",
        },
    ],
);

/// Ordinals of a batch are below this; a record's place in the outbox is `batch * this + ordinal`.
const ORDINALS: i64 = 1 << 20;

/// Counting stops here: a lag of a million rows is told as that.
const BACKLOG_ROWS_MAX: i64 = 1_000_000;

const TYPE_OF: &str = "SELECT format_type(atttypid, atttypmod) FROM pg_attribute
     WHERE attrelid = $1::text::regclass AND attname = $2 AND attnum > 0 AND NOT attisdropped";
const ORIGIN: &str =
    "INSERT INTO table_origins (origin, batch) VALUES ($1, 0) ON CONFLICT (origin) DO NOTHING";
/// One relay at a time numbers; a second one waits here and finds the batch.
const LOCK: &str = "SELECT batch FROM table_origins WHERE origin = $1 FOR UPDATE";
const NEXT: &str = "SELECT min(batch) FROM table_batches WHERE origin = $1 AND batch > $2";
const FORGET: &str = "DELETE FROM table_batches WHERE origin = $1 AND batch <= $2";
const ADVANCE: &str = "UPDATE table_origins SET batch = $2 WHERE origin = $1";

/// What the columns are called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Columns {
    /// The key of the table; rows go in its order.
    pub id: String,
    /// Becomes the topic.
    pub aggregate: String,
    /// Becomes the key.
    pub aggregate_id: String,
    /// Becomes the type.
    pub kind: String,
    /// JSON, text or bytes.
    pub payload: String,
    /// A hash of the content; without one the payload is hashed.
    pub fingerprint: Option<String>,
    /// Becomes the time.
    pub created_at: String,
    /// Empty until the row was relayed.
    pub dequeued_at: String,
}

impl Default for Columns {
    fn default() -> Self {
        Self {
            id: "id".to_owned(),
            aggregate: "aggregate".to_owned(),
            aggregate_id: "aggregate_id".to_owned(),
            kind: "kind".to_owned(),
            payload: "payload".to_owned(),
            fingerprint: Some("fingerprint".to_owned()),
            created_at: "created_at".to_owned(),
            dequeued_at: "dequeued_at".to_owned(),
        }
    }
}

/// Whose the rows are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tenancy {
    /// All of one tenant.
    One(TenantId),
    /// This column says so.
    Column(String),
}

/// Reads somebody else's outbox table for a relay.
#[derive(Debug)]
pub struct TableSource {
    db: Postgres,
    origin: String,
    lease: Lease,
    sql: Sql,
}

/// The statements for one table.
#[derive(Debug)]
struct Sql {
    mark: String,
    number: String,
    read: String,
    backlog: String,
}

impl TableSource {
    /// The table `table` (`name` or `schema.name`) in the database of `db`, whose own schema has [`MIGRATIONS`].
    ///
    /// # Errors
    /// [`Error::Invalid`] for a table or column that is not there; what the server says.
    pub async fn open(
        db: Postgres,
        origin: &str,
        table: &str,
        columns: &Columns,
        tenancy: &Tenancy,
    ) -> Result<Self, Error> {
        let prepare = async {
            let mut client = db.client().await?;
            let tx = client.system().await?;
            tx.execute(ORIGIN, &[&origin]).await?;
            let sql = Sql::of(&tx, table, columns, tenancy).await?;
            tx.commit().await?;
            Ok(sql)
        };
        let sql = prepare
            .await
            .map_err(Error::from_store("failed to look at the table"))?;
        Ok(Self {
            lease: Lease::new(db.clone(), &format!("relay/{origin}")),
            db,
            origin: origin.to_owned(),
            sql,
        })
    }

    /// Marks what the bus has, then returns the batch behind it: the one that was numbered before, or a new one.
    async fn batch(&self, done: i64, limit: ReadLimit) -> Result<(i64, Vec<Record>), rc_store::Error> {
        let mut client = self.db.client().await?;
        let tx = client.system().await?;
        let last: i64 = tx.query_one(LOCK, &[&self.origin]).await?.try_get(0)?;
        if done > last {
            return Err(Error::damaged(format!(
                "the bus has batch {done} of `{}`, and the relay's tables end at {last}: they were restored from \
                 an older copy",
                self.origin
            ))
            .into());
        }
        tx.execute(&self.sql.mark, &[&self.origin, &done]).await?;
        tx.execute(FORGET, &[&self.origin, &done]).await?;
        let mut next: Option<i64> = tx.query_one(NEXT, &[&self.origin, &done]).await?.try_get(0)?;
        if next.is_none() {
            let (batch, bytes) = (last + 1, i64::try_from(limit.bytes).unwrap_or(i64::MAX));
            let numbered = tx
                .execute(
                    &self.sql.number,
                    &[&self.origin, &batch, &limit.rows_i64(), &bytes],
                )
                .await?;
            if numbered > 0 {
                tx.execute(ADVANCE, &[&self.origin, &batch]).await?;
                next = Some(batch);
            }
        }
        let mut records = Vec::new();
        if let Some(batch) = next {
            for row in tx.query(&self.sql.read, &[&self.origin, &batch]).await? {
                records.push(record_of(&row, batch)?);
            }
        }
        faults::point("table.before_mark");
        tx.commit().await?;
        faults::point("table.after_number");
        Ok((next.unwrap_or(done), records))
    }
}

impl Sql {
    async fn of(
        tx: &SystemTx<'_>,
        table: &str,
        columns: &Columns,
        tenancy: &Tenancy,
    ) -> Result<Self, rc_store::Error> {
        let named: Vec<String> = table.split('.').map(quoted).collect();
        let table = named.join(".");
        let type_of = async |column: &str| -> Result<String, rc_store::Error> {
            let row = tx.query_opt(TYPE_OF, &[&table, &column]).await?;
            match row {
                Some(row) => Ok(row.try_get(0)?),
                None => Err(Error::invalid(format!("the table {table} has no column `{column}`")).into()),
            }
        };
        let id_type = type_of(&columns.id).await?;
        let payload_type = type_of(&columns.payload).await?;
        for column in [&columns.aggregate, &columns.aggregate_id, &columns.kind] {
            type_of(column).await?;
        }
        for column in [&columns.created_at, &columns.dequeued_at] {
            type_of(column).await?;
        }
        let payload = quoted(&columns.payload);
        let bytes = match payload_type.as_str() {
            "bytea" => format!("t.{payload}"),
            _ => format!("convert_to(t.{payload}::text, 'UTF8')"),
        };
        let hashed = match &columns.fingerprint {
            Some(column) => {
                type_of(column).await?;
                format!("coalesce(t.{}::text, t.{payload}::text)", quoted(column))
            }
            None => format!("t.{payload}::text"),
        };
        let tenant = match tenancy {
            // A tenant id is a DNS label: it cannot end a string.
            Tenancy::One(tenant) => format!("'{tenant}'"),
            Tenancy::Column(column) => {
                type_of(column).await?;
                format!("t.{}::text", quoted(column))
            }
        };
        let event_id = match id_type.as_str() {
            "uuid" => "t.id_of_row".to_owned(),
            // The same row has the same id for ever.
            _ => "md5(b.origin || '/' || b.row_id)::uuid".to_owned(),
        };
        let (id, aggregate, aggregate_id) = (
            quoted(&columns.id),
            quoted(&columns.aggregate),
            quoted(&columns.aggregate_id),
        );
        let (kind, created_at, dequeued_at) = (
            quoted(&columns.kind),
            quoted(&columns.created_at),
            quoted(&columns.dequeued_at),
        );
        // Rows that can be no event (no key, a name that is too long) are left where they are and hold nobody up.
        let usable = format!(
            "t.{dequeued_at} IS NULL AND octet_length(t.{aggregate}::text) BETWEEN 1 AND 128
             AND octet_length(t.{aggregate_id}::text) BETWEEN 1 AND 512 AND octet_length(t.{kind}::text) BETWEEN 1 AND 128
             AND t.{payload} IS NOT NULL AND {tenant} ~ '^[a-z0-9]([a-z0-9-]{{0,61}}[a-z0-9])?$'"
        );
        Ok(Self {
            mark: format!(
                "UPDATE {table} t SET {dequeued_at} = clock_timestamp() FROM table_batches b
                  WHERE b.origin = $1 AND b.batch <= $2 AND t.{id} = b.row_id::{id_type} AND t.{dequeued_at} IS NULL"
            ),
            number: format!(
                "WITH picked AS (
                    SELECT t.{id} AS id, {tenant} AS tenant, t.{aggregate}::text AS topic,
                           t.{aggregate_id}::text AS key, octet_length(t.{payload}::text) AS bytes
                      FROM {table} t WHERE {usable} ORDER BY t.{id} LIMIT $3
                 ), sized AS (
                    SELECT *, sum(bytes) OVER (ORDER BY id ROWS UNBOUNDED PRECEDING) - bytes AS before FROM picked
                 ), fresh AS (
                    SELECT *, row_number() OVER (ORDER BY id) AS ordinal FROM sized WHERE before < $4::bigint
                 ), taken AS (
                    INSERT INTO table_numbers AS n (origin, tenant, topic, key, last)
                    SELECT $1, tenant, topic, key, count(*) FROM fresh GROUP BY tenant, topic, key
                    ON CONFLICT (origin, tenant, topic, key) DO UPDATE SET last = n.last + excluded.last
                    RETURNING n.tenant, n.topic, n.key, n.last
                 )
                 INSERT INTO table_batches (origin, batch, ordinal, row_id, tenant, topic, key, kseq)
                 SELECT $1, $2, f.ordinal, f.id::text, f.tenant, f.topic, f.key,
                        n.last - count(*) OVER (PARTITION BY f.tenant, f.topic, f.key)
                            + row_number() OVER (PARTITION BY f.tenant, f.topic, f.key ORDER BY f.ordinal)
                   FROM fresh f JOIN taken n USING (tenant, topic, key)"
            ),
            read: format!(
                "SELECT b.ordinal, b.tenant, b.topic, b.key, b.kseq, {event_id},
                        decode(md5(coalesce({hashed}, '')), 'hex'), coalesce(t.{kind}::text, 'rc.void.v1'), 1::int,
                        coalesce((extract(epoch FROM t.{created_at}) * 1000)::bigint,
                                 (extract(epoch FROM clock_timestamp()) * 1000)::bigint),
                        NULL::text, coalesce({bytes}, '')
                   FROM table_batches b
                   LEFT JOIN (SELECT *, {id} AS id_of_row FROM {table}) t ON t.{id} = b.row_id::{id_type}
                  WHERE b.origin = $1 AND b.batch = $2 ORDER BY b.ordinal"
            ),
            backlog: format!(
                "SELECT count(*), (extract(epoch FROM min(at)) * 1000)::bigint
                   FROM (SELECT t.{created_at} AS at FROM {table} t WHERE {usable} LIMIT $1) waiting"
            ),
        })
    }
}

/// A name that cannot be anything but a name.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn record_of(row: &Row, batch: i64) -> Result<Record, rc_store::Error> {
    let ordinal: i32 = row.try_get(0)?;
    let mut event = crate::bus::postgres::event_of(row, 1)?;
    event.numbering = Numbering::Consecutive;
    // A row that was numbered and then deleted by its service leaves its number behind.
    if event.event_type == "rc.void.v1" && event.payload.is_empty() {
        event.payload = Bytes::from_static(b"{}");
    }
    Ok(Record {
        origin_pos: batch * ORDINALS + i64::from(ordinal),
        event,
    })
}

fn batch_of(cursor: &Cursor) -> Result<i64, Error> {
    match cursor.as_str() {
        "" => Ok(0),
        text => text
            .parse()
            .map_err(|error| Error::damaged(format!("`{cursor}` is not a batch of a table: {error}"))),
    }
}

impl Source for TableSource {
    fn origin(&self) -> &str {
        &self.origin
    }

    fn lead(&self) -> BoxFuture<'_, Result<Option<Epoch>, Error>> {
        Box::pin(self.lease.hold())
    }

    fn step_down(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(self.lease.release())
    }

    fn parked(&self) -> Option<std::sync::Arc<dyn Parked>> {
        let parked = PostgresParked::new(self.db.clone(), &self.origin, false);
        Some(std::sync::Arc::new(parked))
    }

    fn fetch<'a>(&'a self, cursor: &'a Cursor, limit: ReadLimit) -> BoxFuture<'a, Result<Fetched, Error>> {
        Box::pin(async move {
            let done = batch_of(cursor)?;
            let (batch, records) = self
                .batch(done, limit)
                .await
                .map_err(Error::from_store("failed to read the table"))?;
            let cursor = match batch {
                0 => Cursor::default(),
                batch => Cursor::new(batch.to_string()),
            };
            Ok(Fetched { records, cursor })
        })
    }

    fn wait(&self, idle: Duration) -> BoxFuture<'_, ()> {
        Box::pin(tokio::time::sleep(idle))
    }

    fn backlog<'a>(&'a self, _cursor: &'a Cursor) -> BoxFuture<'a, Result<Backlog, Error>> {
        Box::pin(async move {
            let ask = async {
                let mut client = self.db.client().await?;
                let tx = client.system().await?;
                let row = tx.query_one(&self.sql.backlog, &[&BACKLOG_ROWS_MAX]).await?;
                let rows: i64 = row.try_get(0)?;
                let oldest: Option<i64> = row.try_get(1)?;
                Ok(Backlog {
                    rows: rows.cast_unsigned(),
                    oldest: oldest.map(Timestamp::from_unix_ms),
                })
            };
            ask.await
                .map_err(Error::from_store("failed to measure the table"))
        })
    }

    /// The rows are their service's, and so is their end.
    fn prune<'a>(
        &'a self,
        _cursor: &'a Cursor,
        _now: Timestamp,
        _keep: Duration,
    ) -> BoxFuture<'a, Result<Pruned, Error>> {
        Box::pin(async { Ok(Pruned::default()) })
    }
}

#[cfg(test)]
mod tests;
