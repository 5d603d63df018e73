//! Entries that wait for the ledger, in the store of the service that acted.
//!
//! A row is written in the transaction of the act it tells of: both are there or neither is. Its number is
//! taken under the lock of the source's one row, which the transaction holds until its end, so that numbers
//! have no gaps: one that is rolled back is given again.

pub mod postgres;
pub mod sqlite;

use std::sync::Arc;

use rc_model::Timestamp;
use rc_store::{Error, MigrationReport, Postgres, Sqlite};
use tokio::sync::Notify;

use super::rejoin::Behind;
use super::seal::{Draft, Row};

/// Entries that may wait before acts are refused. A key creation an hour for a year is 8,760.
pub const ACTS_WAIT_MAX: u64 = 10_000;
/// Facts (a service crashed) cannot be refused, so they have more room than acts.
pub const FACTS_WAIT_MAX: u64 = 20_000;
/// The code of [`Full`].
pub const FULL_CODE: &str = "RC-LED-020";

/// The outbox has no room. It travels in [`rc_store::ErrorKind::Aborted`]; the act did not happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{waiting} entries wait for the ledger, and no more than {max} may")]
pub struct Full {
    pub waiting: u64,
    pub max: u64,
}

/// Whether what is recorded can still be refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// An act, which does not happen when it cannot be recorded.
    Act,
    /// A fact, which has happened already.
    Fact,
}

impl Room {
    /// Whether `waiting` entries, the new ones among them, may wait.
    fn check(self, waiting: u64) -> Result<(), Error> {
        let max = match self {
            Self::Act => ACTS_WAIT_MAX,
            Self::Fact => FACTS_WAIT_MAX,
        };
        if waiting > max {
            return Err(Error::abort(Full { waiting, max }));
        }
        Ok(())
    }
}

/// What waits.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Waiting {
    /// Whose entries: `<service>/<32 hex digits>`.
    pub source: String,
    /// The number of the newest entry, whether it waits or not; 0 before the first one.
    pub newest: u64,
    pub rows: u64,
    /// When the oldest of them happened.
    pub oldest: Option<Timestamp>,
}

/// The next rows of one source, without a gap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// `<service>/<32 hex digits>`
    pub source: String,
    /// In the order of their numbers; may be empty.
    pub rows: Vec<Row>,
}

/// How many rows, and how many bytes of them, one batch may hold. One row is always taken.
#[derive(Debug, Clone, Copy)]
pub struct Limit {
    pub rows: usize,
    pub bytes: usize,
}

/// Everything that waits; its number is bounded by [`FACTS_WAIT_MAX`].
const ALL: Limit = Limit {
    rows: usize::MAX,
    bytes: usize::MAX,
};

#[derive(Debug, Clone)]
enum Store {
    Sqlite(Sqlite),
    Postgres(Postgres),
}

/// The outbox of one service. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Outbox {
    store: Store,
    service: &'static str,
    /// Told after each commit that added rows.
    added: Arc<Notify>,
}

impl Outbox {
    /// The outbox of `service` in its SQLite file.
    #[must_use]
    pub fn sqlite(db: Sqlite, service: &'static str) -> Self {
        Self::over(Store::Sqlite(db), service)
    }

    /// The outbox of `service` in its PostgreSQL schema.
    #[must_use]
    pub fn postgres(db: Postgres, service: &'static str) -> Self {
        Self::over(Store::Postgres(db), service)
    }

    fn over(store: Store, service: &'static str) -> Self {
        Self {
            store,
            service,
            added: Arc::default(),
        }
    }

    /// Brings the outbox's tables to what this binary needs.
    ///
    /// # Errors
    /// What the store says.
    pub async fn migrate(&self) -> Result<MigrationReport, Error> {
        match &self.store {
            Store::Sqlite(db) => db.migrate(&sqlite::MIGRATIONS).await,
            Store::Postgres(db) => db.migrate(&postgres::MIGRATIONS).await,
        }
    }

    /// How many migrations the tables lack.
    ///
    /// # Errors
    /// What the store says.
    pub async fn pending_migrations(&self) -> Result<usize, Error> {
        let status = match &self.store {
            Store::Sqlite(db) => db.migration_status(&sqlite::MIGRATIONS).await?,
            Store::Postgres(db) => db.migration_status(&postgres::MIGRATIONS).await?,
        };
        Ok(status.pending.len())
    }

