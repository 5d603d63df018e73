//! `GET /-/events`: where a service's relay and its readers are.

use std::sync::Arc;

use axum::Router;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use futures_util::future::BoxFuture;
use rc_events::relay::Backlog;
use rc_events::replication::SlotHealth;
use rc_events::{Bus, ConsumerState, ConsumerStatus, Error, RelayStatus};
use rc_model::Timestamp;
use rc_serve::ApiError;
use serde::{Deserialize, Serialize};

use super::admin;
use super::wire::Counts;
use crate::docs::generations::BuildingLine;

/// The path on a service's socket.
pub const STATUS_PATH: &str = "/-/events";

/// What gives a service's status; none while its store is not there.
pub type Look = Arc<dyn Fn() -> BoxFuture<'static, Option<Result<Status, Error>>> + Send + Sync>;

/// The route.
pub fn router(look: Look) -> Router {
    let handler = move || {
        let status = look();
        async move {
            match status.await {
                Some(Ok(status)) => Ok(axum::Json(status).into_response()),
                Some(Err(error)) => Err(ApiError::from(admin::problem(error))),
                None => Err(ApiError::from(admin::absent())),
            }
        }
    };
    Router::new().route(
        STATUS_PATH,
        get(async move || -> Result<Response, ApiError> { handler().await }),
    )
}

/// Where a service's events are.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    pub relays: Vec<RelayLine>,
    pub buses: Vec<BusLine>,
    pub consumers: Vec<ConsumerLine>,
    /// Read models that are being built anew.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rebuilds: Vec<BuildingLine>,
    /// The replication slots of the outbox's database, where it was asked.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub slots: Vec<SlotLine>,
    pub letters: Vec<Counts>,
}

/// A replication slot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SlotLine {
    pub name: String,
    /// `streaming`, `idle`, or `lost` for one that cannot be read any more.
    pub state: String,
    /// Bytes of the server's log that are kept for it.
    pub retained_bytes: u64,
    /// Bytes until it is in danger of being lost; absent when nothing bounds it, and then it fills the server's disk.
    pub safe_bytes: Option<i64>,
}

impl From<&SlotHealth> for SlotLine {
    fn from(slot: &SlotHealth) -> Self {
        let state = match (slot.usable(), slot.active_pid) {
            (false, _) => "lost",
            (true, Some(_)) => "streaming",
            (true, None) => "idle",
        };
        Self {
            name: slot.name.clone(),
            state: state.to_owned(),
            retained_bytes: slot.retained_bytes,
            safe_bytes: slot.safe_wal_bytes,
        }
    }
}

/// A relay.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RelayLine {
    pub origin: String,
    /// `moving`, `standing by` or `failing`
    pub state: String,
    /// Events that are not on the bus yet; unknown before a relay that was just started has looked.
    pub waiting: Option<u64>,
    /// Age of the oldest of them.
    pub lag_ms: Option<u64>,
    /// Events that this process published.
    pub published: u64,
    pub published_at: Option<Timestamp>,
    /// Which leadership it is.
    pub epoch: u64,
    /// Where the bus is in the outbox, in the outbox's own words.
    pub cursor: String,
    pub code: Option<String>,
    pub error: Option<String>,
}

/// A bus.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BusLine {
    pub id: String,
    /// The place of its newest event.
    pub tail: i64,
}

/// A reader of events.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConsumerLine {
    pub name: String,
    /// `following`, `starting`, `retrying`, `stuck`; `lost` for one that the bus no longer waits for; absent when
    /// only its place is known.
    pub state: Option<String>,
    /// The last event that it applied.
    pub position: i64,
    /// Events that it has not applied yet.
    pub lag: u64,
    pub code: Option<String>,
    pub error: Option<String>,
}

impl RelayLine {
    /// The relay of `origin`, as of `now`.
    #[must_use]
    pub fn of(origin: &str, status: &RelayStatus, now: Timestamp) -> Self {
        let (code, error) = status.error.clone().unzip();
        let state = match (&error, status.leading) {
            (Some(_), _) => "failing",
            (None, true) => "moving",
            (None, false) => "standing by",
        };
        Self {
            origin: origin.to_owned(),
            state: state.to_owned(),
            waiting: status.backlog.map(|backlog| backlog.rows),
            lag_ms: status.backlog.map(|backlog| age_ms(&backlog, now)),
            published: status.published,
            published_at: status.published_at,
            epoch: status.epoch,
            cursor: status.cursor.to_string(),
            code: code.map(str::to_owned),
            error,
        }
    }
}

/// The age of the oldest event of a backlog.
#[must_use]
pub fn age_ms(backlog: &Backlog, now: Timestamp) -> u64 {
    let age = backlog.oldest.map(|oldest| now.since(oldest).as_millis());
    age.map_or(0, |ms| u64::try_from(ms).unwrap_or(u64::MAX))
}

impl ConsumerLine {
    /// The consumer `name` by its own word.
    #[must_use]
    pub fn of(name: &str, status: &ConsumerStatus) -> Self {
        let (state, code, error) = match &status.state {
            ConsumerState::Starting => ("starting", None, None),
            ConsumerState::Following => ("following", None, None),
            ConsumerState::Retrying { code, error, .. } => ("retrying", Some(*code), Some(error)),
            ConsumerState::Stuck { code, error } => ("stuck", Some(*code), Some(error)),
        };
        Self {
            name: name.to_owned(),
            state: Some(state.to_owned()),
            position: status.position,
            lag: status.lag(),
            code: code.map(str::to_owned),
            error: error.cloned(),
        }
    }
}

impl Status {
    /// What `bus` knows of itself and of its readers.
    ///
    /// # Errors
    /// What the bus says.
    pub async fn of_bus(bus: &dyn Bus) -> Result<Self, Error> {
        let tail = bus.tail().await?;
        let consumers = bus.consumers().await?.into_iter().map(|known| ConsumerLine {
            lag: tail.saturating_sub(known.seq).max(0).cast_unsigned(),
            name: known.name,
            state: known.lost.then(|| "lost".to_owned()),
            position: known.seq,
            code: None,
            error: None,
        });
        Ok(Self {
            consumers: consumers.collect(),
            buses: vec![BusLine {
                id: bus.id().await?.to_string(),
                tail,
            }],
            ..Self::default()
        })
    }

    /// Both, what a consumer says of itself before what a bus says of it.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.relays.extend(other.relays);
        for bus in other.buses {
            match self.buses.iter_mut().find(|known| known.id == bus.id) {
                Some(known) => known.tail = known.tail.max(bus.tail),
                None => self.buses.push(bus),
            }
        }
        for consumer in other.consumers {
            match self
                .consumers
                .iter_mut()
                .find(|known| known.name == consumer.name)
            {
                Some(known) if known.state.is_none() => *known = consumer,
                Some(_) => {}
                None => self.consumers.push(consumer),
            }
        }
        self.rebuilds.extend(other.rebuilds);
        self.slots.extend(other.slots);
        self.letters.extend(other.letters);
        self
    }
}
