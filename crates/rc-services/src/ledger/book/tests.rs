use std::os::unix::fs::FileExt as _;

use rc_model::SystemClock;
use rc_store::{Sqlite, SqliteOptions};

use super::*;
use crate::audit::outbox::tests::draft;
use crate::audit::wire::Delivered;
use crate::audit::{Outbox, Room};

struct World {
    dir: tempfile::TempDir,
    layout: Layout,
    outbox: Outbox,
}

impl World {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        let db = Sqlite::open(&dir.path().join("outbox.db"), SqliteOptions::default()).unwrap();
        let outbox = Outbox::sqlite(db, "gateway");
        outbox.migrate().await.unwrap();
        Self { dir, layout, outbox }
    }

    async fn open(&self) -> Result<Book, StartError> {
        Book::open(&self.layout, SystemClock::shared()).await
    }

    /// Records `names` and gives their delivery; nothing is taken out of the outbox.
    async fn delivery(&self, names: &[&str]) -> Delivery {
        let drafts = names.iter().map(|name| draft(name)).collect();
        self.outbox.record(drafts, Room::Fact).await.unwrap();
        Delivery::of(self.outbox.next(crate::audit::wire::BATCH).await.unwrap()).unwrap()
    }

    /// A book with three entries, closed again.
    async fn with_three(&self) -> Delivery {
        let mut book = self.open().await.unwrap();
        let delivery = self.delivery(&["a", "b", "c"]).await;
        assert_eq!(
            one(&mut book, delivery.clone()).await.unwrap(),
            Receipt { next: 4, size: 3 }
        );
        book.close().await;
        delivery
    }
}

async fn one(book: &mut Book, delivery: Delivery) -> Result<Receipt, Refusal> {
    let mut outcomes = book.accept(vec![delivery]).await;
    outcomes.pop().unwrap()
}

fn names(book: &Book) -> Vec<(u64, String)> {
    let entries = book.log().entries(0..book.size());
    entries
        .map(|read| {
            let entry = Entry::decode(&read.unwrap().1).unwrap();
            (entry.source.seq, entry.resource.id)
        })
        .collect()
}

fn three() -> Vec<(u64, String)> {
    vec![(1, "a".to_owned()), (2, "b".to_owned()), (3, "c".to_owned())]
}

#[tokio::test]
async fn deliveries_are_taken_once_in_order_and_survive_a_restart() {
    let world = World::new().await;
    let first = world.with_three().await;
    let mut book = world.open().await.unwrap();
    // The same again, a part again, and new ones behind.
    assert_eq!(
        one(&mut book, first.clone()).await.unwrap(),
        Receipt { next: 4, size: 3 }
    );
    let part = Delivery {
        first: 2,
        entries: first.entries[1..2].to_vec(),
        ..first.clone()
    };
    assert_eq!(one(&mut book, part).await.unwrap(), Receipt { next: 4, size: 3 });
    let more = world.delivery(&["d"]).await;
    assert_eq!((more.first, more.entries.len()), (1, 4));
    assert_eq!(
        one(&mut book, more.clone()).await.unwrap(),
        Receipt { next: 5, size: 4 }
    );
    assert_eq!(names(&book).last().unwrap(), &(4, "d".to_owned()));

    // A gap is refused and names what comes next.
    let later = Delivery {
        first: 4,
        entries: more.entries[3..].to_vec(),
        source: "gateway/of-another-project".to_owned(),
    };
    let refusal = one(&mut book, later).await.unwrap_err();
    assert!(matches!(refusal, Refusal::Malformed(_)), "{refusal}");
    book.close().await;

    let mut fresh = World::new().await;
    fresh.outbox = world.outbox.clone();
    let mut book = fresh.open().await.unwrap();
    let gap = Delivery {
        first: 4,
        entries: more.entries[3..].to_vec(),
        ..more.clone()
    };
    let refusal = one(&mut book, gap).await.unwrap_err();
    assert_eq!(
        refusal,
        Refusal::Gap {
            outbox: more.source.clone(),
            expected: 1,
            first: 4
        }
    );
    assert_eq!(refusal.problem().status, 409);
    assert!(refusal.to_string().contains("entry 1 of"), "{refusal}");
    assert_eq!(book.size(), 0);
}

