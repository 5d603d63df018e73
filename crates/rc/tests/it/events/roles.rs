//! A fresh install where owner, writer, relay and consumer are different roles, each with what it needs.

use rc_events::{Bus, PostgresBus};
use rc_model::SystemClock;
use rc_store::{Postgres, PostgresOptions};

use super::eventually;
use super::{Mover, assert_whole, pin, postgres, refused, until_relayed};
use crate::world::World;

#[test]
fn live_each_role_does_its_part_and_can_do_nothing_else() {
    let world = World::new();
    let database = postgres().fresh_database();
    let role = |part: &str| format!("{}_{part}", database.name);
    let (writer, relay, reader) = (role("writer"), role("relay"), role("reader"));
    for role in [&writer, &relay, &reader] {
        postgres().admin(&[
            &format!("DROP ROLE IF EXISTS {role}"),
            &format!("CREATE ROLE {role} LOGIN"),
        ]);
    }
    let to = ["--to", &database.url];
    let outbox = ["events", "install", "--writer", &writer, "--relay", &relay];
    let bus = [
        "events", "install", "--bus", "--relay", &relay, "--reader", &reader,
    ];
    pin("install", &world.json(&[&outbox[..], &to[..]].concat()));
    world.ok(&[&bus[..], &to[..]].concat());
    // Again: nothing is lost by it.
    world.ok(&[&outbox[..], &to[..]].concat());
    world.ok(&[&bus[..], &to[..]].concat());

    let append = |key: &str| {
        postgres().ask(
            &database,
            &format!("SET ROLE {writer}; SELECT rc_events.append_event('acme', 'orders', '{key}', 'order.paid.v1', '{{}}')"),
        )
    };
    assert_eq!(append("o-1"), "1");
    let url = postgres().url(&relay, &database.name);
    // Rows and events go as soon as they can, so that retention runs as this role too.
    let keep = ["--outbox-keep", "1s", "--bus-keep", "1h"];
    let moving = Mover::start(
        &world,
        &[&["relay", "--from", &url, "--to", &url], &keep[..]].concat(),
    );
    until_relayed(&world, &url, &url, 1);
    assert_eq!(append("o-1"), "2");
    until_relayed(&world, &url, &url, 2);
    eventually("retention has run", || {
        let closed = "SELECT count(*) FROM rc_events.log_parts WHERE closed_at IS NOT NULL";
        (postgres().ask(&database, closed) != "0").then_some(())
    });
    let said = world.ok(&["events", "verify", "--from", &url, "--to", &url]);
    assert!(said.contains("the bus is whole"), "{said}");
    assert!(!moving.log().contains("denied"), "{}", moving.log());
    moving.end();

    let url = postgres().url(&reader, &database.name);
    assert_whole(&world, &url, &["o-1"], 2);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let options = PostgresOptions::new("it", rc_events::bus::postgres::SCHEMA);
        let bus = PostgresBus::new(Postgres::connect(&url, &options).unwrap(), SystemClock::shared());
        bus.progress("billing", 2).await.unwrap();
        assert_eq!(bus.consumers().await.unwrap()[0].seq, 2);
    });

    for (role, what) in [
        (
            &writer,
            "has_table_privilege('rc_events.outbox', 'SELECT, INSERT, UPDATE, DELETE')",
        ),
        (&writer, "has_schema_privilege('bus', 'USAGE')"),
        (
            &relay,
            "has_table_privilege('rc_events.outbox', 'INSERT, UPDATE, DELETE, TRUNCATE')",
        ),
        (
            &relay,
            "has_table_privilege('rc_events.event_keys', 'SELECT, UPDATE')",
        ),
        (&relay, "has_schema_privilege('rc_events', 'CREATE')"),
        (
            &relay,
            "has_table_privilege('bus.records', 'UPDATE, DELETE, TRUNCATE')",
        ),
        (&reader, "has_schema_privilege('rc_events', 'USAGE')"),
        (
            &reader,
            "has_table_privilege('bus.records', 'INSERT, UPDATE, DELETE')",
        ),
        (&reader, "has_table_privilege('bus.state', 'UPDATE')"),
        (&reader, "has_table_privilege('bus.origins', 'UPDATE')"),
    ] {
        let may = postgres().ask(&database, &format!("SET ROLE {role}; SELECT {what}"));
        assert_eq!(may, "f", "{role} {what}");
    }

    let odd = refused(
        &world,
        &[&["events", "install", "--writer", "a;drop"], &to[..]].concat(),
        2,
    );
    assert!(
        odd.contains("`a;drop` is not a name of `a-z`, `0-9` and `_`"),
        "{odd}"
    );
}

#[test]
fn live_a_right_that_is_taken_in_the_middle_is_told_and_nothing_is_lost() {
    let world = World::new();
    let database = postgres().fresh_database();
    let relay = format!("{}_relay", database.name);
    let writer = format!("{}_writer", database.name);
    for role in [&writer, &relay] {
        postgres().admin(&[
            &format!("DROP ROLE IF EXISTS {role}"),
            &format!("CREATE ROLE {role} LOGIN"),
        ]);
    }
    let install = [
        "events",
        "install",
        "--to",
        &database.url,
        "--relay",
        &relay,
        "--writer",
        &writer,
    ];
    world.ok(&install);
    let from = postgres().url(&relay, &database.name);
    let moving = Mover::start(&world, &["relay", "--from", &from, "--to", "sqlite:bus.db"]);
    super::append(&database, &["o-1"], 5);
    until_relayed(&world, &from, "sqlite:bus.db", 5);

    // The relay's: it fails, says so, and goes on when it may again.
    super::sql(
        &database,
        &format!("REVOKE SELECT ON rc_events.outbox FROM {relay}"),
    );
    super::append(&database, &["o-1"], 5);
    let told = moving.until_ready_says(503);
    assert!(told.contains("permission denied"), "{told}");
    moving.until_log("permission denied for table outbox");
    // The writer's: its whole transaction is refused, so that there is no change without its event.
    super::sql(
        &database,
        &format!("CREATE TABLE public.orders (id int); GRANT INSERT ON public.orders TO {writer}"),
    );
    let change = format!(
        "SET ROLE {writer}; DO $$ BEGIN BEGIN INSERT INTO orders VALUES (1); \
         PERFORM rc_events.append_event('acme', 'orders', 'o-2', 'order.paid.v1', '{{}}'); \
         EXCEPTION WHEN insufficient_privilege THEN RAISE NOTICE 'refused'; END; END $$"
    );
    let revoke = format!(
        "REVOKE EXECUTE ON FUNCTION rc_events.append_event(text, text, text, text, jsonb, int, text, uuid) FROM {writer}"
    );
    super::sql(&database, &revoke);
    super::sql(&database, &change);
    assert_eq!(postgres().ask(&database, "SELECT count(*) FROM orders"), "0");

    // Installing again gives everything back.
    world.ok(&install);
    super::sql(&database, &change);
    assert_eq!(postgres().ask(&database, "SELECT count(*) FROM orders"), "1");
    until_relayed(&world, &from, "sqlite:bus.db", 11);
    moving.until_ready_says(200);
    moving.end();
    let events = super::read(&world, "sqlite:bus.db");
    assert_eq!(super::numbers(&events)["o-1"], (1..=10).collect::<Vec<_>>());
}
