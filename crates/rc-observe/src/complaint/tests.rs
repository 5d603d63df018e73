use super::*;

#[test]
fn one_line_a_minute_is_due() {
    const MINUTE_NS: u64 = 60_000_000_000;
    let mut complaint = Complaint::default();
    assert!(complaint.due_at(5));
    assert!(!complaint.due_at(5 + MINUTE_NS - 1));
    assert!(complaint.due_at(5 + MINUTE_NS));
    assert!(!complaint.due_at(6 + MINUTE_NS));
}
