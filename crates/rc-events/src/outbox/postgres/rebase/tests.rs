//! An outbox whose rows and cursor come from a cluster with higher transaction numbers.

use std::collections::HashMap;
use std::sync::Arc;

use rc_model::SystemClock;
use rc_store::PostgresOptions;

use super::*;
use crate::bus::Cursor;
use crate::bus::tests::World;
use crate::event::tests::event;
use crate::outbox::postgres::{self, PostgresSource};
use crate::relay::tests::{assert_exact, read_all, run};
use crate::relay::{RelayOptions, Source};

async fn append(db: &Postgres, key: &str, from: u64, upto: u64) {
    let tenant = TenantId::new("acme").unwrap();
    let mut client = db.client().await.unwrap();
    let tx = client.tenant(&tenant).await.unwrap();
    let events: Vec<_> = (from..=upto).map(|kseq| event("acme", key, kseq)).collect();
    postgres::append(&tx, &events).await.unwrap();
    tx.commit().await.unwrap();
}

async fn sql(db: &Postgres, text: &str) {
    let mut client = db.client().await.unwrap();
    let tx = client.system().await.unwrap();
    tx.batch(text).await.unwrap();
    tx.commit().await.unwrap();
}

async fn rebased(db: &Postgres, bus: &dyn Bus, accept_loss: bool) -> Result<Rebased, Error> {
    let tenant = TenantId::new("acme").unwrap();
    rebase(db, bus, "ingest", &tenant, &SystemClock, accept_loss).await
}

#[tokio::test]
async fn live_a_restored_outbox_goes_on_where_the_bus_is() {
    let database = rc_test::Postgres::start().fresh_database();
    let db = Postgres::connect(&database.url, &PostgresOptions::new("rebase", "ingest")).unwrap();
    db.migrate(&postgres::MIGRATIONS).await.unwrap();
    let world = World::sqlite().await;
    let source = || Arc::new(PostgresSource::new(db.clone(), "ingest"));
    append(&db, "a", 1, 5).await;
    append(&db, "b", 1, 3).await;
    let mut running = run(source(), &world.bus, RelayOptions::default());
    running.until(|status| status.tail == 8).await;
    running.end().await;
    // Written in the old cluster and not relayed there; then numbers as they are after a restore, where the service
    // has written on.
    append(&db, "a", 6, 7).await;
    sql(&db, "UPDATE outbox SET xid = '9000000000'").await;
    append(&db, "b", 4, 4).await;
    let at = world.bus.cursor("ingest").await.unwrap();
    let error = source().fetch(&at, ReadLimit::default()).await.unwrap_err();
    assert_eq!(error.code(), "RC-EVT-006");

    for (round, waiting) in [(1, 3), (2, 3)] {
        // Twice: a rebase that died before it had moved the cursor is repeated.
        let report = rebased(&db, &*world.bus, false).await.unwrap();
        let expect = Rebased {
            settled: 8,
            waiting,
            behind: 0,
        };
        assert_eq!(report, expect, "{round}");
    }
    let mut running = run(source(), &world.bus, RelayOptions::default());
    running.until(|status| status.published == 3).await;
    append(&db, "b", 5, 5).await;
    running.until(|status| status.published == 4).await;
    running.end().await;
    let expect = HashMap::from([("a".to_owned(), 7), ("b".to_owned(), 5), ("ingest".to_owned(), 2)]);
    assert_exact(&read_all(&world.bus).await, &expect);
}

#[tokio::test]
async fn live_an_outbox_that_is_older_than_the_bus_is_told() {
    let database = rc_test::Postgres::start().fresh_database();
    let db = Postgres::connect(&database.url, &PostgresOptions::new("rebase", "ingest")).unwrap();
    db.migrate(&postgres::MIGRATIONS).await.unwrap();
    let world = World::sqlite().await;
    append(&db, "a", 1, 5).await;
    let mut running = run(
        Arc::new(PostgresSource::new(db.clone(), "ingest")),
        &world.bus,
        RelayOptions::default(),
    );
    running.until(|status| status.tail == 5).await;
    running.end().await;
    sql(&db, "DELETE FROM outbox WHERE kseq > 3").await;
    let error = rebased(&db, &*world.bus, false).await.unwrap_err();
    assert!(error.to_string().contains("acme/docs/a"), "{error}");
    assert_ne!(world.bus.cursor("ingest").await.unwrap(), Cursor::default());
    assert_eq!(rebased(&db, &*world.bus, true).await.unwrap().behind, 1);
}
