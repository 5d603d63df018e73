use super::*;
use crate::{Migration, Migrations, TenantSql};
use rc_model::TenantId;

const MIGRATIONS: Migrations = Migrations::new(
    "test",
    &[Migration {
        number: 1,
        name: "create_docs",
        up: concat!(
            "CREATE TABLE docs (tenant text, id text, body text, PRIMARY KEY (tenant, id));",
            crate::row_security!("docs")
        ),
        down: "DROP TABLE docs",
    }],
);
const PUT: TenantSql = TenantSql::new("INSERT INTO docs (tenant, id, body) VALUES ($1, $2, $3)");
const GET: TenantSql = TenantSql::new("SELECT body FROM docs WHERE tenant = $1 AND id = $2");
const GIVE_AWAY: TenantSql = TenantSql::new("UPDATE docs SET tenant = 'beta' WHERE tenant = $1");
/// A statement that names its tenant and still asks for all rows: what the second wall is for.
const LEAK: TenantSql = TenantSql::new("SELECT id FROM docs WHERE tenant = $1 OR true");

fn options() -> PostgresOptions {
    PostgresOptions::new("rc-store-test", "test")
}

async fn store() -> Postgres {
    let database = rc_test::Postgres::start().fresh_database();
    let store = Postgres::connect(&database.url, &options()).unwrap();
    store.migrate(&MIGRATIONS).await.unwrap();
    store
}

fn tenant(name: &str) -> TenantId {
    TenantId::new(name).unwrap()
}

async fn put(store: &Postgres, tenant: &TenantId, id: &str) -> Result<(), Error> {
    let mut client = store.client().await?;
    let tx = client.tenant(tenant).await?;
    tx.execute(PUT, &[&id, &format!("{id} of {tenant}")]).await?;
    tx.commit().await
}

#[tokio::test]
async fn live_a_tenant_reaches_its_own_rows_only() {
    let store = store().await;
    let (acme, beta) = (tenant("acme"), tenant("beta"));
    put(&store, &acme, "1").await.unwrap();
    put(&store, &beta, "1").await.unwrap();
    let mut client = store.client().await.unwrap();
    let tx = client.tenant(&beta).await.unwrap();
    let row = tx.query_opt(GET, &[&"1"]).await.unwrap().unwrap();
    assert_eq!(row.get::<_, &str>(0), "1 of beta");
}

#[tokio::test]
async fn live_row_security_holds_where_a_statement_leaks() {
    let store = store().await;
    assert!(store.row_security_binds().await.unwrap());
    let (acme, beta) = (tenant("acme"), tenant("beta"));
    put(&store, &acme, "of-acme").await.unwrap();
    put(&store, &beta, "of-beta").await.unwrap();
    let mut client = store.client().await.unwrap();

    let tx = client.tenant(&beta).await.unwrap();
    let seen: Vec<String> = tx
        .query(LEAK, &[])
        .await
        .unwrap()
        .iter()
        .map(|row| row.get(0))
        .collect();
    assert_eq!(seen, ["of-beta"]);
    drop(tx);

    let tx = client.tenant(&acme).await.unwrap();
    let error = tx.execute(GIVE_AWAY, &[]).await.unwrap_err();
    assert!(format!("{error:?}").contains("row-level security"), "{error:?}");
    drop(tx);

    // Without a scope nothing is seen; the platform's own scope sees all.
    client
        .simple("DO $$ BEGIN ASSERT (SELECT count(*) FROM docs) = 0; END $$")
        .await
        .unwrap();
    let tx = client.system().await.unwrap();
    let all: i64 = tx
        .query_one("SELECT count(*) FROM docs", &[])
        .await
        .unwrap()
        .get(0);
    assert_eq!(all, 2);
}

