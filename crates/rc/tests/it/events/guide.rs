//! The code of `docs/events.md`: what stands there is what runs here.

use rc_test::Database;

use super::{Mover, assert_whole, postgres, sql, until_relayed};
use crate::world::World;

const GUIDE: &str = include_str!("../../../../../docs/events.md");

/// The text between a line "```KIND" and the next "```" that has `part` in it.
fn block(kind: &str, part: &str) -> &'static str {
    let found = GUIDE.split(&format!("```{kind}\n")).skip(1).find_map(|rest| {
        let (block, _) = rest.split_once("```")?;
        block.contains(part).then_some(block)
    });
    found.unwrap_or_else(|| panic!("no block `{kind}` with `{part}` in docs/events.md"))
}

/// The database of a service with its table, and its role, which may only append.
fn service(world: &World) -> (Database, String) {
    let database = postgres().fresh_database();
    let writer = format!("{}_shop", database.name);
    sql(
        &database,
        &format!(
            "CREATE ROLE {writer} LOGIN; CREATE TABLE orders (id text PRIMARY KEY, state text NOT NULL); \
             INSERT INTO orders VALUES ('o-1', 'new'); GRANT SELECT, UPDATE ON orders TO {writer}"
        ),
    );
    world.ok(&["events", "install", "--to", &database.url, "--writer", &writer]);
    (database, writer)
}

#[test]
fn live_the_statements_of_the_guide_append_and_are_relayed() {
    let world = World::new();
    let (database, writer) = service(&world);
    for _ in 0..2 {
        sql(
            &database,
            &format!("SET ROLE {writer}; {}", block("sql", "append_event(")),
        );
    }
    assert_eq!(postgres().ask(&database, "SELECT state FROM orders"), "paid");
    let relay = Mover::start(
        &world,
        &["relay", "--from", &database.url, "--to", "sqlite:bus.db"],
    );
    until_relayed(&world, &database.url, "sqlite:bus.db", 2);
    relay.end();
    assert_whole(&world, "sqlite:bus.db", &["o-1"], 2);
}

#[test]
fn the_rust_of_the_guide_is_of_the_example_that_is_compiled() {
    let source = include_str!("../../../../rc-outbox/examples/orders.rs");
    for line in block("rust", "rc_outbox").lines().map(str::trim) {
        assert!(
            source.contains(line),
            "docs/events.md has a line that the example has not: {line}"
        );
    }
}
