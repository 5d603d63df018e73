use super::{Tree, check};
use crate::cx::Cx;

/// `cargo test --workspace` holds the rules, also where nobody calls `cargo xtask tidy`.
#[test]
fn the_repository_keeps_the_rules_of_the_house() {
    let cx = Cx::from_environment().unwrap();
    let faults = check(&cx).unwrap();
    let shown: Vec<String> = faults.iter().map(ToString::to_string).collect();
    assert!(faults.is_empty(), "{} faults\n{}", faults.len(), shown.join("\n"));
}

#[test]
fn without_git_the_work_tree_is_walked() {
    let root = tempfile::tempdir().unwrap();
    for (file, text) in [
        ("a.md", "a"),
        ("target/b.md", "b"),
        (".royalcrown/c.md", "c"),
        ("d/e.md", "e"),
    ] {
        let path = root.path().join(file);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, text).unwrap();
    }
    fs_err::write(root.path().join("binary"), [0xff, 0xfe]).unwrap();
    let tree = Tree::read(root.path()).unwrap();
    let paths: Vec<&str> = tree.files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(paths, ["a.md", "d/e.md"]);
}
