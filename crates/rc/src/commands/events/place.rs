//! Where events come from and where they go, as the command line names it.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use rc_events::outbox::postgres::{self as outbox, PostgresSource};
use rc_events::outbox::sqlite::SqliteSource;
use rc_events::{Bus, PostgresBus, Source, SqliteBus};
use rc_model::Clock;
use rc_store::{PgAddress, Postgres, PostgresOptions, Sqlite, SqliteOptions, StoreUrl};

use crate::cx::Cx;
use crate::fault::Fault;

/// A URL as it was typed. It may hold a password, so nothing prints it.
#[derive(Clone)]
pub(super) struct Typed(String);

impl Typed {
    /// For clap, which repeats a value that it refuses: what is wrong with this one is told by [`Place::parse`].
    pub(super) fn keep(text: &str) -> Result<Self, std::convert::Infallible> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for Typed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Where events are.
#[derive(Clone)]
pub(super) enum Place {
    /// A PostgreSQL database.
    Postgres(StoreUrl, String),
    /// A file.
    Sqlite(PathBuf),
    /// A NATS server.
    Nats(String),
}

impl fmt::Display for Place {
    /// Without a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Postgres(url, _) => url.fmt(f),
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Self::Nats(url) => f.write_str(&without_user(url)),
        }
    }
}

/// `nats://user:password@host,host/stream` as `nats://***@host,host/stream`.
fn without_user(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme, rest)) => match rest.rsplit_once('@') {
            Some((_user, hosts)) => format!("{scheme}://***@{hosts}"),
            None => url.to_owned(),
        },
        None => "***".to_owned(),
    }
}

/// Which of the two ends.
#[derive(Debug, Clone, Copy)]
pub(super) enum End {
    From,
    To,
}

impl End {
    fn flag(self) -> &'static str {
        match self {
            Self::From => "--from",
            Self::To => "--to",
        }
    }

    fn variable(self) -> &'static str {
        match self {
            Self::From => "RC_EVENTS_FROM",
            Self::To => "RC_EVENTS_TO",
        }
    }

    /// The place that was typed, or that the environment names.
    ///
    /// # Errors
    /// When there is none, or it is not one.
    pub(super) fn place(self, cx: &Cx, typed: Option<&Typed>) -> Result<Place, Fault> {
        self.find(cx, typed)?.ok_or_else(|| {
            Fault::usage("RC-EVT-050", format!("`{}` is missing", self.flag())).hint(format!(
                "give `{} URL`, or set {}, which keeps a password out of the list of processes",
                self.flag(),
                self.variable()
            ))
        })
    }

    /// As [`Self::place`]; `None` when neither says anything.
    pub(super) fn find(self, cx: &Cx, typed: Option<&Typed>) -> Result<Option<Place>, Fault> {
        let from_env = match self {
            Self::From => &cx.env.events_from,
            Self::To => &cx.env.events_to,
        };
        let text = typed.map(|typed| &typed.0).or(from_env.as_ref());
        text.map(|text| Place::parse(cx, text, self)).transpose()
    }
}

impl Place {
    /// Reads `postgres://…`, `sqlite:PATH`, `nats://…` or `tls://…`.
    fn parse(cx: &Cx, text: &str, end: End) -> Result<Self, Fault> {
        let refuse = |why: String| {
            Fault::usage("RC-EVT-050", format!("the URL of `{}` cannot be used: {why}", end.flag())).hint(
                "write `postgres://user@host:port/database`, `sqlite:PATH`, or for `--to` also `nats://host:port`",
            )
        };
        let scheme = text.split_once(':').map_or("", |(scheme, _)| scheme);
        match (scheme, end) {
            ("postgres" | "postgresql", _) => {
                let url = StoreUrl::parse(text).map_err(|error| refuse(error.to_string()))?;
                Ok(Self::Postgres(url, text.to_owned()))
            }
            ("sqlite", _) => match text.strip_prefix("sqlite:").unwrap_or_default() {
                "" => Err(refuse("the file is missing".to_owned())),
                path => Ok(Self::Sqlite(cx.cwd.join(path))),
            },
            ("nats" | "tls", End::To) => Ok(Self::Nats(text.to_owned())),
            ("nats" | "tls", End::From) => Err(refuse("events are not read from NATS".to_owned())),
            _ => Err(refuse("its scheme is not one of ours".to_owned())),
        }
    }

    /// Opens the bus that is here. A server that is away is no failure: the caller asks it again.
    ///
    /// # Errors
    /// When the place can never be used as it is.
    pub(super) async fn bus(&self, clock: &Arc<dyn Clock>) -> Result<Arc<dyn Bus>, Fault> {
        let failed = |error: rc_events::Error| {
            Fault::world(error.code(), format!("the bus at {self} cannot be opened")).because(error)
        };
        match self {
            Self::Postgres(_, url) => {
                let options = PostgresOptions::new("rc events", rc_events::bus::postgres::SCHEMA);
                let db = Postgres::connect(url, &options).map_err(|error| failed(error.into()))?;
                self.check_bus(&db).await?;
                Ok(Arc::new(PostgresBus::new(db, Arc::clone(clock))))
            }
            Self::Sqlite(path) => {
                let bus = SqliteBus::open(path, Arc::clone(clock)).await.map_err(failed)?;
                Ok(Arc::new(bus))
            }
            Self::Nats(url) => Ok(crate::bus::open(url, clock)?),
        }
    }

