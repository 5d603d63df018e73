//! Full queues, full disks, second writers, foreign and damaged files, readers that never end.

use std::sync::mpsc::sync_channel;

use super::*;

#[tokio::test]
async fn a_full_queue_answers_busy_at_once_with_a_computed_wait() {
    let folder = folder();
    let options = SqliteOptions {
        queue_jobs_max: 4,
        ..SqliteOptions::default()
    };
    let store = open_with_table(&folder, options).await;
    let (release, hold) = sync_channel::<()>(0);
    let (started, running) = tokio::sync::oneshot::channel();
    let mut jobs = tokio::task::JoinSet::new();
    let slow = store.clone();
    jobs.spawn(async move {
        slow.write_alone("hold", move |_| {
            let _ = started.send(());
            let _ = hold.recv();
            Ok(())
        })
        .await
    });
    running.await.unwrap();
    for x in 0..4 {
        let store = store.clone();
        jobs.spawn(async move { put(&store, x).await });
    }
    while store.write_queue_jobs() < 5 {
        tokio::task::yield_now().await;
    }
    let error = put(&store, 99).await.unwrap_err();
    let wait = error.retry_after().unwrap();
    assert_eq!(error.code(), "RC-STO-001");
    assert!(
        wait >= Duration::from_millis(50) && wait <= Duration::from_secs(30),
        "{wait:?}"
    );
    release.send(()).unwrap();
    while let Some(done) = jobs.join_next().await {
        done.unwrap().unwrap();
    }
    assert_eq!(count(&store).await, 4);
    assert_eq!(store.write_queue_jobs(), 0);
}

#[tokio::test]
async fn a_full_read_queue_answers_busy_at_once_and_serves_those_that_wait() {
    let folder = folder();
    let options = SqliteOptions {
        readers: 1,
        read_queue_jobs_max: 4,
        ..SqliteOptions::default()
    };
    let store = open_with_table(&folder, options).await;
    let (release, hold) = sync_channel::<()>(0);
    let (started, running) = tokio::sync::oneshot::channel();
    let mut jobs = tokio::task::JoinSet::new();
    let slow = store.clone();
    jobs.spawn(async move {
        slow.read("hold", move |_| {
            let _ = started.send(());
            let _ = hold.recv();
            Ok(())
        })
        .await
    });
    running.await.unwrap();
    // Polled once, so that it is in the queue.
    let read = |store: &Sqlite| {
        let store = store.clone();
        Box::pin(async move { store.read("wait", |_| Ok(())).await })
    };
    let mut waiting: Vec<_> = (0..4).map(|_| read(&store)).collect();
    for read in &mut waiting {
        tokio::select! {
            biased;
            done = read => panic!("the only reader is held: {done:?}"),
            () = std::future::ready(()) => {}
        }
    }
    let error = read(&store).await.unwrap_err();
    assert_eq!(error.code(), "RC-STO-001", "{error:?}");
    assert!(error.retry_after().is_some_and(|wait| !wait.is_zero()));
    release.send(()).unwrap();
    for read in waiting {
        read.await.unwrap();
    }
    while let Some(done) = jobs.join_next().await {
        done.unwrap().unwrap();
    }
    read(&store).await.unwrap();
}

#[tokio::test]
async fn a_write_whose_caller_left_the_queue_is_not_done() {
    let folder = folder();
    let store = open_with_table(&folder, SqliteOptions::default()).await;
    let (release, hold) = sync_channel::<()>(0);
    let (started, running) = tokio::sync::oneshot::channel();
    let slow = store.clone();
    let mut jobs = tokio::task::JoinSet::new();
    jobs.spawn(async move {
        slow.write_alone("hold", move |_| {
            let _ = started.send(());
            let _ = hold.recv();
            Ok(())
        })
        .await
    });
    running.await.unwrap();
    let gave_up = tokio::time::timeout(Duration::from_millis(20), put(&store, 1)).await;
    assert!(gave_up.is_err());
    release.send(()).unwrap();
    put(&store, 2).await.unwrap();
    assert_eq!(count(&store).await, 1);
}

