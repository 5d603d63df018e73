//! A read model built anew beside the one that serves.

mod place;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rc_events::bus::Publish;
use rc_events::consumer::BusWake;
use rc_events::letters::{Edit, LetterFilter, Letters as _, ReplayLetters};
use rc_events::{Bus, ConsumerOptions, Cursor, NewEvent, Record as BusRecord, Retention, SqliteBus};
use rc_model::catalog::Builtin;
use rc_model::{Clock, Layout, SystemClock, TraceContext};
use rc_serve::{Metrics, Readiness, Tree};
use rc_store::{Postgres, PostgresOptions, StoreUrl};
use rc_test::eventually;

use self::place::Place;
use super::world::{delete, document, migrate, put, search, tenant};
use crate::audit::Actor;
use crate::docs::follow::{Following, Projector, Reading};
use crate::docs::generations::{Files, Generations, Outcome, Schemas, Shelf, Slot, StatusLine};
use crate::docs::meters::Meters;
use crate::docs::model::Stored;
use crate::docs::postgres::{SCHEMA, SPARE_SCHEMA};
use crate::docs::progress::Progress;
use crate::docs::store::DocsStore;
use crate::events::acts::{Acts, Asked};

const SOON: Duration = Duration::from_secs(60);

/// A platform's events, and the process that makes documents of them.
struct World {
    folder: tempfile::TempDir,
    bus: Arc<SqliteBus>,
    published: AtomicU64,
    place: Arc<Place>,
    _database: Option<rc_test::Database>,
}

/// That process.
struct Process {
    generations: Arc<Generations>,
    following: Following,
    tree: Tree,
}

impl World {
    async fn new(
        shelf: Arc<dyn Shelf>,
        folder: tempfile::TempDir,
        database: Option<rc_test::Database>,
    ) -> Self {
        let bus = SqliteBus::open(&folder.path().join("bus.db"), SystemClock::shared())
            .await
            .unwrap();
        Self {
            folder,
            bus: Arc::new(bus),
            published: AtomicU64::new(0),
            place: Arc::new(Place {
                shelf,
                gate: AtomicBool::new(false),
                full: AtomicBool::new(false),
                stuck: AtomicBool::new(false),
                refused: AtomicU64::new(0),
            }),
            _database: database,
        }
    }

    async fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let shelf = Arc::new(Files::new(folder.path().to_owned()));
        Self::new(shelf, folder, None).await
    }

    async fn postgres() -> Self {
        let database = tokio::task::spawn_blocking(|| rc_test::Postgres::start().fresh_database())
            .await
            .unwrap();
        migrate(&database.url).await;
        let connect =
            |schema| Postgres::connect(&database.url, &PostgresOptions::new("test", schema)).unwrap();
        let shelf = Arc::new(Schemas::new(connect(SCHEMA), connect(SPARE_SCHEMA)));
        Self::new(shelf, tempfile::tempdir().unwrap(), Some(database)).await
    }

    async fn start(&self) -> Process {
        let clock: Arc<dyn Clock> = SystemClock::shared();
        let layout = Layout::new(self.folder.path());
        let mut acts = None;
        eventually(SOON, "the process before has given its files back", async || {
            acts = Acts::open(Builtin::DocsApi, SCHEMA, &StoreUrl::Sqlite, &layout, &clock)
                .await
                .ok();
            acts.is_some()
        })
        .await;
        self.start_with(acts).await
    }

    async fn start_without_acts(&self) -> Process {
        self.start_with(None).await
    }

    async fn start_with(&self, acts: Option<Acts>) -> Process {
        let tree = Tree::new();
        let following = Following::default();
        let projector = Projector {
            following: Arc::clone(&following),
            progress: Progress::new(tree.stopping()),
            meters: Meters::register(&Metrics::new()),
            clock: SystemClock::shared(),
            ready: Readiness::new().component("projector"),
            options: ConsumerOptions::default(),
        };
        let place = Arc::clone(&self.place) as Arc<dyn Shelf>;
        let generations = Generations::new(place, projector, tree.clone());
        generations.record_in(acts);
        let bus = Arc::clone(&self.bus) as Arc<dyn Bus>;
        let wake = Arc::new(BusWake(Arc::clone(&bus)));
        generations.follow(Reading { bus, wake }, &tree.stopping()).await;
        Process {
            generations,
            following,
            tree,
        }
    }

    async fn publish(&self, events: Vec<NewEvent>) {
        let at = |count: u64| {
            Cursor::new(if count == 0 {
                String::new()
            } else {
                count.to_string()
            })
        };
        let before = self.published.load(Ordering::Relaxed);
        let after = before + events.len() as u64;
        let records = (before + 1..).zip(events).map(|(number, event)| BusRecord {
            origin_pos: i64::try_from(number).unwrap(),
            event,
        });
        let publish = Publish {
            origin: "ingest".to_owned(),
            expected: at(before),
            cursor: at(after),
            records: records.collect(),
        };
        self.bus.publish(publish).await.unwrap();
        self.published.store(after, Ordering::Relaxed);
    }

    fn slot_b(&self) -> PathBuf {
        self.folder.path().join("docs-b.db")
    }
}

