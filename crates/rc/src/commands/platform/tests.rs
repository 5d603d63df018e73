use super::*;

#[test]
fn words_are_quoted_for_the_shell() {
    for (text, word) in [
        ("docs/a.md", "docs/a.md"),
        ("two words", "'two words'"),
        ("it's", r"'it'\''s'"),
        ("", "''"),
        ("$(x)", "'$(x)'"),
    ] {
        assert_eq!(shell_word(text), word);
    }
}

#[test]
fn pairs_need_a_name() {
    assert_eq!(pair("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
    assert_eq!(pair("a="), Ok(("a".to_owned(), String::new())));
    assert!(pair("a").is_err());
    assert!(pair("=b").is_err());
}
