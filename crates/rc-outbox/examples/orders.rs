//! A service that says what it changed, in the transaction that changes it. `docs/events.md` shows `pay`.
//!
//! `cargo run -p rc-outbox --example orders -- postgres://shop@localhost/shop`, after
//! `CREATE TABLE orders (id text PRIMARY KEY, state text NOT NULL)` and `rc events install --to ... --writer shop`.

use std::error::Error;
use std::io::Write as _;

use rc_model::TenantId;
use rc_outbox::{Event, postgres};
use tokio_postgres::{Client, NoTls};

/// Marks an order as paid and says so: both happen, or neither.
pub(crate) async fn pay(client: &mut Client, order: &str, cents: i64) -> Result<u64, Box<dyn Error>> {
    let tenant = TenantId::new("acme")?;
    let tx = client.transaction().await?;
    tx.execute("UPDATE orders SET state = 'paid' WHERE id = $1", &[&order])
        .await?;
    let paid = Event {
        topic: "orders",
        key: order,
        event_type: "order.paid.v1",
        schema: 1,
        trace: None,
        payload: &serde_json::json!({ "cents": cents }),
    };
    let numbers = postgres::append(&tx, &tenant, &[paid]).await?;
    tx.commit().await?;
    Ok(numbers[0])
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::args().nth(1).ok_or("usage: orders URL")?;
    let (mut client, connection) = tokio_postgres::connect(&url, NoTls).await?;
    let mut moving = tokio::task::JoinSet::new();
    moving.spawn(connection);
    // `append` finds the outbox by the search path; a service sets it once, for its role or its connections.
    client
        .batch_execute("SET search_path = public, rc_events")
        .await?;
    client
        .execute(
            "INSERT INTO orders VALUES ('o-1', 'new') ON CONFLICT DO NOTHING",
            &[],
        )
        .await?;
    let number = pay(&mut client, "o-1", 4_200).await?;
    writeln!(std::io::stdout(), "order o-1 is paid: event {number} of its key")?;
    Ok(())
}
