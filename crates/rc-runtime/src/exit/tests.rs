use super::*;

#[test]
fn causes_read_as_sentences() {
    assert_eq!(Cause::Status(3).to_string(), "ended with exit status 3");
    assert_eq!(Cause::from_shell_status(139).to_string(), "ended by SIGSEGV");
    assert_eq!(Cause::from_shell_status(128), Cause::Status(128));
    assert_eq!(Cause::from_shell_status(255), Cause::Status(255));
    assert_eq!(Cause::Signal(40).to_string(), "ended by signal 40");
    let late = Cause::not_ready(Duration::from_secs(30), "connection refused");
    assert_eq!(late.to_string(), "was not ready within 30 s: connection refused");
}
