use super::*;

fn hit(title: Option<&str>, snippet: &str) -> Hit {
    let json =
        serde_json::json!({ "id": "man/ls.1#name", "title": title, "score": 12.345, "snippet": snippet });
    serde_json::from_value(json).unwrap()
}

#[test]
fn a_hit_shows_title_id_score_and_its_marked_snippet() {
    let hit = hit(
        Some("LS(1)"),
        "… <mark>list</mark> directory  contents\n of &lt;dir&gt; &amp; more",
    );
    assert_eq!(
        entry(&hit, false),
        "LS(1)\nman/ls.1#name  12.3\n  … *list* directory contents of <dir> & more"
    );
    let colored = entry(&hit, true);
    assert!(
        colored.contains("\u{1b}[1mlist\u{1b}[0m directory"),
        "{colored:?}"
    );
}

#[test]
fn a_hit_without_a_title_shows_its_id() {
    assert_eq!(entry(&hit(None, ""), false), "man/ls.1#name\nman/ls.1#name  12.3");
}

#[test]
fn what_a_document_says_never_reaches_the_terminal_as_a_command() {
    let hit = hit(Some("\u{1b}[2Jgone\u{7}"), "a\u{1b}]0;title\u{7}b \u{202e}c");
    let shown = entry(&hit, false);
    assert!(!shown.chars().any(|c| c != '\n' && c.is_control()), "{shown:?}");
    assert!(!shown.contains('\u{202e}'));
}

#[test]
fn odd_markup_stays_text() {
    let style = Style { color: false };
    for (snippet, text) in [
        ("", ""),
        ("<mark>open", "*open*"),
        ("a</mark>b", "a</mark>b"),
        ("&amp;lt; &unknown; &", "&lt; &unknown; &"),
        ("x &#39;y&#x27; &quot;z&quot;", "x 'y' \"z\""),
        ("a <mark>b</mark> <mark>c</mark> d", "a *b* *c* d"),
    ] {
        assert_eq!(marked(snippet, &style), text);
    }
}

#[test]
fn scores_have_three_significant_digits_however_small_they_are() {
    for (number, text) in [
        (0.0, "0"),
        (2.051e-6, "2.05e-6"),
        (0.000_999_4, "9.99e-4"),
        (0.000_999_9, "0.00100"),
        (0.041_23, "0.0412"),
        (1.0, "1.00"),
        (9.999, "10.0"),
        (-3.217, "-3.22"),
        (1_234.6, "1235"),
    ] {
        assert_eq!(score(number), text);
    }
}
