use super::*;

fn document() -> Document {
    Document {
        id: "a".to_owned(),
        title: Some("Title".to_owned()),
        text: "some text".to_owned(),
        attrs: [("b".to_owned(), "2".to_owned()), ("a".to_owned(), "1".to_owned())].into(),
        time: Timestamp::parse("2026-11-21T11:00:00+01:00"),
    }
}

fn tenant(name: &str) -> TenantId {
    TenantId::new(name).unwrap()
}

#[test]
fn the_payload_is_canonical() {
    let json = String::from_utf8(document().to_payload()).unwrap();
    assert_eq!(
        json,
        r#"{"id":"a","title":"Title","text":"some text","attrs":{"a":"1","b":"2"},"time":"2026-11-21T10:00:00.000Z"}"#
    );
    assert_eq!(serde_json::from_str::<Document>(&json).unwrap(), document());
}

#[test]
fn absent_members_stay_off_the_wire() {
    let bare = Document {
        title: None,
        attrs: BTreeMap::new(),
        time: None,
        ..document()
    };
    assert_eq!(
        String::from_utf8(bare.to_payload()).unwrap(),
        r#"{"id":"a","text":"some text"}"#
    );
}

#[test]
fn the_hash_covers_every_member_but_the_id() {
    let base = document();
    let same = Document {
        id: "another".to_owned(),
        ..base.clone()
    };
    assert_eq!(base.content_hash(), same.content_hash());
    let changes: [fn(&mut Document); 8] = [
        |d| d.title = None,
        |d| d.title = Some(String::new()),
        |d| d.text.push('x'),
        |d| d.time = None,
        |d| d.time = Some(Timestamp::from_unix_ms(0)),
        |d| d.attrs.clear(),
        |d| {
            d.attrs.insert("a".to_owned(), "12".to_owned());
        },
        |d| {
            d.attrs.remove("a");
        },
    ];
    let mut seen = vec![base.content_hash().fingerprint()];
    for change in changes {
        let mut other = base.clone();
        change(&mut other);
        let fingerprint = other.content_hash().fingerprint();
        assert!(!seen.contains(&fingerprint), "{other:?}");
        seen.push(fingerprint);
    }
}

#[test]
fn text_cannot_move_between_members() {
    let left = Document {
        title: Some("ab".to_owned()),
        text: "c".to_owned(),
        attrs: BTreeMap::new(),
        time: None,
        id: "x".to_owned(),
    };
    let right = Document {
        title: Some("a".to_owned()),
        text: "bc".to_owned(),
        ..left.clone()
    };
    assert_ne!(left.content_hash(), right.content_hash());
}

#[test]
fn derived_ids_are_stable_and_the_tenants_own() {
    let hash = document().content_hash();
    let id = hash.derived_id(&tenant("acme"));
    assert_eq!(id.len(), 34);
    assert_eq!(id, hash.derived_id(&tenant("acme")));
    assert_ne!(id, hash.derived_id(&tenant("globex")));
    assert_eq!(check_id(&id), Ok(()));
}

#[test]
fn ids_that_no_url_can_name_are_refused() {
    let folded = [
        ".", "..", "./x", "../x", "a/../b", "a/..", "a/.", "..\\a", "a\\.", "..;v=1", "a/.;x/b", "/..",
    ];
    for bad in folded {
        let why = check_id(bad).unwrap_err();
        assert!(why.contains("cannot be addressed by a URL"), "{bad:?}: {why}");
    }
    for bad in ["", "a\u{0}", "a\nb", &"x".repeat(201)] {
        assert!(check_id(bad).is_err(), "{bad:?}");
    }
    for good in [
        "a",
        "a/b",
        "...",
        ".a",
        "a..",
        "a/...",
        "/a",
        "a//b",
        "a/",
        "\\a",
        ";",
        "a;..",
        "%2e%2e",
        "ü",
        "50%",
        &"x".repeat(200),
    ] {
        assert_eq!(check_id(good), Ok(()), "{good:?}");
    }
}

proptest::proptest! {
    #[test]
    fn what_is_accepted_can_be_read_through_the_gateway(
        id in proptest::prop_oneof![r"[./\\;a%\x01]{1,8}", r"(\.{1,2}|a|;|/|\\){1,6}", "\\PC{1,20}"],
    ) {
        // The gateway looks at the whole path, after its escapes are undone: nothing before the id makes a
        // segment of it harmless, or one that is harmless fold away.
        let path = format!("/docs/{id}");
        let taken = !rc_model::id::has_dot_segment(&path) && !path.chars().any(char::is_control);
        proptest::prop_assert_eq!(check_id(&id).is_ok(), taken);
    }

    #[test]
    fn the_payload_is_what_serde_writes(
        id in "[^\\x00]{1,20}",
        title in proptest::option::of(proptest::prelude::any::<String>()),
        text in proptest::prelude::any::<String>(),
        attrs in proptest::collection::btree_map(proptest::prelude::any::<String>(), proptest::prelude::any::<String>(), 0..4),
        time in proptest::option::of(0_i64..4_000_000_000_000),
    ) {
        let document = Document { id, title, text, attrs, time: time.map(Timestamp::from_unix_ms) };
        proptest::prop_assert_eq!(document.to_payload(), serde_json::to_vec(&document).unwrap());
    }
}
