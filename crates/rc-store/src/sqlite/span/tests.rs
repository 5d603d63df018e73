//! A request's scope reaches its statements on the threads of the store, and nobody else pays for it.

use std::time::Duration;

use rc_model::TenantId;
use rc_model::telemetry::SpanKind;
use rc_test::spans::{Heard, Recorder};

use crate::trace::STATEMENTS_MAX;
use crate::{Conn, Error, ErrorKind, Sqlite, SqliteOptions, TenantSql};

const CREATE: &str = "CREATE TABLE t (x INTEGER PRIMARY KEY, y)";

async fn store(options: SqliteOptions) -> (Sqlite, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let db = Sqlite::open(&folder.path().join("t.db"), options).unwrap();
    db.write("create", |conn| Ok(conn.execute_batch(CREATE)?))
        .await
        .unwrap();
    (db, folder)
}

fn find<'s>(spans: &'s [Heard], name: &str) -> &'s Heard {
    spans
        .iter()
        .find(|span| span.name == name)
        .unwrap_or_else(|| panic!("no `{name}` in {spans:#?}"))
}

#[tokio::test]
async fn statements_stand_below_the_job_and_the_job_below_its_request() {
    let (db, _folder) = store(SqliteOptions::default()).await;
    let recorder = Recorder::new();
    let request = recorder.scope();
    let wrote = request.clone().run(db.write("docs.put", |conn| {
        let mut insert = conn.prepare_cached("INSERT INTO t (x, y) VALUES (?1, 'secret')")?;
        for x in 0..100 {
            insert.execute([x])?;
        }
        Ok(conn.query_row("SELECT count(*) FROM t WHERE x < 50", [], |row| {
            row.get::<_, i64>(0)
        })?)
    }));
    assert_eq!(wrote.await.unwrap(), 50);

    // The answer is there, and so are its spans.
    let spans = recorder.take();
    assert_eq!(spans.len(), 4, "{spans:#?}");
    let (job, insert, select, commit) = (
        find(&spans, "sqlite write docs.put"),
        find(&spans, "INSERT t"),
        find(&spans, "SELECT t"),
        find(&spans, "COMMIT"),
    );
    assert_eq!(job.parent, Some(request.context().span_id()));
    assert!(commit.began_unix_ns >= select.began_unix_ns && commit.took_ns > 0);
    for statement in [insert, select, commit] {
        assert_eq!(statement.parent, Some(job.context.span_id()));
        assert_eq!(statement.kind, SpanKind::Client);
        assert_eq!(statement.attribute("db.system.name"), Some("sqlite"));
        assert!(statement.began_unix_ns >= job.began_unix_ns);
        assert!(
            statement.began_unix_ns + statement.took_ns <= job.began_unix_ns + job.took_ns,
            "{spans:#?}"
        );
    }
    assert!(
        spans
            .iter()
            .all(|span| span.context.trace_id() == request.context().trace_id())
    );
    assert!(
        spans.iter().all(|span| span.error.is_none() && span.took_ns > 0),
        "{spans:#?}"
    );
    assert_eq!(insert.attribute("db.operation.batch.size"), Some("100"));
    assert_eq!(
        insert.attribute("db.query.text"),
        Some("INSERT INTO t (x, y) VALUES (?1, ?)")
    );
    assert_eq!(select.attribute("db.operation.batch.size"), None);
    assert_eq!(select.attribute("db.response.returned_rows"), Some("1"));
    assert_eq!(job.attribute("rc.group_jobs"), Some("1"));
    assert!(job.attribute("rc.queue_ms").unwrap().parse::<f64>().unwrap() >= 0.0);

    let read = request.run(db.read("docs.get", |conn| {
        let mut all = conn.prepare_cached("SELECT x FROM t WHERE x < ?1")?;
        let found: Vec<i64> = all.query_map([10], |row| row.get(0))?.collect::<Result<_, _>>()?;
        Ok(found.len())
    }));
    assert_eq!(read.await.unwrap(), 10);
    let spans = recorder.take();
    assert_eq!(
        find(&spans, "SELECT t").attribute("db.response.returned_rows"),
        Some("10")
    );
    assert_eq!(
        find(&spans, "SELECT t").parent,
        Some(find(&spans, "sqlite read docs.get").context.span_id())
    );
}

