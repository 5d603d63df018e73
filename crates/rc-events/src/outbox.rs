//! The outbox: an append-only log in the service's own database, written in the transaction that changes
//! the service's state. Rows are never updated. After they were relayed and have aged they go: in PostgreSQL
//! by whole partitions, in SQLite in chunks.

pub mod postgres;
pub mod sqlite;

use std::time::Duration;

/// How long a relayed row is kept, so that log and bus can be compared.
pub const OUTBOX_KEEP: Duration = Duration::from_secs(3_600);

/// Rows that one prune of a SQLite outbox deletes at most: about a millisecond of the writer's time.
pub const PRUNE_ROWS_MAX: usize = 1_000;
