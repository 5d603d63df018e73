use std::borrow::Cow;
use std::sync::Mutex;
use std::time::Duration;

use http::StatusCode;
use rc_events::BoxFuture;
use rc_events::event::{NewEvent, Numbering};
use rc_events::letters::{Edit, Letter, LetterCounts, LetterState, ReplayLetters, ReplayedLetters};
use rc_ledger::Entry;
use rc_model::catalog::Builtin;
use rc_model::project::AccessLog;
use rc_model::{Layout, SystemClock, TenantId, Timestamp};
use rc_serve::{Edge, Marks, Metrics, Readiness, Tree, edge, uds};
use rc_store::StoreUrl;
use serde_json::Value;

use super::*;
use crate::audit::outbox::Limit;

const AT: Timestamp = Timestamp::from_unix_ms(1_795_255_200_000);

fn letter(number: i64) -> Letter {
    Letter {
        number,
        holder: "docs-api".to_owned(),
        event: NewEvent {
            id: uuid::Uuid::nil(),
            tenant: TenantId::new("acme").unwrap(),
            topic: Cow::Borrowed("docs"),
            key: format!("d{number}"),
            kseq: 3,
            numbering: Numbering::Consecutive,
            event_type: Cow::Borrowed("doc.put.v1"),
            schema: 1,
            time: AT,
            fingerprint: [0; 16],
            trace: None,
            payload: Bytes::from_static(br#"{"a":1}"#),
        },
        pos: 9,
        edited: None,
        state: LetterState::Parked,
        class: Cow::Borrowed("decode"),
        code: "RC-EVT-011".to_owned(),
        why: "no text".to_owned(),
        attempts: 1,
        replays: 0,
        same_error: 0,
        first: AT,
        last: AT,
    }
}

/// Letters in memory. `fails`: every act does.
#[derive(Default)]
struct Fake {
    letters: Mutex<Vec<Letter>>,
    fails: bool,
}

impl Fake {
    fn act<T>(&self, done: impl FnOnce(&mut Vec<Letter>) -> T) -> Result<T, Error> {
        if self.fails {
            return Err(Error::Letter("the letter is not to be had".into()));
        }
        Ok(done(&mut self.letters.lock().unwrap()))
    }

    fn matching(&self, filter: &LetterFilter) -> Vec<Letter> {
        let letters = self.letters.lock().unwrap();
        let chosen = |letter: &&Letter| filter.numbers.is_empty() || filter.numbers.contains(&letter.number);
        letters.iter().filter(chosen).cloned().collect()
    }
}

impl Letters for Fake {
    fn holder(&self) -> &str {
        "docs-api"
    }

    fn list<'a>(&'a self, filter: &'a LetterFilter) -> BoxFuture<'a, Result<Vec<Letter>, Error>> {
        Box::pin(async { Ok(self.matching(filter)) })
    }

    fn get(&self, number: i64) -> BoxFuture<'_, Result<Option<Letter>, Error>> {
        Box::pin(async move { Ok(self.matching(&LetterFilter::one(number)).pop()) })
    }

    fn count<'a>(&'a self, filter: &'a LetterFilter) -> BoxFuture<'a, Result<LetterCounts, Error>> {
        Box::pin(async {
            let letters = self.matching(filter).len() as u64;
            Ok(LetterCounts {
                letters,
                keys: letters,
                of: vec![(LetterState::Parked, "decode".to_owned(), letters)],
                oldest: Some(AT),
            })
        })
    }

    fn edit(&self, number: i64, edit: Edit) -> BoxFuture<'_, Result<Letter, Error>> {
        Box::pin(async move {
            self.act(|letters| {
                let found = letters.iter_mut().find(|letter| letter.number == number).unwrap();
                match edit {
                    Edit::Payload(bytes) => found.edited = Some(bytes),
                    Edit::Original => found.edited = None,
                    Edit::Patch(_) => unreachable!("not asked for here"),
                }
                found.clone()
            })
        })
    }

    fn replay<'a>(
        &'a self,
        filter: &'a LetterFilter,
        _how: ReplayLetters,
    ) -> BoxFuture<'a, Result<ReplayedLetters, Error>> {
        Box::pin(async {
            let applied = self.drop(filter).await?;
            Ok(ReplayedLetters {
                applied,
                ..ReplayedLetters::default()
            })
        })
    }

    fn drop<'a>(&'a self, filter: &'a LetterFilter) -> BoxFuture<'a, Result<u64, Error>> {
        Box::pin(async {
            let gone: Vec<i64> = self.matching(filter).iter().map(|letter| letter.number).collect();
            self.act(|letters| letters.retain(|letter| !gone.contains(&letter.number)))?;
            Ok(gone.len() as u64)
        })
    }
}

