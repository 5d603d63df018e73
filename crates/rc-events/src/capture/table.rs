//! A captured table: its key, its layout, and its changes as events.

use std::borrow::Cow;
use std::fmt::Write as _;

use bytes::Bytes;
use rc_model::{TenantId, Timestamp};

use super::value;
use super::{CaptureOptions, TableName};
use crate::Error;
use crate::bus::Record;
use crate::event::{KEY_BYTES_MAX, NAME_BYTES_MAX, NewEvent, Numbering};
use crate::replication::pgoutput::{Relation, Tuple, Value};
use crate::replication::{Failure, Lsn, Session, literal, text};

/// Bytes of an event's payload. Larger values are left out by name, so that a bus with a limit of 1 MiB for
/// everything takes every row.
pub(super) const PAYLOAD_BYTES_MAX: usize = 768 * 1024;

/// Values in a payload: all columns before and after.
const VALUES_MAX: usize = 2 * 1_600;

/// The key of events about a table as a whole. Keys of rows are JSON arrays, so these are none.
pub(super) const SCHEMA_KEY: &str = "schema";
pub(super) const TRUNCATE_KEY: &str = "truncate";
pub(super) const RESYNC_KEY: &str = "resync";

/// Facts of the catalogue: what of a row makes it itself.
const LOOK: &str = "SELECT c.relreplident, c.relkind, a.attname, i.indimmediate
       FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
       LEFT JOIN pg_index i ON i.indrelid = c.oid AND i.indisprimary
       LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = ANY (i.indkey)
      WHERE n.nspname = {schema} AND c.relname = {table}
      ORDER BY array_position(i.indkey::int2[], a.attnum)";

const COLUMNS: &str = "SELECT a.attname, a.atttypid, a.atttypmod
       FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
      WHERE n.nspname = {schema} AND c.relname = {table} AND a.attnum > 0 AND NOT a.attisdropped
        AND a.attgenerated = '' ORDER BY a.attnum";

/// A table that is captured.
#[derive(Debug, Clone)]
pub(super) struct Table {
    pub(super) name: TableName,
    pub(super) topic: String,
    /// The columns of the primary key, in its order.
    pub(super) key: Vec<String>,
    pub(super) layout: Layout,
}

/// Columns of a table at some time: names, types and their modifiers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layout(pub(super) Vec<(String, u32, i32)>);

impl Layout {
    pub(super) fn of(relation: &Relation) -> Self {
        let columns = relation.columns.iter();
        Self(
            columns
                .map(|column| (column.name.clone(), column.type_oid, column.type_mod))
                .collect(),
        )
    }

    /// For comparing with what was told last.
    pub(super) fn hash(&self) -> String {
        let mut text = String::new();
        for (name, type_oid, type_mod) in &self.0 {
            let _ = write!(text, "{name}\0{type_oid}\0{type_mod}\0");
        }
        blake3::hash(text.as_bytes()).to_hex()[..16].to_owned()
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.place(name).is_some()
    }

    fn place(&self, name: &str) -> Option<usize> {
        self.0.iter().position(|(column, ..)| column == name)
    }
}

/// Where a change stands, for its number, its id and its `source`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source<'s> {
    pub(super) system: &'s str,
    pub(super) lsn: Lsn,
    pub(super) n: u32,
    pub(super) xid: Option<u32>,
    pub(super) time: Timestamp,
}

/// One event before it has its envelope.
pub(super) struct Change<'t> {
    pub(super) kind: &'static str,
    pub(super) before: Option<Fields<'t>>,
    pub(super) after: Option<Fields<'t>>,
    /// The key that the row had before.
    pub(super) moved_from: Option<String>,
}

/// Columns and their JSON; and those whose values nobody knows.
#[derive(Default)]
pub(super) struct Fields<'t> {
    known: Vec<(&'t str, String)>,
    unchanged: Vec<&'t str>,
}

