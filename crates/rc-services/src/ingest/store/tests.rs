//! One suite of claims, run on both stores.

mod spans;
mod storage;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use rc_events::bus::{Cursor, ReadLimit};
use rc_events::outbox::postgres::PostgresSource;
use rc_events::outbox::sqlite::SqliteSource;
use rc_events::{NewEvent, Source};
use rc_model::clock::SystemClock;
use rc_model::{Clock as _, TraceContext};
use rc_serve::Tree;
use rc_store::{ErrorKind, Postgres, PostgresOptions, Sqlite, SqliteOptions};

use super::*;
use crate::ingest::answer::Status;
use crate::ingest::body::{Item, Put};
use crate::ingest::decide::{Route, Work};
use crate::ingest::fault::{self, Fault};
use crate::ingest::postgres_migrations;

/// A store, its outbox, and a way to make its statements fail.
struct World {
    store: Arc<dyn IngestStore>,
    source: Arc<dyn Source>,
    raw: Raw,
    _folder: Option<tempfile::TempDir>,
}

enum Raw {
    Sqlite(Sqlite),
    Postgres(Postgres),
}

async fn sqlite(options: SqliteOptions) -> World {
    let folder = tempfile::tempdir().unwrap();
    let db = Sqlite::open(&folder.path().join("ingest.db"), options).unwrap();
    db.migrate(&SQLITE_MIGRATIONS).await.unwrap();
    db.migrate(&rc_events::outbox::sqlite::MIGRATIONS).await.unwrap();
    World {
        store: Arc::new(SqliteIngestStore::new(db.clone())),
        source: Arc::new(SqliteSource::new(db.clone(), "ingest")),
        raw: Raw::Sqlite(db),
        _folder: Some(folder),
    }
}

async fn postgres(tree: &Tree) -> World {
    let database = rc_test::Postgres::start().fresh_database();
    let open = |schema| Postgres::connect(&database.url, &PostgresOptions::new("test", schema)).unwrap();
    for (schema, migrations) in postgres_migrations() {
        open(schema).migrate(&migrations).await.unwrap();
    }
    let pg = open(POSTGRES_SCHEMA);
    let source = Arc::new(PostgresSource::new(pg.clone(), "ingest"));
    let hint = Arc::clone(&source);
    let committed = Arc::new(move || hint.committed());
    World {
        store: Arc::new(PostgresIngestStore::new(
            pg.clone(),
            SystemClock::shared(),
            committed,
            tree,
        )),
        source,
        raw: Raw::Postgres(pg),
        _folder: None,
    }
}

impl World {
    /// Every event in the outbox, in its order.
    async fn events(&self) -> Vec<NewEvent> {
        let (mut cursor, mut events) = (Cursor::default(), Vec::new());
        loop {
            let fetched = self.source.fetch(&cursor, ReadLimit::default()).await.unwrap();
            let done = fetched.cursor == cursor;
            events.extend(fetched.records.into_iter().map(|record| record.event));
            cursor = fetched.cursor;
            if done {
                return events;
            }
        }
    }

    async fn count(&self, table: &str) -> i64 {
        let sql = format!("SELECT count(*) FROM {table}");
        match &self.raw {
            Raw::Sqlite(db) => db
                .read(
                    "test",
                    move |conn| Ok(conn.query_row(&sql, [], |row| row.get(0))?),
                )
                .await
                .unwrap(),
            Raw::Postgres(pg) => {
                let mut client = pg.client().await.unwrap();
                let tx = client.system().await.unwrap();
                tx.query_one(&sql, &[]).await.unwrap().get(0)
            }
        }
    }

