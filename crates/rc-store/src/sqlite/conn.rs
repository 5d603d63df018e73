//! A connection that knows which statements run on it.
//!
//! Jobs get no other: whatever they run is in the store's profile, and in the trace of the request they run
//! for. SQLite's own trace hook would see them too, but it costs each statement two calls back and two looks at
//! a clock of milliseconds, tells the inner statements of FTS5, which name the tenant, and has to be put on and
//! taken off around each job. A wrapper costs two looks at a better clock, for many runs of one text in some of
//! them only, and knows the text in which the tenant's name is still a placeholder.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use rc_model::clock::monotonic_ns;
use rusqlite::{CachedStatement, Connection, Params, Row, ToSql};

use crate::error::sqlite_code;
use crate::trace::{Ended, Log, Ran, Shapes};

/// A connection inside a transaction, as jobs see it. Runs statements; the transaction is not the job's.
pub struct Conn {
    inner: Connection,
    shapes: Arc<Shapes>,
    /// Whether a job runs, so that its statements are noted; what the threads run around jobs is not.
    noting: Cell<bool>,
    log: RefCell<Log>,
}

impl std::fmt::Debug for Conn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Conn").finish_non_exhaustive()
    }
}

impl From<Connection> for Conn {
    fn from(inner: Connection) -> Self {
        Self::new(inner, Arc::default())
    }
}

impl Conn {
    pub(super) fn new(inner: Connection, shapes: Arc<Shapes>) -> Self {
        Self {
            inner,
            shapes,
            noting: Cell::new(false),
            log: RefCell::default(),
        }
    }

    /// The connection itself, for what belongs to no job.
    pub(crate) fn inner(&self) -> &Connection {
        &self.inner
    }

    /// Runs `job` and returns with its outcome what it ran, and how many runs are not among that.
    pub(super) fn noted<T>(&self, job: impl FnOnce(&Self) -> T) -> (T, Vec<Ran>, u64) {
        self.noting.set(true);
        let outcome = job(self);
        self.noting.set(false);
        let (ran, beyond) = self.log.borrow_mut().take();
        (outcome, ran, beyond)
    }

    /// Prepares a statement, or takes it from those that were prepared before.
    ///
    /// # Errors
    /// As SQLite says.
    pub fn prepare_cached(&self, sql: &str) -> rusqlite::Result<Statement<'_>> {
        self.prepare_as(sql, sql)
    }

    /// As [`Self::prepare_cached`]; spans show `shown` instead.
    pub(crate) fn prepare_as(&self, sql: &str, shown: &str) -> rusqlite::Result<Statement<'_>> {
        Ok(Statement {
            inner: self.inner.prepare_cached(sql)?,
            trace: self.trace(shown),
        })
    }

    /// Runs one statement; the number of changed rows.
    ///
    /// # Errors
    /// As SQLite says.
    pub fn execute<P: Params>(&self, sql: &str, params: P) -> rusqlite::Result<usize> {
        let mut run = self.trace(sql).begin();
        run.told(self.inner.execute(sql, params))
    }

    /// The first row of a query.
    ///
    /// # Errors
    /// [`rusqlite::Error::QueryReturnedNoRows`] when there is none; as SQLite or `map` says.
    pub fn query_row<T, P, F>(&self, sql: &str, params: P, map: F) -> rusqlite::Result<T>
    where
        P: Params,
        F: FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    {
        let mut run = self.trace(sql).begin();
        run.one_row(self.inner.query_row(sql, params, map))
    }

    /// Runs several statements without parameters.
    ///
    /// # Errors
    /// As SQLite says.
    pub fn execute_batch(&self, sql: &str) -> rusqlite::Result<()> {
        let mut run = self.trace(sql).begin();
        run.told(self.inner.execute_batch(sql))
    }

    /// Rows that this connection changed since it was opened.
    #[must_use]
    pub fn total_changes(&self) -> u64 {
        self.inner.total_changes()
    }

    /// The number of the row that was inserted last.
    #[must_use]
    pub fn last_insert_rowid(&self) -> i64 {
        self.inner.last_insert_rowid()
    }

    /// The place of `shown` among what is noted.
    pub(crate) fn trace(&self, shown: &str) -> Trace<'_> {
        if !self.noting.get() {
            return Trace(None);
        }
        let mut log = self.log.borrow_mut();
        match log.slot(shown, &self.shapes) {
            Some(slot) => Trace(Some((self, slot))),
            None => {
                log.beyond();
                Trace(None)
            }
        }
    }
}

/// Where runs of one statement are noted; nowhere outside a job, or beyond what a job may note.
#[derive(Clone, Copy)]
pub(crate) struct Trace<'c>(Option<(&'c Conn, usize)>);

impl<'c> Trace<'c> {
    /// A run begins.
    pub(crate) fn begin(self) -> Run<'c> {
        let timed = self.0.and_then(|(conn, slot)| conn.log.borrow_mut().begin(slot));
        Run {
            trace: self,
            timed,
            rows: 0,
            asked: false,
            error: None,
        }
    }
}