#[tokio::test]
async fn a_full_disk_is_told_and_nothing_acknowledged_is_lost() {
    let folder = folder();
    let options = SqliteOptions {
        pages_max: Some(60),
        ..SqliteOptions::default()
    };
    let store = open_with_table(&folder, options).await;
    let mut kept = 0;
    let full = loop {
        let outcome = store
            .write("fill", |conn| {
                Ok(conn.execute("INSERT INTO t (y) VALUES (randomblob(8000))", [])?)
            })
            .await;
        match outcome {
            Ok(_) => kept += 1,
            Err(error) => break error,
        }
        assert!(kept < 1_000);
    };
    assert_eq!(full.kind(), ErrorKind::DiskFull, "{full:?}");
    assert!(kept > 5);
    assert_eq!(count(&store).await, kept);
    // Room is made, and the same store goes on.
    store
        .write(
            "prune",
            |conn| Ok(conn.execute("DELETE FROM t WHERE x <= 5", [])?),
        )
        .await
        .unwrap();
    put(&store, 1_000_000).await.unwrap();
    assert_eq!(count(&store).await, kept - 5 + 1);
}

#[tokio::test]
async fn a_group_on_a_full_disk_acknowledges_no_lost_write() {
    let folder = folder();
    let options = SqliteOptions {
        pages_max: Some(60),
        ..SqliteOptions::default()
    };
    let store = open_with_table(&folder, options).await;
    let mut jobs = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let store = store.clone();
        jobs.spawn(async move {
            store
                .write("fill", |conn| {
                    Ok(conn.execute("INSERT INTO t (y) VALUES (randomblob(8000))", [])?)
                })
                .await
        });
    }
    let mut kept = 0;
    while let Some(done) = jobs.join_next().await {
        match done.unwrap() {
            Ok(_) => kept += 1,
            Err(error) => assert_eq!(error.kind(), ErrorKind::DiskFull, "{error:?}"),
        }
    }
    assert_eq!(count(&store).await, kept);
}

#[tokio::test]
async fn a_second_writer_is_refused_by_name() {
    let folder = folder();
    let store = open_with_table(&folder, SqliteOptions::default()).await;
    let path = folder.path().join("t.db");
    let error = Sqlite::open(&path, SqliteOptions::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WriterTaken);
    let text = error.to_string();
    assert!(
        text.contains("t.db") && text.contains(&std::process::id().to_string()),
        "{text}"
    );
    store.close().await;
    Sqlite::open(&path, SqliteOptions::default()).unwrap();
}

#[tokio::test]
async fn the_writers_place_is_free_after_close_while_processes_are_started() {
    let folder = folder();
    let path = folder.path().join("t.db");
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let starters: Vec<_> = (0..2)
        .map(|_| {
            let stop = std::sync::Arc::clone(&stop);
            std::thread::spawn(move || {
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    std::process::Command::new("/bin/true").status().unwrap();
                }
            })
        })
        .collect();
    for _ in 0..100 {
        let store = Sqlite::open(&path, SqliteOptions::default()).unwrap();
        store.close().await;
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    for starter in starters {
        starter.join().unwrap();
    }
}

#[tokio::test]
async fn a_closed_store_says_so_and_leaves_one_file() {
    let folder = folder();
    let store = open_with_table(&folder, SqliteOptions::default()).await;
    put(&store, 1).await.unwrap();
    store.close().await;
    store.close().await;
    assert!(matches!(
        put(&store, 2).await.unwrap_err().kind(),
        ErrorKind::Unavailable { .. }
    ));
    let wal = fs_err::metadata(folder.path().join("t.db-wal")).map_or(0, |meta| meta.len());
    assert_eq!(wal, 0, "the WAL was moved into the file");
}

#[tokio::test]
async fn the_file_of_another_service_is_read_and_never_written() {
    let folder = folder();
    let path = folder.path().join("t.db");
    let missing = Sqlite::open_readonly(&path, SqliteOptions::default()).unwrap_err();
    assert!(
        matches!(missing.kind(), ErrorKind::Unavailable { .. }),
        "{missing:?}"
    );
    let store = open_with_table(&folder, SqliteOptions::default()).await;
    put(&store, 1).await.unwrap();
    let other = Sqlite::open_readonly(&path, SqliteOptions::default()).unwrap();
    assert_eq!(count(&other).await, 1);
    put(&store, 2).await.unwrap();
    assert_eq!(count(&other).await, 2);
    assert_eq!(put(&other, 3).await.unwrap_err().kind(), ErrorKind::ReadOnly);
    store.close().await;
    assert_eq!(count(&other).await, 2);
}

