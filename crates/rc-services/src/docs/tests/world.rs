//! A scratch read model, filled by hand.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use rc_events::replay::{JobState, NewJob, Plan, Replay};
use rc_events::{Applied, Batch, BusId, Event, NewEvent, Numbering, Seq};
use rc_model::{TenantId, Timestamp};
use rc_store::{Error, Postgres, PostgresOptions, SqliteOptions};
use uuid::Uuid;

use crate::docs::model::{Page, Search};
use crate::docs::postgres::SCHEMA as DOCS_SCHEMA;
use crate::docs::store::CONSUMER;
use crate::docs::{DocsStore, PostgresDocs, SqliteDocs, postgres_migrations};
use crate::document::{DELETED, DELETED_FINGERPRINT, Document, PUT, SCHEMA, TOPIC, deleted_payload};
use crate::text::Query;

/// A store and what keeps it alive.
pub(super) struct World {
    pub(super) store: Arc<dyn DocsStore>,
    /// The database, where it is PostgreSQL.
    pub(super) postgres: Option<Postgres>,
    _kept: Box<dyn std::any::Any + Send + Sync>,
}

impl World {
    pub(super) async fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let world = Self::sqlite_at(&folder.path().join("docs.db")).await;
        Self {
            _kept: Box::new(folder),
            ..world
        }
    }

    /// In a file of the caller's.
    pub(super) async fn sqlite_at(file: &Path) -> Self {
        let store = SqliteDocs::open(file, SqliteOptions::default()).await.unwrap();
        Self {
            store: Arc::new(store),
            postgres: None,
            _kept: Box::new(()),
        }
    }

    pub(super) async fn postgres() -> Self {
        let database = tokio::task::spawn_blocking(|| rc_test::Postgres::start().fresh_database())
            .await
            .unwrap();
        let db = Postgres::connect(&database.url, &PostgresOptions::new("test", DOCS_SCHEMA)).unwrap();
        migrate(&database.url).await;
        assert!(
            db.row_security_binds().await.unwrap(),
            "the second wall is tested too"
        );
        Self {
            store: Arc::new(PostgresDocs::new(db.clone())),
            postgres: Some(db),
            _kept: Box::new(()),
        }
    }

    /// Applies `events` behind what is there.
    pub(super) async fn apply(&self, events: Vec<NewEvent>) -> Applied {
        self.try_apply(events).await.unwrap()
    }

    /// As [`Self::apply`], for what may fail.
    pub(super) async fn try_apply(&self, events: Vec<NewEvent>) -> Result<Applied, Error> {
        let from = self.position().await;
        let events: Vec<Event> = (from + 1..)
            .zip(events)
            .map(|(pos, event)| Event { pos, event })
            .collect();
        self.store.apply(follow(from, events)).await
    }

    /// Gives events to the read model once more, as a replay of history.
    pub(super) async fn replay(&self, events: Vec<NewEvent>) -> Applied {
        let now = Timestamp::from_unix_ms(0);
        let plan = Plan {
            bus: BusId::new("bus"),
            first: 0,
            upto: 1_000,
            matched: 0,
            hash: String::new(),
        };
        let books = self.store.books();
        let replay = Replay::default();
        let job = books.start(&NewJob { replay, plan }, now).await.unwrap();
        let events = (1..)
            .zip(events)
            .map(|(pos, event)| Event { pos, event })
            .collect();
        let batch = Batch::history(CONSUMER, &job, Arc::new(events), job.plan.upto, now);
        let applied = self.store.apply(batch).await.unwrap();
        assert!(books.end(job.number, JobState::Done, "", now).await.unwrap());
        applied
    }

    /// The last event of the bus whose effect is there.
    pub(super) async fn position(&self) -> Seq {
        let position = self.store.books().position().await.unwrap();
        position.map_or(0, |(_, seq)| seq)
    }

    /// Puts documents in their first version.
    pub(super) async fn put(&self, owner: &str, documents: impl IntoIterator<Item = Document>) {
        for batch in documents.into_iter().collect::<Vec<_>>().chunks(1_000) {
            self.apply(
                batch
                    .iter()
                    .map(|document| put(owner, 1, document.clone()))
                    .collect(),
            )
            .await;
        }
    }

    /// One page.
    pub(super) async fn page(&self, owner: &str, search: &Search) -> Page {
        self.store.search(&tenant(owner), search).await.unwrap()
    }

    /// The ids that `query` finds, best first, over all pages.
    pub(super) async fn find(&self, owner: &str, query: &str) -> Vec<String> {
        self.find_all(owner, search(query)).await
    }

    /// The ids that `search` finds, best first, over all pages.
    pub(super) async fn find_all(&self, owner: &str, mut search: Search) -> Vec<String> {
        let mut ids = Vec::new();
        loop {
            let page = self.page(owner, &search).await;
            ids.extend(page.hits.iter().map(|hit| hit.stored.document.id.clone()));
            if !page.more {
                return ids;
            }
            search.after = Some(page.hits.last().expect("a page before another is full").place);
        }
    }
}

