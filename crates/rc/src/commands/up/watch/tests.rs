use super::*;

#[tokio::test]
async fn only_another_text_is_a_change() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("service-catalog.yaml");
    fs_err::write(&path, "services: {}\n").unwrap();
    let moment = Duration::from_millis(2);
    let mut watch = Watch {
        look_every: moment,
        rest: moment,
        ..Watch::new(dir.path())
    };
    assert!(watch.changed().await.is_none());
    fs_err::write(dir.path().join("other.yaml"), "x").unwrap();
    assert!(watch.changed().await.is_none());
    fs_err::remove_file(&path).unwrap();
    fs_err::write(&path, "services: {}\n").unwrap();
    assert!(watch.changed().await.is_none(), "touched is not changed");
    fs_err::write(&path, "services:\n").unwrap();
    assert!(watch.changed().await.is_some());
    assert!(watch.changed().await.is_none());
    fs_err::remove_file(&path).unwrap();
    assert!(
        watch.changed().await.is_some(),
        "a file that is gone gives its defaults"
    );
}
