//! What a planted fault is told as, on both stores, and that a sound store is left alone.

use super::columns::{Wanted, table_of};
use super::*;
use crate::{Postgres, PostgresOptions, Sqlite, SqliteOptions};

fn names(columns: &[&str]) -> Vec<String> {
    columns.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn columns_come_from_what_a_statement_compares_and_sorts() {
    let columns = names(&["tenant", "id", "state", "at", "n"]);
    for (sql, sorts, index) in [
        (
            "SELECT n FROM t WHERE tenant = ?1 AND state = ?2",
            false,
            "tenant state",
        ),
        (
            "SELECT n FROM t WHERE at < ?2 AND tenant = ?1",
            false,
            "tenant at",
        ),
        (
            "SELECT n FROM t WHERE tenant = ?1 ORDER BY at DESC, id LIMIT 5",
            true,
            "tenant at id",
        ),
        ("SELECT n FROM t WHERE tenant = ?1 ORDER BY at", false, "tenant"),
        ("SELECT x.n FROM t AS x WHERE x.state IN (?)", false, "state"),
        ("UPDATE t SET n = ?1 WHERE id = ?2", false, "id"),
        ("SELECT count(*) FROM t", false, ""),
        ("SELECT n FROM t ORDER BY lower(id)", true, ""),
        ("SELECT ((((", false, ""),
    ] {
        assert_eq!(Wanted::of(sql, &columns).index(sorts).join(" "), index, "{sql}");
    }
}

#[test]
fn an_alias_is_its_table() {
    let tables = names(&["documents", "search"]);
    let sql = "SELECT 1 FROM search s JOIN documents AS d ON d.row_no = s.row_no";
    for (name, table) in [
        ("d", Some("documents")),
        ("s", Some("search")),
        ("search", Some("search")),
        ("x", None),
    ] {
        assert_eq!(table_of(sql, name, &tables), table, "{name}");
    }
}

const ROWS: u64 = TABLE_ROWS_MIN + 1;

fn of_kind(advised: &Advised, kind: AdviceKind) -> Vec<&Advice> {
    advised
        .advice
        .iter()
        .filter(|advice| advice.kind == kind)
        .collect()
}

#[tokio::test]
async fn sqlite_names_the_index_that_lacks_and_the_one_that_idles() {
    let folder = tempfile::tempdir().unwrap();
    let db = Sqlite::open(&folder.path().join("t.db"), SqliteOptions::default()).unwrap();
    let fill = |conn: &crate::Conn| {
        conn.execute_batch(
            "CREATE TABLE orders (id INTEGER PRIMARY KEY, customer TEXT, state TEXT, at INTEGER);
             CREATE INDEX orders_by_state ON orders (state);
             CREATE INDEX orders_by_at ON orders (at);
             CREATE TABLE small (id INTEGER PRIMARY KEY, customer TEXT);",
        )?;
        let mut put =
            conn.prepare_cached("INSERT INTO orders (customer, state, at) VALUES (?1, 'new', ?2)")?;
        for row in 0..ROWS.cast_signed() {
            put.execute((format!("customer {}", row % 50), row))?;
        }
        Ok(())
    };
    db.write_alone("fill", fill).await.unwrap();
    let ask = |conn: &crate::Conn| {
        let count = |sql: &str, of: &str| conn.query_row(sql, [of], |row| row.get::<_, i64>(0));
        count("SELECT count(*) FROM orders WHERE customer = ?1", "customer 3")?;
        count(
            "SELECT count(*) FROM orders WHERE orders.customer = ?1",
            "customer 4",
        )?;
        count("SELECT count(*) FROM small WHERE customer = ?1", "customer 3")?;
        Ok(count("SELECT count(*) FROM orders WHERE at = ?1", "5")?)
    };
    db.read("ask", ask).await.unwrap();
    let advised = Database::Sqlite(db).advise().await.unwrap();

    let missing = of_kind(&advised, AdviceKind::MissingIndex);
    assert_eq!(
        missing.len(),
        1,
        "two statements that want one index, and a small table: {advised:#?}"
    );
    assert_eq!(
        missing[0].ddl.as_deref(),
        Some("CREATE INDEX orders_by_customer ON orders (customer)")
    );
    assert!(
        missing[0].plan.iter().any(|line| line == "SCAN orders"),
        "{:?}",
        missing[0]
    );
    assert_eq!(missing[0].writes, ROWS);
    assert!(
        missing[0]
            .bytes
            .is_some_and(|bytes| (15 * ROWS..40 * ROWS).contains(&bytes)),
        "{:?}",
        missing[0]
    );

    let unused = of_kind(&advised, AdviceKind::UnusedIndex);
    assert_eq!(unused.len(), 1, "{advised:#?}");
    assert_eq!(unused[0].ddl.as_deref(), Some("DROP INDEX orders_by_state"));
    assert!(
        unused[0].bytes.is_some_and(|bytes| bytes >= 4_096),
        "{:?}",
        unused[0]
    );
    assert_eq!((advised.indexes, advised.advice.len()), (2, 2));
}

/// `hypopg` is not on every machine that runs tests: functions of its names make a real index and drop it, which the
/// planner cannot tell apart.
const LIKE_HYPOPG: &str = "
    CREATE FUNCTION hypopg_create_index(sql text) RETURNS TABLE (indexrelid oid) LANGUAGE plpgsql
        AS $$ BEGIN EXECUTE sql; RETURN; END $$;
    CREATE FUNCTION hypopg_reset() RETURNS void LANGUAGE sql
        AS 'DROP INDEX IF EXISTS orders_by_customer';";

#[tokio::test]
async fn live_postgresql_names_the_index_that_lacks_and_the_one_that_idles() {
    let database = rc_test::Postgres::start().fresh_database();
    let db = Postgres::connect(&database.url, &PostgresOptions::new("rc-store-test", "public")).unwrap();
    let mut client = db.client().await.unwrap();
    let tx = client.system().await.unwrap();
    tx.batch(&format!(
        "CREATE TABLE orders (id bigint PRIMARY KEY, customer text, state text, at bigint UNIQUE);
         CREATE INDEX orders_by_state ON orders (state);
         CREATE INDEX orders_by_at ON orders (at);
         CREATE TABLE small (id bigint PRIMARY KEY, customer text);
         INSERT INTO orders SELECT i, 'customer ' || i % 50, 'new', i FROM generate_series(1, {ROWS}) AS i;
         {LIKE_HYPOPG}"
    ))
    .await
    .unwrap();
    tx.commit().await.unwrap();
    client.simple("ANALYZE").await.unwrap();
    let tx = client.system().await.unwrap();
    for sql in [
        "SELECT count(*) FROM orders WHERE customer = $1",
        "SELECT count(*) FROM small WHERE customer = $1",
        "SELECT count(*) FROM orders AS o WHERE lower(o.customer) = $1",
    ] {
        tx.query(sql, &[&"customer 3"]).await.unwrap();
    }
    tx.rollback().await.unwrap();
    drop(client);
    let advised = Database::Postgres(db.clone()).advise().await.unwrap();

    let missing = of_kind(&advised, AdviceKind::MissingIndex);
    assert_eq!(missing.len(), 1, "{advised:#?}");
    assert_eq!(
        missing[0].ddl.as_deref(),
        Some("CREATE INDEX CONCURRENTLY orders_by_customer ON public.orders (customer)")
    );
    assert!(
        missing[0]
            .plan
            .iter()
            .any(|line| line.contains("Seq Scan on orders")),
        "{:?}",
        missing[0]
    );
    assert!(
        missing[0]
            .because
            .ends_with("hypopg: the planner would use the index"),
        "{:?}",
        missing[0]
    );
    assert_eq!(
        of_kind(&advised, AdviceKind::FullScan).len(),
        1,
        "an expression: {advised:#?}"
    );

    let unused: Vec<&str> = of_kind(&advised, AdviceKind::UnusedIndex)
        .iter()
        .filter_map(|advice| advice.index.as_deref())
        .collect();
    // What is unique or primary is kept, whether it is read or not.
    assert_eq!(unused, ["orders_by_at", "orders_by_state"], "{advised:#?}");
    // Nothing was applied, and nothing of the trial is left.
    let mut client = db.client().await.unwrap();
    let tx = client.system().await.unwrap();
    let left = "SELECT count(*) FROM pg_indexes WHERE indexname = 'orders_by_customer'";
    assert_eq!(tx.query_one(left, &[]).await.unwrap().get::<_, i64>(0), 0);
}
