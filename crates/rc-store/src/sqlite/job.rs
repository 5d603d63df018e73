//! A job and its way back: the closure, the caller's channel, the span it belongs to.

use std::panic::{AssertUnwindSafe, catch_unwind};

use rusqlite::Connection;
use tokio::sync::oneshot;
use tracing::Span;

use crate::Error;

/// A job of any result type, as the threads see it.
pub(super) trait Job: Send {
    /// Whether somebody still waits for the answer.
    fn wanted(&self) -> bool;
    /// Runs the closure; an error (the caller gets the same) asks for a rollback of what it did. Never
    /// panics.
    fn run(&mut self, conn: &Connection) -> Result<(), Error>;
    /// Sends the answer: the closure's own, or `failure` when its transaction was lost.
    fn answer(self: Box<Self>, failure: Option<Error>);
}

pub(super) struct Typed<T, F> {
    op: &'static str,
    span: Span,
    queued_ns: u64,
    closure: Option<F>,
    outcome: Option<Result<T, Error>>,
    reply: oneshot::Sender<Result<T, Error>>,
}

impl<T, F> Typed<T, F>
where
    T: Send + 'static,
    F: FnOnce(&Connection) -> Result<T, Error> + Send + 'static,
{
    pub(super) fn new(op: &'static str, closure: F) -> (Self, oneshot::Receiver<Result<T, Error>>) {
        let (reply, answer) = oneshot::channel();
        let job = Self {
            op,
            // Made at the caller, so that the statement is a child of the request that asked for it.
            span: tracing::debug_span!("store", op),
            queued_ns: rc_model::clock::monotonic_ns(),
            closure: Some(closure),
            outcome: None,
            reply,
        };
        (job, answer)
    }
}

impl<T, F> Job for Typed<T, F>
where
    T: Send + 'static,
    F: FnOnce(&Connection) -> Result<T, Error> + Send + 'static,
{
    fn wanted(&self) -> bool {
        !self.reply.is_closed()
    }

    fn run(&mut self, conn: &Connection) -> Result<(), Error> {
        let closure = self.closure.take().expect("a job is run once");
        let _entered = self.span.enter();
        let started_ns = rc_model::clock::monotonic_ns();
        let outcome = catch_unwind(AssertUnwindSafe(|| closure(conn))).unwrap_or_else(|panic| {
            let said = panic
                .downcast_ref::<&str>()
                .map(|text| (*text).to_owned())
                .or_else(|| panic.downcast_ref::<String>().cloned())
                .unwrap_or_default();
            Err(Error::bug(format!("the job `{}` panicked: {said}", self.op)))
        });
        let ended_ns = rc_model::clock::monotonic_ns();
        tracing::trace!(
            op = self.op,
            waited_us = started_ns.saturating_sub(self.queued_ns) / 1_000,
            took_us = ended_ns.saturating_sub(started_ns) / 1_000,
            ok = outcome.is_ok(),
        );
        let done = outcome.as_ref().map(|_| ()).map_err(Clone::clone);
        self.outcome = Some(outcome);
        done
    }

    fn answer(self: Box<Self>, failure: Option<Error>) {
        let answer = match (self.outcome, failure) {
            // A job that failed by itself keeps its own reason.
            (Some(Err(own)), _) => Err(own),
            (_, Some(failure)) => Err(failure),
            (Some(Ok(value)), None) => Ok(value),
            (None, None) => Err(Error::bug("a job was answered before it ran")),
        };
        // The caller may have gone; the work stands all the same.
        let _ = self.reply.send(answer);
    }
}
