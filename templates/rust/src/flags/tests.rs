use super::*;

fn variable(name: &str, value: &str) -> [(String, String); 1] {
    [(name.to_owned(), value.to_owned())]
}

#[test]
fn the_environment_wins_over_the_file() {
    let file = Some(r#"{"warm_greeting": false, "other": true}"#);
    let flags = Flags::from_texts(file, variable("FLAG_WARM_GREETING", "true")).unwrap();
    assert!(flags.on("warm_greeting") && flags.on("other"));
    assert!(!flags.on("unknown"));
}

#[test]
fn what_cannot_be_understood_is_an_error() {
    assert!(Flags::from_texts(Some("{"), []).is_err());
    assert!(Flags::from_texts(Some(r#"{"warm_greeting": "yes"}"#), []).is_err());
    assert!(Flags::from_texts(None, variable("FLAG_WARM_GREETING", "yes")).is_err());
}
