//! Spans, and where they go: what every layer that does work emits, whoever collects it.
//!
//! It stands below all layers because the store, the engines and the edges emit spans, and none of them
//! may know another. It refuses to know how spans are kept or sent: that is the [`TelemetrySink`]'s
//! matter. A [`Scope`] says in which span the current work happens; it follows a future from thread to
//! thread and is handed to threads by value, so that a statement deep in the store finds its request.
//!
//! Names and attributes follow the OpenTelemetry semantic conventions (1.37) where those have one.

use std::cell::RefCell;
use std::fmt;
use std::future::{Future, poll_fn};
use std::sync::Arc;

use crate::clock;
use crate::trace::TraceContext;

/// A span's part in a conversation, with OTLP's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum SpanKind {
    /// Work inside one process.
    Internal = 1,
    /// The answering side of a call.
    Server = 2,
    /// The asking side of a call: a database statement, for one.
    Client = 3,
    /// A message was handed over.
    Producer = 4,
    /// A message took effect.
    Consumer = 5,
}

/// The value of a span's attribute.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    Str(&'a str),
    Int(i64),
    Float(f64),
    Bool(bool),
}

/// An attribute: its name, and its value.
pub type Attribute<'a> = (&'static str, Value<'a>);

/// One finished piece of work.
#[derive(Debug, Clone, Copy)]
pub struct Span<'a> {
    /// The span's own place in its trace.
    pub context: TraceContext,
    /// The id of the span above it. Absent: it is the trace's first.
    pub parent: Option<u64>,
    pub kind: SpanKind,
    /// Bounded in number: a route's template, an operation; never a path or an id.
    pub name: &'a str,
    /// When it began, in nanoseconds since the Unix epoch.
    pub began_unix_ns: u64,
    pub took_ns: u64,
    /// Why it failed, if it did; without anything that a user sent.
    pub error: Option<&'a str>,
    pub attributes: &'a [Attribute<'a>],
    /// Spans that it belongs to besides its parent: the many requests of one batch.
    pub links: &'a [TraceContext],
}

/// Where finished spans go.
///
/// It is called on the data path: it must not block, must not fail, and bounds what it keeps.
pub trait TelemetrySink: Send + Sync + fmt::Debug {
    /// Takes one finished span.
    fn span(&self, span: &Span<'_>);
}

/// The span in which the current work happens, and where spans below it go. Cheap to clone.
///
/// It exists only for traces that somebody records: no scope, no work.
#[derive(Debug, Clone)]
pub struct Scope {
    context: TraceContext,
    sink: Arc<dyn TelemetrySink>,
}

thread_local! {
    static CURRENT: RefCell<Option<Scope>> = const { RefCell::new(None) };
}

/// Puts the scope before back, also when the work panics.
struct Restore(Option<Scope>);

impl Drop for Restore {
    fn drop(&mut self) {
        let before = self.0.take();
        CURRENT.with(|current| drop(current.replace(before)));
    }
}

impl Scope {
    /// The scope of the span `context`; `None` when its trace is not recorded.
    #[must_use]
    pub fn new(context: TraceContext, sink: &Arc<dyn TelemetrySink>) -> Option<Self> {
        context.sampled().then(|| Self {
            context,
            sink: Arc::clone(sink),
        })
    }

    /// The scope of whatever runs on this thread now.
    #[must_use]
    pub fn current() -> Option<Self> {
        CURRENT.with(|current| current.borrow().clone())
    }

    /// The span that work in this scope stands below.
    #[must_use]
    pub fn context(&self) -> TraceContext {
        self.context
    }

    /// Where spans of this trace go.
    #[must_use]
    pub fn sink(&self) -> &Arc<dyn TelemetrySink> {
        &self.sink
    }

    /// Runs `work` in this scope.
    pub fn enter<R>(&self, work: impl FnOnce() -> R) -> R {
        let _restore = Restore(CURRENT.with(|current| current.replace(Some(self.clone()))));
        work()
    }

    /// Runs `work` in this scope, on whichever threads it is polled.
    ///
    /// The work is boxed: an async function would hold it twice, as its argument and where it is pinned, and
    /// futures around it would grow with every layer that does so.
    pub fn run<F: Future>(self, work: F) -> impl Future<Output = F::Output> {
        let mut work = Box::pin(work);
        poll_fn(move |cx| self.enter(|| work.as_mut().poll(cx)))
    }

    /// Begins a span below this one. `random` gives 64 random bits.
    #[must_use]
    pub fn begin(&self, kind: SpanKind, random: impl FnMut() -> u64) -> OpenSpan {
        OpenSpan {
            scope: Self {
                context: self.context.child(random),
                sink: Arc::clone(&self.sink),
            },
            parent: Some(self.context.span_id()),
            kind,
            began_unix_ns: clock::unix_ns(),
            began_ns: clock::monotonic_ns(),
        }
    }
}

/// A span that has begun. Nothing is recorded before it is [finished](OpenSpan::finish).
#[derive(Debug)]
pub struct OpenSpan {
    scope: Scope,
    parent: Option<u64>,
    kind: SpanKind,
    began_unix_ns: u64,
    began_ns: u64,
}

impl OpenSpan {
    /// Begins the span `scope` itself, below `parent` in another process; `None` for a trace's first.
    #[must_use]
    pub fn root(scope: Scope, parent: Option<u64>, kind: SpanKind) -> Self {
        Self {
            scope,
            parent,
            kind,
            began_unix_ns: clock::unix_ns(),
            began_ns: clock::monotonic_ns(),
        }
    }

    /// The scope for work below this span.
    #[must_use]
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Records the span as it ends now.
    pub fn finish(self, name: &str, error: Option<&str>, attributes: &[Attribute<'_>]) {
        self.finish_linked(name, error, attributes, &[]);
    }

    /// As [`Self::finish`], for work that many requests share.
    pub fn finish_linked(
        self,
        name: &str,
        error: Option<&str>,
        attributes: &[Attribute<'_>],
        links: &[TraceContext],
    ) {
        self.scope.sink.span(&Span {
            context: self.scope.context,
            parent: self.parent,
            kind: self.kind,
            name,
            began_unix_ns: self.began_unix_ns,
            took_ns: clock::monotonic_ns().saturating_sub(self.began_ns),
            error,
            attributes,
            links,
        });
    }
}

#[cfg(test)]
mod tests;