/// Makes docs-api's schemas in the database at `url`.
pub(super) async fn migrate(url: &str) {
    for (schema, migrations) in postgres_migrations() {
        let db = Postgres::connect(url, &PostgresOptions::new("test", schema)).unwrap();
        db.migrate(&migrations).await.unwrap();
        db.close();
    }
}

/// A batch behind `from`.
pub(super) fn follow(from: Seq, events: Vec<Event>) -> Batch {
    let upto = events.last().map_or(from, |last| last.pos);
    let now = Timestamp::from_unix_ms(0);
    Batch::follow(CONSUMER, BusId::new("bus"), from, Arc::new(events), upto, now)
}

pub(super) fn tenant(name: &str) -> TenantId {
    TenantId::new(name).unwrap()
}

pub(super) fn document(id: &str, title: &str, text: &str) -> Document {
    Document {
        id: id.to_owned(),
        title: (!title.is_empty()).then(|| title.to_owned()),
        text: text.to_owned(),
        attrs: BTreeMap::new(),
        time: None,
    }
}

pub(super) fn put(owner: &str, version: u64, document: Document) -> NewEvent {
    let fingerprint = document.content_hash().fingerprint();
    NewEvent {
        fingerprint,
        payload: document.to_payload().into(),
        ..event(owner, version, &document.id, PUT)
    }
}

pub(super) fn delete(owner: &str, version: u64, id: &str) -> NewEvent {
    NewEvent {
        payload: deleted_payload(id).into(),
        ..event(owner, version, id, DELETED)
    }
}

fn event(owner: &str, version: u64, id: &str, event_type: &'static str) -> NewEvent {
    // The same event has the same id.
    let name = blake3::hash(format!("{owner}/{version}/{id}").as_bytes());
    NewEvent {
        id: Uuid::from_slice(&name.as_bytes()[..16]).unwrap(),
        tenant: tenant(owner),
        topic: TOPIC.into(),
        key: id.to_owned(),
        kseq: version,
        numbering: Numbering::Consecutive,
        event_type: event_type.into(),
        schema: SCHEMA,
        time: Timestamp::from_unix_ms(1_795_255_200_000 + i64::try_from(version).unwrap()),
        fingerprint: DELETED_FINGERPRINT,
        trace: None,
        payload: bytes::Bytes::new(),
    }
}

pub(super) fn search(query: &str) -> Search {
    Search {
        query: Query::parse(query).unwrap_or_else(|error| panic!("{query}: {error}")),
        limit: 100,
        after: None,
        filters: Vec::new(),
        since: None,
        until: None,
    }
}

/// Real texts: the paragraphs of this repository's licence, and some in other scripts.
pub(super) fn corpus() -> Vec<Document> {
    const LICENSE: &str = include_str!("../../../../../LICENSE");
    const OTHERS: [(&str, &str); 6] = [
        (
            "Menschenrechte",
            "Alle Menschen sind frei und gleich an Würde und Rechten geboren.",
        ),
        (
            "Droits de l'homme",
            "Tous les êtres humains naissent libres et égaux en dignité et en droits.",
        ),
        (
            "世界人権宣言",
            "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。",
        ),
        ("世界人权宣言", "人人生而自由，在尊严和权利上一律平等。"),
        (
            "Права человека",
            "Все люди рождаются свободными и равными в своём достоинстве и правах.",
        ),
        (
            "세계 인권 선언",
            "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다.",
        ),
    ];
    let paragraphs = LICENSE
        .split("\n\n")
        .map(str::trim)
        .filter(|paragraph| !paragraph.is_empty())
        .enumerate()
        .map(|(number, paragraph)| {
            let title = paragraph.lines().next().unwrap_or_default();
            document(&format!("license/{number}"), title, paragraph)
        });
    let others = OTHERS
        .iter()
        .enumerate()
        .map(|(number, (title, text))| document(&format!("rights/{number}"), title, text));
    paragraphs.chain(others).collect()
}

/// A generator of numbers that are the same in every run.
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn below(&mut self, bound: usize) -> usize {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % u64::try_from(bound).unwrap()).unwrap()
    }

    pub(super) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}
