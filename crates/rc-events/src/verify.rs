//! Holds a log and a bus against each other, both ways, place by place; publishes again what is missing.
//!
//! It believes neither: what the log has kept must be on the bus once, in order and unchanged, and what is
//! on the bus must have been written. Memory is bounded: a long log is walked several times, each time for
//! a part of its places. Both may be in use meanwhile.

mod book;

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use crate::bus::{BATCH_BYTES_MAX, BATCH_ROWS_MAX, Bus, BusId, Cursor, Publish, ReadLimit, Record};
use crate::error::BUS_GONE;
use crate::event::{Event, NewEvent, Place, Seq};
use crate::relay::Source;
use crate::{Error, faults};

use book::Book;

/// Events in memory at a time: some ten MiB.
pub const EVENTS_PER_WALK: u64 = 250_000;

/// Examples of each kind that a report names.
pub const EXAMPLES_MAX: usize = 10;

/// How often a walk starts again because retention overtook it.
const OVERTAKEN_MAX: u32 = 3;

/// How often a repair reads the cursor again because a relay published meanwhile.
const RACES_MAX: u32 = 100;

/// One event that a report names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    /// Whose order it is part of.
    pub place: Place,
    /// Its number there.
    pub kseq: u64,
    /// Where it stands on the bus, if it does.
    pub pos: Option<Seq>,
}

/// How often something was found, and the first of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Finding {
    /// How often.
    pub count: u64,
    /// The first, at most [`EXAMPLES_MAX`].
    pub examples: Vec<Example>,
}

impl Finding {
    fn add(&mut self, count: u64, place: &Place, kseq: u64, pos: Option<Seq>) {
        self.count += count;
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(Example {
                place: place.clone(),
                kseq,
                pos,
            });
        }
    }
}

/// What came out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Events that the log keeps.
    pub log_events: u64,
    /// Events that the bus keeps, also those of other logs.
    pub bus_events: u64,
    /// Events on the bus that the log no longer keeps, or never had: another service's.
    pub beyond_log: u64,
    /// Events in the log that the bus may have deleted in its time.
    pub beyond_bus: u64,
    /// Events in the log that the relay has not come to.
    pub waiting: u64,
    /// The log has them, the relay has passed them, the bus does not have them. A repair publishes them.
    pub missing: Finding,
    /// Neither has them, and the bus has events before and after them: nothing brings them back.
    pub lost: Finding,
    /// Twice on the bus, the same. Consumers pass over the second.
    pub doubled: Finding,
    /// On the bus behind a higher number of their place. A repair leaves them so; consumers fetch or wait.
    pub reordered: Finding,
    /// On the bus with other content than in the log.
    pub changed: Finding,
    /// On the bus with a number that the log has not given: the log was restored from a backup.
    pub phantom: Finding,
}

impl Report {
    /// Whether nothing at all is wrong.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.is_whole() && self.doubled.count == 0 && self.reordered.count == 0
    }

    /// Whether the bus has what was written and nothing else; doubled or late events do no harm.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        [&self.missing, &self.lost, &self.changed, &self.phantom]
            .iter()
            .all(|finding| finding.count == 0)
    }
}

/// What a repair did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Repaired {
    /// The new id of a bus that was gone and was made anew.
    pub made_anew: Option<BusId>,
    /// What was found before anything was published.
    pub report: Report,
    /// Missing events that were published.
    pub published: u64,
    /// Missing events that the bus will never take.
    pub refused: Finding,
}

/// Holds the log of `source` and `bus` against each other. The source is one of the caller's own, not the
/// relay's, and one that reads from the start of its log: not a table that forgets what was relayed.
///
/// # Errors
/// What log or bus say; nothing is changed.
pub async fn verify(source: &dyn Source, bus: &dyn Bus) -> Result<Report, Error> {
    verify_in(source, bus, EVENTS_PER_WALK).await
}

/// As [`verify`], with so many events in memory at a time.
///
/// # Errors
/// As [`verify`].
pub async fn verify_in(source: &dyn Source, bus: &dyn Bus, events_max: u64) -> Result<Report, Error> {
    let mut report = Report::default();
    let parts = parts(source, bus, events_max).await?;
    for part in 0..parts {
        compare(source, bus, Part { part, parts }, &mut report).await?;
    }
    Ok(report)
}

/// Publishes again what is missing, with the ids and numbers that it has in the log; a bus that is gone is
/// made anew before, and the relay then publishes all that the log has. May be repeated, and may run beside a
/// relay.
///
/// # Errors
/// What log or bus say. What was published until then stays; the next repair goes on.
pub async fn repair(source: &dyn Source, bus: &dyn Bus) -> Result<Repaired, Error> {
    let mut done = Repaired::default();
    if bus.id().await.is_err_and(|error| error.code() == BUS_GONE) {
        done.made_anew = Some(bus.make_anew().await?);
    }
    let parts = parts(source, bus, EVENTS_PER_WALK).await?;
    for part in 0..parts {
        let part = Part { part, parts };
        let book = compare(source, bus, part, &mut done.report).await?;
        publish_missing(source, bus, &book, &mut done).await?;
    }
    Ok(done)
}

/// Some of all places: those whose hash falls into it.
#[derive(Debug, Clone, Copy)]
struct Part {
    part: u64,
    parts: u64,
}

impl Part {
    fn has(self, event: &NewEvent) -> bool {
        let mut hasher = DefaultHasher::new();
        (event.tenant.as_str(), &event.topic, &event.key).hash(&mut hasher);
        hasher.finish() % self.parts == self.part
    }
}

