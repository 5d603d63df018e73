//! Advice about PostgreSQL: the server counts what indexes are read and which tables are scanned; our statements,
//! and those of `pg_stat_statements` where it is installed, say why.

use std::collections::BTreeMap;

use super::columns::{Wanted, table_of};
use super::{Advice, AdviceKind, Advised, TABLE_ROWS_MIN, create_index, writes};
use crate::{Error, Postgres, StatementProfile, SystemTx};

/// Indexes of our schema that no scan has used, without those that are a promise (unique, primary) and without the
/// parts of partitioned ones, whose scans count for the whole.
const UNUSED: &str = "
SELECT rel.relname::text, idx.relname::text, sum(part.bytes)::bigint,
       (SELECT coalesce(sum(n_tup_ins + n_tup_upd - n_tup_hot_upd), 0)::bigint FROM pg_stat_user_tables
        WHERE relid = i.indrelid OR relid IN (SELECT relid::oid FROM pg_partition_tree(i.indrelid)))
FROM pg_index i
JOIN pg_class idx ON idx.oid = i.indexrelid
JOIN pg_class rel ON rel.oid = i.indrelid
CROSS JOIN LATERAL (
    SELECT coalesce(s.idx_scan, 0) AS scans, pg_relation_size(p.relid) AS bytes
    FROM (SELECT relid::oid FROM pg_partition_tree(i.indexrelid) UNION SELECT i.indexrelid) AS p (relid)
    LEFT JOIN pg_stat_user_indexes s ON s.indexrelid = p.relid
) AS part
WHERE rel.relnamespace = to_regnamespace($1::text) AND NOT i.indisunique AND NOT i.indisprimary
  AND i.indisvalid AND NOT idx.relispartition
GROUP BY i.indexrelid, i.indrelid, rel.relname, idx.relname
HAVING sum(part.scans) = 0
ORDER BY 3 DESC";

const INDEXES: &str = "SELECT count(*) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
     WHERE c.relnamespace = to_regnamespace($1::text) AND NOT c.relispartition";

/// Tables of our schema with their columns and rows. A partition is shown as the table that it is a part of.
const TABLES: &str = "
SELECT c.relname::text, coalesce(root.relname, c.relname)::text, greatest(c.reltuples::bigint, seen.n_live_tup, 0),
       array_agg(a.attname::text ORDER BY a.attnum),
       coalesce((SELECT sum(s.avg_width) FROM pg_stats s
                 WHERE s.schemaname = $1 AND s.tablename = c.relname), 64)::bigint
FROM pg_class c
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_class root ON root.oid = pg_partition_root(c.oid)
LEFT JOIN pg_stat_user_tables seen ON seen.relid = c.oid
WHERE c.relnamespace = to_regnamespace($1::text) AND c.relkind IN ('r', 'p')
GROUP BY c.oid, c.relname, root.relname, c.reltuples, seen.n_live_tup";

/// Tables that were read whole, by whoever.
const SCANNED: &str = "
SELECT relname::text, seq_scan, seq_tup_read / seq_scan, n_tup_ins + n_tup_upd + n_tup_del
FROM pg_stat_user_tables
WHERE schemaname = $1 AND seq_scan > 0 AND n_live_tup >= $2 AND seq_tup_read / seq_scan >= $2
ORDER BY seq_tup_read DESC";

const HAS_STATEMENTS: &str = "SELECT to_regclass('pg_stat_statements') IS NOT NULL";
const HAS_HYPOPG: &str = "SELECT to_regprocedure('hypopg_create_index(text)') IS NOT NULL";

/// What others ran in this database, the most expensive first. Its texts are without data.
const STATEMENTS: &str = "
SELECT query, calls, mean_exec_time, rows FROM pg_stat_statements
WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) AND query IS NOT NULL
  AND calls > 1
ORDER BY total_exec_time DESC LIMIT 50";

