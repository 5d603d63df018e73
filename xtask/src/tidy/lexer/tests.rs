use super::code_only;

/// The code of `text`, with each run of spaces as one. What was blanked keeps its length.
fn code(text: &str) -> String {
    let code = code_only(text);
    assert_eq!(code.len(), text.len());
    code.split(' ')
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn comments_and_literals_are_blanked_and_code_stays() {
    for (text, expect) in [
        ("a(); // b()", "a();"),
        ("a(/* b /* c */ d */ e)", "a( e)"),
        (r#"f("x.unwrap()", 1)"#, "f( , 1)"),
        (r#"f("\"", g)"#, "f( , g)"),
        (r###"f(r#"a " b"#, g)"###, "f( , g)"),
        ("f('\"', g('a'), h::<'a>())", "f( , g( ), h::<'a>())"),
        (r"f('\'', '\\', '\u{1F451}')", "f( , , )"),
        ("a /* never closed", "a"),
        ("a \"never closed", "a"),
        ("for\"x\" b", "for b"),
        ("let é = 'ß'; // ü", "let é = ;"),
        ("'", "'"),
        ("'\\", "'\\"),
    ] {
        assert_eq!(code(text), expect, "{text}");
    }
}

#[test]
fn line_numbers_stay() {
    let text = "a\n/* b\nc */ d\nr\"e\nf\" g\n";
    let code = code_only(text);
    assert_eq!(code.lines().count(), text.lines().count());
    assert!(code.lines().nth(2).unwrap().ends_with(" d"));
}
