//! A sink that remembers, for tests of everything that emits.

use std::sync::{Arc, Mutex};

use rc_model::TraceContext;
use rc_model::telemetry::{Scope, Span, SpanKind, TelemetrySink, Value};

/// A span as it was emitted.
#[derive(Debug, Clone)]
pub(crate) struct Heard {
    pub(crate) context: TraceContext,
    pub(crate) parent: Option<u64>,
    pub(crate) kind: SpanKind,
    pub(crate) name: String,
    pub(crate) began_unix_ns: u64,
    pub(crate) took_ns: u64,
    pub(crate) error: Option<String>,
    pub(crate) attributes: Vec<(&'static str, String)>,
}

impl Heard {
    pub(crate) fn attribute(&self, name: &str) -> Option<&str> {
        let found = self.attributes.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// Remembers every span.
#[derive(Debug, Default)]
pub(crate) struct Recorder(Mutex<Vec<Heard>>);

impl TelemetrySink for Recorder {
    fn span(&self, span: &Span<'_>) {
        let attributes = span.attributes.iter().map(|(name, value)| {
            let value = match value {
                Value::Str(text) => (*text).to_owned(),
                Value::Int(value) => value.to_string(),
                Value::Float(value) => value.to_string(),
                Value::Bool(value) => value.to_string(),
            };
            (*name, value)
        });
        self.0.lock().unwrap().push(Heard {
            context: span.context,
            parent: span.parent,
            kind: span.kind,
            name: span.name.to_owned(),
            began_unix_ns: span.began_unix_ns,
            took_ns: span.took_ns,
            error: span.error.map(str::to_owned),
            attributes: attributes.collect(),
        });
    }
}

impl Recorder {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// The scope of a request in a trace of its own.
    pub(crate) fn scope(self: &Arc<Self>) -> Scope {
        let sink = Arc::clone(self) as Arc<dyn TelemetrySink>;
        Scope::new(TraceContext::start(super::random), &sink).unwrap()
    }

    pub(crate) fn take(&self) -> Vec<Heard> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}
