//! The test of the test: correct histories pass, and each damage is found.

use proptest::prelude::*;
use rc_test::Rng;

use super::*;
use crate::history::{Line, Reader, Transaction};

/// A history that keeps the promise: transactions in commit order, each with the next numbers of its keys.
/// Between keys, stream and effects go in orders of their own.
fn correct(seed: u64, transactions: usize) -> History {
    let mut rng = Rng::new(seed);
    let mut history = History::default();
    let mut numbers: HashMap<String, u64> = HashMap::new();
    let mut log = Vec::new();
    for _ in 0..transactions {
        let end = [End::Committed, End::Committed, End::RolledBack, End::Unknown][rng.below(4)];
        let stands = end == End::Committed || (end == End::Unknown && rng.below(2) == 0);
        let mut taken = numbers.clone();
        let events: Vec<Fact> = (0..1 + rng.below(4))
            .map(|_| {
                let place = format!("acme/orders/k{}", rng.below(5));
                let kseq = taken.entry(place.clone()).or_default();
                *kseq += 1;
                Fact {
                    kseq: *kseq,
                    id: u128::from(rng.bits()) << 64 | u128::from(rng.bits()),
                    content: u32::try_from(rng.below(1 << 30)).unwrap(),
                    place,
                }
            })
            .collect();
        if stands {
            numbers = taken;
            log.extend(events.iter().cloned());
        }
        history.transactions.push(Transaction { events, end });
    }
    history.stream = interleaved(&log, &mut rng);
    history.effects = interleaved(&log, &mut rng);
    rng.shuffle(&mut log);
    history.log = Some(log);
    history
}

/// `facts` in another order that keeps each key's.
fn interleaved(facts: &[Fact], rng: &mut Rng) -> Vec<Fact> {
    let mut lanes: BTreeMap<&str, std::collections::VecDeque<&Fact>> = BTreeMap::new();
    for fact in facts {
        lanes.entry(&fact.place).or_default().push_back(fact);
    }
    let mut lanes: Vec<_> = lanes.into_values().collect();
    let mut mixed = Vec::new();
    while !lanes.is_empty() {
        let lane = rng.below(lanes.len());
        mixed.extend(lanes[lane].pop_front().cloned());
        if lanes[lane].is_empty() {
            lanes.swap_remove(lane);
        }
    }
    mixed
}

/// A damage, and what it must be found as.
#[derive(Debug, Clone, Copy)]
enum Damage {
    Drop,
    Swap,
    Double,
    Invent,
    Content,
    Number,
    Take,
    Halve,
    Forget,
}

const DAMAGES: [Damage; 9] = [
    Damage::Drop,
    Damage::Swap,
    Damage::Double,
    Damage::Invent,
    Damage::Content,
    Damage::Number,
    Damage::Take,
    Damage::Halve,
    Damage::Forget,
];