    /// Makes every row that `table` gets with `column = 'sabotage'` an error.
    async fn sabotage(&self, table: &'static str, column: &'static str) {
        match &self.raw {
            Raw::Sqlite(db) => {
                let sql = format!(
                    "CREATE TRIGGER sabotage_{table} BEFORE INSERT ON {table} WHEN NEW.{column} = 'sabotage'
                     BEGIN SELECT RAISE(ABORT, 'sabotage'); END"
                );
                db.write("test", move |conn| Ok(conn.execute_batch(&sql)?))
                    .await
                    .unwrap();
            }
            Raw::Postgres(pg) => {
                let sql = format!(
                    "CREATE FUNCTION sabotage_{table}() RETURNS trigger LANGUAGE plpgsql AS $$
                     BEGIN RAISE check_violation; END $$;
                     CREATE TRIGGER sabotage BEFORE INSERT ON {table} FOR EACH ROW
                     WHEN (NEW.{column} = 'sabotage') EXECUTE FUNCTION sabotage_{table}()"
                );
                pg.client().await.unwrap().simple(&sql).await.unwrap();
            }
        }
    }
}

fn tenant(name: &str) -> TenantId {
    TenantId::new(name).unwrap()
}

pub(super) fn put(id: &str, content: u8) -> Item {
    Ok(Put {
        id: id.to_owned(),
        fingerprint: [content; 16],
        payload: Bytes::from(format!("{{\"id\":\"{id}\",\"text\":\"{content}\"}}")),
    })
}

/// A request of `acme`. The hash stands for the body: here it is made of `body`.
pub(super) fn write(key: &str, body: u8, items: Vec<Item>) -> Write {
    let at = SystemClock.now();
    Write {
        tenant: tenant("acme"),
        route: Route::Batch,
        key: Some(key.to_owned()),
        request_hash: [body; 32],
        work: Work::Put(items),
        quota: None,
        full: true,
        batch: Uuid::new_v7(uuid::Timestamp::now(uuid::NoContext)),
        at,
        trace: TraceContext::start(|| 7),
    }
}

fn remove(id: &str) -> Write {
    Write {
        route: Route::Delete,
        key: None,
        work: Work::Delete(id.to_owned()),
        ..write("", 0, Vec::new())
    }
}

fn items(stored: &Stored) -> Vec<(Status, Option<u64>)> {
    let answer: IngestAnswer = serde_json::from_slice(&stored.answer).unwrap();
    answer
        .items
        .iter()
        .map(|item| (item.status, item.version))
        .collect()
}

fn fresh(outcome: Result<Outcome, Error>) -> Stored {
    match outcome {
        Ok(Outcome::Fresh(stored, _)) => stored,
        other => panic!("expected a fresh answer, got {other:?}"),
    }
}

