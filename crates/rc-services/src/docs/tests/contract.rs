//! What both stores promise.

use std::collections::BTreeSet;

use rc_events::{Applied, Event, NewEvent, Seq};
use rc_model::Timestamp;

use super::world::{Dice, World, corpus, delete, document, follow, put, search, tenant};
use crate::docs::model::Search;
use crate::document::Document;
use crate::text::{PREFIX_CHARS_MIN, Query, naive};

pub(super) async fn a_document_comes_back_as_it_was_put(world: &World) {
    let mut plain = document("a/b c%?#ü", "", "text \u{1f600} with\nlines");
    world.put("acme", [plain.clone()]).await;
    let found = world
        .store
        .get(&tenant("acme"), &plain.id)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(found.document, plain);
    assert_eq!(found.version, 1);
    assert_eq!(found.updated_at, Timestamp::from_unix_ms(1_795_255_200_001));
    assert_eq!(found.fingerprint, plain.content_hash().fingerprint());
    plain.title = Some("Title".to_owned());
    plain.time = Timestamp::parse("1999-12-31T23:59:59.999Z");
    plain.attrs = [("lang", "en"), ("Ünï \"'\\", "")]
        .map(|(n, v)| (n.to_owned(), v.to_owned()))
        .into();
    world.apply(vec![put("acme", 2, plain.clone())]).await;
    let found = world
        .store
        .get(&tenant("acme"), &plain.id)
        .await
        .unwrap()
        .unwrap();
    assert_eq!((found.document, found.version), (plain, 2));
    assert_eq!(world.store.get(&tenant("acme"), "other").await.unwrap(), None);
}

pub(super) async fn a_change_counts_once_whatever_comes_again(world: &World) {
    let version = |number: u64| put("acme", number, document("a", "", &format!("word{number}")));
    let done = |applied, duplicates| Applied {
        applied,
        duplicates,
        ..Applied::default()
    };
    let batch = vec![version(1), version(2), version(2), version(1), version(3)];
    assert_eq!(world.apply(batch).await, done(3, 2));
    assert_eq!(world.apply(vec![version(2), version(3)]).await, done(0, 2));
    assert_eq!(world.find("acme", "word2").await, [""; 0]);
    assert_eq!(world.find("acme", "word3").await, ["a"]);
    // Something was lost: nothing of the batch counts, and nothing is skipped over.
    let other = put("acme", 1, document("b", "", "word"));
    let refused = world
        .try_apply(vec![other.clone(), version(7)])
        .await
        .unwrap_err();
    assert!(matches!(
        rc_events::Error::from(refused),
        rc_events::Error::Gap(_)
    ));
    assert_eq!(world.position().await, 7);
    assert_eq!(world.find("acme", "word").await, [""; 0]);
    assert_eq!(world.apply(vec![other, version(4)]).await, done(2, 0));
    assert_eq!(world.find("acme", "word").await, ["b"]);
}

pub(super) async fn an_event_that_cannot_be_read_stops_the_batch(world: &World) {
    let good = put("acme", 1, document("a", "", "word"));
    for bad in [
        NewEvent {
            payload: "{".into(),
            ..put("acme", 1, document("b", "", "word"))
        },
        NewEvent {
            event_type: "doc.moved.v9".into(),
            ..put("acme", 1, document("b", "", "word"))
        },
        NewEvent {
            schema: 9,
            ..put("acme", 1, document("b", "", "word"))
        },
    ] {
        let refused = world.try_apply(vec![good.clone(), bad]).await.unwrap_err();
        assert!(matches!(
            rc_events::Error::from(refused),
            rc_events::Error::Poison(_)
        ));
    }
    assert_eq!(world.find("acme", "word").await, [""; 0]);
    let foreign = NewEvent {
        topic: "billing".into(),
        payload: "{".into(),
        ..good.clone()
    };
    assert_eq!(world.apply(vec![foreign, good]).await.applied, 2);
    assert_eq!(world.find("acme", "word").await, ["a"]);
}

