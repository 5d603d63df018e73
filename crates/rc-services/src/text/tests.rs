use std::collections::BTreeMap;

use proptest::prelude::*;

use super::naive::{finds, tokens};
use super::*;

fn folded(text: &str, expect: &str) {
    assert_eq!(fold(text), expect, "{text:?}");
}

#[test]
fn words_are_lower_case_and_without_accents() {
    folded("Hello, World-wide foo_bar 3.14", "hello world wide foo bar 3 14");
    folded("Crème BRÛLÉE naïve Ångström", "creme brulee naive angstrom");
    folded("cre\u{300}me e\u{301}", "creme e");
    folded("ﬁsh ＦＵＬＬｗｉｄｔｈ ½ ①", "fish fullwidth 1 2 1");
    folded("ΣΊΣΥΦΟΣ σίσυφος Ёлка ёлка", "σισυφοσ σισυφοσ елка елка");
    folded("İstanbul co\u{ad}operate", "istanbul cooperate");
    folded("שָׁלוֹם مُحَمَّد", "שלום محمد");
    folded("", "");
    folded("!? \u{0} \u{301} \u{fe0f} 😀", "");
}

#[test]
fn scripts_without_spaces_give_one_token_per_character() {
    folded("東京都は日本", "東 京 都 は 日 本");
    folded("か\u{3099}く ｶﾞ 🈀", "が く ガ ほ か");
    folded("Rust入門2024年版", "rust 入 門 2024 年 版");
    folded("한국어 \u{1112}\u{1161}\u{11ab}", "한국어 한");
    folded("हिन्दी", "हिन्दी");
    folded("กำ", "ก\u{e4d} า");
}

#[test]
fn a_token_is_cut_at_its_limit() {
    folded(&"x".repeat(1000), &"x".repeat(TOKEN_CHARS_MAX));
    folded(&"é".repeat(1000), &"e".repeat(TOKEN_CHARS_MAX));
    folded(&"ж".repeat(1000), &"ж".repeat(TOKEN_CHARS_MAX));
}

#[test]
fn ranges_name_the_bytes_a_token_came_from() {
    let text = "A Crème—東京!";
    let mut seen = Vec::new();
    for_each_token(text, |token, range| {
        seen.push((token.to_owned(), text[range].to_owned()))
    });
    let seen: Vec<(&str, &str)> = seen.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
    assert_eq!(seen, [("a", "A"), ("creme", "Crème"), ("東", "東"), ("京", "京")]);
}

fn rendered(text: &str, expect: &str) {
    let query = Query::parse(text).unwrap_or_else(|error| panic!("{text:?}: {error}"));
    assert_eq!(fts5_match(&query), expect, "{text:?}");
}

