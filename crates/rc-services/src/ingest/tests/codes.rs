use crate::ingest::fault;

#[test]
fn every_fault_is_a_registered_code_with_the_same_title() {
    let registered: Vec<(&str, &str)> = rc_model::code::ING
        .iter()
        .map(|entry| (entry.code, entry.title))
        .collect();
    let ours: Vec<(&str, &str)> = fault::ALL.iter().map(|kind| (kind.code, kind.title)).collect();
    assert_eq!(ours, registered);
}
