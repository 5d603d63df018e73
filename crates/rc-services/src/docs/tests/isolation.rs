//! One tenant does not notice another.

use std::time::Duration;

use rc_model::clock::monotonic_ns;

use super::world::{Dice, World, corpus, delete, document, put, search, tenant};
use crate::docs::fault;
use crate::docs::postgres::SEARCH;
use crate::docs::sqlite::{IndexFull, TENANTS_MAX};
use crate::docs::turns::Crowded;
use crate::document::Document;
use crate::text::{Query, TenantPrefix, tsquery};

/// Documents of the other tenant.
const FOREIGN: usize = 10_000;

/// How much slower a search may be beside [`FOREIGN`] documents of another tenant. The index gives 1;
/// the rest is for a busy machine. Walking the foreign documents would cost a factor of about 100.
const SLOWER_MAX: u32 = 8;

pub(super) async fn a_tenant_sees_only_its_own(world: &World) {
    world
        .put(
            "acme",
            [
                document("a", "Cat", "acme has a cat"),
                document("same", "", "mine"),
            ],
        )
        .await;
    world
        .put(
            "globex",
            [
                document("g", "Cat", "globex has a cat"),
                document("same", "", "theirs"),
            ],
        )
        .await;
    assert_eq!(world.find("acme", "cat").await, ["a"]);
    assert_eq!(world.find("globex", "cat").await, ["g"]);
    assert_eq!(world.find("initech", "cat").await, [""; 0]);
    assert_eq!(world.store.get(&tenant("acme"), "g").await.unwrap(), None);
    assert_eq!(world.store.get(&tenant("initech"), "a").await.unwrap(), None);
    let mine = world.store.get(&tenant("acme"), "same").await.unwrap().unwrap();
    assert_eq!(mine.document.text, "mine");
    // One tenant's delete and update leave the other's document of the same id alone.
    world
        .apply(vec![
            delete("acme", 2, "same"),
            put("acme", 2, document("a", "", "x")),
        ])
        .await;
    let theirs = world.store.get(&tenant("globex"), "same").await.unwrap().unwrap();
    assert_eq!((theirs.document.text.as_str(), theirs.version), ("theirs", 1));
    assert_eq!(world.find("globex", "cat").await, ["g"]);
    assert_eq!(world.find("globex", "theirs").await, ["same"]);
}

/// Ids and exact scores of some searches.
async fn scores(world: &World) -> Vec<(String, u64)> {
    let mut scores = Vec::new();
    for query in [
        "license",
        "patent OR work",
        "\"derivative works\"",
        "contribut* -patent",
    ] {
        let page = world.page("acme", &search(query)).await;
        assert!(!page.hits.is_empty(), "{query}");
        scores.extend(
            page.hits
                .iter()
                .map(|hit| (hit.stored.document.id.clone(), hit.place.score.to_bits())),
        );
    }
    scores
}

/// The shortest time of a search: other work on the machine only adds to it.
async fn latency(world: &World) -> Duration {
    let search = search("license work OR patent");
    let mut shortest = u64::MAX;
    for _ in 0..101 {
        let began = monotonic_ns();
        world.page("acme", &search).await;
        shortest = shortest.min(monotonic_ns() - began);
    }
    Duration::from_nanos(shortest)
}

/// Documents of the other tenant: the same words in other shares, so that shared statistics or lists
/// would show.
async fn fill_foreign(world: &World) {
    let words = [
        "license",
        "patent",
        "work",
        "derivative",
        "works",
        "contributor",
        "the",
        "and",
        "other",
    ];
    let mut dice = Dice::new(11);
    let foreign = (0..FOREIGN).map(|number| {
        let text: Vec<&str> = (0..30).map(|_| *dice.pick(&words)).collect();
        let title: &str = words[dice.below(words.len())];
        document(&format!("doc{number}"), title, &text.join(" "))
    });
    world.put("globex", foreign.collect::<Vec<Document>>()).await;
}

