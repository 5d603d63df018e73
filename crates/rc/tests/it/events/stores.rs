//! Stores of another layout: the former one is brought forward with what is in it, a newer one is left alone.

use std::collections::BTreeMap;

use rc_events::{bus, consumer, outbox};
use rc_store::{Migrations, Postgres, PostgresOptions, Sqlite, SqliteOptions};
use rc_test::Database;

use super::{Mover, append, postgres, refused};
use crate::world::World;

/// The layout of the foundation: the first step of each component of the event engine.
const FORMER: u32 = 1;

/// The files of the embedded store and the event engine's part of them.
const FILES: [(&str, Migrations); 3] = [
    ("ingest/ingest.db", outbox::sqlite::MIGRATIONS),
    ("ingest/bus.db", bus::sqlite::MIGRATIONS),
    ("docs-api/docs.db", consumer::sqlite::MIGRATIONS),
];

const SCHEMAS: [(&str, Migrations); 3] = [
    ("ingest", outbox::postgres::MIGRATIONS),
    ("bus", bus::postgres::MIGRATIONS),
    ("docs", consumer::postgres::MIGRATIONS),
];

fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(work)
}

fn ingest(world: &World, key: &str, ids: &[&str]) {
    for id in ids {
        let body = format!(r#"{{"id":"{id}","text":"the harbour report {id}"}}"#);
        let stored = world.post("/ingest?wait=indexed&timeout=15s", key, id, &body);
        assert_eq!(stored.status, 200, "{stored:?}");
    }
}

/// Documents of before and after are found, and outbox and bus agree.
fn assert_served(world: &World, key: &str, ids: &[&str]) {
    for id in ids {
        assert_eq!(world.get(&format!("/docs/{id}"), key).status, 200, "{id}");
    }
    let found = world.get("/search?q=harbour", key).json();
    assert_eq!(found["hits"].as_array().unwrap().len(), ids.len(), "{found}");
    let verdict = world.json(&["events", "verify"]);
    assert_eq!(verdict["whole"], true, "{verdict}");
    assert_eq!(verdict["bus_events"], ids.len(), "{verdict}");
}

/// What is in a file.
fn dump(world: &World, file: &str) -> String {
    let dumped = std::process::Command::new("python3")
        .args([
            "-c",
            "import sqlite3, sys
conn = sqlite3.connect(sys.argv[1])
for name, sql in conn.execute('SELECT name, sql FROM sqlite_schema ORDER BY name').fetchall():
    rows = [] if 'VIRTUAL' in str(sql) or not str(sql).startswith('CREATE TABLE') else conn.execute(f'SELECT * FROM {name}')
    print(name, sql, *rows, sep='\\n')",
        ])
        .arg(world.path().join(".royalcrown/data").join(file))
        .output()
        .unwrap();
    assert!(dumped.status.success(), "{}", crate::world::told(&dumped));
    String::from_utf8(dumped.stdout).unwrap()
}

#[test]
fn live_an_embedded_store_of_the_former_layout_is_brought_forward_with_its_events() {
    let world = World::new();
    world.up();
    let key = world.key("acme");
    ingest(&world, &key, &["one", "two"]);
    world.ok(&["down"]);
    for (file, migrations) in FILES {
        let path = world.path().join(".royalcrown/data").join(file);
        block_on(async {
            let db = Sqlite::open(&path, SqliteOptions::default()).unwrap();
            db.migrate_down(&migrations, FORMER).await.unwrap();
        });
    }
    world.up();
    ingest(&world, &key, &["three"]);
    assert_served(&world, &key, &["one", "two", "three"]);
}

#[test]
fn live_an_embedded_store_of_a_newer_layout_is_refused_and_left_alone() {
    let world = World::new();
    world.up();
    let key = world.key("acme");
    ingest(&world, &key, &["one"]);
    world.ok(&["down"]);
    for (file, migrations) in FILES {
        let path = world.path().join(".royalcrown/data").join(file);
        let whole = world.path().join("whole.db");
        fs_err::copy(&path, &whole).unwrap();
        mark_newer(&path, &migrations);
        let before = dump(&world, file);
        let said = refused(&world, &["up", "--detach", "--wait", "10s"], 3);
        assert!(said.contains("is newer than this binary"), "{file}: {said}");
        world.rc(&["down"]);
        assert_eq!(dump(&world, file), before, "{file}");
        fs_err::copy(&whole, &path).unwrap();
    }
    world.up();
    assert_served(&world, &key, &["one"]);
}

/// A step that this binary does not know, as the next version would leave it.
fn mark_newer(path: &std::path::Path, migrations: &Migrations) {
    let next = migrations.list().len() + 1;
    let done = std::process::Command::new("python3")
        .args([
            "-c",
            "import sqlite3, sys
conn = sqlite3.connect(sys.argv[1])
conn.execute('INSERT INTO schema_migrations VALUES (?, ?, ?, ?, ?)', (sys.argv[2], int(sys.argv[3]), 'of_tomorrow', 'x', 'x'))
conn.commit()",
        ])
        .arg(path)
        .args([migrations.component(), &next.to_string()])
        .status()
        .unwrap();
    assert!(done.success());
}

fn world_on(database: &Database) -> World {
    let world = World::new();
    let settings = format!(
        "gateway:\n  listen: {}\nstore:\n  url: \"{}\"\n",
        world.address, database.url
    );
    world.write("royalcrown.yaml", &settings);
    world
}

#[test]
fn live_a_database_of_the_former_layout_is_brought_forward_with_its_events() {
    let database = postgres().fresh_database();
    let world = world_on(&database);
    world.ok(&["migrate"]);
    world.up();
    let key = world.key("acme");
    ingest(&world, &key, &["one", "two"]);
    world.ok(&["down"]);
    for (schema, migrations) in SCHEMAS {
        block_on(async {
            let db = Postgres::connect(&database.url, &PostgresOptions::new("it", schema)).unwrap();
            db.migrate_down(&migrations, FORMER).await.unwrap();
        });
    }
    let said = refused(&world, &["up", "--detach", "--wait", "10s"], 3);
    assert!(said.contains("rc migrate"), "{said}");
    world.rc(&["down"]);
    world.ok(&["migrate"]);
    world.up();
    ingest(&world, &key, &["three"]);
    assert_served(&world, &key, &["one", "two", "three"]);
}

/// Tables, columns and functions of the platform's schemas, and what was applied.
fn shape(database: &Database) -> BTreeMap<&'static str, String> {
    let ask = |query: &str| postgres().ask(database, query);
    BTreeMap::from([
        (
            "columns",
            ask("SELECT string_agg(attrelid::regclass || '.' || attname, ' ' ORDER BY attrelid::regclass::text, attnum)
                 FROM pg_attribute WHERE attrelid IN (SELECT oid FROM pg_class WHERE relnamespace IN
                 (SELECT oid FROM pg_namespace WHERE nspname IN ('ingest', 'bus', 'docs', 'rc_events')))"),
        ),
        (
            "functions",
            ask("SELECT string_agg(oid::regprocedure || md5(prosrc), ' ' ORDER BY oid::regprocedure::text) FROM pg_proc
                 WHERE pronamespace IN
                 (SELECT oid FROM pg_namespace WHERE nspname IN ('ingest', 'bus', 'docs', 'rc_events'))"),
        ),
    ])
}

#[test]
fn live_a_database_of_a_newer_layout_is_refused_and_left_alone() {
    let database = postgres().fresh_database();
    let world = world_on(&database);
    world.ok(&["migrate"]);
    for (schema, migrations) in SCHEMAS {
        let applied = format!("{schema}.schema_migrations");
        let next = migrations.list().len() + 1;
        super::sql(
            &database,
            &format!(
                "INSERT INTO {applied} VALUES ('{}', {next}, 'of_tomorrow', 'x')",
                migrations.component()
            ),
        );
        let before = shape(&database);
        let said = refused(&world, &["migrate"], 3);
        assert!(said.contains("is newer than this binary"), "{schema}: {said}");
        let said = refused(&world, &["up", "--detach", "--wait", "10s"], 3);
        assert!(said.contains("newer"), "{schema}: {said}");
        world.rc(&["down"]);
        assert_eq!(shape(&database), before, "{schema}");
        super::sql(
            &database,
            &format!("DELETE FROM {applied} WHERE name = 'of_tomorrow'"),
        );
    }
    world.ok(&["migrate"]);
}

#[test]
fn live_beside_a_service_a_newer_layout_is_refused_and_left_alone() {
    let world = World::new();
    let database = super::shop(&world);
    append(&database, &["o-1"], 3);
    world.ok(&["events", "install", "--bus", "--to", &database.url]);
    let url = &*database.url;

    // The outbox.
    super::sql(
        &database,
        "CREATE OR REPLACE FUNCTION rc_events.outbox_layout() RETURNS int LANGUAGE sql AS 'SELECT 2'",
    );
    let before = shape(&database);
    for command in [
        &["events", "install", "--to", url][..],
        &["events", "relay", "--from", url, "--to", "sqlite:bus.db"],
    ] {
        let said = refused(&world, command, 3);
        assert!(said.contains("RC-STO-011"), "{said}");
        assert!(said.contains("layout 2, and this rc knows 1"), "{said}");
    }
    assert_eq!(shape(&database), before);
    super::sql(
        &database,
        "CREATE OR REPLACE FUNCTION rc_events.outbox_layout() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    );

    // The bus in the database.
    super::sql(
        &database,
        "INSERT INTO bus.schema_migrations VALUES ('bus', 99, 'of_tomorrow', 'x')",
    );
    let said = refused(&world, &["events", "relay", "--from", url, "--to", url], 3);
    assert!(said.contains("RC-STO-011"), "{said}");
    assert_eq!(postgres().ask(&database, "SELECT count(*) FROM bus.records"), "0");

    // The bus in a file.
    let relay = Mover::start(&world, &["relay", "--from", url, "--to", "sqlite:bus.db"]);
    super::until_relayed(&world, url, "sqlite:bus.db", 3);
    relay.end();
    mark_newer(&world.path().join("bus.db"), &bus::sqlite::MIGRATIONS);
    let said = refused(
        &world,
        &["events", "relay", "--from", url, "--to", "sqlite:bus.db"],
        3,
    );
    assert!(said.contains("is newer than this binary"), "{said}");
}

#[test]
fn live_what_was_not_installed_is_named_with_the_command() {
    let world = World::new();
    let database = postgres().fresh_database();
    let url = &*database.url;
    let said = refused(
        &world,
        &["events", "relay", "--from", url, "--to", "sqlite:bus.db"],
        2,
    );
    assert!(said.contains("rc events install --to postgresql://"), "{said}");
    world.ok(&["events", "install", "--to", url]);
    let said = refused(&world, &["events", "relay", "--from", url, "--to", url], 2);
    assert!(
        said.contains("rc events install --bus --to postgresql://"),
        "{said}"
    );
}
