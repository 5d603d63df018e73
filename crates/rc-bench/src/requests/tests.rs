use std::sync::Arc;

use super::{Batches, Documents, GET, INGEST, MIXED, Mix, SEARCH, Searches};
use crate::load::Requests as _;
use crate::text::{SEED, Texts};

#[test]
fn a_batch_is_ndjson_of_documents_with_600_bytes_of_text() {
    let texts = Arc::new(Texts::new(SEED));
    let mut batches = Batches::new("k", Documents::new(&texts, "run"), 500);
    let mut out = Vec::new();
    batches.next(&mut out);
    let text = String::from_utf8(out).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(
        head.contains(&format!("Content-Length: {}\r\n", body.len())),
        "{head}"
    );
    assert!(head.contains("Idempotency-Key: run-00000000"));
    let documents: Vec<serde_json::Value> = body
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(documents.len(), 500);
    assert_eq!(documents[499]["id"], "run-00000499");
    assert!(
        documents
            .iter()
            .all(|document| document["text"].as_str().unwrap().len() == 600)
    );
}

#[test]
fn the_mix_has_the_shares_it_promises_and_only_asks_for_what_is_there() {
    let texts = Arc::new(Texts::new(SEED));
    let searches = Searches {
        key: "k".to_owned(),
        queries: texts.queries(SEED),
        next: 0,
    };
    let fresh = Documents::new(&texts, "fresh");
    let mut mix = Mix::new(MIXED, searches, fresh, ("loaded", 1_000), 7);
    let mut counts = [0; 3];
    for _ in 0..10_000 {
        let mut out = Vec::new();
        let class = mix.next(&mut out);
        counts[class] += 1;
        let text = String::from_utf8(out).unwrap();
        let expect = [
            "GET /docs/loaded-00000",
            "GET /search?q=",
            "POST /ingest HTTP/1.1",
        ][class];
        assert!(text.starts_with(expect), "{text}");
        assert!(text.contains("\r\n\r\n"));
    }
    assert!((6_800..7_200).contains(&counts[GET]), "{counts:?}");
    assert!((1_850..2_150).contains(&counts[SEARCH]), "{counts:?}");
    assert!((900..1_100).contains(&counts[INGEST]), "{counts:?}");
}
