use super::*;

#[test]
fn lines_are_wrapped_at_spaces_and_long_words_are_cut() {
    assert_eq!(wrap("one two three", 7), ["one two", "three"]);
    assert_eq!(wrap("", 7), [""]);
    assert_eq!(wrap("abcdefghij kl", 4), ["abcd", "efgh", "ij", "kl"]);
    for width in 1..20 {
        let lines = wrap("a bb ccc dddd eeeee ffffff ggggggg", width);
        assert!(
            lines.iter().all(|line| line.chars().count() <= width),
            "{width}: {lines:?}"
        );
        let joined: String = lines.concat().chars().filter(|c| *c != ' ').collect();
        assert_eq!(joined, "abbcccddddeeeeeffffffggggggg", "{width}");
    }
}

#[test]
fn since_is_a_time_or_a_span() {
    assert!(matches!(since("2026-11-21T10:00:00Z"), Ok(Since::At(_))));
    assert!(matches!(since("2h"), Ok(Since::Ago(_))));
    assert!(since("yesterday").unwrap_err().contains("RFC 3339"));
}