struct World {
    admin: Admin,
    folder: tempfile::TempDir,
}

impl World {
    async fn new(fails: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::new(folder.path());
        fs_err::create_dir_all(layout.data(&Builtin::DocsApi.id())).unwrap();
        let clock: Arc<dyn rc_model::Clock> = SystemClock::shared();
        let acts = Acts::open(Builtin::DocsApi, "docs", &StoreUrl::Sqlite, &layout, &clock)
            .await
            .unwrap();
        let letters: Arc<dyn Letters> = Arc::new(Fake {
            letters: Mutex::new(vec![letter(1), letter(2)]),
            fails,
        });
        let admin = Admin {
            letters: Arc::new(move || Some(Arc::clone(&letters))),
            acts: Some(acts),
        };
        Self { admin, folder }
    }

    async fn ask(&self, path: &str, body: Value) -> (StatusCode, Value) {
        let request = if body.is_null() {
            http::Request::get(path).body(Bytes::new())
        } else {
            http::Request::post(path).body(Bytes::from(body.to_string()))
        };
        let tree = Tree::new();
        let edge = Edge {
            service: "docs-api",
            router: router(self.admin.clone()),
            readiness: Readiness::new(),
            metrics: Metrics::new(),
            access: AccessLog::Off,
            sink: None,
            marks: Marks::default(),
        };
        let socket = self.folder.path().join("sock");
        edge::serve_uds(&socket, edge, &tree).unwrap();
        let answer = uds::call(&socket, request.unwrap(), Duration::from_secs(10))
            .await
            .unwrap();
        tree.drain(Duration::from_secs(5)).await.unwrap();
        (answer.status(), serde_json::from_slice(answer.body()).unwrap())
    }

    async fn newest(&self) -> Entry {
        self.rows().await.pop().unwrap()
    }

    async fn rows(&self) -> Vec<Entry> {
        let all = Limit {
            rows: 100,
            bytes: 1 << 20,
        };
        let batch = self
            .admin
            .acts
            .as_ref()
            .unwrap()
            .outbox()
            .next(all)
            .await
            .unwrap();
        let decode = |row: &crate::audit::Row| Entry::decode(&row.entry).unwrap();
        batch.rows.iter().map(decode).collect()
    }

    /// Action, resource and outcome of every entry.
    async fn entries(&self) -> Vec<(String, String, &'static str)> {
        let rows = self.rows().await.into_iter();
        rows.map(|entry| (entry.action, entry.resource.id, entry.outcome.as_str()))
            .collect()
    }
}

#[tokio::test]
async fn letters_are_listed_counted_and_shown() {
    let world = World::new(false).await;
    let (status, listed) = world.ask("/-/letters/list", json!({})).await;
    assert_eq!((status, listed["total"].as_u64()), (StatusCode::OK, Some(2)));
    assert_eq!(listed["letters"][0]["state"], "parked");
    let (_, counts) = world.ask("/-/letters/count", json!({})).await;
    assert_eq!(
        counts["of"][0],
        json!({ "state": "parked", "class": "decode", "letters": 2 })
    );
    let (_, shown) = world.ask("/-/letters/2", Value::Null).await;
    assert_eq!(
        (&shown["key"], &shown["payload"]),
        (&"d2".into(), &json!({ "json": { "a": 1 } }))
    );
    let (status, problem) = world.ask("/-/letters/3", Value::Null).await;
    assert_eq!(
        (status, &problem["code"]),
        (StatusCode::NOT_FOUND, &"RC-EVT-052".into())
    );
    let (status, problem) = world.ask("/-/letters/list", json!({ "state": "dead" })).await;
    assert_eq!(
        (status, &problem["code"]),
        (StatusCode::BAD_REQUEST, &"RC-EVT-051".into())
    );
    assert_eq!(world.entries().await, [], "looking is no act");
}

