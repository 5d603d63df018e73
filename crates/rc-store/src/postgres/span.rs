//! The span of one call to the server.

use std::sync::Arc;
use std::time::Duration;

use rc_model::telemetry::{OpenSpan, Scope, SpanKind, Value};

use crate::Error;
use crate::trace::{CANCELLED, Shape, Shapes, int, ms, random};

/// A call that somebody traces. Dropped before its end, it was given up, and its span says so.
pub(super) struct Call {
    /// `None` once it was told.
    open: Option<OpenSpan>,
    shape: Arc<Shape>,
    /// How long the pool let a transaction wait for its connection.
    waited: Option<Duration>,
}

impl Call {
    /// The call of `sql` that begins now; `None` when nobody traces its caller.
    pub(super) fn here(shapes: &Shapes, sql: &str) -> Option<Self> {
        Scope::current().map(|scope| Self {
            open: Some(scope.begin(SpanKind::Client, random)),
            shape: shapes.get(sql),
            waited: None,
        })
    }

    /// The begin of a transaction, whose connection was waited for.
    pub(super) fn beginning(shapes: &Shapes, waited: Duration) -> Option<Self> {
        let mut call = Self::here(shapes, "BEGIN")?;
        call.waited = Some(waited);
        Some(call)
    }

    /// Tells how `call` ended. `rows`: how many came, when it asked for some.
    pub(super) fn ended<T>(
        call: Option<Self>,
        outcome: Result<T, Error>,
        rows: impl FnOnce(&T) -> Option<usize>,
    ) -> Result<T, Error> {
        if let Some(mut call) = call {
            match &outcome {
                Ok(value) => call.tell(None, rows(value)),
                Err(error) => call.tell(Some(error.code()), None),
            }
        }
        outcome
    }

    fn tell(&mut self, error: Option<&str>, rows: Option<usize>) {
        let Some(open) = self.open.take() else { return };
        let mut attributes = [("", Value::Bool(false)); 6];
        let mut used = 0;
        let mut put = |name: &'static str, value| {
            attributes[used] = (name, value);
            used += 1;
        };
        put("db.system.name", Value::Str("postgresql"));
        put("db.query.text", Value::Str(&self.shape.text));
        put("db.query.summary", Value::Str(&self.shape.name));
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
        open.finish(&self.shape.name, error, &attributes[..used]);
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.tell(Some(CANCELLED), None);
    }
}

#[cfg(test)]
mod tests;
