use super::*;

fn file(text: &str) -> Arc<SourceFile> {
    Arc::new(SourceFile::new("tenants.yaml", text))
}

/// The span of the first `part` in `source`.
fn span(source: &SourceFile, part: &str) -> ByteSpan {
    let start = source.text().find(part).unwrap();
    ByteSpan::new(start, start + part.len())
}

#[test]
fn columns_count_characters_and_lines_end_as_in_yaml() {
    for (text, offset, expected) in [
        ("", 0, (1, 1)),
        ("", 9, (1, 1)),
        ("abc", 1, (1, 2)),
        ("a\nb", 2, (2, 1)),
        ("a\r\nb", 3, (2, 1)),
        ("a\r\nb", 2, (1, 3)),
        ("a\rb", 2, (2, 1)),
        ("a\n\n\nb", 4, (4, 1)),
        ("äöü: x", "äöü: ".len(), (1, 6)),
        ("日本: x", "日本: ".len(), (1, 5)),
        ("🦀: x", "🦀".len(), (1, 2)),
        // Inside of a character: where it starts.
        ("🦀", 2, (1, 1)),
        ("\u{feff}ab", 1, (1, 2)),
    ] {
        let Position { line, column } = file(text).position(offset);
        assert_eq!((line, column), expected, "{text:?} {offset}");
    }
}