pub(super) async fn foreign_documents_change_neither_ranking_nor_latency(world: &World) {
    world.put("acme", corpus()).await;
    let (scores_before, latency_before) = (scores(world).await, latency(world).await);
    fill_foreign(world).await;
    assert_eq!(scores(world).await, scores_before);
    let latency_after = latency(world).await;
    assert!(
        latency_after < latency_before * SLOWER_MAX,
        "a search took {latency_before:?} alone and {latency_after:?} beside another tenant"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn live_a_search_on_postgres_goes_by_the_index_behind_the_wall() {
    let world = World::postgres().await;
    world.put("acme", corpus()).await;
    fill_foreign(&world).await;
    let db = world.postgres.as_ref().expect("it is one");
    let mut client = db.client().await.unwrap();
    let tx = client.system().await.unwrap();
    tx.batch("SELECT set_config('rc.tenant', 'acme', true), set_config('rc.scope', 'tenant', true)")
        .await
        .unwrap();
    let words = tsquery(
        &Query::parse("license").unwrap(),
        &TenantPrefix::of(&tenant("acme")),
    );
    let none: Option<i64> = None;
    let rows = tx
        .query(
            &format!("EXPLAIN (ANALYZE, TIMING OFF, COSTS OFF) {}", SEARCH.text()),
            &[
                &"acme",
                &words,
                &words,
                &none,
                &none,
                &None::<f32>,
                &none,
                &11_i64,
                &1_001_i64,
            ],
        )
        .await
        .unwrap();
    let plan: Vec<String> = rows.iter().map(|row| row.try_get(0).unwrap()).collect();
    let plan = plan.join("\n");
    assert!(plan.contains("Bitmap Index Scan on search_words"), "{plan}");
    // The index gives the tenant's own documents and nobody else's.
    assert!(!plan.contains("Rows Removed by Filter"), "{plan}");
    // Without a scope the wall shows nothing, whatever the statement says.
    tx.batch("SELECT set_config('rc.tenant', '', true), set_config('rc.scope', '', true)")
        .await
        .unwrap();
    let rows = tx.query("SELECT 1 FROM documents", &[]).await.unwrap();
    assert!(rows.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tenants_beyond_the_bound_keep_their_documents_and_are_told() {
    let world = World::sqlite().await;
    let owners: Vec<String> = (0..=TENANTS_MAX)
        .map(|number| format!("tenant{number}"))
        .collect();
    let events = owners
        .iter()
        .map(|owner| put(owner, 1, document("a", "", "word")));
    world.apply(events.collect()).await;
    let (first, last) = (&owners[0], &owners[owners.len() - 1]);
    // Tenants of one batch come in the order of their names: the last name is the one too many.
    let too_many = owners.iter().max().expect("there are some");
    assert_eq!(world.find(first, "word").await, ["a"]);
    assert_eq!(world.find(last, "word").await, ["a"]);
    assert!(world.store.get(&tenant(too_many), "a").await.unwrap().is_some());
    let refused = world
        .store
        .search(&tenant(too_many), &search("word"))
        .await
        .unwrap_err();
    assert!(refused.downcast_ref::<IndexFull>().is_some());
    // A caller that waits until its document can be found is not told that it can.
    let wanted = vec![("a".to_owned(), 1)];
    let missing = async |owner: &str| world.store.missing(&tenant(owner), wanted.clone()).await.unwrap();
    assert_eq!(missing(first).await, []);
    assert_eq!(missing(too_many).await, wanted);
    // The others are not held up, and the one too many can change and delete what it has.
    world
        .apply(vec![
            put(first, 2, document("a", "", "other")),
            delete(too_many, 2, "a"),
        ])
        .await;
    assert_eq!(world.find(first, "other").await, ["a"]);
    assert_eq!(world.find(too_many, "word").await, [""; 0]);
    assert_eq!(missing(too_many).await, [], "a delete needs no index");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_never_begins_with_documents_missing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("docs.db");
    let world = World::sqlite_at(&file).await;
    let other = rusqlite::Connection::open(&file).unwrap();
    other.busy_timeout(Duration::from_secs(10)).unwrap();
    let fill = format!(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {TENANTS_MAX})
         INSERT INTO indexes (tenant) SELECT 'tenant' || i FROM n"
    );
    other.execute_batch(&fill).unwrap();
    world.put("acme", [document("old", "", "word")]).await;
    // A place becomes free: an index of the new document alone would hide the old one.
    other
        .execute_batch("DELETE FROM indexes WHERE tenant = 'tenant1'")
        .unwrap();
    world.put("acme", [document("new", "", "word")]).await;
    let refused = world.store.search(&tenant("acme"), &search("word")).await;
    assert!(refused.unwrap_err().downcast_ref::<IndexFull>().is_some());
    // One that begins anew gets the place.
    world
        .apply(vec![delete("acme", 2, "old"), delete("acme", 2, "new")])
        .await;
    world
        .apply(vec![put("acme", 3, document("old", "", "word"))])
        .await;
    assert_eq!(world.find("acme", "word").await, ["old"]);
}

/// Documents of the tenant with the slow searches, and how many it sends at once.
const CROWD_DOCUMENTS: usize = 4_000;
const CROWD: usize = 200;

/// A search of another tenant takes no longer than this many of the slow ones. Behind the whole crowd it
/// would be some 50.
const CROWD_SLOWER_MAX: u32 = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_tenants_slow_searches_hold_up_nobody_else() {
    let world = World::sqlite().await;
    let words: Vec<String> = (0..30).map(|number| format!("common{number}")).collect();
    let text = words.join(" ");
    let slow = (0..CROWD_DOCUMENTS).map(|number| document(&format!("doc{number}"), "", &text));
    world.put("acme", slow.collect::<Vec<Document>>()).await;
    world.put("globex", [document("a", "", "word")]).await;
    let slow = search(&words.join(" OR "));
    let began = monotonic_ns();
    assert_eq!(world.page("acme", &slow).await.hits.len(), 100);
    let alone = Duration::from_nanos(monotonic_ns() - began);

    let acme = tenant("acme");
    let crowd = futures_util::future::join_all((0..CROWD).map(|_| world.store.search(&acme, &slow)));
    let other = async {
        let mut longest = Duration::ZERO;
        for _ in 0..5 {
            // The crowd is in line by now.
            tokio::time::sleep(Duration::from_millis(20)).await;
            let began = monotonic_ns();
            assert_eq!(world.find("globex", "word").await, ["a"]);
            longest = longest.max(Duration::from_nanos(monotonic_ns() - began));
        }
        longest
    };
    let (crowd, longest) = futures_util::join!(crowd, other);
    assert!(
        longest < alone * CROWD_SLOWER_MAX + Duration::from_millis(50),
        "a search took {longest:?} beside searches of {alone:?}"
    );
    let refused: Vec<_> = crowd.into_iter().filter_map(Result::err).collect();
    assert!(!refused.is_empty(), "the crowd is larger than a line");
    for error in refused {
        assert!(error.downcast_ref::<Crowded>().is_some(), "{error:?}");
        let problem = fault::of_store(&error);
        assert_eq!((problem.status, &*problem.code), (429, "RC-DOC-014"));
        assert!(problem.retry_after_secs().is_some());
    }
}
