//! The storage ledger, on both stores.

use super::*;
use crate::ingest::storage::{OverQuota, Quota, Recount, Unmeasured, Usage};

const MIGRATION_1: Migrations = Migrations::new("ingest", SQLITE_MIGRATIONS.list().split_at(1).0);
const POSTGRES_MIGRATION_1: Migrations = Migrations::new("ingest", POSTGRES_MIGRATIONS.list().split_at(1).0);

/// A document of so many bytes.
fn sized(id: &str, bytes: usize) -> Item {
    let mut fingerprint = [7; 16];
    fingerprint[..8].copy_from_slice(&bytes.to_le_bytes());
    Ok(Put {
        id: id.to_owned(),
        fingerprint,
        payload: Bytes::from(vec![b'x'; bytes]),
    })
}

/// A request of `owner`, which may store `limit` bytes.
fn within(owner: &str, limit: u64, key: &str, items: Vec<Item>) -> Write {
    let quota = Some(Quota { limit, shadow: false });
    Write {
        tenant: tenant(owner),
        quota,
        ..write(key, 1, items)
    }
}

async fn used(world: &World, owner: &str) -> u64 {
    let usage = world.store.usage(&tenant(owner)).await.unwrap();
    assert_eq!(usage.unmeasured, 0);
    usage.used
}

async fn run(world: &World, sql: &'static str) {
    match &world.raw {
        Raw::Sqlite(db) => db
            .write("test", move |conn| Ok(conn.execute_batch(sql)?))
            .await
            .unwrap(),
        Raw::Postgres(pg) => {
            let mut client = pg.client().await.unwrap();
            let tx = client.system().await.unwrap();
            tx.batch(sql).await.unwrap();
            tx.commit().await.unwrap();
        }
    }
}

/// The ledger of `owner` says what its documents say.
pub(super) async fn the_ledger_is_what_the_documents_are(world: &World, owner: &str) {
    let Recount { before, counted } = world.store.recount(&tenant(owner)).await.unwrap();
    assert_eq!(before, counted);
}

pub(super) async fn what_does_not_fit_is_refused_whole_and_the_rest_goes_on(world: &World) {
    let ask = |limit, key: &str, items| world.store.write(within("hoard", limit, key, items));
    let over = |outcome: Result<Outcome, Error>| match outcome {
        Ok(Outcome::OverQuota(over)) => (over.limit, over.taken, over.growth),
        other => panic!("expected a refusal, got {other:?}"),
    };
    fresh(ask(1_000, "s1", vec![sized("a", 400), sized("b", 400)]).await);
    assert_eq!(used(world, "hoard").await, 800);
    let (documents, events) = (world.count("documents").await, world.events().await.len());
    assert_eq!(
        over(ask(1_000, "s2", vec![sized("c", 201)]).await),
        (1_000, 800, 201)
    );
    // Nothing of a batch that does not fit as a whole.
    let batch = vec![sized("d", 50), sized("e", 600), sized("a", 10)];
    assert_eq!(over(ask(1_000, "s3", batch).await), (1_000, 800, 260));
    assert_eq!(world.count("documents").await, documents);
    assert_eq!(world.events().await.len(), events);
    // To the last byte.
    fresh(ask(1_000, "s4", vec![sized("c", 200)]).await);
    assert_eq!(used(world, "hoard").await, 1_000);
    // What was stored is replayed, also over the limit.
    let again = ask(1_000, "s1", vec![sized("a", 400), sized("b", 400)]).await;
    assert!(matches!(again, Ok(Outcome::Replayed(_))), "{again:?}");
    // Replacing counts the difference.
    fresh(ask(1_000, "s5", vec![sized("a", 300)]).await);
    assert_eq!(
        over(ask(1_000, "s6", vec![sized("a", 401)]).await),
        (1_000, 900, 101)
    );
    fresh(ask(1_000, "s7", vec![sized("a", 500), sized("b", 300)]).await);
    assert_eq!(used(world, "hoard").await, 1_000);
    // A limit that was lowered below what is there takes nothing away and lets everything shrink.
    fresh(ask(10, "s8", vec![sized("a", 499)]).await);
    fresh(ask(10, "s9", vec![sized("a", 499)]).await);
    let delete = Write {
        tenant: tenant("hoard"),
        ..remove("b")
    };
    fresh(world.store.write(delete).await);
    assert_eq!(used(world, "hoard").await, 699);
    assert_eq!(over(ask(10, "s10", vec![sized("f", 1)]).await), (10, 699, 1));
    // A refusal keeps no key: with room, the same request is done.
    fresh(ask(1_000, "s10", vec![sized("f", 1)]).await);
    let shadow = Write {
        quota: Some(Quota {
            limit: 10,
            shadow: true,
        }),
        ..within("hoard", 0, "s11", vec![sized("g", 50)])
    };
    match world.store.write(shadow).await {
        Ok(Outcome::Fresh(_, counts)) => assert!(counts.beyond_quota),
        other => panic!("shadow lets it pass: {other:?}"),
    }
    // Other tenants have ledgers of their own.
    fresh(
        world
            .store
            .write(within("thrifty", 100, "t1", vec![sized("a", 100)]))
            .await,
    );
    assert_eq!(
        (used(world, "hoard").await, used(world, "thrifty").await),
        (750, 100)
    );
    the_ledger_is_what_the_documents_are(world, "hoard").await;
}

