use super::*;
use std::os::unix::fs::PermissionsExt as _;

#[test]
fn names_are_the_hmac_that_others_compute() {
    // python3: hmac.new(bytes(range(32)), b"k7f3a9", "sha256").hexdigest()[:16]
    let key = std::array::from_fn(|index| index as u8);
    let users = Pseudonymizer::new(&key);
    let id = KeyId::new("k7f3a9").unwrap();
    assert_eq!(users.user(&id).as_str(), "2d1f44dfe3255d6d");
    assert_ne!(users.user(&id), users.user(&KeyId::new("k7f3a8").unwrap()));
    assert!(
        !format!("{users:?}").contains("inner"),
        "the key's state stays inside"
    );
}

#[test]
fn many_at_one_time_agree_on_one_key() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data/installation.key");
    let id = KeyId::new("k1").unwrap();
    let names: Vec<Pseudonym> = std::thread::scope(|scope| {
        let open = || scope.spawn(|| Pseudonymizer::open(&path).unwrap().user(&id));
        let threads: Vec<_> = std::iter::repeat_with(open).take(8).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(names.iter().all(|name| *name == names[0]), "{names:?}");
    let mode = fs_err::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let beside = fs_err::read_dir(path.parent().unwrap()).unwrap().count();
    assert_eq!(beside, 1, "no half-made key stays");
}

#[test]
fn a_file_that_is_no_key_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("installation.key");
    fs_err::write(&path, b"short").unwrap();
    let error = Pseudonymizer::open(&path).unwrap_err();
    assert!(error.to_string().contains("5 bytes"), "{error}");
}
