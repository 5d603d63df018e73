use super::*;
use crate::Sqlite;

async fn made(path: &Path) {
    let db = Sqlite::open(path, SqliteOptions::default()).unwrap();
    db.write("test", |conn| {
        Ok(conn.execute_batch("CREATE TABLE t (x); INSERT INTO t VALUES (7);")?)
    })
    .await
    .unwrap();
    db.close().await;
}

#[tokio::test]
async fn a_file_that_stands_still_is_read_without_files_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    // What means something in a URI is only a name here.
    let path = folder.path().join("a b?immutable=0#%41ä.db");
    made(&path).await;
    let conn = connect_still(&path).unwrap();
    check_ours(&conn, &path, false).unwrap();
    let found: i64 = conn.query_row("SELECT x FROM t", [], |row| row.get(0)).unwrap();
    assert_eq!(found, 7);
    let mut names: Vec<String> = fs_err::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|name| !name.ends_with(".lock"))
        .collect();
    names.sort();
    assert_eq!(names, ["a b?immutable=0#%41ä.db"]);
    assert!(conn.execute("DELETE FROM t", []).is_err());
}

#[tokio::test]
async fn a_file_stands_still_only_where_nobody_can_write_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.db");
    made(&path).await;
    assert!(!is_still(&path), "its folder can be written");
    // Nobody writes there, root included.
    assert!(is_still(Path::new("/proc/self/status")));
}

#[test]
fn a_pipe_is_no_database_and_keeps_nobody_waiting() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipe.db");
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let refused = reader(&path, &SqliteOptions::default()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Foreign);
}
