//! The statements of one job: one entry a text, however often it ran.
//!
//! A job of 500 documents runs some thousands of statements. A span for each would cost more than the
//! statement, so runs of one text are counted together, and of many runs only some are timed.

use std::sync::Arc;

use rc_model::TraceContext;
use rc_model::clock::monotonic_ns;
use rc_model::telemetry::{Scope, Span, SpanKind, Value};

use super::{Known, Shapes};

/// Different statements that one job shows; more are counted and not shown.
pub const STATEMENTS_MAX: usize = 32;

/// The first runs of a text are timed each: they include what is loaded and compiled.
const RUNS_TIMED: u64 = 16;

/// Of later runs each such one is timed and stands for its neighbours. Two looks at the clock cost about
/// 50 ns, which is one percent of a small statement; every eighth is far below that.
const RUNS_SKIPPED: u64 = 8;

/// All runs of one text.
#[derive(Debug)]
pub(crate) struct Ran {
    known: Arc<Known>,
    began_ns: u64,
    busy_ns: u64,
    runs: u64,
    rows: u64,
    /// It returned rows, be it none: a query.
    asked: bool,
    error: Option<&'static str>,
}

/// What a connection notes while a job runs.
#[derive(Debug, Default)]
pub(crate) struct Log {
    ran: Vec<Ran>,
    /// Runs of texts beyond [`STATEMENTS_MAX`].
    beyond: u64,
}

/// One run as it ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ended {
    /// How long it took, and how many runs it stands for; `None`: it was not timed.
    pub(crate) timed: Option<(u64, u64)>,
    pub(crate) rows: u64,
    pub(crate) asked: bool,
    pub(crate) error: Option<&'static str>,
}

impl Log {
    /// The entry of `sql`, made when it is new.
    pub(crate) fn slot(&mut self, sql: &str, shapes: &Shapes) -> Option<usize> {
        if let Some(slot) = self.ran.iter().position(|ran| *ran.known.source == *sql) {
            return Some(slot);
        }
        if self.ran.len() >= STATEMENTS_MAX {
            return None;
        }
        self.ran.push(Ran {
            known: shapes.get(sql),
            began_ns: 0,
            busy_ns: 0,
            runs: 0,
            rows: 0,
            asked: false,
            error: None,
        });
        Some(self.ran.len() - 1)
    }

    /// A run of a text without a place.
    pub(crate) fn beyond(&mut self) {
        self.beyond += 1;
    }

    /// A run begins: how many runs its time stands for, and when it began; `None` when it is not timed.
    pub(crate) fn begin(&mut self, slot: usize) -> Option<(u64, u64)> {
        let ran = &mut self.ran[slot];
        ran.runs += 1;
        let weight = match ran.runs {
            ..=RUNS_TIMED => 1,
            run if run.is_multiple_of(RUNS_SKIPPED) => RUNS_SKIPPED,
            _ => return None,
        };
        let now_ns = monotonic_ns();
        if ran.began_ns == 0 {
            ran.began_ns = now_ns;
        }
        Some((weight, now_ns))
    }

    pub(crate) fn end(&mut self, slot: usize, ended: Ended) {
        let ran = &mut self.ran[slot];
        ran.known.tally.add(&ended);
        if let Some((weight, took_ns)) = ended.timed {
            ran.busy_ns += took_ns * weight;
        }
        ran.rows += ended.rows;
        ran.asked |= ended.asked;
        ran.error = ran.error.or(ended.error);
    }

    /// What was noted, without the texts that never ran, and how many runs there were beyond it.
    pub(crate) fn take(&mut self) -> (Vec<Ran>, u64) {
        let mut ran = std::mem::take(&mut self.ran);
        ran.retain(|ran| ran.runs > 0);
        (ran, std::mem::take(&mut self.beyond))
    }
}

impl Ran {
    /// Sends the span: it begins with the first run and is as long as all runs together were. `unix_ns` turns
    /// the monotonic clock into the wall clock.
    pub(crate) fn emit(&self, below: &Scope, unix_ns: impl Fn(u64) -> u64) {
        let mut attributes = [("", Value::Bool(false)); 6];
        let mut used = 0;
        let mut put = |name: &'static str, value| {
            attributes[used] = (name, value);
            used += 1;
        };
        put("db.system.name", Value::Str("sqlite"));
        put("db.query.text", Value::Str(&self.known.shape.text));
        put("db.query.summary", Value::Str(&self.known.shape.name));
        if self.runs > 1 {
            put("db.operation.batch.size", int(self.runs));
        }
        if self.asked {
            put("db.response.returned_rows", int(self.rows));
        }
        if let Some(error) = self.error {
            put("error.type", Value::Str(error));
        }
        let parent: TraceContext = below.context();
        below.sink().span(&Span {
            context: parent.child(super::random),
            parent: Some(parent.span_id()),
            kind: SpanKind::Client,
            name: &self.known.shape.name,
            began_unix_ns: unix_ns(self.began_ns),
            took_ns: self.busy_ns,
            error: self.error,
            attributes: &attributes[..used],
            links: &[],
        });
    }
}

pub(crate) fn int(value: u64) -> Value<'static> {
    Value::Int(i64::try_from(value).unwrap_or(i64::MAX))
}
