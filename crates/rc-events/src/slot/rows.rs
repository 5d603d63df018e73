//! A row of the outbox as pgoutput gives it in binary form.

use std::borrow::Cow;

use bytes::Bytes;
use rc_model::{TenantId, Timestamp, TraceContext};
use uuid::Uuid;

use crate::Error;
use crate::bus::{ReadLimit, Record};
use crate::event::{NewEvent, Numbering};
use crate::replication::Lsn;
use crate::replication::pgoutput::{Relation, Tuple, Value};

/// The outbox's columns that make an event, and where they stand in a row.
pub(super) struct Columns([usize; NAMES.len()]);

const NAMES: [&str; 13] = [
    "pos",
    "xid",
    "tenant",
    "topic",
    "key",
    "kseq",
    "id",
    "fingerprint",
    "type",
    "schema",
    "time_ms",
    "traceparent",
    "payload",
];

impl Columns {
    /// Finds the columns by name: their order differs between an outbox that was made so and one that
    /// was migrated.
    pub(super) fn of(relation: &Relation) -> Result<Self, Error> {
        let mut places = [0; NAMES.len()];
        for (place, name) in places.iter_mut().zip(NAMES) {
            *place = relation
                .columns
                .iter()
                .position(|column| column.name == name)
                .ok_or_else(|| Error::damaged(format!("the outbox has no column `{name}`")))?;
        }
        Ok(Self(places))
    }

    /// The number of the transaction that wrote the row.
    pub(super) fn xid(&self, row: &Tuple) -> Result<u64, Error> {
        Ok(self.number(row, 1)?.cast_unsigned())
    }

    /// The event and its position.
    pub(super) fn record(&self, row: &Tuple) -> Result<Record, Error> {
        let tenant = self.text(row, 2)?;
        let tenant =
            TenantId::new(&tenant).map_err(|error| Error::damaged(format!("tenant `{tenant}`: {error}")))?;
        let fingerprint = self.bytes(row, 7)?;
        let broken = |at: usize| move |_| wrong(at);
        let trace = match self.value(row, 11)? {
            Value::Null => None,
            _ => TraceContext::parse(&self.bytes(row, 11)?),
        };
        let event = NewEvent {
            tenant,
            topic: Cow::Owned(self.text(row, 3)?),
            key: self.text(row, 4)?,
            kseq: self.number(row, 5)?.cast_unsigned(),
            numbering: Numbering::Consecutive,
            id: Uuid::from_bytes(self.bytes(row, 6)?[..].try_into().map_err(broken(6))?),
            fingerprint: fingerprint[..].try_into().map_err(broken(7))?,
            event_type: Cow::Owned(self.text(row, 8)?),
            schema: u16::try_from(i32::from_be_bytes(
                self.bytes(row, 9)?[..].try_into().map_err(broken(9))?,
            ))
            .map_err(|error| Error::damaged(format!("a schema number: {error}")))?,
            time: Timestamp::from_unix_ms(self.number(row, 10)?),
            trace,
            // Its own bytes, not a part of what the connection read at once.
            payload: Bytes::copy_from_slice(&self.bytes(row, 12)?),
        };
        Ok(Record {
            origin_pos: self.number(row, 0)?,
            event,
        })
    }

    fn value<'r>(&self, row: &'r Tuple, at: usize) -> Result<&'r Value, Error> {
        let place = *self.0.get(at).ok_or_else(|| wrong(at))?;
        row.get(place).ok_or_else(|| wrong(at))
    }

    fn bytes(&self, row: &Tuple, at: usize) -> Result<Bytes, Error> {
        match self.value(row, at)? {
            Value::Binary(bytes) => Ok(bytes.clone()),
            Value::Null | Value::Unchanged | Value::Text(_) => Err(wrong(at)),
        }
    }

    fn number(&self, row: &Tuple, at: usize) -> Result<i64, Error> {
        let bytes = self.bytes(row, at)?;
        let bytes = bytes
            .first_chunk()
            .filter(|_| bytes.len() == 8)
            .ok_or_else(|| wrong(at))?;
        Ok(i64::from_be_bytes(*bytes))
    }

    fn text(&self, row: &Tuple, at: usize) -> Result<String, Error> {
        let bytes = self.bytes(row, at)?;
        std::str::from_utf8(&bytes).map(str::to_owned).or(Err(wrong(at)))
    }
}

fn wrong(at: usize) -> Error {
    let name = NAMES.get(at).copied().unwrap_or("?");
    Error::damaged(format!("the outbox's column `{name}` is not what it should be"))
}

/// What one fetch collects.
pub(super) struct Batch {
    pub(super) records: Vec<Record>,
    /// Their transactions.
    pub(super) xids: Vec<u64>,
    /// Up to where the stream was read for it.
    pub(super) reached: Lsn,
    bytes: usize,
    limit: ReadLimit,
}

impl Batch {
    pub(super) fn new(limit: ReadLimit, reached: Lsn) -> Self {
        Self {
            records: Vec::new(),
            xids: Vec::new(),
            reached,
            bytes: 0,
            limit,
        }
    }

    pub(super) fn full(&self) -> bool {
        self.records.len() >= self.limit.rows || self.bytes >= self.limit.bytes
    }

    pub(super) fn takes(&self, record: &Record) -> bool {
        self.records.is_empty() || self.bytes + record.event.bytes() <= self.limit.bytes
    }

    pub(super) fn push(&mut self, xid: u64, record: Record) {
        if self.xids.last() != Some(&xid) {
            self.xids.push(xid);
        }
        self.bytes += record.event.bytes();
        self.records.push(record);
    }
}
