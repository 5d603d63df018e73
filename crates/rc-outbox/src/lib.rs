//! An outbox for a service of your own: events are written in the transaction that changes your state, and a
//! relay (`rc events relay`) moves them to a bus in order, once, without loss.
//!
//! It refuses to know what events mean, who reads them and where they go. It opens no connection and ends no
//! transaction: both are yours. Services in other languages call the same SQL functions.
//!
//! Read first: [`Event`], then [`postgres::append`] or [`sqlite::append`].

pub mod postgres;
pub mod sqlite;

use rc_model::TraceContext;
use serde_json::Value;

/// Largest payload in bytes.
pub const PAYLOAD_BYTES_MAX: usize = 1024 * 1024;

/// Longest topic and longest type in bytes.
pub const NAME_BYTES_MAX: usize = 128;

/// Longest key in bytes.
pub const KEY_BYTES_MAX: usize = 512;

/// An event to append. Its number, id and time are given when it is written.
#[derive(Debug, Clone, PartialEq)]
pub struct Event<'e> {
    /// What it is about: `orders`. Order holds within (tenant, topic, key).
    pub topic: &'e str,
    /// The aggregate: an order's id.
    pub key: &'e str,
    /// `order.paid.v1`
    pub event_type: &'e str,
    /// Major version of the payload's schema.
    pub schema: u16,
    /// The trace of the request that caused it.
    pub trace: Option<TraceContext>,
    /// What happened.
    pub payload: &'e Value,
}

/// Why events were not appended. The caller's transaction must not be committed then.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The event breaks a limit; which one.
    #[error("{0}")]
    Invalid(String),
    /// A schema is named by something that is no plain lower-case name.
    #[error("`{0}` is not a name of `a-z`, `0-9` and `_`")]
    Name(String),
    /// PostgreSQL refused.
    #[error("failed to append to the outbox in PostgreSQL: {0}")]
    Postgres(#[from] tokio_postgres::Error),
    /// SQLite refused.
    #[error("failed to append to the outbox in SQLite: {0}")]
    Sqlite(#[from] rusqlite::Error),
}

/// Checks the limits before anything is sent, so that the error names the event's fault and the transaction is
/// still good. Returns the payload's text.
fn check(event: &Event<'_>) -> Result<String, Error> {
    for (what, text, max) in [
        ("topic", event.topic, NAME_BYTES_MAX),
        ("type", event.event_type, NAME_BYTES_MAX),
        ("key", event.key, KEY_BYTES_MAX),
    ] {
        if text.is_empty() || text.len() > max {
            let found = text.len();
            return Err(Error::Invalid(format!(
                "the {what} has {found} bytes; 1 to {max} are allowed"
            )));
        }
        if text.contains('\0') {
            return Err(Error::Invalid(format!("the {what} contains U+0000")));
        }
    }
    let payload = event.payload.to_string();
    if payload.len() > PAYLOAD_BYTES_MAX {
        let found = payload.len();
        return Err(Error::Invalid(format!(
            "the payload has {found} bytes; {PAYLOAD_BYTES_MAX} are allowed"
        )));
    }
    if has_nul(event.payload) {
        return Err(Error::Invalid("the payload contains U+0000".to_owned()));
    }
    Ok(payload)
}

/// PostgreSQL has no U+0000 in JSON's strings; both stores take the same events.
fn has_nul(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
        Value::String(text) => text.contains('\0'),
        Value::Array(values) => values.iter().any(has_nul),
        Value::Object(members) => members
            .iter()
            .any(|(name, value)| name.contains('\0') || has_nul(value)),
    }
}

#[cfg(test)]
mod tests;
