//! A disk that fails and comes back. The test runs itself again as a process whose files may not grow: the
//! kernel then refuses every write with EFBIG, which SQLite takes for a broken disk.

use std::process::Command;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::*;

/// Names the database to the child. A file name, because only `rc` reads the environment.
const CHILD_TEST: &str = "sqlite::tests::disk::child_whose_disk_fails";
const CHILD_FOLDER: &str = "rc-store-disk-child";

fn limit_files_to(current: Option<u64>) {
    let limits = getrlimit(Resource::Fsize);
    setrlimit(Resource::Fsize, Rlimit { current, ..limits }).unwrap();
}

#[test]
fn child_whose_disk_fails() {
    let here = std::env::current_dir().unwrap();
    if here.file_name().is_none_or(|name| name != CHILD_FOLDER) {
        return; // Run as an ordinary test: it is a process for the test below.
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let store = Sqlite::open(&here.join("t.db"), SqliteOptions::default()).unwrap();
        store
            .write("create", |conn| {
                Ok(conn.execute_batch("CREATE TABLE t (x INTEGER PRIMARY KEY, y)")?)
            })
            .await
            .unwrap();
        put(&store, 1).await.unwrap();
        store.writable().await.unwrap();

        limit_files_to(Some(0));
        store.writable().await.expect("nobody has noticed yet");
        for x in 2..5 {
            let error = put(&store, x).await.unwrap_err();
            assert_eq!(error.code(), "RC-STO-002", "{error:?}");
            assert!(error.retry_after().is_some());
        }
        assert!(store.writable().await.is_err());
        assert_eq!(count(&store).await, 1, "reads go on");

        limit_files_to(None);
        let back = async {
            while store.writable().await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), back).await.unwrap();
        put(&store, 5).await.unwrap();
        assert_eq!(count(&store).await, 2, "what was refused was not stored");
        store.close().await;
        let again = Sqlite::open(&here.join("t.db"), SqliteOptions::default()).unwrap();
        assert_eq!(count(&again).await, 2);
        println!("the disk came back");
    });
}

#[test]
fn a_disk_that_fails_is_noticed_and_taken_up_again_when_it_is_back() {
    let root = folder();
    let here = root.path().join(CHILD_FOLDER);
    fs_err::create_dir_all(&here).unwrap();
    // Ignored signals are inherited: a write beyond the limit is an error then, and not the end.
    let output = Command::new("/bin/sh")
        .args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", CHILD_TEST, "--nocapture", "--test-threads=1"])
        .current_dir(&here)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("the disk came back"),
        "{said}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[tokio::test]
async fn a_file_that_is_ours_opens_without_a_write() {
    let folder = folder();
    let path = folder.path().join("t.db");
    let store = open_with_table(&folder, SqliteOptions::default()).await;
    put(&store, 1).await.unwrap();
    store.close().await;
    drop(store);
    let before = fs_err::read(&path).unwrap();
    let store = Sqlite::open(&path, SqliteOptions::default()).unwrap();
    let wal = fs_err::metadata(folder.path().join("t.db-wal")).map_or(0, |meta| meta.len());
    assert_eq!(wal, 0, "opening wrote into the log");
    assert_eq!(count(&store).await, 1);
    drop(store);
    assert_eq!(fs_err::read(&path).unwrap(), before);
}