#[tokio::test]
async fn live_a_scope_ends_with_its_transaction() {
    let store = store().await;
    let acme = tenant("acme");
    put(&store, &acme, "1").await.unwrap();
    let mut client = store.client().await.unwrap();
    for commit in [true, false] {
        let tx = client.system().await.unwrap();
        if commit {
            tx.commit().await.unwrap();
        } else {
            tx.rollback().await.unwrap();
        }
        client
            .simple("DO $$ BEGIN ASSERT (SELECT count(*) FROM docs) = 0; END $$")
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn live_a_superuser_is_told_that_the_wall_does_not_bind() {
    let server = rc_test::Postgres::start();
    let store = Postgres::connect(&server.url("postgres", "postgres"), &options()).unwrap();
    assert!(!store.row_security_binds().await.unwrap());
}

#[tokio::test]
async fn live_errors_say_what_to_do() {
    let store = store().await;
    let acme = tenant("acme");
    put(&store, &acme, "1").await.unwrap();
    assert_eq!(
        put(&store, &acme, "1").await.unwrap_err().kind(),
        ErrorKind::Constraint
    );
    assert_eq!(
        put(&store, &acme, "a\0b").await.unwrap_err().kind(),
        ErrorKind::Constraint
    );
    let mut client = store.client().await.unwrap();
    let tx = client.system().await.unwrap();
    assert_eq!(tx.query("SELEC 1", &[]).await.unwrap_err().kind(), ErrorKind::Bug);
    drop(tx);
    let tx = client.system().await.unwrap();
    tx.batch("SET TRANSACTION READ ONLY").await.unwrap();
    let error = tx.execute("DELETE FROM docs", &[]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ReadOnly);
}

#[tokio::test]
async fn live_a_deadlock_is_a_conflict_for_one_side() {
    let store = store().await;
    let acme = tenant("acme");
    for id in ["1", "2"] {
        put(&store, &acme, id).await.unwrap();
    }
    const LOCK: TenantSql = TenantSql::new("SELECT 1 FROM docs WHERE tenant = $1 AND id = $2 FOR UPDATE");
    let barrier = std::sync::Arc::new(tokio::sync::Barrier::new(2));
    let side = |first: &'static str, second: &'static str| {
        let (store, acme, barrier) = (store.clone(), acme.clone(), std::sync::Arc::clone(&barrier));
        async move {
            let mut client = store.client().await?;
            let tx = client.tenant(&acme).await?;
            tx.query(LOCK, &[&first]).await?;
            barrier.wait().await;
            tx.query(LOCK, &[&second]).await?;
            tx.commit().await
        }
    };
    let (a, b) = tokio::join!(side("1", "2"), side("2", "1"));
    let error = a.and(b).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
}

#[tokio::test]
async fn live_a_long_statement_is_stopped_by_the_server() {
    let database = rc_test::Postgres::start().fresh_database();
    let options = PostgresOptions {
        statement_time_max: Duration::from_millis(100),
        ..options()
    };
    let store = Postgres::connect(&database.url, &options).unwrap();
    let mut client = store.client().await.unwrap();
    let tx = client.system().await.unwrap();
    let error = tx.query("SELECT pg_sleep(60)", &[]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
}

#[tokio::test]
async fn live_a_pool_in_use_is_busy() {
    let database = rc_test::Postgres::start().fresh_database();
    let options = PostgresOptions {
        pool_max: 1,
        pool_wait_max: Duration::from_millis(50),
        ..options()
    };
    let store = Postgres::connect(&database.url, &options).unwrap();
    let held = store.client().await.unwrap();
    let error = store.client().await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Busy { .. }), "{error:?}");
    drop(held);
    store.ping().await.unwrap();
}

#[tokio::test]
async fn live_connections_heal_when_the_server_comes_back() {
    let server = rc_test::Postgres::start_own(true);
    let database = server.fresh_database();
    let store = Postgres::connect(&database.url, &options()).unwrap();
    store.migrate(&MIGRATIONS).await.unwrap();
    let mut held = store.client().await.unwrap();
    store.ping().await.unwrap();
    server.stop();
    let error = held.system().await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Unavailable { .. }), "{error:?}");
    drop(held);
    let error = store.ping().await.unwrap_err();
    assert!(error.retry_after().is_some(), "{error:?}");
    server.start_again();
    put(&store, &tenant("acme"), "1").await.unwrap();
}

#[tokio::test]
async fn a_server_that_accepts_and_says_nothing_costs_the_connect_time_only() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = silent.local_addr().unwrap().port();
    let options = PostgresOptions {
        connect_time_max: Duration::from_millis(100),
        ..options()
    };
    let url = format!("postgres://bob:s3cret@127.0.0.1:{port}/db");
    let store = Postgres::connect(&url, &options).unwrap();
    let error = tokio::time::timeout(Duration::from_secs(5), store.ping())
        .await
        .expect("the attempt has a limit")
        .unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Unavailable { .. }), "{error:?}");
    assert!(!format!("{error:?} {store:?}").contains("s3cret"));
}

