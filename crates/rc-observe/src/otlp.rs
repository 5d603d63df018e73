//! Spans as OTLP says them: `opentelemetry/proto/trace/v1/trace.proto` and its neighbours, version 1.
//!
//! A span is encoded once. The bytes are a field of `ScopeSpans`, so that many of them one after the other
//! are the body of a file block and of an export request alike. It refuses to know where they go.

use rc_model::TraceContext;
use rc_model::telemetry::{Attribute, Span, SpanKind, Value};

use crate::wire::{self, Field, Fields, Malformed};

mod record;

pub use record::{AttributeValue, Link, Record};

/// Longest text of a span's name, status or attribute in bytes; longer ones are cut.
const TEXT_BYTES_MAX: usize = 2048;
/// Most attributes of a span, and most links; the rest is counted in the span.
const ATTRIBUTES_MAX: usize = 32;
const LINKS_MAX: usize = 128;

/// `Status.code` of a span that failed.
const STATUS_ERROR: u64 = 2;
/// The trace flag that says that somebody records the trace.
const FLAG_SAMPLED: u32 = 1;

/// Field numbers of `Span`.
mod span_field {
    pub(super) const TRACE_ID: u32 = 1;
    pub(super) const SPAN_ID: u32 = 2;
    pub(super) const PARENT: u32 = 4;
    pub(super) const NAME: u32 = 5;
    pub(super) const KIND: u32 = 6;
    pub(super) const START: u32 = 7;
    pub(super) const END: u32 = 8;
    pub(super) const ATTRIBUTES: u32 = 9;
    pub(super) const ATTRIBUTES_DROPPED: u32 = 10;
    pub(super) const LINKS: u32 = 13;
    pub(super) const LINKS_DROPPED: u32 = 14;
    pub(super) const STATUS: u32 = 15;
    pub(super) const FLAGS: u32 = 16;
}

/// `ScopeSpans.spans`
const SPANS: u32 = 2;
/// `Link.trace_id`, `Link.span_id` and their lengths: every link takes as many bytes.
const LINK_LEN: usize = wire::delimited_len(16) + wire::delimited_len(8);

/// Appends `span` as a field of `ScopeSpans`, of about 100 to 400 bytes.
pub(crate) fn encode(span: &Span<'_>, out: &mut Vec<u8>) {
    let name = cut(span.name);
    let attributes = &span.attributes[..span.attributes.len().min(ATTRIBUTES_MAX)];
    let links = &span.links[..span.links.len().min(LINKS_MAX)];
    let error = span.error.map(cut);
    let dropped = (
        span.attributes.len() - attributes.len(),
        span.links.len() - links.len(),
    );

    let mut len = wire::delimited_len(16) + wire::delimited_len(8);
    len += span.parent.map_or(0, |_| wire::delimited_len(8));
    len += wire::delimited_len(name.len());
    // The kind, the two moments, and the flags with their key of two bytes.
    len += 2 + 9 + 9 + 6;
    for attribute in attributes {
        len += wire::delimited_len(attribute_len(attribute));
    }
    len += dropped_len(dropped.0) + dropped_len(dropped.1);
    len += links.len() * wire::delimited_len(LINK_LEN);
    len += error.map_or(0, |error| wire::delimited_len(status_len(error)));

    out.reserve(len + 4);
    wire::begin(out, SPANS, len);
    let begun = out.len();
    put_ids(out, span.context);
    if let Some(parent) = span.parent {
        wire::put_bytes(out, span_field::PARENT, &parent.to_be_bytes());
    }
    wire::put_bytes(out, span_field::NAME, name.as_bytes());
    wire::put_uint(out, span_field::KIND, span.kind as u64);
    wire::put_fixed64(out, span_field::START, span.began_unix_ns);
    wire::put_fixed64(
        out,
        span_field::END,
        span.began_unix_ns.saturating_add(span.took_ns),
    );
    for attribute in attributes {
        wire::begin(out, span_field::ATTRIBUTES, attribute_len(attribute));
        put_attribute(out, attribute);
    }
    put_dropped(out, span_field::ATTRIBUTES_DROPPED, dropped.0);
    for link in links {
        wire::begin(out, span_field::LINKS, LINK_LEN);
        put_ids(out, *link);
    }
    put_dropped(out, span_field::LINKS_DROPPED, dropped.1);
    if let Some(error) = error {
        wire::begin(out, span_field::STATUS, status_len(error));
        wire::put_bytes(out, 2, error.as_bytes());
        wire::put_uint(out, 3, STATUS_ERROR);
    }
    let flags = if span.context.sampled() { FLAG_SAMPLED } else { 0 };
    wire::put_fixed32(out, span_field::FLAGS, flags);
    debug_assert_eq!(out.len() - begun, len, "a span is as long as it was said to be");
}

/// At most [`TEXT_BYTES_MAX`] bytes, cut between characters.
fn cut(text: &str) -> &str {
    if text.len() <= TEXT_BYTES_MAX {
        return text;
    }
    let end = (0..=TEXT_BYTES_MAX)
        .rev()
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(0);
    &text[..end]
}

/// Trace id and span id stand first, with the same numbers, in a span and in a link.
fn put_ids(out: &mut Vec<u8>, context: TraceContext) {
    wire::put_bytes(out, span_field::TRACE_ID, &context.trace_id().to_be_bytes());
    wire::put_bytes(out, span_field::SPAN_ID, &context.span_id().to_be_bytes());
}

fn dropped_len(count: usize) -> usize {
    if count == 0 {
        0
    } else {
        1 + wire::varint_len(count as u64)
    }
}

