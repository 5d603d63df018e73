//! The bus in PostgreSQL: schema `bus` of the platform's database. Publishers take turns on the row of
//! `state`, so the sequence has no holes and is visible in order.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rc_model::{Clock, TenantId, Timestamp, TraceContext};
use rc_store::{Migration, Migrations, Param, Postgres, SystemTx};
use tokio::sync::watch;
use tokio_postgres::Row;

use super::{
    Bus, BusConsumer, BusId, Cursor, Publish, RETAIN_ROWS_MAX, ReadLimit, Retained, Retention, check_batch,
};
use crate::error::Fenced;
use crate::event::{Event, NewEvent, Numbering, Seq};
use crate::outbox::postgres::parts;
use crate::{BoxFuture, Error, faults};

/// The schema that the pool of a [`PostgresBus`] must have.
pub const SCHEMA: &str = "bus";

/// The bus's tables.
pub const MIGRATIONS: Migrations = Migrations::new(
    "bus",
    &[
        Migration {
            number: 1,
            name: "create_bus",
            up: concat!(
                "CREATE TABLE records (
    seq bigint PRIMARY KEY,
    origin text NOT NULL,
    origin_pos bigint NOT NULL,
    at_ms bigint NOT NULL,
    tenant text NOT NULL,
    topic text NOT NULL,
    key text NOT NULL,
    kseq bigint NOT NULL,
    id uuid NOT NULL,
    fingerprint bytea NOT NULL,
    type text NOT NULL,
    schema int NOT NULL,
    time_ms bigint NOT NULL,
    traceparent text,
    payload bytea NOT NULL
);
CREATE TABLE state (
    one int PRIMARY KEY CHECK (one = 1),
    tail bigint NOT NULL,
    first bigint NOT NULL,
    bytes bigint NOT NULL
) WITH (fillfactor = 10);
INSERT INTO state (one, tail, first, bytes) VALUES (1, 0, 1, 0);
CREATE TABLE origins (origin text PRIMARY KEY, cursor text NOT NULL) WITH (fillfactor = 10);
CREATE TABLE consumers (
    name text PRIMARY KEY,
    seq bigint NOT NULL,
    lost boolean NOT NULL DEFAULT false,
    seen_ms bigint NOT NULL
) WITH (fillfactor = 10);
",
                rc_store::row_security!("records")
            ),
            down: "DROP TABLE records; DROP TABLE state; DROP TABLE origins; DROP TABLE consumers",
        },
        Migration {
            number: 2,
            name: "add_bus_id_and_numbering",
            up: "ALTER TABLE records ADD COLUMN numbering smallint NOT NULL DEFAULT 0;
ALTER TABLE state ADD COLUMN id text NOT NULL DEFAULT '';
UPDATE state SET id = gen_random_uuid()::text",
            down: "ALTER TABLE records DROP COLUMN numbering; ALTER TABLE state DROP COLUMN id",
        },
        Migration {
            number: 3,
            name: "create_log_functions",
            up: rc_outbox::postgres::LOG_PARTS,
            down: parts::LOG_PARTS_DOWN,
        },
        Migration {
            number: 4,
            name: "partition_records",
            // The plain table becomes a partition: nothing is copied.
            up: "ALTER TABLE records RENAME TO records_0;
ALTER INDEX records_pkey RENAME TO records_0_pkey;
CREATE TABLE records (LIKE records_0 INCLUDING DEFAULTS INCLUDING CONSTRAINTS) PARTITION BY RANGE (seq);
ALTER TABLE records ADD PRIMARY KEY (seq);
ALTER TABLE records ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_wall ON records USING (tenant = current_setting('rc.tenant', true)
    OR current_setting('rc.scope', true) = 'system');
DO $$ DECLARE upto bigint; held record; BEGIN
    SELECT tail + 1 INTO upto FROM state;
    CREATE TABLE records_default PARTITION OF records DEFAULT;
    ALTER TABLE records_default ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
    FOR held IN
        SELECT privilege_type AS what, CASE WHEN grantee = 0 THEN 'PUBLIC' ELSE grantee::regrole::text END AS who
          FROM pg_class, aclexplode(relacl) WHERE oid = 'records_0'::regclass AND grantee <> relowner
    LOOP
        EXECUTE format('GRANT %s ON records TO %s', held.what, held.who);
        IF held.what = 'DELETE' THEN
            EXECUTE format('GRANT EXECUTE ON FUNCTION log_make_room(text, text, bigint, int) TO %s', held.who);
            EXECUTE format('GRANT EXECUTE ON FUNCTION log_drop_below(text, bigint) TO %s', held.who);
        END IF;
    END LOOP;
    IF EXISTS (SELECT FROM records_0) THEN
        DROP POLICY tenant_wall ON records_0;
        EXECUTE format('ALTER TABLE records ATTACH PARTITION records_0 FOR VALUES FROM (MINVALUE) TO (%s)', upto);
    ELSE
        DROP TABLE records_0;
    END IF;
    INSERT INTO log_parts (log, first, next, part) SELECT 'records', 0, upto, 'records_0' WHERE upto > 1;
END $$;
SELECT log_make_room('records', 'seq', 250000, 2)",
            down: "ALTER TABLE records RENAME TO records_parted;
ALTER INDEX records_pkey RENAME TO records_parted_pkey;
CREATE TABLE records (LIKE records_parted INCLUDING DEFAULTS INCLUDING CONSTRAINTS);
INSERT INTO records SELECT * FROM records_parted WHERE seq >= (SELECT first FROM state) ORDER BY seq;
DROP TABLE records_parted;
ALTER TABLE records ADD PRIMARY KEY (seq);
ALTER TABLE records ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_wall ON records USING (tenant = current_setting('rc.tenant', true)
    OR current_setting('rc.scope', true) = 'system');
DELETE FROM log_parts WHERE log = 'records'",
        },
    ],
);