/// Damages one channel; `None` when the history has nothing for this damage.
fn damage(history: &mut History, damage: Damage, channel: Channel, rng: &mut Rng) -> Option<Fault> {
    let transactions = history.transactions.clone();
    let log = history.log.as_mut().unwrap();
    if let Damage::Halve = damage {
        let halves = |transaction: &&Transaction| {
            transaction.end == End::Unknown
                && transaction.events.len() > 1
                && log.iter().any(|fact| *fact == transaction.events[0])
        };
        let half = transactions.iter().find(halves)?.events[0].id;
        log.retain(|fact| fact.id != half);
        return Some(Fault::Torn);
    }
    if let Damage::Forget = damage {
        let stands = |fact: &Fact| log.contains(fact);
        let unknown = transactions.iter().filter(|tx| tx.end == End::Unknown);
        let forgotten = unknown.flat_map(|tx| &tx.events).find(|fact| stands(fact))?.id;
        let of = transactions
            .iter()
            .find(|tx| tx.events.iter().any(|fact| fact.id == forgotten))?;
        // Recovery lost an unanswered transaction that had been published already.
        log.retain(|fact| of.events.iter().all(|event| event.id != fact.id));
        return Some(Fault::Phantom);
    }
    let facts = match channel {
        Channel::Log => log,
        Channel::Stream => &mut history.stream,
        Channel::Effects => &mut history.effects,
    };
    if facts.is_empty() {
        return None;
    }
    let at = rng.below(facts.len());
    Some(match damage {
        Damage::Drop => {
            let dropped = facts.remove(at);
            let answered = transactions
                .iter()
                .any(|tx| tx.end == End::Committed && tx.events.contains(&dropped));
            if !answered && channel == Channel::Log {
                Fault::Phantom
            } else {
                Fault::Lost
            }
        }
        Damage::Swap => {
            if channel == Channel::Log {
                return None;
            }
            let later = (at + 1..facts.len()).find(|&later| facts[later].place == facts[at].place)?;
            facts.swap(at, later);
            Fault::Reordered
        }
        Damage::Double => {
            let again = facts[at].clone();
            let to = at + 1 + rng.below(facts.len() - at);
            facts.insert(to, again);
            Fault::Doubled
        }
        Damage::Invent => {
            let mut invented = facts[at].clone();
            invented.id ^= 1;
            invented.kseq += 1_000;
            facts.push(invented);
            Fault::Phantom
        }
        Damage::Content => {
            facts[at].content ^= 1;
            Fault::Altered
        }
        Damage::Number => {
            facts[at].kseq += 1;
            Fault::Altered
        }
        Damage::Take => {
            let taken = transactions.iter().find(|tx| tx.end == End::RolledBack)?;
            facts.push(taken.events[0].clone());
            Fault::Phantom
        }
        Damage::Halve | Damage::Forget => unreachable!("handled above"),
    })
}

proptest! {
    #[test]
    fn a_correct_history_is_whole(seed: u64, transactions in 0_usize..60) {
        let verdict = check(&correct(seed, transactions), Numbering::Consecutive);
        prop_assert!(verdict.is_whole(), "{:?}", verdict.examples);
    }

    #[test]
    fn every_damage_is_found_as_what_it_is(seed: u64, transactions in 1_usize..60) {
        for kind in DAMAGES {
            for channel in [Channel::Log, Channel::Stream, Channel::Effects] {
                let mut history = correct(seed, transactions);
                let mut rng = Rng::new(seed ^ 1);
                if let Some(expected) = damage(&mut history, kind, channel, &mut rng) {
                    let verdict = check(&history, Numbering::Consecutive);
                    prop_assert!(
                        verdict.count(expected) > 0,
                        "{kind:?} in {channel:?} should be {expected:?}: {:?}",
                        verdict.counts
                    );
                }
            }
        }
    }

    #[test]
    fn a_history_is_the_same_after_writing_and_reading(seed: u64, transactions in 0_usize..30) {
        let mut history = correct(seed, transactions);
        if history.log.as_ref().is_some_and(Vec::is_empty) {
            // Nothing in the log is no line.
            history.log = None;
        }
        let mut text = Vec::new();
        history.write(&mut text).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history.ndjson");
        // The last line of a killed process has no end.
        text.extend_from_slice(br#"{"committed":"1"#);
        fs_err::write(&path, text).unwrap();
        let mut reader = Reader::default();
        reader.read(&path).unwrap();
        prop_assert_eq!(reader.history(), history);
    }
}

#[test]
fn increasing_numbers_may_leave_some_out_but_not_go_back() {
    let fact = |kseq: u64| Fact {
        place: "acme/cdc/1".to_owned(),
        kseq,
        id: u128::from(kseq),
        content: 0,
    };
    let history = |stream: &[u64]| {
        let mut reader = Reader::default();
        reader.push(Line::Begin {
            tx: "1".to_owned(),
            events: vec![fact(10), fact(70)],
        });
        reader.push(Line::Committed("1".to_owned()));
        for &kseq in stream {
            reader.push(Line::Stream(fact(kseq)));
            reader.push(Line::Effect(fact(kseq)));
        }
        reader.history()
    };
    assert!(check(&history(&[10, 70]), Numbering::Increasing).is_whole());
    let verdict = check(&history(&[70, 10]), Numbering::Increasing);
    assert_eq!(verdict.count(Fault::Reordered), 2);
    assert_eq!(
        check(&history(&[10]), Numbering::Increasing).count(Fault::Lost),
        2
    );
}
