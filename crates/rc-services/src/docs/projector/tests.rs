use std::collections::BTreeMap;

use rc_events::bus::Publish;
use rc_events::consumer::BusWake;
use rc_events::{Bus as _, Consumer, Cursor, NewEvent, Numbering, SqliteBus};
use rc_model::clock::monotonic_ns;
use rc_model::{SystemClock, TenantId, Timestamp};
use rc_serve::{Metrics, Tree};
use rc_store::SqliteOptions;
use rc_test::eventually;
use uuid::Uuid;

use super::*;
use crate::docs::SqliteDocs;
use crate::docs::model::Search;
use crate::document::{Document, PUT, SCHEMA, TOPIC};
use crate::text::Query;

/// A bus, a read model, and the projector between them.
struct World {
    folder: tempfile::TempDir,
    bus: Arc<SqliteBus>,
    store: Arc<SqliteDocs>,
    published: i64,
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let bus = SqliteBus::open(&folder.path().join("bus.db"), SystemClock::shared())
            .await
            .unwrap();
        let store = SqliteDocs::open(&folder.path().join("docs.db"), SqliteOptions::default())
            .await
            .unwrap();
        Self {
            folder,
            bus: Arc::new(bus),
            store: Arc::new(store),
            published: 0,
        }
    }

    async fn publish(&mut self, events: Vec<NewEvent>) {
        let cursor = |pos: i64| Cursor::new(if pos == 0 { String::new() } else { pos.to_string() });
        let (expected, first) = (cursor(self.published), self.published + 1);
        self.published += i64::try_from(events.len()).unwrap();
        let records = (first..)
            .zip(events)
            .map(|(origin_pos, event)| rc_events::Record { origin_pos, event })
            .collect();
        let publish = Publish {
            origin: "ingest".to_owned(),
            expected,
            cursor: cursor(self.published),
            records,
        };
        self.bus.publish(publish).await.unwrap();
    }

    /// Starts the projector on a tree of its own.
    fn start(&self) -> (Tree, Progress) {
        let tree = Tree::new();
        let progress = Progress::new(tree.stopping());
        let projection = DocsProjection {
            store: Arc::clone(&self.store) as Arc<dyn DocsStore>,
            progress: progress.clone(),
            clock: SystemClock::shared(),
            meters: Meters::register(&Metrics::new()),
        };
        let path = self.folder.path().join("bus.db");
        let bus: Arc<dyn rc_events::Bus> =
            Arc::new(SqliteBus::open_readonly(&path, SystemClock::shared()).unwrap());
        let wake = Arc::new(BusWake(Arc::clone(&bus)));
        let consumer = Consumer::new(bus, wake, Arc::new(projection));
        tree.spawn("projector", consumer.run(tree.stopping()));
        (tree, progress)
    }

    async fn total(&self, query: &str) -> u64 {
        let search = Search {
            query: Query::parse(query).unwrap(),
            limit: 1,
            after: None,
            filters: Vec::new(),
            since: None,
            until: None,
        };
        self.store.search(&acme(), &search).await.unwrap().total
    }
}

fn acme() -> TenantId {
    TenantId::new("acme").unwrap()
}

fn put(id: &str, version: u64, text: &str) -> NewEvent {
    let document = Document {
        id: id.to_owned(),
        title: None,
        text: text.to_owned(),
        attrs: BTreeMap::new(),
        time: None,
    };
    NewEvent {
        id: Uuid::now_v7(),
        tenant: acme(),
        topic: TOPIC.into(),
        key: id.to_owned(),
        kseq: version,
        numbering: Numbering::Consecutive,
        event_type: PUT.into(),
        schema: SCHEMA,
        time: Timestamp::from_unix_ms(0),
        fingerprint: document.content_hash().fingerprint(),
        trace: None,
        payload: document.to_payload().into(),
    }
}

const SOON: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_become_documents_and_waiters_are_woken() {
    let mut world = World::new().await;
    let (tree, progress) = world.start();
    world
        .publish(
            (0..700)
                .map(|number| put(&format!("doc{number}"), 1, "some word"))
                .collect(),
        )
        .await;
    let wanted = (0..700).map(|number| (format!("doc{number}"), 1)).collect();
    let store = Arc::clone(&world.store);
    let reached = progress
        .wait(store.as_ref(), &acme(), wanted, SOON)
        .await
        .unwrap();
    assert!(reached);
    assert_eq!(world.total("word").await, 700);
    tree.drain(SOON).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_projector_goes_on_where_the_last_one_stopped() {
    let mut world = World::new().await;
    let (tree, _) = world.start();
    world.publish(vec![put("a", 1, "one"), put("b", 1, "one")]).await;
    eventually(SOON, "the first batch is searchable", async || {
        world.total("one").await == 2
    })
    .await;
    tree.drain(SOON).await.unwrap();
    world.publish(vec![put("a", 2, "two"), put("c", 1, "two")]).await;
    let (tree, _) = world.start();
    eventually(SOON, "the second batch is searchable", async || {
        world.total("two").await == 2
    })
    .await;
    assert_eq!(world.total("one").await, 1);
    tree.drain(SOON).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_thousand_documents_are_searchable_quickly() {
    const DOCUMENTS: usize = 5_000;
    // The target is one second after the last was accepted, and projecting goes on while documents
    // come in; a machine that runs other tests at the same time gets more.
    const LIMIT: Duration = Duration::from_secs(10);
    let mut world = World::new().await;
    let license = include_str!("../../../../../LICENSE");
    for batch in 0..DOCUMENTS / 500 {
        let events = (0..500).map(|number| {
            let number = batch * 500 + number;
            let at = license.floor_char_boundary(number * 7 % (license.len() - 2_100));
            let text = &license[at..license.floor_char_boundary(at + 2_000)];
            put(
                &format!("doc{number}"),
                1,
                &format!("needle{} {text}", number % 2),
            )
        });
        world.publish(events.collect()).await;
    }
    let began = monotonic_ns();
    let (tree, progress) = world.start();
    let wanted = vec![(format!("doc{}", DOCUMENTS - 1), 1)];
    let store = Arc::clone(&world.store);
    let reached = progress
        .wait(store.as_ref(), &acme(), wanted, LIMIT)
        .await
        .unwrap();
    let took = Duration::from_nanos(monotonic_ns() - began);
    eprintln!("{DOCUMENTS} documents of 2 KB are searchable after {took:?}");
    assert!(reached, "{took:?}");
    for round in 0..2 {
        for needle in ["needle0", "needle1"] {
            let half = DOCUMENTS as u64 / 2;
            assert_eq!(world.total(needle).await, half, "{needle}, round {round}");
        }
        // Tidying ends, and changes no answer.
        while world.store.tidy().await.unwrap() {}
    }
    tree.drain(SOON).await.unwrap();
}
