//! The outbox in PostgreSQL, read by snapshot pairs.
//!
//! Sequences commit out of order and transaction numbers are not commit order, so neither `pos > last`
//! nor a watermark reads such a log without loss, inversion or stalls. A pair of snapshots does: what is
//! visible in S2 and was not in S1 is exactly what committed between them, whatever else is running.
//! Inside a pair rows go by key and number, which is commit order because the writer takes the number
//! under its key's lock.

mod pair;
pub(crate) mod parts;
pub mod rebase;
mod snapshot;

use rc_model::TenantId;
use rc_store::{Migration, Migrations, Param, Postgres, TenantSql, TenantTx};

use crate::event::NewEvent;
use crate::lease::LEASES;
use crate::{Error, faults};

pub(crate) use pair::snapshot;
pub use pair::{PART_ROWS, PostgresSource};
pub(crate) use snapshot::{PairCursor, RowKey, Snapshot};

/// The outbox's tables.
pub const MIGRATIONS: Migrations = Migrations::new(
    "outbox",
    &[
        Migration {
            number: 1,
            name: "create_outbox",
            up: concat!(
                "CREATE TABLE outbox (
    pos bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    tenant text COLLATE \"C\" NOT NULL,
    topic text COLLATE \"C\" NOT NULL,
    key text COLLATE \"C\" NOT NULL,
    kseq bigint NOT NULL CHECK (kseq > 0),
    id uuid NOT NULL,
    fingerprint bytea NOT NULL CHECK (length(fingerprint) = 16),
    type text NOT NULL,
    schema int NOT NULL,
    time_ms bigint NOT NULL,
    traceparent text,
    payload bytea NOT NULL
);
CREATE INDEX outbox_by_xid ON outbox (xid);
",
                rc_store::row_security!("outbox")
            ),
            down: "DROP TABLE outbox",
        },
        Migration {
            number: 2,
            name: "create_leases",
            up: LEASES,
            down: "DROP TABLE leases",
        },
        Migration {
            number: 3,
            name: "create_log_functions",
            up: rc_outbox::postgres::LOG_PARTS,
            down: parts::LOG_PARTS_DOWN,
        },
        Migration {
            number: 4,
            name: "partition_outbox",
            up: parts::OUTBOX_UP,
            down: parts::OUTBOX_DOWN,
        },
        Migration {
            number: 5,
            name: "create_outbox_retain",
            up: rc_outbox::postgres::OUTBOX_RETAIN,
            down: "DROP FUNCTION outbox_retain(pg_snapshot, interval)",
        },
        Migration {
            number: 6,
            name: "create_outbox_parked",
            up: concat!(
                include_str!("../../../rc-outbox/sql/parked.sql"),
                rc_store::row_security!("outbox_parked"),
                // Who may delete from the outbox is the relay.
                "DO $$ DECLARE held record; BEGIN
    FOR held IN
        SELECT CASE WHEN grantee = 0 THEN 'PUBLIC' ELSE grantee::regrole::text END AS who
          FROM pg_class, aclexplode(relacl)
         WHERE oid = 'outbox'::regclass AND grantee <> relowner AND privilege_type = 'DELETE'
    LOOP
        EXECUTE format('GRANT ALL ON outbox_parked TO %s', held.who);
        EXECUTE format('GRANT EXECUTE ON FUNCTION outbox_retain(pg_snapshot, interval) TO %s', held.who);
    END LOOP;
END $$"
            ),
            // What waits would be lost for ever.
            down: "DO $$ BEGIN
    IF EXISTS (SELECT FROM outbox_parked WHERE state <> 'gone') THEN
        RAISE EXCEPTION 'events are set aside: replay or drop them first';
    END IF;
END $$;
DROP TABLE outbox_parked",
        },
    ],
);

/// The newest layout of an installed outbox that [`PostgresSource`] reads.
pub const LAYOUT: i32 = rc_outbox::postgres::LAYOUT;