#[tokio::test]
async fn foreign_and_damaged_files_are_refused_untouched() {
    let folder = folder();
    let foreign = folder.path().join("foreign.db");
    rusqlite::Connection::open(&foreign)
        .unwrap()
        .execute_batch("CREATE TABLE other (x)")
        .unwrap();
    let newer = folder.path().join("newer.db");
    let conn = rusqlite::Connection::open(&newer).unwrap();
    conn.pragma_update(None, "application_id", APPLICATION_ID)
        .unwrap();
    conn.pragma_update(None, "user_version", FORMAT + 1).unwrap();
    conn.execute_batch("CREATE TABLE t (x)").unwrap();
    drop(conn);
    let text = folder.path().join("text.db");
    fs_err::write(
        &text,
        "this is not a database, it is a letter to my aunt\n".repeat(100),
    )
    .unwrap();
    for path in [foreign, newer, text] {
        let before = fs_err::read(&path).unwrap();
        let error = Sqlite::open(&path, SqliteOptions::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Foreign, "{error:?}");
        assert_eq!(fs_err::read(&path).unwrap(), before);
    }
}

#[tokio::test]
async fn damage_inside_is_an_error_and_not_wrong_rows() {
    use std::io::{Seek as _, SeekFrom, Write as _};
    let folder = folder();
    let store = open_with_table(&folder, SqliteOptions::default()).await;
    for x in 0..2_000 {
        store
            .write("put", move |conn| {
                Ok(conn.execute("INSERT INTO t (x, y) VALUES (?1, hex(randomblob(100)))", [x])?)
            })
            .await
            .unwrap();
    }
    store.close().await;
    drop(store);
    let path = folder.path().join("t.db");
    let mut file = fs_err::OpenOptions::new().write(true).open(&path).unwrap();
    for page in 3..40_u64 {
        file.seek(SeekFrom::Start(page * 4096)).unwrap();
        file.write_all(&[0xff; 512]).unwrap();
    }
    drop(file);
    let store = Sqlite::open(&path, SqliteOptions::default()).unwrap();
    let error = store
        .read("scan", |conn| {
            Ok(conn.query_row("SELECT sum(length(y)) FROM t", [], |row| row.get::<_, i64>(0))?)
        })
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
}

const ENDLESS: &str =
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";

#[tokio::test]
async fn a_read_that_never_ends_is_stopped() {
    let folder = folder();
    let options = SqliteOptions {
        readers: 1,
        read_time_max: Duration::from_millis(50),
        write_time_max: Duration::from_millis(50),
        ..SqliteOptions::default()
    };
    let store = open_with_table(&folder, options).await;
    let endless = |conn: &Conn| Ok(conn.query_row(ENDLESS, [], |row| row.get::<_, i64>(0))?);
    assert_eq!(
        store.read("endless", endless).await.unwrap_err().kind(),
        ErrorKind::Timeout
    );
    assert_eq!(
        store.write("endless", endless).await.unwrap_err().kind(),
        ErrorKind::Timeout
    );
    assert_eq!(count(&store).await, 0);
    put(&store, 1).await.unwrap();
}

#[tokio::test]
async fn a_read_whose_caller_left_is_stopped() {
    let folder = folder();
    let options = SqliteOptions {
        readers: 1,
        read_time_max: Duration::from_secs(3_600),
        ..SqliteOptions::default()
    };
    let store = open_with_table(&folder, options).await;
    let endless = store.read("endless", |conn| {
        Ok(conn.query_row(ENDLESS, [], |row| row.get::<_, i64>(0))?)
    });
    assert!(
        tokio::time::timeout(Duration::from_millis(30), endless)
            .await
            .is_err()
    );
    // The only reader is free again.
    let counted = tokio::time::timeout(Duration::from_secs(5), count(&store)).await;
    assert_eq!(counted.unwrap(), 0);
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_is_told() {
    let path = std::path::Path::new("/proc/no-such-folder/t.db");
    let error = Sqlite::open(path, SqliteOptions::default()).unwrap_err();
    assert!(error.to_string().contains("/proc/no-such-folder/t.db"), "{error}");
}

#[tokio::test]
async fn a_job_that_ends_the_shared_transaction_is_told_off() {
    let folder = folder();
    let store = open_with_table(&folder, SqliteOptions::default()).await;
    let error = store
        .write("commit", |conn| Ok(conn.execute_batch("COMMIT")?))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Bug);
    put(&store, 1).await.unwrap();
    assert_eq!(count(&store).await, 1);
}
