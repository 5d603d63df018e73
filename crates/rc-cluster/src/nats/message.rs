//! An event as a message: CloudEvents 1.0 in binary mode, so that any client of NATS can read it, and a few
//! headers of our own, so that the event comes back bit by bit.

use std::str::FromStr;

use bytes::Bytes;
use data_encoding::HEXLOWER;
use rc_events::{Cursor, Error, Event, NewEvent, Numbering, Record};
use rc_model::{TenantId, Timestamp, TraceContext};
use serde::de::IgnoredAny;
use uuid::Uuid;

use super::wire::{HeaderBlock, Message, token, unpercent};

/// Parts of the key space, each with a subject of its own: enough for groups of consumers that share work
/// by subject, and few enough that a server holds an index of them without noticing.
const PARTITIONS: u32 = 64;

/// The header with the origin's cursor after a batch, on the batch's last message.
pub(crate) const CURSOR: &str = "Rc-Cursor";

/// The header with the origin's cursor before a batch, on the batch's first message.
pub(crate) const AFTER: &str = "Rc-After";

/// A message's place in its batch: 1 for the first.
pub(crate) const BATCH_SEQUENCE: &str = "Nats-Batch-Sequence";

/// Where a message stands in its batch.
#[derive(Debug)]
pub(crate) struct InBatch<'a> {
    pub(crate) id: &'a str,
    /// 1 for the first.
    pub(crate) number: usize,
    /// On the first: where the stream must end, and where the origin was.
    pub(crate) first: Option<(Option<i64>, &'a Cursor)>,
    /// On the last: where the origin is, and whether a test wants that left out.
    pub(crate) last: Option<(&'a Cursor, bool)>,
}

/// `<stream>.<origin>.<tenant>.<topic>.<part of the key space>`
pub(crate) fn subject(stream: &str, origin: &str, event: &NewEvent) -> String {
    format!(
        "{stream}.{}.{}.{}.{}",
        token(origin),
        token(event.tenant.as_str()),
        token(&event.topic),
        crc32fast::hash(event.place().to_string().as_bytes()) % PARTITIONS
    )
}

/// The headers of an event. The payload is the message's body as it is.
pub(crate) fn headers(origin: &str, record: &Record, batch: &InBatch<'_>) -> Vec<u8> {
    let event = &record.event;
    let mut block = HeaderBlock::new();
    block.put("Nats-Batch-Id", batch.id);
    block.put(BATCH_SEQUENCE, &batch.number.to_string());
    if let Some((tail, after)) = batch.first {
        if let Some(tail) = tail {
            block.put("Nats-Expected-Last-Sequence", &tail.to_string());
        }
        block.put(AFTER, after.as_str());
    }
    if let Some((cursor, apart)) = batch.last {
        block.put("Nats-Batch-Commit", "1");
        if !apart {
            block.put(CURSOR, cursor.as_str());
        }
    }
    block.put("ce-specversion", "1.0");
    block.put("ce-id", &event.id.to_string());
    block.put("ce-source", &format!("/royalcrown/{origin}"));
    block.put("ce-type", &event.event_type);
    block.put("ce-subject", &event.key);
    block.put("ce-time", &event.time.to_string());
    block.put("ce-tenantid", event.tenant.as_str());
    block.put("ce-partitionkey", &event.place().to_string());
    block.put("ce-sequence", &format!("{:020}", event.kseq));
    if let Some(trace) = event.trace {
        block.put("ce-traceparent", &trace.to_string());
    }
    if serde_json::from_slice::<IgnoredAny>(&event.payload).is_ok() {
        block.put("content-type", "application/json");
    }
    block.put("Rc-Topic", &event.topic);
    block.put("Rc-Schema", &event.schema.to_string());
    block.put("Rc-Fingerprint", &HEXLOWER.encode(&event.fingerprint));
    if event.numbering == Numbering::Increasing {
        block.put("Rc-Numbering", "increasing");
    }
    block.put("Rc-Pos", &record.origin_pos.to_string());
    block.finish()
}

/// The sequence of a message that the stream gave us.
pub(crate) fn sequence(message: &Message) -> Result<i64, Error> {
    number(message, "Nats-Sequence")
}

/// A header that is a number.
pub(crate) fn number<N: FromStr>(message: &Message, name: &str) -> Result<N, Error> {
    let value = message.headers.get(name);
    value.and_then(|text| text.parse().ok()).ok_or_else(|| {
        Error::Damaged(format!("a message of the bus has `{value:?}` as its header `{name}`").into())
    })
}

/// A header's text.
pub(crate) fn text(message: &Message, name: &str) -> Result<Option<String>, Error> {
    let Some(value) = message.headers.get(name) else {
        return Ok(None);
    };
    unpercent(value)
        .map(Some)
        .ok_or_else(|| Error::Damaged(format!("a message of the bus has a broken header `{name}`").into()))
}

/// The event of a message that the stream gave us.
pub(crate) fn event(message: &Message) -> Result<Event, Error> {
    let pos = sequence(message)?;
    let mut fields = Fields::default();
    for (name, value) in message.headers.iter() {
        fields.take(name, value);
    }
    let event = fields.event(message.payload.clone());
    let event = event
        .ok_or_else(|| Error::Damaged(format!("message {pos} of the bus is not an event of ours").into()))?;
    Ok(Event { pos, event })
}

/// What the headers of one event say; found in one walk over them.
#[derive(Default)]
struct Fields<'a> {
    id: Option<&'a str>,
    kind: Option<&'a str>,
    key: Option<&'a str>,
    time: Option<&'a str>,
    tenant: Option<&'a str>,
    sequence: Option<&'a str>,
    trace: Option<&'a str>,
    topic: Option<&'a str>,
    schema: Option<&'a str>,
    fingerprint: Option<&'a str>,
    numbering: Option<&'a str>,
}