async fn a_request_has_one_effect(world: &World) {
    let first = write(
        "k1",
        1,
        vec![put("a", 1), put("b", 1), Err(Fault::body(fault::NUL, "x"))],
    );
    let answer = fresh(world.store.write(first.clone()).await);
    assert_eq!(
        items(&answer),
        [
            (Status::Accepted, Some(1)),
            (Status::Accepted, Some(1)),
            (Status::Rejected, None)
        ]
    );
    assert_eq!(answer.docs, r#"[["a",1],["b",1]]"#);
    assert_eq!(world.events().await.len(), 2);

    let again = Write {
        batch: Uuid::new_v7(uuid::Timestamp::now(uuid::NoContext)),
        ..first.clone()
    };
    assert_eq!(
        world.store.write(again).await.unwrap(),
        Outcome::Replayed(answer.clone())
    );
    let other_body = write("k1", 2, vec![put("c", 1)]);
    assert_eq!(
        world.store.write(other_body.clone()).await.unwrap(),
        Outcome::KeyReused
    );
    assert_eq!(world.events().await.len(), 2);

    // The key's scope is the tenant and the route.
    let other_tenant = Write {
        tenant: tenant("globex"),
        ..other_body.clone()
    };
    assert_eq!(
        items(&fresh(world.store.write(other_tenant).await)),
        [(Status::Accepted, Some(1))]
    );
    let other_route = Write {
        route: Route::One,
        ..other_body
    };
    assert_eq!(
        items(&fresh(world.store.write(other_route).await)),
        [(Status::Accepted, Some(1))]
    );

    let found = world.store.batch(&tenant("acme"), first.batch).await.unwrap();
    assert_eq!(found, Some(answer));
    assert_eq!(
        world.store.batch(&tenant("globex"), first.batch).await.unwrap(),
        None
    );
}

async fn versions_count_events(world: &World) {
    let write = |key: &str, body| write(key, body, vec![put("v", body)]);
    for (key, body, expect) in [
        ("v1", 1, (Status::Accepted, Some(1))),
        ("v2", 1, (Status::Duplicate, Some(1))),
        ("v3", 2, (Status::Accepted, Some(2))),
    ] {
        assert_eq!(
            items(&fresh(world.store.write(write(key, body)).await)),
            [expect],
            "{key}"
        );
    }
    assert_eq!(
        items(&fresh(world.store.write(remove("v")).await)),
        [(Status::Accepted, Some(3))]
    );
    assert_eq!(world.store.write(remove("v")).await.unwrap(), Outcome::NoDocument);
    assert_eq!(
        world.store.write(remove("nobody")).await.unwrap(),
        Outcome::NoDocument
    );
    let back = fresh(world.store.write(write("v4", 2)).await);
    assert_eq!(items(&back), [(Status::Accepted, Some(4))]);
    let events = world.events().await;
    let of_v: Vec<_> = events
        .iter()
        .filter(|event| event.key == "v")
        .map(|event| (event.kseq, &*event.event_type))
        .collect();
    assert_eq!(
        of_v,
        [
            (1, document::PUT),
            (2, document::PUT),
            (3, document::DELETED),
            (4, document::PUT)
        ]
    );
    let deleted = events
        .iter()
        .find(|event| event.event_type == document::DELETED)
        .unwrap();
    assert_eq!(deleted.payload, r#"{"id":"v"}"#);
    assert_eq!(deleted.topic, document::TOPIC);
    assert!(deleted.trace.is_some());
}

async fn concurrent_equals_have_one_effect(world: &World) {
    let before = world.events().await.len();
    let attempts = (0..50).map(|_| {
        world
            .store
            .write(write("same", 9, vec![put("s1", 9), put("s2", 9)]))
    });
    let outcomes = join_all(attempts).await;
    let mut answers = Vec::new();
    let mut fresh = 0;
    for outcome in outcomes {
        match outcome.unwrap() {
            Outcome::Fresh(stored, _) => {
                fresh += 1;
                answers.push(stored);
            }
            Outcome::Replayed(stored) => answers.push(stored),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(fresh, 1);
    answers.dedup();
    assert_eq!(answers.len(), 1, "every attempt got the same bytes");
    assert_eq!(world.events().await.len(), before + 2);
}

async fn concurrent_writers_leave_no_gaps(world: &World) {
    let writers = (0..60_u8).map(|n| {
        let id = |k: u8| format!("shared-{}", (n + k) % 5);
        let mut request = write(
            &format!("w{n}"),
            n,
            vec![put(&id(2), n), put(&id(0), n), put(&id(1), n)],
        );
        if n % 3 == 0 {
            request.tenant = tenant("globex");
        }
        world.store.write(request)
    });
    for outcome in join_all(writers).await {
        fresh(outcome);
    }
    let mut last: HashMap<(TenantId, String), u64> = HashMap::new();
    for event in world.events().await {
        let place = last.entry((event.tenant.clone(), event.key.clone())).or_insert(0);
        assert_eq!(event.kseq, *place + 1, "{} of {}", event.key, event.tenant);
        *place = event.kseq;
    }
    let shared: u64 = last
        .iter()
        .filter(|(k, _)| k.1.starts_with("shared"))
        .map(|(_, n)| n)
        .sum();
    assert_eq!(shared, 180);
}

/// The statement that fails stands for a crash at that step: what came before it in the transaction must
/// be gone, and what other requests did in the same commit must stay.
async fn a_request_is_stored_whole_or_not_at_all(world: &World) {
    world.sabotage("documents", "id").await;
    world.sabotage("outbox", "key").await;
    world.sabotage("requests", "key").await;
    let (documents, events) = (world.count("documents").await, world.events().await.len());
    let requests = world.count("requests").await;
    let bad_document = || write("whole-1", 1, vec![put("w-1", 1), put("sabotage", 1)]);
    let bad_request = || write("sabotage", 1, vec![put("w-2", 1)]);
    let mut all = Vec::new();
    for n in 0..10_u8 {
        all.push(
            world
                .store
                .write(write(&format!("good-{n}"), n, vec![put(&format!("good-{n}"), n)])),
        );
        all.push(
            world
                .store
                .write(if n % 2 == 0 { bad_document() } else { bad_request() }),
        );
    }
    let outcomes = join_all(all).await;
    for (index, outcome) in outcomes.into_iter().enumerate() {
        if index % 2 == 0 {
            fresh(outcome);
        } else {
            let error = outcome.unwrap_err();
            assert_eq!(error.retry_after(), None, "{error:?}");
        }
    }
    assert_eq!(world.count("documents").await, documents + 10);
    assert_eq!(world.count("requests").await, requests + 10);
    let events_after = world.events().await;
    assert_eq!(events_after.len(), events + 10);
    assert!(!events_after.iter().any(|event| event.key.starts_with("w-")));
    // A failed request leaves its key free.
    let repaired = write("whole-1", 2, vec![put("w-1", 2)]);
    assert_eq!(
        items(&fresh(world.store.write(repaired).await)),
        [(Status::Accepted, Some(1))]
    );
}

async fn keys_are_free_after_their_time(world: &World) {
    let old = Write {
        at: Timestamp::from_unix_ms(SystemClock.now().unix_ms() - 24 * 3_600_000 - 5_000),
        ..write("aged", 1, vec![put("aged", 1)])
    };
    fresh(world.store.write(old.clone()).await);
    let within = Write {
        at: old.at.plus(Duration::from_secs(24 * 3600)),
        ..write("aged", 2, Vec::new())
    };
    assert_eq!(world.store.write(within).await.unwrap(), Outcome::KeyReused);
    // Not pruned yet, and free all the same.
    fresh(world.store.write(write("aged", 2, vec![put("aged", 2)])).await);
    assert_eq!(world.store.batch(&tenant("acme"), old.batch).await.unwrap(), None);
    let older = Write {
        at: old.at,
        ..write("older", 1, vec![put("older", 1)])
    };
    fresh(world.store.write(older.clone()).await);
    let requests = world.count("requests").await;
    let cutoff = kept_since(SystemClock.now());
    assert_eq!(world.store.prune(cutoff).await.unwrap(), 1);
    assert_eq!(world.store.prune(cutoff).await.unwrap(), 0);
    assert_eq!(world.count("requests").await, requests - 1);
    assert_eq!(
        world.store.batch(&tenant("acme"), older.batch).await.unwrap(),
        None
    );
}

async fn a_large_batch_is_one_commit(world: &World) {
    let before = world.events().await.len();
    let many: Vec<Item> = (0..1_000).map(|n| put(&format!("many-{n}"), 1)).collect();
    let answer = fresh(world.store.write(write("many", 1, many)).await);
    assert_eq!(items(&answer).len(), 1_000);
    assert_eq!(world.events().await.len(), before + 1_000);
    let docs: BTreeMap<String, u64> = serde_json::from_str::<Vec<(String, u64)>>(&answer.docs)
        .unwrap()
        .into_iter()
        .collect();
    assert_eq!(docs.len(), 1_000);
}

async fn suite(world: &World) {
    world.store.ping().await.unwrap();
    a_request_has_one_effect(world).await;
    versions_count_events(world).await;
    concurrent_equals_have_one_effect(world).await;
    concurrent_writers_leave_no_gaps(world).await;
    keys_are_free_after_their_time(world).await;
    a_large_batch_is_one_commit(world).await;
    storage::what_does_not_fit_is_refused_whole_and_the_rest_goes_on(world).await;
    storage::writers_at_once_do_not_pass_the_limit_together(&[world.store.as_ref()], world).await;
    storage::a_recount_repairs_a_ledger_that_is_wrong(world).await;
    a_request_is_stored_whole_or_not_at_all(world).await;
    // After all of the above: requests that failed, were repeated, came at once.
    storage::the_ledger_is_what_the_documents_are(world, "acme").await;
    world.store.close().await;
    let closed = world
        .store
        .write(write("closed", 1, vec![put("closed", 1)]))
        .await
        .unwrap_err();
    assert!(
        matches!(closed.kind(), ErrorKind::Unavailable { .. }),
        "{closed:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_keeps_the_contract() {
    suite(&sqlite(SqliteOptions::default()).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_postgres_keeps_the_contract() {
    let tree = Tree::new();
    suite(&postgres(&tree).await).await;
    tree.drain(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_refuses_with_a_wait_and_loses_nothing() {
    let world = sqlite(SqliteOptions {
        queue_jobs_max: 4,
        ..SqliteOptions::default()
    })
    .await;
    let crowd = (0..100_u8).map(|n| {
        world
            .store
            .write(write(&format!("q{n}"), n, vec![put(&format!("q{n}"), n)]))
    });
    let (mut stored, mut refused) = (0, 0);
    for outcome in join_all(crowd).await {
        match outcome {
            Ok(_) => stored += 1,
            Err(error) => {
                assert!(matches!(error.kind(), ErrorKind::Busy { .. }), "{error:?}");
                assert!(error.retry_after().is_some_and(|wait| !wait.is_zero()));
                refused += 1;
            }
        }
    }
    assert!(stored >= 4 && refused > 0, "{stored} stored, {refused} refused");
    assert_eq!(world.events().await.len(), stored);
}

/// While one tenant's writers are held up, its requests gather and then share a commit; other tenants go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_postgres_requests_share_commits_and_tenants_do_not_wait_for_each_other() {
    let tree = Tree::new();
    let world = postgres(&tree).await;
    let Raw::Postgres(pg) = &world.raw else {
        panic!("a PostgreSQL world");
    };
    let mut blocker = pg.client().await.unwrap();
    let held = blocker.system().await.unwrap();
    held.batch("SELECT pg_advisory_xact_lock(1380141390, hashtext('acme'))")
        .await
        .unwrap();
    let crowd = join_all((0..100_u8).map(|n| {
        world
            .store
            .write(write(&format!("g{n}"), n, vec![put(&format!("g{n}"), n)]))
    }));
    let others = async {
        let other = Write {
            tenant: tenant("globex"),
            ..write("other", 1, vec![put("other", 1)])
        };
        fresh(world.store.write(other).await);
        tokio::time::sleep(Duration::from_millis(100)).await;
        held.rollback().await.unwrap();
    };
    let (outcomes, ()) = tokio::join!(crowd, others);
    outcomes.into_iter().for_each(|outcome| {
        fresh(outcome);
    });
    let mut client = pg.client().await.unwrap();
    let tx = client.system().await.unwrap();
    let row = tx
        .query_one(
            "SELECT count(DISTINCT xmin::text) FROM requests WHERE tenant = 'acme'",
            &[],
        )
        .await
        .unwrap();
    let commits: i64 = row.get(0);
    assert!(commits <= 3, "100 requests took {commits} commits");
    drop(tx);
    world.store.close().await;
    tree.drain(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_postgres_queue_is_bounded_while_writers_are_held_up() {
    let tree = Tree::new();
    let world = postgres(&tree).await;
    let Raw::Postgres(pg) = &world.raw else {
        panic!("a PostgreSQL world");
    };
    let mut blocker = pg.client().await.unwrap();
    let held = blocker.system().await.unwrap();
    held.batch("SELECT pg_advisory_xact_lock(1380141390, hashtext('acme'))")
        .await
        .unwrap();
    let crowd =
        join_all((0..1_100).map(|n| world.store.write(write(&format!("f{n}"), 1, vec![put("f", 1)]))));
    let release = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        held.rollback().await.unwrap();
    };
    let (outcomes, ()) = tokio::join!(crowd, release);
    let (mut stored, mut refused) = (0, 0);
    for outcome in outcomes {
        match outcome {
            Ok(_) => stored += 1,
            Err(error) => {
                assert!(matches!(error.kind(), ErrorKind::Busy { .. }), "{error:?}");
                refused += 1;
            }
        }
    }
    assert_eq!((stored, refused), (1_024, 76));
    fresh(world.store.write(write("after", 1, vec![put("f", 2)])).await);
    world.store.close().await;
    tree.drain(Duration::from_secs(5)).await.unwrap();
}
