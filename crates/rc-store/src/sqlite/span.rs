//! The span of one job, from the moment it waits to its commit, with its statements below it.

use rc_model::clock::{monotonic_ns, unix_ns};
use rc_model::telemetry::{Scope, Span, SpanKind, Value};

use crate::trace::{CANCELLED, Ran, int, ms, random};

/// How a job's transaction ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct Settled {
    /// Jobs that shared the commit.
    pub(super) jobs: usize,
    /// When the commit began, if it came to that: where the wait for the disk is.
    pub(super) commit_ns: Option<u64>,
    pub(super) ended_ns: u64,
}

impl Settled {
    /// Ends now, for a job that was alone.
    pub(super) fn now() -> Self {
        Self {
            jobs: 1,
            commit_ns: None,
            ended_ns: monotonic_ns(),
        }
    }
}

/// A job that somebody traces. It travels with the job, and with the answer back to the caller, who sends
/// it: the writer thread has better things to do. Dropped on the way, it is sent all the same.
#[derive(Debug)]
pub(super) struct JobSpan {
    /// `write` or `read`.
    verb: &'static str,
    op: &'static str,
    scope: Scope,
    parent: u64,
    began_unix_ns: u64,
    queued_ns: u64,
    started_ns: Option<u64>,
    settled: Option<Settled>,
    error: Option<&'static str>,
    ran: Vec<Ran>,
    beyond: u64,
}

impl JobSpan {
    /// The span of a job that begins to wait now; `None` when nobody traces its caller.
    pub(super) fn here(verb: &'static str, op: &'static str) -> Option<Box<Self>> {
        let caller = Scope::current()?;
        let parent = caller.context();
        Some(Box::new(Self {
            verb,
            op,
            scope: Scope::new(parent.child(random), caller.sink())?,
            parent: parent.span_id(),
            began_unix_ns: unix_ns(),
            queued_ns: monotonic_ns(),
            started_ns: None,
            settled: None,
            error: None,
            ran: Vec::new(),
            beyond: 0,
        }))
    }

    /// The scope in which the job runs.
    pub(super) fn started(&mut self) -> Scope {
        self.started_ns = Some(monotonic_ns());
        self.scope.clone()
    }

    /// What it ran.
    pub(super) fn ran(&mut self, ran: Vec<Ran>, beyond: u64) {
        (self.ran, self.beyond) = (ran, beyond);
    }

    /// How it ended.
    pub(super) fn settled(&mut self, settled: Settled, error: Option<&'static str>) {
        self.settled = Some(settled);
        self.error = error;
    }
}

impl Drop for JobSpan {
    fn drop(&mut self) {
        let unix = |ns: u64| {
            self.began_unix_ns
                .saturating_add(ns.saturating_sub(self.queued_ns))
        };
        for ran in &self.ran {
            ran.emit(&self.scope, unix);
        }
        // Without an end nobody answered it: the caller left, or the store closed.
        let (settled, error) = match self.settled {
            Some(settled) => (settled, self.error),
            None => (Settled::now(), Some(CANCELLED)),
        };
        if let Some(commit_ns) = settled.commit_ns {
            self.scope.sink().span(&Span {
                context: self.scope.context().child(random),
                parent: Some(self.scope.context().span_id()),
                kind: SpanKind::Client,
                name: "COMMIT",
                began_unix_ns: unix(commit_ns),
                took_ns: settled.ended_ns.saturating_sub(commit_ns),
                error: None,
                attributes: &[("db.system.name", Value::Str("sqlite"))],
                links: &[],
            });
        }
        let waited_ns = self
            .started_ns
            .unwrap_or(settled.ended_ns)
            .saturating_sub(self.queued_ns);
        let mut attributes = [
            ("db.system.name", Value::Str("sqlite")),
            ("db.operation.name", Value::Str(self.op)),
            ("rc.queue_ms", Value::Float(ms(waited_ns))),
            ("rc.group_jobs", int(settled.jobs as u64)),
            ("", Value::Bool(false)),
            ("", Value::Bool(false)),
        ];
        let mut used = 4;
        if self.beyond > 0 {
            attributes[used] = ("rc.statements_beyond", int(self.beyond));
            used += 1;
        }
        if let Some(error) = error {
            attributes[used] = ("error.type", Value::Str(error));
            used += 1;
        }
        self.scope.sink().span(&Span {
            context: self.scope.context(),
            parent: Some(self.parent),
            kind: SpanKind::Client,
            name: &format!("sqlite {} {}", self.verb, self.op),
            began_unix_ns: self.began_unix_ns,
            took_ns: settled.ended_ns.saturating_sub(self.queued_ns),
            error,
            attributes: &attributes[..used],
            links: &[],
        });
    }
}

#[cfg(test)]
mod tests;
