//! Every message that can be written is read back; nothing else is taken, and nothing panics.

use bytes::{BufMut as _, BytesMut};
use proptest::prelude::*;

use super::*;

/// Writes a message as the server does.
fn encode(message: &Message) -> Bytes {
    let mut out = BytesMut::new();
    match message {
        Message::Begin(begin) => {
            out.put_u8(b'B');
            out.put_u64(begin.commit.0);
            out.put_i64(begin.at_us);
            out.put_u32(begin.xid);
        }
        Message::Commit { lsn, end } => {
            out.put_u8(b'C');
            out.put_u8(0);
            out.put_u64(lsn.0);
            out.put_u64(end.0);
            out.put_i64(7);
        }
        Message::Origin => out.put_slice(b"O\0\0\0\0\0\0\0\x01name\0"),
        Message::Type => out.put_slice(b"Y\0\0\0\x01public\0mood\0"),
        Message::Note => out.put_slice(b"M\0\0\0\0\0\0\0\0\x09rc-hb\0\0\0\0\x02hi"),
        Message::Relation(relation) => {
            out.put_u8(b'R');
            out.put_u32(relation.id);
            for name in [&relation.schema, &relation.table] {
                out.put_slice(name.as_bytes());
                out.put_u8(0);
            }
            out.put_u8(relation.identity);
            out.put_u16(relation.columns.len().try_into().unwrap());
            for column in &relation.columns {
                out.put_u8(u8::from(column.key));
                out.put_slice(column.name.as_bytes());
                out.put_u8(0);
                out.put_u32(column.type_oid);
                out.put_i32(column.type_mod);
            }
        }
        Message::Insert { table, new } => {
            out.put_u8(b'I');
            out.put_u32(*table);
            out.put_u8(b'N');
            put_tuple(&mut out, new);
        }
        Message::Update { table, old, new } => {
            out.put_u8(b'U');
            out.put_u32(*table);
            if let Some(old) = old {
                put_old(&mut out, old);
            }
            out.put_u8(b'N');
            put_tuple(&mut out, new);
        }
        Message::Delete { table, old } => {
            out.put_u8(b'D');
            out.put_u32(*table);
            put_old(&mut out, old);
        }
        Message::Truncate { tables } => {
            out.put_u8(b'T');
            out.put_u32(tables.len().try_into().unwrap());
            out.put_u8(0);
            for table in tables {
                out.put_u32(*table);
            }
        }
    }
    out.freeze()
}

fn put_old(out: &mut BytesMut, old: &Old) {
    let (tag, tuple) = match old {
        Old::Key(tuple) => (b'K', tuple),
        Old::Row(tuple) => (b'O', tuple),
    };
    out.put_u8(tag);
    put_tuple(out, tuple);
}

fn put_tuple(out: &mut BytesMut, tuple: &Tuple) {
    out.put_u16(tuple.len().try_into().unwrap());
    for value in tuple {
        match value {
            Value::Null => out.put_u8(b'n'),
            Value::Unchanged => out.put_u8(b'u'),
            Value::Text(bytes) | Value::Binary(bytes) => {
                out.put_u8(if matches!(value, Value::Text(_)) {
                    b't'
                } else {
                    b'b'
                });
                out.put_u32(bytes.len().try_into().unwrap());
                out.put_slice(bytes);
            }
        }
    }
}

fn a_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        Just(Value::Unchanged),
        any::<Vec<u8>>().prop_map(|bytes| Value::Text(bytes.into())),
        any::<Vec<u8>>().prop_map(|bytes| Value::Binary(bytes.into())),
    ]
}

fn a_tuple() -> impl Strategy<Value = Tuple> {
    prop::collection::vec(a_value(), 0..8)
}

fn an_old() -> impl Strategy<Value = Old> {
    prop_oneof![a_tuple().prop_map(Old::Key), a_tuple().prop_map(Old::Row)]
}

fn a_name() -> impl Strategy<Value = String> {
    "[a-zä\" ]{1,12}"
}

prop_compose! {
    fn a_column()(key: bool, name in a_name(), type_oid: u32, type_mod: i32) -> Column {
        Column { key, name, type_oid, type_mod }
    }
}

prop_compose! {
    fn a_relation()(
        id: u32, schema in a_name(), table in a_name(), identity in prop::sample::select(b"dnfi".to_vec()),
        columns in prop::collection::vec(a_column(), 0..6),
    ) -> Relation {
        Relation { id, schema, table, identity, columns }
    }
}

fn a_message() -> impl Strategy<Value = Message> {
    prop_oneof![
        (any::<u64>(), any::<i64>(), any::<u32>()).prop_map(|(commit, at_us, xid)| Message::Begin(Begin {
            commit: Lsn(commit),
            at_us,
            xid
        })),
        (any::<u64>(), any::<u64>()).prop_map(|(lsn, end)| Message::Commit {
            lsn: Lsn(lsn),
            end: Lsn(end)
        }),
        Just(Message::Origin),
        Just(Message::Type),
        Just(Message::Note),
        a_relation().prop_map(Message::Relation),
        (any::<u32>(), a_tuple()).prop_map(|(table, new)| Message::Insert { table, new }),
        (any::<u32>(), prop::option::of(an_old()), a_tuple()).prop_map(|(table, old, new)| Message::Update {
            table,
            old,
            new
        }),
        (any::<u32>(), an_old()).prop_map(|(table, old)| Message::Delete { table, old }),
        prop::collection::vec(any::<u32>(), 0..5).prop_map(|tables| Message::Truncate { tables }),
    ]
}

proptest! {
    #[test]
    fn every_message_is_read_back(message in a_message()) {
        prop_assert_eq!(decode(encode(&message)).unwrap(), message);
    }

    #[test]
    fn half_a_message_and_more_than_one_are_refused(message in a_message(), cut in any::<prop::sample::Index>()) {
        let whole = encode(&message);
        prop_assert_eq!(decode(whole.slice(..cut.index(whole.len()))).unwrap_err().code(), "RC-EVT-031");
        let mut doubled = whole.to_vec();
        doubled.extend_from_slice(&whole);
        prop_assert!(decode(doubled.into()).is_err());
    }

    #[test]
    fn no_bytes_panic(bytes: Vec<u8>, tag in prop::sample::select(b"BCORYIUDTM".to_vec())) {
        let mut tagged = vec![tag];
        tagged.extend_from_slice(&bytes);
        let _ = decode(bytes.into());
        let _ = decode(tagged.into());
    }

    #[test]
    fn a_changed_byte_never_panics(message in a_message(), at in any::<prop::sample::Index>(), to: u8) {
        let mut bytes = encode(&message).to_vec();
        let at = at.index(bytes.len());
        bytes[at] = to;
        let _ = decode(bytes.into());
    }
}

#[test]
fn counts_that_are_lies_cost_no_memory() {
    let mut bytes = vec![b'T'];
    bytes.extend_from_slice(&u32::MAX.to_be_bytes());
    bytes.push(0);
    assert!(decode(bytes.into()).is_err());
    let mut bytes = b"I\0\0\0\x01N\0\x01t".to_vec();
    bytes.extend_from_slice(&u32::MAX.to_be_bytes());
    assert!(decode(bytes.into()).is_err());
}
