use super::*;

const HOUR_MS: i64 = 3_600 * 1_000;

fn at(ms: i64) -> Timestamp {
    Timestamp::from_unix_ms(1_795_255_200_000 + ms)
}

/// A run called `name`, after one called `before`.
fn run<'a>(name: &'a str, before: &'a str, ms: i64) -> Circumstances<'a> {
    Circumstances {
        sources: Some("as they were"),
        alone: Some(name),
        before: Some(before),
        fresh: false,
        now: at(ms),
    }
}

fn open(folder: &Path, what: &str, run: Circumstances<'_>) -> Journal {
    Journal::open(folder, &[what.to_owned(), "acme".to_owned()], run)
}

const STORED: Stored = Stored {
    accepted: 3,
    duplicates: 1,
};

/// A folder with the journal of run `first`, which stored batch `aa` at 0.
fn interrupted() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = open(folder.path(), "docs", run("first", "none", 0));
    journal
        .note("aa".to_owned(), STORED, &Awaited::of(&["b-1".to_owned()]))
        .unwrap();
    let path = journal.path.clone();
    (folder, path)
}

#[test]
fn an_interrupted_run_is_taken_up_and_a_finished_one_is_not() {
    let (folder, _) = interrupted();
    let mut second = open(folder.path(), "docs", run("second", "first", 60_000));
    assert_eq!(second.start(), Start::Resumed);
    assert_eq!((second.stored("aa"), second.stored("cc")), (Some(STORED), None));
    assert_eq!(
        second.awaited(),
        ["b-1"],
        "the first run's batches are waited for, too"
    );
    let key = second.run().to_owned();
    // Interrupted before it stored anything, it can still be continued.
    second.write(&Awaited::of(second.awaited())).unwrap();
    assert_eq!(
        open(folder.path(), "other", run("x", "second", 60_000)).start(),
        Start::Beginning
    );
    let third = open(folder.path(), "docs", run("third", "second", 120_000));
    assert_eq!((third.start(), third.run()), (Start::Resumed, key.as_str()));
    third.remove().unwrap();
    let fourth = open(folder.path(), "docs", run("fourth", "third", 120_000));
    assert_eq!(fourth.start(), Start::Beginning);
    assert_ne!(fourth.run(), key);
    fourth.remove().unwrap();
}

#[test]
fn a_journal_is_not_believed_when_what_it_says_may_be_outdated() {
    let (folder, _) = interrupted();
    let good = run("second", "first", 60_000);
    let changed = Circumstances {
        sources: Some("changed"),
        ..good
    };
    let beside = Circumstances { alone: None, ..good };
    for (run, reason) in [
        (changed, "files have changed"),
        (beside, "another `rc ingest`"),
        (run("third", "second", 60_000), "another `rc ingest`"),
        (run("second", "first", HOUR_MS + 60_000), "too long ago"),
        (run("second", "first", -60_000), "too long ago"),
    ] {
        let journal = open(folder.path(), "docs", run);
        let Start::Over(told) = journal.start() else {
            panic!("believed: {run:?}")
        };
        assert!(told.contains(reason), "{told}");
        assert_eq!((journal.stored("aa"), journal.awaited().len()), (None, 0));
    }
    let fresh = Circumstances { fresh: true, ..good };
    assert_eq!(open(folder.path(), "docs", fresh).start(), Start::Beginning);
    assert_eq!(open(folder.path(), "docs", good).start(), Start::Resumed);
}

#[test]
fn a_run_that_nobody_could_continue_writes_no_journal() {
    let folder = tempfile::tempdir().unwrap();
    let alone = run("first", "none", 0);
    for run in [
        Circumstances {
            sources: None,
            ..alone
        },
        Circumstances { alone: None, ..alone },
    ] {
        let mut journal = open(folder.path(), "docs", run);
        journal
            .note("aa".to_owned(), STORED, &Awaited::default())
            .unwrap();
        assert!(!journal.kept());
        assert!(!journal.path.exists());
    }
}

#[test]
fn a_broken_journal_is_none() {
    let (folder, path) = interrupted();
    for broken in ["", "{}", "[1,2", "{\"version\":1}"] {
        fs_err::write(&path, broken).unwrap();
        let journal = open(folder.path(), "docs", run("second", "first", 1));
        assert_eq!(journal.start(), Start::Beginning, "{broken}");
    }
}
