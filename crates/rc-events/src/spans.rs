//! The spans of events on their way: one a trace and batch, below the span of the request that wrote them.
//!
//! A batch holds the events of many requests. Each request's trace gets its own span for its share of the
//! batch; what the batch did in the store stands below the one trace it belongs to, or in a trace of the
//! batch that is linked with all of them. Traces that nobody records get nothing and cost nothing.

use std::borrow::Cow;
use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;

use rc_model::clock::{monotonic_ns, unix_ns};
use rc_model::telemetry::{Scope, Span, SpanKind, TelemetrySink, Value};
use rc_model::{TenantId, TraceContext};
use rc_store::trace::Tape;

use crate::Error;
use crate::event::NewEvent;

/// Spans of one batch: an event has one trace, so there are no more traces than rows.
pub const TRACES_MAX: usize = crate::bus::BATCH_ROWS_MAX;

/// Links of a batch's own span to the requests in it; the others are linked from their side only.
pub const LINKS_MAX: usize = 128;

const SYSTEM: &str = "royalcrown";

/// What one recorded trace has in a batch.
struct Party {
    /// The span of the request.
    context: TraceContext,
    topic: Cow<'static, str>,
    tenant: TenantId,
    events: u64,
}

/// The recorded traces of a batch, in the order in which they come.
fn parties<'e>(events: impl Iterator<Item = &'e NewEvent>) -> Vec<Party> {
    let mut found: Vec<Party> = Vec::new();
    let mut places: HashMap<u128, usize> = HashMap::new();
    let mut last = None;
    for event in events {
        let Some(context) = event.trace.filter(|trace| trace.sampled()) else {
            continue;
        };
        let trace_id = context.trace_id();
        // The events of one request mostly stand together.
        let place = match last {
            Some((known, place)) if known == trace_id => Some(place),
            _ => places.get(&trace_id).copied(),
        };
        let place = match place {
            Some(place) => {
                found[place].events += 1;
                place
            }
            None if found.len() == TRACES_MAX => continue,
            None => {
                places.insert(trace_id, found.len());
                found.push(Party {
                    context,
                    topic: event.topic.clone(),
                    tenant: event.tenant.clone(),
                    events: 1,
                });
                found.len() - 1
            }
        };
        last = Some((trace_id, place));
    }
    found
}

/// A batch that is being published.
pub(crate) struct Publishing {
    sink: Arc<dyn TelemetrySink>,
    parties: Vec<Party>,
    began_unix_ns: u64,
    began_ns: u64,
}

impl Publishing {
    /// A batch that begins now; `None` when nobody records any of it.
    pub(crate) fn begin<'e>(
        sink: &Arc<dyn TelemetrySink>,
        events: impl Iterator<Item = &'e NewEvent>,
    ) -> Option<Self> {
        let parties = parties(events);
        (!parties.is_empty()).then(|| Self {
            sink: Arc::clone(sink),
            parties,
            began_unix_ns: unix_ns(),
            began_ns: monotonic_ns(),
        })
    }

    /// It is on the bus. One that is not will be tried again and has no span until then.
    pub(crate) fn published(self) {
        let took_ns = monotonic_ns().saturating_sub(self.began_ns);
        for party in &self.parties {
            let name = format!("publish {}", party.topic);
            self.sink.span(&Span {
                context: party.context.child(random),
                parent: Some(party.context.span_id()),
                kind: SpanKind::Producer,
                name: &name,
                began_unix_ns: self.began_unix_ns,
                took_ns,
                error: None,
                attributes: &[
                    ("messaging.system", Value::Str(SYSTEM)),
                    ("messaging.operation.name", Value::Str("publish")),
                    ("messaging.operation.type", Value::Str("send")),
                    ("messaging.destination.name", Value::Str(&party.topic)),
                    ("messaging.batch.message_count", int(party.events)),
                    ("rc.tenant", Value::Str(party.tenant.as_str())),
                ],
                links: &[],
            });
        }
    }
}

