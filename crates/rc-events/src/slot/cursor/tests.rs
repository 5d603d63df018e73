//! The set of published transactions, as a snapshot and a list.

use proptest::prelude::*;

use super::*;

fn at(done: &str, more: &[u64]) -> SlotCursor {
    SlotCursor {
        done: Snapshot::parse(done).unwrap(),
        more: more.to_vec(),
        ..SlotCursor::start()
    }
}

#[test]
fn cursors_read_back_and_those_of_the_pair_reader_are_taken() {
    let whole = SlotCursor {
        part: Some((748, 812)),
        open: Some((Snapshot::parse("740:800:").unwrap(), RowKey::start())),
        slot: Some(SlotPlace {
            name: "rc_ingest_0123abcd_00ff".to_owned(),
            system: "7".to_owned(),
            timeline: 2,
            lsn: Lsn(0x10_0000_0001),
        }),
        ..at("740:745:741", &[745, 747])
    };
    let text = whole.to_cursor();
    assert!(SlotCursor::is_one(&text));
    assert_eq!(SlotCursor::parse(&text).unwrap(), whole);

    let pair = Cursor::new(r#"{"done":"740:745:741"}"#);
    assert!(!SlotCursor::is_one(&pair));
    assert_eq!(SlotCursor::parse(&pair).unwrap(), at("740:745:741", &[]));
    assert_eq!(
        SlotCursor::parse(&Cursor::default()).unwrap(),
        SlotCursor::start()
    );
    for broken in [
        "{\"kind\":\"slot\"",
        "{\"kind\":\"slot\",\"done\":\"1:1\"}",
        "{\"kind\":\"slot\",\"done\":\"1:1:\",\"to\":\"1:1:\"}",
    ] {
        assert_eq!(
            SlotCursor::parse(&Cursor::new(broken)).unwrap_err().code(),
            "RC-EVT-008"
        );
    }
}

#[test]
fn a_transaction_that_runs_while_others_are_folded_stays_out() {
    // 741 runs since before; 746 runs now; 748 committed with rows that were not streamed yet; 744 aborted.
    let mut cursor = at("741:744:741", &[745, 747, 749]);
    cursor.fold(
        &Snapshot::parse("741:760:741,746").unwrap(),
        &[745, 747, 748, 749],
    );
    assert_eq!(cursor.done.to_string(), "741:750:741,746,748");
    assert!(cursor.more.is_empty());
    for (xid, there) in [
        (740, true),
        (741, false),
        (744, true),
        (745, true),
        (746, false),
        (748, false),
        (750, false),
    ] {
        assert_eq!(cursor.has(xid), there, "{xid}");
    }
}

#[test]
fn a_transaction_whose_commit_is_not_visible_yet_stays_in_the_list() {
    let mut cursor = at("741:741:", &[741, 750]);
    cursor.fold(&Snapshot::parse("745:748:745").unwrap(), &[741]);
    assert_eq!(
        (cursor.done.to_string().as_str(), &cursor.more[..]),
        ("745:748:745", &[750][..])
    );
    assert!(cursor.has(750) && !cursor.has(749) && !cursor.has(745));
}

/// What happened to a transaction.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fate {
    Running,
    Aborted,
    Published,
    Waiting,
}

proptest! {
    #[test]
    fn folding_forgets_nothing_and_invents_nothing(
        fates in prop::collection::vec(
            prop::sample::select(vec![Fate::Running, Fate::Aborted, Fate::Published, Fate::Waiting]), 1..60),
        ends in prop::collection::vec(any::<bool>(), 60),
        split in 0_u64..60,
    ) {
        let mut fates = fates;
        let xids = || 100_u64..;
        let mut cursor = at("100:100:", &[]);
        // Two foldings: what ran at the first may have ended by the second.
        for round in 0..2_u64 {
            let upto = if round == 0 { 100 + split } else { u64::MAX };
            let of = |fate: Fate| -> Vec<u64> {
                xids().zip(&fates).filter(|(xid, is)| *xid < upto && **is == fate).map(|(xid, _)| xid).collect()
            };
            cursor.more = of(Fate::Published).into_iter().filter(|xid| !cursor.done.sees(*xid)).collect();
            let running = of(Fate::Running);
            let xmax = xids().zip(&fates).filter(|(xid, is)| *xid < upto && **is != Fate::Running)
                .map(|(xid, _)| xid + 1).max().unwrap_or(100);
            let now = Snapshot {
                xmin: running.first().copied().unwrap_or(xmax).min(xmax),
                xmax,
                running: running.iter().copied().filter(|xid| *xid < xmax).collect(),
            };
            let (from, to) = (cursor.done.clone(), cursor.fold_to());
            let written: Vec<u64> = of(Fate::Published).into_iter().chain(of(Fate::Waiting))
                .filter(|xid| !from.sees(*xid) && *xid < to).collect();
            cursor.fold(&now, &written);
            for (xid, fate) in xids().zip(&fates).filter(|(xid, _)| *xid < upto) {
                match fate {
                    Fate::Published => prop_assert!(cursor.has(xid), "{xid} is forgotten"),
                    Fate::Running | Fate::Waiting => prop_assert!(!cursor.has(xid), "{xid} is invented"),
                    Fate::Aborted => {}
                }
            }
            prop_assert!(Snapshot::parse(&cursor.done.to_string()).is_ok());
            for (fate, end) in fates.iter_mut().zip(&ends) {
                *fate = match (*fate, end) {
                    (Fate::Running, true) | (Fate::Waiting, _) => Fate::Published,
                    (Fate::Running, false) => Fate::Aborted,
                    (other, _) => other,
                };
            }
        }
    }
}