/// Which layout the outbox in the pool's schema has; `None` when there is none that the role may use.
///
/// # Errors
/// What the server says.
pub async fn layout(db: &Postgres) -> Result<Option<i32>, rc_store::Error> {
    const THERE: &str =
        "SELECT to_regclass('outbox') IS NOT NULL, to_regprocedure('outbox_layout()') IS NOT NULL";
    let mut client = db.client().await?;
    let tx = client.system().await?;
    let there = tx.query_one(THERE, &[]).await?;
    if !there.try_get::<_, bool>(0)? {
        return Ok(None);
    }
    // The first layout did not say.
    if !there.try_get::<_, bool>(1)? {
        return Ok(Some(1));
    }
    let layout = tx.query_one("SELECT outbox_layout()", &[]).await?;
    Ok(Some(layout.try_get(0)?))
}

/// Appends the events of one tenant; its parameters are made by [`Columns`].
pub const INSERT: TenantSql = TenantSql::new(
    "INSERT INTO outbox
        (tenant, topic, key, kseq, id, fingerprint, type, schema, time_ms, traceparent, payload)
     SELECT $1, * FROM unnest($2::text[], $3::text[], $4::bigint[], $5::uuid[], $6::bytea[], $7::text[],
        $8::int[], $9::bigint[], $10::text[], $11::bytea[])",
);

/// Appends events of the transaction's tenant: one statement for all of them.
///
/// # Errors
/// As [`Columns::of`]; what the server says.
pub async fn append(tx: &TenantTx<'_>, events: &[NewEvent]) -> Result<(), rc_store::Error> {
    if events.is_empty() {
        return Ok(());
    }
    tx.execute(INSERT, &Columns::of(tx.tenant(), events)?.params())
        .await?;
    faults::point("outbox.after_append");
    Ok(())
}

/// Events as the columns of the statement that appends them, for who sends it with others:
/// `tx.commit_after(&[.., (INSERT, &columns.params())])`.
#[derive(Debug)]
pub struct Columns<'e> {
    topics: Vec<&'e str>,
    keys: Vec<&'e str>,
    numbers: Vec<i64>,
    ids: Vec<uuid::Uuid>,
    fingerprints: Vec<&'e [u8]>,
    types: Vec<&'e str>,
    schemas: Vec<i32>,
    times: Vec<i64>,
    traces: Vec<Option<String>>,
    payloads: Vec<&'e [u8]>,
}

impl<'e> Columns<'e> {
    /// The columns of `events`, all of `tenant`.
    ///
    /// # Errors
    /// [`Error::Invalid`] (travelling inside the store's error) for an event that breaks a limit or belongs
    /// to another tenant.
    pub fn of(tenant: &TenantId, events: &'e [NewEvent]) -> Result<Self, rc_store::Error> {
        for event in events {
            event.check()?;
            if event.tenant != *tenant {
                return Err(
                    Error::invalid("the event belongs to another tenant than its transaction").into(),
                );
            }
        }
        let trace = |event: &NewEvent| event.trace.map(|trace| trace.to_string());
        Ok(Self {
            topics: events.iter().map(|event| &*event.topic).collect(),
            keys: events.iter().map(|event| &*event.key).collect(),
            numbers: events.iter().map(|event| event.kseq.cast_signed()).collect(),
            ids: events.iter().map(|event| event.id).collect(),
            fingerprints: events.iter().map(|event| &event.fingerprint[..]).collect(),
            types: events.iter().map(|event| &*event.event_type).collect(),
            schemas: events.iter().map(|event| i32::from(event.schema)).collect(),
            times: events.iter().map(|event| event.time.unix_ms()).collect(),
            traces: events.iter().map(trace).collect(),
            payloads: events.iter().map(|event| &event.payload[..]).collect(),
        })
    }

    /// The parameters of [`INSERT`], from `$2` on.
    #[must_use]
    pub fn params(&self) -> [Param<'_>; 10] {
        [
            &self.topics,
            &self.keys,
            &self.numbers,
            &self.ids,
            &self.fingerprints,
            &self.types,
            &self.schemas,
            &self.times,
            &self.traces,
            &self.payloads,
        ]
    }
}
