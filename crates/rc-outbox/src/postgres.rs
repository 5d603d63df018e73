//! The outbox in PostgreSQL: the tables and functions as a text to apply, and a call for Rust services.

use rc_model::TenantId;
use tokio_postgres::GenericClient;

use crate::{Error, Event, check};

/// The register of a log's partitions, and the functions that make and drop them.
pub const LOG_PARTS: &str = include_str!("../sql/log_parts.sql");

/// The function that is the retention of an outbox.
pub const OUTBOX_RETAIN: &str = include_str!("../sql/outbox_retain.sql");

/// The table of leases: which relay works.
pub const LEASES: &str = include_str!("../sql/leases.sql");

/// The table of events that a bus refused.
pub const PARKED: &str = include_str!("../sql/parked.sql");

const OUTBOX: &str = include_str!("../sql/outbox.sql");

const APPEND: &str = include_str!("../sql/append.sql");

const CALL: &str = "SELECT * FROM append_events($1, $2, $3, $4, $5::text[]::jsonb[], $6, $7)";

/// What makes an outbox in `schema`: apply it with `psql` or your migrations, as often as you like. The role
/// `writer`, when given, may append and nothing else; the relay's role is the one that applied this, or is given
/// its tables and functions.
///
/// # Errors
/// [`Error::Name`] when a name is not a plain one.
pub fn install_sql(schema: &str, writer: Option<&str>) -> Result<String, Error> {
    for name in [Some(schema), writer].into_iter().flatten() {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        if name.is_empty()
            || name.len() > 63
            || !name.bytes().all(plain)
            || name.as_bytes()[0].is_ascii_digit()
        {
            return Err(Error::Name(name.to_owned()));
        }
    }
    let mut sql = format!(
        "BEGIN;\nCREATE SCHEMA IF NOT EXISTS {schema};\nSET LOCAL search_path = {schema};\n\
         SET LOCAL client_min_messages = warning;\nSET LOCAL rc.scope = 'system';\n"
    );
    for part in [OUTBOX, LEASES, PARKED, LOG_PARTS, OUTBOX_RETAIN, APPEND] {
        sql.push_str(part);
        sql.push('\n');
    }
    sql.push_str("SELECT log_make_room('outbox', 'pos', 1000000, 2);\n");
    if let Some(writer) = writer {
        sql.push_str(&format!(
            "GRANT USAGE ON SCHEMA {schema} TO {writer};\n\
             GRANT EXECUTE ON FUNCTION append_event(text, text, text, text, jsonb, int, text, uuid) TO {writer};\n\
             GRANT EXECUTE ON FUNCTION append_events(text, text[], text[], text[], jsonb[], int[], text[], uuid[]) TO {writer};\n"
        ));
    }
    sql.push_str("COMMIT;\n");
    Ok(sql)
}

/// Appends events of `tenant` in the caller's transaction; their numbers, in the same order. The schema of
/// [`install_sql`] must be in the `search_path`.
///
/// Keys are locked until the transaction ends, in sorted order: two calls with crossing keys do not deadlock. A
/// transaction that appends in several calls should take its keys in one order itself.
///
/// # Errors
/// [`Error::Invalid`] before anything is sent; what the server says.
pub async fn append<C: GenericClient>(
    tx: &C,
    tenant: &TenantId,
    events: &[Event<'_>],
) -> Result<Vec<u64>, Error> {
    if events.is_empty() {
        return Ok(Vec::new());
    }
    let payloads = events.iter().map(check).collect::<Result<Vec<String>, Error>>()?;
    let topics: Vec<&str> = events.iter().map(|event| event.topic).collect();
    let keys: Vec<&str> = events.iter().map(|event| event.key).collect();
    let types: Vec<&str> = events.iter().map(|event| event.event_type).collect();
    let schemas: Vec<i32> = events.iter().map(|event| i32::from(event.schema)).collect();
    let traces: Vec<Option<String>> = events
        .iter()
        .map(|event| event.trace.map(|trace| trace.to_string()))
        .collect();
    let tenant = tenant.as_str();
    let rows = tx
        .query(
            CALL,
            &[&tenant, &topics, &keys, &types, &payloads, &schemas, &traces],
        )
        .await?;
    rows.iter()
        .map(|row| Ok(row.try_get::<_, i64>(0)?.cast_unsigned()))
        .collect()
}
