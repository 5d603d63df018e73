//! Each call to the server is a span of the request that made it.

use rc_model::TenantId;
use rc_model::telemetry::SpanKind;
use rc_test::spans::{Heard, Recorder};

use crate::{Error, Migration, Migrations, Postgres, PostgresOptions, TenantSql};

const MIGRATIONS: Migrations = Migrations::new(
    "test",
    &[Migration {
        number: 1,
        name: "create_docs",
        up: "CREATE TABLE docs (tenant text, id text, PRIMARY KEY (tenant, id))",
        down: "DROP TABLE docs",
    }],
);
const PUT: TenantSql = TenantSql::new("INSERT INTO docs (tenant, id) VALUES ($1, $2)");
const ALL: TenantSql = TenantSql::new("SELECT id FROM docs WHERE tenant = $1 AND id <> 'secret'");

async fn store() -> Postgres {
    let database = rc_test::Postgres::start().fresh_database();
    let options = PostgresOptions::new("rc-store-test", "test");
    let store = Postgres::connect(&database.url, &options).unwrap();
    store.migrate(&MIGRATIONS).await.unwrap();
    store
}

#[tokio::test]
async fn live_statements_stand_in_the_trace_of_their_request() {
    let (store, recorder) = (store().await, Recorder::new());
    let acme = TenantId::new("acme").unwrap();
    let request = recorder.scope();
    let work = async {
        let mut client = store.client().await?;
        let tx = client.tenant(&acme).await?;
        for id in ["1", "2"] {
            tx.execute(PUT, &[&id]).await?;
        }
        assert_eq!(tx.query(ALL, &[]).await?.len(), 2);
        tx.commit().await?;
        let mut client = store.client().await?;
        let tx = client.system().await?;
        tx.execute("SELECT 1 FROM docs WHERE id IN ('a', 'b')", &[])
            .await?;
        tx.rollback().await
    };
    request.clone().run(work).await.unwrap();
    let spans = recorder.take();
    let names: Vec<&str> = spans.iter().map(|span| span.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "BEGIN",
            "INSERT docs",
            "INSERT docs",
            "SELECT docs",
            "COMMIT",
            "BEGIN",
            "SELECT docs",
            "ROLLBACK"
        ]
    );
    for span in &spans {
        assert_eq!(span.parent, Some(request.context().span_id()), "{span:?}");
        assert_eq!(span.context.trace_id(), request.context().trace_id());
        assert_eq!((span.kind, span.error.as_deref()), (SpanKind::Client, None));
        assert_eq!(span.attribute("db.system.name"), Some("postgresql"));
        assert!(span.took_ns > 0 && span.attribute("db.query.text").is_some());
    }
    assert!(spans[0].attribute("rc.queue_ms").is_some());
    assert_eq!(spans[3].attribute("db.response.returned_rows"), Some("2"));
    assert_eq!(
        spans[3].attribute("db.query.text"),
        Some("SELECT id FROM docs WHERE tenant = $1 AND id <> ?")
    );
    assert_eq!(
        spans[6].attribute("db.query.text"),
        Some("SELECT ? FROM docs WHERE id IN (?)")
    );
}

#[tokio::test]
async fn live_what_fails_or_is_given_up_says_so_and_nobody_else_is_told() {
    let (store, recorder) = (store().await, Recorder::new());
    let acme = TenantId::new("acme").unwrap();
    let put = || async {
        let mut client = store.client().await?;
        let tx = client.tenant(&acme).await?;
        tx.execute(PUT, &[&"secret"]).await?;
        tx.commit().await
    };
    // Nobody traces this one.
    put().await.unwrap();
    assert_eq!(recorder.take().len(), 0);

    let error: Error = recorder.scope().run(put()).await.unwrap_err();
    let spans = recorder.take();
    let insert: &Heard = spans.last().unwrap();
    assert_eq!(insert.name, "INSERT docs");
    assert_eq!(insert.error.as_deref(), Some(error.code()));
    assert_eq!(insert.attribute("error.type"), Some("RC-STO-004"));
    assert!(!format!("{spans:?}").contains("secret"), "{spans:#?}");

    let sleep = recorder.scope().run(async {
        let mut client = store.client().await.unwrap();
        let tx = client.system().await.unwrap();
        tx.batch("SELECT pg_sleep(30)").await
    });
    let limit = std::time::Duration::from_millis(300);
    assert!(tokio::time::timeout(limit, sleep).await.is_err());
    let spans = recorder.take();
    assert_eq!(
        spans.last().unwrap().error.as_deref(),
        Some("cancelled"),
        "{spans:#?}"
    );
}
