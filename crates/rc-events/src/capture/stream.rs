//! Following the stream: changes as events, cut anywhere, resumed there.

use std::borrow::Cow;
use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use rc_model::{TenantId, Timestamp};

use super::cursor::{CaptureCursor, Part, Seen};
use super::table::{self, Change, Fields, Layout, Source, Table, key_text};
use super::{CaptureOptions, read};
use crate::bus::{ReadLimit, Record};
use crate::event::{NewEvent, Numbering};
use crate::replication::pgoutput::{self, Begin, Message, Old, Relation, Tuple};
use crate::replication::{EPOCH_MS, Failure, Item, Lsn, Session, Stream, literal};
use crate::{Error, faults};

/// An open stream and what it said of the tables.
pub(super) struct Following {
    stream: Stream,
    /// For questions to the catalogue, and about the order of keys.
    asking: Session,
    tables: Vec<Table>,
    /// What the key columns of each table are called now. The stream has the names of its own time.
    keys_now: Vec<Vec<String>>,
    /// Whether the cursor calls key columns otherwise than the stream does by now.
    rekeyed: bool,
    /// By the number in the stream, which table it is and how it looks.
    relations: HashMap<u32, (usize, Layout)>,
    /// Tables that were described anew; told with the next change, whose place they get.
    described: Vec<usize>,
    transaction: Option<Open>,
    /// Everything before this place was seen.
    reached: Lsn,
    /// Where the stream is behind the cursor that was given out, when there was nothing to publish since.
    ahead: Option<CaptureCursor>,
    /// A message that came when the batch was full.
    held: Option<(Lsn, Message)>,
}

/// The transaction that is being read.
struct Open {
    begin: Begin,
    /// The place of the last change, and how many events it gave.
    at: Lsn,
    n: u32,
}

impl Following {
    /// Follows from `at`; `tables` as they are now.
    pub(super) fn new(stream: Stream, asking: Session, mut tables: Vec<Table>, at: &CaptureCursor) -> Self {
        let keys_now = tables.iter().map(|table| table.key.clone()).collect();
        for table in &mut tables {
            if let Some(then) = at.keys.get(&table.name.to_string()) {
                table.key.clone_from(then);
            }
        }
        Self {
            stream,
            asking,
            keys_now,
            rekeyed: at.keys.is_empty(),
            tables,
            relations: HashMap::new(),
            described: Vec::new(),
            transaction: None,
            reached: at.slot.lsn,
            ahead: None,
            held: None,
        }
    }

    pub(super) async fn wait(&mut self, idle: Duration) -> Result<(), Error> {
        self.stream.wait(idle).await
    }

    /// Keeps the connection alive and confirms nothing new.
    pub(super) async fn tend(&mut self) -> Result<(), Error> {
        self.stream.tend().await
    }

    pub(super) async fn step(
        &mut self,
        options: &CaptureOptions,
        cursor: &mut CaptureCursor,
        limit: ReadLimit,
    ) -> Result<Vec<Record>, Error> {
        faults::point("capture.after_publish");
        // Whoever asks for what comes after the cursor has everything before it on the bus.
        self.stream.confirm(cursor.slot.lsn);
        self.stream.tend().await?;
        let mut at = self.ahead.take().unwrap_or_else(|| cursor.clone());
        let (mut records, mut bytes) = (Vec::new(), 0);
        while records.len() < limit.rows && bytes < limit.bytes {
            let (lsn, message) = match self.held.take() {
                Some(held) => held,
                None => match self.stream.next().await? {
                    None => break,
                    Some(Item::Reached(end)) => {
                        if self.transaction.is_none() {
                            self.reached = self.reached.max(end);
                        }
                        continue;
                    }
                    Some(Item::Data { lsn, bytes }) => (lsn, pgoutput::decode(bytes)?),
                },
            };
            // One message can give several events: it needs room for all of them.
            if !records.is_empty() && records.len() + weight(&message) > limit.rows {
                self.held = Some((lsn, message));
                break;
            }
            for record in self.take(options, &mut at, lsn, message).await? {
                bytes += record.event.bytes();
                records.push(record);
            }
        }
        if self.transaction.is_none() {
            let quiet = self.reached.0.saturating_sub(cursor.slot.lsn.0);
            if records.is_empty() && quiet > options.idle_wal_bytes_max {
                records.push(heartbeat(options, &at, self.reached));
            }
            if !records.is_empty() {
                at.slot.lsn = at.slot.lsn.max(self.reached);
            }
        }
        if records.is_empty() {
            self.ahead = Some(at);
        } else {
            *cursor = at;
        }
        Ok(records)
    }