    /// Checks that the bus in `db` is one and of this version: its owner makes it, no relay does.
    async fn check_bus(&self, db: &Postgres) -> Result<(), Fault> {
        match db.migration_status(&rc_events::bus::postgres::MIGRATIONS).await {
            Ok(status) if status.pending.is_empty() => Ok(()),
            Ok(_) => Err(
                Fault::usage("RC-EVT-050", format!("there is no bus of this version at {self}")).hint(
                    format!("its owner makes it: `rc events install --bus --to {self}`"),
                ),
            ),
            // A server that is away is waited for.
            Err(error) if error.retry_after().is_some() => Ok(()),
            Err(error) => {
                Err(Fault::world(error.code(), format!("the bus at {self} cannot be used")).because(error))
            }
        }
    }

    /// Checks that the outbox in `db` is there and of a layout that this binary knows.
    ///
    /// # Errors
    /// When it is not. A server that is away is waited for by the relay.
    pub(super) async fn check_outbox(&self, db: &Postgres) -> Result<(), Fault> {
        match outbox::layout(db).await {
            Ok(Some(..=outbox::LAYOUT)) => Ok(()),
            Ok(Some(found)) => Err(newer_outbox(self, found)),
            Ok(None) => Err(Fault::usage(
                "RC-EVT-050",
                format!(
                    "there is no outbox in schema `{}` at {self}, or this role may not use it",
                    db.schema()
                ),
            )
            .hint(format!(
                "its owner makes it: `rc events install --to {self} --relay ROLE`"
            ))),
            Err(error) if error.retry_after().is_some() => Ok(()),
            Err(error) => {
                Err(Fault::world(error.code(), format!("the outbox at {self} cannot be used")).because(error))
            }
        }
    }

    /// Opens the bus that is here for a look: a file's one writer may be another process.
    ///
    /// # Errors
    /// As [`Self::bus`].
    pub(super) async fn bus_to_read(&self, clock: &Arc<dyn Clock>) -> Result<Arc<dyn Bus>, Fault> {
        match self {
            Self::Sqlite(path) => {
                let bus = SqliteBus::open_readonly(path, Arc::clone(clock)).map_err(|error| {
                    Fault::world(error.code(), format!("the bus at {self} cannot be opened")).because(error)
                })?;
                Ok(Arc::new(bus))
            }
            Self::Postgres(..) | Self::Nats(_) => self.bus(clock).await,
        }
    }

    /// The PostgreSQL server that is here.
    ///
    /// # Errors
    /// When it is another place.
    fn url(&self) -> Result<&str, Fault> {
        match self {
            Self::Postgres(_, url) => Ok(url),
            Self::Sqlite(_) | Self::Nats(_) => Err(Fault::usage(
                "RC-EVT-050",
                format!("{self} is no PostgreSQL database"),
            )
            .hint("write `--from postgres://user@host:port/database`")),
        }
    }

    /// The PostgreSQL server that is here, for replication.
    ///
    /// # Errors
    /// When it is another place.
    pub(super) fn address(&self) -> Result<PgAddress, Fault> {
        PgAddress::parse(self.url()?).map_err(|error| {
            Fault::usage("RC-EVT-050", format!("{self} cannot be used for replication")).because(error)
        })
    }

    /// The database that is here, in `schema`.
    ///
    /// # Errors
    /// When it is another place.
    pub(super) fn database(&self, schema: &str) -> Result<Postgres, Fault> {
        // A process opens one source: the name may live as long as it does.
        let schema: &'static str = schema.to_owned().leak();
        let options = PostgresOptions::new("rc events relay", schema);
        Postgres::connect(self.url()?, &options).map_err(|error| {
            Fault::world(error.code(), format!("the outbox at {self} cannot be opened")).because(error)
        })
    }

    /// The outbox that is here: in `schema`, where the place has several.
    ///
    /// # Errors
    /// When the place can never be used as it is.
    pub(super) fn outbox(&self, origin: &str, schema: &str) -> Result<Arc<dyn Source>, Fault> {
        let failed = |error: rc_store::Error| {
            Fault::world(error.code(), format!("the outbox at {self} cannot be opened")).because(error)
        };
        match self {
            Self::Postgres(..) => Ok(Arc::new(PostgresSource::new(self.database(schema)?, origin))),
            Self::Sqlite(path) => {
                // Its writer is the service; without one, rows are read and none is deleted.
                let options = SqliteOptions {
                    foreign: true,
                    ..SqliteOptions::default()
                };
                let db = Sqlite::open_readonly(path, options).map_err(failed)?;
                Ok(Arc::new(SqliteSource::new(db, origin)))
            }
            Self::Nats(_) => unreachable!("`--from` refuses NATS"),
        }
    }
}

/// Nothing of ours may touch an outbox whose rules it does not know.
pub(super) fn newer_outbox(place: &Place, found: i32) -> Fault {
    Fault::world(
        "RC-STO-011",
        format!(
            "the outbox at {place} has layout {found}, and this rc knows {}",
            outbox::LAYOUT
        ),
    )
    .hint("use the `rc` that made it, or a newer one")
}

#[cfg(test)]
mod tests;