async fn parts(source: &dyn Source, bus: &dyn Bus, events_max: u64) -> Result<u64, Error> {
    let log = source.backlog(&Cursor::default()).await?.rows;
    let kept = (bus.tail().await? - first(bus).await? + 1).max(0);
    Ok(log.max(kept.cast_unsigned()).div_ceil(events_max.max(1)).max(1))
}

/// The oldest event that the bus keeps, or the next one if it keeps none.
async fn first(bus: &dyn Bus) -> Result<Seq, Error> {
    let one = ReadLimit { rows: 1, bytes: 1 };
    match bus.read(0, one).await {
        Ok(_) => Ok(1),
        Err(Error::Pruned { first, .. }) => Ok(first),
        Err(error) => Err(error),
    }
}

/// Walks the log, then the bus, for the places of one part.
async fn compare(source: &dyn Source, bus: &dyn Bus, part: Part, report: &mut Report) -> Result<Book, Error> {
    let mut overtaken = 0;
    loop {
        let mut found = report.clone();
        match compare_once(source, bus, part, &mut found).await {
            Ok(book) => {
                *report = found;
                return Ok(book);
            }
            Err(Error::Pruned { .. }) if overtaken < OVERTAKEN_MAX => overtaken += 1,
            Err(error) => return Err(error),
        }
    }
}

async fn compare_once(
    source: &dyn Source,
    bus: &dyn Bus,
    part: Part,
    report: &mut Report,
) -> Result<Book, Error> {
    // In this order: what the relay has passed is on the bus up to `tail`, and what is on the bus up to
    // `tail` was in the log before the log is walked.
    let relayed = bus.cursor(source.origin()).await?;
    let tail = bus.tail().await?;
    let first = first(bus).await?;
    let mut book = Book::default();
    walk_log(source, Cursor::default(), |record| {
        if part.has(&record.event) {
            book.wrote(record);
        }
    })
    .await?;
    let mut after = first - 1;
    while after < tail {
        let events = bus.read(after, ReadLimit::default()).await?;
        let Some(last) = events.last() else {
            break;
        };
        after = last.pos;
        for event in events.iter().filter(|event| event.pos <= tail && part.has(event)) {
            book.met(event, report);
        }
    }
    walk_log(source, relayed, |record| {
        if part.has(&record.event) {
            book.waits(record);
        }
    })
    .await?;
    book.close(first, report);
    Ok(book)
}

async fn walk_log(source: &dyn Source, from: Cursor, mut each: impl FnMut(&Record)) -> Result<(), Error> {
    let mut at = from;
    let mut empty = 0;
    // A source may move once without events.
    while empty < 2 {
        let fetched = source.fetch(&at, ReadLimit::default()).await?;
        empty = if fetched.records.is_empty() { empty + 1 } else { 0 };
        fetched.records.iter().for_each(&mut each);
        at = fetched.cursor;
    }
    Ok(())
}

/// Walks the log once more for what the book misses.
async fn publish_missing(
    source: &dyn Source,
    bus: &dyn Bus,
    book: &Book,
    done: &mut Repaired,
) -> Result<(), Error> {
    if !book.misses_any() {
        return Ok(());
    }
    let mut at = Cursor::default();
    let mut empty = 0;
    while empty < 2 {
        let fetched = source.fetch(&at, ReadLimit::default()).await?;
        empty = if fetched.records.is_empty() { empty + 1 } else { 0 };
        at = fetched.cursor;
        let missing: Vec<Record> = fetched
            .records
            .into_iter()
            .filter(|record| book.misses(&record.event))
            .collect();
        for batch in batches(missing) {
            publish(source, bus, batch, done).await?;
        }
    }
    Ok(())
}

fn batches(records: Vec<Record>) -> Vec<Vec<Record>> {
    let mut batches: Vec<Vec<Record>> = Vec::new();
    let mut bytes = 0;
    for record in records {
        let size = record.event.bytes();
        match batches.last_mut() {
            Some(batch) if batch.len() < BATCH_ROWS_MAX && bytes + size <= BATCH_BYTES_MAX => {
                bytes += size;
                batch.push(record);
            }
            _ => {
                bytes = size;
                batches.push(vec![record]);
            }
        }
    }
    batches
}

/// Publishes at the end of the bus without moving the origin's cursor: a relay beside goes on as it was.
async fn publish(
    source: &dyn Source,
    bus: &dyn Bus,
    mut records: Vec<Record>,
    done: &mut Repaired,
) -> Result<(), Error> {
    let mut races = 0;
    let mut cursor = bus.cursor(source.origin()).await?;
    while !records.is_empty() {
        faults::point("verify.before_repair");
        let publish = Publish {
            origin: source.origin().to_owned(),
            expected: cursor.clone(),
            cursor: cursor.clone(),
            records: records.clone(),
        };
        match bus.publish(publish).await {
            Ok(_tail) => {
                done.published += u64::try_from(records.len()).unwrap_or(u64::MAX);
                return Ok(());
            }
            Err(Error::Fenced(fenced)) if races < RACES_MAX => {
                races += 1;
                cursor = fenced.actual;
            }
            Err(Error::Refused(refused)) if refused.index < records.len() => {
                let record = records.remove(refused.index);
                let event = record.event;
                done.refused.add(1, &event.place(), event.kseq, None);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// What tells two events apart: all of them but the place on bus and log.
fn content(event: &NewEvent) -> u64 {
    let mut hasher = DefaultHasher::new();
    (
        event.id,
        &*event.event_type,
        event.schema,
        event.time.unix_ms(),
        event.fingerprint,
        event.numbering as u8,
        &event.payload[..],
    )
        .hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests;
