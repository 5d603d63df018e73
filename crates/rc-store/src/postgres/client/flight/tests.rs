use rc_model::TenantId;

use crate::{Error, ErrorKind, Migration, Migrations, Postgres, PostgresOptions, TenantSql};

const MIGRATIONS: Migrations = Migrations::new(
    "test",
    &[Migration {
        number: 1,
        name: "create_steps",
        up: "CREATE TABLE steps (tenant text, number bigint CHECK (number < 100), PRIMARY KEY (tenant, number))",
        down: "DROP TABLE steps",
    }],
);
const ADD: TenantSql = TenantSql::new("INSERT INTO steps (tenant, number) VALUES ($1, $2)");
/// Says which step this is, when those before it can be seen.
const NEXT: TenantSql = TenantSql::new(
    "INSERT INTO steps (tenant, number) SELECT $1, count(*) FROM steps WHERE tenant = $1 RETURNING number",
);
const COUNT: TenantSql = TenantSql::new("SELECT count(*) FROM steps WHERE tenant = $1");

async fn store() -> Postgres {
    let database = rc_test::Postgres::start().fresh_database();
    let options = PostgresOptions::new("rc-store-test", "test");
    let store = Postgres::connect(&database.url, &options).unwrap();
    store.migrate(&MIGRATIONS).await.unwrap();
    store
}

fn acme() -> TenantId {
    TenantId::new("acme").unwrap()
}

async fn count(store: &Postgres) -> i64 {
    let (mut client, acme) = (store.client().await.unwrap(), acme());
    let tx = client.tenant(&acme).await.unwrap();
    tx.query(COUNT, &[]).await.unwrap()[0].get(0)
}

#[tokio::test]
async fn live_a_flight_keeps_its_order_from_the_first_one_on() {
    let (store, acme) = (store().await, acme());
    for flight in 0..3_i64 {
        let mut client = store.client().await.unwrap();
        let tx = client.tenant(&acme).await.unwrap();
        // Other statements than last time are prepared first, and still come where they stand.
        let answers = match flight {
            0 => tx
                .flight(&[(NEXT, &[]), (NEXT, &[]), (COUNT, &[])])
                .await
                .unwrap(),
            _ => tx
                .flight(&[(NEXT, &[]), (ADD, &[&(flight * 3 + 1)]), (COUNT, &[])])
                .await
                .unwrap(),
        };
        let (first, last): (i64, i64) = (answers[0][0].get(0), answers[2][0].get(0));
        assert_eq!((first, last), (flight * 3, flight * 3 + 2));
        tx.commit_after(&[(NEXT, &[])]).await.unwrap();
        assert_eq!(count(&store).await, flight * 3 + 3);
    }
}

async fn commit(store: &Postgres, numbers: &[i64]) -> Result<(), Error> {
    let (mut client, acme) = (store.client().await?, acme());
    let tx = client.tenant(&acme).await?;
    let params: Vec<[crate::Param<'_>; 1]> = numbers
        .iter()
        .map(|number| [number as crate::Param<'_>])
        .collect();
    let statements: Vec<_> = params.iter().map(|params| (ADD, &params[..])).collect();
    tx.commit_after(&statements).await
}

#[tokio::test]
async fn live_a_flight_is_durable_whole_or_not_at_all() {
    let store = store().await;
    let error = commit(&store, &[1, 2, 200, 3]).await.unwrap_err();
    assert_eq!(
        error.kind(),
        ErrorKind::Constraint,
        "the cause, not what it made of the rest: {error}"
    );
    assert_eq!(count(&store).await, 0);
    commit(&store, &[1, 2, 3]).await.unwrap();
    assert_eq!(count(&store).await, 3);
}

#[tokio::test]
async fn live_what_cannot_be_sent_keeps_the_commit_from_being_sent() {
    let (store, acme) = (store().await, acme());
    let mut client = store.client().await.unwrap();
    let tx = client.tenant(&acme).await.unwrap();
    let misfit = "not a number";
    let statements: [(TenantSql, &[crate::Param<'_>]); 3] =
        [(ADD, &[&1_i64]), (ADD, &[&misfit]), (ADD, &[&2_i64])];
    tx.commit_after(&statements).await.unwrap_err();
    drop(client);
    assert_eq!(count(&store).await, 0);
    assert_eq!(store.load(), (0, 0));
}

#[tokio::test]
async fn live_a_transaction_that_is_dropped_is_rolled_back_before_the_next() {
    let (store, acme) = (store().await, acme());
    let mut client = store.client().await.unwrap();
    let tx = client.tenant(&acme).await.unwrap();
    tx.flight(&[(ADD, &[&1_i64])]).await.unwrap();
    drop(tx);
    // The same connection.
    let tx = client.tenant(&acme).await.unwrap();
    let seen: i64 = tx.query(COUNT, &[]).await.unwrap()[0].get(0);
    assert_eq!(seen, 0);
    tx.commit().await.unwrap();
}
