use rc_model::TenantId;
use rc_store::{Postgres, PostgresOptions};

use super::*;
use crate::ingest::postgres_migrations;
use crate::ingest::store::POSTGRES_SCHEMA;
use crate::ingest::store::tests::{put, write};

/// Rows in each table after it has grown, and requests after that.
const GROWN: i64 = 5_000;
const REQUESTS: u16 = 50;

async fn apply_one(pg: &Postgres, tenant: &TenantId, key: &str) {
    let write = write(key, 1, vec![put(key, 1)]);
    let outcomes = apply(pg, tenant, &[&write]).await.unwrap();
    assert!(matches!(outcomes[..], [Outcome::Fresh(..)]), "{outcomes:?}");
}

/// A connection plans its statements while the tables are empty and keeps the plans for its life: nothing tells
/// it that they have grown until somebody analyses them. Single documents fell to a fifth of their speed by that.
#[tokio::test]
async fn live_a_request_reads_no_more_rows_when_its_tables_have_grown() {
    let server = rc_test::Postgres::start();
    let database = server.fresh_database();
    let open = |schema| Postgres::connect(&database.url, &PostgresOptions::new("test", schema)).unwrap();
    for (schema, migrations) in postgres_migrations() {
        open(schema).migrate(&migrations).await.unwrap();
    }
    let (pg, acme) = (open(POSTGRES_SCHEMA), TenantId::new("acme").unwrap());
    let grow = async {
        let mut client = pg.client().await?;
        let tx = client.system().await?;
        tx.batch(&format!(
            "INSERT INTO requests SELECT 'acme', gen_random_uuid(), 'POST /ingest/batch', 'old-' || n,
                    decode(repeat('00', 32), 'hex'), '', '[]', 1 FROM generate_series(1, {GROWN}) AS n;
             INSERT INTO documents SELECT 'acme', 'old-' || n, 1, decode(repeat('00', 16), 'hex'), false
               FROM generate_series(1, {GROWN}) AS n"
        ))
        .await?;
        tx.commit().await
    };
    for table in ["requests", "documents"] {
        let alone = format!("ALTER TABLE {table} SET (autovacuum_enabled = off)");
        pg.client().await.unwrap().simple(&alone).await.unwrap();
    }
    for number in 0..10 {
        apply_one(&pg, &acme, &format!("empty-{number}")).await;
    }
    grow.await.unwrap();
    for number in 0..REQUESTS {
        apply_one(&pg, &acme, &format!("grown-{number}")).await;
    }
    // What a connection did is counted at its end.
    pg.close();
    let mut counted = String::new();
    for _ in 0..100 {
        counted = server.ask(
            &database,
            "SELECT min(n_tup_ins), sum(seq_tup_read + idx_tup_fetch) FROM pg_stat_user_tables
             WHERE schemaname = 'ingest' AND relname IN ('requests', 'documents')",
        );
        let (written, read) = counted.split_once('|').unwrap();
        if written.parse() == Ok(10 + GROWN + i64::from(REQUESTS)) {
            let read: u64 = read.parse().unwrap();
            assert!(
                read < u64::from(REQUESTS) * 10,
                "{REQUESTS} requests read {read} rows"
            );
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("the server does not count: {counted}");
}