/// Rows that a partition takes: so much more than retention asks for stays on the disk at most.
const PART_ROWS: i64 = 250_000;

/// Roles that are given what their work takes in the bus's schema and nothing else. The role that applied
/// [`MIGRATIONS`] owns everything and needs no grant.
#[derive(Debug, Clone, Copy, Default)]
pub struct Grants<'r> {
    /// A relay's role: may publish, and clean by retention.
    pub relay: Option<&'r str>,
    /// A consumer's role: may read, and say how far it is.
    pub reader: Option<&'r str>,
}

impl Grants<'_> {
    /// The grants as SQL, to be applied by the owner as often as he likes.
    ///
    /// # Errors
    /// [`Error::Invalid`] when a name is not a plain one.
    pub fn sql(&self) -> Result<String, Error> {
        let mut sql = String::new();
        let roles = [
            (
                self.relay,
                "GRANT SELECT, INSERT ON records TO {role};
GRANT SELECT, UPDATE ON state TO {role};
GRANT SELECT, INSERT, UPDATE ON origins TO {role};
GRANT SELECT, UPDATE ON consumers TO {role};
GRANT SELECT ON schema_migrations TO {role};
GRANT EXECUTE ON FUNCTION log_make_room(text, text, bigint, int) TO {role};
GRANT EXECUTE ON FUNCTION log_drop_below(text, bigint) TO {role};
",
            ),
            (
                self.reader,
                "GRANT SELECT ON records, state, schema_migrations TO {role};
GRANT SELECT, INSERT, UPDATE ON consumers TO {role};
",
            ),
        ];
        for (role, grants) in roles {
            if let Some(role) = role {
                rc_outbox::postgres::plain_name(role).map_err(|error| Error::invalid(error.to_string()))?;
                sql.push_str(&format!("GRANT USAGE ON SCHEMA {SCHEMA} TO {role};\n"));
                sql.push_str(&grants.replace("{role}", role));
            }
        }
        Ok(sql)
    }
}

/// Shortest and longest pause between two looks at the tail.
const POLL_MIN: Duration = Duration::from_millis(5);
const POLL_MAX: Duration = Duration::from_millis(100);

const STATE: &str = "SELECT tail, first, bytes FROM state WHERE one = 1";
const ID: &str = "SELECT id FROM state WHERE one = 1";
const LOCK_STATE: &str = "SELECT tail, first, bytes FROM state WHERE one = 1 FOR UPDATE";
const SET_STATE: &str = "UPDATE state SET tail = $1, first = $2, bytes = $3 WHERE one = 1";
const CURSOR: &str = "SELECT cursor FROM origins WHERE origin = $1";
const SET_CURSOR: &str = "INSERT INTO origins (origin, cursor) VALUES ($1, $2)
     ON CONFLICT (origin) DO UPDATE SET cursor = excluded.cursor";
