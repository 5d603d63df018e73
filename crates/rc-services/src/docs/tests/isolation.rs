//! One tenant does not notice another.

use std::time::Duration;

use rc_model::clock::monotonic_ns;

use super::world::{Dice, World, corpus, delete, document, put, search, tenant};
use crate::document::Document;

/// Documents of the other tenant.
const FOREIGN: usize = 10_000;

/// How much slower a search may be beside [`FOREIGN`] documents of another tenant. The index gives 1;
/// the rest is for a busy machine. Walking the foreign documents would cost a factor of about 100.
const SLOWER_MAX: u32 = 8;

pub(super) async fn a_tenant_sees_only_its_own(world: &World) {
    world.put("acme", [document("a", "Cat", "acme has a cat"), document("same", "", "mine")]).await;
    world.put("globex", [document("g", "Cat", "globex has a cat"), document("same", "", "theirs")]).await;
    assert_eq!(world.find("acme", "cat").await, ["a"]);
    assert_eq!(world.find("globex", "cat").await, ["g"]);
    assert_eq!(world.find("initech", "cat").await, [""; 0]);
    assert_eq!(world.store.get(&tenant("acme"), "g").await.unwrap(), None);
    assert_eq!(world.store.get(&tenant("initech"), "a").await.unwrap(), None);
    let mine = world.store.get(&tenant("acme"), "same").await.unwrap().unwrap();
    assert_eq!(mine.document.text, "mine");
    // One tenant's delete and update leave the other's document of the same id alone.
    world.apply(vec![delete("acme", 2, "same"), put("acme", 2, document("a", "", "x"))]).await;
    let theirs = world.store.get(&tenant("globex"), "same").await.unwrap().unwrap();
    assert_eq!((theirs.document.text.as_str(), theirs.version), ("theirs", 1));
    assert_eq!(world.find("globex", "cat").await, ["g"]);
    assert_eq!(world.find("globex", "theirs").await, ["same"]);
}

/// Ids and exact scores of some searches.
async fn scores(world: &World) -> Vec<(String, u64)> {
    let mut scores = Vec::new();
    for query in ["license", "patent OR work", "\"derivative works\"", "contribut* -patent"] {
        let page = world.page("acme", &search(query)).await;
        assert!(!page.hits.is_empty(), "{query}");
        scores.extend(
            page.hits.iter().map(|hit| (hit.stored.document.id.clone(), hit.place.score.to_bits())),
        );
    }
    scores
}

/// The median time of a search.
async fn latency(world: &World) -> Duration {
    let search = search("license work OR patent");
    let mut times = Vec::new();
    for _ in 0..41 {
        let began = monotonic_ns();
        world.page("acme", &search).await;
        times.push(monotonic_ns() - began);
    }
    times.sort_unstable();
    Duration::from_nanos(times[times.len() / 2])
}

pub(super) async fn foreign_documents_change_neither_ranking_nor_latency(world: &World) {
    world.put("acme", corpus()).await;
    let (scores_before, latency_before) = (scores(world).await, latency(world).await);
    // The same words in other shares: shared statistics or lists would show.
    let words = ["license", "patent", "work", "derivative", "works", "contributor", "the", "and", "other"];
    let mut dice = Dice::new(11);
    let foreign = (0..FOREIGN).map(|number| {
        let text: Vec<&str> = (0..30).map(|_| *dice.pick(&words)).collect();
        let title: &str = words[dice.below(words.len())];
        document(&format!("doc{number}"), title, &text.join(" "))
    });
    world.put("globex", foreign.collect::<Vec<Document>>()).await;
    assert_eq!(scores(world).await, scores_before);
    let latency_after = latency(world).await;
    assert!(
        latency_after < latency_before * SLOWER_MAX,
        "a search took {latency_before:?} alone and {latency_after:?} beside another tenant"
    );
}
