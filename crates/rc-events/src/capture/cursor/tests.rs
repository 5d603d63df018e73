//! Places in a capture, and what of the stream was read before.

use super::*;

fn place(reads: &[(&str, Option<&str>, &str)]) -> SnapshotPlace {
    SnapshotPlace {
        number: Lsn(1),
        before: "1:1:".to_owned(),
        table: None,
        reads: reads
            .iter()
            .map(|(table, upto, seen)| Read {
                table: (*table).to_owned(),
                upto: upto.map(|key| vec![key.to_owned()]),
                seen: (*seen).to_owned(),
            })
            .collect(),
        end: Lsn(9),
    }
}

#[test]
fn cursors_read_back() {
    let cursor = CaptureCursor {
        kind: Kind::Capture,
        slot: SlotPlace {
            name: "rc_shop_0_0".to_owned(),
            system: "7".to_owned(),
            timeline: 1,
            lsn: Lsn(0x1_0000_0002),
        },
        part: Some(Part {
            commit: Lsn(9),
            at: Lsn(7),
            n: 3,
        }),
        layouts: BTreeMap::from([("public.t".to_owned(), "0f".to_owned())]),
        keys: BTreeMap::from([("public.t".to_owned(), vec!["id".to_owned()])]),
        snapshot: Some(place(&[("public.t", Some("5"), "10:20:12")])),
    };
    assert_eq!(CaptureCursor::parse(&cursor.to_cursor()).unwrap(), Some(cursor));
    assert_eq!(CaptureCursor::parse(&Cursor::default()).unwrap(), None);
    assert_eq!(
        CaptureCursor::parse(&Cursor::new("{}")).unwrap_err().code(),
        "RC-EVT-008"
    );
}

#[test]
fn a_change_is_left_out_where_its_key_was_read_after_it() {
    let place = place(&[
        ("t", Some("5"), "10:20:12"),
        ("t", None, "20:30:25"),
        ("u", None, "30:40:"),
    ]);
    for (table, xid, expect) in [
        ("t", 11, Seen::Yes),
        ("t", 12, Seen::UpTo(vec!["5".to_owned()])),
        ("t", 21, Seen::UpTo(vec!["5".to_owned()])),
        ("t", 25, Seen::No),
        ("t", 35, Seen::No),
        ("u", 35, Seen::Yes),
        ("v", 1, Seen::No),
    ] {
        assert_eq!(place.has(table, xid).unwrap(), expect, "{table} {xid}");
    }
}

#[test]
fn reading_on_under_the_same_snapshot_extends_the_read() {
    let mut place = place(&[]);
    let (first, second) = (Snapshot::parse("1:5:").unwrap(), Snapshot::parse("1:9:").unwrap());
    assert_eq!(place.after("t"), (None, false));
    place.note("t", Some(vec!["3".to_owned()]), &first);
    place.note("t", Some(vec!["7".to_owned()]), &first);
    place.note("t", None, &second);
    assert_eq!(place.reads.len(), 2);
    assert_eq!(place.after("t"), (None, true));
}

#[test]
fn numbers_of_transactions_are_widened_to_the_nearest() {
    assert_eq!(widen(7, 10), 7);
    assert_eq!(widen(5, 0x1_0000_0003), 0x1_0000_0005);
    assert_eq!(widen(0xffff_fff0, 0x1_0000_0003), 0xffff_fff0);
    assert_eq!(widen(2, 0xffff_fff0), 0x1_0000_0002);
}
