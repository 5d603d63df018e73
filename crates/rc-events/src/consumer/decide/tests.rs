use std::collections::HashMap;
use std::sync::Arc;

use rc_model::Timestamp;

use super::*;
use crate::bus::BusId;
use crate::consumer::batch::Condemned;
use crate::event::NewEvent;
use crate::event::tests::event;

#[test]
fn numbers_follow_their_promise() {
    for (last, kseq, expect) in [
        (0, 1, Verdict::Apply),
        (0, 2, Verdict::Gap),
        (4, 5, Verdict::Apply),
        (4, 4, Verdict::Duplicate),
        (4, 1, Verdict::Duplicate),
        (4, 6, Verdict::Gap),
        (u64::MAX - 1, u64::MAX, Verdict::Apply),
    ] {
        let strict = judge(last, kseq, Numbering::Consecutive);
        assert_eq!(strict, expect, "{last} {kseq}");
        let loose = judge(last, kseq, Numbering::Increasing);
        let expect = if expect == Verdict::Gap {
            Verdict::Apply
        } else {
            expect
        };
        assert_eq!(loose, expect, "{last} {kseq}");
    }
}

fn batch(events: Vec<NewEvent>) -> Batch {
    let events: Vec<Event> = (1..)
        .zip(events)
        .map(|(pos, event)| Event { pos, event })
        .collect();
    let upto = events.last().map_or(0, |last| last.pos);
    Batch::follow(
        "docs",
        BusId::new("bus"),
        0,
        Arc::new(events),
        upto,
        Timestamp::from_unix_ms(0),
    )
}

fn a(kseq: u64) -> NewEvent {
    event("acme", "a", kseq)
}

fn condemned(event: &NewEvent) -> HashMap<Uuid, Condemned> {
    let why = Condemned {
        class: "decode".into(),
        code: "RC-EVT-011".to_owned(),
        why: "no".to_owned(),
        attempts: 1,
    };
    [(event.id, why)].into()
}

/// What becomes of a batch on a store that knows nothing but the key `a`.
fn decide<'b>(batch: &'b Batch, key: Known, open: &[u64]) -> Result<Decided<'b>, Error> {
    let place = ("acme", "docs", "a");
    let known = if key == Known::default() {
        HashMap::new()
    } else {
        HashMap::from([(place, key)])
    };
    follow(
        batch,
        known,
        HashMap::from([(place, open.iter().copied().collect())]),
    )
}

fn applied(decided: &Decided<'_>) -> Vec<u64> {
    decided.fresh.iter().map(|event| event.kseq).collect()
}

fn put_aside(decided: &Decided<'_>) -> Vec<(u64, LetterState)> {
    let letters = decided.letters.iter();
    letters.map(|letter| (letter.event.kseq, letter.state)).collect()
}

#[test]
fn what_comes_after_a_condemned_event_of_its_key_waits() {
    let batch = batch(vec![a(1), a(2), event("acme", "b", 1), a(3), a(2)]).condemning(condemned(&a(2)));
    let decided = decide(&batch, Known::default(), &[]).unwrap();
    let keys: Vec<&str> = decided.fresh.iter().map(|event| &*event.key).collect();
    assert_eq!(keys, ["a", "b"], "the other key goes on");
    assert_eq!(
        put_aside(&decided),
        [(2, LetterState::Parked), (3, LetterState::Waiting)]
    );
    let key = decided.keys[&("acme", "docs", "a")];
    assert_eq!((key.last, key.held), (1, 3));
    let expect = Applied {
        applied: 2,
        duplicates: 1,
        parked: 1,
        waiting: 1,
        ..Applied::default()
    };
    assert_eq!(decided.applied, expect);
}

#[test]
fn under_skip_the_key_goes_on_without_it() {
    let batch = batch(vec![a(1), a(2), a(3)])
        .condemning(condemned(&a(2)))
        .under(Policy::Skip);
    let decided = decide(&batch, Known::default(), &[]).unwrap();
    assert_eq!(applied(&decided), [1, 3]);
    assert_eq!(put_aside(&decided), [(2, LetterState::Skipped)]);
    assert_eq!(decided.keys[&("acme", "docs", "a")].last, 3);
}

#[test]
fn a_duplicate_is_not_parked_whatever_is_wrong_with_it() {
    let batch = batch(vec![a(2)]).condemning(condemned(&a(2)));
    let known = Known {
        last: 2,
        id: a(2).id,
        held: 0,
    };
    let decided = decide(&batch, known, &[]).unwrap();
    assert_eq!((decided.letters.len(), decided.applied.duplicates), (0, 1));
}