const INSERT: &str = "INSERT INTO records
        (origin, at_ms, seq, origin_pos,
         tenant, topic, key, kseq, id, fingerprint, type, schema, time_ms, traceparent, payload, numbering)
     SELECT $1, $2, * FROM unnest($3::bigint[], $4::bigint[], $5::text[], $6::text[], $7::text[],
        $8::bigint[], $9::uuid[], $10::bytea[], $11::text[], $12::int[], $13::bigint[], $14::text[],
        $15::bytea[], $16::smallint[])";
/// Keys and sizes first: the payloads of rows beyond the byte limit are never fetched.
const READ: &str = "WITH next AS (
        SELECT seq, length(payload) AS bytes FROM records WHERE seq > $1 ORDER BY seq LIMIT $2
     ), sized AS (
        SELECT seq, sum(bytes) OVER (ORDER BY seq ROWS UNBOUNDED PRECEDING) AS bytes FROM next
     )
     SELECT r.seq, r.tenant, r.topic, r.key, r.kseq, r.id, r.fingerprint, r.type, r.schema, r.time_ms,
            r.traceparent, r.payload, r.numbering
       FROM sized JOIN records r USING (seq)
      WHERE sized.bytes <= $3 OR r.seq = $1 + 1 ORDER BY r.seq";
const PROGRESS: &str = "INSERT INTO consumers (name, seq, seen_ms) VALUES ($1, $2, $3)
     ON CONFLICT (name) DO UPDATE SET seq = excluded.seq, seen_ms = excluded.seen_ms, lost = false
     WHERE excluded.seq <> consumers.seq";
const CONSUMERS: &str = "SELECT name, seq, lost FROM consumers ORDER BY name";
const LOSE: &str = "UPDATE consumers SET lost = true WHERE NOT lost AND seq < $1 RETURNING name";
const SLOWEST: &str = "SELECT min(seq) FROM consumers WHERE NOT lost";
const OLDEST: &str = "SELECT seq, at_ms, octet_length(tenant) + octet_length(topic) + octet_length(key)
            + octet_length(type) + length(payload)
       FROM records WHERE seq >= $1 AND seq <= $2 ORDER BY seq LIMIT $3";
/// The rows themselves go with their partition, when all of it lies below `first`.
const DROP_BELOW: &str = "SELECT log_drop_below('records', $1)";

/// The bus in a schema of PostgreSQL.
#[derive(Clone)]
pub struct PostgresBus {
    db: Postgres,
    clock: Arc<dyn Clock>,
    /// The tail after this process's own publishes: they wake its waiters at once.
    published: watch::Sender<Seq>,
    part_rows: i64,
}

impl std::fmt::Debug for PostgresBus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PostgresBus").finish_non_exhaustive()
    }
}

impl PostgresBus {
    /// A bus in `db`, a pool whose schema is [`SCHEMA`]. Apply [`MIGRATIONS`] before use.
    #[must_use]
    pub fn new(db: Postgres, clock: Arc<dyn Clock>) -> Self {
        Self {
            db,
            clock,
            published: watch::Sender::new(0),
            part_rows: PART_ROWS,
        }
    }

    /// The same with partitions of `rows` rows, for tests of what happens at their borders.
    #[must_use]
    pub fn with_part_rows(mut self, rows: i64) -> Self {
        self.part_rows = rows;
        self
    }

