//! A search for what nearly every document has, in the embedded store.

use std::collections::BTreeSet;

use rc_model::Timestamp;

use super::world::{World, document, search};
use crate::docs::model::Search;
use crate::docs::sqlite::RANKED_MAX;
use crate::docs::store::TOTAL_EXACT_MAX;
use crate::document::Document;

const OLD: i64 = 500;

/// Ids in the order of rows: a batch is written in the order of its ids.
fn id(number: i64) -> String {
    format!("doc{number:05}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_newest_of_very_many_matches_are_ranked() {
    let world = World::sqlite().await;
    let all = (0..OLD + RANKED_MAX).map(|number| Document {
        time: Some(Timestamp::from_unix_ms(number)),
        // The best matches by far are the oldest and the newest document.
        ..document(
            &id(number),
            if number == 0 || number == OLD + RANKED_MAX - 1 {
                "common"
            } else {
                ""
            },
            "a common word and another",
        )
    });
    world.put("acme", all).await;

    let pages = |search: Search| Search { limit: 100, ..search };
    let found = world.find_all("acme", pages(search("common"))).await;
    let newest: BTreeSet<String> = (OLD..OLD + RANKED_MAX).map(id).collect();
    assert_eq!(found.len(), newest.len(), "none twice");
    assert_eq!(found[0], id(OLD + RANKED_MAX - 1));
    assert!(found.iter().all(|id| newest.contains(id)), "the newest ones");
    let page = world.page("acme", &pages(search("common"))).await;
    assert!(page.total > TOTAL_EXACT_MAX && page.more);

    // A time is a condition of a match: the old ones are all there is below it.
    let before = Search {
        until: Some(Timestamp::from_unix_ms(OLD)),
        ..pages(search("common"))
    };
    let found = world.find_all("acme", before).await;
    assert_eq!(found[0], id(0));
    assert_eq!(found.len(), usize::try_from(OLD).unwrap());
}
