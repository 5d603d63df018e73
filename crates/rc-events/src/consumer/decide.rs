//! What becomes of each event of a batch: a pure function of the keys' last numbers and their letters. The
//! stores load what it asks for and write what it says, in the transaction of the effects.

use std::collections::{BTreeMap, HashMap, HashSet};

use uuid::Uuid;

use super::batch::{Applied, Batch};
use super::options::Policy;
use crate::Error;
use crate::error::Gap;
use crate::event::{Event, Numbering};
use crate::faults;
use crate::letters::{CLASS_BEHIND, CLASS_GAP, LetterState};

/// The type of an event whose number passes without an effect: the place of one that was given up.
pub const VOID: &str = "rc.void.v1";

/// What to do with the next event of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is the next one.
    Apply,
    /// It was applied before.
    Duplicate,
    /// At least one is missing before it.
    Gap,
}

/// The rule of a key's numbers: `last` is 0 for a key that was never seen.
#[must_use]
pub fn judge(last: u64, kseq: u64, numbering: Numbering) -> Verdict {
    if faults::mutated("consumer.skip_judge") {
        Verdict::Apply
    } else if kseq <= last {
        Verdict::Duplicate
    } else if kseq == last + 1 || numbering == Numbering::Increasing {
        Verdict::Apply
    } else {
        Verdict::Gap
    }
}

/// A place by its names: tenant, topic, key.
pub(crate) type Names<'e> = (&'e str, &'e str, &'e str);

pub(crate) fn names(event: &Event) -> Names<'_> {
    (event.tenant.as_str(), &event.topic, &event.key)
}

/// What a store knows of a key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Known {
    /// The last number that was applied or passed.
    pub(crate) last: u64,
    /// The id of the event with this number.
    pub(crate) id: Uuid,
    /// The highest number that is held as a letter; 0: none is.
    pub(crate) held: u64,
}

impl Known {
    /// Whether letters are open: all of them have numbers above the last.
    pub(crate) fn has_letters(&self) -> bool {
        self.held > self.last
    }
}

/// A letter to be stored.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NewLetter<'b> {
    pub(crate) event: &'b Event,
    pub(crate) state: LetterState,
    pub(crate) class: &'b str,
    pub(crate) code: &'b str,
    pub(crate) why: &'b str,
    pub(crate) attempts: u32,
}

/// What becomes of a batch.
#[derive(Debug, Default)]
pub(crate) struct Decided<'b> {
    /// To be applied, in this order.
    pub(crate) fresh: Vec<&'b Event>,
    pub(crate) letters: Vec<NewLetter<'b>>,
    /// The keys that change, as they are afterwards, in the order in which they are locked.
    pub(crate) keys: BTreeMap<Names<'b>, Known>,
    pub(crate) applied: Applied,
}

/// Events in the order of the bus, or fetched from the log. `known` has the keys of the batch that were seen
/// before, `open` the numbers of the open letters of those that have some.
///
/// # Errors
/// [`Error::Gap`] with one gap a key, [`Error::Mismatch`], [`Error::Full`].
pub(crate) fn follow<'b>(
    batch: &'b Batch,
    mut known: HashMap<Names<'b>, Known>,
    mut open: HashMap<Names<'b>, HashSet<u64>>,
) -> Result<Decided<'b>, Error> {
    let mut decided = Decided {
        fresh: Vec::with_capacity(batch.events().len()),
        ..Decided::default()
    };
    let mut gaps: Vec<Gap> = Vec::new();
    for event in batch.events() {
        let place = names(event);
        let key = known.entry(place).or_default();
        let waits = key.has_letters() && !faults::mutated("consumer.apply_waiting");
        let verdict = if batch.begins_anywhere && *key == Known::default() {
            Verdict::Apply
        } else {
            judge(key.last, event.kseq, event.numbering)
        };
        if verdict == Verdict::Duplicate {
            if event.kseq == key.last && key.id != event.id {
                return Err(super::mismatch(event));
            }
            decided.applied.duplicates += 1;
            continue;
        }
        if waits {
            let held = open.entry(place).or_default();
            if held.contains(&event.kseq) {
                decided.applied.duplicates += 1;
                continue;
            }
            // The number that the letters of this key were missing may come late; everything else waits.
            let missing = verdict == Verdict::Apply && event.numbering == Numbering::Consecutive;
            if !missing {
                put_behind(batch, event, key, held, &mut decided)?;
                continue;
            }
            decided.applied.ready = true;
        }
        let condemned = batch.condemned.get(&event.id);
        match (condemned, verdict) {
            (Some(why), _) => {
                decided.letters.push(NewLetter {
                    event,
                    state: match batch.policy {
                        Policy::Skip => LetterState::Skipped,
                        Policy::Park | Policy::Halt => LetterState::Parked,
                    },
                    class: &why.class,
                    code: &why.code,
                    why: &why.why,
                    attempts: why.attempts,
                });
                if batch.policy == Policy::Skip {
                    decided.applied.skipped += 1;
                    (key.last, key.id) = (event.kseq, event.id);
                } else {
                    decided.applied.parked += 1;
                    key.held = key.held.max(event.kseq);
                    open.entry(place).or_default().insert(event.kseq);
                }
                decided.keys.insert(place, *key);
            }
            (None, Verdict::Gap) => {
                // The first gap of a key says all that is missing before its next event.
                if gaps.iter().all(|gap| !same_place(gap, place)) {
                    gaps.push(super::between(event, key.last));
                }
            }
            (None, Verdict::Apply | Verdict::Duplicate) => {
                (key.last, key.id) = (event.kseq, event.id);
                decided.keys.insert(place, *key);
                if event.event_type == VOID {
                    decided.applied.passed += 1;
                } else {
                    decided.fresh.push(batch.current(event));
                }
            }
        }
    }
    if !gaps.is_empty() {
        return Err(Error::Gap(gaps.into()));
    }
    decided.applied.applied = decided.fresh.len() as u64;
    Ok(decided)
}

