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