    /// Whose entries these are.
    #[must_use]
    pub fn service(&self) -> &'static str {
        self.service
    }

    /// Records what is not an act on this store, in a transaction of its own.
    ///
    /// # Errors
    /// [`Full`] inside the store's error, and what the store says: nothing was recorded then.
    pub async fn record(&self, drafts: Vec<Draft>, room: Room) -> Result<(), Error> {
        let service = self.service;
        match &self.store {
            Store::Sqlite(db) => {
                db.write("audit.record", move |conn| {
                    sqlite::append(conn, service, &drafts, room)
                })
                .await?;
            }
            Store::Postgres(db) => {
                let mut client = db.client().await?;
                let tx = client.system().await?;
                postgres::append(&tx, service, &drafts, room).await?;
                tx.commit().await?;
            }
        }
        self.added();
        Ok(())
    }

    /// Wakes the sender: a transaction that appended has been committed.
    pub fn added(&self) {
        self.added.notify_one();
    }

    /// Resolves after [`Self::added`] was called; at once when it was called since the last time.
    pub(super) async fn wait_added(&self) {
        self.added.notified().await;
    }

    /// The rows that wait, oldest first.
    ///
    /// # Errors
    /// What the store says.
    pub async fn next(&self, limit: Limit) -> Result<Batch, Error> {
        match &self.store {
            Store::Sqlite(db) => sqlite::next(db, self.service, limit).await,
            Store::Postgres(db) => postgres::next(db, self.service, limit).await,
        }
    }

    /// Forgets the rows up to number `seq`: the ledger has them.
    ///
    /// # Errors
    /// What the store says. The rows are then sent again, which the ledger notices.
    pub async fn delivered(&self, seq: u64) -> Result<(), Error> {
        match &self.store {
            Store::Sqlite(db) => sqlite::delivered(db, seq).await,
            Store::Postgres(db) => postgres::delivered(db, seq).await,
        }
    }

    /// Puts what waits behind the log, with `told` first. Used by [`Outbox::rejoin`].
    pub(super) async fn follow(&self, behind: Behind, told: Draft) -> Result<(), Error> {
        let service = self.service;
        match &self.store {
            Store::Sqlite(db) => {
                let follow = move |conn: &rc_store::Conn| sqlite::follow(conn, service, &behind, &told);
                db.write("audit.rejoin", follow).await?;
            }
            Store::Postgres(db) => postgres::follow(db, service, &behind, &told).await?,
        }
        self.added();
        Ok(())
    }

    /// How much waits.
    ///
    /// # Errors
    /// What the store says.
    pub async fn waiting(&self) -> Result<Waiting, Error> {
        match &self.store {
            Store::Sqlite(db) => sqlite::waiting(db, self.service).await,
            Store::Postgres(db) => postgres::waiting(db, self.service).await,
        }
    }

    /// What was recorded last, whether the ledger has it or not.
    ///
    /// # Errors
    /// What the store says.
    pub async fn last_action(&self) -> Result<Option<String>, Error> {
        match &self.store {
            Store::Sqlite(db) => sqlite::last_action(db).await,
            Store::Postgres(db) => postgres::last_action(db).await,
        }
    }

    /// Gives the store back, where it is this outbox's own.
    pub async fn close(&self) {
        match &self.store {
            Store::Sqlite(db) => db.close().await,
            Store::Postgres(db) => db.close(),
        }
    }
}

/// How many entries there are between the oldest that waits and the newest: numbers have no gaps.
fn distance(oldest: Option<i64>, newest: i64) -> u64 {
    oldest.map_or(0, |oldest| {
        newest
            .saturating_sub(oldest)
            .max(-1)
            .saturating_add(1)
            .cast_unsigned()
    })
}

fn number(seq: i64) -> u64 {
    seq.max(0).cast_unsigned()
}

fn damaged(what: &str) -> Error {
    Error::new(
        rc_store::ErrorKind::Corrupt,
        format!("the audit outbox is damaged: {what}"),
    )
}

/// Stops before the row that goes over the limit of bytes; the first row is always taken.
struct Filling {
    left: usize,
    rows: Vec<Row>,
}

impl Filling {
    fn new(limit: Limit) -> Self {
        Self {
            left: limit.bytes,
            rows: Vec::new(),
        }
    }

    /// `false` when `row` does not fit any more.
    fn take(&mut self, row: Row) -> bool {
        let bytes = row.bytes();
        if bytes > self.left && !self.rows.is_empty() {
            return false;
        }
        self.left = self.left.saturating_sub(bytes);
        self.rows.push(row);
        true
    }
}

#[cfg(test)]
pub(crate) mod tests;
