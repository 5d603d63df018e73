//! Changes of a table that knows nothing of events.

use serde_json::Value;

use super::eventually;
use super::{Mover, pin, postgres, read, stream};
use crate::world::World;

fn sql(database: &rc_test::Database, statement: &str) {
    super::sql(database, &format!("SET ROLE {}; {statement}", database.name));
}

#[test]
fn live_a_table_is_captured_through_a_kill_with_what_was_there_before() {
    let world = World::new();
    let database = postgres().fresh_database();
    postgres().admin(&[&format!("ALTER ROLE {} REPLICATION", database.name)]);
    sql(
        &database,
        "CREATE TABLE orders (id int PRIMARY KEY, state text NOT NULL, cents int NOT NULL); \
         INSERT INTO orders VALUES (1, 'new', 4200)",
    );
    let to = stream();
    let capture = [
        "capture",
        "--from",
        &database.url,
        "--to",
        &to,
        "--table",
        "orders",
        "--tenant",
        "acme",
    ];
    let first = Mover::start(&world, &capture);
    let of_rows = |wanted: usize| {
        eventually("the changes are on the bus", || {
            let events = read(&world, &to);
            let rows: Vec<_> = events
                .into_iter()
                .filter(|event| event.event.key.starts_with('['))
                .collect();
            (rows.len() >= wanted).then_some(rows)
        })
    };
    of_rows(1);
    sql(
        &database,
        "UPDATE orders SET state = 'paid'; INSERT INTO orders VALUES (2, 'new', 7)",
    );
    of_rows(3);
    first.kill();
    sql(
        &database,
        "DELETE FROM orders WHERE id = 2; ALTER TABLE orders ADD COLUMN note text",
    );
    sql(&database, "INSERT INTO orders VALUES (3, 'new', 1, 'U&\"0')");
    let second = Mover::start(&world, &capture);
    let rows = of_rows(5);
    let (_, metrics) = second.http("/metrics").unwrap();
    assert!(metrics.contains("rc_slot_retained_bytes"), "{metrics}");
    second.end();
    let told: Vec<Value> = rows
        .iter()
        .map(|event| {
            let mut payload: Value = serde_json::from_slice(&event.event.payload).unwrap();
            for varying in ["lsn", "xid", "ts", "ts_ms"] {
                if let Some(source) = payload["source"].as_object_mut() {
                    source.remove(varying);
                }
            }
            serde_json::json!({
                "topic": event.event.topic, "key": event.event.key, "type": event.event.event_type,
                "payload": payload,
            })
        })
        .collect();
    pin("captured", &Value::Array(told));
}
