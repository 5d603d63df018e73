use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::{Mode, labels, settle};
use crate::repo::forge::Forge;

/// A forge made of a shell script: labels are lines of a file, one page of one element each, and every
/// change is noted.
const SCRIPT: &str = r#"#!/bin/sh
set -eu
cd "$(dirname "$0")"
method=$3 path=$4
case "$method $path" in
  "GET repos/{owner}/{repo}/labels") while read -r line; do printf '[%s]' "$line"; done < there ;;
  "POST repos/{owner}/{repo}/labels") cat >> there; echo >> there; echo "$method" >> calls ;;
  *) echo "no such call: $method $path" >&2; exit 1 ;;
esac
"#;

fn forge(folder: &Path, there: &str) -> Forge {
    let program = folder.join("gh");
    fs_err::write(&program, SCRIPT).unwrap();
    fs_err::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    fs_err::write(folder.join("there"), there).unwrap();
    Forge::with_program(&program, folder)
}

const DATA: &str = r#"{"groups": {"kind": {"about": "what it is", "color": "00ff00"}},
    "labels": {"kind": {"bug": "it breaks", "idea": "it could be"}}}"#;

const CHECK: Mode = Mode {
    check: true,
    apply: false,
};
const APPLY: Mode = Mode {
    check: false,
    apply: true,
};

#[test]
fn checking_tells_and_applying_ends_the_difference() {
    let folder = tempfile::tempdir().unwrap();
    let bug = "{\"id\":1,\"name\":\"kind/bug\",\"color\":\"00ff00\",\"description\":\"it breaks\"}\n";
    let forge = forge(folder.path(), bug);
    let wanted = labels::parse(DATA).unwrap();
    let compare = |forge: &Forge| labels::compare(&wanted, forge);

    assert_eq!(settle(CHECK, &forge, compare).unwrap_err().exit, 1);
    assert!(!folder.path().join("calls").exists(), "a check changes nothing");
    settle(APPLY, &forge, compare).unwrap();
    assert_eq!(
        fs_err::read_to_string(folder.path().join("calls")).unwrap(),
        "POST\n"
    );
    settle(CHECK, &forge, compare).unwrap();
}

#[test]
fn a_forge_that_cannot_be_reached_is_the_worlds_fault() {
    let folder = tempfile::tempdir().unwrap();
    let forge = Forge::with_program(&folder.path().join("absent"), folder.path());
    let wanted = labels::parse(DATA).unwrap();
    assert_eq!(
        settle(CHECK, &forge, |forge| labels::compare(&wanted, forge))
            .unwrap_err()
            .exit,
        3
    );
}
