//! What a projection applies in one transaction.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use rc_model::Timestamp;
use uuid::Uuid;

use super::options::Policy;
use crate::bus::BusId;
use crate::error::Poison;
use crate::event::{Event, NewEvent, Place, Seq};
use crate::replay::Job;
use crate::{Error, letters};

/// How the events of a batch come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Each is the next one of its key.
    Live,
    /// They took effect before, or were given up: an effect that is there must not get older, and nothing
    /// may be told to the outside a second time.
    Replay,
}

/// One of the shares into which a consumer divides all places. What belongs to a place never changes with the
/// program: positions of lanes that were stored by an earlier one stay true.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lane {
    /// Which: from 0.
    pub index: u16,
    /// Of how many.
    pub of: u16,
}

impl Lane {
    /// All places.
    pub const ALL: Self = Self { index: 0, of: 1 };

    /// The lane of an event's place, of `lanes` ones.
    #[must_use]
    pub fn of_event(event: &NewEvent, lanes: u16) -> u16 {
        Self::of_names(event.tenant.as_str(), &event.topic, &event.key, lanes)
    }

    /// As [`Lane::of_event`].
    #[must_use]
    pub fn of_place(place: &Place, lanes: u16) -> u16 {
        Self::of_names(place.tenant.as_str(), &place.topic, &place.key, lanes)
    }

    fn of_names(tenant: &str, topic: &str, key: &str, lanes: u16) -> u16 {
        if lanes <= 1 {
            return 0;
        }
        let hash = place_hash(tenant, topic, key) % u64::from(lanes);
        u16::try_from(hash).expect("a remainder is below its divisor")
    }
}

/// FNV-1a: equal in every build for ever, and the names are short.
pub(crate) fn place_hash(tenant: &str, topic: &str, key: &str) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in [tenant, "\0", topic, "\0", key].into_iter().flat_map(str::bytes) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    // FNV's low bits are its worst.
    hash ^ (hash >> 32)
}

/// An event that will not be applied, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condemned {
    /// The kind of fault.
    pub class: Cow<'static, str>,
    /// The error's stable code.
    pub code: String,
    /// The error's text.
    pub why: String,
    /// How often it was tried.
    pub attempts: u32,
}

impl Condemned {
    pub(crate) fn of_poison(poison: &Poison) -> Self {
        Self {
            class: Cow::Borrowed(poison.class),
            code: poison.code.to_owned(),
            why: poison.why.clone(),
            attempts: 1,
        }
    }

    pub(crate) fn of_error(error: &Error, class: &'static str, attempts: u32) -> Self {
        Self {
            class: Cow::Borrowed(class),
            code: error.code().to_owned(),
            why: error.to_string(),
            attempts,
        }
    }
}

/// What moves with the effects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// The lane's position, from one place of the bus to another.
    Follow { from: Seq, upto: Seq },
    /// Nothing: events that the bus did not have, fetched from the log.
    Fill,
    /// A dead letter, which is gone afterwards.
    Letter {
        number: i64,
        /// When it was last changed: somebody else may have edited it since it was read.
        last: Timestamp,
    },
    /// A replay of history, from one place of the bus to another.
    History {
        job: i64,
        from: Seq,
        upto: Seq,
        /// Events left out, because they cannot be applied.
        failed: u64,
    },
}

/// Events that take effect in one transaction, and what moves with them. A projection opens the transaction,
/// calls [`super::sqlite::admit`] or [`super::postgres::admit`], which does everything but the effects, makes
/// the effects of what was admitted, and commits.
#[derive(Debug, Clone)]
pub struct Batch {
    pub(crate) consumer: Arc<str>,
    pub(crate) bus: BusId,
    pub(crate) lane: Lane,
    pub(crate) step: Step,
    pub(crate) mode: Mode,
    pub(crate) policy: Policy,
    /// Whether a key begins with any number: [`super::ConsumerOptions::rebuilds`].
    pub(crate) begins_anywhere: bool,
    pub(crate) letters_max: u64,
    pub(crate) key_letters_max: u64,
    pub(crate) now: Timestamp,
    pub(crate) events: Arc<Vec<Event>>,
    pub(crate) range: Range<usize>,
    /// What upcasters made of events, where they changed them. Letters keep what came.
    pub(crate) upcast: Arc<HashMap<Uuid, Event>>,
    pub(crate) condemned: Arc<HashMap<Uuid, Condemned>>,
}