impl Table {
    /// Reads the catalogue and refuses what cannot be captured.
    pub(super) async fn look(
        asking: &mut Session,
        name: &TableName,
        options: &CaptureOptions,
    ) -> Result<Self, Error> {
        let refuse = |why: &str| {
            Error::from(Failure::NotCapturable {
                table: name.to_string(),
                why: why.to_owned(),
            })
        };
        let sql = |text: &str| {
            text.replace("{schema}", &literal(&name.schema))
                .replace("{table}", &literal(&name.table))
        };
        let tried = "failed to look at a table";
        let facts = asking.query(tried, &sql(LOOK)).await?;
        let Some(identity) = facts.first(0) else {
            return Err(refuse("it does not exist, or the role may not see it"));
        };
        if !matches!(facts.first(1), Some("r" | "p")) {
            return Err(refuse("it is not a table"));
        }
        let key: Vec<String> = facts
            .rows
            .iter()
            .filter_map(|row| text(row, 2))
            .map(str::to_owned)
            .collect();
        if key.is_empty() {
            return Err(refuse(
                "it has no primary key, by which the changes of one row could be kept in order; add one, or leave \
                 the table out",
            ));
        }
        if facts.first(3) == Some("f") {
            return Err(refuse(
                "its primary key is DEFERRABLE, so two rows can have the same key for a while",
            ));
        }
        if !matches!(identity, "d" | "f") {
            return Err(refuse(
                "its replica identity leaves the primary key out; set `REPLICA IDENTITY DEFAULT` or `FULL`",
            ));
        }
        let columns = asking.query(tried, &sql(COLUMNS)).await?;
        let number = |row: &[Option<Bytes>], at| text(row, at).unwrap_or_default().to_owned();
        let layout = Layout(
            columns
                .rows
                .iter()
                .map(|row| {
                    (
                        number(row, 0),
                        number(row, 1).parse().unwrap_or(0),
                        number(row, 2).parse().unwrap_or(-1),
                    )
                })
                .collect(),
        );
        if let Some(column) = &options.tenant_column {
            if layout.place(column).is_none() {
                return Err(refuse(&format!(
                    "it has no column `{column}` that says whose a row is"
                )));
            }
            if identity != "f" && !key.contains(column) {
                return Err(refuse(&format!(
                    "the WAL does not say whose a deleted row was: `{column}` is not part of the primary key; set \
                     `REPLICA IDENTITY FULL`"
                )));
            }
        }
        let topic = format!("cdc.{}.{}", name.schema, name.table);
        if topic.len() > NAME_BYTES_MAX {
            return Err(refuse(&format!(
                "its topic `{topic}` has more than {NAME_BYTES_MAX} bytes"
            )));
        }
        Ok(Self {
            name: name.clone(),
            topic,
            key,
            layout,
        })
    }

    /// The key's values in `row`, else in `other`.
    pub(super) fn key_of(
        &self,
        layout: &Layout,
        row: &Tuple,
        other: Option<&Tuple>,
    ) -> Result<Vec<String>, Error> {
        self.key
            .iter()
            .map(|column| {
                let place = layout.place(column).ok_or_else(|| self.lost_key(column))?;
                [Some(row), other]
                    .into_iter()
                    .flatten()
                    .find_map(|tuple| match tuple.get(place) {
                        Some(Value::Text(bytes)) => Some(String::from_utf8_lossy(bytes).into_owned()),
                        _ => None,
                    })
                    .ok_or_else(|| self.lost_key(column))
            })
            .collect()
    }

    fn lost_key(&self, column: &str) -> Error {
        Error::from(Failure::NotCapturable {
            table: self.name.to_string(),
            why: format!("the WAL no longer has its key column `{column}`; see its replica identity"),
        })
    }