pub(super) async fn advise(db: &Postgres, mut statements: Vec<StatementProfile>) -> Result<Advised, Error> {
    // A session of its own: explaining leaves prepared statements behind.
    let mut client = db.client().await?.unpooled();
    let tx = client.system().await?;
    let schema = db.schema();
    let mut sources = vec!["pg_stat_user_indexes".to_owned()];
    let writes = writes(&statements);
    let known = db.shapes().all();
    let mut texts: Texts = known
        .iter()
        .map(|known| (known.shape.text.clone(), known.source.clone()))
        .collect();
    if tx.query_one(HAS_STATEMENTS, &[]).await?.try_get(0)? {
        sources.push("pg_stat_statements".to_owned());
        add_others(&tx, &mut statements, &mut texts).await?;
    }
    let hypothetical: bool = tx.query_one(HAS_HYPOPG, &[]).await?.try_get(0)?;
    if hypothetical {
        sources.push("hypopg".to_owned());
    }
    let mut advice = Vec::new();
    let tables = tables(&tx, schema).await?;
    let names: Vec<String> = tables.keys().cloned().collect();
    for statement in &statements {
        for table in statement.plan.iter().filter_map(|line| scanned(line)) {
            let Some(table) = table_of(&statement.text, table, &names).and_then(|name| tables.get(name))
            else {
                continue;
            };
            if table.rows < TABLE_ROWS_MIN {
                continue;
            }
            let mut found = scan(statement, schema, table, &writes);
            if let (true, Some(ddl)) = (hypothetical, &found.ddl) {
                let text = texts.get(&statement.text).unwrap_or(&statement.text);
                found.because.push_str(&tried(&tx, ddl, text).await?);
            }
            advice.push(found);
        }
    }
    let least = i64::try_from(TABLE_ROWS_MIN).unwrap_or(i64::MAX);
    for row in tx.query(SCANNED, &[&schema, &least]).await? {
        let table: String = row.try_get(0)?;
        let (scans, rows, writes): (i64, i64, i64) = (row.try_get(1)?, row.try_get(2)?, row.try_get(3)?);
        if advice.iter().any(|found: &Advice| found.table == table) {
            continue;
        }
        advice.push(Advice {
            kind: AdviceKind::FullScan,
            because: format!(
                "somebody read it whole {scans} times, about {rows} rows each; `pg_stat_statements` would say who"
            ),
            statement: None,
            plan: Vec::new(),
            ddl: None,
            bytes: None,
            writes: u64::try_from(writes).unwrap_or(0),
            table,
            index: None,
        });
    }
    for row in tx.query(UNUSED, &[&schema]).await? {
        let (table, index): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        let (bytes, writes): (i64, i64) = (row.try_get(2)?, row.try_get(3)?);
        advice.push(Advice {
            kind: AdviceKind::UnusedIndex,
            because: "no scan has used it since the server's statistics began".to_owned(),
            statement: None,
            plan: Vec::new(),
            ddl: Some(format!("DROP INDEX CONCURRENTLY {schema}.{index}")),
            bytes: u64::try_from(bytes).ok(),
            writes: u64::try_from(writes).unwrap_or(0),
            table,
            index: Some(index),
        });
    }
    let indexes: i64 = tx.query_one(INDEXES, &[&schema]).await?.try_get(0)?;
    tx.rollback().await?;
    Ok(Advised {
        advice,
        statements: statements.len(),
        indexes: usize::try_from(indexes).unwrap_or(0),
        sources,
    })
}

/// Texts that can be explained, by the texts that are shown.
type Texts = BTreeMap<Box<str>, Box<str>>;

/// A table, or the partitioned one that it is a part of.
struct Table {
    name: String,
    columns: Vec<String>,
    rows: u64,
    row_bytes: u64,
}

async fn tables(tx: &SystemTx<'_>, schema: &str) -> Result<BTreeMap<String, Table>, Error> {
    let mut tables: BTreeMap<String, Table> = BTreeMap::new();
    for row in tx.query(TABLES, &[&schema]).await? {
        let (name, root): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        let (rows, row_bytes): (i64, i64) = (row.try_get(2)?, row.try_get(4)?);
        let table = Table {
            name: root,
            columns: row.try_get(3)?,
            rows: u64::try_from(rows).unwrap_or(0),
            row_bytes: u64::try_from(row_bytes).unwrap_or(0),
        };
        tables.insert(name, table);
    }
    Ok(tables)
}

