use std::os::unix::fs::PermissionsExt as _;

use super::*;

fn layout() -> (tempfile::TempDir, Layout) {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::new(dir.path());
    fs_err::create_dir_all(layout.run()).unwrap();
    (dir, layout)
}

#[test]
fn broken_files_give_what_is_in_force_and_their_faults() {
    let (dir, layout) = layout();
    let sound = Sources::from_texts(Some("name: before\n"), None, None);
    sound.keep(&layout.in_force_file()).unwrap();
    fs_err::write(dir.path().join("royalcrown.yaml"), "nmae: after\n").unwrap();
    let (model, faults) = Model::read_or_in_force(&layout).unwrap();
    assert_eq!(model.project.name.as_deref(), Some("before"));
    assert_eq!(model.digest, sound.digest());
    assert!(faults.iter().any(Diagnostic::is_error));
    let mode = fs_err::metadata(layout.in_force_file())
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600, "it may hold the store's password");
}

#[test]
fn sound_files_win_over_what_is_in_force() {
    let (dir, layout) = layout();
    let before = Sources::from_texts(Some("name: before\n"), None, None);
    before.keep(&layout.in_force_file()).unwrap();
    fs_err::write(dir.path().join("royalcrown.yaml"), "name: after\n").unwrap();
    let (model, faults) = Model::read_or_in_force(&layout).unwrap();
    assert_eq!(model.project.name.as_deref(), Some("after"));
    assert!(faults.is_empty());
}

#[test]
fn nothing_in_force_or_a_damaged_copy_leaves_the_faults() {
    let (dir, layout) = layout();
    fs_err::write(dir.path().join("royalcrown.yaml"), "nmae: after\n").unwrap();
    assert!(Model::read_or_in_force(&layout).is_err());
    for damaged in ["", "[null]", "[\"nmae: x\", null, null]", "{}"] {
        fs_err::write(layout.in_force_file(), damaged).unwrap();
        assert!(Model::read_or_in_force(&layout).is_err(), "{damaged}");
    }
}