    /// Whose the row is: what its column says, else everybody's.
    pub(super) fn tenant_of(
        &self,
        options: &CaptureOptions,
        layout: &Layout,
        row: &Tuple,
        other: Option<&Tuple>,
    ) -> TenantId {
        let column = options
            .tenant_column
            .as_ref()
            .and_then(|column| layout.place(column));
        let value = column.and_then(|place| {
            [Some(row), other]
                .into_iter()
                .flatten()
                .find_map(|tuple| match tuple.get(place) {
                    Some(Value::Text(bytes)) => std::str::from_utf8(bytes).ok(),
                    _ => None,
                })
        });
        value
            .and_then(|text| TenantId::new(text).ok())
            .unwrap_or_else(|| options.tenant.clone())
    }

    /// All columns of `row`; what it does not have is taken from `other`, a whole row, else named.
    pub(super) fn fields<'t>(layout: &'t Layout, row: &Tuple, other: Option<&Tuple>) -> Fields<'t> {
        let mut fields = Fields::default();
        for (place, (name, type_oid, _)) in layout.0.iter().enumerate() {
            let mut found = row.get(place);
            if matches!(found, Some(Value::Unchanged)) {
                found = other.and_then(|other| other.get(place));
            }
            let json = match found {
                Some(Value::Text(bytes)) => {
                    let mut json = String::new();
                    value::write(&mut json, *type_oid, &String::from_utf8_lossy(bytes));
                    json
                }
                Some(Value::Null) => "null".to_owned(),
                Some(Value::Unchanged | Value::Binary(_)) | None => {
                    fields.unchanged.push(name);
                    continue;
                }
            };
            fields.known.push((name, json));
        }
        fields
    }

    /// The columns of the primary key only.
    pub(super) fn key_fields<'t>(&self, layout: &'t Layout, row: &Tuple) -> Fields<'t> {
        let mut fields = Self::fields(layout, row, None);
        fields
            .known
            .retain(|(name, _)| self.key.iter().any(|column| column == name));
        fields.unchanged.clear();
        fields
    }

    /// The event of a change of the row with this key.
    pub(super) fn event(
        &self,
        tenant: TenantId,
        key: &[String],
        change: Change<'_>,
        source: Source<'_>,
    ) -> Record {
        self.envelope(tenant, key_text(key), change.kind, source, |left_out| {
            self.payload(&change, source, left_out)
        })
    }

    /// An event about the table as a whole.
    pub(super) fn notice(
        &self,
        tenant: TenantId,
        key: &str,
        kind: &'static str,
        source: Source<'_>,
    ) -> Record {
        self.envelope(tenant, key.to_owned(), kind, source, |_| {
            let mut columns = String::from("[");
            for (name, type_oid, type_mod) in &self.layout.0 {
                if columns.len() > 1 {
                    columns.push(',');
                }
                columns.push_str("{\"name\":");
                value::string(&mut columns, name);
                let key = self.key.contains(name);
                let _ = write!(
                    columns,
                    ",\"type\":{type_oid},\"modifier\":{type_mod},\"key\":{key}}}"
                );
            }
            columns.push(']');
            format!("{{\"columns\":{columns},\"source\":{}}}", self.source(source))
        })
    }

    fn envelope(
        &self,
        tenant: TenantId,
        key: String,
        kind: &'static str,
        source: Source<'_>,
        payload: impl Fn(usize) -> String,
    ) -> Record {
        let mut left_out = 0;
        let mut text = payload(left_out);
        while text.len() > PAYLOAD_BYTES_MAX && left_out < VALUES_MAX {
            left_out += 1;
            text = payload(left_out);
        }
        let mut hasher = blake3::Hasher::new_derive_key("royalcrown 2026 captured change");
        for part in [source.system, &self.topic, tenant.as_str(), &key, kind] {
            hasher.update(part.as_bytes());
            hasher.update(&[0]);
        }
        hasher.update(&source.lsn.0.to_be_bytes());
        hasher.update(&source.n.to_be_bytes());
        let hash = hasher.finalize();
        let random: [u8; 10] = *hash.as_bytes().first_chunk().expect("32 bytes");
        let millis = u64::try_from(source.time.unix_ms()).unwrap_or(0);
        let fingerprint = blake3::hash(text.as_bytes());
        Record {
            origin_pos: source.lsn.0.cast_signed(),
            event: NewEvent {
                // The same change has the same id, however often it is captured.
                id: uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid(),
                tenant,
                topic: Cow::Owned(self.topic.clone()),
                key,
                kseq: source.lsn.0,
                numbering: Numbering::Increasing,
                event_type: Cow::Borrowed(kind),
                schema: 1,
                time: source.time,
                fingerprint: *fingerprint.as_bytes().first_chunk().expect("32 bytes"),
                trace: None,
                payload: Bytes::from(text),
            },
        }
    }

    /// The payload without its `left_out` largest values.
    fn payload(&self, change: &Change<'_>, source: Source<'_>, left_out: usize) -> String {
        let sides = [change.before.as_ref(), change.after.as_ref()];
        let mut largest: Vec<(usize, usize, usize)> = Vec::new();
        for (side, fields) in sides.iter().enumerate() {
            for (place, (_, json)) in fields.iter().flat_map(|fields| fields.known.iter().enumerate()) {
                largest.push((json.len(), side, place));
            }
        }
        largest.sort_unstable_by(|a, b| b.cmp(a));
        largest.truncate(left_out);
        let mut names: Vec<&str> = Vec::new();
        let mut out = String::from("{");
        for (side, label) in ["\"before\":", ",\"after\":"].iter().enumerate() {
            out.push_str(label);
            let Some(fields) = sides[side] else {
                out.push_str("null");
                continue;
            };
            out.push('{');
            let mut first = true;
            for (place, (name, json)) in fields.known.iter().enumerate() {
                if largest.iter().any(|(_, s, p)| (*s, *p) == (side, place)) {
                    names.push(name);
                    continue;
                }
                if !std::mem::take(&mut first) {
                    out.push(',');
                }
                value::string(&mut out, name);
                out.push(':');
                out.push_str(json);
            }
            out.push('}');
        }
        let unchanged: Vec<&str> = change
            .after
            .iter()
            .flat_map(|fields| fields.unchanged.iter().copied())
            .collect();
        names.sort_unstable();
        names.dedup();
        list(&mut out, "unchanged", &unchanged);
        list(&mut out, "omitted", &names);
        if let Some(key) = &change.moved_from {
            out.push_str(",\"moved_from\":");
            out.push_str(key);
        }
        let _ = write!(out, ",\"source\":{}}}", self.source(source));
        out
    }

    fn source(&self, source: Source<'_>) -> String {
        let mut out = String::from("{\"schema\":");
        value::string(&mut out, &self.name.schema);
        out.push_str(",\"table\":");
        value::string(&mut out, &self.name.table);
        let _ = write!(out, ",\"lsn\":\"{}\"", source.lsn);
        if let Some(xid) = source.xid {
            let _ = write!(out, ",\"xid\":{xid}");
        }
        let _ = write!(
            out,
            ",\"ts\":\"{}\",\"snapshot\":{}}}",
            source.time,
            source.xid.is_none()
        );
        out
    }
}

/// `,"label":["a","b"]`, unless there is nothing to name.
fn list(out: &mut String, label: &str, names: &[&str]) {
    if names.is_empty() {
        return;
    }
    let _ = write!(out, ",\"{label}\":[");
    for (place, name) in names.iter().enumerate() {
        if place > 0 {
            out.push(',');
        }
        value::string(out, name);
    }
    out.push(']');
}

/// A key as JSON; a hash of it where that is too long for an event's key.
pub(super) fn key_text(key: &[String]) -> String {
    let mut out = String::from("[");
    for (place, value) in key.iter().enumerate() {
        if place > 0 {
            out.push(',');
        }
        value::string(&mut out, value);
    }
    out.push(']');
    if out.len() > KEY_BYTES_MAX {
        out = format!("blake3:{}", blake3::hash(out.as_bytes()).to_hex());
    }
    out
}