pub(super) async fn a_batch_that_does_not_follow_is_refused_whole(world: &World) {
    let batch = |from: Seq| {
        let event = Event {
            pos: from + 1,
            event: put("acme", 1, document("a", "", "word")),
        };
        follow(from, vec![event])
    };
    assert_eq!(world.position().await, 0);
    let refused = world.store.apply(batch(5)).await.unwrap_err();
    assert!(matches!(
        rc_events::Error::from(refused),
        rc_events::Error::Moved(_)
    ));
    assert_eq!(world.store.get(&tenant("acme"), "a").await.unwrap(), None);
    world.store.apply(batch(0)).await.unwrap();
    assert_eq!(world.position().await, 1);
    assert!(world.store.apply(batch(0)).await.is_err());
}

pub(super) async fn a_deleted_document_is_not_found(world: &World) {
    world
        .put(
            "acme",
            [document("a", "Cat", "the cat"), document("b", "", "another cat")],
        )
        .await;
    world.apply(vec![delete("acme", 2, "a")]).await;
    assert_eq!(world.find("acme", "cat").await, ["b"]);
    assert_eq!(world.store.get(&tenant("acme"), "a").await.unwrap(), None);
    // What was deleted does not come back by an old event.
    world
        .apply(vec![put("acme", 1, document("a", "Cat", "the cat"))])
        .await;
    assert_eq!(world.find("acme", "cat").await, ["b"]);
    // It does by a new one, and goes again.
    world
        .apply(vec![put("acme", 3, document("a", "", "a dog"))])
        .await;
    assert_eq!(world.find("acme", "dog").await, ["a"]);
    assert_eq!(world.find("acme", "cat").await, ["b"]);
    let never = vec![
        delete("acme", 4, "a"),
        delete("acme", 2, "b"),
        delete("acme", 1, "never"),
    ];
    world.apply(never).await;
    assert_eq!(world.find("acme", "dog OR cat").await, [""; 0]);
}

pub(super) async fn an_update_ranks_anew(world: &World) {
    let filler = "some other words stand here ".repeat(5);
    world
        .put(
            "acme",
            [
                document("a", "cat", &filler),
                document("b", "", &format!("{filler} cat")),
            ],
        )
        .await;
    assert_eq!(world.find("acme", "cat").await, ["a", "b"]);
    world
        .apply(vec![
            put("acme", 2, document("a", "", &format!("{filler} {filler} cat"))),
            put("acme", 2, document("b", "cat", &filler)),
        ])
        .await;
    assert_eq!(world.find("acme", "cat").await, ["b", "a"]);
}

fn expected(corpus: &[Document], query: &str) -> BTreeSet<String> {
    let query = Query::parse(query).unwrap();
    corpus
        .iter()
        .filter(|one| naive::finds(&query, one.title.as_deref().unwrap_or_default(), &one.text))
        .map(|one| one.id.clone())
        .collect()
}

async fn check(world: &World, corpus: &[Document], query: &str) {
    let found = world.find("acme", query).await;
    let set: BTreeSet<String> = found.iter().cloned().collect();
    assert_eq!(set.len(), found.len(), "{query}: a document twice");
    assert_eq!(set, expected(corpus, query), "{query}");
}

pub(super) async fn hit_sets_are_those_of_the_definition(world: &World) {
    let corpus = corpus();
    world.put("acme", corpus.clone()).await;
    for query in [
        "license",
        "LICENSE work",
        "\"derivative works\"",
        "deriv*",
        "\"patent lic\"*",
        "license -patent",
        "patent OR trademark",
        "patent OR \"as is\" -warranties",
        "work -\"derivative works\" -contribut*",
        "wurde",
        "WÜRDE",
        "etres humains",
        "自由",
        "尊厳 権利",
        "人权",
        "世界人権宣言",
        "равными",
        "자유로우며",
        "자유*",
        "apache.org",
        "http://www.apache.org/licenses/",
        "zzz",
        "a",
        "2.0",
        "\"to you\" OR 人",
    ] {
        check(world, &corpus, query).await;
    }
    assert!(
        expected(&corpus, "license").len() > 10,
        "the corpus is worth searching"
    );
}

