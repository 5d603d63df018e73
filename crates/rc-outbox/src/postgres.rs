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

/// Which layout [`install_sql`] makes. An outbox says its own with `outbox_layout()`.
pub const LAYOUT: i32 = 1;

const LAYOUT_GUARD: &str = include_str!("../sql/layout.sql");

const OUTBOX: &str = include_str!("../sql/outbox.sql");

const APPEND: &str = include_str!("../sql/append.sql");

const CALL: &str = "SELECT * FROM append_events($1, $2, $3, $4, $5::text[]::jsonb[], $6, $7)";

/// Roles that are given what their work takes and nothing else. A role that is not named is given nothing; the role
/// that applies [`install_sql`] owns everything and needs no grant.
#[derive(Debug, Clone, Copy, Default)]
pub struct Grants<'r> {
    /// The service's own role: may append.
    pub writer: Option<&'r str>,
    /// The relay's role: may read the log, hold its lease, set aside what a bus refused, and have partitions made
    /// and dropped by functions that run as the owner.
    pub relay: Option<&'r str>,
}

/// What makes an outbox in `schema`: apply it with `psql` or your migrations, as often as you like. An outbox of a
/// newer layout refuses it whole.
///
/// # Errors
/// [`Error::Name`] when a name is not a plain one.
pub fn install_sql(schema: &str, grants: Grants<'_>) -> Result<String, Error> {
    for name in [Some(schema), grants.writer, grants.relay].into_iter().flatten() {
        plain_name(name)?;
    }
    let mut sql = format!(
        "BEGIN;\nCREATE SCHEMA IF NOT EXISTS {schema};\nSET LOCAL search_path = {schema};\n\
         SET LOCAL client_min_messages = warning;\nSET LOCAL rc.scope = 'system';\n"
    );
    for part in [
        LAYOUT_GUARD,
        OUTBOX,
        LEASES,
        PARKED,
        LOG_PARTS,
        OUTBOX_RETAIN,
        APPEND,
    ] {
        sql.push_str(part);
        sql.push('\n');
    }
    sql.push_str("SELECT log_make_room('outbox', 'pos', 1000000, 2);\n");
    if let Some(writer) = grants.writer {
        sql.push_str(&format!(
            "GRANT USAGE ON SCHEMA {schema} TO {writer};\n\
             GRANT EXECUTE ON FUNCTION append_event(text, text, text, text, jsonb, int, text, uuid) TO {writer};\n\
             GRANT EXECUTE ON FUNCTION append_events(text, text[], text[], text[], jsonb[], int[], text[], uuid[]) TO {writer};\n"
        ));
    }
    if let Some(relay) = grants.relay {
        sql.push_str(&format!(
            "GRANT USAGE ON SCHEMA {schema} TO {relay};\n\
             GRANT SELECT ON outbox TO {relay};\n\
             GRANT SELECT, INSERT, UPDATE ON leases TO {relay};\n\
             GRANT SELECT, INSERT, UPDATE, DELETE ON outbox_parked TO {relay};\n\
             GRANT EXECUTE ON FUNCTION log_make_room(text, text, bigint, int) TO {relay};\n\
             GRANT EXECUTE ON FUNCTION outbox_retain(pg_snapshot, interval) TO {relay};\n"
        ));
    }
    sql.push_str("COMMIT;\n");
    Ok(sql)
}

/// Checks a name that goes into SQL as it is.
///
/// # Errors
/// [`Error::Name`] for anything but `a-z`, `0-9` and `_`, not beginning with a digit, of at most 63 bytes.
pub fn plain_name(name: &str) -> Result<(), Error> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    let starts = name.bytes().next().is_some_and(|first| !first.is_ascii_digit());
    if starts && name.len() <= 63 && name.bytes().all(plain) {
        Ok(())
    } else {
        Err(Error::Name(name.to_owned()))
    }
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
