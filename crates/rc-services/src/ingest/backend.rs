//! Everything behind the routes that can be there or not: the store, the bus, and the relay between them.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rc_events::letters::Letters;
use rc_events::outbox::postgres::PostgresSource;
use rc_events::outbox::sqlite::SqliteSource;
use rc_events::relay::ParkedLetters;
use rc_events::{Bus, Log, PostgresBus, Relay, RelayOptions, RelayStatus, Source, SqliteBus};
use rc_model::telemetry::TelemetrySink;
use rc_model::{Clock, Timestamp};
use rc_serve::Tree;
use rc_store::{Database, Error, ErrorKind, Migrations, Postgres, PostgresOptions, Sqlite, SqliteOptions};
use tokio::sync::watch;

use super::store::{IngestStore, PostgresIngestStore, SqliteIngestStore};
use super::{POSTGRES_SCHEMA, SQLITE_MIGRATIONS, postgres_migrations};
use crate::statements::Store;

/// The name of ingest's outbox on the bus.
pub(crate) const ORIGIN: &str = "ingest";

/// The write store's file in ingest's data folder.
const STORE_FILE: &str = "ingest.db";

/// The bus's file in ingest's data folder; consumers open it read-only.
pub(crate) const BUS_FILE: &str = "bus.db";

/// How often the end of the relay's work is looked for while the service stops.
const FLUSH_POLL: Duration = Duration::from_millis(10);

/// Makes a reader of the outbox.
type Another = Box<dyn Fn() -> Arc<dyn Source> + Send + Sync>;

/// An open store and what moves its events.
pub(crate) struct Backend {
    pub(crate) store: Arc<dyn IngestStore>,
    pub(crate) bus: Arc<dyn Bus>,
    source: Arc<dyn Source>,
    /// Makes a reader of the outbox that is not the relay's.
    another: Another,
    /// What readers ask for events that the bus does not have.
    pub(crate) log: Arc<dyn Log>,
    pub(crate) relay: watch::Receiver<RelayStatus>,
    /// What the bus refused.
    pub(crate) letters: Option<Arc<dyn Letters>>,
    /// What is behind all of these, to be looked at.
    pub(crate) databases: Vec<Store>,
    /// The bus's own handle, where it has a file to close.
    embedded: Option<Arc<SqliteBus>>,
}

impl std::fmt::Debug for Backend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Backend")
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}

/// Why a backend is not there.
#[derive(Debug)]
pub(crate) enum Down {
    /// It may come by itself: ask again.
    Later(Error),
    /// Somebody has to run migrations first; what is missing.
    NotMigrated(String),
    /// Only a person can help.
    Never(Error),
}

impl From<Error> for Down {
    fn from(error: Error) -> Self {
        match error.kind() {
            ErrorKind::Busy { .. }
            | ErrorKind::Unavailable { .. }
            | ErrorKind::Conflict
            | ErrorKind::Timeout
            | ErrorKind::ReadOnly
            | ErrorKind::DiskFull
            | ErrorKind::WriterTaken => Self::Later(error),
            ErrorKind::Constraint
            | ErrorKind::Corrupt
            | ErrorKind::Foreign
            | ErrorKind::Migration
            | ErrorKind::Url
            | ErrorKind::Aborted
            | ErrorKind::Bug => Self::Never(error),
        }
    }
}

impl From<rc_events::Error> for Down {
    fn from(error: rc_events::Error) -> Self {
        Self::from(Error::from(error))
    }
}

/// What a backend is given, whatever its store.
#[derive(Clone)]
pub(crate) struct Given {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) telemetry: Option<Arc<dyn TelemetrySink>>,
    /// The bus, where it is not the store's own log.
    pub(crate) bus: Option<Arc<dyn Bus>>,
    /// Where the relay and the writers run.
    pub(crate) tree: Tree,
}

impl Backend {
    /// Opens the files in `folder`, brings their tables up to date and starts the relay.
    pub(crate) async fn open_sqlite(folder: &Path, given: &Given) -> Result<Self, Down> {
        let db = Sqlite::open(&folder.join(STORE_FILE), SqliteOptions::default())?;
        db.migrate(&SQLITE_MIGRATIONS).await?;
        db.migrate(&rc_events::outbox::sqlite::MIGRATIONS).await?;
        let mut databases = vec![Store::new("store", Database::Sqlite(db.clone()))];
        let (bus, embedded) = match &given.bus {
            Some(bus) => (Arc::clone(bus), None),
            None => {
                let file = folder.join(BUS_FILE);
                let bus = Arc::new(SqliteBus::open(&file, Arc::clone(&given.clock)).await?);
                databases.push(Store::new("bus", bus.database()));
                (Arc::clone(&bus) as Arc<dyn Bus>, Some(bus))
            }
        };
        let outbox = db.clone();
        let source = move || Arc::new(SqliteSource::new(outbox.clone(), ORIGIN)) as Arc<dyn Source>;
        let log = Arc::new(SqliteSource::new(db.clone(), ORIGIN));
        let store = Arc::new(SqliteIngestStore::new(db));
        Ok(Self::assemble(
            store,
            (source(), Box::new(source), log),
            bus,
            embedded,
            databases,
            given,
        ))
    }

