use super::*;

#[test]
fn the_length_of_a_varint_is_what_is_written() {
    let edges = (0..64).flat_map(|bits| [(1_u64 << bits) - 1, 1 << bits, (1 << bits) + 1]);
    for value in edges.chain([u64::MAX]) {
        let mut out = Vec::new();
        put_varint(&mut out, value);
        assert_eq!(out.len(), varint_len(value), "{value}");
        assert_eq!(Fields::of(&out).varint(), Some(value));
    }
}

#[test]
fn what_is_written_is_read() {
    let mut out = Vec::new();
    put_uint(&mut out, 6, 300);
    put_fixed64(&mut out, 7, u64::MAX - 1);
    put_fixed32(&mut out, 16, 1);
    put_bytes(&mut out, 5, b"name");
    let fields: Vec<_> = Fields::of(&out).map(Result::unwrap).collect();
    assert_eq!(
        fields,
        [
            (6, Field::Varint(300)),
            (7, Field::Fixed64(u64::MAX - 1)),
            (16, Field::Fixed32(1)),
            (5, Field::Bytes(b"name")),
        ]
    );
    assert_eq!(delimited_len(4), 6);
}

#[test]
fn broken_messages_end_with_one_fault() {
    let cases: [&[u8]; 8] = [
        // A length beyond the end.
        &[0x2a, 0x05, b'a'],
        // A length that no memory has.
        &[0x2a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
        // A varint that does not end.
        &[0x08, 0x80],
        // A varint of more than 64 bits.
        &[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02],
        // Half a fixed64.
        &[0x39, 1, 2, 3],
        // A group.
        &[0x0b],
        // Field number zero.
        &[0x00, 0x01],
        // A key without a value.
        &[0x0a],
    ];
    for case in cases {
        let read: Vec<_> = Fields::of(case).collect();
        assert_eq!(read, [Err(Malformed)], "{case:02x?}");
    }
}

proptest::proptest! {
    #[test]
    fn no_input_panics(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..64)) {
        let read = Fields::of(&bytes).count();
        proptest::prop_assert!(read <= bytes.len());
    }
}