impl Process {
    async fn applied(&self, world: &World) {
        let upto = i64::try_from(world.published.load(Ordering::Relaxed)).unwrap();
        eventually(SOON, "all events are applied", async || {
            let consumer = self.following.load_full().unwrap();
            consumer.status().position >= upto
        })
        .await;
    }

    /// Begins a rebuild, when what the one before left is removed.
    async fn begin_next(&self) {
        eventually(SOON, "a rebuild can begin", async || self.begin().await.is_ok()).await;
    }

    async fn begin(&self) -> Result<(), String> {
        let begun = self.generations.begin(&asked()).await;
        begun.map_err(|refused| format!("{refused:?}"))
    }

    async fn status(&self) -> StatusLine {
        self.generations.status().await.ok().unwrap()
    }

    /// Waits for the end of the rebuild that goes on.
    async fn ended(&self, outcome: Outcome) -> StatusLine {
        eventually(SOON, "the rebuild has ended", async || {
            self.status().await.building.is_none()
        })
        .await;
        let status = self.status().await;
        assert_eq!(status.last.as_ref().unwrap().outcome, outcome, "{status:?}");
        status
    }

    async fn get(&self, id: &str) -> Option<Stored> {
        self.generations.serving().get(&tenant("acme"), id).await.unwrap()
    }

    /// What a search finds: ids and scores, whatever the order of equal ones.
    async fn find(&self, query: &str) -> BTreeMap<String, String> {
        let mut search = search(query);
        search.limit = 1_000;
        let page = self
            .generations
            .serving()
            .search(&tenant("acme"), &search)
            .await
            .unwrap();
        let hits = page.hits.into_iter();
        hits.map(|hit| (hit.stored.document.id, format!("{:.6}", hit.place.score)))
            .collect()
    }

    async fn stop(self) {
        self.tree.drain(SOON).await.unwrap();
        // The files are given back with the last handle.
        drop(self);
    }
}

fn asked() -> Asked {
    Asked {
        actor: Actor::OsUser(7),
        reason: "a test".to_owned(),
        trace: TraceContext::start(|| fastrand::u64(..)),
    }
}

fn version(number: u64, id: usize) -> NewEvent {
    let text = format!("word number{number} of{id} {}", ["red", "green", "blue"][id % 3]);
    put("acme", number, document(&format!("d{id}"), "title", &text))
}