    /// What one message says.
    async fn take(
        &mut self,
        options: &CaptureOptions,
        at: &mut CaptureCursor,
        lsn: Lsn,
        message: Message,
    ) -> Result<Vec<Record>, Error> {
        match message {
            Message::Begin(begin) => {
                self.transaction = Some(Open {
                    begin,
                    at: Lsn(0),
                    n: 0,
                });
                Ok(Vec::new())
            }
            Message::Commit { end, .. } => {
                self.transaction = None;
                self.reached = self.reached.max(end);
                at.part = None;
                at.slot.lsn = at.slot.lsn.max(end);
                if std::mem::take(&mut self.rekeyed) {
                    let keys = self.tables.iter();
                    at.keys = keys
                        .map(|table| (table.name.to_string(), table.key.clone()))
                        .collect();
                }
                // Nothing that was read has seen what commits from here on.
                if at.snapshot.as_ref().is_some_and(|place| place.end <= end) {
                    at.snapshot = None;
                }
                Ok(Vec::new())
            }
            Message::Relation(relation) => {
                self.relation(options, &relation).await?;
                Ok(Vec::new())
            }
            Message::Insert { table, new } => self.change(options, at, lsn, table, Row::Inserted(new)).await,
            Message::Update { table, old, new } => {
                self.change(options, at, lsn, table, Row::Updated(old, new)).await
            }
            Message::Delete { table, old } => self.change(options, at, lsn, table, Row::Deleted(old)).await,
            Message::Truncate { tables } => {
                let mut records = Vec::new();
                for number in tables {
                    self.truncated(options, at, lsn, number, &mut records)?;
                }
                Ok(records)
            }
            Message::Origin | Message::Type | Message::Note => Ok(Vec::new()),
        }
    }

    /// Learns how a table looks from here on.
    async fn relation(&mut self, options: &CaptureOptions, relation: &Relation) -> Result<(), Error> {
        let named =
            |table: &Table| table.name.schema == relation.schema && table.name.table == relation.table;
        let Some(index) = self.tables.iter().position(named) else {
            // A table that somebody added to the publication, or one that was renamed.
            self.relations.remove(&relation.id);
            return Ok(());
        };
        let layout = Layout::of(relation);
        self.relations.insert(relation.id, (index, layout.clone()));
        let table = &mut self.tables[index];
        if !table.key.iter().all(|column| layout.has(column)) {
            // A key column has another name here: what the WAL flags as key, or where it flags all of the row, what the
            // catalogue calls it now.
            let flagged = relation.columns.iter().filter(|column| column.key);
            let flagged: Vec<String> = flagged.map(|column| column.name.clone()).collect();
            if relation.identity == b'd' && flagged.len() == table.key.len() {
                table.key = flagged;
            } else {
                let name = table.name.clone();
                *table = Table::look(&mut self.asking, &name, options).await?;
                self.keys_now[index].clone_from(&table.key);
            }
            self.rekeyed = true;
        }
        self.tables[index].layout = layout;
        if !self.described.contains(&index) {
            self.described.push(index);
        }
        Ok(())
    }

    /// Events of the tables that look otherwise than was told last.
    fn tell(&mut self, options: &CaptureOptions, at: &mut CaptureCursor, here: Here) -> Vec<Record> {
        let mut records = Vec::new();
        for index in std::mem::take(&mut self.described) {
            let table = &self.tables[index];
            let (name, hash) = (table.name.to_string(), table.layout.hash());
            if at.layouts.get(&name) != Some(&hash) {
                at.layouts.insert(name, hash);
                let tenant = options.tenant.clone();
                let source = here.of(&at.slot.system);
                records.push(table.notice(tenant, table::SCHEMA_KEY, "rc.cdc.schema.v1", source));
            }
        }
        records
    }

