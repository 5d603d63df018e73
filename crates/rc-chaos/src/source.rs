//! Where events come from: a service's store with its outbox, the writer that fills it, and the relay's view of it.

pub(crate) mod foreign;
pub(crate) mod postgres;
pub(crate) mod sqlite;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rc_events::{BoxFuture, NewEvent, Numbering, Source};
use rc_model::{TenantId, Timestamp};
use uuid::Uuid;

use crate::failure::Result;
use crate::history::Fact;
use crate::journal::Journal;
use crate::source::foreign::Table;

/// The name of the source on the bus.
pub(crate) const ORIGIN: &str = "ingest";

/// How long reading everything back may take.
pub(crate) const READ_BACK_TIME_MAX: Duration = Duration::from_secs(600);

/// One transaction of a writer: what it shall do.
#[derive(Debug, Clone)]
pub(crate) struct Attempt {
    /// Its name in the history.
    pub(crate) tx: String,
    /// Keys in order, and how many events each gets.
    pub(crate) keys: Vec<(String, u64)>,
    /// The first of its events' ids; the others follow.
    pub(crate) first_id: u128,
    /// Bytes of each payload.
    pub(crate) payload_bytes: usize,
    /// Bytes of the first one's.
    pub(crate) first_bytes: usize,
    /// Rolled back instead of committed.
    pub(crate) rollback: bool,
    /// Waits before it takes a key, with a transaction number taken already.
    pub(crate) late: Duration,
    /// Waits before its end, with keys locked.
    pub(crate) hold: Duration,
    /// Its first event is one that no consumer can apply.
    pub(crate) poison: bool,
    /// What its events say about the time.
    pub(crate) now: Timestamp,
}

impl Attempt {
    /// The events of `key`, whose last number is now `last`; `index` is the place of `key` in the attempt.
    pub(crate) fn events(&self, index: usize, last: u64) -> Vec<NewEvent> {
        let (key, count) = &self.keys[index];
        let before: u64 = self.keys[..index].iter().map(|(_, count)| count).sum();
        (0..*count)
            .map(|number| {
                let id = self.first_id + u128::from(before + number);
                let is_first = before + number == 0;
                let payload = payload(
                    id,
                    if is_first {
                        self.first_bytes
                    } else {
                        self.payload_bytes
                    },
                );
                NewEvent {
                    id: Uuid::from_u128(id),
                    tenant: tenant(),
                    topic: "orders".into(),
                    key: key.clone(),
                    kseq: (last + 1 + number).saturating_sub(*count),
                    numbering: Numbering::Consecutive,
                    event_type: match self.poison && is_first {
                        true => crate::effects::POISON.into(),
                        false => "order.changed.v1".into(),
                    },
                    schema: 1,
                    time: self.now,
                    fingerprint: id.to_be_bytes(),
                    trace: None,
                    payload,
                }
            })
            .collect()
    }
}

/// The facts of events, for a history.
pub(crate) fn facts(events: &[NewEvent]) -> Vec<Fact> {
    events.iter().filter_map(Fact::of).collect()
}

/// JSON that depends on the id in every byte that it can.
fn payload(id: u128, bytes: usize) -> Bytes {
    // As PostgreSQL writes it: JSON that went through `jsonb` is the same text.
    let mut text = format!(r#"{{"id": "{id:032x}", "note": ""#);
    let mut state = id.to_be_bytes().iter().fold(7_u64, |state, byte| {
        state.wrapping_mul(31).wrapping_add(u64::from(*byte))
    });
    while text.len() + 2 < bytes {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        text.push(char::from(b'a' + u8::try_from((state >> 33) % 26).unwrap_or(0)));
    }
    text.push_str("\"}");
    text.into()
}

/// Whose events all of them are.
pub(crate) fn tenant() -> TenantId {
    TenantId::new("acme").expect("a valid tenant")
}

/// The writer's side of a service's store.
pub(crate) trait Desk: Send + Sync {
    /// Does what `attempt` says, and notes it in `journal` before the commit. `true`: committed; `false`: rolled
    /// back. An error: nobody knows.
    fn write<'a>(
        &'a self,
        attempt: Attempt,
        journal: &'a Arc<Journal>,
    ) -> BoxFuture<'a, std::result::Result<bool, rc_store::Error>>;
}

/// Which source, and where: `sqlite:/path`, `poll:postgresql://...`; `slot:`, `table:`, `capture:` likewise.
#[derive(Debug, Clone)]
pub(crate) enum At {
    Sqlite(std::path::PathBuf),
    Poll(String),
    Slot(String),
    Foreign(String, Table),
}

impl std::str::FromStr for At {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text.split_once(':') {
            Some(("sqlite", path)) => Ok(Self::Sqlite(path.into())),
            Some(("poll", url)) => Ok(Self::Poll(url.to_owned())),
            Some(("slot", url)) => Ok(Self::Slot(url.to_owned())),
            Some(("table", url)) => Ok(Self::Foreign(url.to_owned(), Table::Outbox)),
            Some(("capture", url)) => Ok(Self::Foreign(url.to_owned(), Table::Captured)),
            _ => Err(format!("`{text}` is no source")),
        }
    }
}

impl At {
    /// The store, ready for a writer.
    pub(crate) async fn desk(&self) -> Result<Box<dyn Desk>> {
        Ok(match self {
            Self::Sqlite(path) => Box::new(sqlite::Desk::open(path).await?),
            Self::Poll(url) => Box::new(postgres::Desk::open(url).await?),
            Self::Slot(url) => Box::new(postgres::SqlDesk::open(url).await?),
            Self::Foreign(url, table) => Box::new(foreign::Desk::open(url, *table).await?),
        })
    }

    /// The relay's view; one that prunes has partitions that are small enough to be dropped in a short run.
    pub(crate) async fn source(&self, prunes: bool) -> Result<Arc<dyn Source>> {
        match self {
            Self::Sqlite(path) => sqlite::source(path, prunes),
            Self::Poll(url) => postgres::poll(url, prunes),
            Self::Slot(url) => postgres::slot(url),
            Self::Foreign(url, table) => foreign::source(url, *table).await,
        }
    }

    /// How many events the log has.
    pub(crate) async fn count(&self) -> Result<i64> {
        match self {
            Self::Sqlite(path) => sqlite::count(path).await,
            Self::Poll(url) | Self::Slot(url) => postgres::count(url).await,
            Self::Foreign(url, table) => foreign::count(url, *table).await,
        }
    }

    /// What the log has, for the history; read by SQL, not by the code that is tested.
    pub(crate) async fn log(&self) -> Result<Vec<Fact>> {
        match self {
            Self::Sqlite(path) => sqlite::log(path).await,
            Self::Poll(url) | Self::Slot(url) => postgres::log(url).await,
            Self::Foreign(url, table) => foreign::log(url, *table).await,
        }
    }
}
