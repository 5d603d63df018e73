//! The shapes of `rc trace --output json`.

use rc_model::Timestamp;
use rc_observe::{AttributeValue, Kept, Summary, Trace};
use serde_json::{Map, Value, json};

/// One trace with everything that is known of it.
pub(super) fn trace(trace: &Trace) -> Value {
    let zero = trace.began_unix_ns();
    json!({
        "id": id(trace.id),
        "began": moment(zero),
        "duration_ms": ms(trace.ended_unix_ns().saturating_sub(zero)),
        "spans": trace.spans.iter().map(|kept| span(kept, zero)).collect::<Vec<_>>(),
        "linked": trace.linked.iter().map(self::trace).collect::<Vec<_>>(),
    })
}

fn span(kept: &Kept, zero: u64) -> Value {
    let span = &kept.span;
    let attributes: Map<String, Value> = span
        .attributes
        .iter()
        .map(|(name, value)| (name.clone(), attribute(value)))
        .collect();
    let links: Vec<Value> = span
        .links
        .iter()
        .map(|link| json!({ "trace_id": id(link.trace_id), "span_id": format!("{:016x}", link.span_id) }))
        .collect();
    json!({
        "service": &*kept.service,
        "span_id": format!("{:016x}", span.span_id),
        "parent_id": span.parent.map(|parent| format!("{parent:016x}")),
        "kind": format!("{:?}", span.kind).to_lowercase(),
        "name": span.name,
        "offset_ms": ms(span.began_unix_ns.saturating_sub(zero)),
        "duration_ms": ms(span.took_ns()),
        "error": span.error,
        "attributes": attributes,
        "links": links,
    })
}

fn attribute(value: &AttributeValue) -> Value {
    match value {
        AttributeValue::Str(text) => json!(text),
        AttributeValue::Int(number) => json!(number),
        AttributeValue::Float(number) => json!(number),
        AttributeValue::Bool(truth) => json!(truth),
    }
}

/// Several traces, in their order.
pub(super) fn list(traces: &[Summary]) -> Value {
    let summary = |trace: &Summary| {
        let services: Vec<&str> = trace.services.iter().map(|service| &**service).collect();
        json!({
            "id": id(trace.id),
            "name": trace.name,
            "services": services,
            "spans": trace.spans,
            "began": moment(trace.began_unix_ns),
            "duration_ms": ms(trace.took_ns),
            "whole_ms": ms(trace.whole_ns),
            "error": trace.error,
        })
    };
    json!({ "traces": traces.iter().map(summary).collect::<Vec<_>>() })
}

fn id(id: u128) -> String {
    format!("{id:032x}")
}

fn moment(unix_ns: u64) -> Timestamp {
    Timestamp::from_unix_ms(i64::try_from(unix_ns / 1_000_000).unwrap_or(i64::MAX))
}

/// Milliseconds with three decimals.
fn ms(ns: u64) -> f64 {
    (ns / 1_000) as f64 / 1e3
}