fn same_place(gap: &Gap, place: Names<'_>) -> bool {
    (gap.place.tenant.as_str(), &*gap.place.topic, &*gap.place.key) == place
}

/// Keeps an event behind the letters of its key.
fn put_behind<'b>(
    batch: &Batch,
    event: &'b Event,
    key: &mut Known,
    held: &mut HashSet<u64>,
    decided: &mut Decided<'b>,
) -> Result<(), Error> {
    if held.len() as u64 >= batch.key_letters_max {
        return Err(Error::Full(
            format!(
                "{} has {} dead letters of consumer `{}`; {} are allowed",
                event.place(),
                held.len(),
                batch.consumer,
                batch.key_letters_max
            )
            .into(),
        ));
    }
    held.insert(event.kseq);
    key.held = key.held.max(event.kseq);
    decided.keys.insert(names(event), *key);
    decided.letters.push(NewLetter {
        event,
        state: LetterState::Waiting,
        class: CLASS_BEHIND,
        code: "",
        why: "",
        attempts: 0,
    });
    decided.applied.waiting += 1;
    Ok(())
}

/// What a store knows of a letter that is to be applied.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Held {
    pub(crate) state: LetterState,
    /// The lowest number of the key's open letters.
    pub(crate) lowest: Option<u64>,
    /// Whether another open letter stands behind it.
    pub(crate) more: bool,
}

/// One letter: its event, which is the only one of the batch, is applied, or its number passes.
///
/// # Errors
/// [`Error::Gap`] when numbers are missing before it, [`Error::Letter`] when another letter is before it.
pub(crate) fn letter<'b>(batch: &'b Batch, known: Known, held: Held) -> Result<Decided<'b>, Error> {
    let [event] = batch.events() else {
        return Err(Error::damaged("a letter is one event"));
    };
    let mut decided = Decided::default();
    if held.state == LetterState::Skipped {
        // Its number has passed: the effect comes late, and the projection knows.
        decided.fresh.push(batch.current(event));
        decided.applied.applied = 1;
        return Ok(decided);
    }
    if held.lowest != Some(event.kseq) {
        return Err(Error::letter(format!(
            "event {} of {} is not the first letter of its key",
            event.kseq,
            event.place()
        )));
    }
    let mut key = known;
    match judge(known.last, event.kseq, event.numbering) {
        Verdict::Gap => return Err(super::gap(event, known.last)),
        Verdict::Duplicate => decided.applied.duplicates = 1,
        Verdict::Apply => {
            (key.last, key.id) = (event.kseq, event.id);
            if held.state == LetterState::Dropped || event.event_type == VOID {
                decided.applied.passed = 1;
            } else {
                decided.fresh.push(batch.current(event));
                decided.applied.applied = 1;
            }
        }
    }
    if !held.more {
        key.held = 0;
    }
    decided.keys.insert(names(event), key);
    Ok(decided)
}

/// Events of the past: those whose numbers this consumer has passed. What it has not come to yet, and what
/// waits as a letter, comes by itself.
pub(crate) fn history<'b>(batch: &'b Batch, known: &HashMap<Names<'b>, Known>) -> Decided<'b> {
    let passed = |event: &&Event| {
        let last = known.get(&names(event)).map_or(0, |key| key.last);
        event.kseq <= last && event.event_type != VOID && !batch.condemned.contains_key(&event.id)
    };
    let fresh: Vec<&Event> = batch
        .events()
        .iter()
        .filter(passed)
        .map(|event| batch.current(event))
        .collect();
    Decided {
        applied: Applied {
            applied: fresh.len() as u64,
            ..Applied::default()
        },
        fresh,
        ..Decided::default()
    }
}

/// Whether the first open letter of a key can go without a person: it waits for nothing but its turn, or what
/// it was missing is there.
pub(crate) fn goes_by_itself(state: LetterState, class: &str, last: u64, kseq: u64) -> bool {
    match state {
        LetterState::Waiting | LetterState::Dropped => true,
        LetterState::Parked => class == CLASS_GAP && kseq <= last + 1,
        LetterState::Skipped | LetterState::Stuck => false,
    }
}

#[cfg(test)]
mod tests;
