//! Which indexes a store lacks and which it does not use, from what it counted itself: its statements with their
//! plans, and on PostgreSQL the server's own statistics.
//!
//! It says and never does: the statement that would change something is part of the advice.

mod columns;
mod postgres;
mod sqlite;

use std::collections::BTreeMap;

use crate::profile::Database;
use crate::{Error, StatementProfile};

/// Tables with fewer rows are read whole sooner than an index is.
pub const TABLE_ROWS_MIN: u64 = 10_000;

/// What somebody should look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum AdviceKind {
    /// A statement reads or sorts a large table that an index would narrow.
    MissingIndex,
    /// A statement reads a large table whole, and no index would help it as it is written.
    FullScan,
    /// An index that every write keeps and nothing read.
    UnusedIndex,
}

impl AdviceKind {
    /// The name in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::MissingIndex => "missing_index",
            Self::FullScan => "full_scan",
            Self::UnusedIndex => "unused_index",
        }
    }
}

/// One piece of advice, with what it rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advice {
    pub kind: AdviceKind,
    pub table: String,
    /// The index, where there is one already.
    pub index: Option<String>,
    /// What was seen.
    pub because: String,
    /// The statement that would run better, without data.
    pub statement: Option<String>,
    /// How the database runs it.
    pub plan: Vec<String>,
    /// What to run, when a person agrees.
    pub ddl: Option<String>,
    /// What the index takes; of one that is not there, a guess from the table's rows.
    pub bytes: Option<u64>,
    /// Writes to the table that were counted: each pays for each index.
    pub writes: u64,
}

/// All advice about one store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advised {
    pub advice: Vec<Advice>,
    /// Different statements that it rests on.
    pub statements: usize,
    /// Indexes that were looked at.
    pub indexes: usize,
    /// Where else it looked: `pg_stat_statements`, `hypopg`.
    pub sources: Vec<String>,
}

impl Database {
    /// What its statistics say about its indexes. Changes nothing.
    ///
    /// # Errors
    /// As the store says.
    pub async fn advise(&self) -> Result<Advised, Error> {
        let statements = self.profile_with_plans().await?;
        let mut advised = match self {
            Self::Sqlite(db) => sqlite::advise(db, statements).await?,
            Self::Postgres(db) => postgres::advise(db, statements).await?,
        };
        advised
            .advice
            .sort_by(|a, b| (a.kind, &a.table, &a.ddl).cmp(&(b.kind, &b.table, &b.ddl)));
        // Two statements that want the same index are one piece of advice.
        advised
            .advice
            .dedup_by(|b, a| a.kind == b.kind && a.table == b.table && a.ddl.is_some() && a.ddl == b.ddl);
        Ok(advised)
    }
}

/// Runs of statements that write, by table as their names have it.
fn writes(statements: &[StatementProfile]) -> BTreeMap<String, u64> {
    let mut writes = BTreeMap::new();
    for statement in statements {
        if let Some((verb, table)) = statement.name.split_once(' ')
            && matches!(verb, "INSERT" | "UPDATE" | "DELETE" | "REPLACE")
        {
            *writes.entry(table.to_owned()).or_insert(0) += statement.calls;
        }
    }
    writes
}

/// The statement that makes an index on `columns`.
fn create_index(table: &str, columns: &[String], concurrently: bool) -> String {
    /// PostgreSQL cuts names behind this.
    const NAME_BYTES_MAX: usize = 63;
    let plain = table.rsplit('.').next().unwrap_or(table);
    let mut name = format!("{plain}_by_{}", columns.join("_"));
    name.truncate(name.floor_char_boundary(NAME_BYTES_MAX));
    let concurrently = if concurrently { " CONCURRENTLY" } else { "" };
    format!(
        "CREATE INDEX{concurrently} {name} ON {table} ({})",
        columns.join(", ")
    )
}

#[cfg(test)]
mod tests;
