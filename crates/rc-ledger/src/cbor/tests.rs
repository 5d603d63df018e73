use super::*;

#[test]
fn numbers_are_written_as_in_appendix_a_of_rfc_8949() {
    for (value, bytes) in [
        (0, &[0x00][..]),
        (23, &[0x17]),
        (24, &[0x18, 0x18]),
        (255, &[0x18, 0xff]),
        (256, &[0x19, 0x01, 0x00]),
        (1_000_000, &[0x1a, 0x00, 0x0f, 0x42, 0x40]),
        (
            1_000_000_000_000,
            &[0x1b, 0x00, 0x00, 0x00, 0xe8, 0xd4, 0xa5, 0x10, 0x00],
        ),
        (u64::MAX, &[0x1b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
    ] {
        let mut to = Writer::default();
        to.uint(value);
        assert_eq!(to.into_bytes(), bytes);
        let mut from = Reader::new(bytes);
        assert_eq!(from.uint().unwrap(), value);
        assert!(from.is_empty());
    }
}

#[test]
fn longer_forms_are_refused() {
    for bytes in [
        &[0x18, 0x17][..],
        &[0x19, 0x00, 0xff],
        &[0x1a, 0x00, 0x00, 0xff, 0xff],
        &[0x1b, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff],
        &[0x1c],
        &[0x1f],
        &[0x20],
        &[0x18],
        &[],
    ] {
        assert!(Reader::new(bytes).uint().is_err(), "{bytes:02x?}");
    }
    for bytes in [&[0x5f, 0x41, 0x00, 0xff][..], &[0x42, 0x00], &[0x58, 0x01, 0x00]] {
        assert!(Reader::new(bytes).bytes().is_err(), "{bytes:02x?}");
    }
    assert!(Reader::new(&[0x62, 0xff, 0xfe]).text().is_err());
    // A length that no memory has.
    assert!(
        Reader::new(&[0x5b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff])
            .bytes()
            .is_err()
    );
}