/// One run; noted when it is dropped.
pub(crate) struct Run<'c> {
    trace: Trace<'c>,
    /// How many runs its time stands for, and when it began.
    timed: Option<(u64, u64)>,
    rows: u64,
    asked: bool,
    error: Option<&'static str>,
}

impl Run<'_> {
    /// Remembers a failure.
    pub(crate) fn told<T>(&mut self, outcome: rusqlite::Result<T>) -> rusqlite::Result<T> {
        if let Err(error) = &outcome
            && self.trace.0.is_some()
        {
            self.error = sqlite_code(error);
        }
        outcome
    }

    /// Remembers that this was a query for one row.
    pub(crate) fn one_row<T>(&mut self, outcome: rusqlite::Result<T>) -> rusqlite::Result<T> {
        self.asked = true;
        self.rows += u64::from(outcome.is_ok());
        self.told(outcome)
    }
}

impl Drop for Run<'_> {
    fn drop(&mut self) {
        let Some((conn, slot)) = self.trace.0 else { return };
        let timed = self
            .timed
            .map(|(weight, began_ns)| (weight, monotonic_ns().saturating_sub(began_ns)));
        let ended = Ended {
            timed,
            rows: self.rows,
            asked: self.asked,
            error: self.error,
        };
        conn.log.borrow_mut().end(slot, ended);
    }
}

/// A prepared statement.
pub struct Statement<'c> {
    inner: CachedStatement<'c>,
    trace: Trace<'c>,
}

impl std::fmt::Debug for Statement<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Statement").finish_non_exhaustive()
    }
}

impl Statement<'_> {
    /// Runs it; the number of changed rows.
    ///
    /// # Errors
    /// As SQLite says.
    pub fn execute<P: Params>(&mut self, params: P) -> rusqlite::Result<usize> {
        let mut run = self.trace.begin();
        run.told(self.inner.execute(params))
    }

    /// The first row.
    ///
    /// # Errors
    /// [`rusqlite::Error::QueryReturnedNoRows`] when there is none; as SQLite or `map` says.
    pub fn query_row<T, P, F>(&mut self, params: P, map: F) -> rusqlite::Result<T>
    where
        P: Params,
        F: FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    {
        let mut run = self.trace.begin();
        run.one_row(self.inner.query_row(params, map))
    }

    /// The rows, one after another.
    ///
    /// # Errors
    /// As SQLite says.
    pub fn query<P: Params>(&mut self, params: P) -> rusqlite::Result<Rows<'_>> {
        let mut run = self.trace.begin();
        let inner = run.told(self.inner.query(params))?;
        Ok(Rows::new(inner, run))
    }

    /// What `map` makes of the rows, one after another.
    ///
    /// # Errors
    /// As SQLite says.
    pub fn query_map<T, P, F>(&mut self, params: P, map: F) -> rusqlite::Result<Mapped<'_, F>>
    where
        P: Params,
        F: FnMut(&Row<'_>) -> rusqlite::Result<T>,
    {
        let rows = self.query(params)?;
        Ok(Mapped { rows, map })
    }

    pub(crate) fn parameter_count(&self) -> usize {
        self.inner.parameter_count()
    }

    pub(crate) fn bind<V: ToSql>(&mut self, index: usize, value: V) -> rusqlite::Result<()> {
        self.inner.raw_bind_parameter(index, value)
    }

    /// Runs it with what was bound.
    pub(crate) fn execute_bound(&mut self) -> rusqlite::Result<usize> {
        let mut run = self.trace.begin();
        run.told(self.inner.raw_execute())
    }

    /// Asks it with what was bound.
    pub(crate) fn query_bound(&mut self) -> Rows<'_> {
        let run = self.trace.begin();
        Rows::new(self.inner.raw_query(), run)
    }
}

/// The rows of a query.
pub struct Rows<'s> {
    inner: rusqlite::Rows<'s>,
    run: Run<'s>,
}

impl std::fmt::Debug for Rows<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rows").finish_non_exhaustive()
    }
}

impl<'s> Rows<'s> {
    fn new(inner: rusqlite::Rows<'s>, mut run: Run<'s>) -> Self {
        run.asked = true;
        Self { inner, run }
    }

    /// The next row; `None` behind the last.
    ///
    /// # Errors
    /// As SQLite says.
    #[expect(
        clippy::should_implement_trait,
        reason = "named as in rusqlite; a row lives only until the next, which no iterator can say"
    )]
    pub fn next(&mut self) -> rusqlite::Result<Option<&Row<'s>>> {
        let row = self.run.told(self.inner.next())?;
        self.run.rows += u64::from(row.is_some());
        Ok(row)
    }
}

/// The rows of a query as something else.
pub struct Mapped<'s, F> {
    rows: Rows<'s>,
    map: F,
}

impl<F> std::fmt::Debug for Mapped<'_, F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mapped").finish_non_exhaustive()
    }
}

impl<T, F> Iterator for Mapped<'_, F>
where
    F: FnMut(&Row<'_>) -> rusqlite::Result<T>,
{
    type Item = rusqlite::Result<T>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.rows.next() {
            Ok(Some(row)) => Some((self.map)(row)),
            Ok(None) => None,
            Err(error) => Some(Err(error)),
        }
    }
}
