//! Replays of history: events that a consumer has passed are given to it once more, and to nobody else.
//!
//! A replay repairs effects; it never changes a key's number, and an event that the consumer has not come to
//! yet is left to come by itself. It is a row in the consumer's store, and its place moves with the effects.

use std::num::NonZeroU32;
use std::time::Duration;

use data_encoding::HEXLOWER;
use rc_model::{TenantId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::bus::{Bus, BusId, ReadLimit};
use crate::consumer::Books;
use crate::event::{NewEvent, Seq};

/// Events that one step looks at.
pub const STEP_ROWS_MAX: usize = 2_048;

/// Bytes that one step looks at.
pub const STEP_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Which events. Everything that is set must hold; the default is all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HistoryFilter {
    /// Happened at this time or later.
    pub since: Option<Timestamp>,
    /// Happened before this time.
    pub until: Option<Timestamp>,
    /// Of this tenant.
    pub tenant: Option<TenantId>,
    /// Of this topic.
    pub topic: Option<String>,
    /// Of this key.
    pub key: Option<String>,
    /// Of this type.
    pub event_type: Option<String>,
}

/// As it is stored.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FilterRow {
    since_ms: Option<i64>,
    until_ms: Option<i64>,
    tenant: Option<String>,
    topic: Option<String>,
    key: Option<String>,
    #[serde(rename = "type")]
    event_type: Option<String>,
}

impl HistoryFilter {
    /// Whether `event` is one of them.
    #[must_use]
    pub fn matches(&self, event: &NewEvent) -> bool {
        let is =
            |wanted: &Option<String>, found: &str| wanted.as_deref().is_none_or(|wanted| wanted == found);
        self.since.is_none_or(|since| event.time >= since)
            && self.until.is_none_or(|until| event.time < until)
            && self.tenant.as_ref().is_none_or(|tenant| *tenant == event.tenant)
            && is(&self.topic, &event.topic)
            && is(&self.key, &event.key)
            && is(&self.event_type, &event.event_type)
    }

    pub(crate) fn to_row(&self) -> String {
        let row = FilterRow {
            since_ms: self.since.map(Timestamp::unix_ms),
            until_ms: self.until.map(Timestamp::unix_ms),
            tenant: self.tenant.as_ref().map(ToString::to_string),
            topic: self.topic.clone(),
            key: self.key.clone(),
            event_type: self.event_type.clone(),
        };
        serde_json::to_string(&row).expect("a struct of strings and numbers serialises")
    }

    pub(crate) fn of_row(text: &str) -> Result<Self, Error> {
        let bad = |why: &dyn std::fmt::Display| Error::damaged(format!("a replay's filter: {why}"));
        let row: FilterRow = serde_json::from_str(text).map_err(|error| bad(&error))?;
        Ok(Self {
            since: row.since_ms.map(Timestamp::from_unix_ms),
            until: row.until_ms.map(Timestamp::from_unix_ms),
            tenant: row
                .tenant
                .map(|tenant| TenantId::new(&tenant))
                .transpose()
                .map_err(|error| bad(&error))?,
            topic: row.topic,
            key: row.key,
            event_type: row.event_type,
        })
    }
}

/// A replay that is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Replay {
    /// Which events.
    pub filter: HistoryFilter,
    /// Events a second at most; none: as fast as they go.
    pub rate: Option<NonZeroU32>,
    /// Why; it stands in the job and in the ledger.
    pub reason: String,
    /// The plan that was shown; what is replayed is exactly that, or nothing.
    pub plan: Option<String>,
}

/// What a replay would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The bus.
    pub bus: BusId,
    /// Events after this place
    pub first: Seq,
    /// up to this one are looked at: the consumer has come so far.
    pub upto: Seq,
    /// So many match.
    pub matched: u64,
    /// Says all of this: give it to [`Replay::plan`].
    pub hash: String,
}

/// A replay to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewJob {
    /// What.
    pub replay: Replay,
    /// Where.
    pub plan: Plan,
}

/// Whether a replay goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobState {
    /// It goes on, also after the consumer started anew.
    Running,
    /// It came to its end.
    Done,
    /// A person ended it.
    Cancelled,
    /// It cannot go on.
    Failed,
}

impl JobState {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Running, Self::Done, Self::Cancelled, Self::Failed];

    /// Its word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
        }
    }

    /// The state of a word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }
}

