//! Advice about an embedded store: plans that scan or sort, and indexes that no plan names.

use std::collections::BTreeMap;

use rusqlite::Connection;

use super::columns::{Wanted, table_of};
use super::{Advice, AdviceKind, Advised, TABLE_ROWS_MIN, create_index, writes};
use crate::{Error, Sqlite, StatementProfile};

const TABLES: &str = "SELECT name FROM sqlite_master WHERE type = 'table' AND sql NOT LIKE 'CREATE VIRTUAL%'
     AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'";

/// Indexes that somebody made; those of constraints have no text.
const INDEXES: &str = "SELECT name, tbl_name, sql LIKE 'CREATE UNIQUE%' FROM sqlite_master
     WHERE type = 'index' AND sql IS NOT NULL";

const COLUMNS: &str = "SELECT name FROM pragma_table_info(?1)";

/// Reads the pages of one index, not the whole file.
const BYTES: &str = "SELECT sum(pgsize) FROM dbstat WHERE name = ?1";

pub(super) async fn advise(db: &Sqlite, statements: Vec<StatementProfile>) -> Result<Advised, Error> {
    db.read("advise", move |conn| Ok(look(conn.inner(), &statements)?))
        .await
}

fn look(conn: &Connection, statements: &[StatementProfile]) -> rusqlite::Result<Advised> {
    let tables = strings(conn, TABLES)?;
    let writes = writes(statements);
    let mut advice = Vec::new();
    for statement in statements {
        for (name, sorts) in scanned(statement) {
            let Some(table) = table_of(&statement.text, name, &tables) else {
                continue;
            };
            if !is_large(conn, table)? {
                continue;
            }
            advice.push(scan(conn, statement, table, sorts, &writes)?);
        }
    }
    let indexes = indexes(conn)?;
    for (index, table, unique) in &indexes {
        let used = |line: &String| line.split_whitespace().any(|word| word == index);
        // A unique one is a promise, whatever reads it.
        if *unique || statements.iter().flat_map(|statement| &statement.plan).any(used) {
            continue;
        }
        advice.push(Advice {
            kind: AdviceKind::UnusedIndex,
            table: table.clone(),
            index: Some(index.clone()),
            because: format!("no plan of {} statements that ran uses it", statements.len()),
            statement: None,
            plan: Vec::new(),
            ddl: Some(format!("DROP INDEX {index}")),
            bytes: bytes(conn, index)?,
            writes: writes.get(table).copied().unwrap_or(0),
        });
    }
    Ok(Advised {
        advice,
        statements: statements.len(),
        indexes: indexes.len(),
        sources: Vec::new(),
    })
}

/// The tables that a plan reads whole, or makes an index of for one run, and whether it sorts them.
fn scanned(statement: &StatementProfile) -> Vec<(&str, bool)> {
    let sorts = statement
        .plan
        .iter()
        .any(|line| line.trim_start().starts_with("USE TEMP B-TREE FOR") && line.ends_with("ORDER BY"));
    // Without a sort, a limit ends the scan.
    let limited = statement.text.to_ascii_uppercase().contains(" LIMIT ");
    let tables = statement.plan.iter().filter_map(|line| {
        let line = line.trim_start();
        if line.contains("VIRTUAL TABLE") {
            return None;
        }
        if let Some((table, how)) = line.strip_prefix("SEARCH ").and_then(|rest| rest.split_once(' ')) {
            return how.contains("AUTOMATIC").then_some((table, sorts));
        }
        let table = line.strip_prefix("SCAN ")?.split(' ').next()?;
        (sorts || !limited).then_some((table, sorts))
    });
    tables.collect()
}

fn scan(
    conn: &Connection,
    statement: &StatementProfile,
    table: &str,
    sorts: bool,
    writes: &BTreeMap<String, u64>,
) -> rusqlite::Result<Advice> {
    let mut columns = conn.prepare(COLUMNS)?;
    let columns: Vec<String> = columns
        .query_map([table], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    let wanted = Wanted::of(&statement.text, &columns).index(sorts);
    let because = format!(
        "{} runs, p95 {:.2} ms: the plan {} a table of {TABLE_ROWS_MIN} rows or more",
        statement.calls,
        statement.p95.as_secs_f64() * 1e3,
        if sorts { "reads and sorts" } else { "reads all of" },
    );
    let bytes = if wanted.is_empty() {
        None
    } else {
        Some(guessed_bytes(conn, table, &wanted)?)
    };
    Ok(Advice {
        kind: if wanted.is_empty() {
            AdviceKind::FullScan
        } else {
            AdviceKind::MissingIndex
        },
        table: table.to_owned(),
        index: None,
        because,
        statement: Some(statement.text.to_string()),
        plan: statement.plan.clone(),
        ddl: (!wanted.is_empty()).then(|| create_index(table, &wanted, false)),
        bytes,
        writes: writes.get(table).copied().unwrap_or(0),
    })
}

/// Looks at no more rows than it has to.
fn is_large(conn: &Connection, table: &str) -> rusqlite::Result<bool> {
    let sql = format!(
        "SELECT count(*) FROM (SELECT 1 FROM {} LIMIT {TABLE_ROWS_MIN})",
        quoted(table)
    );
    let rows: i64 = conn.query_row(&sql, [], |row| row.get(0))?;
    Ok(rows.cast_unsigned() >= TABLE_ROWS_MIN)
}

/// The rows, times what the columns of the first thousand take and a row number.
fn guessed_bytes(conn: &Connection, table: &str, columns: &[String]) -> rusqlite::Result<u64> {
    const ENTRY_BYTES: f64 = 9.0;
    let lengths: Vec<String> = columns
        .iter()
        .map(|column| format!("coalesce(octet_length({}), 0) + 1", quoted(column)))
        .collect();
    let sql = format!(
        "SELECT (SELECT count(*) FROM {table}) * ({ENTRY_BYTES} + coalesce(avg({}), 0.0))
         FROM (SELECT * FROM {table} LIMIT 1000)",
        lengths.join(" + "),
        table = quoted(table),
    );
    let bytes: f64 = conn.query_row(&sql, [], |row| row.get(0))?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a guess of bytes: neither negative nor beyond 2^53"
    )]
    Ok(bytes as u64)
}

fn bytes(conn: &Connection, index: &str) -> rusqlite::Result<Option<u64>> {
    let bytes: Option<i64> = conn.query_row(BYTES, [index], |row| row.get(0))?;
    Ok(bytes.map(i64::cast_unsigned))
}

fn indexes(conn: &Connection) -> rusqlite::Result<Vec<(String, String, bool)>> {
    let mut all = conn.prepare(INDEXES)?;
    let rows = all.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    rows.collect()
}

fn strings(conn: &Connection, sql: &str) -> rusqlite::Result<Vec<String>> {
    let mut all = conn.prepare(sql)?;
    let rows = all.query_map([], |row| row.get(0))?;
    rows.collect()
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
