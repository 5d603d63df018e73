use std::os::unix::fs::symlink;

use super::*;

fn names(found: &Found) -> Vec<&str> {
    found.sources.iter().map(|source| source.name.as_str()).collect()
}

/// A folder with everything that can be in one.
fn tree() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    fs_err::create_dir_all(root.join("b/deep")).unwrap();
    fs_err::create_dir_all(root.join(".git")).unwrap();
    for (name, text) in [
        ("z.txt", "z"),
        ("a.md", "a"),
        ("b/c.jsonl", "{}"),
        ("b/deep/d.json.gz", "x"),
        (".hidden", "h"),
        (".git/config", "g"),
    ] {
        fs_err::write(root.join(name), text).unwrap();
    }
    fs_err::write(root.join("b/empty"), "").unwrap();
    symlink("../a.md", root.join("b/link")).unwrap();
    symlink("..", root.join("b/loop")).unwrap();
    symlink("gone", root.join("b/broken")).unwrap();
    folder
}

#[test]
fn a_folder_is_read_in_order_and_what_is_left_out_is_counted() {
    let folder = tree();
    let found = walk(&[".".into()], folder.path(), false).unwrap();
    assert_eq!(names(&found), ["a.md", "b/c.jsonl", "b/deep/d.json.gz", "z.txt"]);
    let kinds: Vec<Kind> = found.sources.iter().map(|source| source.kind).collect();
    assert_eq!(kinds, [Kind::Text, Kind::Lines, Kind::Json, Kind::Text]);
    assert_eq!(
        found.skips,
        Skips::from([(Skip::Hidden, 2), (Skip::Link, 3), (Skip::Empty, 1)])
    );
}

#[test]
fn followed_links_end_even_when_they_form_a_loop() {
    let folder = tree();
    let found = walk(&[".".into()], folder.path(), true).unwrap();
    assert_eq!(
        names(&found),
        ["a.md", "b/c.jsonl", "b/deep/d.json.gz", "b/link", "z.txt"]
    );
    assert_eq!(found.skips[&Skip::Unreadable], 2, "the loop and the broken link");
}

#[test]
fn what_is_named_is_read_even_when_it_is_hidden_or_a_link() {
    let folder = tree();
    let named = |name: &str| walk(&[name.into()], folder.path(), false).unwrap();
    assert_eq!(names(&named(".hidden")), [".hidden"]);
    assert_eq!(names(&named("b/link")), ["link"]);
    assert_eq!(names(&named(".git")), ["config"]);
    symlink("b", folder.path().join("to-b")).unwrap();
    assert_eq!(names(&named("to-b")), ["c.jsonl", "deep/d.json.gz"]);
    assert_eq!(names(&named("-")), ["stdin"]);
    let (path, error) = walk(&["b/none".into()], folder.path(), false).unwrap_err();
    assert_eq!(
        (path, error.kind()),
        (PathBuf::from("b/none"), std::io::ErrorKind::NotFound)
    );
}

#[test]
fn only_line_by_line_files_may_be_huge() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["big.txt", "big.ndjson", "big.jsonl.gz"] {
        let file = fs_err::File::create(folder.path().join(name)).unwrap();
        file.set_len(TEXT_FILE_BYTES_MAX + 1).unwrap();
    }
    let found = walk(&[".".into()], folder.path(), false).unwrap();
    assert_eq!(names(&found), ["big.jsonl.gz", "big.ndjson"]);
    assert_eq!(found.skips, Skips::from([(Skip::TooLarge, 1)]));
}

#[test]
fn names_that_differ_only_in_bytes_that_are_not_utf_8_stay_apart() {
    let cases: [(&[u8], &str); 9] = [
        (b"plain.txt", "plain.txt"),
        ("\u{fc}".as_bytes(), "\u{fc}"),
        (b"a\xff", "a%FF"),
        (b"a\xfe", "a%FE"),
        (b"a%FF", "a%25FF"),
        (b"a%25FF", "a%2525FF"),
        (b"a%\xff", "a%%FF"),
        (b"100%.txt", "100%.txt"),
        (b"a%20b", "a%20b"),
    ];
    for (name, text) in cases {
        assert_eq!(readable(OsStr::from_bytes(name)), text);
    }
    let folder = tempfile::tempdir().unwrap();
    for name in [b"a\xff", b"a\xfe"] {
        fs_err::write(folder.path().join(OsStr::from_bytes(name)), "x").unwrap();
    }
    let found = walk(&[".".into()], folder.path(), false).unwrap();
    assert_eq!(names(&found), ["a%FE", "a%FF"]);
}

#[test]
fn a_fingerprint_tells_a_changed_file_even_of_the_same_size_and_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.ndjson");
    fs_err::write(&path, "one").unwrap();
    let sources = walk(&[".".into()], folder.path(), false).unwrap().sources;
    let before = fingerprint(&sources).unwrap();
    assert_eq!(fingerprint(&sources).as_deref(), Some(before.as_str()));
    let modified = fs_err::metadata(&path).unwrap().modified().unwrap();
    // Two writes can fall into one tick of the file system's clock.
    std::thread::sleep(std::time::Duration::from_millis(20));
    fs_err::write(&path, "two").unwrap();
    let file = fs_err::OpenOptions::new().write(true).open(&path).unwrap();
    file.file().set_modified(modified).unwrap();
    assert_ne!(fingerprint(&sources).unwrap(), before);
    let stdin = walk(&["-".into()], folder.path(), false).unwrap().sources;
    assert_eq!(fingerprint(&stdin), None);
}
