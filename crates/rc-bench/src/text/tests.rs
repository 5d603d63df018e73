use std::collections::HashMap;

use super::{QUERIES, SEED, TEXT_BYTES, Texts};

const PUBLISHED: &str = include_str!("../../../../bench/queries.txt");

fn document(texts: &Texts, number: u64) -> String {
    let mut text = String::new();
    texts.write(SEED, number, &mut text);
    text
}

#[test]
fn every_document_has_its_bytes_and_is_always_the_same() {
    let (texts, again) = (Texts::new(SEED), Texts::new(SEED));
    for number in 0..2_000 {
        let text = document(&texts, number);
        assert_eq!(text.len(), TEXT_BYTES, "{number}");
        assert_eq!(text, document(&again, number));
    }
    assert_eq!(
        document(&texts, 0)
            .split(' ')
            .take(8)
            .collect::<Vec<_>>()
            .join(" "),
        FIRST_WORDS
    );
}

/// Pinned: published documents must not change under their readers.
const FIRST_WORDS: &str = "kaisosti_pliovit trur neafind maisol kel. Trystound ha ko";

#[test]
fn words_are_as_frequent_as_zipf_says() {
    let texts = Texts::new(SEED);
    let mut counts: HashMap<String, usize> = HashMap::new();
    for number in 0..2_000 {
        for word in document(&texts, number).split([' ', '.']) {
            *counts.entry(word.to_lowercase()).or_default() += 1;
        }
    }
    let count = |rank: usize| counts.get(&texts.words[rank - 1]).copied().unwrap_or(0) as f64;
    for rank in [2, 4, 10] {
        let ratio = count(1) / count(rank) / rank as f64;
        assert!((0.8..1.25).contains(&ratio), "rank {rank}: {ratio}");
    }
    assert!(counts.keys().any(|word| word.contains('_')));
    assert!(counts.keys().any(|word| !word.is_ascii()));
    assert!(counts.keys().any(|word| word.parse::<u32>().is_ok()));
}

#[test]
fn the_published_list_is_the_list_of_the_seed() {
    let queries = Texts::new(SEED).queries(SEED);
    assert_eq!(queries.len(), QUERIES);
    let published: Vec<&str> = PUBLISHED.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(published, queries);
    let phrases = queries.iter().filter(|query| query.starts_with('"')).count();
    assert_eq!(phrases, QUERIES / 2);
}