/// A replay of history, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Its number with its consumer.
    pub number: i64,
    /// Which events.
    pub filter: HistoryFilter,
    /// Events a second at most.
    pub rate: Option<NonZeroU32>,
    /// Why.
    pub reason: String,
    /// What was planned.
    pub plan: Plan,
    /// The last place that was looked at.
    pub at: Seq,
    /// Events that were applied.
    pub applied: u64,
    /// Events that could not be applied and were left out.
    pub failed: u64,
    /// Whether it goes on.
    pub state: JobState,
    /// Why it ended, where somebody or something ended it.
    pub why: String,
    /// When it was started.
    pub began: Timestamp,
    /// When it ended.
    pub ended: Option<Timestamp>,
}

impl Job {
    /// How much one step looks at: with a rate, a tenth of a second's worth.
    pub(crate) fn limit(&self) -> ReadLimit {
        let rows = self.rate.map_or(STEP_ROWS_MAX, |rate| {
            usize::try_from(rate.get() / 10).unwrap_or(STEP_ROWS_MAX)
        });
        ReadLimit {
            rows: rows.clamp(1, STEP_ROWS_MAX),
            bytes: STEP_BYTES_MAX,
        }
    }

    /// The pause after a step that replayed `events`.
    pub(crate) fn pause(&self, events: usize) -> Duration {
        self.rate.map_or(Duration::ZERO, |rate| {
            Duration::from_secs_f64(events as f64 / f64::from(rate.get()))
        })
    }
}

/// What `replay` would do now. Reads what the bus keeps, up to where the consumer is, or up to where the plan
/// that was shown ended.
///
/// # Errors
/// [`Error::Job`] when the consumer has not started on this bus, or the plan that was shown is no longer
/// what would be done; what bus and store say.
pub async fn plan(bus: &dyn Bus, books: &dyn Books, replay: &Replay) -> Result<Plan, Error> {
    let id = bus.id().await?;
    let position = match books.position().await? {
        Some((of, position)) if of == id => position,
        _ => {
            return Err(Error::job(format!(
                "consumer `{}` has not read this bus yet: there is nothing to replay",
                books.consumer()
            )));
        }
    };
    let shown = replay.plan.as_deref().map(upto_of).transpose()?;
    if shown.is_some_and(|upto| upto > position) {
        return Err(changed());
    }
    let upto = shown.unwrap_or(position);
    let first = first_kept(bus).await?.min(upto);
    let (mut at, mut matched) = (first, 0_u64);
    let mut places = blake3::Hasher::new();
    let limit = ReadLimit {
        rows: STEP_ROWS_MAX,
        bytes: STEP_BYTES_MAX,
    };
    while at < upto {
        let events = bus.read(at, limit).await?;
        let Some(last) = events.last() else { break };
        at = last.pos;
        let inside = events.iter().filter(|event| event.pos <= upto);
        for event in inside.filter(|event| replay.filter.matches(event)) {
            matched += 1;
            places.update(&event.pos.to_le_bytes());
        }
    }
    let hash = hash(books.consumer(), &id, first, upto, places.finalize());
    if replay.plan.as_ref().is_some_and(|shown| *shown != hash) {
        return Err(changed());
    }
    Ok(Plan {
        bus: id,
        first,
        upto,
        matched,
        hash,
    })
}

/// The place before the first event that the bus keeps.
///
/// # Errors
/// What the bus says.
pub async fn first_kept(bus: &dyn Bus) -> Result<Seq, Error> {
    match bus.read(0, ReadLimit { rows: 1, bytes: 1 }).await {
        Ok(_) => Ok(0),
        Err(Error::Pruned { first, .. }) => Ok(first - 1),
        Err(error) => Err(error),
    }
}

fn changed() -> Error {
    Error::job("the plan is no longer what would be done; make it again and look at it")
}

/// `UPTO-HASH`: the end is in it, because the consumer has gone on when the plan comes back. The events are in it by
/// their places and not by the filter: `--since 1h` is another moment a minute later, and may mean the same events.
fn hash(consumer: &str, bus: &BusId, first: Seq, upto: Seq, places: blake3::Hash) -> String {
    let text = format!("{consumer}\n{bus}\n{first} {upto} {places}");
    let hash = blake3::hash(text.as_bytes());
    format!("{upto}-{}", HEXLOWER.encode(&hash.as_bytes()[..8]))
}

fn upto_of(plan: &str) -> Result<Seq, Error> {
    plan.split_once('-')
        .and_then(|(upto, _)| upto.parse().ok())
        .ok_or_else(|| Error::job(format!("`{plan}` is not the hash of a plan")))
}

#[cfg(test)]
mod tests;
