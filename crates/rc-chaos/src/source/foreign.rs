//! A service that knows nothing of us: its own outbox table, and a table that is captured.
//!
//! The rows of a captured table are only ever inserted: each is an event, and its own place. What becomes of a row that
//! changes is followed by rc-events' own tests.

use std::sync::Arc;

use rc_events::capture::{CaptureOptions, CaptureSource};
use rc_events::outbox::table::{Columns, MIGRATIONS, TableSource, Tenancy};
use rc_events::{BoxFuture, NewEvent, Source};
use rc_store::postgres::PgAddress;
use rc_store::{Migration, Migrations, Postgres, PostgresOptions};
use uuid::Uuid;

use super::{Attempt, ORIGIN, facts, tenant};
use crate::failure::Result;
use crate::history::{CAPTURED, Fact, content};
use crate::journal::Journal;

/// The service's schema.
const SCHEMA: &str = "shop";

const TABLES: Migrations = Migrations::new(
    "shop",
    &[Migration {
        number: 1,
        name: "create_tables",
        up: "CREATE TABLE numbers (key text PRIMARY KEY, last bigint NOT NULL);
CREATE TABLE events (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, aggregate text NOT NULL,
    aggregate_id text NOT NULL, n bigint NOT NULL, kind text NOT NULL, payload text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(), dequeued_at timestamptz);
CREATE TABLE orders (key text, n bigint, id uuid NOT NULL, kind text NOT NULL, payload text NOT NULL,
    PRIMARY KEY (key, n))",
        down: "DROP TABLE orders, events, numbers",
    }],
);

/// Keys come sorted, so that two writers lock in the same order.
const NEXT: &str = "INSERT INTO numbers (key, last) SELECT * FROM unnest($1::text[], $2::bigint[])
     ON CONFLICT (key) DO UPDATE SET last = numbers.last + excluded.last RETURNING key, last";

/// The relay makes an event's id of the row's.
const APPEND: &str = "INSERT INTO events (aggregate, aggregate_id, n, kind, payload)
     SELECT 'orders', key, n, kind, payload
       FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[]) WITH ORDINALITY AS e (key, n, kind, payload, at)
      ORDER BY at
     RETURNING md5('ingest/' || id)::uuid";

const ORDER: &str = "INSERT INTO orders (key, n, kind, payload, id)
     SELECT * FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::uuid[])";

const EVENTS: &str = "SELECT 'acme', aggregate, aggregate_id, n, md5('ingest/' || id)::uuid, kind,
        convert_to(payload, 'UTF8') FROM events";
const ORDERS: &str =
    "SELECT 'acme', 'orders', key || '/' || n, 1::bigint, id, kind, convert_to(payload, 'UTF8') FROM orders";

/// Which of its tables the service writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Table {
    /// An outbox of the common shape.
    Outbox,
    /// One that is captured.
    Captured,
}

/// The writer's side.
#[derive(Debug)]
pub(crate) struct Desk(Postgres, Table);

fn connect(url: &str, schema: &'static str) -> Result<Postgres> {
    Ok(Postgres::connect(url, &PostgresOptions::new("rc-chaos", schema))?)
}

impl Desk {
    pub(crate) async fn open(url: &str, table: Table) -> Result<Self> {
        let db = connect(url, SCHEMA)?;
        db.migrate(&TABLES).await?;
        Ok(Self(db, table))
    }

