use super::*;

#[test]
fn names_follow_the_dns_label_grammar() {
    for good in ["a", "acme", "a-1", "0", &"x".repeat(63)] {
        assert!(TenantId::new(good).is_ok(), "{good}");
    }
    for (bad, want) in [
        ("", NameError::Empty),
        ("-a", NameError::BadEdge),
        ("a-", NameError::BadEdge),
        ("Acme", NameError::BadCharacter { found: 'A' }),
        ("a_b", NameError::BadCharacter { found: '_' }),
        ("a\0b", NameError::BadCharacter { found: '\0' }),
        ("é", NameError::BadCharacter { found: 'é' }),
    ] {
        assert_eq!(TenantId::new(bad).unwrap_err(), want, "{bad:?}");
    }
    assert!(matches!(
        TenantId::new(&"x".repeat(64)),
        Err(NameError::TooLong { len: 64, .. })
    ));
}

#[test]
fn document_ids_take_any_text_without_control_characters() {
    assert!(DocId::new("man/1/ls#DESCRIPTION").is_ok());
    assert!(DocId::new("日本語").is_ok());
    assert_eq!(DocId::new("a\u{0}").unwrap_err(), NameError::Control);
    assert_eq!(DocId::new("a\n").unwrap_err(), NameError::Control);
}

#[test]
fn a_bad_name_is_refused_by_serde_too() {
    assert!(serde_json::from_str::<TenantId>("\"acme\"").is_ok());
    assert!(serde_json::from_str::<TenantId>("\"Acme Inc\"").is_err());
}

#[test]
fn dot_segments_are_seen_however_a_segment_ends() {
    for (path, expect) in [
        ("..", true),
        (".", true),
        ("a/../b", true),
        ("a\\..", true),
        ("..;x", true),
        (".;/a", true),
        ("/docs/.", true),
        ("...", false),
        ("a..b", false),
        (".hidden", false),
        ("a;..", false),
        ("a%2f..", false),
        ("", false),
    ] {
        assert_eq!(has_dot_segment(path), expect, "{path}");
    }
}
