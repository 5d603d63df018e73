//! Reading what is in the tables: by chunks of the primary key, each under a snapshot that the cursor keeps.

use rc_model::Timestamp;

use super::cursor::CaptureCursor;
use super::table::{Change, Layout, Source, Table};
use super::{CaptureOptions, TableName, stream};
use crate::bus::{ReadLimit, Record};
use crate::outbox::postgres::Snapshot;
use crate::replication::pgoutput::{Tuple, Value};
use crate::replication::{Lsn, Session, ident, literal};
use crate::{Error, faults};

/// Rows of the first chunk of a table, before it is known how large rows are.
const FIRST_ROWS: usize = 100;

/// A session that reads.
pub(super) struct Reading {
    session: Session,
    tables: Vec<Table>,
    /// The snapshot of the open transaction, and when it was taken.
    seen: Option<(Snapshot, Timestamp)>,
    rows: usize,
}

/// What a step gave.
pub(super) enum Step {
    Events(Vec<Record>),
    /// What has to be visible is not yet.
    Waiting,
    /// Everything was read.
    Finished,
}

impl Reading {
    pub(super) fn new(session: Session, tables: Vec<Table>) -> Self {
        Self {
            session,
            tables,
            seen: None,
            rows: FIRST_ROWS,
        }
    }

    /// Opens the transaction under which everything is read as long as this session lives.
    async fn begin(&mut self, before: &str) -> Result<bool, Error> {
        let tried = "failed to begin to read";
        self.session
            .query(tried, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            .await?;
        let sql = "SELECT pg_current_snapshot(), (extract(epoch FROM now()) * 1000)::bigint";
        let answer = self.session.query(tried, sql).await?;
        let seen = Snapshot::parse(answer.first(0).unwrap_or_default())?;
        // A commit stands in the WAL a moment before others see it. What the slot leaves out because it
        // stands before its start must be visible, or neither would have it.
        if !seen.covers(&Snapshot::parse(before)?) {
            self.session.query(tried, "ROLLBACK").await?;
            return Ok(false);
        }
        let time = answer.first(1).and_then(|text| text.parse().ok()).unwrap_or(0);
        self.seen = Some((seen, Timestamp::from_unix_ms(time)));
        Ok(true)
    }

    pub(super) async fn step(
        &mut self,
        options: &CaptureOptions,
        at: &mut CaptureCursor,
        limit: ReadLimit,
    ) -> Result<Step, Error> {
        loop {
            let Some(place) = &mut at.snapshot else {
                return Ok(Step::Finished);
            };
            let Some(name) = place.table.clone() else {
                return Ok(Step::Finished);
            };
            if self.seen.is_none() && !self.begin(&place.before).await? {
                return Ok(Step::Waiting);
            }
            let Some((seen, time)) = self.seen.clone() else {
                return Ok(Step::Waiting);
            };
            let index = self
                .tables
                .iter()
                .position(|table| table.name.to_string() == name);
            let Some(table) = index.and_then(|index| self.tables.get(index)) else {
                return Err(Error::damaged(format!(
                    "the cursor reads `{name}`, which is not captured"
                )));
            };
            let after = place.after(&name).0.cloned();
            let count = self.rows.min(limit.rows).max(1);
            let answer = self
                .session
                .query("failed to read a table", &chunk(table, after.as_deref(), count))
                .await?;
            let finished = answer.rows.len() < count;
            let layout = Layout(
                answer
                    .columns
                    .iter()
                    .map(|(name, oid)| (name.clone(), *oid, -1))
                    .collect(),
            );

            let source = Source {
                system: &at.slot.system,
                lsn: place.number,
                n: 0,
                xid: None,
                time,
            };
            let (mut records, mut bytes, mut last) = (Vec::with_capacity(answer.rows.len()), 0, None);
            for row in answer.rows {
                let row: Tuple = row
                    .into_iter()
                    .map(|value| value.map_or(Value::Null, Value::Text))
                    .collect();
                let key = table.key_of(&layout, &row, None)?;
                let tenant = table.tenant_of(options, &layout, &row, None);
                let change = Change {
                    kind: "rc.cdc.insert.v1",
                    before: None,
                    after: Some(Table::fields(&layout, &row, None)),
                    moved_from: None,
                };
                let record = table.event(tenant, &key, change, source);
                bytes += record.event.bytes();
                records.push(record);
                last = Some(key);
            }
            // The next chunk has about as many bytes as a batch may have.
            if !records.is_empty() {
                self.rows = (records.len() * limit.bytes / bytes.max(1)).clamp(1, limit.rows.max(1));
            }
            if finished {
                place.note(&name, None, &seen);
                place.table = index
                    .and_then(|index| self.tables.get(index + 1))
                    .map(|next| next.name.to_string());
                self.rows = FIRST_ROWS;
                if place.table.is_none() {
                    place.end = self.end().await?;
                }
            } else {
                place.note(&name, last, &seen);
            }
            if faults::mutated("capture.skip_watermark") {
                // As a capture would that trusts the stream alone: what was read comes again.
                place
                    .reads
                    .retain(|read| read.upto.is_some() && place.table.is_some());
            }
            if !records.is_empty() {
                faults::point("capture.mid_snapshot");
                return Ok(Step::Events(records));
            }
        }
    }

    /// Where the WAL ends now: behind every commit that a read has seen.
    async fn end(&mut self) -> Result<Lsn, Error> {
        let sql = "SELECT pg_current_wal_insert_lsn()";
        let end = self
            .session
            .query("failed to ask where the WAL ends", sql)
            .await?;
        self.session.query("failed to end reading", "COMMIT").await?;
        Lsn::read(end.first(0).unwrap_or_default())
    }
}

/// The next rows by the primary key's index.
fn chunk(table: &Table, after: Option<&[String]>, count: usize) -> String {
    let columns: Vec<String> = table.layout.0.iter().map(|(name, ..)| ident(name)).collect();
    let key: Vec<String> = table.key.iter().map(|name| ident(name)).collect();
    let (columns, key) = (columns.join(", "), key.join(", "));
    let after = after.map_or_else(String::new, |after| {
        format!(" WHERE ({key}) > ({})", stream::literals(after))
    });
    format!(
        "SELECT {columns} FROM {}.{}{after} ORDER BY {key} LIMIT {count}",
        ident(&table.name.schema),
        ident(&table.name.table)
    )
}

/// Whether one key comes after another, by the table's own order of these columns.
pub(super) async fn is_after(
    session: &mut Session,
    table: &TableName,
    columns: &[String],
    key: &[String],
    upto: &[String],
) -> Result<bool, Error> {
    // The types of the columns decide: an empty selection from the table gives them to the texts.
    let columns = columns.iter().map(|name| ident(name));
    let from = format!("{}.{}", ident(&table.schema), ident(&table.table));
    let values: Vec<String> = columns
        .zip(key.iter().zip(upto))
        .enumerate()
        .map(|(place, (column, (key, upto)))| {
            format!(
                "(SELECT {column} FROM {from} WHERE false UNION ALL SELECT {}) AS k{place}(v), \
                 (SELECT {column} FROM {from} WHERE false UNION ALL SELECT {}) AS u{place}(v)",
                literal(key),
                literal(upto)
            )
        })
        .collect();
    let side =
        |name: char| -> Vec<String> { (0..key.len()).map(|place| format!("{name}{place}.v")).collect() };
    let sql = format!(
        "SELECT ({}) > ({}) FROM {}",
        side('k').join(", "),
        side('u').join(", "),
        values.join(", ")
    );
    let answer = session.query("failed to compare two keys", &sql).await?;
    Ok(answer.first(0) == Some("t"))
}
