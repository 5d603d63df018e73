use super::*;

#[test]
fn numbers_are_grouped_by_thousands() {
    for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
        assert_eq!(grouped(number), text);
    }
    assert_eq!(bytes(512), "512 B");
    assert_eq!(bytes(9_541_223), "9.1 MiB");
    assert_eq!(per_second(5_000, Duration::from_millis(2_500)), 2_000);
    assert_eq!(per_second(5, Duration::ZERO), 5_000);
}