#[tokio::test]
async fn a_tenants_own_table_is_shown_without_the_tenant() {
    const CREATE: TenantSql = TenantSql::new(r#"CREATE TABLE "own_{tenant}" (x)"#);
    const PUT: TenantSql = TenantSql::new(r#"INSERT INTO "own_{tenant}" (x) VALUES (?2)"#);
    let (db, _folder) = store(SqliteOptions::default()).await;
    let (recorder, acme) = (Recorder::new(), TenantId::new("acme").unwrap());
    let tenants = db.tenants();
    let put = tenants.write(&acme, "put", |conn| {
        conn.execute(CREATE, &[])?;
        conn.execute(PUT, &[&7])
    });
    recorder.scope().run(put).await.unwrap();
    let spans = recorder.take();
    let put = find(&spans, "INSERT own_{tenant}");
    assert_eq!(
        put.attribute("db.query.text"),
        Some(r#"INSERT INTO "own_{tenant}" (x) VALUES (?2)"#)
    );
    assert!(!format!("{spans:?}").contains("acme"), "{spans:#?}");
}

#[tokio::test]
async fn without_a_scope_nothing_is_noted() {
    let (db, _folder) = store(SqliteOptions::default()).await;
    let recorder = Recorder::new();
    // A neighbour in the same group that is traced does not make this one traced.
    let silent = db.write("silent", |conn| {
        assert!(rc_model::telemetry::Scope::current().is_none());
        Ok(conn.execute("INSERT INTO t (x) VALUES (1)", [])?)
    });
    let traced = recorder.scope().run(db.write("traced", |conn| {
        assert!(rc_model::telemetry::Scope::current().is_some());
        Ok(conn.execute("INSERT INTO t (x) VALUES (2)", [])?)
    }));
    let (silent, traced) = tokio::join!(silent, traced);
    assert_eq!((silent.unwrap(), traced.unwrap()), (1, 1));
    db.read("after", |conn| {
        assert!(
            rc_model::telemetry::Scope::current().is_none(),
            "the scope ended with its job"
        );
        Ok(conn.query_row("SELECT count(*) FROM t", [], |row| row.get::<_, i64>(0))?)
    })
    .await
    .unwrap();
    let spans = recorder.take();
    assert_eq!(spans.len(), 3, "{spans:#?}");
    find(&spans, "sqlite write traced");
    assert_eq!(
        find(&spans, "INSERT t").attribute("db.operation.batch.size"),
        None
    );
}

#[tokio::test]
async fn what_fails_says_why_by_its_code() {
    let (db, _folder) = store(SqliteOptions::default()).await;
    let recorder = Recorder::new();
    let constraint = |conn: &Conn| -> Result<(), Error> {
        conn.execute("INSERT INTO t (x) VALUES (1)", [])?;
        conn.execute("INSERT INTO t (x) VALUES (1)", [])?;
        Ok(())
    };
    let error = recorder
        .scope()
        .run(db.write("twice", constraint))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Constraint);
    let spans = recorder.take();
    for name in ["sqlite write twice", "INSERT t"] {
        assert_eq!(
            find(&spans, name).error.as_deref(),
            Some("RC-STO-004"),
            "{spans:#?}"
        );
    }

    let panics = recorder
        .scope()
        .run(db.write_alone("panics", |conn| -> Result<(), Error> {
            conn.execute("INSERT INTO t (x) VALUES (2)", [])?;
            panic!("a secret")
        }));
    panics.await.unwrap_err();
    let spans = recorder.take();
    assert_eq!(
        find(&spans, "sqlite write panics").error.as_deref(),
        Some("RC-STO-014")
    );
    assert_eq!(find(&spans, "INSERT t").error, None);
    assert!(!format!("{spans:?}").contains("secret"));

    // A query without a row is an answer.
    let none = recorder.scope().run(db.read("none", |conn| {
        let found = conn.query_row("SELECT x FROM t WHERE x = 77", [], |row| row.get::<_, i64>(0));
        Ok(found.ok())
    }));
    assert_eq!(none.await.unwrap(), None);
    let spans = recorder.take();
    assert_eq!(find(&spans, "SELECT t").error, None);
    assert_eq!(
        find(&spans, "SELECT t").attribute("db.response.returned_rows"),
        Some("0")
    );

    // The thread goes on as before.
    db.write("after", |conn| {
        Ok(conn.execute("INSERT INTO t (x) VALUES (3)", [])?)
    })
    .await
    .unwrap();
    assert_eq!(recorder.take().len(), 0);
}

#[tokio::test]
async fn a_dropped_call_and_a_full_queue_are_told_too() {
    let (db, _folder) = store(SqliteOptions {
        queue_jobs_max: 1,
        ..SqliteOptions::default()
    })
    .await;
    let recorder = Recorder::new();
    let (running, began) = std::sync::mpsc::sync_channel(0);
    let (release, hold) = std::sync::mpsc::sync_channel::<()>(0);
    let mut tasks = tokio::task::JoinSet::new();
    let holder = db.clone();
    tasks.spawn(async move {
        let hold = holder.write_alone("hold", move |_| {
            running.send(()).unwrap();
            hold.recv().unwrap();
            Ok(())
        });
        hold.await.unwrap();
    });
    tokio::task::spawn_blocking(move || began.recv().unwrap())
        .await
        .unwrap();

    // One waits and is given up, one finds the queue full.
    let mut given_up = Box::pin(recorder.scope().run(db.write("given-up", |_| Ok(()))));
    assert!(futures_pending(&mut given_up).await);
    let full = recorder
        .scope()
        .run(db.write("full", |_| Ok(())))
        .await
        .unwrap_err();
    assert!(matches!(full.kind(), ErrorKind::Busy { .. }));
    drop(given_up);
    release.send(()).unwrap();
    tasks.join_next().await.unwrap().unwrap();
    db.close().await;

    let spans = recorder.take();
    assert_eq!(spans.len(), 2, "{spans:#?}");
    assert_eq!(
        find(&spans, "sqlite write full").error.as_deref(),
        Some("RC-STO-001")
    );
    assert_eq!(
        find(&spans, "sqlite write given-up").error.as_deref(),
        Some("cancelled")
    );
    let closed = recorder.scope().run(db.read("closed", |_| Ok(()))).await;
    assert!(closed.is_err());
}

/// Whether `call` still waits after it had its turn.
async fn futures_pending<T>(call: &mut (impl Future<Output = T> + Unpin)) -> bool {
    tokio::time::timeout(Duration::from_millis(20), call)
        .await
        .is_err()
}

#[tokio::test]
async fn a_caller_that_leaves_while_its_job_runs_is_in_the_trace_all_the_same() {
    let (db, _folder) = store(SqliteOptions::default()).await;
    let recorder = Recorder::new();
    let (running, began) = std::sync::mpsc::sync_channel(0);
    let (release, hold) = std::sync::mpsc::sync_channel::<()>(0);
    let mut call = Box::pin(recorder.scope().run(db.write("left", move |conn| {
        running.send(()).unwrap();
        hold.recv().unwrap();
        Ok(conn.execute("INSERT INTO t (x) VALUES (1)", [])?)
    })));
    let began = tokio::task::spawn_blocking(move || began.recv().unwrap());
    assert!(futures_pending(&mut call).await);
    began.await.unwrap();
    drop(call);
    release.send(()).unwrap();
    db.close().await;
    let spans = recorder.take();
    assert_eq!(spans.len(), 3, "{spans:#?}");
    assert_eq!(find(&spans, "sqlite write left").error, None, "its work stands");
}

#[tokio::test]
async fn many_different_statements_are_bounded_and_counted() {
    let (db, _folder) = store(SqliteOptions::default()).await;
    let recorder = Recorder::new();
    let many = recorder.scope().run(db.read("many", |conn| {
        for at in 0..STATEMENTS_MAX + 3 {
            conn.query_row(&format!("SELECT {at}"), [], |row| row.get::<_, i64>(0))?;
        }
        Ok(())
    }));
    many.await.unwrap();
    let spans = recorder.take();
    assert_eq!(spans.len(), STATEMENTS_MAX + 1);
    assert_eq!(
        find(&spans, "sqlite read many").attribute("rc.statements_beyond"),
        Some("3")
    );
}

#[tokio::test]
async fn jobs_of_many_requests_in_one_commit_keep_to_their_traces() {
    let (db, _folder) = store(SqliteOptions::default()).await;
    let recorder = Recorder::new();
    let scopes: Vec<_> = (0..50).map(|_| recorder.scope()).collect();
    let mut tasks = tokio::task::JoinSet::new();
    for (x, scope) in scopes.iter().cloned().enumerate() {
        let db = db.clone();
        tasks.spawn(scope.run(async move {
            db.write("put", move |conn| {
                Ok(conn.execute("INSERT INTO t (x) VALUES (?1)", [x as i64])?)
            })
            .await
            .unwrap();
        }));
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    let spans = recorder.take();
    assert_eq!(spans.len(), 150);
    for scope in &scopes {
        let of: Vec<&Heard> = spans
            .iter()
            .filter(|span| span.context.trace_id() == scope.context().trace_id())
            .collect();
        assert_eq!(
            of.len(),
            3,
            "every request has its job, its statement and its commit"
        );
    }
    let grouped = |span: &Heard| span.attribute("rc.group_jobs").is_some_and(|jobs| jobs != "1");
    assert!(spans.iter().any(grouped), "some of fifty at once share a commit");
}
