use super::*;

#[test]
fn the_head_lists_what_is_there() {
    let json = serde_json::json!({ "id": "a", "title": "A\u{1b}[0m", "text": "t", "attrs": { "ext": "md" }, "version": 3 });
    let document: StoredDocument = serde_json::from_value(json).unwrap();
    assert_eq!(
        head(&document),
        "id       a\ntitle    A [0m\nversion  3\nattr     ext=md\n"
    );
}

#[test]
fn a_text_keeps_its_lines_and_tabs_and_loses_its_commands() {
    assert_eq!(readable("a\tb\n\u{1b}[2Jc\r\n"), "a\tb\n [2Jc \n");
}
