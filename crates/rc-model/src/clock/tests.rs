use super::*;

#[test]
fn timestamps_print_and_read_as_rfc_3339() {
    let at = Timestamp::from_unix_ms(1_795_255_200_123);
    assert_eq!(at.to_string(), "2026-11-21T10:00:00.123Z");
    assert_eq!(Timestamp::parse("2026-11-21T10:00:00.123Z"), Some(at));
    assert_eq!(Timestamp::parse("2026-11-21T11:00:00.123+01:00"), Some(at));
    assert_eq!(Timestamp::parse("yesterday"), None);
}

#[test]
fn a_manual_clock_moves_only_when_told() {
    let clock = ManualClock::new(Timestamp::from_unix_ms(1_000));
    assert_eq!(clock.monotonic_ns(), 0);
    clock.advance(Duration::from_millis(5));
    assert_eq!(clock.now().unix_ms(), 1_005);
    assert_eq!(clock.monotonic_ns(), 5_000_000);
}

#[test]
fn every_moment_that_is_read_can_be_written_and_read_again() {
    for text in [
        "9999-12-31T23:59:59-23:00",
        "0000-01-01T00:00:00+23:00",
        "9999-12-31T23:59:59.999-00:01",
    ] {
        assert_eq!(
            Timestamp::parse(text),
            None,
            "{text} has no UTC year of four digits"
        );
    }
    for text in [
        "0000-01-01T00:00:00.000Z",
        "9999-12-31T23:59:59.999Z",
        "1969-12-31T23:59:59.999Z",
        "2024-02-29T12:00:00.001Z",
    ] {
        assert_eq!(Timestamp::parse(text).unwrap().to_string(), text);
    }
    // Before the epoch, a part of a millisecond rounds down like everywhere else.
    let below = Timestamp::parse("1969-12-31T23:59:59.9999Z").unwrap();
    assert_eq!(below.unix_ms(), -1);
}

proptest::proptest! {
    #[test]
    fn reading_and_writing_are_inverse(ms in YEAR_0000_MS..YEAR_10000_MS) {
        let at = Timestamp::from_unix_ms(ms);
        proptest::prop_assert_eq!(Timestamp::parse(&at.to_string()), Some(at));
    }
}
