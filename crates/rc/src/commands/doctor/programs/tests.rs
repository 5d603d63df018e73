use super::*;

#[test]
fn a_program_that_is_missing_is_named_with_who_needs_it_and_where_to_get_it() {
    let dir = tempfile::tempdir().unwrap();
    fs_err::write(dir.path().join("node"), "not runnable").unwrap();
    let missing = check("node", "shop", dir.path().as_os_str());
    assert!(!missing.is_not_fail());
    let text = format!("{missing:?}");
    assert!(
        text.contains("shop") && text.contains("https://nodejs.org"),
        "{text}"
    );
    fs_err::set_permissions(dir.path().join("node"), std::fs::Permissions::from_mode(0o755)).unwrap();
    assert!(check("node", "shop", dir.path().as_os_str()).is_not_fail());
}