/// What others ran and ours did not, with plans.
async fn add_others(
    tx: &SystemTx<'_>,
    statements: &mut Vec<StatementProfile>,
    texts: &mut Texts,
) -> Result<(), Error> {
    for row in tx.query(STATEMENTS, &[]).await? {
        let text: String = row.try_get(0)?;
        let shape = crate::trace::Shape::of(&text);
        let known = |statement: &StatementProfile| statement.text == shape.text;
        if !crate::profile::is_explained(&text) || statements.iter().any(known) {
            continue;
        }
        let Some(plan) = tx.explain(&text).await? else {
            continue;
        };
        let (calls, rows): (i64, i64) = (row.try_get(1)?, row.try_get(3)?);
        let mean = std::time::Duration::from_secs_f64(row.try_get::<_, f64>(2)?.max(0.0) / 1e3);
        let calls = u64::try_from(calls).unwrap_or(0);
        texts.insert(shape.text.clone(), text.into());
        statements.push(StatementProfile {
            name: shape.name,
            text: shape.text,
            calls,
            rows: u64::try_from(rows).unwrap_or(0),
            errors: 0,
            total: mean.saturating_mul(u32::try_from(calls).unwrap_or(u32::MAX)),
            // The server keeps no more of them than the mean.
            p50: mean,
            p95: mean,
            max: mean,
            plan,
        });
    }
    Ok(())
}

/// The table of a line such as `->  Seq Scan on documents d  (cost=...)`, by its alias where it has one.
fn scanned(line: &str) -> Option<&str> {
    let rest = line.split_once("Seq Scan on ")?.1;
    let named = rest.split("  (").next()?;
    named.split(' ').next_back()
}

fn scan(statement: &StatementProfile, schema: &str, table: &Table, writes: &BTreeMap<String, u64>) -> Advice {
    /// An entry's own bytes: its head, its place in the page, the row's address.
    const ENTRY_BYTES: u64 = 16;
    let sorts = statement.plan.iter().any(|line| line.contains("Sort Key:"));
    let wanted = Wanted::of(&statement.text, &table.columns).index(sorts);
    let share = u64::try_from(wanted.len()).unwrap_or(1) * table.row_bytes
        / u64::try_from(table.columns.len().max(1)).unwrap_or(1);
    Advice {
        kind: match wanted.is_empty() {
            true => AdviceKind::FullScan,
            false => AdviceKind::MissingIndex,
        },
        table: table.name.clone(),
        index: None,
        because: format!(
            "{} runs, p95 {:.2} ms: the plan reads all of about {} rows",
            statement.calls,
            statement.p95.as_secs_f64() * 1e3,
            table.rows
        ),
        statement: Some(statement.text.to_string()),
        plan: statement.plan.clone(),
        bytes: (!wanted.is_empty()).then_some(table.rows * (ENTRY_BYTES + share)),
        ddl: (!wanted.is_empty()).then(|| create_index(&format!("{schema}.{}", table.name), &wanted, true)),
        writes: writes.get(&table.name).copied().unwrap_or(0),
    }
}

/// What the planner would do with the index, by an index that exists for this session's planner only.
async fn tried(tx: &SystemTx<'_>, ddl: &str, text: &str) -> Result<String, Error> {
    let plain = ddl.replace(" CONCURRENTLY", "");
    tx.query("SELECT 1 FROM hypopg_create_index($1)", &[&plain])
        .await?;
    let with = tx.explain(text).await?;
    tx.query("SELECT hypopg_reset()", &[]).await?;
    let scans = |plan: &[String]| plan.iter().any(|line| scanned(line).is_some());
    Ok(match with {
        Some(plan) if !scans(&plan) => "; hypopg: the planner would use the index".to_owned(),
        Some(_) | None => "; hypopg: the planner would not use the index".to_owned(),
    })
}
