//! Real events held against the schemas: the newest ones on the bus.

use std::collections::BTreeMap;
use std::sync::Arc;

use rc_events::schema::{Registry, Subject, Violation};
use rc_events::{Bus, Error, Event, ReadLimit, Seq, SqliteBus};
use rc_model::{Clock, SystemClock};
use rc_services::ingest;
use rc_store::StoreUrl;
use serde::Serialize;

use super::super::place::{End, Place, Typed};
use crate::bus;
use crate::cx::Cx;
use crate::fault::Fault;

/// Places of the bus that are read at a time, from the newest on.
const WINDOW: Seq = 10_000;

/// Places of the bus that are looked at in all: a type that is rarer than this has fewer events in the answer.
const PLACES_MAX: Seq = 1_000_000;

/// Events that are shown for a schema that they break.
const EXAMPLES_MAX: usize = 5;

/// What real events of one schema say about it.
#[derive(Debug, Default, Serialize)]
pub(super) struct Sample {
    /// How many were looked at.
    pub(super) events: u64,
    /// How many of them break it.
    pub(super) broken: u64,
    pub(super) examples: Vec<Example>,
}

/// An event that breaks a schema.
#[derive(Debug, Serialize)]
pub(super) struct Example {
    /// Its place on the bus.
    pub(super) position: Seq,
    /// What is wrong with it; it quotes no value.
    pub(super) what: String,
}

/// The newest `each` events of every schema in `schemas`, checked: those of the bus at `from`, else of the project's.
///
/// # Errors
/// When there is no bus to read.
pub(super) async fn check(
    cx: &Cx,
    from: Option<&Typed>,
    schemas: &Registry,
    each: u64,
) -> Result<BTreeMap<String, Sample>, Fault> {
    let bus = open(cx, from).await?;
    sample(bus.as_ref(), schemas, each).await.map_err(|error| {
        Fault::world(error.code(), "the newest events cannot be read")
            .because(error)
            .hint("does the bus run, and is its URL right?")
    })
}

async fn sample(bus: &dyn Bus, schemas: &Registry, each: u64) -> Result<BTreeMap<String, Sample>, Error> {
    let mut samples: BTreeMap<String, Sample> = schemas
        .schemas()
        .map(|schema| (schema.subject().to_string(), Sample::default()))
        .collect();
    let tail = bus.tail().await?;
    let mut end = tail;
    while end > 0 && tail - end < PLACES_MAX && samples.values().any(|sample| sample.events < each) {
        let start = (end - WINDOW).max(0);
        let (events, whole) = window(bus, start, end).await?;
        for event in events.iter().rev() {
            note(&mut samples, schemas, event, each);
        }
        end = if whole { start } else { 0 };
    }
    Ok(samples)
}

fn note(samples: &mut BTreeMap<String, Sample>, schemas: &Registry, event: &Event, each: u64) {
    let found = schemas.check(event);
    let subject = Subject::of(event);
    let sample = match &found {
        // A version that nobody knows is a fault of the schemas that there are.
        Err(Violation::UnknownMajor { .. }) => samples.entry(subject.to_string()).or_default(),
        _ => match samples.get_mut(&subject.to_string()) {
            Some(sample) => sample,
            None => return,
        },
    };
    if sample.events == each {
        return;
    }
    sample.events += 1;
    if let Err(violation) = found {
        sample.broken += 1;
        if sample.examples.len() < EXAMPLES_MAX {
            sample.examples.push(Example {
                position: event.pos,
                what: violation.to_string(),
            });
        }
    }
}

/// The events after `start` up to `end`, and whether the bus still has them all.
async fn window(bus: &dyn Bus, start: Seq, end: Seq) -> Result<(Vec<Event>, bool), Error> {
    let (mut events, mut after, mut whole) = (Vec::new(), start, true);
    while after < end {
        match bus.read(after, ReadLimit::default()).await {
            Ok(more) => {
                let Some(last) = more.last() else { break };
                after = last.pos;
                events.extend(more.into_iter().filter(|event| event.pos <= end));
            }
            Err(Error::Pruned { first, .. }) if first > after + 1 => (after, whole) = (first - 1, false),
            Err(error) => return Err(error),
        }
    }
    Ok((events, whole))
}

/// The bus that was named, else the project's own.
async fn open(cx: &Cx, from: Option<&Typed>) -> Result<Arc<dyn Bus>, Fault> {
    let clock: Arc<dyn Clock> = SystemClock::shared();
    if let Some(place) = End::To.find(cx, from)? {
        return place.bus_to_read(&clock).await;
    }
    let model = cx.model()?;
    if let Some(url) = cx.env.bus_url.as_ref().or(model.project.bus.url.as_ref()) {
        return bus::open(url, &clock);
    }
    let url = cx.store_url()?;
    let store = StoreUrl::parse(&url)
        .map_err(|error| Fault::usage(error.code(), "the store's URL is not one").because(error))?;
    match store {
        StoreUrl::Postgres(_) => Place::Postgres(store, url).bus_to_read(&clock).await,
        StoreUrl::Sqlite => {
            let file = ingest::bus_file(&cx.layout());
            let bus = SqliteBus::open_readonly(&file, clock).map_err(|error| {
                Fault::world(error.code(), "the project has no bus to take events from")
                    .because(error)
                    .hint("run `rc up` once and ingest something, or leave `--corpus` out")
            })?;
            Ok(Arc::new(bus))
        }
    }
}

#[cfg(test)]
mod tests;
