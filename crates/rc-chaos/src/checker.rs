//! The checker: whether a history keeps the promise. Per key none lost, none doubled, none reordered, none phantom.
//!
//! It knows numbers, ids and contents; it knows nothing of stores, buses, or how events travel.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;

use rc_events::Numbering;
use serde::{Deserialize, Serialize};

use crate::history::{End, Fact, History};

/// How many findings are kept with their details; all are counted.
const EXAMPLES_MAX: usize = 20;

/// What can be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fault {
    /// It was acknowledged, or the log has it, and it is not there.
    Lost,
    /// It is there more than once.
    Doubled,
    /// It came after a higher number of its key.
    Reordered,
    /// Nobody wrote it, it was rolled back, or the log does not have it.
    Phantom,
    /// A number is missing below one that is there.
    Gap,
    /// It is not what was written, or another event has its number.
    Altered,
    /// A part of its transaction is in the log and a part is not.
    Torn,
}

impl Fault {
    /// Its name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Doubled => "doubled",
            Self::Reordered => "reordered",
            Self::Phantom => "phantom",
            Self::Gap => "gap",
            Self::Altered => "altered",
            Self::Torn => "torn",
        }
    }
}

/// Where it is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Channel {
    /// The log, after recovery.
    Log,
    /// The bus.
    Stream,
    /// The consumer's store.
    Effects,
}

impl Channel {
    /// Its name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Stream => "stream",
            Self::Effects => "effects",
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What.
    pub fault: Fault,
    /// Where.
    pub channel: Channel,
    /// Which event.
    pub fact: Fact,
    /// What makes it wrong.
    pub why: &'static str,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Fact { place, kseq, id, .. } = &self.fact;
        let (fault, channel) = (self.fault.name(), self.channel.name());
        write!(
            f,
            "{fault} in {channel}: {place} {kseq} ({id:032x}): {}",
            self.why
        )
    }
}

/// What the checker says of a history.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// How often what is wrong where.
    pub counts: BTreeMap<(Fault, Channel), u64>,
    /// The first findings.
    pub examples: Vec<Finding>,
    /// Events that had to be everywhere.
    pub expected: u64,
    /// Entries of the stream.
    pub stream: u64,
}

impl Verdict {
    /// Whether the history keeps the promise.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.counts.is_empty()
    }

    /// How often `fault` was found, wherever.
    #[must_use]
    pub fn count(&self, fault: Fault) -> u64 {
        let of = |(&(found, _), &count): (&(Fault, Channel), &u64)| if found == fault { count } else { 0 };
        self.counts.iter().map(of).sum()
    }

    fn add(&mut self, fault: Fault, channel: Channel, fact: &Fact, why: &'static str) {
        *self.counts.entry((fault, channel)).or_default() += 1;
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(Finding {
                fault,
                channel,
                fact: fact.clone(),
                why,
            });
        }
    }
}

/// What writers say of an event.
#[derive(Clone, Copy)]
struct Tried<'h> {
    fact: &'h Fact,
    end: End,
}

/// Judges a history whose numbers promise `numbering`.
#[must_use]
pub fn check(history: &History, numbering: Numbering) -> Verdict {
    let mut verdict = Verdict::default();
    let mut tried: HashMap<u128, Tried<'_>> = HashMap::new();
    for transaction in &history.transactions {
        for fact in &transaction.events {
            let end = transaction.end;
            tried.insert(fact.id, Tried { fact, end });
        }
    }
    let log: Option<HashSet<u128>> = history
        .log
        .as_ref()
        .map(|log| log.iter().map(|fact| fact.id).collect());
    if let (Some(log), Some(logged)) = (&history.log, &log) {
        channel(&mut verdict, Channel::Log, log, &tried, None, numbering);
        torn(&mut verdict, history, logged);
    }
    for (name, facts) in [
        (Channel::Stream, &history.stream),
        (Channel::Effects, &history.effects),
    ] {
        channel(&mut verdict, name, facts, &tried, log.as_ref(), numbering);
    }
    let is_due = |tried: &Tried<'_>| {
        tried.end == End::Committed || log.as_ref().is_some_and(|log| log.contains(&tried.fact.id))
    };
    verdict.expected = count(tried.values().filter(|tried| is_due(tried)).count());
    verdict.stream = count(history.stream.len());
    verdict
}

