//! What is counted, on both stores, with and without a trace.

use rc_model::TenantId;

use super::*;
use crate::{PostgresOptions, SqliteOptions, TenantSql};

fn find<'p>(profile: &'p [StatementProfile], name: &str) -> &'p StatementProfile {
    profile
        .iter()
        .find(|statement| &*statement.name == name)
        .unwrap_or_else(|| panic!("no `{name}` in {profile:#?}"))
}

#[tokio::test]
async fn sqlite_counts_what_nobody_traces_and_explains_it() {
    const CREATE: TenantSql = TenantSql::new(r#"CREATE VIRTUAL TABLE "own_{tenant}" USING fts5 (x)"#);
    const PUT: TenantSql = TenantSql::new(r#"INSERT INTO "own_{tenant}" (x) VALUES (?2)"#);
    const FIND: TenantSql = TenantSql::new(r#"SELECT rowid FROM "own_{tenant}" WHERE x MATCH ?2"#);
    let folder = tempfile::tempdir().unwrap();
    let db = Sqlite::open(&folder.path().join("t.db"), SqliteOptions::default()).unwrap();
    let (acme, tenants) = (TenantId::new("acme").unwrap(), db.tenants());
    let put = tenants.write(&acme, "put", |conn| {
        conn.execute(CREATE, &[])?;
        for _ in 0..100 {
            conn.execute(PUT, &[&"word"])?;
        }
        Ok(())
    });
    put.await.unwrap();
    let search = |conn: &crate::TenantConn<'_>| conn.query_map(FIND, &[&"word"], |row| row.get::<_, i64>(0));
    assert_eq!(tenants.read(&acme, "find", search).await.unwrap().len(), 100);
    let failed = db.write("fail", |conn| {
        Ok(conn.execute("INSERT INTO nowhere (x) VALUES (1)", [])?)
    });
    failed.await.unwrap_err();

    let database = Database::Sqlite(db);
    let profile = database.profile_with_plans().await.unwrap();
    let (put, found) = (
        find(&profile, "INSERT own_{tenant}"),
        find(&profile, "SELECT own_{tenant}"),
    );
    assert_eq!((put.calls, put.errors), (100, 0));
    assert_eq!((found.calls, found.rows), (1, 100));
    for statement in [put, found] {
        assert!(statement.p50 <= statement.p95 && statement.p95 <= statement.max);
        assert!(
            statement.max <= statement.total && !statement.max.is_zero(),
            "{statement:?}"
        );
    }
    assert!(
        found
            .plan
            .iter()
            .any(|line| line.starts_with("SCAN own_{tenant} VIRTUAL TABLE")),
        "{found:#?}"
    );
    let failed = find(&profile, "INSERT nowhere");
    assert_eq!((failed.errors, failed.plan.len()), (1, 0));
    assert!(!format!("{profile:?}").contains("acme"), "{profile:#?}");
    assert!(profile.windows(2).all(|pair| pair[0].total >= pair[1].total));
}

#[tokio::test]
async fn live_postgresql_counts_and_explains_without_running() {
    let database = rc_test::Postgres::start().fresh_database();
    let db = Postgres::connect(&database.url, &PostgresOptions::new("rc-store-test", "public")).unwrap();
    let mut client = db.client().await.unwrap();
    let tx = client.system().await.unwrap();
    tx.batch("CREATE TABLE docs (id text PRIMARY KEY, n bigint)")
        .await
        .unwrap();
    for id in ["1", "2", "3"] {
        tx.execute("INSERT INTO docs (id, n) VALUES ($1, 5)", &[&id])
            .await
            .unwrap();
    }
    let found = tx
        .query("SELECT n FROM docs WHERE id = $1", &[&"2"])
        .await
        .unwrap();
    assert_eq!(found.len(), 1);
    tx.commit().await.unwrap();
    client.simple("DROP TABLE IF EXISTS gone").await.unwrap();
    drop(client);

    let shown = Database::Postgres(db.clone());
    let profile = shown.profile_with_plans().await.unwrap();
    let (put, found) = (find(&profile, "INSERT docs"), find(&profile, "SELECT docs"));
    assert_eq!(
        (put.calls, &*put.text),
        (3, "INSERT INTO docs (id, n) VALUES ($1, ?)")
    );
    assert_eq!((found.calls, found.rows, found.errors), (1, 1, 0));
    assert!(
        found
            .plan
            .iter()
            .any(|line| line.contains("Index Scan using docs_pkey")),
        "{found:#?}"
    );
    assert!(!put.plan.is_empty() && find(&profile, "DROP gone").plan.is_empty());
    // Explaining ran nothing, also where a statement writes; and the pool's sessions are as before.
    let mut client = db.client().await.unwrap();
    let tx = client.system().await.unwrap();
    let rows = tx.query_one("SELECT count(*) FROM docs", &[]).await.unwrap();
    assert_eq!(rows.get::<_, i64>(0), 3);
    assert!(tx.explain("SELECT nothing FROM nowhere").await.unwrap().is_none());
    assert!(tx.explain("SELECT $1::text || $2").await.unwrap().is_some());
    tx.rollback().await.unwrap();
}

#[test]
fn what_is_no_single_query_is_not_explained() {
    for (sql, explained) in [
        ("SELECT 1", true),
        ("  -- why\n with x as (select 1) select * from x;", true),
        ("INSERT INTO t VALUES (';')", true),
        ("SELECT 1; DELETE FROM t", false),
        ("CREATE TABLE t (x)", false),
        ("BEGIN", false),
        ("", false),
    ] {
        assert_eq!(is_explained(sql), explained, "{sql}");
    }
    assert_eq!(parameters("SELECT $2, '$9', $1 -- $7"), 2);
    assert_eq!(parameters("SELECT 1"), 0);
}
