//! Plans of an embedded store, as `EXPLAIN QUERY PLAN` tells them.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::Connection;

use super::Plans;
use super::plan::is_explained;
use crate::tenant::TENANT_PLACEHOLDER;
use crate::trace::Known;
use crate::{Error, Sqlite};

/// One tenant that has a table whose name begins with `?1`.
const ANY_TENANT: &str = "SELECT substr(name, length(?1) + 1) FROM sqlite_master
     WHERE type = 'table' AND substr(name, 1, length(?1)) = ?1 AND sql LIKE 'CREATE VIRTUAL TABLE%' LIMIT 1";

pub(super) async fn plans(db: &Sqlite) -> Result<Plans, Error> {
    let known = db.shapes().all();
    db.read("profile.plans", move |conn| Ok(explain_all(conn.inner(), &known)))
        .await
}

/// What cannot be explained (its table is gone, it is no query) is left out.
fn explain_all(conn: &Connection, known: &[Arc<Known>]) -> Plans {
    let explained = known.iter().filter(|known| is_explained(&known.source));
    let plans = explained.filter_map(|known| {
        let plan = explain(conn, &known.source).ok()?;
        (!plan.is_empty()).then(|| (known.shape.text.clone(), plan))
    });
    plans.collect()
}

/// The lines of a plan, each below its parent by two spaces.
fn explain(conn: &Connection, source: &str) -> rusqlite::Result<Vec<String>> {
    let own = own_table(conn, source)?;
    let sql = match &own {
        Some((_, tenant)) => source.replace(TENANT_PLACEHOLDER, tenant),
        None => source.to_owned(),
    };
    let mut statement = conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}"))?;
    // Nothing is bound: parameters are null, and the plan is the same for all values.
    let mut rows = statement.raw_query();
    let mut depths: HashMap<i64, usize> = HashMap::new();
    let mut lines = Vec::new();
    while let Some(row) = rows.next()? {
        let (id, parent, detail): (i64, i64, String) = (row.get(0)?, row.get(1)?, row.get(3)?);
        let depth = depths.get(&parent).map_or(0, |depth| depth + 1);
        depths.insert(id, depth);
        let detail = match &own {
            Some((prefix, tenant)) => detail.replace(
                &format!("{prefix}{tenant}"),
                &format!("{prefix}{TENANT_PLACEHOLDER}"),
            ),
            None => detail,
        };
        lines.push(format!("{}{detail}", "  ".repeat(depth)));
    }
    Ok(lines)
}

/// When the statement names a table of the tenant's own: what is before the tenant in the name, and a tenant for whom it
/// can be explained.
fn own_table<'s>(conn: &Connection, source: &'s str) -> rusqlite::Result<Option<(&'s str, String)>> {
    let Some((before, _)) = source.split_once(TENANT_PLACEHOLDER) else {
        return Ok(None);
    };
    let prefix = before.rsplit(['"', ' ']).next().unwrap_or(before);
    let tenant = conn.query_row(ANY_TENANT, [prefix], |row| row.get(0))?;
    Ok(Some((prefix, tenant)))
}
