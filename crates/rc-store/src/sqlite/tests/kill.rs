//! What `kill -9` may and may not take. The test runs itself again as the process to be killed.

use std::io::BufRead as _;
use std::process::{Command, Stdio};

use super::*;

/// Names the database to the child. A file name, because only `rc` reads the environment.
const CHILD_TEST: &str = "sqlite::tests::kill::child_that_writes_until_killed";
const CHILD_FOLDER: &str = "rc-store-kill-child";

/// Where a child process finds its database: the folder it was started in, if it has that name.
fn child_folder() -> Option<std::path::PathBuf> {
    let here = std::env::current_dir().unwrap();
    here.file_name()
        .is_some_and(|name| name == CHILD_FOLDER)
        .then_some(here)
}

#[test]
fn child_that_writes_until_killed() {
    let Some(folder) = child_folder() else {
        return; // Run as an ordinary test: it is a process for the test below.
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let store = Sqlite::open(&folder.join("t.db"), SqliteOptions::default()).unwrap();
        store
            .write("create", |conn| {
                Ok(conn.execute_batch("CREATE TABLE IF NOT EXISTS t (x INTEGER PRIMARY KEY, y)")?)
            })
            .await
            .unwrap();
        let mut writers = tokio::task::JoinSet::new();
        for writer in 0..8_i64 {
            let store = store.clone();
            writers.spawn(async move {
                for number in 0.. {
                    let x = writer * 1_000_000 + number;
                    put(&store, x).await.unwrap();
                    println!("acknowledged {x}");
                }
            });
        }
        writers.join_next().await;
    });
}

#[test]
fn every_acknowledged_write_survives_kill_9() {
    let root = folder();
    let folder = root.path().join(CHILD_FOLDER);
    fs_err::create_dir_all(&folder).unwrap();
    let mut seen_total = 0;
    for round in 0..3 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", CHILD_TEST, "--nocapture", "--test-threads=1"])
            .current_dir(&folder)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut acknowledged = Vec::new();
        let mut lines = std::io::BufReader::new(child.stdout.take().unwrap()).lines();
        while let Some(Ok(line)) = lines.next() {
            if let Some(x) = line.split("acknowledged ").nth(1) {
                acknowledged.push(x.parse::<i64>().unwrap());
            }
            if acknowledged.len() == 300 + round * 111 {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(acknowledged.len() >= 300, "round {round}: {}", acknowledged.len());

        let conn = rusqlite::Connection::open(folder.join("t.db")).unwrap();
        let mut exists = conn.prepare("SELECT 1 FROM t WHERE x = ?1").unwrap();
        for x in &acknowledged {
            assert!(
                exists.exists([x]).unwrap(),
                "round {round}: {x} was acknowledged and is gone"
            );
        }
        let check: String = conn
            .query_row("PRAGMA integrity_check", [], |row| row.get(0))
            .unwrap();
        assert_eq!(check, "ok");
        seen_total += acknowledged.len();
        drop(exists);
        conn.execute("DELETE FROM t", []).unwrap();
    }
    assert!(seen_total > 900);
}