async fn under_load(world: World) {
    const DOCUMENTS: usize = 200;
    const ROUNDS: u64 = 20;
    let process = world.start().await;
    let stop = AtomicBool::new(false);
    for round in 1..=ROUNDS {
        world
            .publish((0..DOCUMENTS).map(|id| version(round, id)).collect())
            .await;
    }
    process.applied(&world).await;
    let written = async {
        let mut round = ROUNDS;
        while !stop.load(Ordering::Relaxed) {
            round += 1;
            world
                .publish((0..DOCUMENTS).map(|id| version(round, id)).collect())
                .await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        round
    };
    let reads = async {
        let (mut seen, mut reads) = (vec![0; DOCUMENTS], 0_u64);
        while !stop.load(Ordering::Relaxed) {
            for (id, seen) in seen.iter_mut().enumerate() {
                let found = process
                    .get(&format!("d{id}"))
                    .await
                    .expect("a document is never gone");
                assert!(
                    found.version >= *seen,
                    "d{id} went back from {seen} to {}",
                    found.version
                );
                *seen = found.version;
                reads += 1;
            }
            assert_eq!(process.find("word").await.len(), DOCUMENTS);
        }
        reads
    };
    let rebuilt = async {
        process.begin().await.unwrap();
        let status = process.ended(Outcome::Switched).await;
        assert_eq!(status.serving, Slot::B);
        // And back, so that both ways were gone under load.
        process.begin_next().await;
        let status = process.ended(Outcome::Switched).await;
        stop.store(true, Ordering::Relaxed);
        status
    };
    let (last, reads, status) = tokio::join!(written, reads, rebuilt);
    assert_eq!(status.serving, Slot::A);
    assert!(reads > 0);
    process.applied(&world).await;
    for id in 0..DOCUMENTS {
        assert_eq!(process.get(&format!("d{id}")).await.unwrap().version, last);
    }
    // Without load: documents, hits and scores are those of before, one by one.
    let words = ["word", "red", "green OR blue", "title -red", "of17"];
    let mut before = Vec::new();
    for word in words {
        before.push(process.find(word).await);
    }
    let mut documents = Vec::new();
    for id in 0..DOCUMENTS {
        documents.push(process.get(&format!("d{id}")).await);
    }
    process.begin_next().await;
    process.ended(Outcome::Switched).await;
    for (word, before) in words.into_iter().zip(before) {
        assert_eq!(process.find(word).await, before, "{word}");
    }
    for (id, before) in documents.into_iter().enumerate() {
        assert_eq!(process.get(&format!("d{id}")).await, before);
    }
    process.stop().await;
}

async fn forgotten(world: World) {
    let process = world.start().await;
    let old = [
        put("acme", 1, document("kept", "", "word old")),
        put("acme", 1, document("changed", "", "word old")),
        put("acme", 1, document("gone", "", "word old")),
        delete("acme", 2, "gone"),
    ];
    world.publish(old.into()).await;
    process.applied(&world).await;
    // The bus forgets what was read. A consumer tells it once a second how far it is.
    let retention = Retention {
        keep: Duration::ZERO,
        ..Retention::default()
    };
    eventually(SOON, "the bus has forgotten", async || {
        world.bus.retain(&retention).await.unwrap();
        world.bus.read(0, rc_events::ReadLimit::default()).await.is_err()
    })
    .await;
    world
        .publish(vec![put("acme", 2, document("changed", "", "word new"))])
        .await;
    world
        .publish(vec![put("acme", 1, document("late", "", "word new"))])
        .await;
    process.applied(&world).await;
    process.begin().await.unwrap();
    let status = process.ended(Outcome::Switched).await;
    assert!(
        status.last.unwrap().taken_over >= 2,
        "`kept` and `gone` are in no event"
    );
    assert_eq!(
        process.find("old").await.into_keys().collect::<Vec<_>>(),
        ["kept"]
    );
    assert_eq!(
        process.find("new").await.into_keys().collect::<Vec<_>>(),
        ["changed", "late"]
    );
    // A deleted document still has its number: its next version is the third.
    world
        .publish(vec![put("acme", 3, document("gone", "", "word back"))])
        .await;
    process.applied(&world).await;
    assert_eq!(process.get("gone").await.unwrap().version, 3);
    assert_eq!(process.get("kept").await.unwrap().document.text, "word old");
    process.stop().await;
}

async fn letters(world: World) {
    let process = world.start().await;
    let bad = |number: u64, id: &str| NewEvent {
        payload: br#"{"text":7}"#.as_slice().into(),
        ..put("acme", number, document(id, "", "bad"))
    };
    world
        .publish(vec![bad(1, "mended"), bad(1, "open"), bad(1, "dropped")])
        .await;
    world
        .publish(vec![put("acme", 2, document("mended", "", "later"))])
        .await;
    process.applied(&world).await;
    let consumer = process.following.load_full().unwrap();
    let held = consumer.list(&LetterFilter::default()).await.unwrap();
    let number = |id: &str| held.iter().find(|letter| letter.event.key == id).unwrap().number;
    let edit = |text: &str, id: &str| Edit::Payload(format!(r#"{{"id":"{id}","text":"{text}"}}"#).into());
    consumer
        .edit(number("mended"), edit("mended", "mended"))
        .await
        .unwrap();
    consumer
        .edit(number("open"), edit("prepared", "open"))
        .await
        .unwrap();
    let one = |id: &str| LetterFilter {
        numbers: vec![number(id)],
        ..LetterFilter::default()
    };
    consumer
        .replay(&one("mended"), ReplayLetters::default())
        .await
        .unwrap();
    consumer.as_ref().drop(&one("dropped")).await.unwrap();
    assert_eq!(process.get("mended").await.unwrap().document.text, "later");

    process.begin().await.unwrap();
    process.ended(Outcome::Switched).await;
    eventually(SOON, "the rebuilt one is followed", async || {
        !Arc::ptr_eq(&process.following.load_full().unwrap(), &consumer)
    })
    .await;
    drop(consumer);
    assert_eq!(
        process.get("mended").await.unwrap().document.text,
        "later",
        "a person mended it once"
    );
    let consumer = process.following.load_full().unwrap();
    let held = consumer.list(&LetterFilter::default()).await.unwrap();
    let keys: Vec<&str> = held.iter().map(|letter| letter.event.key.as_str()).collect();
    assert_eq!(keys, ["open"], "one that waits for a person waits on");
    let all = LetterFilter::default();
    assert_eq!(
        consumer
            .replay(&all, ReplayLetters::default())
            .await
            .unwrap()
            .applied,
        1
    );
    assert_eq!(
        process.get("open").await.unwrap().document.text,
        "prepared",
        "its edit came along"
    );
    drop(consumer);
    process.stop().await;
}

async fn one_at_a_time(world: World) {
    let process = world.start().await;
    world.publish((0..100).map(|id| version(1, id)).collect()).await;
    process.applied(&world).await;
    world.place.gate.store(true, Ordering::Relaxed);
    let (first, second) = tokio::join!(process.begin(), process.begin());
    assert_eq!(
        [&first, &second].iter().filter(|begun| begun.is_ok()).count(),
        1,
        "{first:?} {second:?}"
    );
    assert!(process.generations.abort(&asked()).await.is_ok());
    let status = process.ended(Outcome::Aborted).await;
    assert_eq!(status.serving, Slot::A);
    assert!(process.generations.abort(&asked()).await.is_err(), "none goes on");

    // One that is under way when the process ends goes on in the next one.
    process.begin_next().await;
    process.stop().await;
    let process = world.start().await;
    assert_eq!(process.status().await.building.unwrap().building.number, 2);
    world.place.gate.store(false, Ordering::Relaxed);
    assert_eq!(process.ended(Outcome::Switched).await.serving, Slot::B);
    assert_eq!(process.find("word").await.len(), 100);
    process.stop().await;
    let process = world.start().await;
    assert_eq!(process.find("word").await.len(), 100);
    assert_eq!(process.status().await.serving, Slot::B);
    process.stop().await;
}

async fn full(world: World) {
    let process = world.start().await;
    world.publish((0..100).map(|id| version(1, id)).collect()).await;
    process.applied(&world).await;
    world.place.full.store(true, Ordering::Relaxed);
    assert!(
        process.begin().await.unwrap_err().contains("RC-EVT-070"),
        "it does not even begin"
    );
    world.place.full.store(false, Ordering::Relaxed);
    world.place.gate.store(true, Ordering::Relaxed);
    process.begin_next().await;
    world.place.full.store(true, Ordering::Relaxed);
    world.place.gate.store(false, Ordering::Relaxed);
    // Small as it is, it may have been done before the disk was looked at: then it serves.
    eventually(SOON, "it has ended", async || {
        process.status().await.building.is_none()
    })
    .await;
    world.place.full.store(false, Ordering::Relaxed);
    let status = process.status().await;
    if status.last.as_ref().unwrap().outcome == Outcome::Failed {
        assert_eq!(
            (status.serving, status.last.unwrap().code.as_deref()),
            (Slot::A, Some("RC-STO-008"))
        );
        eventually(SOON, "the room is given back", async || !world.slot_b().exists()).await;
    }
    assert_eq!(process.find("word").await.len(), 100);

    // What cannot be noted does not switch: the former serves on and follows the bus.
    let serving = process.status().await.serving;
    world.place.gate.store(true, Ordering::Relaxed);
    process.begin_next().await;
    world.place.stuck.store(true, Ordering::Relaxed);
    world.place.gate.store(false, Ordering::Relaxed);
    eventually(SOON, "the switch could not be noted", async || {
        world.place.refused.load(Ordering::Relaxed) > 0
    })
    .await;
    world.place.stuck.store(false, Ordering::Relaxed);
    assert_eq!(process.ended(Outcome::Failed).await.serving, serving);
    world.publish((0..100).map(|id| version(2, id)).collect()).await;
    process.applied(&world).await;
    assert_eq!(process.find("number2").await.len(), 100);
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn live_another_process_on_the_database_serves_what_was_switched_to() {
    let world = World::postgres().await;
    let first = world.start().await;
    world.publish((0..100).map(|id| version(1, id)).collect()).await;
    first.applied(&world).await;
    // Its acts have an outbox of their own on PostgreSQL; here it only reads.
    let second = world.start_without_acts().await;
    first.begin().await.unwrap();
    first.ended(Outcome::Switched).await;
    eventually(SOON, "the other one has noticed", async || {
        assert_eq!(second.find("word").await.len(), 100);
        second.generations.adopt().await.unwrap();
        second.status().await.serving == Slot::B
    })
    .await;
    world.publish((0..100).map(|id| version(2, id)).collect()).await;
    first.applied(&world).await;
    second.applied(&world).await;
    assert_eq!(second.find("number2").await.len(), 100);
    first.stop().await;
    second.stop().await;
}

macro_rules! on_both {
    ($($suite:ident => $name:ident, $live:ident;)+) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            $suite(World::sqlite().await).await;
        }
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $live() {
            $suite(World::postgres().await).await;
        })+
    };
}

on_both! {
    under_load => slow_no_read_fails_or_goes_back_while_generations_change_places,
        live_no_read_fails_or_goes_back_while_generations_change_places_on_postgres;
    forgotten => what_the_bus_has_forgotten_is_taken_over,
        live_what_the_bus_has_forgotten_is_taken_over_on_postgres;
    letters => what_people_decided_about_letters_is_kept,
        live_what_people_decided_about_letters_is_kept_on_postgres;
    one_at_a_time => one_rebuild_goes_on_at_a_time_and_survives_the_process,
        live_one_rebuild_goes_on_at_a_time_and_survives_the_process_on_postgres;
    full => without_room_the_one_that_serves_serves_on,
        live_without_room_the_one_that_serves_serves_on_on_postgres;
}
