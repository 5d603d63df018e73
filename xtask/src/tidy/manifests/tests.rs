use super::{member, names};

const GOOD: &str = r#"
[package]
name = "rc-x"
version.workspace = true
edition.workspace = true
rust-version.workspace = true
license.workspace = true
repository.workspace = true
publish.workspace = true

[lib]
doctest = false

[lints]
workspace = true

[dependencies]
serde.workspace = true
"#;

fn faults(text: &str) -> Vec<String> {
    member("crates/rc-x/Cargo.toml", &text.parse().unwrap())
}

#[test]
fn a_manifest_by_the_book_has_no_fault() {
    assert_eq!(faults(GOOD), Vec::<String>::new());
}

#[test]
fn each_departure_is_named() {
    for (from, to, expect) in [
        (
            "version.workspace = true",
            "version = \"1.0.0\"",
            "`version.workspace = true`",
        ),
        ("[lints]\nworkspace = true", "", "[lints] workspace = true"),
        ("[lib]\ndoctest = false", "[lib]", "doctest = false"),
        ("[lib]\ndoctest = false", "", "[lib] doctest = false"),
        (
            "serde.workspace = true",
            "serde = \"1\"",
            "`serde` comes from the root's table",
        ),
        (
            "serde.workspace = true",
            "serde = { workspace = true, features = [\"rc\"] }",
            "whole feature list",
        ),
        (
            "[dependencies]",
            "[features]\nfast = []\n[dependencies]",
            "features exist only on `rc`",
        ),
    ] {
        let found = faults(&GOOD.replacen(from, to, 1));
        assert!(
            found.iter().any(|message| message.contains(expect)),
            "{to}: {found:?}"
        );
    }
}

#[test]
fn a_dependency_is_named_as_a_whole_word() {
    assert!(names("use http::Request;", "http"));
    assert!(!names("use http_body::Body;", "http"));
    assert!(names("fn f() -> rc_model::Digest", "rc_model"));
    assert!(!names("", "http"));
}