#[tokio::test]
async fn every_act_is_recorded_with_who_and_why_before_it_is_done() {
    let world = World::new(false).await;
    let (status, edited) = world
        .ask(
            LETTERS_PATH,
            json!({ "reason": "a typo", "what": { "payload": { "number": 1, "payload": { "a": 2 } } } }),
        )
        .await;
    assert_eq!(status, StatusCode::OK, "{edited}");
    assert_eq!(edited["edited"]["edited_payload"]["json"]["a"], 2);
    let replay = json!({ "reason": "mended", "what": { "replay": { "select": { "numbers": [1] } } } });
    let (_, replayed) = world.ask(LETTERS_PATH, replay).await;
    assert_eq!(replayed["replayed"]["applied"], 1);
    let drop = json!({ "reason": "a test", "dry_run": true, "what": { "drop": { "select": {} } } });
    let (_, would) = world.ask(LETTERS_PATH, drop).await;
    assert_eq!(would["would"]["letters"], 1);
    let done = |action: &str, id: &str| (action.to_owned(), id.to_owned(), "done");
    assert_eq!(
        world.entries().await,
        [
            done("letter.edit", "docs-api/1"),
            done("letter.replay", "docs-api/1")
        ],
        "a dry run is no act"
    );
    let drop = json!({ "reason": "a test", "what": { "drop": { "select": {} } } });
    let (_, dropped) = world.ask(LETTERS_PATH, drop).await;
    assert_eq!(dropped, json!({ "dropped": { "letters": 1 } }));
    assert_eq!(world.entries().await[2], done("letter.drop", "docs-api/*"));
    let entry = world.newest().await;
    let own = rustix::process::getuid().as_raw().to_string();
    assert_eq!(
        (entry.actor.kind.as_str(), entry.actor.id),
        ("os-user", own),
        "the kernel says who"
    );
}

#[tokio::test]
async fn an_act_that_fails_has_an_entry_that_says_so() {
    let world = World::new(true).await;
    let drop = json!({ "reason": "a test", "what": { "drop": { "select": { "numbers": [1] } } } });
    let (status, problem) = world.ask(LETTERS_PATH, drop).await;
    assert_eq!(
        (status, &problem["code"]),
        (StatusCode::CONFLICT, &"RC-EVT-015".into())
    );
    let outcomes: Vec<&str> = world.entries().await.iter().map(|entry| entry.2).collect();
    assert_eq!(outcomes, ["done", "failed"]);
}

#[tokio::test]
async fn nothing_is_done_that_cannot_be_recorded_or_has_no_reason() {
    let mut world = World::new(false).await;
    let drop = |reason: &str| json!({ "reason": reason, "what": { "drop": { "select": {} } } });
    let (status, problem) = world.ask(LETTERS_PATH, drop(" ")).await;
    assert_eq!(
        (status, &problem["code"]),
        (StatusCode::BAD_REQUEST, &"RC-EVT-051".into())
    );
    world.admin.acts = None;
    let (status, problem) = world.ask(LETTERS_PATH, drop("a test")).await;
    assert_eq!(
        (status, &problem["code"]),
        (StatusCode::SERVICE_UNAVAILABLE, &"RC-LED-020".into())
    );
    let (_, listed) = world.ask("/-/letters/list", json!({})).await;
    assert_eq!(listed["total"], 2);
}
