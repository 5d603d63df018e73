//! Which bus, and where.

use std::path::PathBuf;
use std::sync::Arc;

use rc_cluster::{NatsBus, NatsOptions};
use rc_events::{Bus, PostgresBus, ReadLimit, SqliteBus};
use rc_model::Clock;
use rc_store::{Postgres, PostgresOptions};

use crate::failure::Result;
use crate::history::Fact;

/// Which bus, and where: `sqlite:/path`, `postgres:postgresql://...`, `nats:nats://...`.
#[derive(Debug, Clone)]
pub(crate) enum At {
    Sqlite(PathBuf),
    Postgres(String),
    Nats(String),
}

impl std::str::FromStr for At {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text.split_once(':') {
            Some(("sqlite", path)) => Ok(Self::Sqlite(path.into())),
            Some(("postgres", url)) => Ok(Self::Postgres(url.to_owned())),
            Some(("nats", url)) => Ok(Self::Nats(url.to_owned())),
            _ => Err(format!("`{text}` is no bus")),
        }
    }
}

impl At {
    /// The bus as its relay uses it; makes it when it is not there.
    pub(crate) async fn publisher(&self, clock: Arc<dyn Clock>) -> Result<Arc<dyn Bus>> {
        Ok(match self {
            Self::Sqlite(path) => Arc::new(SqliteBus::open(path, clock).await?),
            Self::Postgres(url) => {
                let db = connect(url)?;
                db.migrate(&rc_events::bus::postgres::MIGRATIONS).await?;
                Arc::new(PostgresBus::new(db, clock))
            }
            Self::Nats(url) => Arc::new(NatsBus::new(NatsOptions::parse(url)?, clock)),
        })
    }

    /// The bus as a consumer uses it.
    pub(crate) fn consumer(&self, clock: Arc<dyn Clock>) -> Result<Arc<dyn Bus>> {
        Ok(match self {
            Self::Sqlite(path) => Arc::new(SqliteBus::open_readonly(path, clock)?),
            Self::Postgres(url) => Arc::new(PostgresBus::new(connect(url)?, clock)),
            Self::Nats(url) => Arc::new(NatsBus::new(NatsOptions::parse(url)?, clock)),
        })
    }

    /// What the bus gives, from its beginning.
    pub(crate) async fn stream(&self, clock: Arc<dyn Clock>) -> Result<Vec<Fact>> {
        let bus = self.consumer(clock)?;
        let (mut facts, mut after) = (Vec::new(), 0);
        loop {
            let events = bus.read(after, ReadLimit::default()).await?;
            let Some(last) = events.last() else {
                return Ok(facts);
            };
            after = last.pos;
            facts.extend(events.iter().filter_map(|event| Fact::of(event)));
        }
    }
}

fn connect(url: &str) -> Result<Postgres> {
    let options = PostgresOptions::new("rc-chaos", rc_events::bus::postgres::SCHEMA);
    Ok(Postgres::connect(url, &options)?)
}
