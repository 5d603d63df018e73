//! How a consumer behaves.

use std::sync::Arc;

use rc_model::telemetry::TelemetrySink;
use rc_model::{Clock, SystemClock};

use crate::error::Poison;
use crate::event::NewEvent;
use crate::letters::{KEY_LETTERS_MAX, LETTERS_MAX};
use crate::log::Log;

/// Attempts of an event that fails and says not why.
pub const ATTEMPTS_MAX: u32 = 5;

/// Most lanes of a consumer.
pub const LANES_MAX: u16 = 64;

/// What becomes of an event that cannot be applied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Policy {
    /// It is set aside, and later events of its key wait behind it. All other keys go on.
    #[default]
    Park,
    /// It is set aside, and its key goes on without it. The order of the key is given up.
    Skip,
    /// The consumer stops and waits for a person.
    Halt,
}

impl Policy {
    /// Its word, in configuration and for people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Park => "park",
            Self::Skip => "skip",
            Self::Halt => "halt",
        }
    }
}

/// Brings an event of an older form to the one that the consumer reads. What is stored never changes.
pub trait Upcast: Send + Sync {
    /// The event in the newest form; `None` when it has it already.
    ///
    /// # Errors
    /// [`Poison`] for an event that cannot be brought there; it is set aside.
    fn upcast(&self, event: &NewEvent) -> Result<Option<NewEvent>, Box<Poison>>;
}

/// How a consumer behaves; the default is one lane that parks keys.
#[derive(Clone)]
pub struct ConsumerOptions {
    /// Places are divided into so many shares that are applied side by side. A projection in one SQLite file
    /// has one writer: more lanes than one only cost.
    pub lanes: u16,
    /// What becomes of an event that cannot be applied.
    pub policy: Policy,
    /// Attempts of an event that fails and says not why.
    pub attempts_max: u32,
    /// Letters of the consumer, beyond which it halts.
    pub letters_max: u64,
    /// Letters of one key, beyond which it halts.
    pub key_letters_max: u64,
    /// Where events are fetched that the bus does not have; none: they make gaps.
    pub log: Option<Arc<dyn Log>>,
    /// Whether it builds a second state beside one that serves. It begins at the first event that the bus keeps, and
    /// a key with the first number that comes; the bus neither knows it nor waits for it. What history no longer has
    /// is taken from the state that serves ([`super::sqlite::take_key`]).
    pub rebuilds: bool,
    /// What brings older events to the newest form.
    pub upcast: Option<Arc<dyn Upcast>>,
    /// When letters are made.
    pub clock: Arc<dyn Clock>,
    /// Who is told what was applied.
    pub telemetry: Option<Arc<dyn TelemetrySink>>,
}

impl Default for ConsumerOptions {
    fn default() -> Self {
        Self {
            lanes: 1,
            policy: Policy::Park,
            attempts_max: ATTEMPTS_MAX,
            letters_max: LETTERS_MAX,
            key_letters_max: KEY_LETTERS_MAX,
            log: None,
            rebuilds: false,
            upcast: None,
            clock: SystemClock::shared(),
            telemetry: None,
        }
    }
}

impl std::fmt::Debug for ConsumerOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConsumerOptions")
            .field("lanes", &self.lanes)
            .field("policy", &self.policy)
            .field("log", &self.log.is_some())
            .field("upcast", &self.upcast.is_some())
            .finish_non_exhaustive()
    }
}