    async fn append(&self, publish: &Publish) -> Result<Seq, rc_store::Error> {
        let at_ms = self.clock.now().unix_ms();
        let mut client = self.db.client().await?;
        let tx = client.system().await?;
        // The cursor is read after the lock was had, in the same round trip.
        let [state, at] = tx
            .flight(&[(LOCK_STATE, &[]), (CURSOR, &[&publish.origin])])
            .await?;
        let mut state = State::of(&state)?;
        let actual = cursor_of(at.first())?;
        if actual != publish.expected {
            return Err(Error::Fenced(Box::new(Fenced {
                origin: publish.origin.clone(),
                expected: publish.expected.clone(),
                actual,
            }))
            .into());
        }
        let records = &publish.records;
        let first = state.tail + 1;
        let seqs: Vec<Seq> = (first..).take(records.len()).collect();
        let positions: Vec<i64> = records.iter().map(|record| record.origin_pos).collect();
        let events: Vec<&NewEvent> = records.iter().map(|record| &record.event).collect();
        let tenants: Vec<&str> = events.iter().map(|event| event.tenant.as_str()).collect();
        let topics: Vec<&str> = events.iter().map(|event| &*event.topic).collect();
        let keys: Vec<&str> = events.iter().map(|event| &*event.key).collect();
        let numbers: Vec<i64> = events.iter().map(|event| event.kseq.cast_signed()).collect();
        let ids: Vec<uuid::Uuid> = events.iter().map(|event| event.id).collect();
        let fingerprints: Vec<&[u8]> = events.iter().map(|event| &event.fingerprint[..]).collect();
        let types: Vec<&str> = events.iter().map(|event| &*event.event_type).collect();
        let schemas: Vec<i32> = events.iter().map(|event| i32::from(event.schema)).collect();
        let times: Vec<i64> = events.iter().map(|event| event.time.unix_ms()).collect();
        let traces: Vec<Option<String>> = events
            .iter()
            .map(|event| event.trace.map(|trace| trace.to_string()))
            .collect();
        let payloads: Vec<&[u8]> = events.iter().map(|event| &event.payload[..]).collect();
        let numberings: Vec<i16> = events.iter().map(|event| event.numbering.code()).collect();
        let bytes: usize = events.iter().map(|event| event.bytes()).sum();
        state.tail = first + i64::try_from(records.len()).unwrap_or(0) - 1;
        state.bytes = state
            .bytes
            .saturating_add(i64::try_from(bytes).unwrap_or(i64::MAX));
        let insert: [Param<'_>; 16] = [
            &publish.origin,
            &at_ms,
            &seqs,
            &positions,
            &tenants,
            &topics,
            &keys,
            &numbers,
            &ids,
            &fingerprints,
            &types,
            &schemas,
            &times,
            &traces,
            &payloads,
            &numberings,
        ];
        tx.commit_after(&[
            (INSERT, &insert),
            (SET_STATE, &[&state.tail, &state.first, &state.bytes]),
            (SET_CURSOR, &[&publish.origin, &publish.cursor.as_str()]),
        ])
        .await?;
        Ok(state.tail)
    }

    /// A mistake that tests make on purpose: the place moves before the events are there.
    async fn move_cursor_alone(&self, publish: &Publish) -> Result<(), Error> {
        let mut client = self.db.client().await?;
        let tx = client.system().await?;
        tx.execute(SET_CURSOR, &[&publish.origin, &publish.cursor.as_str()])
            .await?;
        Ok(tx.commit().await?)
    }

    async fn read_after(&self, after: Seq, limit: ReadLimit) -> Result<Vec<Event>, Error> {
        let mut client = self.db.client().await?;
        let tx = client.system().await?;
        let bytes = i64::try_from(limit.bytes).unwrap_or(i64::MAX);
        let [rows, state] = tx
            .flight(&[(READ, &[&after, &limit.rows_i64(), &bytes]), (STATE, &[])])
            .await?;
        let mut events = Vec::with_capacity(rows.len());
        for row in &rows {
            let mut event = event_of(row, 1)?;
            let numbering: i16 = row.try_get(12).map_err(rc_store::Error::from)?;
            event.numbering = Numbering::of_code(numbering)
                .ok_or_else(|| Error::damaged(format!("the bus has an event of numbering {numbering}")))?;
            events.push(Event {
                pos: row.try_get(0).map_err(rc_store::Error::from)?,
                event,
            });
        }
        // After the read: rows that retention took meanwhile show as a higher `first`. Those below it that
        // their partition still has are as good as gone, so that what is kept does not depend on its borders.
        let state = State::of(&state)?;
        super::check_kept(after, state.first, state.tail)?;
        super::check_gapless(after, &events)?;
        Ok(events)
    }