    /// The next event's place, and whether it is not on the bus yet.
    fn here(&mut self, at: &CaptureCursor, lsn: Lsn) -> Result<(Here, bool), Error> {
        let open = self
            .transaction
            .as_mut()
            .ok_or_else(|| Error::stream("the server sent a change outside of a transaction"))?;
        if open.at == lsn {
            open.n += 1;
        } else {
            (open.at, open.n) = (lsn, 0);
        }
        let here = Here {
            begin: open.begin,
            lsn,
            n: open.n,
        };
        let fresh = at
            .part
            .is_none_or(|part| part.commit != here.begin.commit || (here.lsn, here.n) > (part.at, part.n));
        Ok((here, fresh))
    }

    fn truncated(
        &mut self,
        options: &CaptureOptions,
        at: &mut CaptureCursor,
        lsn: Lsn,
        number: u32,
        records: &mut Vec<Record>,
    ) -> Result<(), Error> {
        let Some(index) = self.relations.get(&number).map(|(index, _)| *index) else {
            return Ok(());
        };
        let (here, fresh) = self.here(at, lsn)?;
        if !fresh {
            return Ok(());
        }
        records.extend(self.tell(options, at, here));
        let table = &self.tables[index];
        let seen = match &at.snapshot {
            Some(place) => place.has(&table.name.to_string(), here.begin.xid)?,
            None => Seen::No,
        };
        match seen {
            Seen::Yes => return Ok(()),
            Seen::No => {}
            // Rows that were read before it are gone, and those that were read after it are not.
            Seen::UpTo(_) => {
                return Err(Failure::CaptureLost {
                    capture: options.name.clone(),
                    why: format!("`{}` was truncated between two parts of its reading", table.name),
                }
                .into());
            }
        }
        at.part = Some(here.part());
        let of = here.of(&at.slot.system);
        records.push(table.notice(
            options.tenant.clone(),
            table::TRUNCATE_KEY,
            "rc.cdc.truncate.v1",
            of,
        ));
        Ok(())
    }

    /// The events of one changed row: one, or two when it has another key or tenant.
    async fn change(
        &mut self,
        options: &CaptureOptions,
        at: &mut CaptureCursor,
        lsn: Lsn,
        number: u32,
        row: Row,
    ) -> Result<Vec<Record>, Error> {
        let Some((index, layout)) = self.relations.get(&number).cloned() else {
            return Ok(Vec::new());
        };
        let table = self.tables[index].clone();
        let mut records = Vec::new();
        for (tenant, key, change) in changes(options, &table, &layout, &row)? {
            let (here, fresh) = self.here(at, lsn)?;
            if !fresh {
                continue;
            }
            records.extend(self.tell(options, at, here));
            if self.was_read(at, index, &key, here.begin.xid).await? {
                continue;
            }
            at.part = Some(here.part());
            records.push(table.event(tenant, &key, change, here.of(&at.slot.system)));
        }
        Ok(records)
    }

    /// Whether the row was read from the table after this change.
    async fn was_read(
        &mut self,
        at: &CaptureCursor,
        index: usize,
        key: &[String],
        xid: u32,
    ) -> Result<bool, Error> {
        let name = &self.tables[index].name;
        let Some(place) = &at.snapshot else {
            return Ok(false);
        };
        match place.has(&name.to_string(), xid)? {
            Seen::Yes => Ok(true),
            Seen::No => Ok(false),
            // When a column was renamed since, this fails, and the next try looks at the table anew.
            Seen::UpTo(upto) => {
                read::is_after(&mut self.asking, name, &self.keys_now[index], key, &upto).await
            }
        }
    }
}

/// What happened to a row.
enum Row {
    Inserted(Tuple),
    Updated(Option<Old>, Tuple),
    Deleted(Old),
}

