//! A telemetry sink that remembers, for tests of everything that emits spans.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rc_model::TraceContext;
use rc_model::telemetry::{Scope, Span, SpanKind, TelemetrySink, Value};

/// A span as it was emitted.
#[derive(Debug, Clone)]
pub struct Heard {
    pub context: TraceContext,
    pub parent: Option<u64>,
    pub kind: SpanKind,
    pub name: String,
    pub links: Vec<TraceContext>,
    pub began_unix_ns: u64,
    pub took_ns: u64,
    pub error: Option<String>,
    pub attributes: Vec<(&'static str, String)>,
}

impl Heard {
    /// An attribute's value as text.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&str> {
        let found = self.attributes.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// Remembers every span.
#[derive(Debug, Default)]
pub struct Recorder(Mutex<Vec<Heard>>);

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
        self.lock().push(Heard {
            context: span.context,
            parent: span.parent,
            kind: span.kind,
            name: span.name.to_owned(),
            links: span.links.to_vec(),
            began_unix_ns: span.began_unix_ns,
            took_ns: span.took_ns,
            error: span.error.map(str::to_owned),
            attributes: attributes.collect(),
        });
    }
}

impl Recorder {
    fn lock(&self) -> MutexGuard<'_, Vec<Heard>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An empty one.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// It as what emitters know.
    #[must_use]
    pub fn sink(self: &Arc<Self>) -> Arc<dyn TelemetrySink> {
        Arc::clone(self) as Arc<dyn TelemetrySink>
    }

    /// The scope of a request in a trace of its own.
    #[must_use]
    pub fn scope(self: &Arc<Self>) -> Scope {
        let sink = self.sink();
        Scope::new(TraceContext::start(|| fastrand::u64(..)), &sink).expect("a trace that starts is recorded")
    }

    /// What was emitted since the last time.
    #[must_use]
    pub fn take(&self) -> Vec<Heard> {
        std::mem::take(&mut *self.lock())
    }
}