pub(super) async fn random_queries_agree_with_the_definition(world: &World) {
    let corpus = corpus();
    world.put("acme", corpus.clone()).await;
    let words: Vec<Vec<String>> = corpus.iter().map(|one| naive::tokens(&one.text)).collect();
    let mut dice = Dice::new(7);
    for _ in 0..150 {
        let mut query = String::new();
        for number in 0..=dice.below(4) {
            let text = dice.pick(&words);
            let at = dice.below(text.len());
            let mut term = match dice.below(4) {
                0 => format!(
                    "\"{}\"",
                    text[at..(at + 2 + dice.below(2)).min(text.len())].join(" ")
                ),
                1 if text[at].chars().count() >= PREFIX_CHARS_MIN => {
                    format!("{}*", text[at].chars().take(3).collect::<String>())
                }
                _ => text[at].clone(),
            };
            if number > 0 {
                match dice.below(5) {
                    0 => term.insert_str(0, "OR "),
                    1 => term.insert(0, '-'),
                    _ => {}
                }
            }
            query.push_str(&term);
            query.push(' ');
        }
        check(world, &corpus, &query).await;
    }
}

pub(super) async fn a_match_in_the_title_comes_first(world: &World) {
    let filler = "words that say nothing of it fill this text to a usual length ".repeat(3);
    world
        .put(
            "acme",
            [
                document("text", "Other", &format!("kraken {filler}")),
                document("often", "Another", &format!("kraken kraken kraken {filler}")),
                document("title", "Kraken", &filler),
                document("none", "Nothing", &filler),
            ],
        )
        .await;
    let first = world.find("acme", "kraken").await;
    assert_eq!(first[0], "title");
    assert_eq!(first.len(), 3);
    for _ in 0..3 {
        assert_eq!(world.find("acme", "kraken").await, first, "the order is stable");
    }
}

pub(super) async fn pages_are_complete_and_without_doubles(world: &World) {
    // Many equal texts: their scores are equal, and only the row breaks the ties.
    let all: Vec<Document> = (0..257)
        .map(|number| {
            document(
                &format!("doc{number}"),
                "",
                ["same text", "same text and more of it"][number % 2],
            )
        })
        .collect();
    world.put("acme", all).await;
    for limit in [1, 7, 100] {
        let found = world
            .find_all(
                "acme",
                Search {
                    limit,
                    ..search("same")
                },
            )
            .await;
        assert_eq!(found.len(), 257, "limit {limit}");
        assert_eq!(found.iter().collect::<BTreeSet<_>>().len(), 257);
    }
    let page = world
        .page(
            "acme",
            &Search {
                limit: 100,
                ..search("same")
            },
        )
        .await;
    assert_eq!((page.hits.len(), page.total, page.more), (100, 257, true));
    let exact = world
        .page(
            "acme",
            &Search {
                limit: 100,
                ..search("more")
            },
        )
        .await;
    assert_eq!((exact.hits.len(), exact.total, exact.more), (100, 128, true));
    assert!(
        page.hits
            .windows(2)
            .all(|pair| pair[1].place.is_after(pair[0].place))
    );
}