/// A batch that is being applied.
pub(crate) struct Applying {
    sink: Arc<dyn TelemetrySink>,
    parties: Vec<(Party, TraceContext)>,
    /// The batch's own trace, when it serves several.
    batch: Option<TraceContext>,
    consumer: String,
    began_unix_ns: u64,
    began_ns: u64,
}

impl Applying {
    /// A batch that begins now; `None` when nobody records any of it.
    pub(crate) fn begin<'e>(
        sink: &Arc<dyn TelemetrySink>,
        consumer: &str,
        events: impl Iterator<Item = &'e NewEvent>,
    ) -> Option<Self> {
        let parties: Vec<(Party, TraceContext)> = parties(events)
            .into_iter()
            .map(|party| {
                let own = party.context.child(random);
                (party, own)
            })
            .collect();
        if parties.is_empty() {
            return None;
        }
        Some(Self {
            sink: Arc::clone(sink),
            batch: (parties.len() > 1).then(|| TraceContext::start(random)),
            parties,
            consumer: consumer.to_owned(),
            began_unix_ns: unix_ns(),
            began_ns: monotonic_ns(),
        })
    }

    /// Runs `apply` in the batch's scope and tells how it ended. Of attempts in a row (`again`) only the first
    /// and the last are told: a batch that cannot be applied for hours must not push everything else out.
    pub(crate) async fn run<T>(
        self,
        again: bool,
        apply: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let inside = self.batch.unwrap_or(self.parties[0].1);
        let Some(scope) = Scope::new(inside, &self.sink) else {
            return apply.await;
        };
        if !again {
            let outcome = scope.run(apply).await;
            self.end(outcome.as_ref().err().map(Error::code));
            return outcome;
        }
        let tape = Tape::new();
        let outcome = tape.record(apply).await;
        if outcome.is_ok() {
            tape.play(&scope);
            self.end(None);
        }
        outcome
    }

    fn end(&self, error: Option<&str>) {
        let took_ns = monotonic_ns().saturating_sub(self.began_ns);
        let batch: Vec<TraceContext> = self.batch.into_iter().collect();
        for (party, own) in &self.parties {
            let name = format!("process {}", party.topic);
            let mut attributes = self.attributes(party.events, error);
            attributes.push(("messaging.destination.name", Value::Str(&party.topic)));
            attributes.push(("rc.tenant", Value::Str(party.tenant.as_str())));
            self.sink.span(&Span {
                context: *own,
                parent: Some(party.context.span_id()),
                kind: SpanKind::Consumer,
                name: &name,
                began_unix_ns: self.began_unix_ns,
                took_ns,
                error,
                attributes: &attributes,
                links: &batch,
            });
        }
        let Some(context) = self.batch else { return };
        let events = self.parties.iter().map(|(party, _)| party.events).sum();
        let mut attributes = self.attributes(events, error);
        attributes.push(("rc.traces", int(self.parties.len() as u64)));
        let links: Vec<TraceContext> = self.parties.iter().take(LINKS_MAX).map(|(_, own)| *own).collect();
        self.sink.span(&Span {
            context,
            parent: None,
            kind: SpanKind::Consumer,
            name: "process batch",
            began_unix_ns: self.began_unix_ns,
            took_ns,
            error,
            attributes: &attributes,
            links: &links,
        });
    }

    fn attributes<'a>(&'a self, events: u64, error: Option<&'a str>) -> Vec<(&'static str, Value<'a>)> {
        let mut attributes = vec![
            ("messaging.system", Value::Str(SYSTEM)),
            ("messaging.operation.name", Value::Str("process")),
            ("messaging.operation.type", Value::Str("process")),
            ("messaging.consumer.group.name", Value::Str(&self.consumer)),
            ("messaging.batch.message_count", int(events)),
        ];
        if let Some(error) = error {
            attributes.push(("error.type", Value::Str(error)));
        }
        attributes
    }
}

/// 64 random bits for ids; they identify and protect nothing.
fn random() -> u64 {
    fastrand::u64(..)
}

fn int(value: u64) -> Value<'static> {
    Value::Int(i64::try_from(value).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests;