#[test]
fn a_diagnostic_shows_the_line_and_what_to_do() {
    let source = file("tenants:\n  acme:\n    teir: gold\n  acme: {}\n");
    let diagnostic = Diagnostic::error("RC-CFG-005", &source, span(&source, "teir"), "unknown key `teir`")
        .label("not known here")
        .note(&source, span(&source, "acme"), "in this tenant")
        .hint("did you mean `tier`?\nor something else");
    insta::assert_snapshot!(diagnostic.to_string(), @r"
    error[RC-CFG-005]: unknown key `teir`
     --> tenants.yaml:3:5
      |
    3 |     teir: gold
      |     ^^^^ not known here
     ::: tenants.yaml:2:3
      |
    2 |   acme:
      |   ---- in this tenant
      = hint: did you mean `tier`?
              or something else
    ");
}

#[test]
fn colours_wrap_the_same_text() {
    let source = file("a: 1\n");
    let diagnostic =
        Diagnostic::warning("RC-CFG-018", &source, span(&source, "a"), "`a` has no effect").hint("remove it");
    let mut stripped = diagnostic.render(&Palette::COLOR);
    assert!(
        stripped.contains("\u{1b}[1;33mwarning[RC-CFG-018]\u{1b}[0m"),
        "{stripped:?}"
    );
    let colors = Palette::COLOR;
    for code in [
        colors.error,
        colors.warning,
        colors.frame,
        colors.hint,
        colors.bold,
        colors.reset,
    ] {
        stripped = stripped.replace(code, "");
    }
    let trimmed = |text: &str| text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n");
    assert_eq!(trimmed(&stripped), trimmed(&diagnostic.to_string()));
}

#[test]
fn carets_stand_under_wide_characters_and_tabs() {
    let source = file("名前: \t値段 # ok\n");
    let diagnostic = Diagnostic::error("RC-CFG-008", &source, span(&source, "値段"), "not a price");
    insta::assert_snapshot!(diagnostic.to_string(), @r"
    error[RC-CFG-008]: not a price
     --> tenants.yaml:1:6
      |
    1 | 名前:     値段 # ok
      |           ^^^^
    ");
}

#[test]
fn long_lines_are_cut_around_the_caret() {
    let text = format!("a: {}HERE{}", "x".repeat(500_000), "y".repeat(500_000));
    let source = file(&text);
    let shown = Diagnostic::error("RC-CFG-008", &source, span(&source, "HERE"), "m").to_string();
    insta::assert_snapshot!(shown, @r"
    error[RC-CFG-008]: m
     --> tenants.yaml:1:500004
      |
    1 | …xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxHEREyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy…
      |                                          ^^^^
    ");
}

#[test]
fn what_could_move_the_cursor_is_made_visible() {
    let source = file("a: \u{1b}[2J\u{202e}x\n");
    let message = format!("bad {}", quote("\u{1b}[2J\u{7}\u{202e}\n"));
    let shown = Diagnostic::error("RC-CFG-002", &source, span(&source, "\u{1b}"), message)
        .hint("\u{1b}c")
        .to_string();
    assert!(!shown.contains(['\u{1b}', '\u{7}', '\u{202e}']), "{shown:?}");
    assert!(shown.contains("bad `␛[2J␇\u{fffd}␊`"), "{shown}");
    let endless = Diagnostic::of_file("RC-CFG-001", "f", "x".repeat(1 << 20));
    assert_eq!(endless.message.chars().count(), TEXT_CHARS_MAX + 1);
}

#[test]
fn secrets_are_not_shown() {
    let source = file("store: {url: \"postgres://shop:hunter2:x@db/x\", x: 1}\nenv: {TOKEN: hunter2}\n");
    let url = Diagnostic::error("RC-CFG-005", &source, span(&source, "x: 1"), "m").to_string();
    assert!(url.contains("postgres://shop:*********@db/x"), "{url}");
    let token = Diagnostic::error("RC-CFG-007", &source, span(&source, "TOKEN"), "m").hide(&Arc::from([
        ByteSpan::new(source.text().rfind("hunter2").unwrap(), source.text().len()),
    ]));
    assert!(!token.to_string().contains("hunter"), "{token}");
}

#[test]
fn a_diagnostic_is_json_with_a_place() {
    let source = file("a: 1\n");
    let diagnostic = Diagnostic::error("RC-CFG-005", &source, span(&source, "1"), "m").note(
        &source,
        ByteSpan::new(0, 1),
        "n",
    );
    insta::assert_snapshot!(serde_json::to_string(&diagnostic).unwrap(), @r#"{"code":"RC-CFG-005","severity":"error","message":"m","file":"tenants.yaml","line":1,"column":4,"span":{"start":3,"end":4},"label":null,"hint":null,"notes":[{"file":"tenants.yaml","line":1,"column":1,"label":"n"}]}"#);
}

#[test]
fn a_file_without_text_is_named_without_a_place() {
    let diagnostic = Diagnostic::of_file("RC-CFG-001", "tenants.yaml", "permission denied").hint("read it");
    insta::assert_snapshot!(diagnostic.to_string(), @r"
    error[RC-CFG-001]: permission denied
     --> tenants.yaml
      = hint: read it
    ");
}

/// A line, or some, that gives `secret` away: every form that people write one in.
fn telling(secret: &str, form: usize) -> String {
    match form {
        0 => format!("url: \"postgres://shop:{secret}@db/x\""),
        1 => format!("url: postgres://a:b@c/d  # was postgres://shop:{secret}@db/x"),
        2 => format!("both: [\"nats://{secret}@h:4222\", \"tls://u:{secret}@h\"]"),
        3 => format!("url: 'postgres://shop@db/x?password={secret}&connect_timeout=3'"),
        4 => format!("url: https://collector/v1?x=1&api_key={secret}"),
        5 => format!("db_password: {secret}"),
        6 => format!("env: {{A: 1, \"SERVICE_TOKEN\": \"{secret}\", B: 2}}"),
        7 => format!("clientSecret : '{secret}'"),
        8 => format!("dsn: host=db user=shop password={secret} dbname=x"),
        9 => format!("key: |\n  first\n  {secret}"),
        _ => format!("password:\n  {secret}"),
    }
}

proptest::proptest! {
    #[test]
    fn no_rendering_shows_a_secret(
        secret in "[A-Za-z0-9]{6}[A-Za-z0-9!$%^*()+.:/?_~-]{2,40}",
        form in 0_usize..11,
        at in 0_usize..200,
        len in 0_usize..40,
        other in 0_usize..200,
    ) {
        let source = file(&telling(&secret, form));
        let near = |at: usize| source.text().floor_char_boundary(at.min(source.text().len()));
        let span = ByteSpan::new(near(at), near(at + len));
        let shown = Diagnostic::error("RC-CFG-005", &source, span, "m")
            .note(&source, ByteSpan::new(near(other), near(other)), "n")
            .render(&Palette::COLOR);
        proptest::prop_assert!(!shown.contains(&secret[..6]), "{}", shown);
    }
}

#[test]
fn names_that_only_look_like_secrets_are_shown() {
    for text in [
        "tenants: {acme: {tier: gold}}",
        "url: postgres://shop@db:5432/x",
        "listen: 127.0.0.1:80",
    ] {
        let source = file(text);
        let shown = Diagnostic::error("RC-CFG-005", &source, ByteSpan::default(), "m").to_string();
        assert!(shown.contains(text), "{shown}");
    }
}