#[tokio::test]
async fn what_does_not_fit_together_is_refused() {
    let world = World::new().await;
    let first = world.with_three().await;
    let mut book = world.open().await.unwrap();
    let other = World::new().await;
    let theirs = other.delivery(&["x"]).await;

    // Another entry in a place that is taken, as after a restored backup of the outbox.
    let source = rc_ledger::Source {
        id: first.source.clone(),
        seq: 2,
    };
    let mut forged = Entry::decode(&theirs.entries[0].entry).unwrap();
    forged.source = source;
    let conflict = Delivery {
        source: first.source.clone(),
        first: 2,
        entries: vec![Delivered {
            entry: forged.encode().unwrap(),
            texts: theirs.entries[0].texts.clone(),
        }],
    };
    let refusal = one(&mut book, conflict.clone()).await.unwrap_err();
    assert_eq!(
        refusal,
        Refusal::Conflict {
            outbox: first.source.clone(),
            seq: 2
        }
    );

    let mut wrong_text = conflict.clone();
    wrong_text.entries[0].texts[0].text = b"something else".to_vec();
    let mut no_text = conflict.clone();
    no_text.entries[0].texts.clear();
    let mut torn = conflict.clone();
    torn.entries[0].entry.pop();
    let mut empty = conflict.clone();
    empty.entries.clear();
    let mut other_number = conflict;
    other_number.first = 4;
    for (what, delivery) in [
        ("another text", wrong_text),
        ("no text", no_text),
        ("half an entry", torn),
        ("nothing", empty),
        ("another number", other_number),
    ] {
        let refusal = one(&mut book, delivery).await.unwrap_err();
        assert!(matches!(refusal, Refusal::Malformed(_)), "{what}: {refusal}");
    }
    assert_eq!(names(&book), three());
    // Refusals beside it do not hold up a good delivery in the same group.
    let good = world.delivery(&["d"]).await;
    let bad = Delivery {
        first: 9,
        ..good.clone()
    };
    let outcomes = book.accept(vec![bad, good]).await;
    assert!(outcomes[0].is_err());
    assert_eq!(outcomes[1], Ok(Receipt { next: 5, size: 4 }));
}

#[tokio::test]
async fn entries_that_came_without_their_places_are_recognized() {
    let world = World::new().await;
    let first = world.with_three().await;
    // As if it had crashed between the log and its database: the database is the one before.
    let db = Sqlite::open(&world.layout.ledger_db(), SqliteOptions::default()).unwrap();
    let took_back = db.write("test", |conn| {
        conn.execute("DELETE FROM places WHERE seq > 1", [])?;
        conn.execute("UPDATE ledger SET indexed = 1", [])?;
        Ok(())
    });
    took_back.await.unwrap();
    db.close().await;
    let mut book = world.open().await.unwrap();
    assert_eq!(one(&mut book, first).await.unwrap(), Receipt { next: 4, size: 3 });
    assert_eq!(names(&book), three());
}

#[tokio::test]
async fn a_log_that_was_is_never_begun_anew() {
    // Each takes something away; the start is refused with this code, and nothing is made in its place.
    type Loss = fn(&Layout);
    let losses: [(&str, Loss, &str); 6] = [
        (
            "the log",
            |layout| fs_err::remove_dir_all(layout.ledger_log()).unwrap(),
            "RC-LED-003",
        ),
        (
            "log and database",
            |layout| {
                fs_err::remove_dir_all(layout.ledger_log()).unwrap();
                fs_err::remove_file(layout.ledger_db()).unwrap();
            },
            "RC-LED-003",
        ),
        (
            "the key",
            |layout| fs_err::remove_file(layout.ledger_key()).unwrap(),
            "RC-LED-007",
        ),
        (
            "the database",
            |layout| fs_err::remove_file(layout.ledger_db()).unwrap(),
            "RC-LED-026",
        ),
        (
            "log and key",
            |layout| {
                fs_err::remove_dir_all(layout.ledger_log()).unwrap();
                fs_err::remove_file(layout.ledger_key()).unwrap();
            },
            "RC-LED-003",
        ),
        (
            "the checkpoint's truth",
            |layout| {
                let path = layout.ledger_log().join("checkpoint");
                let file = fs_err::OpenOptions::new().write(true).open(path).unwrap();
                file.file().write_at(b"X", 0).unwrap();
            },
            "RC-LED-",
        ),
    ];
    for (what, lose, code) in losses {
        let world = World::new().await;
        world.with_three().await;
        lose(&world.layout);
        let error = world.open().await.unwrap_err();
        assert!(error.code.starts_with(code), "{what}: {} {error}", error.code);
        let again = world.open().await.unwrap_err();
        assert_eq!(again.code, error.code, "{what}: the second start says the same");
    }
}

