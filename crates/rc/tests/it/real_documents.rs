//! Thousands of real documents through the built binary, for two tenants: stored, found, and kept apart.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::corpus::{Corpus, Document, Question, questions};
use crate::world::{World, told};

/// An answer must be among this many hits.
const FIRST_HITS: &str = "5";

fn ids(answer: &Value) -> Vec<String> {
    answer["hits"]
        .as_array()
        .unwrap()
        .iter()
        .map(|hit| hit["id"].as_str().unwrap().to_owned())
        .collect()
}

fn tenant_of(question: &Question) -> &'static str {
    match question.of.as_str() {
        "manuals" => "acme",
        "texts" => "globex",
        other => panic!("questions are of `manuals` or `texts`, not `{other}`"),
    }
}

/// Every question has its answers among the first hits.
fn check_answers(world: &World) {
    for question in questions() {
        let tenant = tenant_of(&question);
        let found = ids(&world.json(&[
            "search",
            &question.query,
            "--tenant",
            tenant,
            "--limit",
            FIRST_HITS,
        ]));
        for answer in &question.answers {
            assert!(
                found.contains(answer),
                "`{}`: {answer} is not among {found:?}",
                question.query
            );
        }
    }
}

/// No question finds anything of the other tenant's.
fn check_isolation(world: &World, corpus: &Corpus) {
    let known = |documents: &[Document]| {
        documents
            .iter()
            .map(|document| document.id.clone())
            .collect::<BTreeSet<_>>()
    };
    for (tenant, own, others) in [
        ("acme", known(&corpus.manuals), &corpus.texts),
        ("globex", known(&corpus.texts), &corpus.manuals),
    ] {
        for question in questions() {
            let found = ids(&world.json(&["search", &question.query, "--tenant", tenant, "--limit", "100"]));
            let stray: Vec<&String> = found.iter().filter(|id| !own.contains(*id)).collect();
            assert!(
                stray.is_empty(),
                "{tenant} finds {stray:?} by `{}`",
                question.query
            );
        }
        let foreign = &others[others.len() / 2].id;
        let output = world.rc(&["docs", "get", foreign, "--tenant", tenant]);
        assert_eq!(
            output.status.code(),
            Some(1),
            "{tenant} reads {foreign}: {}",
            told(&output)
        );
    }
}

#[test]
fn slow_two_tenants_put_in_thousands_of_real_documents_and_find_their_own() {
    let corpus = Corpus::build();
    let world = World::new();
    let folder = world.path().join("manuals");
    Corpus::write_files(&corpus.manuals, &folder);
    Corpus::write_lines(&corpus.texts, &world.path().join("texts.ndjson"));
    world.up();

    // The first demo tenant from a folder, the other one from lines of JSON over the network with a key.
    let acme = world.json(&["ingest", "manuals", "--wait"]);
    assert_eq!(acme["documents"]["accepted"], corpus.manuals.len(), "{acme:#}");
    assert_eq!(
        (&acme["tenant"], &acme["searchable"]),
        (&Value::from("acme"), &Value::from(true))
    );
    let key = world.key("globex");
    let url = format!("http://{}", world.address);
    let globex = world.json(&["ingest", "texts.ndjson", "--wait", "--url", &url, "--key", &key]);
    assert_eq!(globex["documents"]["accepted"], corpus.texts.len(), "{globex:#}");

    check_answers(&world);
    check_isolation(&world, &corpus);

    // A stored document reads back byte by byte.
    let one = &corpus.manuals[corpus.manuals.len() / 3];
    let read = world.json(&["docs", "get", &one.id]);
    assert_eq!(read["text"].as_str(), Some(one.text.as_str()));

    // The same again stores nothing new.
    let again = world.json(&["ingest", "manuals"]);
    assert_eq!(again["documents"]["accepted"], 0, "{again:#}");
    assert_eq!(again["documents"]["duplicate"], corpus.manuals.len());
    check_answers(&world);
}
