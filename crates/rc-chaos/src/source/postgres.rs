//! A service whose store is a schema of PostgreSQL.

use std::sync::Arc;

use rc_events::outbox::postgres::{MIGRATIONS, PostgresSource, append};
use rc_events::outbox::{Grants, install_sql};
use rc_events::slot::SlotSource;
use rc_events::{BoxFuture, NewEvent, Source};
use rc_store::postgres::PgAddress;
use rc_store::{Migration, Migrations, Postgres, PostgresOptions, TenantSql};
use uuid::Uuid;

use super::{Attempt, ORIGIN, facts, tenant};
use crate::failure::Result;
use crate::history::{Fact, content};
use crate::journal::Journal;

/// The aggregates, whose rows give out numbers.
const NUMBERS: Migrations = Migrations::new(
    "numbers",
    &[Migration {
        number: 1,
        name: "create_numbers",
        up: "CREATE TABLE numbers (tenant text, key text, last bigint NOT NULL, PRIMARY KEY (tenant, key))",
        down: "DROP TABLE numbers",
    }],
);

/// Keys come sorted, so that two writers lock in the same order.
const NEXT: TenantSql = TenantSql::new(
    "INSERT INTO numbers (tenant, key, last) SELECT $1, * FROM unnest($2::text[], $3::bigint[])
     ON CONFLICT (tenant, key) DO UPDATE SET last = numbers.last + excluded.last RETURNING key, last",
);

/// Takes a transaction number before any key: numbers then differ from the order of commits.
const EARLY_XID: TenantSql =
    TenantSql::new("SELECT pg_current_xact_id()::text FROM (SELECT $1::text AS tenant) t WHERE tenant = $1");

/// Rows of a partition in a run that drops some.
const SMALL_PART_ROWS: i64 = 200;

/// The service's schema.
const SCHEMA: &str = "ingest";

const APPEND: &str = "SELECT * FROM append_events($1, $2, $3, $4, $5::text[]::jsonb[], NULL, NULL, $6)";

const LOG: &str = "SELECT tenant, topic, key, kseq, id, type, payload FROM outbox
     WHERE pos > $1 ORDER BY pos LIMIT 20000";
const LOG_POS: &str =
    "SELECT max(pos) FROM (SELECT pos FROM outbox WHERE pos > $1 ORDER BY pos LIMIT 20000) p";

/// The writer's side.
#[derive(Debug)]
pub(crate) struct Desk(Postgres);

fn connect(url: &str) -> Result<Postgres> {
    Ok(Postgres::connect(url, &PostgresOptions::new("rc-chaos", SCHEMA))?)
}

impl Desk {
    pub(crate) async fn open(url: &str) -> Result<Self> {
        let db = connect(url)?;
        db.migrate(&MIGRATIONS).await?;
        db.migrate(&NUMBERS).await?;
        Ok(Self(db))
    }