    async fn attempt(
        &self,
        attempt: &Attempt,
        journal: &Journal,
    ) -> std::result::Result<bool, rc_store::Error> {
        let mut client = self.0.client().await?;
        let tx = client.system().await?;
        tokio::time::sleep(attempt.late).await;
        let keys: Vec<&str> = attempt.keys.iter().map(|(key, _)| key.as_str()).collect();
        let counts: Vec<i64> = attempt
            .keys
            .iter()
            .map(|(_, count)| count.cast_signed())
            .collect();
        let mut events: Vec<NewEvent> = Vec::new();
        for row in tx.query(NEXT, &[&keys, &counts]).await? {
            let (key, last): (&str, i64) = (row.try_get(0)?, row.try_get(1)?);
            let index = keys
                .iter()
                .position(|of| *of == key)
                .expect("a key that was asked for");
            events.extend(attempt.events(index, last.cast_unsigned()));
        }
        let keys: Vec<&str> = events.iter().map(|event| event.key.as_str()).collect();
        let numbers: Vec<i64> = events.iter().map(|event| event.kseq.cast_signed()).collect();
        let kinds: Vec<&str> = events.iter().map(|event| &*event.event_type).collect();
        let payloads: Vec<&str> = events
            .iter()
            .map(|event| std::str::from_utf8(&event.payload).unwrap_or_default())
            .collect();
        match self.1 {
            Table::Outbox => {
                let rows = tx.query(APPEND, &[&keys, &numbers, &kinds, &payloads]).await?;
                for (event, row) in events.iter_mut().zip(&rows) {
                    event.id = row.try_get(0)?;
                }
            }
            Table::Captured => {
                let ids: Vec<Uuid> = events.iter().map(|event| event.id).collect();
                tx.execute(ORDER, &[&keys, &numbers, &kinds, &payloads, &ids])
                    .await?;
                for event in &mut events {
                    event.key = format!("{}/{}", event.key, event.kseq);
                    event.kseq = 1;
                }
            }
        }
        journal.begin(&attempt.tx, facts(&events));
        tokio::time::sleep(attempt.hold).await;
        if attempt.rollback {
            tx.rollback().await?;
            return Ok(false);
        }
        tx.commit().await?;
        Ok(true)
    }
}

impl super::Desk for Desk {
    fn write<'a>(
        &'a self,
        attempt: Attempt,
        journal: &'a Arc<Journal>,
    ) -> BoxFuture<'a, std::result::Result<bool, rc_store::Error>> {
        Box::pin(async move { self.attempt(&attempt, journal).await })
    }
}

/// The relay's view; fails until the writer has made the tables.
pub(crate) async fn source(url: &str, table: Table) -> Result<Arc<dyn Source>> {
    Ok(match table {
        Table::Outbox => {
            let db = connect(url, "relay")?;
            db.migrate(&MIGRATIONS).await?;
            let columns = Columns {
                fingerprint: None,
                ..Columns::default()
            };
            let source =
                TableSource::open(db, ORIGIN, "shop.events", &columns, &Tenancy::One(tenant())).await?;
            Arc::new(source)
        }
        Table::Captured => {
            let options = CaptureOptions::new(ORIGIN, vec!["shop.orders".parse()?], tenant());
            Arc::new(CaptureSource::new(PgAddress::parse(url)?, options))
        }
    })
}

/// How many events the bus has when it has all: a capture begins by telling how its table looks.
pub(crate) async fn count(url: &str, table: Table) -> Result<i64> {
    let db = connect(url, SCHEMA)?;
    let mut client = db.client().await?;
    let tx = client.system().await?;
    let count = match table {
        Table::Outbox => "SELECT count(*) FROM events",
        Table::Captured => "SELECT count(*) + 1 FROM orders",
    };
    Ok(tx.query_one(count, &[]).await?.try_get(0)?)
}

/// What the table has.
pub(crate) async fn log(url: &str, table: Table) -> Result<Vec<Fact>> {
    let db = connect(url, SCHEMA)?;
    let mut client = db.client().await?;
    let tx = client.system().await?;
    let rows = tx
        .query(
            match table {
                Table::Outbox => EVENTS,
                Table::Captured => ORDERS,
            },
            &[],
        )
        .await?;
    rows.iter().map(super::postgres::fact).collect()
}

/// The fact of the row in an event of a capture; `None` for one that tells how its table looks.
pub(crate) fn captured(event: &NewEvent) -> Option<Fact> {
    /// What a capture says of a row.
    #[derive(serde::Deserialize)]
    struct Change {
        after: Row,
    }
    #[derive(serde::Deserialize)]
    struct Row {
        key: String,
        n: u64,
        id: Uuid,
        kind: String,
        payload: String,
    }
    debug_assert!(event.event_type.starts_with(CAPTURED));
    let Change { after } = serde_json::from_slice(&event.payload).ok()?;
    Some(Fact {
        place: format!("{}/orders/{}/{}", event.tenant, after.key, after.n),
        kseq: 1,
        id: after.id.as_u128(),
        content: content(&after.kind, after.payload.as_bytes()),
    })
}