#[tokio::test]
async fn live_a_call_that_gets_no_answer_gives_its_connection_up() {
    let database = rc_test::Postgres::start().fresh_database();
    let options = PostgresOptions {
        pool_max: 1,
        ..options()
    };
    let store = Postgres::connect(&database.url, &options).unwrap();
    let pid = async |store: &Postgres| -> i32 {
        let mut client = store.client().await.unwrap();
        let tx = client.system().await.unwrap();
        tx.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0)
    };
    let before = pid(&store).await;
    assert_eq!(pid(&store).await, before, "a connection is used again");
    let mut client = store
        .client()
        .await
        .unwrap()
        .with_answer_time_max(Duration::from_millis(50));
    let tx = client.system().await.unwrap();
    let error = tx.query("SELECT pg_sleep(1)", &[]).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Unavailable { .. }), "{error:?}");
    drop(tx);
    drop(client);
    assert_ne!(pid(&store).await, before);
}

#[tokio::test]
async fn live_tls_reaches_the_right_server_and_no_other() {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let other = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let server = rc_test::Postgres::start_own(true);
    server.add_file("server.crt", &made.cert.pem());
    server.add_file("server.key", &made.signing_key.serialize_pem());
    server.admin(&["ALTER SYSTEM SET ssl = on"]);
    server.stop();
    server.start_again();
    let folder = tempfile::tempdir().unwrap();
    let (right, wrong) = (
        folder.path().join("right root.pem"),
        folder.path().join("wrong.pem"),
    );
    fs_err::write(&right, made.cert.pem()).unwrap();
    fs_err::write(&wrong, other.cert.pem()).unwrap();
    let url = server.fresh_database().url;
    let ask = async |host: &str, root: &std::path::Path| {
        let root = root.display().to_string().replace(' ', "%20").replace('/', "%2F");
        let url = format!(
            "{}?sslmode=verify-full&sslrootcert={root}",
            url.replace("127.0.0.1", host)
        );
        let store = Postgres::connect(&url, &options())?;
        let mut client = store.client().await?;
        let tx = client.system().await?;
        let row = tx
            .query_one("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()", &[])
            .await?;
        Ok::<bool, Error>(row.get(0))
    };
    assert!(ask("localhost", &right).await.unwrap());
    for (host, root) in [("localhost", &wrong), ("127.0.0.1", &right)] {
        let error = ask(host, root).await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Unavailable { .. }), "{error:?}");
        assert!(format!("{error:?}").contains("certificate"), "{error:?}");
    }
    let error = ask("localhost", &folder.path().join("missing.pem"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Url);

    // A server without TLS is not spoken to in the clear.
    server.admin(&["ALTER SYSTEM SET ssl = off"]);
    server.stop();
    server.start_again();
    ask("localhost", &right).await.unwrap_err();
}

#[test]
fn tls_that_is_asked_for_is_not_silently_left_out() {
    let error = Postgres::connect("postgres://h/db?sslmode=require", &options()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Url);
    assert!(error.to_string().contains("sslrootcert"), "{error}");
}

/// A plan that was made for a table of one page must not read all of it later.
#[tokio::test]
async fn live_a_plan_made_on_an_empty_table_uses_the_index() {
    const EXPLAIN: &str = "EXPLAIN EXECUTE probe('acme', '1')";
    let store = store().await;
    let mut client = store.client().await.unwrap();
    let tx = client.system().await.unwrap();
    tx.batch("PREPARE probe(text, text) AS SELECT body FROM docs WHERE tenant = $1 AND id = $2")
        .await
        .unwrap();
    tx.batch("SET LOCAL plan_cache_mode = force_generic_plan; EXECUTE probe('acme', '1')")
        .await
        .unwrap();
    let plan = tx.query(EXPLAIN, &[]).await.unwrap();
    let plan: Vec<&str> = plan.iter().map(|row| row.get(0)).collect();
    assert!(plan[0].starts_with("Index Scan"), "{plan:?}");
}
