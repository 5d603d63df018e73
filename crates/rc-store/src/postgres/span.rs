//! The span of one call to the server.

use std::sync::Arc;
use std::time::Duration;

use rc_model::clock::monotonic_ns;
use rc_model::telemetry::{OpenSpan, Scope, SpanKind, Value};

use crate::Error;
use crate::trace::{CANCELLED, Ended, Known, Shapes, int, ms, random};

/// A call, in the store's profile and in the trace of its caller. Dropped before its end, it was given up, and
/// both say so.
pub(super) struct Call {
    /// `None` once it was told.
    open: Option<Open>,
    known: Arc<Known>,
    /// How long the pool let a transaction wait for its connection.
    waited: Option<Duration>,
}

/// What a call that has not ended is measured by.
struct Open {
    began_ns: u64,
    /// `None` when nobody traces the caller.
    span: Option<OpenSpan>,
}

impl Call {
    /// The call of `sql` that begins now.
    pub(super) fn here(shapes: &Shapes, sql: &str) -> Self {
        let open = Open {
            began_ns: monotonic_ns(),
            span: Scope::current().map(|scope| scope.begin(SpanKind::Client, random)),
        };
        Self {
            open: Some(open),
            known: shapes.get(sql),
            waited: None,
        }
    }

    /// The begin of a transaction, whose connection was waited for.
    pub(super) fn beginning(shapes: &Shapes, waited: Duration) -> Self {
        let mut call = Self::here(shapes, "BEGIN");
        call.waited = Some(waited);
        call
    }

    /// Tells how it ended. `rows`: how many came, when it asked for some.
    pub(super) fn ended<T>(
        mut self,
        outcome: Result<T, Error>,
        rows: impl FnOnce(&T) -> Option<usize>,
    ) -> Result<T, Error> {
        match &outcome {
            Ok(value) => self.tell(None, rows(value)),
            Err(error) => self.tell(Some(error.code()), None),
        }
        outcome
    }

    fn tell(&mut self, error: Option<&'static str>, rows: Option<usize>) {
        let Some(open) = self.open.take() else { return };
        self.known.tally.add(&Ended {
            timed: Some((1, monotonic_ns().saturating_sub(open.began_ns))),
            rows: rows.unwrap_or(0) as u64,
            asked: rows.is_some(),
            error,
        });
        let Some(span) = open.span else { return };
        let mut attributes = [("", Value::Bool(false)); 6];
        let mut used = 0;
        let mut put = |name: &'static str, value| {
            attributes[used] = (name, value);
            used += 1;
        };
        put("db.system.name", Value::Str("postgresql"));
        put("db.query.text", Value::Str(&self.known.shape.text));
        put("db.query.summary", Value::Str(&self.known.shape.name));
        if let Some(waited) = self.waited {
            let ns = u64::try_from(waited.as_nanos()).unwrap_or(u64::MAX);
            put("rc.queue_ms", Value::Float(ms(ns)));
        }
        if let Some(rows) = rows {
            put("db.response.returned_rows", int(rows as u64));
        }
        if let Some(error) = error {
            put("error.type", Value::Str(error));
        }
        span.finish(&self.known.shape.name, error, &attributes[..used]);
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.tell(Some(CANCELLED), None);
    }
}

#[cfg(test)]
mod tests;
