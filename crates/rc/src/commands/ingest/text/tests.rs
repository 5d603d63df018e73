use super::*;

fn decoded(bytes: &[u8]) -> (String, bool) {
    let decoded = decode(bytes).unwrap();
    (decoded.text, decoded.guessed)
}

#[test]
fn text_is_read_however_it_was_written() {
    assert_eq!(decoded("grün".as_bytes()), ("grün".into(), false));
    assert_eq!(decoded(b"\xef\xbb\xbfmark"), ("mark".into(), false));
    assert_eq!(decoded(b"gr\xfcn \x80 \x93x\x94"), ("grün € “x”".into(), true));
    assert_eq!(decoded(b"\xff\xfea\0\xe4\0"), ("aä".into(), false));
    assert_eq!(decoded(b"\xfe\xff\0a\0\xe4"), ("aä".into(), false));
    assert_eq!(
        decoded(b"\xff\xfe\x00\xd8"),
        ("\u{fffd}".into(), false),
        "half a pair"
    );
    assert_eq!(
        decoded(b"bold\x08b \x1b[1m\x0c"),
        ("bold\x08b \x1b[1m\x0c".into(), false)
    );
}

#[test]
fn what_is_not_text_is_said_to_be_none() {
    for bytes in [
        &b"\x7fELF\x02\0"[..],
        b"a\0b",
        b"%PDF-1.7\n",
        b"\x01\x02\x03\x04text",
        b"\xff\xfe\0\0",
    ] {
        assert_eq!(decode(bytes), None, "{bytes:?}");
    }
}

fn first_title(text: &str) -> String {
    documents("dir/name.txt", text, &BTreeMap::new())[0]
        .title
        .clone()
        .unwrap()
}

#[test]
fn the_title_is_the_first_line_that_says_something() {
    for (text, title) in [
        ("\n\n# A *guide*\n\nText", "A *guide"),
        ("=====\nHeading\n=====\n", "Heading"),
        ("   padded   line  \n", "padded line"),
        ("-----\n*****\n", "dir/name.txt"),
        ("a\u{7}b\n", "a b"),
        (
            ".\\\" generated\n.TH LS \"1\" \"September 2022\" \"GNU\"\n.SH NAME\n",
            "ls(1)",
        ),
        (".TH \"Algorithm::Diff\" 3pm\n", "Algorithm::Diff(3pm)"),
        (".Dd May\n.Dt SSH 1\n", "ssh(1)"),
        ("'\\\" t\n.so man1/x.1\n", "dir/name.txt"),
    ] {
        assert_eq!(first_title(text), title, "{text}");
    }
    assert_eq!(first_title(&"é".repeat(500)).chars().count(), TITLE_CHARS_MAX + 1);
}

#[test]
fn a_file_becomes_a_document_with_its_path() {
    let attrs = BTreeMap::from([
        ("path".to_owned(), "mine".to_owned()),
        ("lang".to_owned(), "en".to_owned()),
    ]);
    let made = documents("man1/ls.1.GZ.gz", "text", &attrs);
    assert_eq!(made.len(), 1);
    assert_eq!(made[0].id.as_deref(), Some("man1/ls.1.GZ.gz"));
    let expected = [("ext", "gz"), ("lang", "en"), ("path", "mine")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(made[0].attrs, BTreeMap::from(expected));
    assert!(
        documents("LICENSE", "text", &BTreeMap::new())[0]
            .attrs
            .keys()
            .eq(["path"])
    );
}

#[test]
fn a_long_text_is_cut_where_it_reads_well_and_loses_nothing() {
    let paragraph = format!("{}\n\n", "word ".repeat(100));
    let section = format!("## Section\n\n{}", paragraph.repeat(150));
    let text = section.repeat(12);
    let made = documents("book.md", &text, &BTreeMap::new());
    assert!(made.len() > 3);
    assert_eq!(
        made.iter().map(|part| part.text.as_str()).collect::<String>(),
        text
    );
    for (index, part) in made.iter().enumerate() {
        assert!(part.text.len() <= PART_BYTES_MAX);
        assert!(part.text.starts_with("## Section"), "{:?}", &part.text[..30]);
        let id = if index == 0 {
            "book.md".to_owned()
        } else {
            format!("book.md#{}", index + 1)
        };
        assert_eq!(part.id.as_deref(), Some(id.as_str()));
        assert_eq!(
            part.title,
            Some(format!("Section ({}/{})", index + 1, made.len()))
        );
    }
}

#[test]
fn a_text_without_any_break_is_cut_between_characters() {
    let text = "ü".repeat(PART_BYTES_MAX);
    let made = documents("x", &text, &BTreeMap::new());
    assert_eq!(made.len(), 2);
    assert_eq!(made.iter().map(|part| part.text.len()).sum::<usize>(), text.len());
    let exact = "x".repeat(PART_BYTES_MAX);
    assert_eq!(documents("x", &exact, &BTreeMap::new()).len(), 1);
}

#[test]
fn every_name_becomes_an_id_that_ingest_takes() {
    let long = format!("{}/end", "ä".repeat(300));
    for name in ["a/b.txt", "", "line\nbreak", "bad\u{fffd}", &long] {
        let id = id_stem(name);
        rc_model::id::check_doc_id(&format!("{id}#1234567"))
            .unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    assert_eq!(id_stem("a/b.txt"), "a/b.txt");
    assert_ne!(id_stem(&long), id_stem(&format!("{long}2")));
    assert_ne!(id_stem("a\nb"), id_stem("a\tb"));
}