#[tokio::test]
async fn places_that_do_not_fit_the_log_are_noted_again() {
    for damage in [
        "DELETE FROM places WHERE seq = 2",
        "DELETE FROM places",
        "DROP TABLE places",
        "UPDATE ledger SET indexed = 0",
        "UPDATE ledger SET indexed = 9",
        "UPDATE places SET seq = 7 WHERE seq = 3",
        // Found when it matters, and mended for the next attempt.
        "UPDATE places SET hash = zeroblob(32) WHERE seq = 2",
        "UPDATE places SET idx = 0 WHERE seq = 2; UPDATE places SET hash = zeroblob(32) WHERE seq = 2",
    ] {
        let world = World::new().await;
        let first = world.with_three().await;
        let db = Sqlite::open(&world.layout.ledger_db(), SqliteOptions::default()).unwrap();
        db.write("test.damage", move |conn| Ok(conn.execute_batch(damage)?))
            .await
            .unwrap();
        db.close().await;
        let mut book = world.open().await.unwrap();
        if damage.contains("hash") {
            let refusal = one(&mut book, first.clone()).await.unwrap_err();
            assert_eq!(refusal.code(), "RC-STO-006", "{damage}");
        }
        assert_eq!(
            one(&mut book, first).await.unwrap(),
            Receipt { next: 4, size: 3 },
            "{damage}"
        );
        let more = world.delivery(&["d"]).await;
        assert_eq!(
            one(&mut book, more).await.unwrap(),
            Receipt { next: 5, size: 4 },
            "{damage}"
        );
        book.close().await;
    }
}

#[tokio::test]
async fn an_older_copy_of_the_log_is_noticed() {
    let world = World::new().await;
    world.with_three().await;
    let copy = world.dir.path().join("copy");
    copy_all(&world.layout.ledger_log(), &copy);
    let mut book = world.open().await.unwrap();
    let more = world.delivery(&["d"]).await;
    one(&mut book, more).await.unwrap();
    book.close().await;
    fs_err::remove_dir_all(world.layout.ledger_log()).unwrap();
    copy_all(&copy, &world.layout.ledger_log());
    let error = world.open().await.unwrap_err();
    assert_eq!(error.code, "RC-LED-004", "{error}");
}

#[tokio::test]
async fn a_start_that_was_interrupted_is_finished() {
    // Whole but not moved, the log moved, both moved: the next start ends with an empty log.
    let made = World::new().await;
    made.open().await.unwrap().close().await;
    for step in 0..3 {
        let world = World::new().await;
        let folder = world.layout.ledger_data();
        let making = folder.join("making");
        fs_err::create_dir_all(&making).unwrap();
        let log = if step == 0 {
            making.join("log")
        } else {
            world.layout.ledger_log()
        };
        let key = if step == 2 {
            world.layout.ledger_key()
        } else {
            making.join("key")
        };
        copy_all(&made.layout.ledger_log(), &log);
        fs_err::copy(made.layout.ledger_key(), key).unwrap();
        let mut book = world.open().await.unwrap();
        assert_eq!(book.size(), 0, "step {step}");
        let delivery = world.delivery(&["a", "b", "c"]).await;
        one(&mut book, delivery).await.unwrap();
        assert_eq!(names(&book), three());
    }
}

fn copy_all(from: &Path, to: &Path) {
    fs_err::create_dir_all(to).unwrap();
    for entry in fs_err::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_all(&entry.path(), &target);
        } else {
            fs_err::copy(entry.path(), target).unwrap();
        }
    }
}