/// An unanswered transaction is in the log whole or not at all. (An acknowledged one that is not is lost.)
fn torn(verdict: &mut Verdict, history: &History, logged: &HashSet<u128>) {
    let unknown = history
        .transactions
        .iter()
        .filter(|transaction| transaction.end == End::Unknown);
    for transaction in unknown {
        let (there, missing): (Vec<&Fact>, Vec<&Fact>) = transaction
            .events
            .iter()
            .partition(|fact| logged.contains(&fact.id));
        if !there.is_empty() {
            for fact in missing {
                let why = "other events of its transaction are in the log";
                verdict.add(Fault::Torn, Channel::Log, fact, why);
            }
        }
    }
}

/// What one channel has, against what was tried and what the log has.
fn channel<'h>(
    verdict: &mut Verdict,
    name: Channel,
    facts: &'h [Fact],
    tried: &HashMap<u128, Tried<'h>>,
    log: Option<&HashSet<u128>>,
    numbering: Numbering,
) {
    let mut seen: HashSet<u128> = HashSet::with_capacity(facts.len());
    let mut highest: HashMap<&str, u64> = HashMap::new();
    let mut numbers: HashMap<&str, HashSet<u64>> = HashMap::new();
    for fact in facts {
        if !seen.insert(fact.id) {
            verdict.add(Fault::Doubled, name, fact, "it came before");
            continue;
        }
        match tried.get(&fact.id) {
            None => verdict.add(Fault::Phantom, name, fact, "nobody wrote it"),
            Some(tried) if tried.end == End::RolledBack => {
                verdict.add(Fault::Phantom, name, fact, "its transaction was rolled back");
            }
            Some(tried) if tried.fact != fact => {
                verdict.add(Fault::Altered, name, fact, "it is not what was written");
            }
            Some(_) if log.is_some_and(|log| !log.contains(&fact.id)) => {
                verdict.add(Fault::Phantom, name, fact, "the log does not have it");
            }
            Some(_) => {}
        }
        if !numbers.entry(&fact.place).or_default().insert(fact.kseq) {
            verdict.add(Fault::Altered, name, fact, "another event has its number");
        }
        let highest = highest.entry(&fact.place).or_default();
        // Rows of a log lie as their inserts came, which is not the order of commits.
        if fact.kseq < *highest && name != Channel::Log {
            verdict.add(
                Fault::Reordered,
                name,
                fact,
                "a higher number of its key came before",
            );
        }
        *highest = fact.kseq.max(*highest);
    }
    if numbering == Numbering::Consecutive {
        for (place, numbers) in numbers {
            gaps(verdict, name, place, numbers);
        }
    }
    for tried in tried.values().filter(|tried| !seen.contains(&tried.fact.id)) {
        if tried.end == End::Committed {
            verdict.add(Fault::Lost, name, tried.fact, "it was acknowledged");
        } else if log.is_some_and(|log| log.contains(&tried.fact.id)) {
            verdict.add(Fault::Lost, name, tried.fact, "the log has it");
        }
    }
}

/// One finding for each run of numbers that are missing below one that is there.
fn gaps(verdict: &mut Verdict, name: Channel, place: &str, numbers: HashSet<u64>) {
    let mut numbers: Vec<u64> = numbers.into_iter().collect();
    numbers.sort_unstable();
    let mut last = 0;
    for number in numbers {
        if number > last + 1 {
            let first_missing = Fact {
                place: place.to_owned(),
                kseq: last + 1,
                id: 0,
                content: 0,
            };
            verdict.add(Fault::Gap, name, &first_missing, "a higher number is there");
        }
        last = number;
    }
}

fn count(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