#[test]
fn queries_render_to_quoted_tokens() {
    rendered("cat", r#"(("cat"))"#);
    rendered("Cat dog", r#"(("cat" AND "dog"))"#);
    rendered("cat AND dog", r#"(("cat" AND "dog"))"#);
    rendered("cat OR dog bird", r#"(("cat")) OR (("dog" AND "bird"))"#);
    rendered(
        r#""Big cat" -dog -"small one""#,
        r#"(("big cat") NOT ("dog" OR "small one"))"#,
    );
    rendered(
        "inst* foo_bar* \"a bc\"*",
        r#"(("inst" * AND "foo bar" * AND "a bc" *))"#,
    );
    rendered(
        "--help e-mail NEAR(a b) title:x ^y",
        r#"(("help" AND "e mail" AND "near a" AND "b" AND "title x" AND "y"))"#,
    );
    rendered("東京 or", r#"(("東 京" AND "or"))"#);
    rendered("x \"\" - * ()", r#"(("x"))"#);
}

#[test]
fn queries_render_to_prefixed_lexemes() {
    let prefix = TenantPrefix::of(&rc_model::TenantId::new("acme").unwrap());
    let query = Query::parse(r#""big cat" dog* -bird OR x"#).unwrap();
    let text = tsquery(&query, &prefix);
    let plain = text.replace(
        tsquery(&Query::parse("x").unwrap(), &prefix).trim_matches(['(', ')', '\'', 'x']),
        "~",
    );
    assert_eq!(
        plain,
        "((('~big' <-> '~cat') & '~dog':*) & !('~bird')) | (('~x'))"
    );
}

#[test]
fn faults_in_a_query_are_named_with_their_place() {
    let fault = |text: &str| Query::parse(text).unwrap_err();
    assert_eq!(fault(""), QueryError::Empty);
    assert_eq!(fault(" ?! 😀 "), QueryError::Empty);
    assert_eq!(fault("\"\""), QueryError::Empty);
    assert_eq!(fault("été \"open"), QueryError::OpenQuote { position: 5 });
    assert_eq!(fault("a -\"open"), QueryError::OpenQuote { position: 4 });
    assert_eq!(fault("a\"b"), QueryError::OpenQuote { position: 2 });
    assert_eq!(fault("  -cat -dog"), QueryError::OnlyNegative { position: 3 });
    assert_eq!(fault("a OR -b"), QueryError::OnlyNegative { position: 6 });
    assert_eq!(fault("OR a"), QueryError::DanglingOr { position: 1 });
    assert_eq!(fault("a OR"), QueryError::DanglingOr { position: 3 });
    assert_eq!(fault("a OR OR b"), QueryError::DanglingOr { position: 6 });
    assert_eq!(fault(&"x".repeat(QUERY_BYTES_MAX + 1)).position(), None);
    let many = vec!["x"; QUERY_TERMS_MAX + 1].join(" ");
    assert_eq!(fault(&many).position(), Some(QUERY_TERMS_MAX * 2 + 1));
    assert!(Query::parse(&many[2..]).is_ok());
    // A prefix costs what all words cost that begin with it.
    for (text, position) in [
        ("a*", 1),
        ("cat é*", 5),
        ("cat -b*", 5),
        ("cat \"big d\"*", 5),
        ("foo-b*", 1),
    ] {
        let min = PREFIX_CHARS_MIN;
        assert_eq!(fault(text), QueryError::ShortPrefix { position, min }, "{text}");
    }
    assert!(Query::parse("東* ab* 한국*").is_ok());
    let many = ["ab*"; PREFIX_TERMS_MAX + 1].join(" OR ");
    let (position, max) = (PREFIX_TERMS_MAX * 7 + 1, PREFIX_TERMS_MAX);
    assert_eq!(fault(&many), QueryError::TooManyPrefixes { position, max });
    assert!(Query::parse(&many[7..]).is_ok());
}

#[test]
fn a_vector_keeps_title_and_text_apart() {
    let prefix = TenantPrefix::of(&rc_model::TenantId::new("acme").unwrap());
    let vector = tsvector("Big Cat", "cat sat cat", &BTreeMap::new(), &prefix);
    let tag = vector[1..].split_once('.').unwrap().0;
    assert_eq!(
        vector.replace(&format!("{tag}."), ""),
        "'big':1A 'cat':2A 'cat':4 'sat':5 'cat':6 "
    );
}

#[test]
fn a_vector_that_would_be_too_long_names_each_word_once() {
    let prefix = TenantPrefix::of(&rc_model::TenantId::new("acme").unwrap());
    let repeated = "ab ".repeat(120_000);
    let vector = tsvector("", &repeated, &BTreeMap::new(), &prefix);
    assert!(vector.len() < 4_000, "{}", vector.len());
    let words: String = (0..120_000).map(|at| format!("{at:x} ")).collect();
    assert!(
        tsvector("", &words, &BTreeMap::new(), &prefix)
            .matches('\'')
            .count()
            / 2
            < 120_000
    );
}

fn snipped(text: &str, query: &str) -> String {
    snippet(text, &Query::parse(query).unwrap())
}

#[test]
fn snippets_mark_matches_and_escape_the_rest() {
    assert_eq!(snipped("The Cat  sat.\n", "cat"), "The <mark>Cat</mark> sat.");
    assert_eq!(
        snipped("a big\n cat, b", "\"big cat\""),
        "a <mark>big cat</mark>, b"
    );
    assert_eq!(
        snipped("installation done", "inst*"),
        "<mark>installation</mark> done"
    );
    assert_eq!(snipped("日本東京都", "東京"), "日本<mark>東京</mark>都");
    assert_eq!(
        snipped("<script>alert('x & \"y\"')</script>", "alert"),
        "&lt;script&gt;<mark>alert</mark>(&#39;x &amp; &quot;y&quot;&#39;)&lt;/script&gt;"
    );
    assert_eq!(
        snipped("<b>x</b>", "b"),
        "&lt;<mark>b</mark>&gt;x&lt;/<mark>b</mark>&gt;"
    );
    assert_eq!(snipped("", "x"), "");
    assert_eq!(snipped("no match here", "x"), "no match here");
}

#[test]
fn a_snippet_shows_the_densest_passage() {
    let filler = "lorem ipsum dolor ".repeat(40);
    let text = format!("alpha {filler} alpha beta {filler}");
    let shown = snipped(&text, "alpha beta");
    assert!(shown.contains("<mark>alpha</mark> <mark>beta</mark>"), "{shown}");
    assert!(shown.starts_with('…') && shown.ends_with('…'), "{shown}");
    assert_eq!(tokens(&shown.replace("mark", "")).len(), SNIPPET_WORDS);
}

#[test]
fn a_snippet_stays_small_whatever_the_text() {
    for text in [
        format!("{} needle {}", "-".repeat(100_000), "=".repeat(100_000)),
        format!("{}needle", "x".repeat(100_000)),
        format!("needle {}", "é".repeat(300_000)),
        format!("{} needle", "東".repeat(100_000)),
    ] {
        assert!(snipped(&text, "needle").len() < 4 * 600);
    }
}

fn strip_marks(html: &str) -> String {
    html.replace("<mark>", "").replace("</mark>", "")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn folding_twice_changes_nothing(text in "\\PC{0,60}") {
        let once = fold(&text);
        prop_assert_eq!(fold(&once), once);
    }

    #[test]
    fn tokens_hold_only_what_both_engines_pass_through(text in any::<String>()) {
        let mut last = 0;
        for_each_token(&text, |token, range| {
            assert!(!token.is_empty());
            assert!(token.chars().count() <= TOKEN_CHARS_MAX);
            assert!(token.chars().all(|c| !c.is_ascii() || matches!(c, 'a'..='z' | '0'..='9')), "{token:?}");
            assert!(!token.chars().any(char::is_whitespace), "{token:?}");
            assert!(range.start < range.end && range.end <= text.len());
            assert!(text.get(range.clone()).is_some());
            assert!(range.start >= last, "ranges ascend; one character may give two tokens");
            last = range.start;
        });
    }

    #[test]
    fn parsing_never_panics_and_positions_are_inside(text in "[ a-cé東\"*\\-ORAND(){}^:]{0,40}") {
        if let Err(error) = Query::parse(&text)
            && let Some(position) = error.position() {
            prop_assert!(position >= 1 && position <= text.chars().count());
        }
    }

    #[test]
    fn a_snippet_is_escaped_whatever_the_text(text in "[<>&\"' a-c\\PC]{0,200}", query in "[a-c]( [a-c]{2}\\*)?( [a-c]){0,2}") {
        let html = snippet(&text, &Query::parse(&query).unwrap());
        prop_assert_eq!(html.matches("<mark>").count(), html.matches("</mark>").count());
        let bare = strip_marks(&html);
        prop_assert!(!bare.contains(['<', '>', '"', '\'']));
    }

    #[test]
    fn fts5_reads_every_rendered_query_and_agrees_with_the_definition(
        docs in prop::collection::vec(("[ab東é1-3 _.]{0,12}", "[a-dA-D東京ÉéßﬁŁ1-3 _.😀\u{0}\u{301}-]{0,30}"), 1..8),
        query in "(-?\"?[a-dé東1]{1,2}[ _]?[a-d東]?\"?\\*? ?(OR )?){1,5}",
    ) {
        let Ok(query) = Query::parse(&query) else { return Ok(()) };
        let db = index(&docs);
        let mut found: Vec<i64> = db
            .prepare("SELECT rowid FROM words WHERE words MATCH ?1")
            .and_then(|mut statement| statement
                .query_map([fts5_match(&query)], |row| row.get(0))?
                .collect())
            .unwrap();
        found.sort_unstable();
        let expect: Vec<i64> = (0_i64..)
            .zip(&docs)
            .filter(|(_, (title, body))| finds(&query, title, body))
            .map(|(at, _)| at)
            .collect();
        prop_assert_eq!(found, expect);
    }

    #[test]
    fn no_text_becomes_a_syntax_error_in_fts5(text in any::<String>()) {
        let Ok(query) = Query::parse(&text) else { return Ok(()) };
        let db = index(&[("title".to_owned(), text)]);
        let count: i64 = db
            .query_row("SELECT count(*) FROM words WHERE words MATCH ?1", [fts5_match(&query)], |row| row.get(0))
            .unwrap();
        prop_assert!(count <= 1);
    }

    #[test]
    fn fts5_keeps_our_tokens_as_they_are(text in any::<String>()) {
        let db = index(&[(String::new(), text.clone())]);
        let mut ours = tokens(&text);
        ours.sort();
        ours.dedup();
        let mut theirs: Vec<String> = db
            .prepare("SELECT term FROM vocabulary")
            .and_then(|mut statement| statement.query_map([], |row| row.get(0))?.collect())
            .unwrap();
        theirs.sort();
        prop_assert_eq!(ours, theirs);
    }
}

/// A table as the store makes it, filled with `docs` (title, text) by their index.
fn index(docs: &[(String, String)]) -> rusqlite::Connection {
    let db = rusqlite::Connection::open_in_memory().unwrap();
    db.execute_batch(
        "CREATE VIRTUAL TABLE words USING fts5(title, body, content='', contentless_delete=1, tokenize='ascii');
         CREATE VIRTUAL TABLE vocabulary USING fts5vocab(words, 'row');",
    )
    .unwrap();
    for (at, (title, body)) in (0_i64..).zip(docs) {
        db.execute(
            "INSERT INTO words(rowid, title, body) VALUES (?1, ?2, ?3)",
            rusqlite::params![at, fold(title), fold(body)],
        )
        .unwrap();
    }
    db
}
