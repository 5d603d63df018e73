use super::*;

#[test]
fn a_server_leaves_nothing_behind() {
    let server = Postgres::start_own(false);
    let database = server.fresh_database();
    assert!(database.url.starts_with("postgresql://rc_test_"));
    let folder = server.folder.clone();
    assert!(is_file(&folder.join("data/postmaster.pid")));
    drop(server);
    assert!(!folder.exists());
}

#[test]
fn a_stopped_server_comes_back_with_its_data() {
    let server = Postgres::start_own(true);
    server.admin(&["CREATE TABLE t (x int)", "INSERT INTO t VALUES (1)"]);
    server.stop();
    assert!(
        !server
            .psql()
            .args(["-c", "SELECT 1"])
            .output()
            .unwrap()
            .status
            .success()
    );
    server.start_again();
    server.admin(&["SELECT 1 / count(*) FROM t"]);
}

/// A process that starts a server and then waits to be killed, when run by the test below.
#[test]
fn child_that_holds_a_server() {
    let here = std::env::current_dir().unwrap();
    if here.file_name().is_none_or(|name| name != "rc-test-child") {
        return;
    }
    let server = Postgres::start();
    fs_err::write(here.join("folder"), server.folder.display().to_string()).unwrap();
    std::thread::sleep(START_TIME_MAX);
}

#[test]
fn kill_9_of_the_test_process_leaves_no_server() {
    let root = tempfile::tempdir().unwrap();
    let here = root.path().join("rc-test-child");
    fs_err::create_dir_all(&here).unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "postgres::tests::child_that_holds_a_server"])
        .current_dir(&here)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let wait = |what: &str, holds: &dyn Fn() -> bool| {
        for _ in 0..600 {
            if holds() {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("not in time: {what}");
    };
    wait("the child has a server", &|| is_file(&here.join("folder")));
    let folder = loop {
        let text = fs_err::read_to_string(here.join("folder")).unwrap();
        if !text.is_empty() {
            break PathBuf::from(text);
        }
    };
    child.kill().unwrap();
    child.wait().unwrap();
    wait("the server's folder is gone", &|| !folder.exists());
}