    async fn clean(&self, retention: &Retention, now: Timestamp) -> Result<Retained, rc_store::Error> {
        let mut client = self.db.client().await?;
        let tx = client.system().await?;
        let mut state = State::of(&tx.query(LOCK_STATE, &[]).await?)?;
        let lag_max = i64::try_from(retention.consumer_lag_max).unwrap_or(i64::MAX);
        let mut lost: Vec<String> = Vec::new();
        for row in tx.query(LOSE, &[&state.tail.saturating_sub(lag_max)]).await? {
            lost.push(row.try_get(0)?);
        }
        let slowest: Option<Seq> = tx.query_one(SLOWEST, &[]).await?.try_get(0)?;
        let upto = slowest.unwrap_or(state.tail).min(state.tail);
        let keep_ms = i64::try_from(retention.keep.as_millis()).unwrap_or(i64::MAX);
        let young_ms = now.unix_ms().saturating_sub(keep_ms);
        let bytes_max = i64::try_from(retention.bytes_max).unwrap_or(i64::MAX);
        let rows_max = i64::try_from(RETAIN_ROWS_MAX).unwrap_or(i64::MAX);
        let overhead = i64::try_from(crate::event::OVERHEAD_BYTES).unwrap_or(i64::MAX);
        let mut deleted = 0;
        for row in tx.query(OLDEST, &[&state.first, &upto, &rows_max]).await? {
            let at_ms: i64 = row.try_get(1)?;
            if at_ms >= young_ms && state.bytes <= bytes_max {
                break;
            }
            let bytes: i32 = row.try_get(2)?;
            state.bytes = (state.bytes - i64::from(bytes) - overhead).max(0);
            state.first = row.try_get::<_, Seq>(0)? + 1;
            deleted += 1;
        }
        if deleted > 0 {
            state.store(&tx).await?;
        }
        let dropped = parts::dropped(tx.query_one(DROP_BELOW, &[&state.first]).await?.try_get(0)?);
        parts::make_room(&tx, "records", "seq", self.part_rows).await?;
        tx.commit().await?;
        Ok(Retained {
            deleted,
            more: deleted == RETAIN_ROWS_MAX || dropped.more,
            lost,
        })
    }
}

/// The one row of `state`.
struct State {
    tail: Seq,
    first: Seq,
    bytes: i64,
}

impl State {
    fn of(rows: &[Row]) -> Result<Self, rc_store::Error> {
        let row = rows
            .first()
            .ok_or_else(|| Error::damaged("the bus has lost the row of its state"))?;
        Ok(Self {
            tail: row.try_get(0)?,
            first: row.try_get(1)?,
            bytes: row.try_get(2)?,
        })
    }

    async fn store(&self, tx: &SystemTx<'_>) -> Result<(), rc_store::Error> {
        tx.execute(SET_STATE, &[&self.tail, &self.first, &self.bytes])
            .await?;
        Ok(())
    }
}

async fn cursor(tx: &SystemTx<'_>, origin: &str) -> Result<Cursor, rc_store::Error> {
    cursor_of(tx.query_opt(CURSOR, &[&origin]).await?.as_ref())
}

fn cursor_of(row: Option<&Row>) -> Result<Cursor, rc_store::Error> {
    match row {
        Some(row) => Ok(Cursor::new(row.try_get::<_, String>(0)?)),
        None => Ok(Cursor::default()),
    }
}