fn put_dropped(out: &mut Vec<u8>, number: u32, count: usize) {
    if count > 0 {
        wire::put_uint(out, number, count as u64);
    }
}

fn status_len(error: &str) -> usize {
    wire::delimited_len(error.len()) + 2
}

/// `AnyValue`: one of text 1, truth 2, whole number 3, number 4.
fn value_len(value: Value<'_>) -> usize {
    match value {
        Value::Str(text) => wire::delimited_len(cut(text).len()),
        Value::Bool(_) => 2,
        Value::Int(number) => 1 + wire::varint_len(number.cast_unsigned()),
        Value::Float(_) => 9,
    }
}

/// `KeyValue`: name 1, value 2.
fn attribute_len((name, value): &Attribute<'_>) -> usize {
    wire::delimited_len(name.len()) + wire::delimited_len(value_len(*value))
}

fn put_attribute(out: &mut Vec<u8>, (name, value): &Attribute<'_>) {
    wire::put_bytes(out, 1, name.as_bytes());
    wire::begin(out, 2, value_len(*value));
    match value {
        Value::Str(text) => wire::put_bytes(out, 1, cut(text).as_bytes()),
        Value::Bool(truth) => wire::put_uint(out, 2, u64::from(*truth)),
        Value::Int(number) => wire::put_uint(out, 3, number.cast_unsigned()),
        Value::Float(number) => wire::put_fixed64(out, 4, number.to_bits()),
    }
}

/// An export request without its spans: what stands before them, given how many bytes they take.
///
/// `ExportTraceServiceRequest.resource_spans` 1 holds `ResourceSpans` with `resource` 1 and `scope_spans` 2;
/// that one holds `scope` 1 and then the spans.
pub(crate) fn request_head(resource: &[u8], scope: &[u8], spans_len: usize) -> Vec<u8> {
    let scope_spans = wire::delimited_len(scope.len()) + spans_len;
    let resource_spans = wire::delimited_len(resource.len()) + wire::delimited_len(scope_spans);
    let mut out = Vec::with_capacity(resource.len() + scope.len() + 32);
    wire::begin(&mut out, 1, resource_spans);
    wire::put_bytes(&mut out, 1, resource);
    wire::begin(&mut out, 2, scope_spans);
    wire::put_bytes(&mut out, 1, scope);
    out
}

/// A message `Resource`: `attributes` 1.
pub(crate) fn encode_resource(attributes: &[Attribute<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    for attribute in attributes {
        wire::begin(&mut out, 1, attribute_len(attribute));
        put_attribute(&mut out, attribute);
    }
    out
}

/// A message `InstrumentationScope`: `name` 1, `version` 2.
pub(crate) fn encode_scope(name: &str, version: &str) -> Vec<u8> {
    let mut out = Vec::new();
    wire::put_bytes(&mut out, 1, name.as_bytes());
    wire::put_bytes(&mut out, 2, version.as_bytes());
    out
}

/// What a receiver did not take of a request that it answered with 200.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct PartialSuccess {
    pub(crate) rejected: u64,
    pub(crate) message: String,
}

/// Reads `ExportTraceServiceResponse`: `partial_success` 1 with `rejected_spans` 1 and `error_message` 2.
pub(crate) fn decode_response(body: &[u8]) -> Result<PartialSuccess, Malformed> {
    let mut partial = PartialSuccess::default();
    for field in Fields::of(body) {
        let (1, Field::Bytes(message)) = field? else {
            continue;
        };
        for field in Fields::of(message) {
            match field? {
                (1, Field::Varint(rejected)) => partial.rejected = rejected,
                (2, Field::Bytes(text)) => partial.message = String::from_utf8_lossy(text).into_owned(),
                _ => {}
            }
        }
    }
    Ok(partial)
}

/// The messages `Span` in a sequence of fields of `ScopeSpans`.
pub(crate) fn spans(block: &[u8]) -> impl Iterator<Item = &[u8]> {
    Fields::of(block).filter_map(|field| match field {
        Ok((SPANS, Field::Bytes(span))) => Some(span),
        _ => None,
    })
}

/// The trace's id of an encoded span, without reading the rest.
pub(crate) fn trace_id_of(span: &[u8]) -> Option<u128> {
    match Fields::of(span).next() {
        Some(Ok((span_field::TRACE_ID, Field::Bytes(id)))) => id_128(id),
        _ => None,
    }
}

/// What stands in every span of a trace, and in every link to one, given the first bytes of the trace's id.
pub(crate) fn id_needle(first: &[u8]) -> Vec<u8> {
    let mut needle = Vec::with_capacity(2 + 16);
    wire::begin(&mut needle, span_field::TRACE_ID, 16);
    needle.extend_from_slice(first);
    needle
}

/// The links of an encoded span, without reading the rest.
pub(crate) fn links_of(span: &[u8]) -> impl Iterator<Item = Link> {
    Fields::of(span).filter_map(|field| match field {
        Ok((span_field::LINKS, Field::Bytes(link))) => record::link_of(link).ok(),
        _ => None,
    })
}

fn id_128(bytes: &[u8]) -> Option<u128> {
    <[u8; 16]>::try_from(bytes).ok().map(u128::from_be_bytes)
}

fn id_64(bytes: &[u8]) -> Option<u64> {
    <[u8; 8]>::try_from(bytes).ok().map(u64::from_be_bytes)
}

fn kind_of(number: u64) -> SpanKind {
    match number {
        2 => SpanKind::Server,
        3 => SpanKind::Client,
        4 => SpanKind::Producer,
        5 => SpanKind::Consumer,
        // The specification: unspecified may be taken as internal.
        _ => SpanKind::Internal,
    }
}

#[cfg(test)]
pub(crate) mod tests;
