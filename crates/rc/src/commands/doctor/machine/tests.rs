use super::super::Verdict;
use super::*;

#[test]
fn kernel_versions_are_read() {
    assert_eq!(version("6.1.0-18-amd64"), Some((6, 1)));
    assert_eq!(version("5.15.167.4-microsoft-standard-WSL2"), Some((5, 15)));
    assert_eq!(version("nonsense"), None);
}

#[test]
fn an_impossible_clock_fails() {
    assert_eq!(clock(Timestamp::from_unix_ms(0)).verdict, Verdict::Fail);
    assert_eq!(
        clock(Timestamp::parse("2026-11-21T10:00:00Z").unwrap()).verdict,
        Verdict::Ok
    );
    assert_eq!(
        clock(Timestamp::parse("2106-02-07T06:28:16Z").unwrap()).verdict,
        Verdict::Fail
    );
}
