use std::os::unix::fs::PermissionsExt as _;

use super::*;

#[test]
fn a_file_is_replaced_whole_and_keeps_its_mode() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gateway.yaml");
    fs_err::write(&path, "before").unwrap();
    fs_err::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    write_whole(&path, "after").unwrap();
    assert_eq!(on_disk(&path).unwrap(), "after");
    let mode = fs_err::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
    assert_eq!(
        fs_err::read_dir(folder.path()).unwrap().count(),
        1,
        "nothing is left behind"
    );
}

#[test]
fn a_link_is_somebody_elses_file() {
    let folder = tempfile::tempdir().unwrap();
    let (file, link) = (
        folder.path().join("managed.yaml"),
        folder.path().join("gateway.yaml"),
    );
    fs_err::write(&file, "text").unwrap();
    fs_err::os::unix::fs::symlink(&file, &link).unwrap();
    assert!(on_disk(&link).is_err());
}
