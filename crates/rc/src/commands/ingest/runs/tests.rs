use super::*;

#[test]
fn a_run_knows_its_predecessor_and_whether_another_one_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let first = Runs::enter(folder.path()).unwrap();
    let name = first.alone.clone().unwrap();
    assert_eq!(first.before, None);
    let beside = Runs::enter(folder.path()).unwrap();
    assert_eq!(
        (beside.alone.as_ref(), beside.before.as_ref()),
        (None, Some(&name))
    );
    drop(first);
    let third = Runs::enter(folder.path()).unwrap();
    assert_eq!(third.alone, None, "the second one still goes on");
    drop((beside, third));
    let last = Runs::enter(folder.path()).unwrap();
    assert!(last.alone.is_some());
    assert_ne!(last.before, Some(name), "others came since");
}