    /// Connects to the database at `url` and starts the relay. Changes no table.
    pub(crate) async fn open_postgres(url: &str, given: &Given) -> Result<Self, Down> {
        let pg = Postgres::connect(url, &PostgresOptions::new("rc-ingest", POSTGRES_SCHEMA))?;
        pg.ping().await?;
        let bus_schema = rc_events::bus::postgres::SCHEMA;
        let bus_pg = Postgres::connect(url, &PostgresOptions::new("rc-ingest-bus", bus_schema))?;
        for (schema, migrations) in postgres_migrations() {
            let pool = if schema == bus_schema { &bus_pg } else { &pg };
            check_migrated(pool, schema, &migrations).await?;
        }
        if !pg.row_security_binds().await? {
            tracing::warn!("the database role walks through row-level security: use a role of its own");
        }
        let clock = Arc::clone(&given.clock);
        let mut databases = vec![Store::new("store", Database::Postgres(pg.clone()))];
        let bus = match &given.bus {
            Some(bus) => Arc::clone(bus),
            None => {
                databases.push(Store::new("bus", Database::Postgres(bus_pg.clone())));
                Arc::new(PostgresBus::new(bus_pg, Arc::clone(&clock)))
            }
        };
        let outbox = pg.clone();
        let another = move || Arc::new(PostgresSource::new(outbox.clone(), ORIGIN)) as Arc<dyn Source>;
        let source = Arc::new(PostgresSource::new(pg.clone(), ORIGIN));
        let hint = Arc::clone(&source);
        let log = Arc::new(PostgresSource::new(pg.clone(), ORIGIN));
        let committed = Arc::new(move || hint.committed());
        let store = Arc::new(PostgresIngestStore::new(pg, clock, committed, &given.tree));
        Ok(Self::assemble(
            store,
            (source, Box::new(another), log),
            bus,
            None,
            databases,
            given,
        ))
    }

    fn assemble(
        store: Arc<dyn IngestStore>,
        (source, another, log): (Arc<dyn Source>, Another, Arc<dyn Log>),
        bus: Arc<dyn Bus>,
        embedded: Option<Arc<SqliteBus>>,
        databases: Vec<Store>,
        given: &Given,
    ) -> Self {
        let options = RelayOptions {
            telemetry: given.telemetry.clone(),
            ..RelayOptions::default()
        };
        let clock = Arc::clone(&given.clock);
        let relay = Relay::new(Arc::clone(&source), Arc::clone(&bus), clock, options);
        let status = relay.status();
        let letters = source.parked().map(|parked| {
            let letters = ParkedLetters::new(ORIGIN, parked, Arc::clone(&bus), Arc::clone(&given.clock));
            Arc::new(letters) as Arc<dyn Letters>
        });
        let tree = &given.tree;
        tree.spawn("ingest/relay", relay.run(tree.stopping()));
        Self {
            store,
            bus,
            source,
            another,
            log,
            relay: status,
            letters,
            databases,
            embedded,
        }
    }

    /// Whether everything that came up to `received_at` is on the bus. Not known counts as no.
    pub(crate) async fn relayed(&self, received_at: Timestamp) -> bool {
        let backlog = async {
            let cursor = self.bus.cursor(self.source.origin()).await?;
            self.source.backlog(&cursor).await
        };
        match backlog.await {
            Ok(backlog) => backlog.oldest.is_none_or(|oldest| oldest > received_at),
            Err(error) => {
                tracing::debug!(%error, "the outbox cannot say what waits");
                false
            }
        }
    }

    /// The outbox and the bus, for a check beside the relay.
    pub(crate) fn ends(&self) -> (Arc<dyn Source>, Arc<dyn Bus>) {
        ((self.another)(), Arc::clone(&self.bus))
    }

    /// Waits until the outbox is empty, at most for `limit`.
    pub(crate) async fn flush(&self, limit: Duration) {
        let empty = async {
            while !self.relayed(Timestamp::from_unix_ms(i64::MAX)).await {
                tokio::time::sleep(FLUSH_POLL).await;
            }
        };
        if tokio::time::timeout(limit, empty).await.is_err() {
            // Nothing is lost: the next start relays it.
            tracing::info!("the outbox was not empty at the end");
        }
    }

    /// Finishes queued writes and closes what has files.
    pub(crate) async fn close(&self) {
        self.store.close().await;
        if let Some(bus) = &self.embedded {
            bus.close().await;
        }
    }
}

async fn check_migrated(pool: &Postgres, schema: &str, migrations: &Migrations) -> Result<(), Down> {
    let status = pool.migration_status(migrations).await?;
    let Some(first) = status.pending.first() else {
        return Ok(());
    };
    Err(Down::NotMigrated(format!(
        "schema `{schema}` lacks migration {} `{}` of `{}`, and {} in all",
        first.number,
        first.name,
        status.component,
        status.pending.len()
    )))
}
