//! Places in the WAL, histories, and a stream against a real server.

use super::slots::branch;
use super::*;

#[test]
fn places_read_as_they_are_written() {
    for text in ["0/0", "16/B374D848", "FFFFFFFF/FFFFFFFF"] {
        assert_eq!(Lsn::parse(text).unwrap().to_string(), text);
    }
    for text in ["", "/", "1", "1/", "g/0", "1/2/3", "100000000/0"] {
        assert_eq!(Lsn::parse(text), None, "{text}");
    }
    assert!(Lsn::parse("1/0") > Lsn::parse("0/FFFFFFFF"));
}

#[test]
fn a_history_says_where_a_timeline_was_left() {
    let history = "1\t0/5000148\tno recovery target specified\n\n2\t0/7000000\tbefore 2026\n";
    assert_eq!(branch(history, 1), Lsn::parse("0/5000148"));
    assert_eq!(branch(history, 2), Lsn::parse("0/7000000"));
    assert_eq!(branch(history, 3), None);
    assert_eq!(branch("nonsense", 1), None);
}

#[test]
fn names_and_texts_are_quoted() {
    assert_eq!(ident("a\"b"), "\"a\"\"b\"");
    assert_eq!(literal("o'clock\\"), "'o''clock\\'");
}
