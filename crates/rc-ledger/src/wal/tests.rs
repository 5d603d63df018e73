use super::*;

fn bundle(entries: &[&[u8]]) -> Vec<u8> {
    let mut bundle = Vec::new();
    for entry in entries {
        tile::push_entry(&mut bundle, entry);
    }
    bundle
}

fn segment(base: u64, groups: &[&[&[u8]]]) -> Vec<u8> {
    let mut disk = crate::disk::tests::memory::Memory::default();
    let mut records = Vec::new();
    let mut first = base;
    for group in groups {
        records.push(record(first, &bundle(group)));
        first += group.len() as u64;
    }
    let segment = begin(&mut disk, base, &records).unwrap();
    disk.read(&segment.path, usize::MAX).unwrap().unwrap()
}

#[test]
fn groups_come_back() {
    let bytes = segment(512, &[&[b"a", b""], &[b"bcd"]]);
    let parsed = parse(512, &bytes).unwrap();
    assert_eq!((parsed.end, parsed.bytes), (515, bytes.len()));
    let bundles: Vec<&[u8]> = parsed.records.iter().map(|record| record.bundle).collect();
    assert_eq!(bundles, [bundle(&[b"a", b""]), bundle(&[b"bcd"])]);
}

#[test]
fn a_changed_byte_ends_the_segment_or_is_damage() {
    let bytes = segment(256, &[&[b"one", b"two"], &[b"three"]]);
    let second = segment(256, &[&[b"one", b"two"]]).len();
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 0x10;
        match parse(256, &changed) {
            Err(error) => assert!(at < HEADER_BYTES, "{at}: {error}"),
            Ok(parsed) if at < second => assert_eq!(parsed.end, 256, "{at}"),
            Ok(parsed) => assert_eq!((parsed.end, parsed.bytes), (258, second), "{at}"),
        }
    }
}

#[test]
fn a_record_that_does_not_follow_ends_the_segment() {
    let mut bytes = segment(0, &[&[b"one"]]);
    let end = bytes.len();
    for first in [0, 2, u64::MAX] {
        bytes.truncate(end);
        bytes.extend(record(first, &bundle(&[b"two"])));
        assert_eq!(parse(0, &bytes).unwrap().end, 1, "{first}");
    }
    bytes.truncate(end);
    bytes.extend(record(1, &[]));
    assert_eq!(parse(0, &bytes).unwrap().bytes, end, "a group has an entry");
}

#[test]
fn names_have_one_form() {
    assert_eq!(base("00000000000000000256.wal"), Some(256));
    for other in [
        "256.wal",
        "0000000000000000000256.wal",
        "lock",
        "tmp",
        "x.wal",
        "+0000000000000000256.wal",
    ] {
        assert_eq!(base(other), None, "{other}");
    }
    assert!(parse(1, &segment(1, &[])).is_err(), "a base is a multiple of 256");
    assert!(
        parse(0, &segment(256, &[])).is_err(),
        "the name says another base"
    );
    assert!(parse(0, &[]).is_err());
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_an_answer(tail in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
        let mut bytes = segment(0, &[&[b"one"]]);
        let end = bytes.len();
        bytes.extend(tail);
        let parsed = parse(0, &bytes).unwrap();
        proptest::prop_assert_eq!((parsed.end, parsed.bytes), (1, end));
    }
}