pub(super) async fn filters_and_times_narrow_a_search(world: &World) {
    let with = |id: &str, lang: &str, kind: &str, time: Option<&str>| Document {
        attrs: [("lang", lang), ("kind", kind)]
            .map(|(n, v)| (n.to_owned(), v.to_owned()))
            .into(),
        time: time.map(|time| Timestamp::parse(time).unwrap()),
        ..document(id, "", "cat en page")
    };
    world
        .put(
            "acme",
            [
                with("a", "en", "page", Some("2026-01-01T00:00:00Z")),
                with("b", "de", "page", Some("2026-02-01T00:00:00Z")),
                with("c", "en", "note", None),
            ],
        )
        .await;
    let ids = |filters: &[(&str, &str)], since: Option<&str>, until: Option<&str>| {
        let search = Search {
            filters: filters
                .iter()
                .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
                .collect(),
            since: since.map(|time| Timestamp::parse(time).unwrap()),
            until: until.map(|time| Timestamp::parse(time).unwrap()),
            ..search("cat")
        };
        async move {
            let mut ids = world.find_all("acme", search).await;
            ids.sort();
            ids.concat()
        }
    };
    assert_eq!(ids(&[], None, None).await, "abc");
    assert_eq!(ids(&[("lang", "en")], None, None).await, "ac");
    assert_eq!(ids(&[("lang", "en"), ("kind", "page")], None, None).await, "a");
    assert_eq!(ids(&[("lang", "en"), ("lang", "de")], None, None).await, "");
    assert_eq!(
        ids(&[("lang", "EN")], None, None).await,
        "",
        "values are matched whole"
    );
    assert_eq!(ids(&[("lan", "gen")], None, None).await, "");
    assert_eq!(ids(&[], Some("2026-01-01T00:00:00Z"), None).await, "ab");
    assert_eq!(ids(&[], Some("2026-01-01T00:00:00.001Z"), None).await, "b");
    assert_eq!(ids(&[], None, Some("2026-02-01T00:00:00Z")).await, "a");
    assert_eq!(
        ids(
            &[("lang", "de")],
            Some("2026-01-01T00:00:00Z"),
            Some("2027-01-01T00:00:00Z")
        )
        .await,
        "b"
    );
    world
        .apply(vec![put("acme", 2, with("a", "fr", "page", None))])
        .await;
    assert_eq!(ids(&[("lang", "en")], None, None).await, "c");
    assert_eq!(ids(&[("lang", "fr")], None, None).await, "a");
    assert_eq!(ids(&[], Some("2026-01-01T00:00:00Z"), None).await, "b");
}

pub(super) async fn missing_documents_are_named_until_they_are_there(world: &World) {
    let owner = tenant("acme");
    let wanted = || vec![("a".to_owned(), 1), ("b".to_owned(), 2), ("c".to_owned(), 2)];
    assert_eq!(world.store.missing(&owner, wanted()).await.unwrap().len(), 3);
    world
        .put(
            "acme",
            [
                document("a", "", "x"),
                document("b", "", "x"),
                document("c", "", "x"),
            ],
        )
        .await;
    let missing = world.store.missing(&owner, wanted()).await.unwrap();
    assert_eq!(
        missing.iter().map(|(id, _)| id.as_str()).collect::<BTreeSet<_>>(),
        ["b", "c"].into()
    );
    world
        .apply(vec![
            put("acme", 2, document("b", "", "y")),
            delete("acme", 2, "c"),
        ])
        .await;
    assert_eq!(world.store.missing(&owner, wanted()).await.unwrap(), []);
    assert_eq!(
        world
            .store
            .missing(&tenant("globex"), wanted())
            .await
            .unwrap()
            .len(),
        3
    );
}

pub(super) async fn long_documents_are_found(world: &World) {
    // As long as a document may be: 85,000 words, and as many different ones as fit.
    let repeated = format!("{}needle in hay", "hay ".repeat(64_000));
    let different: String = (0..32_000).map(|number| format!("w{number:x} ")).collect();
    let unbroken = "x".repeat(250_000);
    world
        .put(
            "acme",
            [
                document("repeated", "", &repeated),
                document("different", "", &different),
                document("unbroken", "", &unbroken),
            ],
        )
        .await;
    assert_eq!(world.find("acme", "needle hay").await, ["repeated"]);
    assert_eq!(world.find("acme", "w7cff").await, ["different"]);
    assert_eq!(world.find("acme", &"x".repeat(80)).await, ["unbroken"]);
}

