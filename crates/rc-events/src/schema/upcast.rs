//! Upcasters: pure functions from one major version of a payload to the next, applied when an event is read. What
//! is stored never changes, so fingerprints, letters and replays keep what came.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

use super::{Registry, Schema, Subject, Violation, not_json};
use crate::consumer::Upcast;
use crate::error::Poison;
use crate::event::NewEvent;

type Step = Box<dyn Fn(Value) -> Result<Value, String> + Send + Sync>;

/// The steps from each major version to the next.
#[derive(Default)]
pub struct Upcasters(HashMap<Subject, Step>);

impl fmt::Debug for Upcasters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Upcasters {
    /// Adds the step of the type `name` from version `major` to the next. It says why it cannot read a payload.
    #[must_use]
    pub fn with(
        mut self,
        name: &str,
        major: u16,
        step: impl Fn(Value) -> Result<Value, String> + Send + Sync + 'static,
    ) -> Self {
        let subject = Subject {
            name: name.to_owned(),
            major,
        };
        self.0.insert(subject, Box::new(step));
        self
    }

    /// Whether there is a step from `subject` to the next version.
    #[must_use]
    pub fn has(&self, subject: &Subject) -> bool {
        self.0.contains_key(subject)
    }
}

/// What a consumer reads events through: it checks them, and brings older ones to the newest version of their type
/// that is known. For [`ConsumerOptions::upcast`](crate::ConsumerOptions::upcast).
///
/// A version from which no step leads on stays what it is; the consumer has to know it then.
#[derive(Debug)]
pub struct Reader {
    schemas: Arc<Registry>,
    upcasters: Upcasters,
}

impl Reader {
    /// Checks by `schemas`, and reads older versions by `upcasters`.
    #[must_use]
    pub fn new(schemas: Arc<Registry>, upcasters: Upcasters) -> Self {
        Self { schemas, upcasters }
    }

    fn read(&self, event: &NewEvent) -> Result<Option<NewEvent>, Violation> {
        let Some(schema) = self.schemas.schema_of(event)? else {
            return Ok(None);
        };
        let stored = schema.subject();
        let newest = self.schemas.newest(&stored.name).unwrap_or(stored.major);
        if stored.major == newest || !self.upcasters.has(stored) {
            return schema.check(&event.payload).map(|()| None);
        }
        let mut payload: Value = serde_json::from_slice(&event.payload).map_err(not_json)?;
        schema.check_value(&payload)?;
        let mut subject = stored.clone();
        while subject.major < newest
            && let Some(step) = self.upcasters.0.get(&subject)
        {
            payload = step(payload).map_err(|why| Violation::Upcast {
                from: Box::new(subject.clone()),
                why: why.into(),
            })?;
            subject.major += 1;
            self.schemas
                .get(&subject)
                .map_or(Ok(()), |next: &Schema| next.check_value(&payload))?;
        }
        let mut upcast = event.clone();
        if let Some(name) = event.event_type.strip_suffix(&format!(".v{}", stored.major)) {
            upcast.event_type = Cow::Owned(format!("{name}.v{}", subject.major));
        }
        upcast.schema = subject.major;
        upcast.payload = Bytes::from(payload.to_string());
        Ok(Some(upcast))
    }
}

impl Upcast for Reader {
    fn upcast(&self, event: &NewEvent) -> Result<Option<NewEvent>, Box<Poison>> {
        self.read(event).map_err(|violation| {
            Box::new(Poison {
                code: violation.code(),
                ..Poison::of(event, violation.class(), violation.to_string())
            })
        })
    }
}
