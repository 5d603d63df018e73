//! The same on a real file system.

use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::verify;

fn trust(keys: &Keys) -> Trust {
    Trust::new(keys.signer().vkeys())
}

#[test]
fn a_folder_has_one_writer() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("deep/log");
    let keys = Keys::new();
    assert!(!Log::exists(&dir).unwrap());
    let none = Log::open(&dir, keys.signer(), None, clock());
    assert_eq!(none.unwrap_err().code(), "RC-LED-002");
    assert!(!dir.exists(), "looking makes nothing");
    let mut log = Log::create(&dir, keys.signer(), None, clock()).unwrap();
    log.append(&entries(1, 300)).unwrap();
    assert!(Log::exists(&dir).unwrap());
    let second = Log::open(&dir, keys.signer(), None, clock());
    assert_eq!(second.unwrap_err().code(), "RC-LED-001");
    assert!(
        verify(&dir, &trust(&keys)).unwrap().is_whole(),
        "readers need no lock"
    );
    log.close().unwrap();
    let mut log = Log::open(&dir, keys.signer(), None, clock()).unwrap();
    assert_eq!(log.append(&entries(301, 301)).unwrap().first_index, 300);
    assert_eq!(
        log.checkpoint().signed_at_s(),
        Some(crate::tests::START_MS / 1000)
    );
    drop(log);
    let report = verify(&dir, &trust(&keys)).unwrap();
    assert!(report.is_whole(), "{:#?}", report.faults);
    assert_eq!((report.entries, report.warnings_total), (301, 0));
}

#[test]
fn a_folder_that_cannot_be_written_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("log");
    let keys = Keys::new();
    let mut log = Log::create(&dir, keys.signer(), None, clock()).unwrap();
    log.append(&entries(1, 3)).unwrap();
    // Modes do not stop root; a folder in the way of the checkpoint's name does.
    let checkpoint = dir.join(CHECKPOINT);
    let text = fs_err::read(&checkpoint).unwrap();
    fs_err::remove_file(&checkpoint).unwrap();
    fs_err::create_dir(&checkpoint).unwrap();
    let error = log.append(&entries(4, 5)).unwrap_err();
    assert_eq!(error.code(), "RC-LED-012", "{error}");
    assert_eq!(log.append(&entries(4, 5)).unwrap_err().code(), "RC-LED-013");
    fs_err::remove_dir(&checkpoint).unwrap();
    fs_err::write(&checkpoint, text).unwrap();
    log.recover().unwrap();
    assert_eq!(log.size(), 5);
    drop(log);
    fs_err::set_permissions(&dir, std::fs::Permissions::from_mode(0o555)).unwrap();
    assert!(verify(&dir, &trust(&keys)).unwrap().is_whole());
    fs_err::set_permissions(&dir, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn readers_see_one_checkpoint_while_the_writer_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("log");
    let keys = Keys::new();
    let mut log = Log::create(&dir, keys.signer(), None, clock()).unwrap();
    let all = entries(1, 700);
    log.append(&all[..130]).unwrap();
    let reader = Reader::open(&dir, keys.signer().vkeys()).unwrap();
    log.append(&all[130..700]).unwrap();
    // The partial files of 130 entries have gone; the full ones stand in for them.
    let seen: Vec<Vec<u8>> = reader.entries(0..700).map(|entry| entry.unwrap().1).collect();
    assert_eq!(seen, all[..130]);
    let tail: Vec<u64> = reader.entries(128..700).map(|entry| entry.unwrap().0).collect();
    assert_eq!(tail, [128, 129]);
    reader.receipt(129).unwrap().verify(&all[129]).unwrap();
}

#[test]
fn a_log_without_its_write_ahead_log_is_not_opened() {
    let folder = tempfile::tempdir().unwrap();
    let keys = Keys::new();
    drop(Log::create(folder.path(), keys.signer(), None, clock()).unwrap());
    fs_err::remove_dir_all(folder.path().join("wal")).unwrap();
    let error = Log::open(folder.path(), keys.signer(), None, clock()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "`wal` is damaged: the write-ahead log is missing"
    );
    let report = verify(folder.path(), &trust(&keys)).unwrap();
    assert_eq!(
        (report.faults_total, report.faults[0].file.as_deref()),
        (1, Some("wal"))
    );
}

#[test]
fn a_check_beside_a_writer_finds_nothing() {
    const GROUPS: u64 = 150;
    const GROUP: u64 = 7;
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("log");
    let keys = Keys::new();
    let mut log = Log::create(&dir, keys.signer(), None, clock()).unwrap();
    let mut sizes = std::collections::BTreeSet::new();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for group in 0..GROUPS {
                log.append(&entries(group * GROUP + 1, (group + 1) * GROUP))
                    .unwrap();
                if group % 20 == 19 {
                    log.state.settle(log.disk.as_mut()).unwrap();
                }
            }
        });
        while !writer.is_finished() {
            let report = verify(&dir, &trust(&keys)).unwrap();
            assert!(report.is_whole(), "{:#?}", report.faults);
            sizes.insert(report.size);
        }
    });
    assert!(sizes.len() > 3, "{sizes:?}");
    let report = verify(&dir, &trust(&keys)).unwrap();
    assert_eq!((report.entries, report.warnings_total), (GROUPS * GROUP, 0));
}

/// Durable groups one after the other, and the check of all of them; prints the rates of this machine. The
/// figure for a release build: `cargo test --release -p rc-ledger slow_a_large_log -- --nocapture`.
#[test]
fn slow_a_large_log_is_written_and_checked() {
    const GROUP: u64 = 1_024;
    let groups = if cfg!(debug_assertions) { 80 } else { 1_000 };
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("log");
    let keys = Keys::new();
    let mut log = Log::create(&dir, keys.signer(), None, clock()).unwrap();
    let mut spent_ns = 0;
    let mut slowest_ns = 0;
    for group in 0..groups {
        let entries = entries(group * GROUP + 1, (group + 1) * GROUP);
        let begin = rc_model::clock::monotonic_ns();
        log.append(&entries).unwrap();
        let took = rc_model::clock::monotonic_ns() - begin;
        spent_ns += took;
        slowest_ns = slowest_ns.max(took);
    }
    drop(log);
    let begin = rc_model::clock::monotonic_ns();
    let report = verify(&dir, &trust(&keys)).unwrap();
    let checked_ns = rc_model::clock::monotonic_ns() - begin;
    assert!(report.is_whole(), "{:#?}", report.faults);
    assert_eq!(report.entries, groups * GROUP);
    let rate = |ns: u64| report.entries as f64 / (ns as f64 / 1e9);
    println!(
        "{} entries, {} bytes: appended {:.0}/s in groups of {GROUP}, the slowest {} ms; checked {:.0}/s",
        report.entries,
        report.entry_bytes,
        rate(spent_ns),
        slowest_ns / 1_000_000,
        rate(checked_ns)
    );
}