impl<'a> Fields<'a> {
    fn take(&mut self, name: &str, value: &'a str) {
        let field = match name {
            "ce-id" => &mut self.id,
            "ce-type" => &mut self.kind,
            "ce-subject" => &mut self.key,
            "ce-time" => &mut self.time,
            "ce-tenantid" => &mut self.tenant,
            "ce-sequence" => &mut self.sequence,
            "ce-traceparent" => &mut self.trace,
            "Rc-Topic" => &mut self.topic,
            "Rc-Schema" => &mut self.schema,
            "Rc-Fingerprint" => &mut self.fingerprint,
            "Rc-Numbering" => &mut self.numbering,
            _ => return,
        };
        *field = Some(value);
    }

    fn event(&self, payload: Bytes) -> Option<NewEvent> {
        let mut fingerprint = [0; 16];
        let digits = self.fingerprint.filter(|digits| digits.len() == 32)?;
        HEXLOWER.decode_mut(digits.as_bytes(), &mut fingerprint).ok()?;
        Some(NewEvent {
            id: Uuid::parse_str(self.id?).ok()?,
            tenant: TenantId::new(self.tenant?).ok()?,
            topic: unpercent(self.topic?)?.into(),
            key: unpercent(self.key?)?,
            kseq: self.sequence?.parse().ok()?,
            numbering: match self.numbering {
                None => Numbering::Consecutive,
                Some("increasing") => Numbering::Increasing,
                Some(_) => return None,
            },
            event_type: unpercent(self.kind?)?.into(),
            schema: self.schema?.parse().ok()?,
            time: time(self.time?)?,
            fingerprint,
            trace: match self.trace {
                None => None,
                Some(text) => Some(TraceContext::parse(text.as_bytes())?),
            },
            payload,
        })
    }
}

/// RFC 3339, or `@<milliseconds>ms` for a moment that it cannot name.
fn time(text: &str) -> Option<Timestamp> {
    let odd = text.strip_prefix('@').and_then(|text| text.strip_suffix("ms"));
    match odd {
        Some(ms) => Some(Timestamp::from_unix_ms(ms.parse().ok()?)),
        None => Timestamp::parse(text),
    }
}

#[cfg(test)]
mod tests;
