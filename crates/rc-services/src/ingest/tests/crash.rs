//! `kill -9` in the middle of work: what was acknowledged is there, and nothing is there twice.

use std::collections::HashMap;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;

use super::world::{Answer, World, write};

/// Tells a child process of the test that it is one, and where its project is.
const CHILD: &str = "RC_TEST_INGEST_CRASH_CHILD";

const LANES: usize = 8;
const DOCS_PER_WRITE: usize = 3;

/// Not a test of its own: what the child process runs. Without its variable it has nothing to do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crash_child() {
    #[expect(clippy::disallowed_methods, reason = "how the parent test talks to its child")]
    let Ok(folder) = std::env::var(CHILD) else {
        return;
    };
    let world = World::new(folder.as_ref());
    world.run("sqlite:").await.unwrap();
    std::future::pending::<()>().await;
}

fn request(key: &str) -> http::Request<String> {
    let docs: Vec<_> = (0..DOCS_PER_WRITE)
        .map(|n| json!({ "id": format!("{key}-{n}"), "text": key }))
        .collect();
    let body = serde_json::to_string(&docs).unwrap();
    let request = write("/ingest/batch?detail=full", key).header("content-type", "application/json");
    request.body(body).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_kill_9_once() {
    let folder = tempfile::tempdir().unwrap();
    // Every key that was ever sent, with its answer where one came.
    let sent: Mutex<HashMap<String, Option<Answer>>> = Mutex::default();
    for (round, life_ms) in [15_u64, 40, 70, 120, 200].into_iter().enumerate() {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "ingest::tests::crash::crash_child"])
            .env(CHILD, folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let world = World::new(folder.path());
        rc_test::eventually(Duration::from_secs(30), "the child answers", async || {
            world
                .try_send(http::Request::get("/ready").body("").unwrap())
                .await
                .is_ok()
        })
        .await;
        let lanes = join_all((0..LANES).map(|lane| {
            let (world, sent) = (&world, &sent);
            async move {
                for n in 0.. {
                    let key = format!("r{round}-l{lane}-{n}");
                    sent.lock().unwrap().insert(key.clone(), None);
                    let Ok(answer) = world.try_send(request(&key)).await else {
                        return;
                    };
                    assert_eq!(answer.status, 202, "{answer:?}");
                    sent.lock().unwrap().insert(key, Some(answer));
                }
            }
        }));
        let kill = async {
            tokio::time::sleep(Duration::from_millis(life_ms)).await;
            child.kill().unwrap();
            child.wait().unwrap();
        };
        tokio::join!(lanes, kill);
    }

    let world = World::new(folder.path());
    world.run("sqlite:").await.unwrap();
    let sent = sent.into_inner().unwrap();
    let acknowledged = sent.values().flatten().count();
    assert!(
        acknowledged > 0,
        "no round lived long enough to acknowledge anything"
    );
    for (key, before) in &sent {
        let after = world.send(request(key)).await;
        assert_eq!(after.status, 202, "{after:?}");
        if let Some(before) = before {
            assert_eq!(
                after.header("idempotency-replayed"),
                Some("true"),
                "{key} was lost"
            );
            assert_eq!(after.body, before.body, "{key} has another answer");
        }
        assert_eq!(
            after.json()["accepted"],
            DOCS_PER_WRITE,
            "{key} was stored in part"
        );
    }
    let tail = sent.len() * DOCS_PER_WRITE;
    let last = tail - 1;
    let bus = world
        .get(&format!("/-/bus/wait?after={last}&timeout_ms=20000"))
        .await;
    assert_eq!(bus.json(), json!({ "tail": tail }));
    // Everything was relayed: one event more would be there by now.
    assert_eq!(
        world.get("/-/bus/wait?after=0&timeout_ms=0").await.json(),
        json!({ "tail": tail })
    );
    world.stop().await;
}
