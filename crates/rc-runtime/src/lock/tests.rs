use super::*;

#[test]
fn the_second_is_told_about_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("lock");
    let owner = Owner {
        pid: 42,
        since: Timestamp::from_unix_ms(1_000),
        detached: true,
        project: "/p".into(),
    };
    assert_eq!(holder(&path).unwrap(), None);
    let lock = Lock::acquire(&path, &owner).unwrap();
    let second = Lock::acquire(
        &path,
        &Owner {
            pid: 43,
            ..owner.clone()
        },
    );
    assert!(matches!(second, Err(LockError::Held(Some(first))) if first == owner));
    assert_eq!(holder(&path).unwrap(), Some(owner.clone()));
    drop(lock);
    assert_eq!(
        holder(&path).unwrap(),
        None,
        "what is left in the file means nothing"
    );
    Lock::acquire(&path, &Owner { pid: 44, ..owner }).unwrap();
}
