//! However many requests share a transaction, each finds its statements in its own trace.

use rc_test::spans::{Heard, Recorder};

use super::*;

const REQUESTS: u8 = 60;

async fn every_request_has_its_statements(world: &World, job: &str) {
    let recorder = Recorder::new();
    let scopes: Vec<_> = (0..REQUESTS).map(|_| recorder.scope()).collect();
    let crowd = scopes.iter().zip(0..).map(|(scope, n)| {
        let write = write(&format!("s{n}"), n, vec![put(&format!("s{n}"), n)]);
        scope.clone().run(world.store.write(write))
    });
    // One that nobody traces is in the same group.
    let silent = world.store.write(write("silent", 1, vec![put("silent", 1)]));
    let (outcomes, silent) = tokio::join!(join_all(crowd), silent);
    silent.unwrap();
    for outcome in outcomes {
        outcome.unwrap();
    }
    let spans = recorder.take();
    let mut grouped = 0;
    for scope in &scopes {
        let of: Vec<&Heard> = spans
            .iter()
            .filter(|span| span.context.trace_id() == scope.context().trace_id())
            .collect();
        let find = |name: &str| {
            of.iter()
                .find(|span| span.name == name)
                .unwrap_or_else(|| panic!("no `{name}` in {of:#?}"))
        };
        let whole = find(job);
        assert_eq!(whole.parent, Some(scope.context().span_id()));
        assert_eq!(whole.error, None);
        assert!(whole.attribute("rc.queue_ms").is_some());
        grouped += usize::from(whole.attribute("rc.group_jobs") != Some("1"));
        for statement in [
            "SELECT documents",
            "INSERT documents",
            "INSERT outbox",
            "INSERT requests",
        ] {
            assert_eq!(
                find(statement).parent,
                Some(whole.context.span_id()),
                "{statement}"
            );
        }
    }
    assert!(grouped > 1, "some of {REQUESTS} at once share a commit");
    let known = |span: &&Heard| {
        scopes
            .iter()
            .any(|scope| scope.context().trace_id() == span.context.trace_id())
    };
    assert_eq!(
        spans.iter().filter(known).count(),
        spans.len(),
        "nobody else is told anything"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statements_of_a_shared_commit_are_in_every_trace() {
    let world = sqlite(SqliteOptions::default()).await;
    every_request_has_its_statements(&world, "sqlite write ingest.store").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_postgres_statements_of_a_shared_transaction_are_in_every_trace() {
    let tree = Tree::new();
    let world = postgres(&tree).await;
    every_request_has_its_statements(&world, "postgresql write ingest.store").await;

    // A transaction that fails because of one request is done again for each alone; every trace shows its own.
    world.sabotage("documents", "id").await;
    let recorder = Recorder::new();
    let (good, bad) = (recorder.scope(), recorder.scope());
    let Raw::Postgres(pg) = &world.raw else {
        panic!("a PostgreSQL world");
    };
    let mut blocker = pg.client().await.unwrap();
    let held = blocker.system().await.unwrap();
    held.batch("SELECT pg_advisory_xact_lock(1380141390, hashtext('acme'))")
        .await
        .unwrap();
    let first = world.store.write(write("first", 1, vec![put("first", 1)]));
    let together = async {
        // Behind the first one's transaction these two gather.
        tokio::time::sleep(Duration::from_millis(100)).await;
        let both = async {
            tokio::join!(
                good.clone()
                    .run(world.store.write(write("good", 1, vec![put("good", 1)]))),
                bad.clone()
                    .run(world.store.write(write("bad", 1, vec![put("sabotage", 1)]))),
            )
        };
        let release = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            held.rollback().await.unwrap();
        };
        tokio::join!(both, release).0
    };
    let (first, (stored, refused)) = tokio::join!(first, together);
    first.unwrap();
    stored.unwrap();
    let error = refused.unwrap_err();
    let spans = recorder.take();
    let job = |scope: &rc_model::telemetry::Scope| {
        spans
            .iter()
            .find(|span| {
                span.name == "postgresql write ingest.store"
                    && span.context.trace_id() == scope.context().trace_id()
            })
            .expect("the request's own span")
    };
    assert_eq!(job(&good).error, None);
    assert_eq!(job(&bad).error.as_deref(), Some(error.code()));
    let culprit = spans
        .iter()
        .find(|span| span.error.is_some() && span.name == "INSERT documents");
    assert_eq!(
        culprit.map(|span| span.context.trace_id()),
        Some(bad.context().trace_id())
    );
    tree.drain(Duration::from_secs(5)).await.unwrap();
}