/// What people paste, and what would be an operator or a fault if an engine saw it.
pub(super) const NASTY: [&str; 44] = [
    "'",
    "\"\"",
    "NEAR(",
    "NEAR(a b, 3)",
    "*",
    "a*b",
    "^",
    "^a",
    "title:x",
    "title : x",
    "{title body} : a",
    "AND",
    "OR",
    "NOT",
    "a NOT b",
    "AND OR NOT",
    "a AND b OR c NOT d",
    "--",
    "-- a",
    "a;",
    "; DROP TABLE documents; --",
    "' OR '1'='1",
    "a' OR 'b",
    "x') | ('y",
    "!a & b | c",
    "a <-> b",
    "a:*",
    "a:AB",
    "\\",
    "\\' a",
    "a\\",
    "(a)",
    "((((",
    "))))",
    "a\u{0}b",
    "\u{0}",
    "😀",
    "😀 a",
    "\u{202e}abc",
    "é\u{301}\u{301}",
    "%",
    "_",
    "$1 ?1 :a @b",
    "fts_acme MATCH a",
];

pub(super) async fn syntax_of_the_engines_is_only_text(world: &World) {
    let corpus: Vec<Document> = NASTY
        .iter()
        .enumerate()
        // PostgreSQL cannot store U+0000, and ingest refuses it.
        .map(|(number, text)| document(&format!("doc{number}"), "", &text.replace('\u{0}', " ")))
        .collect();
    world.put("acme", corpus.clone()).await;
    for text in NASTY {
        for query in [
            text.to_owned(),
            format!("a {text}"),
            format!("-{text} a"),
            format!("{text}*"),
        ] {
            if Query::parse(&query).is_ok() {
                check(world, &corpus, &query).await;
            }
        }
    }
}

pub(super) async fn random_text_is_a_query_or_a_fault_of_its_own(world: &World) {
    const PIECES: [&str; 36] = [
        "a", "b", "the", "é", "ß", "東", "京", "😀", "\u{301}", "\u{0}", "\u{7f}", "\u{feff}", "\u{202e}",
        "\"", "'", "*", "-", " ", " ", "OR", "AND", "NOT", "NEAR", "(", ")", ":", "^", "{", "}", "\\", "&",
        "|", "!", "<->", ";", "%",
    ];
    let corpus = [document("a", "the a", "a b the é"), document("b", "", "東京 ß b")];
    world.put("acme", corpus.clone()).await;
    let mut dice = Dice::new(23);
    for _ in 0..300 {
        let text: String = (0..dice.below(12)).map(|_| *dice.pick(&PIECES)).collect();
        if Query::parse(&text).is_ok() {
            check(world, &corpus, &text).await;
        }
    }
}

pub(super) async fn a_replay_repairs_and_never_takes_back(world: &World) {
    let version = |number: u64| put("acme", number, document("a", "", &format!("word{number}")));
    let gone = [put("acme", 1, document("b", "", "old")), delete("acme", 2, "b")];
    world.apply(vec![version(1), version(2), version(3)]).await;
    world.apply(gone.to_vec()).await;
    // All of it once more: the old versions and the deleted document stay where they are.
    let all: Vec<NewEvent> = [version(1), version(2), version(3)]
        .into_iter()
        .chain(gone)
        .collect();
    assert_eq!(world.replay(all.clone()).await.applied, 5);
    assert_eq!(world.find("acme", "word3").await, ["a"]);
    assert_eq!(world.find("acme", "word1").await, [""; 0]);
    assert_eq!(world.find("acme", "old").await, [""; 0]);
    // One old version alone, whose successors are not in the batch.
    world.replay(vec![version(2)]).await;
    assert_eq!(world.find("acme", "word2").await, [""; 0]);
    world.replay(vec![all[3].clone()]).await;
    assert_eq!(world.store.get(&tenant("acme"), "b").await.unwrap(), None);
    // The newest version repairs.
    let repaired = put("acme", 3, document("a", "", "repaired"));
    world.replay(vec![repaired]).await;
    assert_eq!(world.find("acme", "repaired").await, ["a"]);
}