#[test]
fn the_number_that_letters_were_missing_is_applied_when_it_comes() {
    // 2 is missing, 3 and 4 are letters; 2 comes, and 5 after it, and 3 once more.
    let batch = batch(vec![a(2), a(5), a(3)]);
    let known = Known {
        last: 1,
        id: a(1).id,
        held: 4,
    };
    let decided = decide(&batch, known, &[3, 4]).unwrap();
    assert_eq!(applied(&decided), [2]);
    assert_eq!(put_aside(&decided), [(5, LetterState::Waiting)]);
    assert_eq!(decided.applied.duplicates, 1);
    assert!(decided.applied.ready, "3 can go now");
    assert!(goes_by_itself(LetterState::Parked, CLASS_GAP, 2, 3));
    assert!(!goes_by_itself(LetterState::Parked, CLASS_GAP, 1, 3));
    assert!(!goes_by_itself(LetterState::Parked, "decode", 2, 3));
}

#[test]
fn gaps_are_told_together_and_one_a_key() {
    let batch = batch(vec![a(3), a(7), event("acme", "b", 1), event("acme", "c", 2)]);
    let known = Known {
        last: 1,
        id: a(1).id,
        held: 0,
    };
    let Err(Error::Gap(gaps)) = decide(&batch, known, &[]) else {
        panic!("gaps were applied");
    };
    let found: Vec<(&str, u64, u64)> = gaps
        .iter()
        .map(|gap| (&*gap.place.key, gap.last, gap.found))
        .collect();
    assert_eq!(found, [("a", 1, 3), ("c", 0, 2)]);
}

#[test]
fn a_void_takes_a_number_and_nothing_else() {
    let void = NewEvent {
        event_type: VOID.into(),
        ..a(2)
    };
    let batch = batch(vec![a(1), void, a(3)]);
    let decided = decide(&batch, Known::default(), &[]).unwrap();
    assert_eq!(applied(&decided), [1, 3]);
    assert_eq!(decided.applied.passed, 1);
}

#[test]
fn a_key_holds_so_many_letters_and_no_more() {
    let mut batch = batch(vec![a(1), a(2), a(3), a(4)]).condemning(condemned(&a(1)));
    batch.key_letters_max = 3;
    let error = decide(&batch, Known::default(), &[]).unwrap_err();
    assert_eq!(error.code(), "RC-EVT-013");
}

#[test]
fn another_event_in_a_place_that_is_taken_is_damage() {
    let forged = NewEvent {
        id: Uuid::from_bytes([9; 16]),
        ..a(2)
    };
    let batch = batch(vec![forged]);
    let known = Known {
        last: 2,
        id: a(2).id,
        held: 0,
    };
    assert_eq!(decide(&batch, known, &[]).unwrap_err().code(), "RC-EVT-002");
}

#[test]
fn letters_go_from_the_lowest_on() {
    let known = Known {
        last: 1,
        id: a(1).id,
        held: 3,
    };
    let held = |state, lowest| Held {
        state,
        lowest: Some(lowest),
        more: lowest < 3,
    };
    let second = batch(vec![a(2)]);
    let decided = letter(&second, known, held(LetterState::Parked, 2)).unwrap();
    let key = decided.keys[&("acme", "docs", "a")];
    assert_eq!((applied(&decided), key.last, key.held), (vec![2], 2, 3));

    let decided = letter(&second, known, held(LetterState::Dropped, 2)).unwrap();
    assert_eq!((decided.fresh.len(), decided.applied.passed), (0, 1));

    let third = batch(vec![a(3)]);
    let error = letter(&third, known, held(LetterState::Waiting, 2)).unwrap_err();
    assert_eq!(error.code(), "RC-EVT-015");
    let error = letter(&third, known, held(LetterState::Waiting, 3)).unwrap_err();
    assert_eq!(error.code(), "RC-EVT-001", "2 is missing");
}

#[test]
fn history_leaves_alone_what_the_consumer_has_not_come_to() {
    let batch = batch(vec![a(1), a(2), a(3), event("acme", "b", 1)]);
    let known = HashMap::from([(
        ("acme", "docs", "a"),
        Known {
            last: 2,
            id: a(2).id,
            held: 3,
        },
    )]);
    let decided = history(&batch, &known);
    assert_eq!(applied(&decided), [1, 2]);
    assert!(decided.keys.is_empty(), "no number changes");
}

#[test]
fn where_history_begins_late_a_key_begins_with_the_number_that_comes() {
    let strict = batch(vec![a(5), a(6)]);
    let gap = decide(&strict, Known::default(), &[]).unwrap_err();
    assert!(matches!(gap, Error::Gap(_)), "{gap}");
    let rebuilt = batch(vec![a(5), a(6)]).beginning_anywhere();
    assert_eq!(applied(&decide(&rebuilt, Known::default(), &[]).unwrap()), [5, 6]);
    // Once begun, nothing may be missing, also behind a letter that came first.
    let begun = Known {
        last: 5,
        ..Known::default()
    };
    let missing = batch(vec![a(7)]).beginning_anywhere();
    assert!(matches!(decide(&missing, begun, &[]), Err(Error::Gap(_))));
    let held = Known {
        held: 5,
        ..Known::default()
    };
    let behind = batch(vec![a(6)]).beginning_anywhere();
    let decided = decide(&behind, held, &[5]).unwrap();
    assert_eq!((decided.applied.waiting, decided.fresh.len()), (1, 0));
}