impl Bus for PostgresBus {
    fn id(&self) -> BoxFuture<'_, Result<BusId, Error>> {
        Box::pin(async move {
            let read = async {
                let mut client = self.db.client().await?;
                let tx = client.system().await?;
                let id: String = tx.query_one(ID, &[]).await?.try_get(0)?;
                Ok(BusId::new(id))
            };
            read.await.map_err(Error::from_store("failed to read the bus"))
        })
    }

    fn publish(&self, mut publish: Publish) -> BoxFuture<'_, Result<Seq, Error>> {
        Box::pin(async move {
            check_batch(&publish)?;
            if faults::mutated("bus.ack_before_commit") {
                self.move_cursor_alone(&publish).await?;
                faults::point("bus.mid_publish");
                publish.expected = publish.cursor.clone();
            }
            let tail = self
                .append(&publish)
                .await
                .map_err(Error::from_store("failed to publish"))?;
            self.published.send_replace(tail);
            Ok(tail)
        })
    }

    fn cursor<'a>(&'a self, origin: &'a str) -> BoxFuture<'a, Result<Cursor, Error>> {
        Box::pin(async move {
            let read = async {
                let mut client = self.db.client().await?;
                let tx = client.system().await?;
                cursor(&tx, origin).await
            };
            read.await.map_err(Error::from_store("failed to read the bus"))
        })
    }

    fn read(&self, after: Seq, limit: ReadLimit) -> BoxFuture<'_, Result<Vec<Event>, Error>> {
        Box::pin(self.read_after(after, limit))
    }

    fn tail(&self) -> BoxFuture<'_, Result<Seq, Error>> {
        Box::pin(async move {
            let read = async {
                let mut client = self.db.client().await?;
                let tx = client.system().await?;
                Ok(State::of(&tx.query(STATE, &[]).await?)?.tail)
            };
            read.await.map_err(Error::from_store("failed to read the bus"))
        })
    }

    fn wait(&self, after: Seq, timeout: Duration) -> BoxFuture<'_, Result<Seq, Error>> {
        Box::pin(async move {
            let until = tokio::time::Instant::now() + timeout;
            let mut published = self.published.subscribe();
            let mut pause = POLL_MIN;
            loop {
                published.mark_unchanged();
                let tail = self.tail().await?;
                let now = tokio::time::Instant::now();
                if tail > after || now >= until {
                    return Ok(tail);
                }
                // A timeout is the poll for other processes' publishes.
                let _ = tokio::time::timeout_at(until.min(now + pause), published.changed()).await;
                pause = (pause * 2).min(POLL_MAX);
            }
        })
    }

    fn progress<'a>(&'a self, consumer: &'a str, seq: Seq) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let write = async {
                let mut client = self.db.client().await?;
                let tx = client.system().await?;
                let now_ms = self.clock.now().unix_ms();
                tx.execute(PROGRESS, &[&consumer, &seq, &now_ms]).await?;
                tx.commit().await
            };
            write
                .await
                .map_err(Error::from_store("failed to note a consumer's progress"))
        })
    }

    fn consumers(&self) -> BoxFuture<'_, Result<Vec<BusConsumer>, Error>> {
        Box::pin(async move {
            let read = async {
                let mut client = self.db.client().await?;
                let tx = client.system().await?;
                let mut consumers = Vec::new();
                for row in tx.query(CONSUMERS, &[]).await? {
                    consumers.push(BusConsumer {
                        name: row.try_get(0)?,
                        seq: row.try_get(1)?,
                        lost: row.try_get(2)?,
                    });
                }
                Ok(consumers)
            };
            read.await.map_err(Error::from_store("failed to read the bus"))
        })
    }

    fn retain<'a>(&'a self, retention: &'a Retention) -> BoxFuture<'a, Result<Retained, Error>> {
        Box::pin(async move {
            self.clean(retention, self.clock.now())
                .await
                .map_err(Error::from_store("failed to clean the bus"))
        })
    }
}

/// Reads a tenant from column `at`.
pub(crate) fn tenant_of(row: &Row, at: usize) -> Result<TenantId, rc_store::Error> {
    let tenant: &str = row.try_get(at)?;
    Ok(TenantId::new(tenant).map_err(|error| Error::damaged(format!("tenant `{tenant}`: {error}")))?)
}

/// Reads an event's columns, `tenant` to `payload`, from column `at` on, as an outbox has them: with
/// consecutive numbers.
pub(crate) fn event_of(row: &Row, at: usize) -> Result<NewEvent, rc_store::Error> {
    let tenant = tenant_of(row, at)?;
    let fingerprint: &[u8] = row.try_get(at + 5)?;
    let trace: Option<&str> = row.try_get(at + 9)?;
    let payload: &[u8] = row.try_get(at + 10)?;
    Ok(NewEvent {
        tenant,
        topic: Cow::Owned(row.try_get(at + 1)?),
        key: row.try_get(at + 2)?,
        kseq: row.try_get::<_, i64>(at + 3)?.cast_unsigned(),
        numbering: Numbering::Consecutive,
        id: row.try_get(at + 4)?,
        fingerprint: fingerprint
            .try_into()
            .map_err(|error| Error::damaged(format!("a fingerprint does not have 16 bytes: {error}")))?,
        event_type: Cow::Owned(row.try_get(at + 6)?),
        schema: u16::try_from(row.try_get::<_, i32>(at + 7)?)
            .map_err(|error| Error::damaged(format!("a schema number: {error}")))?,
        time: Timestamp::from_unix_ms(row.try_get(at + 8)?),
        trace: trace.and_then(|text| TraceContext::parse(text.as_bytes())),
        payload: Bytes::copy_from_slice(payload),
    })
}

#[cfg(test)]
mod tests;
