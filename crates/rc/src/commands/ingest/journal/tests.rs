use super::*;

const DAY_MS: i64 = 24 * 3_600 * 1_000;

fn at(ms: i64) -> Timestamp {
    Timestamp::from_unix_ms(1_795_255_200_000 + ms)
}

fn open(folder: &Path, what: &str, ms: i64) -> Journal {
    Journal::open(folder, &[what.to_owned(), "acme".to_owned()], false, at(ms))
}

const STORED: Stored = Stored {
    accepted: 3,
    duplicates: 1,
    rejected: 0,
};

#[test]
fn an_interrupted_run_is_taken_up_and_a_finished_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = open(folder.path(), "docs", 0);
    assert!(!first.resumed());
    first.note("aa".to_owned(), STORED).unwrap();
    first.note("bb".to_owned(), STORED).unwrap();
    first.write().unwrap();
    let run = first.run().to_owned();
    drop(first);

    let second = open(folder.path(), "docs", 60_000);
    assert!(second.resumed());
    assert_eq!(
        (second.run(), second.stored("bb"), second.stored("cc")),
        (run.as_str(), Some(STORED), None)
    );
    assert!(!open(folder.path(), "other", 60_000).resumed());
    second.remove().unwrap();
    let third = open(folder.path(), "docs", 120_000);
    assert!(!third.resumed());
    assert_ne!(third.run(), run);
    third.remove().unwrap();
}

#[test]
fn an_old_broken_or_unwanted_journal_is_not_believed() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = open(folder.path(), "docs", 0);
    journal.note("aa".to_owned(), STORED).unwrap();
    let path = journal.path.clone();
    drop(journal);
    assert!(open(folder.path(), "docs", DAY_MS - 1).resumed());
    assert!(!open(folder.path(), "docs", DAY_MS).resumed());
    assert!(
        !Journal::open(
            folder.path(),
            &["docs".to_owned(), "acme".to_owned()],
            true,
            at(1)
        )
        .resumed()
    );
    for broken in ["", "{}", "[1,2", "{\"version\":2}"] {
        fs_err::write(&path, broken).unwrap();
        assert!(!open(folder.path(), "docs", 1).resumed(), "{broken}");
    }
}
