use super::*;
use crate::tests::{ORIGIN, signer};

fn mode(path: &Path) -> u32 {
    fs_err::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_key_file_comes_back_and_is_its_owners_only() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    let stored = signer();
    stored.store(&path).unwrap();
    assert_eq!(mode(&path), 0o600);
    assert_eq!(fs_err::read_dir(folder.path()).unwrap().count(), 1);
    let loaded = Signer::load(&path).unwrap();
    assert_eq!(loaded.vkeys(), stored.vkeys());
    assert_eq!(loaded.origin(), ORIGIN);
    let signed = loaded.sign(1, [1; 32], 1);
    Checkpoint::open(signed.text(), stored.vkeys()).unwrap();
}

#[test]
fn a_key_file_is_never_written_over() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    let first = signer();
    first.store(&path).unwrap();
    assert_eq!(signer().store(&path).unwrap_err().code(), "RC-LED-007");
    assert_eq!(Signer::load(&path).unwrap().vkeys(), first.vkeys());
    assert_eq!(fs_err::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_key_file_that_others_may_read_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    signer().store(&path).unwrap();
    for bad in [0o640, 0o604, 0o660] {
        fs_err::set_permissions(&path, std::fs::Permissions::from_mode(bad)).unwrap();
        let error = Signer::load(&path).unwrap_err();
        assert!(error.to_string().ends_with("others may read it"), "{error}");
    }
}

#[test]
fn anything_else_is_not_a_key_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    signer().store(&path).unwrap();
    let good = fs_err::read_to_string(&path).unwrap();
    for bad in [
        String::new(),
        good.trim_end().to_owned(),
        format!("{good}\n"),
        good.replace("v1", "v2"),
        good.replace(ORIGIN, "two words"),
        good.replace("ml-dsa-44", "ml-dsa-65"),
        good.lines().take(3).map(|line| format!("{line}\n")).collect(),
        good.replace('=', ""),
    ] {
        fs_err::write(&path, &bad).unwrap();
        assert_eq!(Signer::load(&path).unwrap_err().code(), "RC-LED-007", "{bad}");
    }
    assert_eq!(
        Signer::load(&folder.path().join("none")).unwrap_err().code(),
        "RC-LED-007"
    );
}

#[test]
fn a_key_is_not_shown() {
    let signer = signer();
    let shown = format!("{signer:?}");
    assert_eq!(shown, format!("Signer {{ origin: {ORIGIN:?}, .. }}"));
}

#[test]
fn origins_are_names() {
    for bad in ["", "two words", "a+b", "caf\u{e9}", &"x".repeat(256)] {
        assert_eq!(Signer::generate(bad).unwrap_err().code(), "RC-LED-008", "{bad}");
    }
    Signer::generate(&"x".repeat(255)).unwrap();
}
