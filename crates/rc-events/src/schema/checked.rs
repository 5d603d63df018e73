//! A bus that takes only events that keep their schema: what plain SQL wrote into an outbox is met here.

use std::sync::Arc;
use std::time::Duration;

use super::{Registry, Violation};
use crate::bus::{Bus, BusConsumer, BusId, Cursor, Publish, ReadLimit, Retained, Retention};
use crate::error::Refused;
use crate::event::{Event, Seq};
use crate::{BoxFuture, Error};

/// Another bus behind a check of schemas. An event that breaks its own is refused like one that is too large, so
/// that a relay sets it aside with its key, and a release of the letter is checked again.
pub struct CheckedBus {
    bus: Arc<dyn Bus>,
    schemas: Arc<Registry>,
}

impl std::fmt::Debug for CheckedBus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CheckedBus").finish_non_exhaustive()
    }
}

impl CheckedBus {
    /// `bus`, which then takes only what `schemas` allow.
    #[must_use]
    pub fn new(bus: Arc<dyn Bus>, schemas: Arc<Registry>) -> Self {
        Self { bus, schemas }
    }

    fn refusal(&self, publish: &Publish) -> Option<Refused> {
        publish.records.iter().enumerate().find_map(|(index, record)| {
            let violation = self.schemas.check(&record.event).err()?;
            Some(refused(
                index,
                record.event.kseq,
                &record.event.place(),
                &violation,
            ))
        })
    }
}

fn refused(index: usize, kseq: u64, place: &crate::event::Place, violation: &Violation) -> Refused {
    Refused {
        index,
        place: format!("{place} {kseq}"),
        class: violation.class(),
        code: violation.code(),
        why: violation.to_string(),
    }
}

impl Bus for CheckedBus {
    fn id(&self) -> BoxFuture<'_, Result<BusId, Error>> {
        self.bus.id()
    }

    fn publish(&self, publish: Publish) -> BoxFuture<'_, Result<Seq, Error>> {
        match self.refusal(&publish) {
            Some(refused) => Box::pin(async move { Err(Error::Refused(Box::new(refused))) }),
            None => self.bus.publish(publish),
        }
    }

    fn cursor<'a>(&'a self, origin: &'a str) -> BoxFuture<'a, Result<Cursor, Error>> {
        self.bus.cursor(origin)
    }

    fn read(&self, after: Seq, limit: ReadLimit) -> BoxFuture<'_, Result<Vec<Event>, Error>> {
        self.bus.read(after, limit)
    }

    fn tail(&self) -> BoxFuture<'_, Result<Seq, Error>> {
        self.bus.tail()
    }

    fn wait(&self, after: Seq, timeout: Duration) -> BoxFuture<'_, Result<Seq, Error>> {
        self.bus.wait(after, timeout)
    }

    fn progress<'a>(&'a self, consumer: &'a str, seq: Seq) -> BoxFuture<'a, Result<(), Error>> {
        self.bus.progress(consumer, seq)
    }

    fn consumers(&self) -> BoxFuture<'_, Result<Vec<BusConsumer>, Error>> {
        self.bus.consumers()
    }

    fn make_anew(&self) -> BoxFuture<'_, Result<BusId, Error>> {
        self.bus.make_anew()
    }

    fn retain<'a>(&'a self, retention: &'a Retention) -> BoxFuture<'a, Result<Retained, Error>> {
        self.bus.retain(retention)
    }
}
