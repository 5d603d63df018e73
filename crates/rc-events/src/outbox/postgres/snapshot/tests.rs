use super::*;

#[test]
fn snapshots_round_trip() {
    for text in ["10:20:", "10:20:10,14,19", "1:1:"] {
        assert_eq!(Snapshot::parse(text).unwrap().to_string(), text);
    }
    for bad in [
        "",
        "10",
        "10:20",
        "20:10:",
        "a:b:",
        "10:20:x",
        "10:20:1:2",
        "10:20:,",
    ] {
        assert_eq!(Snapshot::parse(bad).unwrap_err().code(), "RC-EVT-008", "{bad}");
    }
}

#[test]
fn only_a_change_of_visibility_is_a_difference() {
    let at = |text| Snapshot::parse(text).unwrap();
    assert!(!at("10:20:10,14").differs(&at("10:20:10,14")));
    assert!(at("10:20:10,14").differs(&at("14:20:14")));
    assert!(at("10:20:10").differs(&at("10:21:10")));
}

#[test]
fn cursors_round_trip() {
    let whole = PairCursor {
        done: Snapshot::parse("10:20:12").unwrap(),
        open: None,
    };
    let part = PairCursor {
        open: Some((
            Snapshot::parse("20:30:").unwrap(),
            RowKey {
                tenant: "acme".to_owned(),
                topic: "docs".to_owned(),
                key: "with \"quotes\" and ,".to_owned(),
                kseq: 7,
            },
        )),
        ..whole.clone()
    };
    for cursor in [whole, part] {
        assert_eq!(PairCursor::parse(&cursor.to_cursor()).unwrap(), cursor);
    }
    for bad in ["7", "{}", "{\"done\":\"1:1:\",\"to\":\"2:2:\"}"] {
        PairCursor::parse(&Cursor::new(bad)).unwrap_err();
    }
}

#[test]
fn an_exported_snapshot_may_end_below_its_start() {
    assert!(Snapshot::parse("835:834:").is_err());
    let exported = Snapshot::parse_exported("835:834:").unwrap();
    assert_eq!(exported.to_string(), "835:835:");
    assert!(exported.sees(834) && !exported.sees(835));
    assert!(Snapshot::parse("835:836:").unwrap().covers(&exported));
    assert!(!Snapshot::parse("834:836:834").unwrap().covers(&exported));
}

#[test]
fn a_cursor_names_no_transaction_above_those_with_rows() {
    let at = |text| Snapshot::parse(text).unwrap();
    let up_to = |done, to, newest| at(done).up_to(&at(to), newest).to_string();
    assert_eq!(up_to("10:20:", "10:40:", 25), "26:26:");
    assert_eq!(up_to("10:20:10,14", "14:40:14,22,30", 25), "14:26:14,22");
    // Nothing new, and what was running has ended.
    assert_eq!(up_to("10:20:10,14", "40:40:", 0), "20:20:");
}