    async fn attempt(
        &self,
        attempt: &Attempt,
        journal: &Journal,
    ) -> std::result::Result<bool, rc_store::Error> {
        let tenant = tenant();
        let mut client = self.0.client().await?;
        let tx = client.tenant(&tenant).await?;
        if !attempt.late.is_zero() {
            tx.query(EARLY_XID, &[]).await?;
            tokio::time::sleep(attempt.late).await;
        }
        let keys: Vec<&str> = attempt.keys.iter().map(|(key, _)| key.as_str()).collect();
        let counts: Vec<i64> = attempt
            .keys
            .iter()
            .map(|(_, count)| count.cast_signed())
            .collect();
        let mut events = Vec::new();
        for row in tx.query(NEXT, &[&keys, &counts]).await? {
            let (key, last): (&str, i64) = (row.try_get(0)?, row.try_get(1)?);
            let index = keys
                .iter()
                .position(|of| *of == key)
                .expect("a key that was asked for");
            events.extend(attempt.events(index, last.cast_unsigned()));
        }
        journal.begin(&attempt.tx, facts(&events));
        append(&tx, &events).await?;
        if !attempt.hold.is_zero() {
            tokio::time::sleep(attempt.hold).await;
        }
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

/// The writer's side of a service that is not ours: it calls the SQL functions that users install.
#[derive(Debug)]
pub(crate) struct SqlDesk(Postgres);

impl SqlDesk {
    pub(crate) async fn open(url: &str) -> Result<Self> {
        let db = connect(url)?;
        let sql = install_sql(SCHEMA, Grants::default())?;
        db.client().await?.simple(&sql).await?;
        Ok(Self(db))
    }

    async fn attempt(
        &self,
        attempt: &Attempt,
        journal: &Journal,
    ) -> std::result::Result<bool, rc_store::Error> {
        let mut client = self.0.client().await?;
        let tx = client.system().await?;
        if !attempt.late.is_zero() {
            tx.query("SELECT pg_current_xact_id()", &[]).await?;
            tokio::time::sleep(attempt.late).await;
        }
        let mut events: Vec<NewEvent> = Vec::new();
        for (index, (_, count)) in attempt.keys.iter().enumerate() {
            // The numbers are the function's to give.
            events.extend(attempt.events(index, *count));
        }
        let tenant = tenant();
        let topics: Vec<&str> = events.iter().map(|event| &*event.topic).collect();
        let keys: Vec<&str> = events.iter().map(|event| event.key.as_str()).collect();
        let types: Vec<&str> = events.iter().map(|event| &*event.event_type).collect();
        let payloads: Vec<&str> = events
            .iter()
            .map(|event| std::str::from_utf8(&event.payload).unwrap_or_default())
            .collect();
        let ids: Vec<Uuid> = events.iter().map(|event| event.id).collect();
        let rows = tx
            .query(
                APPEND,
                &[&tenant.as_str(), &topics, &keys, &types, &payloads, &ids],
            )
            .await?;
        for (event, row) in events.iter_mut().zip(&rows) {
            event.kseq = row.try_get::<_, i64>(0)?.cast_unsigned();
        }
        journal.begin(&attempt.tx, facts(&events));
        if !attempt.hold.is_zero() {
            tokio::time::sleep(attempt.hold).await;
        }
        if attempt.rollback {
            tx.rollback().await?;
            return Ok(false);
        }
        tx.commit().await?;
        Ok(true)
    }
}

impl super::Desk for SqlDesk {
    fn write<'a>(
        &'a self,
        attempt: Attempt,
        journal: &'a Arc<Journal>,
    ) -> BoxFuture<'a, std::result::Result<bool, rc_store::Error>> {
        Box::pin(async move { self.attempt(&attempt, journal).await })
    }
}

/// The relay that reads a replication slot.
pub(crate) fn slot(url: &str) -> Result<Arc<dyn Source>> {
    let source = SlotSource::new(connect(url)?, PgAddress::parse(url)?, ORIGIN);
    Ok(Arc::new(source))
}

/// The relay that polls by snapshot pairs.
pub(crate) fn poll(url: &str, prunes: bool) -> Result<Arc<dyn Source>> {
    let source = PostgresSource::new(connect(url)?, ORIGIN);
    Ok(Arc::new(match prunes {
        true => source.with_part_rows(SMALL_PART_ROWS),
        false => source,
    }))
}

/// How many events the outbox has.
pub(crate) async fn count(url: &str) -> Result<i64> {
    let db = connect(url)?;
    let mut client = db.client().await?;
    let tx = client.system().await?;
    let count = "SELECT count(*) FROM outbox";
    Ok(tx.query_one(count, &[]).await?.try_get(0)?)
}

/// What the outbox has.
pub(crate) async fn log(url: &str) -> Result<Vec<Fact>> {
    let db = connect(url)?;
    let mut client = db.client().await?;
    let tx = client.system().await?;
    let (mut facts, mut after) = (Vec::new(), 0_i64);
    loop {
        let upto: Option<i64> = tx.query_one(LOG_POS, &[&after]).await?.try_get(0)?;
        let Some(upto) = upto else {
            return Ok(facts);
        };
        for row in tx.query(LOG, &[&after]).await? {
            facts.push(fact(&row)?);
        }
        after = upto;
    }
}

/// A row of tenant, topic, key, number, id, type, payload.
pub(crate) fn fact(row: &rc_store::tokio_postgres::Row) -> Result<Fact> {
    let (tenant, topic, key): (&str, &str, &str) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    let (kseq, id, event_type): (i64, Uuid, &str) = (row.try_get(3)?, row.try_get(4)?, row.try_get(5)?);
    let payload: &[u8] = row.try_get(6)?;
    Ok(Fact {
        place: format!("{tenant}/{topic}/{key}"),
        kseq: kseq.cast_unsigned(),
        id: id.as_u128(),
        content: content(event_type, payload),
    })
}
