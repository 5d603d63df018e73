use std::collections::BTreeSet;
use std::path::Path;

use super::*;

fn files() -> Vec<File> {
    [("README.md", "read\n"), ("src/deep/main.rs", "fn main() {}\n")]
        .map(|(path, text)| File {
            path,
            text: text.to_owned(),
        })
        .to_vec()
}

/// Everything below `dir`, folders too.
fn tree(dir: &Path) -> BTreeSet<String> {
    walkdir::WalkDir::new(dir)
        .min_depth(1)
        .into_iter()
        .map(|entry| {
            entry
                .unwrap()
                .path()
                .strip_prefix(dir)
                .unwrap()
                .display()
                .to_string()
        })
        .collect()
}

fn write(target: &Path) -> Result<(), Fault> {
    Place::new(target, &files())?.write(&files())
}

#[test]
fn the_folder_is_there_with_all_files_and_nothing_beside_it() {
    let dir = tempfile::tempdir().unwrap();
    write(&dir.path().join("orders")).unwrap();
    let expected = [
        "orders",
        "orders/README.md",
        "orders/src",
        "orders/src/deep",
        "orders/src/deep/main.rs",
    ];
    assert_eq!(tree(dir.path()), expected.map(str::to_owned).into());
    let text = fs_err::read_to_string(dir.path().join("orders/README.md")).unwrap();
    assert_eq!(text, "read\n");
}

#[test]
fn an_empty_folder_is_filled_and_any_other_refused_with_what_is_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("orders");
    fs_err::create_dir(&target).unwrap();
    write(&target).unwrap();
    let before = tree(dir.path());
    let fault = write(&target).unwrap_err().to_string();
    assert!(
        fault.contains("README.md") && fault.contains("src/deep/main.rs"),
        "{fault}"
    );

    let other = dir.path().join("other");
    fs_err::create_dir_all(other.join(".git")).unwrap();
    let fault = write(&other).unwrap_err().to_string();
    assert!(fault.contains("is not empty: .git"), "{fault}");

    let link = dir.path().join("link");
    std::os::unix::fs::symlink("nowhere", &link).unwrap();
    let fault = write(&link).unwrap_err().to_string();
    assert!(fault.contains("is not a folder"), "{fault}");
    let fault = write(&dir.path().join("no/such/folder")).unwrap_err().to_string();
    assert!(fault.contains("there is no folder"), "{fault}");

    let mut after = tree(dir.path());
    after.retain(|path| !path.starts_with("other") && path != "link");
    assert_eq!(after, before, "nothing was changed");
}

#[test]
fn a_failure_half_way_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut files = files();
    // A file cannot be written below a file.
    files.push(File {
        path: "README.md/below",
        text: String::new(),
    });
    let target = dir.path().join("orders");
    let fault = Place::new(&target, &files).unwrap().write(&files).unwrap_err();
    assert!(fault.to_string().contains("nothing was left behind"), "{fault}");
    assert!(tree(dir.path()).is_empty());
}

#[test]
fn somebody_who_was_faster_keeps_the_folder() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("orders");
    let place = Place::new(&target, &files()).unwrap();
    fs_err::create_dir(&target).unwrap();
    fs_err::write(target.join("README.md"), "theirs").unwrap();
    let fault = place.write(&files()).unwrap_err().to_string();
    assert!(fault.contains("README.md"), "{fault}");
    assert_eq!(
        tree(dir.path()),
        ["orders", "orders/README.md"].map(str::to_owned).into()
    );
    assert_eq!(
        fs_err::read_to_string(target.join("README.md")).unwrap(),
        "theirs"
    );
}

#[test]
fn what_a_killed_run_left_is_removed_and_what_a_living_one_writes_is_not() {
    let dir = tempfile::tempdir().unwrap();
    // No process has so high a number.
    let dead = dir.path().join(format!(".orders{STAGE}{}", u32::MAX));
    let living = dir.path().join(format!(".orders{STAGE}1"));
    for stage in [&dead, &living] {
        fs_err::create_dir_all(stage.join("src")).unwrap();
    }
    write(&dir.path().join("orders")).unwrap();
    assert!(!dead.exists() && living.exists());
}
