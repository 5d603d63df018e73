//! A job and its way back: the closure, the caller's channel, the span it belongs to.

use std::panic::{AssertUnwindSafe, catch_unwind};

use tokio::sync::oneshot;

use super::conn::Conn;
use super::span::{JobSpan, Settled};
use crate::Error;

/// A job of any result type, as the threads see it.
pub(super) trait Job: Send {
    /// Whether somebody still waits for the answer.
    fn wanted(&self) -> bool;
    /// Runs the closure; an error (the caller gets the same) asks for a rollback of what it did. Never
    /// panics.
    fn run(&mut self, conn: &Conn) -> Result<(), Error>;
    /// Sends the answer: the closure's own, or `failure` when its transaction was lost.
    fn answer(self: Box<Self>, failure: Option<Error>, settled: Settled);
}

/// An answer, and the span that the caller sends when it has it.
pub(super) struct Answer<T> {
    pub(super) outcome: Result<T, Error>,
    span: Option<Box<JobSpan>>,
}

impl<T> Answer<T> {
    /// The outcome; the span is sent first, so that a caller who has its answer is in its trace.
    pub(super) fn told(self) -> Result<T, Error> {
        drop(self.span);
        self.outcome
    }
}

pub(super) struct Typed<T, F> {
    op: &'static str,
    span: Option<Box<JobSpan>>,
    closure: Option<F>,
    outcome: Option<Result<T, Error>>,
    reply: oneshot::Sender<Answer<T>>,
}

impl<T, F> Typed<T, F>
where
    T: Send + 'static,
    F: FnOnce(&Conn) -> Result<T, Error> + Send + 'static,
{
    /// A job of the caller's own trace. `verb` is `read` or `write`.
    pub(super) fn new(
        verb: &'static str,
        op: &'static str,
        closure: F,
    ) -> (Self, oneshot::Receiver<Answer<T>>) {
        let (reply, answer) = oneshot::channel();
        let job = Self {
            op,
            span: JobSpan::here(verb, op),
            closure: Some(closure),
            outcome: None,
            reply,
        };
        (job, answer)
    }

    fn call(op: &'static str, closure: F, conn: &Conn) -> Result<T, Error> {
        catch_unwind(AssertUnwindSafe(|| closure(conn))).unwrap_or_else(|panic| {
            let said = panic
                .downcast_ref::<&str>()
                .map(|text| (*text).to_owned())
                .or_else(|| panic.downcast_ref::<String>().cloned())
                .unwrap_or_default();
            Err(Error::bug(format!("the job `{op}` panicked: {said}")))
        })
    }
}

impl<T, F> Job for Typed<T, F>
where
    T: Send + 'static,
    F: FnOnce(&Conn) -> Result<T, Error> + Send + 'static,
{
    fn wanted(&self) -> bool {
        !self.reply.is_closed()
    }

    fn run(&mut self, conn: &Conn) -> Result<(), Error> {
        let closure = self.closure.take().expect("a job is run once");
        let op = self.op;
        let outcome = match &mut self.span {
            None => conn.noted(|conn| Self::call(op, closure, conn)).0,
            Some(span) => {
                let scope = span.started();
                let (outcome, ran, beyond) = conn.noted(|conn| scope.enter(|| Self::call(op, closure, conn)));
                span.ran(ran, beyond);
                outcome
            }
        };
        let done = outcome.as_ref().map(|_| ()).map_err(Clone::clone);
        self.outcome = Some(outcome);
        done
    }

    fn answer(self: Box<Self>, failure: Option<Error>, settled: Settled) {
        let outcome = match (self.outcome, failure) {
            // A job that failed by itself keeps its own reason.
            (Some(Err(own)), _) => Err(own),
            (_, Some(failure)) => Err(failure),
            (Some(Ok(value)), None) => Ok(value),
            (None, None) => Err(Error::bug("a job was answered before it ran")),
        };
        let mut span = self.span;
        if let Some(span) = &mut span {
            span.settled(settled, outcome.as_ref().err().map(Error::code));
        }
        // The caller may have gone; the work stands all the same.
        let _ = self.reply.send(Answer { outcome, span });
    }
}
