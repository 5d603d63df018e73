use super::check::binds_tenant;
use super::*;

const BY_ID: TenantSql = TenantSql::new("SELECT body FROM docs WHERE tenant = ?1 AND id = ?2");
const PUT: TenantSql = TenantSql::new("INSERT INTO docs (tenant, id, body) VALUES (?1, ?2, ?3)");
const ALL: TenantSql = TenantSql::new("SELECT id FROM docs WHERE tenant = ?1 ORDER BY id LIMIT 100");
const OWN_TABLE: TenantSql = TenantSql::new("SELECT word FROM \"words_{tenant}\" WHERE word >= ?2");

#[test]
fn statements_that_bind_their_tenant_are_accepted() {
    for sql in [
        "SELECT 1 FROM t WHERE tenant = ?1",
        "SELECT 1 FROM t WHERE tenant=$1",
        "select 1 from t d where d.tenant = $1 and x = $2",
        "DELETE FROM t WHERE id = ?2 AND tenant\n  =\n  ?1",
        "UPDATE t SET x = ?2 WHERE tenant = ?1 AND id = ?3",
        "INSERT INTO t (tenant, id) VALUES (?1, ?2)",
        "INSERT OR IGNORE INTO main.t(tenant) VALUES(?1)",
        "INSERT INTO ingest.docs (tenant, id) SELECT $1, * FROM unnest($2::text[])",
        "SELECT rowid FROM \"fts_{tenant}\" WHERE \"fts_{tenant}\" MATCH ?2",
        "SELECT ';--' FROM t WHERE tenant = ?1",
    ] {
        assert!(accepted(sql), "{sql}");
    }
}

/// The same judgement that `TenantSql::new` makes in a `const`, where `false` is a compile error.
fn accepted(sql: &'static str) -> bool {
    binds_tenant(sql)
}

#[test]
fn a_forgotten_tenant_is_refused() {
    for sql in [
        "",
        "SELECT * FROM docs",
        "SELECT * FROM docs WHERE id = ?1",
        "SELECT tenant FROM docs WHERE id = ?1",
        "SELECT * FROM docs WHERE tenant = ?2",
        "SELECT * FROM docs WHERE tenant = ?10",
        "SELECT * FROM docs WHERE tenant = 'acme'",
        "SELECT * FROM docs WHERE subtenant = ?1",
        "SELECT * FROM docs WHERE tenants = ?1",
        "SELECT * FROM docs WHERE id = 'tenant = ?1'",
        "SELECT * FROM docs -- WHERE tenant = ?1",
        "SELECT * FROM docs /* tenant = ?1 */",
        "INSERT INTO docs (id, tenant) VALUES (?1, ?2)",
        "INSERT INTO docs (tenant, id) VALUES (?2, ?1)",
        "INSERT INTO docs (tenant, id) SELECT x, $1 FROM y",
        "INSERT INTO docs VALUES (?1, ?2)",
        "SELECT 'unfinished",
    ] {
        assert!(!accepted(sql), "{sql}");
    }
}

#[test]
fn a_tenants_connection_sees_only_its_rows() {
    let conn = Conn::from(rusqlite::Connection::open_in_memory().unwrap());
    conn.execute_batch("CREATE TABLE docs (tenant TEXT, id TEXT, body TEXT)")
        .unwrap();
    let (acme, beta) = (TenantId::new("acme").unwrap(), TenantId::new("beta").unwrap());
    let a = TenantConn::new(&conn, &acme);
    let b = TenantConn::new(&conn, &beta);
    let mut put = a.prepare(PUT).unwrap();
    put.execute(&[&"1", &"of acme"]).unwrap();
    put.execute(&[&"2", &"also of acme"]).unwrap();
    b.execute(PUT, &[&"1", &"of beta"]).unwrap();

    let body = |conn: &TenantConn<'_>| {
        conn.query_row(BY_ID, &[&"1"], |row| row.get::<_, String>(0))
            .unwrap()
    };
    assert_eq!(body(&a).as_deref(), Some("of acme"));
    assert_eq!(body(&b).as_deref(), Some("of beta"));
    let ids = b.query_map(ALL, &[], |row| row.get::<_, String>(0)).unwrap();
    assert_eq!(ids, ["1"]);
}

#[test]
fn a_table_of_the_tenants_own_is_named_by_the_tenant() {
    let conn = Conn::from(rusqlite::Connection::open_in_memory().unwrap());
    conn.execute_batch(
        "CREATE TABLE \"words_acme-corp\" (word); INSERT INTO \"words_acme-corp\" VALUES ('a'), ('b')",
    )
    .unwrap();
    let tenant = TenantId::new("acme-corp").unwrap();
    let words = TenantConn::new(&conn, &tenant)
        .query_map(OWN_TABLE, &[&"b"], |row| row.get::<_, String>(0))
        .unwrap();
    assert_eq!(words, ["b"]);
}

#[test]
fn a_missing_parameter_is_a_bug_and_not_the_last_value() {
    let conn = Conn::from(rusqlite::Connection::open_in_memory().unwrap());
    conn.execute_batch("CREATE TABLE docs (tenant TEXT, id TEXT, body TEXT)")
        .unwrap();
    let tenant = TenantId::new("acme").unwrap();
    let conn = TenantConn::new(&conn, &tenant);
    let mut put = conn.prepare(PUT).unwrap();
    put.execute(&[&"1", &"x"]).unwrap();
    assert_eq!(put.execute(&[&"2"]).unwrap_err().code(), "RC-STO-014");
}
