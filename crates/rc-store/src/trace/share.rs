//! Work that several requests share, shown in the trace of each.
//!
//! A transaction that commits many requests belongs to all of them. Its spans are kept on a [`Tape`] and
//! played into each request's trace below the request's own [`Share`]; a request then costs as many spans
//! as if it had had the transaction for itself, and no trace needs another one to be understood.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use rc_model::TraceContext;
use rc_model::clock::monotonic_ns;
use rc_model::telemetry::{OpenSpan, Scope, Span, SpanKind, TelemetrySink, Value};

use super::statements::int;
use super::{CANCELLED, ms, random};

/// Spans of one transaction that a tape keeps; more are counted on each share.
pub const TAPE_SPANS_MAX: usize = 64;

/// One request's part in work that it shares with others: from the moment it waits to the commit.
#[derive(Debug)]
pub struct Share {
    /// `None` once it was told.
    open: Option<OpenSpan>,
    op: &'static str,
    queued_ns: u64,
}

impl Share {
    /// The part of the request in whose scope this is called; `None` when nobody traces it. `op` names the
    /// work: `ingest.store`.
    #[must_use]
    pub fn here(op: &'static str) -> Option<Self> {
        Scope::current().map(|scope| Self {
            open: Some(scope.begin(SpanKind::Client, random)),
            op,
            queued_ns: monotonic_ns(),
        })
    }

    /// Tells how the work ended that `tape` heard, together with `jobs` requests.
    pub fn finish(mut self, tape: &Tape, jobs: usize, error: Option<&str>) {
        let Some(open) = self.open.take() else { return };
        let heard = tape.lock();
        heard.play(open.scope());
        let waited_ns = heard.began_ns.saturating_sub(self.queued_ns);
        let (name, beyond) = (self.name(), heard.beyond);
        drop(heard);
        let attributes = [
            ("db.system.name", Value::Str("postgresql")),
            ("rc.queue_ms", Value::Float(ms(waited_ns))),
            ("rc.group_jobs", int(jobs as u64)),
            ("rc.spans_beyond", int(beyond)),
        ];
        let told = if beyond > 0 { 4 } else { 3 };
        open.finish(&name, error, &attributes[..told]);
    }

    fn name(&self) -> String {
        format!("postgresql write {}", self.op)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if let Some(open) = self.open.take() {
            open.finish(
                &self.name(),
                Some(CANCELLED),
                &[("db.system.name", Value::Str("postgresql"))],
            );
        }
    }
}

/// Keeps the spans of shared work until it is known in whose traces they belong.
#[derive(Debug)]
pub struct Tape {
    root: TraceContext,
    heard: Mutex<Heard>,
}

#[derive(Debug)]
struct Heard {
    /// The span that everything on the tape stands below.
    root: u64,
    began_ns: u64,
    spans: Vec<Kept>,
    beyond: u64,
}

#[derive(Debug)]
struct Kept {
    id: u64,
    parent: Option<u64>,
    kind: SpanKind,
    name: Box<str>,
    began_unix_ns: u64,
    took_ns: u64,
    error: Option<Box<str>>,
    attributes: Vec<(&'static str, Owned)>,
    links: Vec<TraceContext>,
}

#[derive(Debug)]
enum Owned {
    Str(Box<str>),
    Int(i64),
    Float(f64),
    Bool(bool),
}

impl Tape {
    /// An empty tape.
    #[must_use]
    pub fn new() -> Arc<Self> {
        let root = TraceContext::start(random);
        Arc::new(Self {
            root,
            heard: Mutex::new(Heard {
                root: root.span_id(),
                began_ns: monotonic_ns(),
                spans: Vec::new(),
                beyond: 0,
            }),
        })
    }

    /// Runs `work` so that its spans come onto the tape.
    pub async fn record<F: Future>(self: &Arc<Self>, work: F) -> F::Output {
        let sink = Arc::clone(self) as Arc<dyn TelemetrySink>;
        match Scope::new(self.root, &sink) {
            Some(scope) => scope.run(work).await,
            None => work.await,
        }
    }

    /// Sends what it heard below `scope`'s span.
    pub fn play(&self, scope: &Scope) {
        self.lock().play(scope);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TelemetrySink for Tape {
    fn span(&self, span: &Span<'_>) {
        let mut heard = self.lock();
        if heard.spans.len() >= TAPE_SPANS_MAX {
            heard.beyond += 1;
            return;
        }
        let attributes = span.attributes.iter().map(|(name, value)| {
            let value = match value {
                Value::Str(text) => Owned::Str((*text).into()),
                Value::Int(value) => Owned::Int(*value),
                Value::Float(value) => Owned::Float(*value),
                Value::Bool(value) => Owned::Bool(*value),
            };
            (*name, value)
        });
        let kept = Kept {
            id: span.context.span_id(),
            parent: span.parent,
            kind: span.kind,
            name: span.name.into(),
            began_unix_ns: span.began_unix_ns,
            took_ns: span.took_ns,
            error: span.error.map(Into::into),
            attributes: attributes.collect(),
            links: span.links.to_vec(),
        };
        heard.spans.push(kept);
    }
}

impl Heard {
    /// Sends everything below `scope`'s span, under ids of its own.
    fn play(&self, scope: &Scope) {
        // One number changes all ids of a play, so that children still name their parents.
        let salt = random();
        let renamed = |id: u64| (id ^ salt).max(1);
        for kept in &self.spans {
            let attributes: Vec<(&'static str, Value<'_>)> = kept
                .attributes
                .iter()
                .map(|(name, value)| {
                    let value = match value {
                        Owned::Str(text) => Value::Str(text),
                        Owned::Int(value) => Value::Int(*value),
                        Owned::Float(value) => Value::Float(*value),
                        Owned::Bool(value) => Value::Bool(*value),
                    };
                    (*name, value)
                })
                .collect();
            let parent = match kept.parent {
                Some(parent) if parent != self.root => renamed(parent),
                _ => scope.context().span_id(),
            };
            scope.sink().span(&Span {
                context: scope.context().child(|| renamed(kept.id)),
                parent: Some(parent),
                kind: kept.kind,
                name: &kept.name,
                began_unix_ns: kept.began_unix_ns,
                took_ns: kept.took_ns,
                error: kept.error.as_deref(),
                attributes: &attributes,
                links: &kept.links,
            });
        }
    }
}

#[cfg(test)]
mod tests;
