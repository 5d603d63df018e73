//! One suite, both stores.

use super::*;
use crate::{Postgres, PostgresOptions, Sqlite, SqliteOptions};

const ONE: Migration = Migration {
    number: 1,
    name: "create_a",
    up: "CREATE TABLE a (x int)",
    down: "DROP TABLE a",
};
const TWO: Migration = Migration {
    number: 2,
    name: "create_b",
    up: "CREATE TABLE b (x int); INSERT INTO b VALUES (7)",
    down: "DROP TABLE b",
};
const TWO_EDITED: Migration = Migration {
    up: "CREATE TABLE b (x int, y int)",
    ..TWO
};
const THREE_BROKEN: Migration = Migration {
    number: 3,
    name: "break",
    up: "CREATE TABLE c (x int); INSERT INTO no_such_table VALUES (1)",
    down: "",
};

const FIRST: Migrations = Migrations::new("comp", &[ONE]);
const BOTH: Migrations = Migrations::new("comp", &[ONE, TWO]);
const EDITED: Migrations = Migrations::new("comp", &[ONE, TWO_EDITED]);
const BROKEN: Migrations = Migrations::new("comp", &[ONE, TWO, THREE_BROKEN]);
const OTHER: Migrations = Migrations::new(
    "other",
    &[Migration {
        number: 1,
        name: "create_z",
        up: "CREATE TABLE z (x int)",
        down: "DROP TABLE z",
    }],
);

enum Store {
    Sqlite(
        Sqlite,
        #[expect(dead_code, reason = "keeps the folder")] tempfile::TempDir,
    ),
    Postgres(Postgres),
}

impl Store {
    fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Sqlite::open(&folder.path().join("t.db"), SqliteOptions::default()).unwrap();
        Self::Sqlite(store, folder)
    }

    fn postgres() -> Self {
        let database = rc_test::Postgres::start().fresh_database();
        let options = PostgresOptions::new("rc-store-test", "comp");
        Self::Postgres(Postgres::connect(&database.url, &options).unwrap())
    }

    async fn migrate(&self, migrations: &Migrations) -> Result<MigrationReport, Error> {
        match self {
            Self::Sqlite(store, _) => store.migrate(migrations).await,
            Self::Postgres(store) => store.migrate(migrations).await,
        }
    }

    async fn down(&self, migrations: &Migrations, target: u32) -> Result<MigrationReport, Error> {
        match self {
            Self::Sqlite(store, _) => store.migrate_down(migrations, target).await,
            Self::Postgres(store) => store.migrate_down(migrations, target).await,
        }
    }

    async fn status(&self, migrations: &Migrations) -> Result<MigrationStatus, Error> {
        match self {
            Self::Sqlite(store, _) => store.migration_status(migrations).await,
            Self::Postgres(store) => store.migration_status(migrations).await,
        }
    }

    async fn sql(&self, sql: &'static str) -> Result<(), Error> {
        match self {
            Self::Sqlite(store, _) => store.write("sql", move |conn| Ok(conn.execute_batch(sql)?)).await,
            Self::Postgres(store) => store.client().await?.simple(sql).await,
        }
    }
}

fn names(steps: &[Step]) -> Vec<&'static str> {
    steps.iter().map(|step| step.name).collect()
}

async fn suite(store: &Store) {
    // An empty store has everything to do.
    let status = store.status(&BOTH).await.unwrap();
    assert_eq!(
        (status.current, names(&status.pending)),
        (0, vec!["create_a", "create_b"])
    );

    // Steps are applied once, in order, by component.
    assert_eq!(names(&store.migrate(&FIRST).await.unwrap().steps), ["create_a"]);
    let report = store.migrate(&BOTH).await.unwrap();
    assert_eq!((names(&report.steps), report.current), (vec!["create_b"], 2));
    assert!(store.migrate(&BOTH).await.unwrap().steps.is_empty());
    assert_eq!(names(&store.migrate(&OTHER).await.unwrap().steps), ["create_z"]);
    store.sql("INSERT INTO a SELECT x FROM b").await.unwrap();

    // A newer database, and an edited step, are refused.
    for (migrations, part) in [(FIRST, "newer than this binary"), (EDITED, "another text")] {
        let error = store.migrate(&migrations).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Migration);
        assert!(error.to_string().contains(part), "{error}");
        assert_eq!(
            store.status(&migrations).await.unwrap_err().kind(),
            ErrorKind::Migration
        );
    }

    // A step that fails leaves nothing of itself.
    let error = store.migrate(&BROKEN).await.unwrap_err();
    assert!(
        error.to_string().contains("migration 3 `break` of `comp`"),
        "{error}"
    );
    store.sql("SELECT * FROM c").await.unwrap_err();
    assert_eq!(store.status(&BOTH).await.unwrap().current, 2);

    // Down and up again.
    assert_eq!(names(&store.down(&BOTH, 1).await.unwrap().steps), ["create_b"]);
    store.sql("DROP TABLE b").await.unwrap_err();
    assert_eq!(store.migrate(&BOTH).await.unwrap().current, 2);
    store.down(&BOTH, 3).await.unwrap_err();
    assert_eq!(
        names(&store.down(&BOTH, 0).await.unwrap().steps),
        ["create_b", "create_a"]
    );
    assert_eq!(store.migrate(&BOTH).await.unwrap().current, 2);

    // A gap is refused.
    store
        .sql("DELETE FROM schema_migrations WHERE component = 'comp' AND number = 1")
        .await
        .unwrap();
    let error = store.migrate(&BOTH).await.unwrap_err();
    assert!(
        error.to_string().contains("is missing in the database"),
        "{error}"
    );
}

#[tokio::test]
async fn migrations_on_sqlite() {
    suite(&Store::sqlite()).await;
}

#[tokio::test]
async fn live_migrations_on_postgres() {
    suite(&Store::postgres()).await;
}

#[tokio::test]
async fn live_processes_that_start_together_apply_each_step_once() {
    let database = rc_test::Postgres::start().fresh_database();
    let mut starts = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let url = database.url.clone();
        starts.spawn(async move {
            let store = Postgres::connect(&url, &PostgresOptions::new("rc-store-test", "comp")).unwrap();
            store.migrate(&BOTH).await.unwrap().steps.len()
        });
    }
    let applied: usize = starts.join_all().await.into_iter().sum();
    assert_eq!(applied, 2);
}
