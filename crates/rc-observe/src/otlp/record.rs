//! A span as it is read back.

use rc_model::telemetry::SpanKind;

use super::{STATUS_ERROR, id_64, id_128, kind_of, span_field};
use crate::wire::{Field, Fields, Malformed};

/// One span that was kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    pub trace_id: u128,
    pub span_id: u64,
    /// The id of the span above it. Absent: it is the trace's first.
    pub parent: Option<u64>,
    pub kind: SpanKind,
    pub name: String,
    /// Nanoseconds since the Unix epoch.
    pub began_unix_ns: u64,
    pub ended_unix_ns: u64,
    /// Why it failed, if it did.
    pub error: Option<String>,
    pub attributes: Vec<(String, AttributeValue)>,
    /// Spans that it belongs to besides its parent.
    pub links: Vec<Link>,
}

/// The value of an attribute that was read back.
#[derive(Debug, Clone, PartialEq)]
pub enum AttributeValue {
    Str(String),
    Int(i64),
    Float(f64),
    Bool(bool),
}

impl std::fmt::Display for AttributeValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Str(text) => f.write_str(text),
            Self::Int(number) => write!(f, "{number}"),
            Self::Float(number) => write!(f, "{number}"),
            Self::Bool(truth) => write!(f, "{truth}"),
        }
    }
}

/// A place in a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Link {
    pub trace_id: u128,
    pub span_id: u64,
}

impl Record {
    /// The value of an attribute.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&AttributeValue> {
        let found = self.attributes.iter().find(|(found, _)| found == name);
        found.map(|(_, value)| value)
    }

    /// How long it took, in nanoseconds.
    #[must_use]
    pub fn took_ns(&self) -> u64 {
        self.ended_unix_ns.saturating_sub(self.began_unix_ns)
    }

    /// Reads a message `Span`. Fields that nobody here looks at are passed over.
    pub(crate) fn decode(span: &[u8]) -> Result<Self, Malformed> {
        let mut record = Self {
            trace_id: 0,
            span_id: 0,
            parent: None,
            kind: SpanKind::Internal,
            name: String::new(),
            began_unix_ns: 0,
            ended_unix_ns: 0,
            error: None,
            attributes: Vec::new(),
            links: Vec::new(),
        };
        for field in Fields::of(span) {
            match field? {
                (span_field::TRACE_ID, Field::Bytes(id)) => record.trace_id = id_128(id).ok_or(Malformed)?,
                (span_field::SPAN_ID, Field::Bytes(id)) => record.span_id = id_64(id).ok_or(Malformed)?,
                // No parent may also be said with an empty id.
                (span_field::PARENT, Field::Bytes(id)) => record.parent = id_64(id),
                (span_field::NAME, Field::Bytes(name)) => record.name = lossy(name),
                (span_field::KIND, Field::Varint(kind)) => record.kind = kind_of(kind),
                (span_field::START, Field::Fixed64(at)) => record.began_unix_ns = at,
                (span_field::END, Field::Fixed64(at)) => record.ended_unix_ns = at,
                (span_field::ATTRIBUTES, Field::Bytes(attribute)) => {
                    record.attributes.extend(attribute_of(attribute)?);
                }
                (span_field::LINKS, Field::Bytes(link)) => record.links.push(link_of(link)?),
                (span_field::STATUS, Field::Bytes(status)) => record.error = error_of(status)?,
                _ => {}
            }
        }
        if record.trace_id == 0 || record.span_id == 0 {
            return Err(Malformed);
        }
        Ok(record)
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// `None` for a list, a map or bytes: we write none.
fn attribute_of(attribute: &[u8]) -> Result<Option<(String, AttributeValue)>, Malformed> {
    let (mut name, mut value) = (String::new(), None);
    for field in Fields::of(attribute) {
        match field? {
            (1, Field::Bytes(text)) => name = lossy(text),
            (2, Field::Bytes(any)) => {
                for field in Fields::of(any) {
                    value = match field? {
                        (1, Field::Bytes(text)) => Some(AttributeValue::Str(lossy(text))),
                        (2, Field::Varint(truth)) => Some(AttributeValue::Bool(truth != 0)),
                        (3, Field::Varint(number)) => Some(AttributeValue::Int(number.cast_signed())),
                        (4, Field::Fixed64(bits)) => Some(AttributeValue::Float(f64::from_bits(bits))),
                        _ => value,
                    };
                }
            }
            _ => {}
        }
    }
    Ok(value.map(|value| (name, value)))
}

pub(super) fn link_of(link: &[u8]) -> Result<Link, Malformed> {
    let (mut trace_id, mut span_id) = (None, None);
    for field in Fields::of(link) {
        match field? {
            (1, Field::Bytes(id)) => trace_id = id_128(id),
            (2, Field::Bytes(id)) => span_id = id_64(id),
            _ => {}
        }
    }
    match (trace_id, span_id) {
        (Some(trace_id), Some(span_id)) => Ok(Link { trace_id, span_id }),
        _ => Err(Malformed),
    }
}

fn error_of(status: &[u8]) -> Result<Option<String>, Malformed> {
    let (mut message, mut code) = (String::new(), 0);
    for field in Fields::of(status) {
        match field? {
            (2, Field::Bytes(text)) => message = lossy(text),
            (3, Field::Varint(number)) => code = number,
            _ => {}
        }
    }
    Ok((code == STATUS_ERROR).then_some(message))
}
