//! What both stores check in the same way and say in the same words.

use super::batch::Batch;
use super::books::Entered;
use crate::Error;
use crate::bus::BusId;
use crate::error::Moved;
use crate::event::Seq;

/// The positions to begin with, from the stored ones by lane, and whether they must be written. An empty bus
/// stands in rows of the former layout: it is taken for the one that is there.
pub(super) fn enter(stored: &[(String, Seq)], bus: &BusId, lanes: u16, start: Seq) -> (Entered, bool) {
    let known = |of: &str| of.is_empty() || of == bus.as_str();
    let former = stored
        .iter()
        .map(|(of, _)| of.as_str())
        .find(|of| !known(of))
        .map(BusId::new);
    let as_wanted = stored.len() == usize::from(lanes) && stored.iter().all(|(of, _)| of == bus.as_str());
    let positions = if as_wanted {
        stored.iter().map(|(_, seq)| *seq).collect()
    } else {
        let lowest = stored.iter().map(|(_, seq)| *seq).min().unwrap_or(start);
        let begin = if former.is_some() { start } else { lowest };
        vec![begin; usize::from(lanes)]
    };
    (Entered { positions, former }, !as_wanted)
}

/// Whether the lane is where this process left it, and reads the same bus.
pub(super) fn check_stand(batch: &Batch, bus: &str, stored: Seq, from: Option<Seq>) -> Result<(), Error> {
    if bus.is_empty() || bus == batch.bus.as_str() {
        match from {
            Some(from) if from != stored => {}
            _ => return Ok(()),
        }
    }
    Err(Error::Moved(Box::new(Moved {
        consumer: batch.consumer.to_string(),
        expected: from.unwrap_or(stored),
        stored,
    })))
}

/// How many letters are too many when `more` come to those that are `stored`.
pub(super) fn letters_over(batch: &Batch, stored: i64, more: usize) -> i64 {
    let all = stored.cast_unsigned().saturating_add(more as u64);
    all.saturating_sub(batch.letters_max).cast_signed()
}

/// Whether forgetting skipped letters made the room that was wanted.
pub(super) fn check_room(batch: &Batch, over: i64, forgotten: u64) -> Result<(), Error> {
    if forgotten >= over.cast_unsigned() {
        return Ok(());
    }
    Err(Error::Full(
        format!(
            "consumer `{}` holds all the dead letters it may: {} are allowed",
            batch.consumer, batch.letters_max
        )
        .into(),
    ))
}

pub(super) fn letter_changed(number: i64) -> Error {
    Error::letter(format!("dead letter {number} is gone or was changed meanwhile"))
}

pub(super) fn replays_already(consumer: &str, number: i64, at: Seq, upto: Seq) -> Error {
    Error::job(format!(
        "consumer `{consumer}` is replaying already: job {number} is at {at} of {upto}"
    ))
}

pub(super) fn job_moved(job: i64, from: Seq) -> Error {
    Error::job(format!("replay {job} was ended, or is not at {from} any more"))
}

#[cfg(test)]
mod tests;