pub(super) async fn writers_at_once_do_not_pass_the_limit_together(
    stores: &[&dyn IngestStore],
    world: &World,
) {
    let writes = (0..60_usize).map(|n| {
        let items = vec![sized(&format!("c{n}"), 100)];
        stores[n % stores.len()].write(within("crowd", 1_000, &format!("c{n}"), items))
    });
    let (mut stored, mut refused) = (0, 0);
    for outcome in join_all(writes).await {
        match outcome.unwrap() {
            Outcome::Fresh(..) => stored += 1,
            Outcome::OverQuota(OverQuota { taken, growth, .. }) => {
                assert!(taken + growth > 1_000);
                refused += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((stored, refused), (10, 50));
    assert_eq!(used(world, "crowd").await, 1_000);
    the_ledger_is_what_the_documents_are(world, "crowd").await;
}

pub(super) async fn a_recount_repairs_a_ledger_that_is_wrong(world: &World) {
    fresh(
        world
            .store
            .write(within("audited", 1_000, "r1", vec![sized("a", 300)]))
            .await,
    );
    run(world, "UPDATE storage SET used = 7 WHERE tenant = 'audited'").await;
    // Giving back more than is there ends at nothing, and not in an error.
    let delete = Write {
        tenant: tenant("audited"),
        ..remove("a")
    };
    fresh(world.store.write(delete).await);
    fresh(
        world
            .store
            .write(within("audited", 1_000, "r2", vec![sized("b", 40)]))
            .await,
    );
    run(world, "UPDATE storage SET used = 990 WHERE tenant = 'audited'").await;
    let audited = tenant("audited");
    let recount = || world.store.recount(&audited);
    let found = Recount {
        before: 990,
        counted: 40,
    };
    assert_eq!(recount().await.unwrap(), found);
    assert_eq!(used(world, "audited").await, 40);
    assert_eq!(world.store.recount(&tenant("nobody")).await.unwrap().counted, 0);
}

/// Documents from before sizes were kept get them later, each once, and never those of another version.
async fn documents_from_before_are_measured_once(world: &World) {
    let owner = tenant("old");
    let old = |id: &str, version| Unmeasured {
        tenant: owner.clone(),
        id: id.to_owned(),
        version,
    };
    let found = world.store.unmeasured(None).await.unwrap();
    assert_eq!(found, [old("a", 1), old("b", 3)]);
    let after = world.store.unmeasured(Some(old("a", 1))).await.unwrap();
    assert_eq!(after, [old("b", 3)]);
    let usage = || world.store.usage(&owner);
    let of = |used, unmeasured| Usage { used, unmeasured };
    assert_eq!(usage().await.unwrap(), of(0, 2));
    let sizes = |list: &[(&str, u64, u64)]| {
        let owned = list
            .iter()
            .map(|(id, version, bytes)| ((*id).to_owned(), *version, *bytes));
        world.store.measure(&owner, owned.collect())
    };
    sizes(&[("a", 1, 100), ("b", 2, 5_000), ("nobody", 1, 9)])
        .await
        .unwrap();
    assert_eq!(usage().await.unwrap(), of(100, 1));
    sizes(&[("a", 1, 100), ("b", 3, 30)]).await.unwrap();
    assert_eq!(usage().await.unwrap(), of(130, 0));
    assert_eq!(world.store.unmeasured(None).await.unwrap(), []);
    // The tombstone counted nothing, and what was measured is given back.
    let back = within("old", 1_000, "o1", vec![sized("gone", 20), sized("b", 10)]);
    fresh(world.store.write(back).await);
    assert_eq!(usage().await.unwrap(), of(130, 0));
    the_ledger_is_what_the_documents_are(world, "old").await;
}

const SQLITE_BEFORE: &str = "
    INSERT INTO documents (tenant, id, version, fingerprint, deleted) VALUES
        ('old', 'a', 1, zeroblob(16), 0), ('old', 'b', 3, zeroblob(16), 0), ('old', 'gone', 2, zeroblob(16), 1)";

const POSTGRES_BEFORE: &str = "
    INSERT INTO documents (tenant, id, version, fingerprint, deleted)
    SELECT 'old', id, version, decode(repeat('00', 16), 'hex'), deleted
    FROM (VALUES ('a', 1, false), ('b', 3, false), ('gone', 2, true)) AS old (id, version, deleted)";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_counts_what_is_there_after_an_upgrade() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ingest.db");
    let db = Sqlite::open(&file, SqliteOptions::default()).unwrap();
    db.migrate(&MIGRATION_1).await.unwrap();
    db.write("test", |conn| Ok(conn.execute_batch(SQLITE_BEFORE)?))
        .await
        .unwrap();
    db.migrate(&SQLITE_MIGRATIONS).await.unwrap();
    db.migrate(&rc_events::outbox::sqlite::MIGRATIONS).await.unwrap();
    let world = World {
        store: Arc::new(SqliteIngestStore::new(db.clone())),
        source: Arc::new(SqliteSource::new(db.clone(), "ingest")),
        raw: Raw::Sqlite(db.clone()),
        _folder: Some(folder),
    };
    documents_from_before_are_measured_once(&world).await;
    db.migrate_down(&SQLITE_MIGRATIONS, 1).await.unwrap();
    db.migrate(&SQLITE_MIGRATIONS).await.unwrap();
    assert_eq!(world.store.unmeasured(None).await.unwrap().len(), 3);
    world.store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_postgres_counts_what_is_there_after_an_upgrade_and_for_two_processes() {
    let tree = Tree::new();
    let database = rc_test::Postgres::start().fresh_database();
    let open = |schema| Postgres::connect(&database.url, &PostgresOptions::new("test", schema)).unwrap();
    let pg = open(POSTGRES_SCHEMA);
    pg.migrate(&POSTGRES_MIGRATION_1).await.unwrap();
    let world = World {
        store: Arc::new(PostgresIngestStore::new(
            pg.clone(),
            SystemClock::shared(),
            Arc::new(|| {}),
            &tree,
        )),
        source: Arc::new(PostgresSource::new(pg.clone(), "ingest")),
        raw: Raw::Postgres(pg.clone()),
        _folder: None,
    };
    run(&world, POSTGRES_BEFORE).await;
    for (schema, migrations) in postgres_migrations() {
        open(schema).migrate(&migrations).await.unwrap();
    }
    documents_from_before_are_measured_once(&world).await;
    let other = PostgresIngestStore::new(
        open(POSTGRES_SCHEMA),
        SystemClock::shared(),
        Arc::new(|| {}),
        &tree,
    );
    writers_at_once_do_not_pass_the_limit_together(&[world.store.as_ref(), &other], &world).await;
    world.store.close().await;
    other.close().await;
    tree.drain(Duration::from_secs(20)).await.unwrap();
}