/// The changes, each with the place of its order.
fn changes<'l>(
    options: &CaptureOptions,
    table: &Table,
    layout: &'l Layout,
    row: &Row,
) -> Result<Vec<(TenantId, Vec<String>, Change<'l>)>, Error> {
    let place = |row: &Tuple, other: Option<&Tuple>| -> Result<_, Error> {
        Ok((
            table.tenant_of(options, layout, row, other),
            table.key_of(layout, row, other)?,
        ))
    };
    let change = |kind, before, after| Change {
        kind,
        before,
        after,
        moved_from: None,
    };
    let (old, new) = match row {
        Row::Inserted(new) => {
            let (tenant, key) = place(new, None)?;
            let after = Some(Table::fields(layout, new, None));
            return Ok(vec![(tenant, key, change("rc.cdc.insert.v1", None, after))]);
        }
        Row::Deleted(old) => {
            let (Old::Key(tuple) | Old::Row(tuple)) = old;
            let (tenant, key) = place(tuple, None)?;
            let before = Some(before(table, layout, old));
            return Ok(vec![(tenant, key, change("rc.cdc.delete.v1", before, None))]);
        }
        Row::Updated(old, new) => (old, new),
    };
    let Some(old) = old else {
        // The key is what it was; the WAL has nothing else of the row before.
        let (tenant, key) = place(new, None)?;
        let before = Some(table.key_fields(layout, new));
        let after = Some(Table::fields(layout, new, None));
        return Ok(vec![(tenant, key, change("rc.cdc.update.v1", before, after))]);
    };
    let (tuple, whole) = match old {
        Old::Key(tuple) => (tuple, None),
        Old::Row(tuple) => (tuple, Some(tuple)),
    };
    let (from, to) = (place(tuple, Some(new))?, place(new, Some(tuple))?);
    let before = before(table, layout, old);
    let after = Some(Table::fields(layout, new, whole));
    if from == to {
        return Ok(vec![(
            to.0,
            to.1,
            change("rc.cdc.update.v1", Some(before), after),
        )]);
    }
    let come = Change {
        moved_from: Some(key_text(&from.1)),
        ..change("rc.cdc.insert.v1", None, after)
    };
    Ok(vec![
        (from.0, from.1, change("rc.cdc.delete.v1", Some(before), None)),
        (to.0, to.1, come),
    ])
}

/// What the WAL has of a row before.
fn before<'l>(table: &Table, layout: &'l Layout, old: &Old) -> Fields<'l> {
    match old {
        Old::Key(tuple) => table.key_fields(layout, tuple),
        Old::Row(tuple) => Table::fields(layout, tuple, None),
    }
}

/// Tells the bus where a capture of quiet tables is.
fn heartbeat(options: &CaptureOptions, at: &CaptureCursor, reached: Lsn) -> Record {
    let payload = format!(
        "{{\"capture\":{},\"lsn\":\"{reached}\"}}",
        serde_json::Value::from(&*options.name)
    );
    let hash = blake3::hash(format!("{}\0{}\0{payload}", at.slot.system, at.slot.name).as_bytes());
    let time = options.clock.now();
    let random: [u8; 10] = *hash.as_bytes().first_chunk().expect("32 bytes");
    Record {
        origin_pos: reached.0.cast_signed(),
        event: NewEvent {
            id: uuid::Builder::from_unix_timestamp_millis(
                u64::try_from(time.unix_ms()).unwrap_or(0),
                &random,
            )
            .into_uuid(),
            tenant: options.tenant.clone(),
            topic: Cow::Borrowed("cdc"),
            key: options.name.clone(),
            kseq: reached.0,
            numbering: Numbering::Increasing,
            event_type: Cow::Borrowed("rc.cdc.heartbeat.v1"),
            schema: 1,
            time,
            fingerprint: *hash.as_bytes().first_chunk().expect("32 bytes"),
            trace: None,
            payload: Bytes::from(payload),
        },
    }
}

/// The place of one event.
#[derive(Clone, Copy)]
struct Here {
    begin: Begin,
    lsn: Lsn,
    n: u32,
}

impl Here {
    fn part(self) -> Part {
        Part {
            commit: self.begin.commit,
            at: self.lsn,
            n: self.n,
        }
    }

    fn of(self, system: &str) -> Source<'_> {
        Source {
            system,
            lsn: self.lsn,
            n: self.n,
            xid: Some(self.begin.xid),
            time: time_of(&self.begin),
        }
    }
}

fn time_of(begin: &Begin) -> Timestamp {
    Timestamp::from_unix_ms(EPOCH_MS.saturating_add(begin.at_us / 1_000))
}

/// Events that a message gives at most.
fn weight(message: &Message) -> usize {
    match message {
        // With one more each for the table's layout.
        Message::Update { .. } => 3,
        Message::Insert { .. } | Message::Delete { .. } => 2,
        Message::Truncate { tables } => 2 * tables.len(),
        Message::Relation(_)
        | Message::Begin(_)
        | Message::Commit { .. }
        | Message::Origin
        | Message::Type
        | Message::Note => 0,
    }
}

/// Values as a list of SQL literals.
pub(super) fn literals(values: &[String]) -> String {
    let values: Vec<String> = values.iter().map(|value| literal(value)).collect();
    values.join(", ")
}