impl Batch {
    /// The events of `bus` after `from` up to `upto`, for a consumer of one lane that parks keys: what a
    /// running [`super::Consumer`] hands out, for tests of a projection without one.
    #[must_use]
    pub fn follow(
        consumer: &str,
        bus: BusId,
        from: Seq,
        events: Arc<Vec<Event>>,
        upto: Seq,
        now: Timestamp,
    ) -> Self {
        Self {
            consumer: consumer.into(),
            bus,
            lane: Lane::ALL,
            step: Step::Follow { from, upto },
            mode: Mode::Live,
            policy: Policy::Park,
            begins_anywhere: false,
            letters_max: letters::LETTERS_MAX,
            key_letters_max: letters::KEY_LETTERS_MAX,
            now,
            range: 0..events.len(),
            events,
            upcast: Arc::default(),
            condemned: Arc::default(),
        }
    }

    /// Events of a replay of history, from where it is up to `upto`: as [`Batch::follow`], for tests.
    #[must_use]
    pub fn history(consumer: &str, job: &Job, events: Arc<Vec<Event>>, upto: Seq, now: Timestamp) -> Self {
        Self {
            step: Step::History {
                job: job.number,
                from: job.at,
                upto,
                failed: 0,
            },
            mode: Mode::Replay,
            ..Self::follow(consumer, job.plan.bus.clone(), job.at, events, upto, now)
        }
    }

    /// The same batch, of whose events these must not be applied.
    #[must_use]
    pub fn condemning(mut self, condemned: HashMap<Uuid, Condemned>) -> Self {
        self.condemned = Arc::new(condemned);
        self
    }

    /// The same batch under another policy.
    #[must_use]
    pub fn under(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// The same batch, in which a key that was never seen begins with the first number that comes.
    #[must_use]
    pub fn beginning_anywhere(mut self) -> Self {
        self.begins_anywhere = true;
        self
    }

    /// The consumer's name.
    #[must_use]
    pub fn consumer(&self) -> &str {
        &self.consumer
    }

    /// How its events come.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// All its events, as they came, also those that will not be admitted.
    #[must_use]
    pub fn events(&self) -> &[Event] {
        &self.events[self.range.clone()]
    }

    /// What to apply for `event`.
    pub(crate) fn current<'b>(&'b self, event: &'b Event) -> &'b Event {
        if self.upcast.is_empty() {
            return event;
        }
        self.upcast.get(&event.id).unwrap_or(event)
    }
}

/// What of a batch must take effect.
#[derive(Debug)]
pub struct Admitted<'b> {
    /// These, in this order.
    pub fresh: Vec<&'b Event>,
    /// What the batch comes to, when it is committed.
    pub applied: Applied,
}

/// What applying a batch came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Applied {
    /// Events that took effect.
    pub applied: u64,
    /// Events that had taken effect before, or wait as letters already.
    pub duplicates: u64,
    /// Events that were set aside: their keys wait.
    pub parked: u64,
    /// Events that were put behind a parked one of their key.
    pub waiting: u64,
    /// Events that were set aside while their key goes on.
    pub skipped: u64,
    /// Numbers that passed without an effect: of events that were given up.
    pub passed: u64,
    /// Whether a letter can go on, because the event before it was applied.
    pub ready: bool,
}

impl Applied {
    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            applied: self.applied + other.applied,
            duplicates: self.duplicates + other.duplicates,
            parked: self.parked + other.parked,
            waiting: self.waiting + other.waiting,
            skipped: self.skipped + other.skipped,
            passed: self.passed + other.passed,
            ready: self.ready || other.ready,
        }
    }
}

#[cfg(test)]
mod tests;
